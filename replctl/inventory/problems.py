"""What is wrong with an inventory: every problem has its place, so that all of them can be mended in one round."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from replctl.model.errors import InventoryError

Where = tuple[str | int, ...]
"""The keys and list indexes that lead to a value."""

NOT_SUPPORTED = "not supported by this version"

_SHOWN_PROBLEMS = 50
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_.-]{1,63}")
_PASSWORD_KEYS = frozenset({"env", "file", "command"})


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to mend. ``line`` is known here only where no key leads to the place."""

    where: Where
    text: str
    line: int | None = None


def dotted(where: Where) -> str:
    """``nodes.db2.host``, ``postgres.allow[0]``."""
    password_keys = where[2:] if where[0:1] != ("nodes",) and where[1:2] == ("password",) else ()
    text = ""
    for part in where[: len(where) - len(password_keys)]:
        text += f"[{part}]" if isinstance(part, int) else f".{_shown(part)}"
    for part in password_keys:
        text += f".{part}" if part in _PASSWORD_KEYS else ".?"
    return text.removeprefix(".")


def _shown(key: str) -> str:
    """A slip such as ``{password x}`` or ``password: {x}`` makes a key of a password: only plain names are shown."""
    return key if _PLAIN_KEY.fullmatch(key) else "?"


def line_of(where: Where, lines: Mapping[Where, int]) -> int:
    """The line of a key, or of the nearest key around it when it is missing."""
    return next((lines[where[:end]] for end in range(len(where), -1, -1) if where[:end] in lines), 1)


def inventory_error(path: Path, problems: Iterable[Problem], lines: Mapping[Where, int]) -> InventoryError:
    """All problems as one error, a line each, in the order of the file."""
    placed = {(each.line or line_of(each.where, lines), each.where, each.text) for each in problems}
    messages = [_message(path, *each) for each in sorted(placed, key=_by_line)[:_SHOWN_PROBLEMS]]
    if len(placed) > _SHOWN_PROBLEMS:
        messages.append(f"{path}: {len(placed) - _SHOWN_PROBLEMS} more problems")
    return InventoryError(
        "\n".join(messages),
        hint="Correct what is named above; inventory.example.yaml describes every key.",
    )


def _by_line(placed: tuple[int, Where, str]) -> tuple[int, str, str]:
    line, where, text = placed
    return line, dotted(where), text


def _message(path: Path, line: int, where: Where, text: str) -> str:
    return f"{path}:{line}: {dotted(where)}: {text}" if where else f"{path}:{line}: {text}"
