"""Bringing a diverged node back: its own WAL is kept, and pg_rewind works where nothing can start its result."""

from __future__ import annotations

from dataclasses import replace

from replctl.execution.context import Changed, Context, Effect, Unchanged
from replctl.execution.handlers.backup import SAID_CHARACTERS
from replctl.execution.handlers.files import FILE_SECONDS
from replctl.execution.handlers.server import stop_postgres
from replctl.model.actions import StopPostgres
from replctl.model.errors import CommandFailedError, RefusedError, ReplctlError
from replctl.model.host import ControlData
from replctl.model.repair_actions import CheckRewind, InstallRewound, KeepDivergedWal, Promise, RecoverAlone, Rewind
from replctl.model.values import Lsn, WalRange
from replctl.postgres import repair_scripts, scripts
from replctl.postgres.hostprobe import parse_control_data
from replctl.postgres.settings import socket_dir
from replctl.postgres.wal_tail import parse_wal_tail
from replctl.remote.ports import CommandResult
from replctl.remote.printable import one_line

CLEAN = ("shut down", "shut down in recovery")
CONTROL_SECONDS = 15.0
KEEP_SECONDS = 600.0
REWIND_SECONDS = 3600.0 * 6
NOTHING_TO_DO = "no rewind required"


def recover_alone(context: Context, action: RecoverAlone) -> Effect:
    """pg_rewind refuses a server that crashed; a standby of nobody replays all that it has and stops cleanly.

    It must have replayed to its very end: blocks that the crash left on disk ahead of the replay would otherwise not
    be known to pg_rewind.
    """
    state = _control(context)
    if state.state in CLEAN:
        return Unchanged(f"it was stopped cleanly ({state.state})")
    seconds = context.inventory.timeouts.catchup
    end = _last_record(context, WalRange(state.timeline, state.checkpoint))
    sockets = socket_dir(context.node, can_link=context.host().can_link_socket_dir)
    command = repair_scripts.start_alone(context.layout(), context.bin_dir(), sockets, seconds=seconds)
    result = context.runner().run(command, timeout=seconds + CONTROL_SECONDS, check=False)
    if result.status != 0:
        raise _failed(context, "does not replay its own WAL", result)
    try:
        _await_replayed(context, end)
    finally:
        stop_postgres(replace(context, shielded=True), StopPostgres())
    return Changed(f"replayed up to {end}")


def _control(context: Context) -> ControlData:
    command = scripts.control_data(context.node.postgres.data_dir, context.bin_dir())
    control = parse_control_data(context.runner().run(command, timeout=CONTROL_SECONDS).text)
    if control is None:
        raise ReplctlError(
            f"{context.name}: pg_control cannot be read",
            hint=f"`replctl rejoin {context.name} --reclone` clones the node anew.",
            node=context.name,
        )
    return control


def _last_record(context: Context, since: WalRange) -> Lsn:
    segment_bytes = context.facts.wal_segment_bytes
    command = repair_scripts.wal_tail(context.node.postgres.data_dir, context.bin_dir(), [since], segment_bytes)
    tail = parse_wal_tail(context.runner().run(command, timeout=KEEP_SECONDS).text, context.name, since.start)
    if tail.last is None:
        raise ReplctlError(
            f"{context.name}: its WAL from the latest checkpoint on cannot be read: {tail.problem or 'no record'}",
            hint=f"`replctl rejoin {context.name} --reclone` clones the node anew.",
            node=context.name,
        )
    return tail.last


def _await_replayed(context: Context, end: Lsn) -> None:
    context.says(f"waiting until {context.name} has replayed its own WAL up to {end}")
    seen: list[Lsn | None] = [None]
    with context.database() as database:

        def look() -> Lsn | None:
            row = database.fetch("select pg_last_wal_replay_lsn()::text as replayed")[0]
            seen[0] = Lsn.parse(row["replayed"]) if row["replayed"] else None
            return seen[0] if seen[0] is not None and seen[0] > end else None

        found = context.waiting(context.inventory.timeouts.catchup, 0.05).until(look, progress=lambda: seen[0])
    if found is None:
        raise ReplctlError(
            f"{context.name}: has not replayed its own WAL up to {end}; it is at {seen[0]}",
            hint=f"`replctl rejoin {context.name} --reclone` clones the node anew.",
            node=context.name,
        )


