"""From the values of a YAML document to the typed file, with every complaint in the operator's words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING

from pydantic import BaseModel, ValidationError

from replctl.inventory import schema
from replctl.inventory.problems import NOT_SUPPORTED, Problem, Where
from replctl.inventory.yaml_text import Tree

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

RESERVED = frozenset({"tls", "sync", "upstream", "in_rotation", "region", "wal_dir", "tablespaces", "apply_delay"})
"""Keys that later versions read: refused now, so that no inventory relies on what does not happen."""

BLOCKS: Mapping[Where, type[BaseModel]] = {
    (): schema.InventoryFile,
    ("ssh",): schema.SshBlock,
    ("postgres",): schema.PostgresBlock,
    ("admin",): schema.AdminBlock,
    ("replication",): schema.ReplicationBlock,
    ("app",): schema.AppBlock,
    ("app", "publish", "*"): schema.PublishBlock,
    ("app", "publish", "*", "ssh"): schema.SshBlock,
    ("timeouts",): schema.TimeoutsBlock,
    ("nodes", "*"): schema.NodeBlock,
    ("nodes", "*", "ssh"): schema.SshBlock,
    ("nodes", "*", "postgres"): schema.PostgresBlock,
}
"""Which block stands where; ``*`` is any node, or any item of a list."""

_TEXTS: Mapping[str, str] = {
    "missing": "required key is missing",
    "string_type": "must be text; put it in quotes",
    "int_type": "must be a whole number, without quotes and leading zeros",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number, without quotes and leading zeros",
    "bool_type": "must be true or false (yes, no, on and off are text)",
    "model_type": "must be a mapping",
    "dict_type": "must be a mapping",
    "list_type": "must be a list",
}


def validate(root: Tree) -> tuple[schema.InventoryFile | None, tuple[Problem, ...]]:
    """The typed file, or every problem. No problem's text shows a value: it may be a password."""
    try:
        return schema.InventoryFile.model_validate(root), ()
    except ValidationError as error:
        details = error.errors(include_url=False)
    return None, tuple(_problems(details))


def _problems(details: list[ErrorDetails]) -> Iterator[Problem]:
    for detail in details:
        where = _where(detail["loc"])
        if detail["type"] == "extra_forbidden":
            yield _unknown_key(where)
        else:
            yield Problem(where, _text(detail))


def _where(loc: Where) -> Where:
    """Without pydantic's own marks: ``[key]`` for a mapping's key, and the names of a password's two kinds."""
    return tuple(part for part in loc if part not in {"[key]", "<text>", "<reference>"})


def _text(detail: ErrorDetails) -> str:
    kind = detail["type"]
    if kind == "value_error":
        return str(detail.get("ctx", {})["error"])
    if kind == "string_type" and isinstance(detail["input"], dict | list):
        return "must be text"
    return _TEXTS.get(kind) or detail["msg"].replace("Input should", "must").replace("Dictionary should", "must")


def _unknown_key(where: Where) -> Problem:
    block, key = where[:-1], str(where[-1])
    if key in RESERVED:
        return Problem(where, NOT_SUPPORTED)
    if block[-1:] == ("password",):
        # Someone who wrote {the password itself} made a key of it.
        return Problem(block, "must name one of env, file and command")
    guess = _guess(block, key)
    return Problem(where, f"unknown key; did you mean {guess}?" if guess else "unknown key")


def _guess(block: Where, key: str) -> str:
    shape = tuple("*" if isinstance(part, int) else part for part in block)
    shape = (shape[0], "*", *shape[2:]) if shape[:1] == ("nodes",) else shape
    if shape == ("nodes", "*") and (nested := _nested(key)):
        return nested
    known = list(BLOCKS[shape].model_fields) if shape in BLOCKS else []
    return next(iter(get_close_matches(key, known, n=1)), "")


def _nested(key: str) -> str:
    """A node's overrides stand in its own ssh and postgres blocks."""
    blocks = {"ssh": schema.SshBlock, "postgres": schema.PostgresBlock}
    return " or ".join(f"{name}.{key}" for name, block in blocks.items() if key in block.model_fields)
