"""Steps, actions and outcomes in the words that plans, progress and results show."""

from __future__ import annotations

import re

from replctl.model.actions import Action
from replctl.model.outcome import OutcomeKind, StepOutcome
from replctl.model.values import NodeName

OUTCOME_WORDS = {
    StepOutcome.PLANNED: "planned",
    StepOutcome.DONE: "done",
    StepOutcome.UNCHANGED: "ok",
    StepOutcome.FAILED: "failed",
    StepOutcome.UNDONE: "undone",
    StepOutcome.UNDO_FAILED: "could not be undone",
    StepOutcome.NOT_RUN: "not run",
}

OUTCOME_STYLES = {
    StepOutcome.PLANNED: "",
    StepOutcome.DONE: "green",
    StepOutcome.UNCHANGED: "dim",
    StepOutcome.FAILED: "bold red",
    StepOutcome.UNDONE: "yellow",
    StepOutcome.UNDO_FAILED: "bold red",
    StepOutcome.NOT_RUN: "dim",
}

KIND_STYLES = {
    OutcomeKind.DONE: "bold green",
    OutcomeKind.UNCHANGED: "bold green",
    OutcomeKind.PLANNED: "bold",
    OutcomeKind.REFUSED: "bold red",
    OutcomeKind.UNDONE: "bold yellow",
    OutcomeKind.INCOMPLETE: "bold red",
    OutcomeKind.UNREACHABLE: "bold red",
    OutcomeKind.ERROR: "bold red",
}

_CAPITAL = re.compile(r"(?<!^)(?=[A-Z])")


def step_word(step_id: str, node: NodeName | None) -> str:
    """A step's id without the node, where that stands beside it."""
    return step_id.removesuffix(f":{node}") if node else step_id


def action_words(action: Action) -> str:
    """An action by its name, and its slot if it has one: ``drop slot replctl_db2``."""
    words = _CAPITAL.sub(" ", type(action).__name__).lower()
    slot: object = getattr(action, "slot", None)
    return f"{words} {slot}" if isinstance(slot, str) else words
