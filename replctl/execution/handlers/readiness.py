"""What a switchover starts while writes still flow: the commands that it gives their go while writes are refused.

To start a command takes round trips, and a while on a busy host. One that cannot start at all is noticed in time.
"""

from __future__ import annotations

from replctl.execution.context import Context, Effect, Unchanged
from replctl.execution.handlers.server import stop_command
from replctl.execution.handlers.standby import standby_command
from replctl.execution.handlers.switchover import promote_command
from replctl.model.actions import ConfigureStandby, GetReadyToPromote, GetReadyToStop, Place


def get_ready_to_stop(context: Context, action: GetReadyToStop) -> Effect:
    """The stop, and what makes the stopped primary a standby."""
    runner = context.runner()
    runner.get_ready(stop_command(context))
    runner.get_ready(standby_command(context, ConfigureStandby(Place.LIVE, action.upstream, action.slot)))
    return Unchanged("the stop waits for its go")


def get_ready_to_promote(context: Context, action: GetReadyToPromote) -> Effect:
    """The request, and an SQL session, which an earlier step may have left open."""
    context.runner().get_ready(promote_command(context))
    with context.database():
        return Unchanged("the request waits for its go")
