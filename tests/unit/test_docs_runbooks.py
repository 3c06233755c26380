"""Every finding and every cause that the code can name has its runbook, and no runbook is of anything else."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from replctl.model.checkup import Cause
from replctl.model.report import NodeState

REPOSITORY = Path(__file__).parents[2]
RUNBOOKS = (REPOSITORY / "docs" / "runbooks.md").read_text()
STATUS = (REPOSITORY / "docs" / "status.md").read_text()
PARTS = ("It means", "It comes about", "Look at", "Run", "Do not")
SECTIONS = dict(re.findall(r"^### `([a-z-]+)`\n((?:(?!^#).*\n)*)", RUNBOOKS, re.MULTILINE))


def calls() -> Iterator[ast.Call]:
    for path in sorted((REPOSITORY / "replctl" / "planning").glob("*.py")):
        yield from (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))


def name_of(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")


def state(node: ast.expr) -> str | None:
    """The value of a ``NodeState.X``."""
    known = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "NodeState"
    return NodeState[node.attr].value if known else None


def codes() -> set[str]:
    """The second argument of each ``Finding(...)``; where that is a state, the first one of each ``warn(...)``."""
    found: set[str] = set()
    for call in calls():
        if name_of(call) == "warn" and call.args and state(call.args[0]):
            found.add(str(state(call.args[0])))
        if name_of(call) == "Finding":
            code = call.args[1]
            if isinstance(code, ast.Constant):
                found.add(code.value)
            else:
                assert ast.unparse(code) == "code.value", "a code that this test cannot tell"
    return found


CODES = sorted(codes())


def test_codes_are_found_in_every_way_in_which_they_are_written() -> None:
    assert {"no-primary", "env-drift", "commits-wait", "not-receiving", "slot-lost"} <= set(CODES)
    assert len(CODES) > 30


def test_every_finding_and_cause_has_a_runbook_and_nothing_else_has() -> None:
    assert set(SECTIONS) == {*CODES, *Cause}
    assert RUNBOOKS.count("\n### ") == len(SECTIONS)


def test_every_finding_has_its_row_in_the_page_of_the_status() -> None:
    listed = STATUS.partition("## Findings")[2].partition("\n## ")[0]
    assert sorted(re.findall(r"^\| `([a-z-]+)` \|", listed, re.MULTILINE)) == CODES


@pytest.mark.parametrize("code", SECTIONS)
def test_a_runbook_says_what_it_is_where_from_what_to_look_at_what_to_run_and_what_not_to_do(code: str) -> None:
    begun = re.findall(r"^\*\*([A-Z][a-z ]+)\*\*", SECTIONS[code], re.MULTILINE)
    assert tuple(begun) == PARTS
