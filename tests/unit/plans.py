"""What a planner answered, in a form that tests compare."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path

from replctl.cli.render_plan import plan_renderable
from replctl.cli.streams import UNWRAPPED, open_console, show
from replctl.model.facts import ProblemKind
from replctl.model.plan import Plan, Refused
from replctl.model.values import NodeName

GOLDEN = Path(__file__).parents[1] / "golden" / "plans"

DB1, DB2, DB3, DB4 = (NodeName(f"db{number}") for number in range(1, 5))


def steps(planned: Plan | Refused) -> list[str]:
    """The ids of a plan's steps."""
    assert isinstance(planned, Plan), planned
    return [step.id for step in planned.steps]


def lanes(planned: Plan | Refused) -> list[list[list[str]]]:
    assert isinstance(planned, Plan), planned
    return [[[step.id for step in lane] for lane in stage.lanes] for stage in planned.stages]


def codes(planned: Plan | Refused) -> list[tuple[str, str | None]]:
    """Every refusal's code and node. Each of them explains itself."""
    assert isinstance(planned, Refused), steps(planned)
    for refusal in planned.refusals:
        assert not refusal.message.endswith("."), refusal
        assert refusal.hint.endswith("."), refusal
        observed = refusal.code in set(ProblemKind)  # said by the adapter that met the problem
        assert observed or refusal.node is None or refusal.node in refusal.message, refusal
    return [(refusal.code, refusal.node) for refusal in planned.refusals]


def compare_with_golden(name: str, planned: Plan | Refused) -> None:
    """The plan's text as the operator reads it in a pipe; UPDATE_GOLDEN=1 renews it."""
    assert isinstance(planned, Plan), planned
    golden = GOLDEN / f"{name}.txt"
    text = _text(planned)
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text)
    assert text == golden.read_text()


def _text(plan: Plan) -> str:
    out = io.StringIO()
    show(open_console(out), plan_renderable(plan, width=UNWRAPPED))
    return out.getvalue()


def notes_of(planned: Plan | Refused) -> Sequence[str]:
    assert isinstance(planned, Plan), planned
    return planned.notes