def keep_diverged_wal(context: Context, action: KeepDivergedWal) -> Effect:
    """Beside the data directory, named like everything that is moved aside, so that status lists it."""
    if action.promise is Promise.NO_COMMIT:
        _check_promise(context, action)
    known = {aside.path for aside in context.host().asides}
    context.says("copying WAL that no other node has")
    path = _keep(context, action.ranges)
    return Unchanged(f"kept in {path}") if path in known else Changed(f"kept in {path}")


def _check_promise(context: Context, action: KeepDivergedWal) -> None:
    """A server that still ran when the plan was made may have taken a commit since."""
    command = repair_scripts.wal_tail(
        context.node.postgres.data_dir, context.bin_dir(), action.ranges, context.facts.wal_segment_bytes
    )
    text = context.runner().run(command, timeout=KEEP_SECONDS).text
    tail = parse_wal_tail(text, context.name, action.ranges[0].start).tail
    if tail.commits or tail.problem is not None:
        raise RefusedError(
            f"{context.name} has taken {tail.commits} commits of its own meanwhile, from {tail.start} to {tail.end}",
            code="diverged",
            hint=f"`replctl rejoin {context.name} --discard-diverged` gives them up, and keeps their WAL.",
            node=context.name,
        )


def _keep(context: Context, ranges: tuple[WalRange, ...]) -> str:
    command = repair_scripts.keep_wal(context.node, context.bin_dir(), ranges, context.facts.wal_segment_bytes)
    return context.runner().run(command, timeout=KEEP_SECONDS).text.strip()


def check_rewind(context: Context, action: CheckRewind) -> Effect:
    """It finds the last common checkpoint, reads the WAL since, and lists the source's files: all that can fail."""
    source = context.inventory.nodes[action.source]
    command = repair_scripts.check_rewind(context.inventory, context.node, source, context.bin_dir())
    context.says("pg_rewind looks whether it can")
    result = context.runner().run(command, timeout=REWIND_SECONDS, check=False)
    if result.status != 0:
        raise _failed(context, "cannot be rewound", result)
    _beware_of_nothing(context, result)
    return Unchanged("pg_rewind can")


def _beware_of_nothing(context: Context, result: CommandResult) -> None:
    """It is asked only of a node that has diverged; when it sees no difference, it looks at an old checkpoint."""
    if NOTHING_TO_DO in result.text + result.error_text:
        raise ReplctlError(
            f"{context.name}: pg_rewind sees nothing to rewind, though the node has WAL of its own",
            hint=f"`replctl rejoin {context.name} --reclone` clones the node anew.",
            node=context.name,
        )


def rewind(context: Context, action: Rewind) -> Effect:
    """From its beginning on only a finished directory goes back into place."""
    source = context.inventory.nodes[action.source]
    own = f"{_keep(context, action.kept)}/own"
    fork = repair_scripts.segment_name(action.kept[0], context.facts.wal_segment_bytes)
    command = repair_scripts.rewind(context.inventory, context.node, source, context.bin_dir(), own=own, fork=fork)
    context.says(f"pg_rewind copies what differs from {action.source}")
    result = context.runner().run(command, timeout=REWIND_SECONDS, check=False)
    if result.status != 0:
        raise _failed(context, "was not rewound", result)
    return Changed()


def install_rewound(context: Context, action: InstallRewound) -> Effect:
    """Only what pg_rewind finished."""
    result = context.runner().run(repair_scripts.install_rewound(context.node), timeout=FILE_SECONDS, check=False)
    if result.status != 0:
        raise _failed(context, "has no finished rewind to put back", result)
    return Unchanged("it is in its place") if result.text.strip() == "there" else Changed()


def _failed(context: Context, what: str, result: CommandResult) -> CommandFailedError:
    lines = (result.error_text or result.text).replace("\r", "\n").splitlines()
    complaints = [line for line in lines if "error:" in line or "FATAL:" in line] or lines
    why = one_line(complaints[-1].split("error: ", 1)[-1]) if complaints else f"status {result.status}"
    return CommandFailedError(
        f"{context.name}: {what}: {why}",
        hint=f"`replctl rejoin {context.name} --reclone` clones the node anew, and moves what stands there aside.",
        node=context.name,
        status=result.status,
        stderr=result.error_text[-SAID_CHARACTERS:],
    )
