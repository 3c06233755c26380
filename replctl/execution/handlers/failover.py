"""What a failover needs beside a promotion: fencing, positions that stand still, and notes of what is owed."""

from __future__ import annotations

from datetime import UTC, datetime

from psycopg import sql

from replctl.execution.context import Changed, Context, Effect, Unchanged
from replctl.execution.notes import note_debt, settle_debt
from replctl.model.actions import DetachStandby, FencePrimary, NoteFenceDebt, ProveFurthest, SettleFenceDebt
from replctl.model.errors import RefusedError, ReplctlError, WaitTimeoutError
from replctl.model.facts import FenceDebt
from replctl.model.values import Lsn, NodeName, SystemIdentifier
from replctl.postgres import repair_scripts, statements

DETACH_SECONDS = 15.0
IMMEDIATE_SECONDS = 30.0
"""On top of timeouts.stop: the immediate stop, and the way there and back."""


def fence_primary(context: Context, action: FencePrimary) -> Effect:
    """Nobody writes there any more, and nothing starts it as a primary again."""
    seconds = context.inventory.timeouts.stop
    command = repair_scripts.fence(context.node.postgres.data_dir, seconds=seconds)
    result = context.runner().run(command, timeout=seconds + IMMEDIATE_SECONDS, check=False)
    if result.status == 0:
        return Unchanged("it is stopped already") if result.text.strip() == "stopped" else Changed()
    raise ReplctlError(
        f"{context.name}: could not be fenced: {result.error_text.strip() or 'its postmaster does not end'}",
        hint=f"End PostgreSQL on {context.name} by hand, or cut it off from every client, and run this again.",
        node=context.name,
    )


def detach_standby(context: Context, action: DetachStandby) -> Effect:
    """Without primary_conninfo the startup process ends the walreceiver at the next reload and asks for no other."""
    with context.database() as database:
        row = database.fetch("select current_setting('primary_conninfo') as conninfo")[0]
        if not row["conninfo"] and not database.fetch("select 1 as one from pg_stat_wal_receiver"):
            return Unchanged("it receives from nobody")
        database.execute(sql.SQL("alter system set primary_conninfo = ''"))
        database.fetch("select pg_reload_conf()")
        context.says(f"waiting until {context.name} receives no more")

        def gone() -> bool | None:
            return None if database.fetch("select 1 as one from pg_stat_wal_receiver where pid is not null") else True

        if context.waiting(DETACH_SECONDS, 0.01).until(gone) is None:
            raise WaitTimeoutError(
                f"{context.name}: still receives WAL {DETACH_SECONDS:g} s after it was told to stop",
                hint=f"Look at the log of {context.name}, and run the same command again.",
                node=context.name,
            )
    return Changed()


def prove_furthest(context: Context, action: ProveFurthest) -> Effect:
    """Nobody receives any more: who has most now has most for good."""
    own = _position(context, context.name)
    for other in action.others:
        theirs = _position(context, other)
        if theirs > own:
            raise RefusedError(
                f"{other} has received up to {theirs[1]} (timeline {theirs[0]}), more than {context.name}, which is at "
                f"{own[1]} (timeline {own[0]})",
                code="data-loss",
                hint=f"Promote {other} instead, or give that up with --accept-data-loss.",
                node=other,
            )
    return Unchanged(f"it has received up to {own[1]}")


def _position(context: Context, name: NodeName) -> tuple[int, Lsn]:
    with context.database(name) as database:
        row = database.fetch(statements.REPLICA)[0]
    return row["timeline"], Lsn.parse(row["received"]) if row["received"] else Lsn(0)


def note_fence_debt(context: Context, action: NoteFenceDebt) -> Effect:
    """Before the promotion: whatever happens to this run, the next one knows of it."""
    since = datetime.now(UTC).isoformat(timespec="seconds")
    debt = FenceDebt(action.owed, action.promoted, since)
    try:
        new = note_debt(context.inventory.state_dir, _identity(context), debt)
    except OSError as error:
        raise RefusedError(
            f"{context.inventory.state_dir}: a note cannot be written: {error.strerror}",
            code="state-dir",
            hint="Make that folder writable for you: replctl must not forget that a node has to be fenced.",
        ) from error
    return Changed(f"{action.owed} is owed") if new else Unchanged("it is noted already")


def settle_fence_debt(context: Context, action: SettleFenceDebt) -> Effect:
    """A note that cannot be taken away only reminds once more."""
    try:
        gone = settle_debt(context.inventory.state_dir, _identity(context), action.owed)
    except OSError as error:
        context.session.reporter.warn(f"the note on {action.owed} cannot be taken away: {error.strerror}")
        return Unchanged("the note stays")
    return Changed() if gone else Unchanged("nothing was noted")


def _identity(context: Context) -> SystemIdentifier:
    identifier = context.facts.system_identifier
    if identifier is None:
        raise RefusedError(
            "the cluster's system identifier is not known", hint="Pin it: `system_identifier` in the inventory."
        )
    return identifier
