"""A server as a whole: initdb, start, stop, reload, checkpoint."""

from __future__ import annotations

from replctl.execution.context import Changed, Context, Effect, Unchanged
from replctl.execution.handlers.files import begin_staging, put_back
from replctl.execution.handlers.service import run_systemctl
from replctl.model.actions import (
    Checkpoint,
    DropStuckWalsenders,
    InitCluster,
    Pending,
    ReloadConfig,
    StartPostgres,
    StartWithConfig,
    StopForSwitchover,
    StopPostgres,
)
from replctl.model.errors import CommandFailedError, ReplctlError, WaitTimeoutError
from replctl.model.inventory import ServiceManager
from replctl.model.secret import Secret
from replctl.model.values import NodeName
from replctl.planning.hints import restart_needed
from replctl.postgres import scripts, starting, statements, stopping
from replctl.postgres.hostprobe import parse_control_data
from replctl.postgres.layout import Layout
from replctl.postgres.settings import socket_dir
from replctl.remote.ports import CommandResult
from replctl.remote.sql import offline_verifier

INITDB_SECONDS = 120.0
RELOAD_SECONDS = 5.0
"""For a session to read the files that a reload names, in seconds; what it says of them is all that is waited for."""
CHECKPOINT_SECONDS = 600.0
ROUND_TRIP_SECONDS = 15.0
"""On top of a remote script's own deadline, in seconds."""


def init_cluster(context: Context, action: InitCluster) -> Effect:
    """initdb into staging. The password itself does not leave this machine: initdb takes a verifier just as well."""
    directory = begin_staging(context)
    admin = context.inventory.admin.user
    context.says("initdb writes the new cluster")
    context.runner().run(
        scripts.initdb(context.node, context.major(), context.bin_dir(), directory, admin),
        stdin=Secret(offline_verifier(admin, context.session.passwords.admin)),
        timeout=INITDB_SECONDS,
    )
    return Changed()


def start_postgres(context: Context, action: StartPostgres) -> Effect:
    """Started, and answering."""
    return start(context, context.name)


def start_with_config(context: Context, action: StartWithConfig) -> Effect:
    """It may not have come up for the very settings that it was stopped for."""
    put_back(context, action.files)
    return start(context, context.name)


def start(context: Context, name: NodeName) -> Effect:
    """Start a node's server and wait for its pid file to say that it accepts connections."""
    context.says(f"waiting until {name} accepts connections")
    layout = context.layout(name)
    sockets = socket_dir(context.inventory.nodes[name], can_link=context.host(name).can_link_socket_dir)
    if layout.service is ServiceManager.SYSTEMD:
        result = _start_unit(context, name, layout, sockets)
    else:
        timeouts = context.inventory.timeouts
        command = starting.start(
            layout, context.bin_dir(name), sockets, stop_seconds=timeouts.stop, start_seconds=timeouts.catchup
        )
        seconds = timeouts.stop + timeouts.catchup + ROUND_TRIP_SECONDS
        result = context.runner(name).run(command, timeout=seconds, check=False)
    if result.status == 0:
        return Unchanged("it runs already") if result.text.strip() == starting.ALIVE else Changed()
    raise _start_failed(name, result.status, result.text.strip())


def _start_unit(context: Context, name: NodeName, layout: Layout, sockets: str) -> CommandResult:
    """systemd starts it, so that the unit owns its processes and ends them in good order when the host goes down."""
    timeouts, runner = context.inventory.timeouts, context.runner(name)
    before = starting.before_start(layout, sockets, stop_seconds=timeouts.stop)
    ready = runner.run(before, timeout=timeouts.stop + ROUND_TRIP_SECONDS, check=False)
    if ready.status != 0 or ready.text.strip() == starting.ALIVE:
        return ready
    run_systemctl(context, name, "start", seconds=timeouts.catchup + ROUND_TRIP_SECONDS)
    after = starting.after_start(layout, sockets, start_seconds=timeouts.catchup)
    return runner.run(after, timeout=timeouts.catchup + ROUND_TRIP_SECONDS, check=False)


def _stop_unit(context: Context, seconds: float) -> None:
    """systemd would take a server that somebody else stopped for one that failed. What it cannot do, a signal does."""
    layout, host = context.layout(), context.host()
    if layout.service is ServiceManager.SYSTEMD and layout.unit and host.unit_of_postmaster == layout.unit:
        command = starting.systemctl("stop", layout.unit)
        context.runner().as_login_user().run(command, timeout=seconds + ROUND_TRIP_SECONDS, check=False)


def _start_failed(name: NodeName, status: int, log: str) -> ReplctlError:
    last = log.splitlines()[-1] if log else "its log is empty"
    if status == scripts.TIMED_OUT:
        return WaitTimeoutError(
            f"{name}: the server was not ready in time; the last line of its log: {last}",
            hint="It may still come up: look at `replctl status`, and run the same command again.",
            node=name,
        )
    return CommandFailedError(
        f"{name}: the server does not start: {_why(log) or last}",
        hint="Mend what its log names, and run the same command again.",
        node=name,
        status=status,
        stderr=log,
    )


def _why(log: str) -> str | None:
    """The first line that says what was fatal."""
    return next((line.split(": ", 1)[-1].strip() for line in log.splitlines() if "FATAL:" in line), None)


