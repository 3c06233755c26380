"""Plans of steps that do nothing by themselves, for the execution to carry out."""

from __future__ import annotations

from dataclasses import replace

from replctl.model.actions import CreateSlot, DropSlot
from replctl.model.errors import ExitCode, ReplctlError, WaitTimeoutError
from replctl.model.outcome import OutcomeKind
from replctl.model.plan import OnFailure, Plan, Step
from replctl.model.plan import Stage as PlanStage
from replctl.model.values import NodeName

HINT = "Mend it."


def failure(kind: type[ReplctlError] = WaitTimeoutError, **fields: object) -> ReplctlError:
    return kind("db1: it does not work", hint=HINT, **fields)


def does(name: str) -> CreateSlot:
    return CreateSlot(name)


def back(name: str) -> DropSlot:
    return DropSlot(name)


def a_step(name: str, node: str = "db1", **changed: object) -> Step:
    return replace(Step(name, NodeName(node), does(name), f"why {name}", undo=back(name)), **changed)


def no_return(name: str, node: str = "db1") -> Step:
    return a_step(name, node, undo=None, point_of_no_return=True)


def lasting(name: str, node: str = "db1", **changed: object) -> Step:
    return a_step(name, node, undo=None, **changed)


def one_lane(*steps: Step) -> PlanStage:
    return PlanStage((steps,))


def side_by_side(*lanes: tuple[Step, ...]) -> PlanStage:
    return PlanStage(lanes, OnFailure.GO_ON)


def a_plan(*stages: PlanStage, **changed: object) -> Plan:
    return replace(Plan("test", "chat", stages), **changed)


ABC = a_plan(one_lane(a_step("a"), a_step("b"), a_step("c")))


def ended(outcome) -> tuple[OutcomeKind, ExitCode]:
    return outcome.kind, outcome.exit_code


def steps_of(outcome) -> dict[str, str]:
    return {result.id: result.outcome.value for result in outcome.steps}
