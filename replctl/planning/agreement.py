"""Whether the plan that is made anew under the lock keeps to the one that the operator agreed to."""

from __future__ import annotations

from dataclasses import replace

from replctl.model.actions import AwaitStreaming, DropStuckWalsenders, PublishEnv, SetSynchronous
from replctl.model.plan import Plan, Step

OF_THE_MOMENT = (AwaitStreaming, DropStuckWalsenders, PublishEnv, SetSynchronous)
"""Whether a standby is waited for, is stuck, or counts for commits, is a matter of seconds; and the env file says what
is proven when it is written, whatever it said before."""


def keeps_to(agreed: Plan, again: Plan) -> bool:
    """Whether ``again`` changes nothing beyond ``agreed``, in the same order, and leaves no more to be done later.

    It may do less: a replica that reconnected meanwhile needs nothing any more. It is the planner's whole answer to
    what is there now, so that nothing is missing from it.
    """
    left = iter(_changes(agreed))
    return all(step in left for step in _changes(again)) and set(again.unfinished) <= set(agreed.unfinished)


def _changes(plan: Plan) -> list[Step]:
    """What somebody decides, without the ids, which only count the steps."""
    return [replace(step, id="") for step in plan.steps if not isinstance(step.action, OF_THE_MOMENT)]
