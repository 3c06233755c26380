"""The inventory: one YAML file in, one Inventory or every problem of it out. Touches no file."""

from __future__ import annotations

from pathlib import Path

from replctl.inventory.conversion import to_inventory
from replctl.inventory.problems import Problem, inventory_error
from replctl.inventory.rules import rule_problems
from replctl.inventory.schema import inventory_schema
from replctl.inventory.validation import validate
from replctl.inventory.yaml_text import Document, read_document
from replctl.model.inventory import Inventory

__all__ = ["inventory_schema", "parse_inventory"]


def parse_inventory(text: str, path: Path) -> Inventory:
    """The cluster that ``text`` describes. Relative paths in it start at the folder of ``path``.

    Raises InventoryError, whose message has one line for each problem: file, line, keys, what is wrong.
    """
    document = read_document(text)
    if document.root is None:
        problems = document.problems or (Problem((), "is empty", 1),)
        raise inventory_error(path, problems, document.lines)
    file, complaints = validate(document.root)
    problems = document.problems + _new(complaints, document) + tuple(rule_problems(file) if file else ())
    if file is None or problems:
        raise inventory_error(path, problems, document.lines)
    return to_inventory(file, path.absolute())


def _new(complaints: tuple[Problem, ...], document: Document) -> tuple[Problem, ...]:
    """What the reader of the text has complained about needs no second complaint."""
    known = {problem.where for problem in document.problems}
    return tuple(problem for problem in complaints if problem.where not in known)
