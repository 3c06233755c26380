"""Physical replication slots."""

from __future__ import annotations

from replctl.execution.context import Changed, Context, Effect, Unchanged
from replctl.model.actions import CreateSlot, DropSlot
from replctl.model.errors import WaitTimeoutError
from replctl.remote.ports import Database, Row

RELEASE_SECONDS = 10.0
"""How long a slot may stay in use after its standby went away, before its walsender is ended."""


def create_slot(context: Context, action: CreateSlot) -> Effect:
    """WAL is reserved at once: without that a slot keeps nothing until its first use (and on a standby too)."""
    with context.database() as database:
        found = _slot(database, action.slot)
        if found and found["wal_status"] != "lost" and found["restart_lsn"] is not None:
            return Unchanged(f"{action.slot} is there")
        if found:
            database.fetch("select pg_drop_replication_slot(%(slot)s)", {"slot": action.slot})
        database.fetch("select pg_create_physical_replication_slot(%(slot)s, true)", {"slot": action.slot})
    return Changed(f"{action.slot}{' made anew: its WAL was gone' if found else ''}")


def drop_slot(context: Context, action: DropSlot) -> Effect:
    """One that is still in use is waited for; the walsender of a client that is gone is ended after a while."""
    with context.database() as database:
        if _slot(database, action.slot) is None:
            return Unchanged(f"{action.slot} is not there")
        for attempt in ("wait", "end"):
            free = context.waiting(RELEASE_SECONDS / 2, 0.05).until(lambda: _free(database, action.slot))
            if free:
                database.fetch("select pg_drop_replication_slot(%(slot)s)", {"slot": action.slot})
                return Changed(action.slot)
            if attempt == "wait":
                context.says(f"ending the walsender that holds {action.slot}")
                database.fetch(
                    "select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = %(slot)s",
                    {"slot": action.slot},
                )
    raise WaitTimeoutError(
        f"{context.name}: slot {action.slot} is still in use",
        hint=f"Drop it later: `SELECT pg_drop_replication_slot('{action.slot}');` on {context.name}.",
        node=context.name,
    )


def await_release(context: Context, database: Database, slot: str) -> None:
    """Until the walsender of a client that has just gone has left the slot, at most 10 s. Raises nothing:
    whoever takes the slot then is told by PostgreSQL who holds it."""
    context.waiting(RELEASE_SECONDS, 0.05).until(lambda: _free(database, slot))


def _slot(database: Database, name: str) -> Row | None:
    rows = database.fetch(
        "select active, wal_status, restart_lsn::text as restart_lsn"
        " from pg_replication_slots where slot_name = %(slot)s",
        {"slot": name},
    )
    return rows[0] if rows else None


def _free(database: Database, name: str) -> bool | None:
    found = _slot(database, name)
    return True if found is None or not found["active"] else None
