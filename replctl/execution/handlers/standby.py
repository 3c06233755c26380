"""What makes a directory, or a running server, follow another node; and the proof that it does."""

from __future__ import annotations

from typing import LiteralString

from psycopg import sql

from replctl.execution.context import Changed, Context, Effect, Unchanged
from replctl.execution.handlers.files import FILE_SECONDS
from replctl.execution.handlers.switchover import committed_position
from replctl.model.actions import AwaitReplayed, AwaitStreaming, ConfigureStandby, ForgetStandby, Place, RepointStandby
from replctl.model.errors import WaitTimeoutError
from replctl.model.facts import Replica
from replctl.model.values import Lsn, NodeName
from replctl.postgres import scripts
from replctl.postgres.conf_syntax import edit_auto_conf
from replctl.postgres.conninfo import primary_conninfo
from replctl.postgres.paths import directory_of
from replctl.postgres.settings import MANAGED
from replctl.postgres.standby_names import STANDBY_NAMES
from replctl.remote.ports import Database, Row

_STREAMING: LiteralString = """
select application_name as name, flush_lsn::text as flushed, coalesce(slot_name, '') as slot
  from pg_stat_replication left join pg_replication_slots on active_pid = pid
 where state = 'streaming' order by flush_lsn nulls first
"""
AUTO_CONF = "postgresql.auto.conf"
SIGNAL = "standby.signal"

# What ALTER SYSTEM set on the source of a copy belongs to the source: its port, its paths.
_LOCAL = (
    *sorted(MANAGED),
    "data_directory",
    "config_file",
    "hba_file",
    "ident_file",
    "cluster_name",
    "external_pid_file",
)


def configure_standby(context: Context, action: ConfigureStandby) -> Effect:
    """standby.signal comes last: without the settings it would start as a standby of nobody, which is safe too."""
    if context.runner().run(standby_command(context, action), timeout=FILE_SECONDS).text:
        return Unchanged(f"it follows {action.upstream} already")
    return Changed()


def standby_command(context: Context, action: ConfigureStandby) -> tuple[str, ...]:
    """The same words each time, so that it can wait on the node for its go."""
    dropped = _LOCAL if action.place is Place.STAGING else ()
    if action.place is not Place.LIVE and context.inventory.sync is not None:
        dropped = (*dropped, STANDBY_NAMES)
    settings = _settings(context, action.upstream, action.slot)
    return scripts.make_standby(directory_of(context.node, action.place), dropped, settings)


def forget_standby(context: Context, action: ForgetStandby) -> Effect:
    """The node is a stopped primary again, as it was before."""
    directory = context.node.postgres.data_dir
    runner = context.runner()
    runner.run(scripts.remove_file(f"{directory}/{SIGNAL}"), timeout=FILE_SECONDS)
    old = runner.run(scripts.read_file(f"{directory}/{AUTO_CONF}"), timeout=FILE_SECONDS).text
    new = edit_auto_conf(old, {"primary_conninfo": None, "primary_slot_name": None})
    runner.run(scripts.write_file(f"{directory}/{AUTO_CONF}"), stdin=new.encode(), timeout=FILE_SECONDS)
    return Changed()


def repoint_standby(context: Context, action: RepointStandby) -> Effect:
    """A reload is enough since 13, and also ends the walreceiver's wait between two attempts."""
    settings = _settings(context, action.upstream, action.slot)
    with context.database() as database:
        rows = database.fetch(
            "select name, setting from pg_settings where name = any(%(names)s)", {"names": list(settings)}
        )
        if {row["name"]: row["setting"] for row in rows} == settings:
            return Unchanged(f"it follows {action.upstream} already")
        for name, value in settings.items():
            database.execute(sql.SQL("alter system set {} = {}").format(sql.Identifier(name), sql.Literal(value)))
        database.fetch("select pg_reload_conf()")
    return Changed()


def _settings(context: Context, upstream: NodeName, slot: str) -> dict[str, str]:
    conninfo = primary_conninfo(context.inventory, context.node, context.inventory.nodes[upstream])
    return {"primary_conninfo": conninfo, "primary_slot_name": slot}


def await_streaming(context: Context, action: AwaitStreaming) -> Effect:
    """Receiver status and timelines can lie; the upstream's own view of what was flushed of its own WAL cannot."""
    with context.database(action.upstream) as upstream:
        target = committed_position(upstream)
        context.says(f"waiting until {context.name} has received up to {target}")
        waiting = context.waiting(context.inventory.timeouts.catchup, 0.02)
        positions: list[Lsn | None] = [None]

        def look() -> Lsn | None:
            positions[0] = streaming(context, upstream).get(context.name)
            return positions[0] if positions[0] is not None and positions[0] >= target else None

        found = waiting.until(look, progress=lambda: positions[0])
    if found is None:
        raise _not_streaming(context, action.upstream, positions[0], target)
    return Unchanged(f"streams from {action.upstream}")


def await_replayed(context: Context, action: AwaitReplayed) -> Effect:
    """A standby may have less of an ordered setting than before only once it has replayed that its primary has: the
    record is written when the primary starts (XLOG_PARAMETER_CHANGE)."""
    with context.database(action.upstream) as upstream, context.database() as standby:
        target = committed_position(upstream)
        context.says(f"waiting until {context.name} has replayed up to {target}")
        positions: list[Lsn | None] = [None]

        def look() -> Lsn | None:
            text = standby.fetch("select pg_last_wal_replay_lsn()::text as replayed")[0]["replayed"]
            positions[0] = Lsn.parse(text) if text else None
            return positions[0] if positions[0] is not None and positions[0] >= target else None

        found = context.waiting(context.inventory.timeouts.catchup, 0.02).until(look, progress=lambda: positions[0])
    if found is None:
        raise WaitTimeoutError(
            f"{context.name}: has not replayed what {action.upstream} had written: it is at {positions[0]} of {target}",
            hint=f"See in `replctl status` what holds up {context.name}, and run the same command again.",
            node=context.name,
        )
    return Unchanged(f"it is at {found}")


def streaming(context: Context, upstream: Database) -> dict[NodeName, Lsn | None]:
    """The nodes that stream from this server, and how far each has flushed; None before its first reply.

    application_name is what any standby says of itself; a slot has one holder, and tells ours from another one.
    """
    found = {NodeName(row["name"]): row for row in upstream.fetch(_STREAMING) if _is_ours(context, row)}
    return {name: Lsn.parse(row["flushed"]) if row["flushed"] else None for name, row in found.items()}


def _is_ours(context: Context, row: Row) -> bool:
    node = context.inventory.nodes.get(NodeName(row["name"]))
    if node is None:
        return False
    seen = context.facts.nodes[node.name]
    # What ran before may stream as it was found: by another slot, or by none.
    found = seen.server.setting("primary_slot_name") if isinstance(seen, Replica) else node.slot
    return row["slot"] in (node.slot, found)


def _not_streaming(context: Context, upstream: NodeName, position: Lsn | None, target: Lsn) -> WaitTimeoutError:
    log = context.runner().run(
        scripts.last_complaints(context.node.postgres.data_dir, context.layout().start_log),
        timeout=FILE_SECONDS,
        check=False,
    )
    lines = log.text.strip().splitlines()
    seen = f"it is at {position} of {target}" if position else f"{upstream} has no walsender for it"
    words = f"; its log says: {lines[-1].split('] ', 1)[-1].strip()}" if lines else ""
    return WaitTimeoutError(
        f"{context.name}: does not stream from {upstream}: {seen}{words}",
        hint=f"Mend what stands in the way, then `replctl add-replica {context.name}`.",
        node=context.name,
    )
