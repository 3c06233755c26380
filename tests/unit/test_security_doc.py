"""docs/security.md names tests that exist, one at least for each promise."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs/security.md"
TEST = re.compile(r"`(\w+/\w+\.py)::(\w+)`")


def promises() -> Iterator[tuple[str, str]]:
    """The first cell of each row and the last, without the head."""
    rows = [line.strip("|").split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    for promise, *_, tests in rows[1:]:
        yield promise.strip(), tests


@cache
def names_in(file: str) -> frozenset[str]:
    tree = ast.parse((TESTS / file).read_text())
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize(("promise", "tests"), list(promises()), ids=[promise for promise, _ in promises()])
def test_every_promise_has_its_tests(promise: str, tests: str) -> None:
    found = TEST.findall(tests)
    assert found
    assert [f"{file}::{name}" for file, name in found if name not in names_in(file)] == []
    assert TEST.sub("", tests).strip(" |,") == ""


def test_the_table_is_read() -> None:
    assert len(list(promises())) > 20
