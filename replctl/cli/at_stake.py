"""What a plan costs those who use the cluster, read from its actions: said right above the question."""

from __future__ import annotations

from collections.abc import Iterator

from replctl.model.actions import FencePrimary, Promote, SetAside, StopForSwitchover, StopPostgres
from replctl.model.plan import Plan
from replctl.model.repair_actions import KeepDivergedWal, Promise
from replctl.model.values import NodeName


def at_stake(plan: Plan) -> Iterator[str]:
    """Sentences: which nodes change, whose sessions end, when writes are refused, and what is given up for good."""
    if plan.nodes:
        yield f"changes {_listed(plan.nodes)}"
    yield from _sessions(plan)
    for step in plan.steps:
        match step.action:
            case FencePrimary():
                yield f"{step.node} is fenced: it is stopped, and takes no writes any more"
            case KeepDivergedWal(promise=Promise.GIVEN_UP):
                yield f"the commits that {step.node} alone has are given up; their WAL is kept aside"
            case SetAside():
                yield f"the data directory of {step.node} is moved aside, not deleted"
            case _:
                pass


def _sessions(plan: Plan) -> Iterator[str]:
    stopped = {step.node for step in plan.steps if isinstance(step.action, StopPostgres | StopForSwitchover)}
    nodes = [name for name in plan.nodes if name in stopped]
    if nodes:
        yield f"every session on {_listed(nodes)} ends"
    promoted = [step.node for step in plan.steps if isinstance(step.action, Promote)]
    if promoted and any(isinstance(step.action, StopForSwitchover) for step in plan.steps):
        refused = " and again ".join(f"until {name} takes them" for name in promoted)
        yield f"writes are refused {refused}; none that was acknowledged is lost"


def _listed(nodes: list[NodeName] | tuple[NodeName, ...]) -> str:
    return nodes[0] if len(nodes) == 1 else f"{', '.join(nodes[:-1])} and {nodes[-1]}"