def stop_postgres(context: Context, action: StopPostgres) -> Effect:
    """Sessions are ended, what they committed is on disk. The primary takes no write from here on."""
    seconds = context.inventory.timeouts.stop
    context.says(f"waiting until the server of {context.name} is down")
    if context.facts.primary is not None and context.facts.primary.node == context.name:
        context.stopwatch.stopped_at = context.session.clock.now()
    _stop_unit(context, seconds)
    result = context.runner().run(
        stopping.stop(context.node.postgres.data_dir, seconds=seconds),
        timeout=seconds + ROUND_TRIP_SECONDS,
        check=False,
    )
    if result.status == 0:
        return Changed()
    if result.status == scripts.GONE:
        return Unchanged("it does not run")
    if result.status == scripts.TIMED_OUT:
        raise WaitTimeoutError(
            f"{context.name}: did not shut down within {seconds:g} s, and may still do so",
            hint="Look for a standby that does not answer, or a failing archive_command; raise timeouts.stop, and run "
            "the same command again.",
            node=context.name,
        )
    raise CommandFailedError(
        f"{context.name}: the server could not be told to stop (status {result.status})",
        hint=f"See what its log says on {context.name}, and run the same command again.",
        node=context.name,
        status=result.status,
        stderr=result.error_text,
    )


def stop_for_switchover(context: Context, action: StopForSwitchover) -> Effect:
    """Returns as soon as pg_control has the shutdown record; the postmaster itself ends a little later."""
    seconds = context.inventory.timeouts.stop
    context.says(f"waiting for the shutdown record of {context.name}")
    context.stopwatch.stopped_at = context.session.clock.now()
    result = context.runner().run(
        stop_command(context),
        timeout=seconds + ROUND_TRIP_SECONDS,
        check=False,
    )
    control = parse_control_data(result.text)
    if result.status == 0 and control is not None and control.cleanly_shut_down_primary:
        context.stopwatch.shutdown_record = control.checkpoint
        return Changed(f"shutdown record at {control.checkpoint}")
    raise _stop_failed(context.name, result.status, seconds)


def stop_command(context: Context) -> tuple[str, ...]:
    """The same words each time, so that it can wait on the node for its go."""
    seconds = context.inventory.timeouts.stop
    return stopping.stop_until_shutdown_record(context.node.postgres.data_dir, context.bin_dir(), seconds=seconds)


def _stop_failed(name: NodeName, status: int, seconds: float) -> ReplctlError:
    if status == scripts.TIMED_OUT:
        return WaitTimeoutError(
            f"{name}: did not shut down within {seconds:g} s",
            hint="Look for a standby that does not answer, or a failing archive_command; raise timeouts.stop.",
            node=name,
        )
    why = "it was not running any more" if status == scripts.GONE else "it ended without a clean shutdown"
    return ReplctlError(
        f"{name}: could not be stopped for the switchover: {why}",
        hint=f"See what its log says of its end on {name}; `replctl init-primary {name}` starts it if it is down.",
        node=name,
    )


def reload_config(context: Context, action: ReloadConfig) -> Effect:
    """pg_reload_conf() says true even of a pg_hba.conf that it cannot use; that was checked when it was written."""
    with context.database() as database:
        before = database.fetch(statements.CONF_LOADED)
        database.fetch("select pg_reload_conf()")
        context.waiting(RELOAD_SECONDS, 0.005).until(
            lambda: True if database.fetch(statements.CONF_LOADED) != before else None
        )
        waiting = [row["name"] for row in database.fetch(statements.PENDING_RESTART)]
    if waiting and action.pending is Pending.WARN:
        context.session.reporter.warn(restart_needed(context.name, waiting))
    return Changed()


def checkpoint(context: Context, action: Checkpoint) -> Effect:
    """The second one is short, and leaves the shutdown checkpoint little to write. Nothing of it has to be undone."""
    context.says(f"waiting until {context.name} has written what changed in its memory")
    with context.database() as database:
        for _ in range(2):
            database.execute("checkpoint", timeout=CHECKPOINT_SECONDS)
    return Unchanged("what was written is on disk")


def drop_stuck_walsenders(context: Context, action: DropStuckWalsenders) -> Effect:
    """A walsender whose socket is full hangs past SIGTERM; only its own time-out ends it (wal_sender_timeout)."""
    query = "select pid from pg_stat_replication where pid = any(%(pids)s)"
    with context.database() as database:
        if not database.fetch(query, {"pids": list(action.pids)}):
            return Unchanged("they are gone")
        database.execute("alter system set wal_sender_timeout = '1s'")
        try:
            database.fetch("select pg_reload_conf()")
            context.says("waiting until wal_sender_timeout ends them")
            gone = context.waiting(10.0, 0.1).until(
                lambda: None if database.fetch(query, {"pids": list(action.pids)}) else Unchanged("they timed out")
            )
        finally:
            database.execute("alter system reset wal_sender_timeout")
            database.fetch("select pg_reload_conf()")
    if gone is None:
        raise WaitTimeoutError(
            f"{context.name}: a walsender of a standby that does not answer is still there",
            hint="Find the frozen standby in `replctl status`, and end it or wait for it.",
            node=context.name,
        )
    return gone
