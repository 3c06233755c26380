"""Outcomes of commands in which nothing ran: planned, or refused by the planner."""

from __future__ import annotations

from collections.abc import Sequence

from replctl.model.errors import ExitCode
from replctl.model.outcome import Outcome, OutcomeKind, StepOutcome, StepResult
from replctl.model.plan import Plan, Refusal, Refused
from replctl.planning.candidates import Candidate, Verdict, without_primary


def planned_outcome(plan: Plan) -> Outcome:
    """The end of ``--dry-run``, and of a command that finds nothing to do."""
    steps = tuple(StepResult(step.id, step.node, step.why, StepOutcome.PLANNED) for step in plan.steps)
    kind = OutcomeKind.PLANNED if steps else OutcomeKind.UNCHANGED
    return Outcome(plan.command, plan.cluster, kind, ExitCode.DONE, steps=steps, notes=plan.notes)


def candidates_outcome(cluster: str, candidates: Sequence[Candidate]) -> Outcome:
    """The end of ``promote`` without a node: every candidate is a reason to name one, best first."""
    refusals = tuple(
        Refusal(
            "candidate",
            candidate.node,
            f"{candidate.node}: {candidate.text}",
            _way_on(candidate),
        )
        for candidate in candidates
    )
    return Outcome("promote", cluster, OutcomeKind.REFUSED, ExitCode.REFUSED, refusals=refusals)


def _way_on(candidate: Candidate) -> str:
    match candidate.verdict:
        case Verdict.YES:
            return f"`replctl promote {candidate.node}` would promote it."
        case Verdict.LOSES:
            return without_primary(candidate)
        case Verdict.NO:
            return "`replctl status` says why."


def refused_outcome(refused: Refused) -> Outcome:
    """Every reason why not."""
    code = refused.exit_code
    kind = OutcomeKind.UNREACHABLE if code is ExitCode.UNREACHABLE else OutcomeKind.REFUSED
    return Outcome(refused.command, refused.cluster, kind, code, refusals=refused.refusals)
