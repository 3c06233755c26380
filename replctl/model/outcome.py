"""How a changing command ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from replctl.model.drill import DrillReport
from replctl.model.errors import ExitCode
from replctl.model.plan import Refusal
from replctl.model.values import NodeName


class OutcomeKind(StrEnum):
    DONE = "done"
    UNCHANGED = "unchanged"
    PLANNED = "planned"
    REFUSED = "refused"
    UNDONE = "undone"
    INCOMPLETE = "incomplete"
    UNREACHABLE = "unreachable"
    ERROR = "error"


class StepOutcome(StrEnum):
    """How one step ended. ``failed`` and ``undone`` may both be told of one step: it failed, then was undone."""

    PLANNED = "planned"
    DONE = "done"
    UNCHANGED = "unchanged"
    FAILED = "failed"
    UNDONE = "undone"
    UNDO_FAILED = "undo-failed"
    NOT_RUN = "not-run"


@dataclass(frozen=True, slots=True)
class StepResult:
    id: str
    node: NodeName | None
    why: str
    outcome: StepOutcome
    ms: float | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of a changing command, as its JSON document has it."""

    command: str
    cluster: str
    kind: OutcomeKind
    exit_code: ExitCode
    steps: tuple[StepResult, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    next: str | None = None
    """The command or deed that comes next, or None when nothing is left to do."""
    write_outage_ms: float | None = None
    notes: tuple[str, ...] = ()
    app_sessions: Mapping[NodeName, int | None] | None = None
    """The application's sessions on each node; None for a node that did not answer, or where nobody asked."""
    drill: DrillReport | None = None
    """What a drill measured, once its writer had begun."""
