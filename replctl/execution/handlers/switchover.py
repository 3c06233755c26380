"""The heart of a switchover: the proof, the promotion, the first write; and the way back before it."""

from __future__ import annotations

from typing import LiteralString

from replctl.execution.context import Changed, Context, Effect, Unchanged
from replctl.execution.handlers.files import FILE_SECONDS
from replctl.execution.handlers.server import start
from replctl.model.actions import ProbeWrite, Promote, ProveCaughtUp, ReviveOldPrimary
from replctl.model.errors import ReplctlError, SqlError, WaitTimeoutError
from replctl.model.values import Lsn, NodeName
from replctl.postgres import scripts
from replctl.postgres.hostprobe import parse_control_data
from replctl.remote.fan_out import fan_out
from replctl.remote.ports import Database

POLL_SECONDS = 0.002
PROOF_SECONDS = 5.0
"""The candidate has it about 10 ms after the shutdown record, 32 ms with archiving; this also covers a slow disk."""
RELOAD_SECONDS = 0.1
COMMAND_SECONDS = 15.0

_WRITE: LiteralString = """
select pg_is_in_recovery() as in_recovery, current_setting('transaction_read_only') as read_only,
       pg_logical_emit_message(true, 'replctl', 'write probe')::text as position
"""


def prove_caught_up(context: Context, action: ProveCaughtUp) -> Effect:
    """Replay moves at record ends: past the shutdown record's start means that all of it was replayed.

    The receive position alone would not be safe.
    """
    record = _shutdown_record(context, action)
    context.says(f"waiting until {context.name} has replayed the shutdown record at {record}")
    seen: list[Lsn | None] = [None]
    with context.database() as database:

        def look() -> Lsn | None:
            row = database.fetch("select pg_last_wal_replay_lsn()::text as replayed")[0]
            seen[0] = Lsn.parse(row["replayed"]) if row["replayed"] else None
            return seen[0] if seen[0] is not None and seen[0] > record else None

        proven = context.waiting(PROOF_SECONDS, POLL_SECONDS).until(look, progress=lambda: seen[0])
    if proven is None:
        raise WaitTimeoutError(
            f"{context.name}: has not replayed {action.old_primary}'s last record at {record}; it is at {seen[0]}",
            hint="It is frozen or cut off: mend that, or promote another node.",
            node=context.name,
        )
    return Unchanged(f"replayed to {proven}, past {record}")


def _shutdown_record(context: Context, action: ProveCaughtUp) -> Lsn:
    if context.stopwatch.shutdown_record is not None:
        return context.stopwatch.shutdown_record
    old = context.inventory.nodes[action.old_primary]
    command = scripts.control_data(old.postgres.data_dir, context.bin_dir(old.name))
    control = parse_control_data(context.runner(old.name).run(command, timeout=COMMAND_SECONDS).text)
    if control is None or not control.cleanly_shut_down_primary:
        raise ReplctlError(
            f"{old.name}: was not shut down cleanly",
            hint=f"`replctl init-primary {old.name}` starts it again.",
            node=old.name,
        )
    return control.checkpoint


def promote(context: Context, action: Promote) -> Effect:
    """A request that timed out may still be carried out: it is never taken for failed, only waited for.

    A promotion asked for just after the upstream went away may sleep for wal_retrieve_retry_interval; every reload
    wakes the startup process.
    """
    with context.database() as database:
        if not _in_recovery(database):
            return Unchanged("it is the primary already")
        _send_request(context, database)
        context.says(f"waiting until {context.name} accepts writes")
        clock = context.session.clock
        reloaded = clock.now()
        for _ in context.waiting(context.inventory.timeouts.promote, POLL_SECONDS).attempts():
            if not _in_recovery(database):
                return Changed()
            if clock.now() - reloaded >= RELOAD_SECONDS:
                database.fetch("select pg_reload_conf()")
                reloaded = clock.now()
    raise WaitTimeoutError(
        f"{context.name}: has not ended its recovery yet; the promote request was sent and may still be carried out",
        hint=f"`replctl promote {context.name}` finishes the job once it is.",
        node=context.name,
    )


def _send_request(context: Context, database: Database) -> None:
    try:
        context.runner().run(promote_command(context), timeout=COMMAND_SECONDS)
    except ReplctlError as error:
        context.session.reporter.warn(f"{error.message}; asking over SQL instead")
        _ask_over_sql(context, database)


def promote_command(context: Context) -> tuple[str, ...]:
    """The same words each time, so that it can wait on the node for its go."""
    return scripts.promote(context.node.postgres.data_dir, context.bin_dir())


def _ask_over_sql(context: Context, database: Database) -> None:
    try:
        database.fetch("select pg_promote(false)")
    except SqlError as error:
        if not _in_recovery(database):  # the first request was heard all the same
            return
        old = context.facts.primary
        back = f" Or `replctl promote {old.node}` starts {old.node} again." if old else ""
        raise ReplctlError(
            f"{error.message}: the promote request was refused",
            hint=f"Mend that, and run the same command again.{back}",
            node=context.name,
        ) from error


def _in_recovery(database: Database) -> bool:
    return bool(database.fetch("select pg_is_in_recovery() as yes")[0]["yes"])


def probe_write(context: Context, action: ProbeWrite) -> Effect:
    """A committed record, or the words of the server why not, in a session like those that the application opens."""
    with context.new_session() as database:
        position = committed_position(database)
    context.stopwatch.writable_at = context.session.clock.now()
    return Unchanged(f"wrote up to {position}")


def committed_position(database: Database) -> Lsn:
    """Commit a WAL message of our own and return where it ends. Raises ReplctlError when writes are refused."""
    with database.transaction():
        # A missing synchronous standby must not hold up the proof that this server accepts writes.
        database.execute("set local synchronous_commit = local")
        row = database.fetch(_WRITE)[0]
    if row["read_only"] == "on":
        raise ReplctlError(
            "the server refuses writes: default_transaction_read_only is on",
            hint="Set default_transaction_read_only to off there, and run the same command again.",
        )
    return Lsn.parse(row["position"])


def revive_old_primary(context: Context, action: ReviveOldPrimary) -> Effect:
    """The way back: without standby.signal it starts as the primary that it was, on the same timeline."""
    signal = f"{context.node.postgres.data_dir}/standby.signal"
    context.says("starting the old primary again")
    context.runner().run(scripts.remove_file(signal), timeout=FILE_SECONDS)
    effect = start(context, context.name)
    with context.database() as database:
        committed_position(database)
    _wake(context, action)
    return effect


def _wake(context: Context, action: ReviveOldPrimary) -> None:
    """Replicas come back at once after a reload, and by themselves after wal_retrieve_retry_interval."""

    def reload(name: NodeName) -> None:
        with context.database(name) as database:
            database.fetch("select pg_reload_conf()")

    fan_out(action.siblings, reload, deadline=COMMAND_SECONDS)
