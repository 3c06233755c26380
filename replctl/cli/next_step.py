"""What comes next after a command that went well, in words for the operator."""

from __future__ import annotations

from replctl.model.inventory import Inventory
from replctl.model.outcome import Outcome, OutcomeKind, StepOutcome

_LOOKS = {"config apply": "replctl config diff"}
"""What shows the result of a command, where it is not the status."""


def next_step(outcome: Outcome, inventory: Inventory) -> str | None:
    """None where the outcome itself says what is next, and where nothing was changed."""
    if outcome.kind is not OutcomeKind.DONE or outcome.next:
        return None
    done = {step.id.partition(":")[0] for step in outcome.steps if step.outcome is StepOutcome.DONE}
    if "initdb" in done and len(inventory.nodes) > 1:
        return "replctl add-replica --all"
    look = _LOOKS.get(outcome.command, "replctl status")
    if done & {"env", "env-2"} and not inventory.app.publish and outcome.drill is None:  # a drill ends where it began
        return f"have the application read {inventory.app.env_file.name} again, then: {look}"
    return look
