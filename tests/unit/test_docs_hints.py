"""Every command that the code tells an operator to run is understood by the command line."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.command_lines import commands, parse

PACKAGE = Path(__file__).parents[2] / "replctl"
BETWEEN_BACKQUOTES = re.compile(r"`(replctl [^`]*)`")
# Where a command stands for itself, or behind a colon, as in `For example: ...` and `Fix: ...`.
BY_ITSELF = re.compile(rf"(?:^\s*|: )(replctl (?:{'|'.join(commands())})\b[^`.,;:\n]*)", re.MULTILINE)
FILLED = {"command": "restart", "wanted": "add-replica", "anew": " --reclone", "option": " -i chat.yaml"}
"""What stands for what is filled in, by its expression; a node's name for everything else."""


def filled(part: ast.expr) -> str:
    if isinstance(part, ast.Constant):
        return str(part.value)
    assert isinstance(part, ast.FormattedValue)
    value = part.value
    if isinstance(value, ast.IfExp) and isinstance(value.body, ast.Constant):
        return str(value.body.value)
    return FILLED.get(ast.unparse(value), "db2")


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """The texts of a module with their lines; those put together with what is filled in."""
    tree = ast.parse(path.read_text())
    joined = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
    inside = {id(part) for node in joined for part in ast.walk(node) if part is not node}
    yield from ((node.lineno, "".join(map(filled, node.values))) for node in joined if id(node) not in inside)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            yield node.lineno, node.value


def told() -> dict[str, str]:
    """Each command line, by where it is told first."""
    found: dict[str, str] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for line, text in texts(path):
            for command in BETWEEN_BACKQUOTES.findall(text) + BY_ITSELF.findall(BETWEEN_BACKQUOTES.sub("", text)):
                found.setdefault(command.strip(), f"{path.relative_to(PACKAGE)}:{line}")
    return found


TOLD = told()


def test_they_are_found_in_every_way_in_which_they_are_written() -> None:
    assert {
        "replctl env --write",
        "replctl rejoin db2 --reclone",
        "replctl add-replica db2 db3",
        "replctl remove-replica db2 --keep-data",
        "replctl status --watch",
    } <= set(TOLD)


@pytest.mark.parametrize(("line", "where"), TOLD.items())
def test_every_command_of_a_hint_is_understood(line: str, where: str) -> None:
    parse(shlex.split(line)[1:])
