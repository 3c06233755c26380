"""Outcomes of commands in which nothing ran: planned, or refused by the planner."""

from __future__ import annotations

from replctl.model.errors import ExitCode
from replctl.model.outcome import Outcome, OutcomeKind, StepOutcome, StepResult
from replctl.model.plan import Plan, Refused


def planned_outcome(plan: Plan) -> Outcome:
    """The end of ``--dry-run``, and of a command that finds nothing to do."""
    steps = tuple(StepResult(step.id, step.node, step.why, StepOutcome.PLANNED) for step in plan.steps)
    kind = OutcomeKind.PLANNED if steps else OutcomeKind.UNCHANGED
    return Outcome(plan.command, plan.cluster, kind, ExitCode.DONE, steps=steps, notes=plan.notes)


def refused_outcome(refused: Refused) -> Outcome:
    """Every reason why not."""
    code = refused.exit_code
    kind = OutcomeKind.UNREACHABLE if code is ExitCode.UNREACHABLE else OutcomeKind.REFUSED
    return Outcome(refused.command, refused.cluster, kind, code, refusals=refused.refusals)
