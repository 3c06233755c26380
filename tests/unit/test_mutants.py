"""The mutants fit the code that is there: one that is not found would be killed by nobody."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[2]
MUTANTS: list[dict[str, Any]] = tomllib.loads((REPOSITORY / "tools/mutants.toml").read_text())["mutant"]
PAGE = REPOSITORY / "docs/mutants.md"

of_each = pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant["name"])


@of_each
def test_its_old_text_stands_once_in_its_file(mutant: dict[str, Any]) -> None:
    text = (REPOSITORY / mutant["file"]).read_text()
    assert text.count(mutant["old"]) == 1, "mend tools/mutants.toml: the check that it takes out stands elsewhere now"
    changed = text.replace(mutant["old"], mutant["new"])
    assert changed != text
    ast.parse(changed)


@of_each
def test_its_tests_are_quick_ones_that_are_there(mutant: dict[str, Any]) -> None:
    assert mutant["tests"]
    for test in mutant["tests"]:
        path, _, name = test.partition("::")
        assert path.split("/")[:2] in (["tests", "unit"], ["tests", "properties"], ["tests", "contract"])
        assert not name or f"def {name}(" in (REPOSITORY / path).read_text()


def test_each_has_a_name_of_its_own_and_says_what_it_takes_out() -> None:
    assert len({mutant["name"] for mutant in MUTANTS}) == len(MUTANTS)
    assert all(set(mutant) == {"name", "check", "file", "old", "new", "tests"} for mutant in MUTANTS)
    assert not [mutant["name"] for mutant in MUTANTS if "|" in mutant["check"] or mutant["check"].endswith(".")]


def test_the_page_lists_them() -> None:
    """`make mutants` writes it."""
    rows = [line.split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| ")][1:]
    assert [row[0].removeprefix("| ") for row in rows] == [mutant["name"] for mutant in MUTANTS]
    assert [row[1] for row in rows] == [mutant["check"] for mutant in MUTANTS]
    assert not [row[0] for row in rows if "**nobody**" in row[-1]]
