"""The catalogue of faults is whole, and docs/faults.md lists the tests that carry its marks."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest

from tests.faults import HIGHEST, catalogue

TOOL = Path(__file__).parents[2] / "tools/faults-doc"


@pytest.fixture
def tool() -> ModuleType:
    """The program as a module: its name has no .py."""
    spec = spec_from_loader("faults_doc", SourceFileLoader("faults_doc", str(TOOL)))
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_number_is_there_and_kinds_have_letters_in_order() -> None:
    kinds: dict[int, list[str]] = {}
    for key, fault in catalogue().items():
        assert re.fullmatch(r"\d+[a-z]?", key)
        kinds.setdefault(fault.number, []).append(key)
    assert list(kinds) == list(range(1, HIGHEST + 1))
    for number, keys in kinds.items():
        letters = [f"{number}{letter}" for letter in "abcdefghijklmnop"[: len(keys)]]
        assert keys in ([str(number)], letters)


def test_cells_of_the_page_are_cells() -> None:
    for fault in catalogue().values():
        assert "|" not in fault.fault + fault.expected
        assert not fault.fault.endswith(".")


def test_the_page_lists_the_tests_that_carry_marks() -> None:
    """After a mark was added or moved: run tools/faults-doc, which keeps the results that are known."""
    done = subprocess.run([sys.executable, TOOL, "--check"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


RESULTS = """<testsuites><testsuite>
<testcase classname="a" name="b[1]"><properties><property name="test" value="{test}"/>
<property name="fault" value="{key}"/></properties></testcase>
<testcase classname="a" name="b[2]"><properties><property name="test" value="{test}"/>
<property name="fault" value="{key}"/></properties><failure message="no"/></testcase>
<testcase classname="a" name="c"/>
</testsuite></testsuites>"""


def test_results_are_read_and_the_worst_parameter_counts(tool: ModuleType, tmp_path: Path) -> None:
    key, test = next(iter(tool.marks()))
    results = tmp_path / "faults.xml"
    results.write_text(RESULTS.format(key=key, test=test))
    known = tool.results(results)
    assert known == {(key, test): "failed"}
    rows = {(row["key"], row["test"]): row["result"] for row in tool.ROW.finditer(tool.page(known))}
    assert rows.pop((key, test)) == "failed"
    assert set(rows.values()) == {"not run"}


def test_every_fault_is_on_the_page_with_its_tests_or_without(tool: ModuleType) -> None:
    page = tool.page({})
    tested = {key for key, _ in tool.marks()}
    untested = page[page.index("## Not tested yet") :] if tested < set(catalogue()) else ""
    for key in catalogue():
        assert (f"\n| {key} |" in untested) == (key not in tested)
        assert f"\n| {key} |" in page
