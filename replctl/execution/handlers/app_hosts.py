"""The application's hosts: its copies of the env file, and its sessions."""

from __future__ import annotations

from typing import LiteralString

from replctl.envfile import EnvValues, ListedNodes, listed_nodes, managed_values, masked, merge
from replctl.execution.context import Changed, Context, Effect, Unchanged
from replctl.model.actions import CountAppSessions, EndAppSessions, PushEnv
from replctl.model.errors import InterruptedByOperator, LockLostError, ReplctlError, SqlError, UnreachableError
from replctl.model.facts import Foreign, Unreachable
from replctl.model.inventory import AppHost
from replctl.model.values import NodeName
from replctl.remote.app_files import (
    ChangedMeanwhileError,
    close_app_file,
    read_app_file,
    settle_reload,
    write_app_file,
)
from replctl.remote.fan_out import fan_out
from replctl.remote.local_files import read_optional_text
from replctl.remote.ports import Runner
from replctl.remote.printable import one_line

RELOAD_SECONDS = 30.0
ATTEMPTS = 3
"""To read, merge and write, when somebody else changes the file in between."""
COUNT_SECONDS = 5.0
"""On top of connect_timeout."""
AGAIN = "Then run `replctl env --write`."

_SESSIONS: LiteralString = (
    "from pg_stat_activity where backend_type = 'client backend' and datname = %s and usename = %s"
)
_COUNT: LiteralString = f"select count(*) as sessions {_SESSIONS}"
_END: LiteralString = (
    f"with sessions as materialized (select pid {_SESSIONS}) "
    "select count(*) filter (where pg_terminate_backend(pid)) as ended from sessions"
)


def push_env(context: Context, action: PushEnv) -> Effect:
    """The copy says what the env file on this machine says now; the reload command runs when that is news.

    Raises ReplctlError that names the host, and the command that tries again.
    """
    host = next(host for host in context.inventory.app.publish if host.label == action.app_host)
    try:
        return _push(context, host)
    except (InterruptedByOperator, LockLostError):
        raise
    except ReplctlError as error:
        at = "" if error.message.startswith(host.label) else f"{host.label}: "
        raise ReplctlError(f"{at}{error.message}", hint=f"{error.hint} {AGAIN}", code=error.code) from error


def _push(context: Context, host: AppHost) -> Effect:
    listed = _listed(context)
    if listed.primary is None:
        raise ReplctlError(
            f"{context.inventory.app.env_file}: names no primary to be put on {host.ssh_host}",
            hint="See `replctl env --check`.",
            code="env-file",
        )
    inventory, passwords = context.inventory, context.session.passwords
    values = managed_values(inventory, passwords, listed.primary, listed.replicas, host.region)
    runner = context.on_app_host(host)
    written, due = _write(context, runner, host, values)
    if due:
        _reload(context, runner, host)
    if written or due:
        return Changed(", ".join(word for word, yes in (("written", written), ("reloaded", due)) if yes))
    return Unchanged("it says so already")


def _write(context: Context, runner: Runner, host: AppHost, values: EnvValues) -> tuple[bool, bool]:
    """Whether something was changed there, and whether the reload command has to run."""
    for left in reversed(range(ATTEMPTS)):
        found = read_app_file(runner, host)
        text = merge(found.text.reveal() if found.text else None, values)
        if found.text == text:
            if found.is_open:
                close_app_file(runner, host)
            return found.is_open, found.reload_due and bool(host.reload)
        try:
            write_app_file(runner, host, text, found)
        except ChangedMeanwhileError:
            if not left:
                raise
        else:
            break
    return True, bool(host.reload)


def _reload(context: Context, runner: Runner, host: AppHost) -> None:
    """What it says of its failure may hold what it read in the file."""
    context.says(f"runs {host.reload[0]}")
    result = runner.run(host.reload, timeout=RELOAD_SECONDS, check=False)
    if result.status != 0:
        words = one_line(masked(result.error_text)) or f"status {result.status}"
        raise ReplctlError(
            f"{host.label}: is written, and its reload command failed: {words}",
            hint=f"Mend the command on {host.ssh_host}, or app.publish in the inventory.",
            code="reload-failed",
        )
    settle_reload(runner, host)


def end_app_sessions(context: Context, action: EndAppSessions) -> Effect:
    """Of a node that the env file lists, the sessions stay."""
    listed = _listed(context)
    if context.name in (listed.primary, *listed.replicas):
        return Unchanged("the env file lists it")
    app = context.inventory.app
    try:
        with context.database() as database:
            ended = database.fetch(_END, (app.database, app.user))[0]["ended"]
    except (SqlError, UnreachableError) as error:
        return Unchanged(f"nobody gets in there now: {error.message}")
    return Changed(f"{ended} ended") if ended else Unchanged("there are none")


def count_app_sessions(context: Context, action: CountAppSessions) -> Effect:
    """What the run ends with: it changes nothing, and no node that does not answer makes it fail."""
    nodes = context.inventory.nodes
    asked = [name for name in nodes if not isinstance(context.facts.nodes[name], Unreachable | Foreign)]

    def count(name: NodeName) -> int:
        app = context.inventory.app
        with context.database(name) as database:
            return database.fetch(_COUNT, (app.database, app.user))[0]["sessions"]

    deadline = max(node.ssh.connect_timeout for node in nodes.values()) + COUNT_SECONDS
    answers = fan_out(asked, count, deadline=deadline)
    found = {name: answer if isinstance(answer := answers.get(name), int) else None for name in nodes}
    context.stopwatch.app_sessions = found
    return Unchanged(", ".join(f"{name} {'unknown' if n is None else n}" for name, n in found.items()))


def _listed(context: Context) -> ListedNodes:
    return listed_nodes(read_optional_text(context.inventory.app.env_file), context.inventory)
