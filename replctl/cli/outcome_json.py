"""The JSON document of changing commands (docs/contract.md, section 4)."""

from __future__ import annotations

from typing import Any

from replctl.model.drill import DrillReport
from replctl.model.errors import ExitCode, ReplctlError
from replctl.model.outcome import Outcome, OutcomeKind, StepResult
from replctl.model.plan import Refusal

SCHEMA = 1

_KINDS = {
    ExitCode.REFUSED: OutcomeKind.REFUSED,
    ExitCode.UNREACHABLE: OutcomeKind.UNREACHABLE,
    ExitCode.INCOMPLETE: OutcomeKind.INCOMPLETE,
    ExitCode.UNDONE: OutcomeKind.UNDONE,
    ExitCode.INTERRUPTED: OutcomeKind.UNDONE,
}


def error_outcome(command: str, cluster: str, error: ReplctlError) -> Outcome:
    """The end of a command by an error outside of its plan: nothing was changed yet."""
    code = error.exit_code
    refusal = Refusal(error.code, error.node, error.message, error.hint, code)
    return Outcome(command, cluster, _KINDS.get(code, OutcomeKind.ERROR), code, refusals=(refusal,), next=error.hint)


def outcome_document(outcome: Outcome) -> dict[str, Any]:
    """The document, its keys in the contract's order. Times are in milliseconds."""
    return {
        "schema": SCHEMA,
        "command": outcome.command,
        "cluster": outcome.cluster,
        "outcome": outcome.kind.value,
        "exit_code": int(outcome.exit_code),
        "steps": [_step(step) for step in outcome.steps],
        "refusals": [_refusal(refusal) for refusal in outcome.refusals],
        "next": outcome.next,
        "write_outage_ms": outcome.write_outage_ms,
        **({} if outcome.app_sessions is None else {"app_sessions": dict(outcome.app_sessions)}),
        **({} if outcome.drill is None else {"drill": _drill(outcome.drill)}),
    }


def _step(step: StepResult) -> dict[str, Any]:
    return {"id": step.id, "node": step.node, "why": step.why, "outcome": step.outcome.value, "ms": step.ms}


def _drill(drill: DrillReport) -> dict[str, Any]:
    return {
        "to": drill.to,
        "write_outage_ms": list(drill.write_outage_ms),
        "read_outage_ms": drill.read_outage_ms,
        "rows": drill.rows,
        "lost": drill.lost,
        "twice": drill.twice,
    }


def _refusal(refusal: Refusal) -> dict[str, Any]:
    return {"code": refusal.code, "node": refusal.node, "message": refusal.message, "hint": refusal.hint}
