"""A strict reading of YAML: no key wins silently, and a plain scalar is what it looks like.

YAML 1.1 reads 022 as 18, 12:30 as 750 and yes as true. Here a plain scalar is a boolean, a number or text by the
narrow forms below, and everything else is text exactly as written.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn, cast

import yaml
from yaml import events

from replctl.inventory.problems import Problem, Where

Scalar = str | int | float | bool | None
Tree = Scalar | dict[str, "Tree"] | list["Tree"]

MAX_BYTES = 1024 * 1024
"""More than this is no inventory."""

_MAX_DEPTH = 16
_UNREADABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# Line and paragraph separators would also break a line for some readers of the files that are rendered from here.
_FORBIDDEN_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,19})")
_FLOAT = re.compile(r"-?(?:0|[1-9][0-9]{0,19})\.[0-9]{1,20}")
_WORDS: Mapping[str, Scalar] = {"": None, "~": None, "null": None, "true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Document:
    """The values of a YAML document, the line of every key and list item, and what was wrong with its form."""

    root: Tree
    lines: Mapping[Where, int]
    problems: tuple[Problem, ...]


def read_document(text: str) -> Document:
    """Read one YAML document. Never raises: what cannot be read is among the problems, and the root then None."""
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        return Document(None, {}, (Problem((), f"is larger than {MAX_BYTES} bytes", 1),))
    if unreadable := _UNREADABLE.search(text):
        line = text.count("\n", 0, unreadable.start()) + 1
        problem = Problem((), f"holds the control character U+{ord(unreadable[0]):04X}", line)
        return Document(None, {}, (problem,))
    reader = _Reader(text)
    try:
        root = reader.read()
    except _StopReadingError:
        root = None
    return Document(root, reader.lines, tuple(reader.problems))


class _StopReadingError(Exception):
    """What follows cannot be read; the reason is among the reader's problems."""


class _Reader:
    """Builds the tree from PyYAML's events, since its own composer expands aliases and recurses without a bound."""

    def __init__(self, text: str) -> None:
        self.lines: dict[Where, int] = {}
        self.problems: list[Problem] = []
        self._loader = yaml.SafeLoader(text)

    def read(self) -> Tree:
        self._next()
        if isinstance(self._next(), events.StreamEndEvent):
            return None
        root = self._value(self._next(), ())
        self._next()
        if not isinstance(after := self._next(), events.StreamEndEvent):
            self._stop((), "holds a second YAML document; one file is one cluster", _line(after))
        return root

    def _next(self) -> events.Event:
        try:
            return cast("events.Event", self._loader.get_event())  # pyright: ignore[reportUnknownMemberType]
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            self._stop((), f"is not valid YAML: {_shown_problem(error)}", mark.line + 1 if mark else 1)
        except (ValueError, OverflowError):
            # PyYAML hands the digits of \U and of a %YAML directive to chr() and int() unchecked.
            self._stop((), "is not valid YAML: a number is out of range", self._loader.line + 1)

    def _stop(self, where: Where, text: str, line: int) -> NoReturn:
        self.problems.append(Problem(where, text, line))
        raise _StopReadingError

    def _refuse(self, where: Where, text: str, event: events.Event) -> None:
        self.problems.append(Problem(where, text, _line(event)))

    def _value(self, event: events.Event, where: Where) -> Tree:
        self.lines.setdefault(where, _line(event))
        if isinstance(event, events.NodeEvent) and event.anchor is not None:
            # Aliases are how a small file becomes a huge tree.
            self._refuse(where, "anchors and aliases are not read; write the value out", event)
        if getattr(event, "tag", None) is not None:
            self._refuse(where, "tags are not read; remove the one that starts with !", event)
        if len(where) > _MAX_DEPTH:
            self._stop(where[:_MAX_DEPTH], "is nested too deeply", _line(event))
        match event:
            case events.ScalarEvent():
                return self._scalar(event, where)
            case events.SequenceStartEvent():
                return self._sequence(where)
            case events.MappingStartEvent():
                return self._mapping(where)
            case _:
                return None

    def _scalar(self, event: events.ScalarEvent, where: Where) -> Scalar:
        text: str = event.value
        if _holds_control(text):
            self._refuse(where, "holds a line break or a control character", event)
        value = _resolve(text) if event.style is None else text
        if value is None:
            self._refuse(where, "has no value; give it one or remove the key", event)
        return value

    def _sequence(self, where: Where) -> list[Tree]:
        items: list[Tree] = []
        while not isinstance(event := self._next(), events.SequenceEndEvent):
            items.append(self._value(event, (*where, len(items))))
        return items

    def _mapping(self, where: Where) -> dict[str, Tree]:
        entries: dict[str, Tree] = {}
        while not isinstance(event := self._next(), events.MappingEndEvent):
            key = self._key(event, where)
            inside = (*where, key)
            if key in entries:
                self._refuse(inside, f"duplicate key; it stands on line {self.lines[inside]} already", event)
            self.lines.setdefault(inside, _line(event))
            value = self._value(self._next(), inside)
            entries.setdefault(key, value)
        return entries

    def _key(self, event: events.Event, where: Where) -> str:
        if not isinstance(event, events.ScalarEvent) or event.anchor is not None or event.tag is not None:
            self._stop(where, "a key is not plain text", _line(event))
        if _holds_control(event.value):
            self._refuse(where, "a key holds a line break or a control character", event)
        return event.value


def _line(event: events.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1


def _holds_control(text: str) -> bool:
    return any(unicodedata.category(char) in _FORBIDDEN_CATEGORIES for char in text)


def _resolve(plain: str) -> Scalar:
    """The value of a scalar without quotes."""
    if plain in _WORDS:
        return _WORDS[plain]
    if _INTEGER.fullmatch(plain):
        return int(plain)
    if _FLOAT.fullmatch(plain):
        return float(plain)
    return plain


def _shown_problem(error: yaml.MarkedYAMLError) -> str:
    """PyYAML's words without the one piece of the file that it quotes: a tag's handle may be part of a password."""
    return (error.problem or "it cannot be read").partition(" handle ")[0]
