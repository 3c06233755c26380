"""Whom commits wait for."""

from __future__ import annotations

from psycopg import sql

from replctl.execution.context import Changed, Context, Effect, Unchanged
from replctl.execution.handlers.standby import streaming
from replctl.model.actions import SetSynchronous
from replctl.model.errors import WaitTimeoutError
from replctl.postgres.standby_names import STANDBY_NAMES, standby_names
from replctl.remote.ports import Database

RELOAD_SECONDS = 10.0


def set_synchronous(context: Context, action: SetSynchronous) -> Effect:
    """ALTER SYSTEM and a reload, which wait for no standby themselves. It may be set on a standby too."""
    with context.database() as database:
        wanted, following = _wanted(context, action, database)
        if _in_force(database) == wanted:
            return Unchanged(wanted or "commits wait for nobody")
        database.execute(sql.SQL("alter system set {} = {}").format(sql.Identifier(STANDBY_NAMES), sql.Literal(wanted)))
        database.fetch("select pg_reload_conf()")
        waiting = context.waiting(RELOAD_SECONDS, 0.005)
        if not waiting.until(lambda: True if _in_force(database) == wanted else None):
            raise WaitTimeoutError(
                f"{context.name}: {STANDBY_NAMES} was set to {wanted!r}, and is not in force",
                hint=f"See in the log of {context.name} what its reload met, and run the same command again.",
                node=context.name,
            )
    _warn_of_less(context, action, following)
    return Changed(wanted or "commits wait for nobody")


def _wanted(context: Context, action: SetSynchronous, database: Database) -> tuple[str, int]:
    """The setting, and how many standbys of it follow."""
    sync = context.inventory.sync
    if sync is None or not action.standbys:
        return "", 0
    following = set(streaming(context, database)).intersection(action.standbys) - {action.without}
    return standby_names(sync, action.standbys, len(following)), len(following)


def _warn_of_less(context: Context, action: SetSynchronous, following: int) -> None:
    sync = context.inventory.sync
    if sync is None or not action.standbys or action.without is not None or following >= sync.count:
        return
    context.session.reporter.warn(
        f"commits on {context.name} wait for {following or 'none'} of its replicas, and not for {sync.count} as the "
        "inventory asks: no more of them stream"
    )


def _in_force(database: Database) -> str:
    value: str = database.fetch(f"select current_setting('{STANDBY_NAMES}') as value")[0]["value"]
    return value
