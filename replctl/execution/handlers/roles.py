"""Roles, the app database and the rights that pg_rewind needs: SQL on the primary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, LiteralString

from psycopg import sql

from replctl.execution.context import Changed, Context, Effect, Unchanged
from replctl.model.actions import (
    AwaitPassword,
    CreateDatabase,
    CreateRole,
    GrantRewind,
    RestorePassword,
    RoleKind,
    SetPassword,
)
from replctl.model.errors import ReplctlError, WaitTimeoutError
from replctl.model.secret import Secret
from replctl.postgres import statements
from replctl.postgres.scram import verifier_matches
from replctl.remote.ports import Database
from replctl.remote.sql import scram_verifier

# A verifier is no password, but the server's log and pg_stat_statements are no place for it either.
SILENT = (
    "-c log_statement=none -c log_min_duration_statement=-1 -c log_min_duration_sample=-1 -c log_duration=off "
    "-c log_transaction_sample_rate=0 -c log_min_error_statement=panic -c pg_stat_statements.track_utility=off "
    "-c pgaudit.log=none"
)
# A commit would otherwise wait for good where a synchronous standby is missing. For the session rather than by SET
# LOCAL: CREATE DATABASE cannot run inside a transaction block, and a role's or database's own setting gives way.
COMMIT_LOCALLY = "-c synchronous_commit=local"
DDL_SECONDS = 30.0
REPLAY_POLL_SECONDS = 0.005
ATTRIBUTES: Final[Mapping[RoleKind, LiteralString]] = {
    RoleKind.ADMIN: "login superuser valid until 'infinity'",
    RoleKind.REPLICATION: "login replication valid until 'infinity'",
    RoleKind.APP: "login valid until 'infinity'",
}
"""What a role needs to be let in with its password."""

_REWIND_FUNCTIONS = (
    "pg_ls_dir(text, boolean, boolean)",
    "pg_stat_file(text, boolean)",
    "pg_read_binary_file(text)",
    "pg_read_binary_file(text, bigint, bigint, boolean)",
)


def create_role(context: Context, action: CreateRole) -> Effect:
    """The verifier is computed here; the password itself never leaves this machine."""
    name, password = _identity(context, action.kind)
    with context.new_session(options=f"{SILENT} {COMMIT_LOCALLY}") as database:
        rows = database.fetch(statements.ROLES, {"roles": [name]})
        found = rows[0] if rows else None
        if found and _fits(found, action.kind, password):
            return Unchanged(f"{name} is as it should be")
        verifier = scram_verifier(database, name, password)
        attributes = sql.SQL(ATTRIBUTES[action.kind])
        if found and found["shut"]:
            attributes += sql.SQL(" connection limit -1")
        verb = sql.SQL("alter role {} {} password {}" if found else "create role {} {} password {}")
        statement = verb.format(sql.Identifier(name), attributes, sql.Literal(verifier))
        database.execute(statement, timeout=DDL_SECONDS)
    return Changed(f"{name} {'changed' if found else 'created'}")


def _identity(context: Context, kind: RoleKind) -> tuple[str, Secret]:
    if kind is RoleKind.ADMIN:
        return context.inventory.admin.user, context.session.passwords.admin
    if kind is RoleKind.REPLICATION:
        return context.inventory.replication.user, context.session.passwords.replication
    return context.inventory.app.user, context.session.passwords.app


def _fits(row: object, kind: RoleKind, password: Secret) -> bool:
    match row:
        case {"can_login": True, "replication": bool(sends), "superuser": bool(superuser), "verifier": str(verifier)}:
            able = {RoleKind.ADMIN: superuser, RoleKind.REPLICATION: sends, RoleKind.APP: True}
            return able[kind] and verifier_matches(verifier, password)
        case _:
            return False


def set_password(context: Context, action: SetPassword) -> Effect:
    """The verifier that was there stays in this process alone, for undo."""
    name, password = _identity(context, action.kind)
    with context.new_session(options=f"{SILENT} {COMMIT_LOCALLY}") as database:
        old = _verifier(context, database, name)
        if verifier_matches(old, password):
            return Unchanged(f"{name} has it already")
        verifier = scram_verifier(database, name, password)
        context.stopwatch.replaced_verifier = Secret(old)
        database.execute(_with_verifier(name, verifier), timeout=DDL_SECONDS)
    return Changed(f"{name} changed")


def restore_password(context: Context, action: RestorePassword) -> Effect:
    """Whatever became of the statement: the verifier that it was to replace is there again."""
    name, _ = _identity(context, action.kind)
    old = context.stopwatch.replaced_verifier
    if old is None:
        return Unchanged(f"{name} was not changed")
    with context.new_session(options=f"{SILENT} {COMMIT_LOCALLY}") as database:
        database.execute(_with_verifier(name, old.reveal() or None), timeout=DDL_SECONDS)
    return Changed()


def await_password(context: Context, action: AwaitPassword) -> Effect:
    """A standby knows a new password once it has replayed it. As the admin we can also log in with it."""
    name, password = _identity(context, action.kind)
    waiting = context.waiting(context.inventory.timeouts.catchup, REPLAY_POLL_SECONDS)
    with context.database() as database:
        context.says(f"waiting until {context.name} knows the new password of {name}")
        found = waiting.until(lambda: verifier_matches(_verifier(context, database, name), password) or None)
    if found is None:
        raise WaitTimeoutError(
            f"{context.name}: has not replayed the new password of {name}",
            hint=f"See in `replctl status` what holds up {context.name}, and run the same command again.",
            node=context.name,
        )
    if action.kind is RoleKind.ADMIN:
        context.session.fleet[context.name].database(timeout=context.node.ssh.connect_timeout).close()
    return Unchanged(f"{name} has it")


def _verifier(context: Context, database: Database, name: str) -> str:
    """What pg_authid has of a role; empty for no password."""
    rows = database.fetch(statements.ROLES, {"roles": [name]})
    if not rows:
        raise ReplctlError(
            f"{context.name}: there is no role {name}",
            hint="`replctl init-primary NODE` on today's primary makes the roles that are missing.",
            node=context.name,
        )
    return rows[0]["verifier"] or ""


def _with_verifier(name: str, verifier: str | None) -> sql.Composed:
    return sql.SQL("alter role {} password {}").format(sql.Identifier(name), sql.Literal(verifier))


def create_database(context: Context, action: CreateDatabase) -> Effect:
    """Owned by the app role, so that it can create its tables in the schema public."""
    app = context.inventory.app
    with context.new_session(options=COMMIT_LOCALLY) as database:
        rows = database.fetch(statements.DATABASES, {"database": app.database})
        owners = {row["name"]: row["owner"] for row in rows}
        if owners.get(app.database) == app.user:
            return Unchanged(f"{app.database} belongs to {app.user}")
        names = (sql.Identifier(app.database), sql.Identifier(app.user))
        if app.database in owners:
            database.execute(sql.SQL("alter database {} owner to {}").format(*names), timeout=DDL_SECONDS)
            return Changed(f"{app.database} given to {app.user}")
        database.execute(sql.SQL("create database {} owner {}").format(*names), timeout=DDL_SECONDS)
    return Changed(f"{app.database} created")


def grant_rewind(context: Context, action: GrantRewind) -> Effect:
    """What a role that is no superuser needs to be pg_rewind's source (PostgreSQL docs, pg_rewind, Notes)."""
    user = context.inventory.replication.user
    with context.new_session(options=COMMIT_LOCALLY) as database:
        if database.fetch(statements.REWIND_GRANTED, {"role": user})[0]["granted"]:
            return Unchanged("granted already")
        functions = sql.SQL(", ").join(sql.SQL(function) for function in _REWIND_FUNCTIONS)
        grant = sql.SQL("grant execute on function {} to {}").format(functions, sql.Identifier(user))
        database.execute(grant, timeout=DDL_SECONDS)
    return Changed()
