"""Shell completion of node names and roles. Only the inventory's YAML is read: a shell waits for this at every Tab."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import cast

import typer

from replctl.cli.options import DEFAULT_INVENTORY

MAX_BYTES = 128 * 1024
"""What stands behind these is not read."""
NODES = ("node", "nodes", "source")
"""The parameters of commands that are names of nodes."""
ROLES = ("replication", "app", "admin")

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")


def complete_node(ctx: typer.Context, args: list[str], incomplete: str) -> list[str]:
    """The nodes of the inventory that the command line means, but for those that stand there already."""
    del args
    given = {name for parameter in NODES for name in _words(ctx.params.get(parameter))}
    names = node_names(_inventory(ctx))
    return [name for name in names if name.startswith(incomplete) and name not in given]


def complete_role(incomplete: str) -> list[str]:
    """The roles whose password can be changed."""
    return [role for role in ROLES if role.startswith(incomplete)]


def node_names(path: Path) -> list[str]:
    """Of an inventory that may be broken in any way: what cannot be read has no nodes."""
    import yaml  # noqa: PLC0415 - with its command, like all that is heavy

    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES)
        document: object = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - both are safe
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return []
    nodes = _mapping(_mapping(document).get("nodes"))
    return [name for name in nodes if isinstance(name, str) and _NAME.fullmatch(name)]


def _inventory(ctx: typer.Context) -> Path:
    """By --inventory, else by the environment, else the usual name: Typer has seen to that already."""
    given: object = ctx.params.get("inventory")
    return Path(given) if isinstance(given, Path | str) else DEFAULT_INVENTORY


def _words(value: object) -> Iterable[str]:
    if isinstance(value, str):
        return (value,)
    items = cast("Iterable[object]", value) if isinstance(value, list | tuple) else ()
    return tuple(item for item in items if isinstance(item, str))


def _mapping(value: object) -> dict[object, object]:
    return cast("dict[object, object]", value) if isinstance(value, dict) else {}
