"""How a key of the inventory is declared: what it may hold, how that is read, and what the JSON Schema says of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Generic, TypeVar, cast, dataclass_transform

from replctl.inventory.forms import Form
from replctl.inventory.problems import Problem, Where
from replctl.inventory.yaml_text import Tree

T = TypeVar("T")
Schema = dict[str, Any]

UNKNOWN_KEY = "unknown key"
_KEY = "key"


class Kind(ABC, Generic[T]):
    """What a value may be. No problem's text shows the value: it may be a password."""

    @abstractmethod
    def read(self, value: Tree, where: Where, found: list[Problem]) -> T | None:
        """The value as its type; None when what is wrong with it was added to ``found``."""

    @abstractmethod
    def schema(self, blocks: dict[str, Schema]) -> Schema:
        """For editors; ``blocks`` gets the schemas of the blocks that it refers to."""


class Scalar(Kind[T]):
    """A single value."""

    def read(self, value: Tree, where: Where, found: list[Problem]) -> T | None:
        try:
            return self.check(value)
        except ValueError as error:
            found.append(Problem(where, str(error)))
            return None

    @abstractmethod
    def check(self, value: Tree) -> T:
        """The value. Raises ValueError with words for the operator."""


class Text(Scalar[str]):
    """Text that passes the checks, each of which may spell it in another way for the next."""

    def __init__(
        self,
        *checks: Callable[[str], str],
        spelled: Callable[[Tree], Tree] = lambda value: value,
        types: str | list[str] = "string",
    ) -> None:
        """``spelled`` makes text of what the file may have instead, which are the JSON ``types``."""
        self._checks = checks
        self._spelled = spelled
        self._types = types

    def check(self, value: Tree) -> str:
        text = self._spelled(value)
        if not isinstance(text, str):
            raise ValueError("must be text" if isinstance(text, dict | list) else "must be text; put it in quotes")
        for check in self._checks:
            text = check(text)
        return text

    def schema(self, blocks: dict[str, Schema]) -> Schema:
        del blocks
        form = next((check for check in self._checks if isinstance(check, Form)), None)
        return {"type": self._types, **({"pattern": form.json_pattern} if form else {})}


class Whole(Scalar[int]):
    """A whole number, bounds included."""

    def __init__(self, least: int, most: int) -> None:
        self._least, self._most = least, most

    def check(self, value: Tree) -> int:
        if type(value) is not int:
            raise ValueError("must be a whole number, without quotes and leading zeros")
        if value < self._least:
            raise ValueError(f"must be greater than or equal to {self._least}")
        if value > self._most:
            raise ValueError(f"must be less than or equal to {self._most}")
        return value

    def schema(self, blocks: dict[str, Schema]) -> Schema:
        del blocks
        return {"type": "integer", "minimum": self._least, "maximum": self._most}


class Positive(Scalar[float]):
    """A number above 0, with or without a fraction."""

    def __init__(self, most: int) -> None:
        self._most = most

    def check(self, value: Tree) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError("must be a number, without quotes and leading zeros")
        if not value > 0:
            raise ValueError("must be greater than 0")
        if value > self._most:
            raise ValueError(f"must be less than or equal to {self._most}")
        return float(value)

    def schema(self, blocks: dict[str, Schema]) -> Schema:
        del blocks
        return {"type": "number", "exclusiveMinimum": 0, "maximum": self._most}


class YesNo(Scalar[bool]):
    """true or false."""

    def check(self, value: Tree) -> bool:
        if not isinstance(value, bool):
            raise ValueError("must be true or false (yes, no, on and off are text)")
        return value

    def schema(self, blocks: dict[str, Schema]) -> Schema:
        del blocks
        return {"type": "boolean"}


class OneOf(Scalar[str]):
    """One of several words."""

    def __init__(self, *words: str) -> None:
        self._words = words

    def check(self, value: Tree) -> str:
        if not isinstance(value, str) or value not in self._words:
            *others, last = (f"'{word}'" for word in self._words)
            raise ValueError(f"must be {', '.join(others)} or {last}")
        return value

    def schema(self, blocks: dict[str, Schema]) -> Schema:
        del blocks
        return {"type": "string", "enum": list(self._words)}


class ListOf(Kind[list[T]]):
    """Values of one kind."""

    def __init__(self, item: Kind[T]) -> None:
        self._item = item

    def read(self, value: Tree, where: Where, found: list[Problem]) -> list[T] | None:
        if not isinstance(value, list):
            found.append(Problem(where, "must be a list"))
            return None
        items = [self._item.read(each, (*where, index), found) for index, each in enumerate(value)]
        return [item for item in items if item is not None]

    def schema(self, blocks: dict[str, Schema]) -> Schema:
        return {"type": "array", "items": self._item.schema(blocks)}


