"""From the values of a YAML document to the typed file, with every complaint in the operator's words."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches

from replctl.inventory import schema
from replctl.inventory.kinds import UNKNOWN_KEY, BlockOf, keys_of
from replctl.inventory.problems import NOT_SUPPORTED, Problem, Where
from replctl.inventory.yaml_text import Tree

RESERVED = frozenset({"tls", "upstream", "wal_dir", "tablespaces", "apply_delay"})
"""Keys that later versions read: refused now, so that no inventory relies on what does not happen."""

BLOCKS: Mapping[Where, type] = {
    (): schema.InventoryFile,
    ("ssh",): schema.SshBlock,
    ("postgres",): schema.PostgresBlock,
    ("admin",): schema.AdminBlock,
    ("replication",): schema.ReplicationBlock,
    ("app",): schema.AppBlock,
    ("app", "publish", "*"): schema.PublishBlock,
    ("app", "publish", "*", "ssh"): schema.SshBlock,
    ("sync",): schema.SyncBlock,
    ("timeouts",): schema.TimeoutsBlock,
    ("nodes", "*"): schema.NodeBlock,
    ("nodes", "*", "ssh"): schema.SshBlock,
    ("nodes", "*", "postgres"): schema.PostgresBlock,
}
"""Which block stands where; ``*`` is any node, or any item of a list."""


def validate(root: Tree) -> tuple[schema.InventoryFile | None, tuple[Problem, ...]]:
    """The typed file, or every problem. No problem's text shows a value: it may be a password."""
    found: list[Problem] = []
    file = BlockOf(schema.InventoryFile).read(root, (), found)
    return file, tuple(_unknown_key(each.where) if each.text == UNKNOWN_KEY else each for each in found)


def _unknown_key(where: Where) -> Problem:
    block, key = where[:-1], str(where[-1])
    if key in RESERVED:
        return Problem(where, NOT_SUPPORTED)
    if block[-1:] == ("password",):
        # Someone who wrote {the password itself} made a key of it.
        return Problem(block, "must name one of env, file and command")
    guess = _guess(block, key)
    return Problem(where, f"{UNKNOWN_KEY}; did you mean {guess}?" if guess else UNKNOWN_KEY)


def _guess(block: Where, key: str) -> str:
    shape = tuple("*" if isinstance(part, int) else part for part in block)
    shape = (shape[0], "*", *shape[2:]) if shape[:1] == ("nodes",) else shape
    if shape == ("nodes", "*") and (nested := _nested(key)):
        return nested
    known = list(keys_of(BLOCKS[shape])) if shape in BLOCKS else []
    return next(iter(get_close_matches(key, known, n=1)), "")


def _nested(key: str) -> str:
    """A node's overrides stand in its own ssh and postgres blocks."""
    blocks = {"ssh": schema.SshBlock, "postgres": schema.PostgresBlock}
    return " or ".join(f"{name}.{key}" for name, block in blocks.items() if key in keys_of(block))
