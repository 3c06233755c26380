"""The gallery of screens has a picture of every state, every finding and every breakage that ``check`` is shown."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

from replctl.model.report import NodeState
from tests.real.gallery import what_stays, write_index
from tests.unit.test_docs_runbooks import CODES, name_of
from tools.drawn_screen import lines_of, svg_of

REPOSITORY = Path(__file__).parents[2]
REAL = REPOSITORY / "tests" / "real"
MAKEFILE = (REPOSITORY / "Makefile").read_text()
RUN = [REPOSITORY / path for path in re.findall(r"tests/real/test_\w+\.py", MAKEFILE)]
"""The files of which ``make gallery`` runs tests."""
NAMES_FROM = {"shown_on": 1, "pictured": 1, "found": 2}
"""The calls that take pictures of ``status``, and the place of their first name."""


def calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def names_pictured(path: Path) -> set[str]:
    taken = [call for call in calls(ast.parse(path.read_text())) if name_of(call) in NAMES_FROM]
    names = [arg for call in taken for arg in call.args[NAMES_FROM[name_of(call)] :]]
    return {arg.value for arg in names if isinstance(arg, ast.Constant)}


def test_every_state_and_every_finding_has_its_picture() -> None:
    assert set().union(*map(names_pictured, RUN)) == {*CODES, *NodeState}


def test_no_other_file_takes_pictures() -> None:
    others = set(REAL.glob("test_*.py")) - set(RUN)
    assert [path.name for path in others if "real.gallery" in path.read_text()] == []


def test_every_breakage_has_its_picture() -> None:
    tree = ast.parse((REAL / "test_check_ten_ways.py").read_text())
    tests = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]
    assert len(tests) > 10
    for test in tests:
        assert [name_of(call) for call in calls(test)].count("breakage_pictured") == 1, test.name


def test_what_was_taken_away_again_is_not_in_a_picture() -> None:
    seen = "\x1b[?25llooking\r\x1b[2Kstill looking\r\n\x1b[1A\x1b[2K\x1b[?25h\x1b[33mwarning\x1b[0m  db2\r\nlast\r\n"
    assert what_stays(seen) == "\x1b[33mwarning\x1b[0m  db2\nlast"


def test_a_picture_has_the_words_the_colours_and_the_blanks(tmp_path: Path) -> None:
    screen = "\x1b[33mwarning\x1b[0m  it is broken, and a long line goes on below"
    assert [line.plain for line in lines_of(screen, 30)] == ["warning  it is broken, and a l", "ong line goes on below"]
    picture = svg_of(screen, "replctl status", 30, "broken-30")
    words = "".join(ET.fromstring(picture).itertext()).replace("\N{NO-BREAK SPACE}", " ")
    assert "  it is broken" in words
    assert 'xml:space="preserve"' in picture
    assert "http://" not in picture.replace("http://www.w3.org/2000/svg", "")
    (tmp_path / "broken-30.svg").write_text(picture)
    write_index(tmp_path)
    assert '<img src="broken-30.svg"' in (tmp_path / "index.html").read_text()