class MapOf(Kind[dict[str, T]]):
    """Values of one kind by names of one kind."""

    def __init__(self, name: Text, item: Kind[T], *, least: int = 0) -> None:
        self._name, self._item, self._least = name, item, least

    def read(self, value: Tree, where: Where, found: list[Problem]) -> dict[str, T] | None:
        if not isinstance(value, dict):
            found.append(Problem(where, "must be a mapping"))
            return None
        if len(value) < self._least:
            found.append(Problem(where, f"must have at least {self._least} item{'s' if self._least > 1 else ''}"))
        for name in value:
            self._name.read(name, (*where, name), found)
        items = {name: self._item.read(each, (*where, name), found) for name, each in value.items()}
        return {name: item for name, item in items.items() if item is not None}

    def schema(self, blocks: dict[str, Schema]) -> Schema:
        pattern, item = self._name.schema(blocks).get("pattern"), self._item.schema(blocks)
        names = {"patternProperties": {pattern: item}} if pattern else {"additionalProperties": item}
        return {"type": "object", **names, **({"minProperties": self._least} if self._least else {})}


class BlockOf(Kind[T]):
    """A mapping whose keys a block declares: others are errors."""

    def __init__(self, declared: type[T]) -> None:
        self._declared = declared

    def read(self, value: Tree, where: Where, found: list[Problem]) -> T | None:
        if not isinstance(value, dict):
            found.append(Problem(where, "must be a mapping"))
            return None
        keys, before = keys_of(self._declared), len(found)
        found += [Problem((*where, name), UNKNOWN_KEY) for name in value if name not in keys]
        given: dict[str, Any] = {}
        for name, key in keys.items():
            if name in value:
                given[name] = key.read(value[name], (*where, name), found)
            elif key.required:
                found.append(Problem((*where, name), "required key is missing"))
        return self._declared(**given) if len(found) == before else None

    def schema(self, blocks: dict[str, Schema]) -> Schema:
        name = self._declared.__name__
        if name not in blocks:
            blocks[name] = block_schema(self._declared, blocks)
        return {"$ref": f"#/$defs/{name}"}


def block_schema(block: type, blocks: dict[str, Schema]) -> Schema:
    """The schema of a block itself."""
    keys = keys_of(block)
    required = [name for name, key in keys.items() if key.required]
    return {
        "type": "object",
        "title": block.__name__,
        "description": " ".join((block.__doc__ or "").split()),
        "properties": {name: key.schema(blocks) for name, key in keys.items()},
        **({"required": required} if required else {}),
        "additionalProperties": False,
    }


class Key:
    """A key of a block."""

    def __init__(self, kind: Kind[Any], description: str, default: object) -> None:
        self.kind = kind
        self.description = description
        self.default = default

    @property
    def required(self) -> bool:
        return self.default is MISSING

    def read(self, value: Tree, where: Where, found: list[Problem]) -> Any:
        """That no value stands there is a complaint of the reader of the text."""
        return None if value is None and self.default is None else self.kind.read(value, where, found)

    def schema(self, blocks: dict[str, Schema]) -> Schema:
        shown = {"default": self.default} if isinstance(self.default, str) else {}
        return {**self.kind.schema(blocks), **shown, "description": self.description}


def required(kind: Kind[T], description: str) -> T:
    """A key that has to be there."""
    return cast("T", field(metadata={_KEY: (kind, description)}))


def optional(kind: Kind[T], description: str) -> T | None:
    """A key that is None where it is not set."""
    return cast("T | None", field(default=None, metadata={_KEY: (kind, description)}))


def usual(kind: Kind[T], default: T, description: str) -> T:
    """A key with a value where it is not set."""
    return field(default=default, metadata={_KEY: (kind, description)})


@dataclass_transform(frozen_default=True, kw_only_default=True)
def block(declared: type[T]) -> type[T]:
    """A mapping of the inventory. Without a repr, since a value may be a password."""
    return dataclass(frozen=True, kw_only=True, repr=False, eq=False)(declared)


def keys_of(declared: type) -> Mapping[str, Key]:
    """The keys of a block by their names."""
    keys: dict[str, Key] = {}
    for each in fields(declared):
        kind, description = each.metadata[_KEY]
        keys[each.name] = Key(kind, description, each.default)
    return keys
