"""The schema of a drill's writer: made for one drill, dropped in the end, and told by its comment from any other."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import Final, LiteralString

from replctl.execution.handlers.roles import COMMIT_LOCALLY, DDL_SECONDS
from replctl.execution.session import Session
from replctl.model.errors import RefusedError, ReplctlError, WaitTimeoutError
from replctl.model.values import NodeName, SystemIdentifier
from replctl.planning.drill import SCHEMA
from replctl.remote.ports import Database
from replctl.remote.waiting import NeverCancelled, Waiting

OPEN_SECONDS = 5.0
SEARCH_SECONDS = 30.0
"""For a node that accepts writes, when a switchover ended badly."""
READ_SECONDS = 30.0

_MARK: Final[LiteralString] = "made by replctl drill"
_FOUND: Final[LiteralString] = """
select coalesce(obj_description(oid, 'pg_namespace'), '') as mark from pg_namespace where nspname = 'replctl_drill'
"""
# Without a key: a row that was written twice has to be there twice.
_MAKE: Final[tuple[LiteralString, ...]] = (
    "drop schema if exists replctl_drill cascade",
    "create schema replctl_drill",
    "comment on schema replctl_drill is 'made by replctl drill'",
    "create table replctl_drill.ledger (number bigint not null)",
)
_ROWS: Final[LiteralString] = "select number from replctl_drill.ledger"
_DROP: Final[LiteralString] = "drop schema if exists replctl_drill cascade"
_IDENTITY: Final[LiteralString] = "select system_identifier::text as identity from pg_control_system()"
_IN_RECOVERY: Final[LiteralString] = "select pg_is_in_recovery() as yes"


@dataclass(frozen=True, slots=True)
class Settled:
    """What the primary had in the end, and what became of the schema."""

    system_identifier: SystemIdentifier | None = None
    numbers: tuple[int, ...] | None = None
    """Of the rows; None when nobody could be asked, or the schema had not been made."""
    left: ReplctlError | None = None
    """Why the schema is still there, or may be."""


def check_schema(session: Session, primary: NodeName) -> None:
    """Raises RefusedError when the schema's name is somebody else's."""
    with closing(_open(session, primary)) as database:
        found = database.fetch(_FOUND)
    if found and found[0]["mark"] != _MARK:
        raise RefusedError(
            f"{primary}: {session.inventory.app.database} has a schema {SCHEMA} that no drill made",
            hint=f"Rename it, or drop it: the writer of a drill needs a schema of its own by the name {SCHEMA}.",
            node=primary,
            code="schema-taken",
        )


def make_schema(session: Session, primary: NodeName) -> None:
    """Make it anew: what an interrupted drill left is replaced."""
    with closing(_open(session, primary)) as database, database.transaction():
        for statement in _MAKE:
            database.execute(statement, timeout=DDL_SECONDS)


def settle(session: Session, names: tuple[NodeName, ...]) -> Settled:
    """Read what the primary among these nodes has, and drop the schema if it is a drill's. Raises nothing."""
    try:
        with closing(_primary_among(session, names)) as database:
            return _settle(database)
    except ReplctlError as error:
        return Settled(left=error)


def _settle(database: Database) -> Settled:
    identity = SystemIdentifier(database.fetch(_IDENTITY)[0]["identity"])
    found = database.fetch(_FOUND)
    if not found or found[0]["mark"] != _MARK:
        return Settled(identity)
    numbers = _numbers(database)
    try:
        database.execute(_DROP, timeout=DDL_SECONDS)
    except ReplctlError as error:
        return Settled(identity, numbers, error)
    return Settled(identity, numbers)


def _numbers(database: Database) -> tuple[int, ...] | None:
    """None when they cannot be read: the schema goes all the same."""
    try:
        return tuple(row["number"] for row in database.fetch(_ROWS, timeout=READ_SECONDS))
    except ReplctlError:
        return None


def _primary_among(session: Session, names: tuple[NodeName, ...]) -> Database:
    """A session on the node that accepts writes: a promotion that was asked for may take its time."""
    waiting = Waiting(session.clock, NeverCancelled(), SEARCH_SECONDS, 0.2)
    found = waiting.until(lambda: next((d for name in names if (d := _writable(session, name)) is not None), None))
    if found is None:
        raise WaitTimeoutError(
            f"no node accepts writes ({', '.join(names)})",
            hint="`replctl status` says what became of the primary.",
        )
    return found


def _writable(session: Session, name: NodeName) -> Database | None:
    try:
        database = _open(session, name)
    except ReplctlError:
        return None
    try:
        if not database.fetch(_IN_RECOVERY)[0]["yes"]:
            return database
    except ReplctlError:
        pass
    database.close()
    return None


def _open(session: Session, name: NodeName) -> Database:
    # A synchronous standby that is away must not hold up the clearing away.
    return session.fleet[name].database(session.inventory.app.database, options=COMMIT_LOCALLY, timeout=OPEN_SECONDS)
