"""The copy of a node: the login that it needs, and pg_basebackup with its progress."""

from __future__ import annotations

from replctl.execution.context import Changed, Context, Effect, Unchanged
from replctl.execution.handlers.files import FILE_SECONDS, begin_staging
from replctl.execution.handlers.slots import await_release
from replctl.model.actions import BaseBackup, CheckLogin
from replctl.model.errors import CommandFailedError, RefusedError, ReplctlError, UnreachableError, WaitTimeoutError
from replctl.model.facts import ProblemKind
from replctl.postgres import scripts
from replctl.postgres.transfer import method
from replctl.remote.ports import CommandResult, Database, Process
from replctl.remote.printable import one_line

PROGRESS_SECONDS = 0.25
SAID_CHARACTERS = 4096
"""What is kept of a long-running program's own words, from their end."""

# backup_total is an estimate, made while the checkpoint is already done (PostgreSQL docs, 28.4.6).
_PROGRESS = """
select phase, backup_total, backup_streamed
  from pg_stat_progress_basebackup join pg_stat_activity using (pid) where application_name = %(name)s
"""
_PHASES = {
    "initializing": "starting",
    "waiting for checkpoint to finish": "waiting for checkpoint",
    "estimating backup size": "estimating the size",
    "streaming database files": "copying",
    "waiting for wal archiving to finish": "waiting for WAL archiving",
    "transferring wal files": "copying the last WAL",
}


def check_login(context: Context, action: CheckLogin) -> Effect:
    """A real login, as the walreceiver will make it. Where sshd forbids forwarding, pg_basebackup's own is the test."""
    target = context.inventory.nodes[action.target]
    link = context.session.fleet[context.name]
    try:
        answer = link.replication_login(target.host, target.postgres.port, timeout=context.node.ssh.connect_timeout)
    except UnreachableError as error:
        if error.code == ProblemKind.FORWARDING:
            return Unchanged("not tried: the node's sshd forbids forwarding")
        raise
    expected = context.facts.system_identifier
    if expected is not None and answer != expected:
        raise ReplctlError(
            f"{context.name}: another cluster answers at {target.host}:{target.postgres.port} (identifier {answer})",
            hint=f"Check the host and port of {target.name} in the inventory, as {context.name} sees them.",
            node=context.name,
        )
    return Unchanged("the login works")


def base_backup(context: Context, action: BaseBackup) -> Effect:
    """The whole process group ends with us: an interrupted pg_basebackup leaves a child that holds slot and WAL."""
    source = context.inventory.nodes[action.source]
    with context.database(action.source) as database:
        _check_compression(database, action)
        directory = begin_staging(context)
        command = scripts.base_backup(
            context.inventory,
            context.node,
            source,
            bin_dir=context.bin_dir(),
            directory=directory,
            slot=action.slot,
            transfer=action.transfer,
        )
        if action.slot is not None:
            # The copy of an interrupted run, ended just now, had it; pg_basebackup fails where it is in use.
            await_release(context, database, action.slot)
        process = context.runner().spawn(command)
        try:
            process.close_stdin()
            result = _follow(context, database, process)
        except BaseException:
            process.kill()
            raise
        _check(context, action, result)
        _check_slot(context, database, action)
    context.runner().run(scripts.clear_logs(directory), timeout=FILE_SECONDS)
    return Changed()


def _check_compression(database: Database, action: BaseBackup) -> None:
    """What a server was built with, whatever built it: wal_compression can be set to it. gzip it always knows."""
    if action.transfer.compress is None:
        return
    wanted = method(action.transfer.compress)
    known = database.fetch("select enumvals from pg_settings where name = 'wal_compression'")[0]["enumvals"]
    if wanted in ("gzip", *known):
        return
    raise RefusedError(
        f"{action.source}: its PostgreSQL was built without {wanted}",
        code="compression",
        hint="Say --compress server-gzip, or leave it out.",
        node=action.source,
    )


def _follow(context: Context, database: Database, process: Process) -> CommandResult:
    while True:
        context.cancellation.raise_if_cancelled()
        try:
            return process.wait(PROGRESS_SECONDS)
        except WaitTimeoutError:
            _tell(context, database)


def _tell(context: Context, database: Database) -> None:
    rows = database.fetch(_PROGRESS, {"name": scripts.clone_name(context.node)})
    if not rows:
        return
    phase, total, done = str(rows[0]["phase"]), rows[0]["backup_total"], rows[0]["backup_streamed"]
    context.says(_PHASES.get(phase, phase))
    if done:
        context.session.reporter.step_copied(context.step, done, max(total, done) if total else None)


def _check(context: Context, action: BaseBackup, result: CommandResult) -> None:
    if result.status == 0:
        return
    complaints = [line for line in result.error_text.replace("\r", "\n").splitlines() if "error:" in line]
    why = one_line(complaints[-1].split("error: ", 1)[-1]) if complaints else f"status {result.status}"
    raise CommandFailedError(
        f"{context.name}: pg_basebackup from {action.source} failed: {why}",
        hint="Mend what it names, and run the same command again: it starts afresh.",
        node=context.name,
        status=result.status,
        stderr=result.error_text[-SAID_CHARACTERS:],
    )


def _check_slot(context: Context, database: Database, action: BaseBackup) -> None:
    """Up to 17 pg_basebackup says nothing of a slot that was invalidated meanwhile."""
    if action.slot is None:
        return
    rows = database.fetch(
        "select wal_status from pg_replication_slots where slot_name = %(slot)s", {"slot": action.slot}
    )
    if rows and rows[0]["wal_status"] != "lost":
        return
    raise ReplctlError(
        f"{context.name}: slot {action.slot} lost its WAL while the copy was made",
        hint="Raise postgres.parameters.max_slot_wal_keep_size, or copy at a quieter hour.",
        node=context.name,
    )
