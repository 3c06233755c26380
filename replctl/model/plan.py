"""A plan is data: what --dry-run prints is what runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from replctl.model.actions import Action
from replctl.model.errors import ExitCode
from replctl.model.values import NodeName


@dataclass(frozen=True, slots=True)
class Step:
    """One change. ``why`` is a sentence for the operator; ``undo`` takes the change back."""

    id: str
    node: NodeName | None
    """None for a step on the operator's own machine."""
    action: Action
    why: str
    undo: Action | None = None
    point_of_no_return: bool = False
    """From the moment this step begins, its lane goes only forward."""


class OnFailure(StrEnum):
    """What a failed lane means for the stages that follow."""

    STOP = "stop"
    GO_ON = "go-on"
    """The lanes are independent of each other (one node each): the others and the later stages still run."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Lanes that run beside each other; the steps of a lane run one after the other."""

    lanes: tuple[tuple[Step, ...], ...]
    on_failure: OnFailure = OnFailure.STOP
    heading: str = ""
    """What begins with this stage, in a few words, where a plan has parts."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """One reason why not. ``code`` is stable; ``hint`` says what to do."""

    code: str
    node: NodeName | None
    message: str
    hint: str
    exit_code: ExitCode = ExitCode.REFUSED


@dataclass(frozen=True, slots=True)
class Plan:
    """The stages run in order. A plan without steps is "nothing to do"."""

    command: str
    cluster: str
    stages: tuple[Stage, ...]
    notes: tuple[str, ...] = ()
    """Sentences for the operator: what stays as it is, what is worth knowing before saying yes."""
    unfinished: tuple[str, ...] = ()
    """What the plan cannot reach and the operator has to do later; such a run ends incomplete."""
    refused: tuple[Refusal, ...] = ()
    """Why the intent itself is refused: the plan only fences, which cannot wait, and ends refused."""

    @property
    def steps(self) -> Iterator[Step]:
        return (step for stage in self.stages for lane in stage.lanes for step in lane)

    @property
    def nodes(self) -> tuple[NodeName, ...]:
        """The nodes that the plan touches, sorted: the order in which they are locked."""
        return tuple(sorted({step.node for step in self.steps if step.node is not None}))


@dataclass(frozen=True, slots=True)
class Refused:
    """Every reason why the intent cannot be carried out, so that all can be mended in one round."""

    command: str
    cluster: str
    refusals: tuple[Refusal, ...]

    @property
    def exit_code(self) -> ExitCode:
        """An unreachable needed node outweighs the rest: the other checks may have failed because of it."""
        codes = {refusal.exit_code for refusal in self.refusals}
        return ExitCode.UNREACHABLE if ExitCode.UNREACHABLE in codes else ExitCode.REFUSED
