"""The env file: written last, and only of nodes that are proven in their role now."""

from __future__ import annotations

from collections.abc import Container

from replctl.envfile import managed_values, merge
from replctl.execution.context import Changed, Context, Effect, Unchanged
from replctl.execution.handlers.standby import streaming
from replctl.model.actions import PublishEnv
from replctl.model.errors import ReplctlError
from replctl.model.values import NodeName
from replctl.remote.local_files import WriteResult, read_optional_text, write_env_file


def publish_env(context: Context, action: PublishEnv) -> Effect:
    """A replica that does not stream at this moment is left out; status then shows it as env-drift."""
    proven = _proven(context, action.primary)
    replicas = tuple(name for name in action.replicas if name in proven)
    for name in action.replicas:
        if name not in proven:
            context.session.reporter.warn(f"{name} does not stream now, and is left out of the env file")
    path = context.inventory.app.env_file
    values = managed_values(context.inventory, context.session.passwords, action.primary, replicas)
    result = write_env_file(path, merge(read_optional_text(path), values).reveal())
    names = ", ".join(replicas) or "none"
    if result is WriteResult.UNCHANGED:
        return Unchanged(f"{path.name} says so already")
    return Changed(f"{path.name}: primary {action.primary}, replicas {names}")


def _proven(context: Context, primary: NodeName) -> Container[NodeName]:
    with context.database(primary) as database:
        if database.fetch("select pg_is_in_recovery() as yes")[0]["yes"]:
            raise ReplctlError(
                f"{primary}: is in recovery, and cannot be published as the primary",
                hint="`replctl status` shows which node is the primary now.",
                node=primary,
            )
        return streaming(context, database)
