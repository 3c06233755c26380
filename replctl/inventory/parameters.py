"""Which settings of postgresql.conf the inventory's ``parameters`` may hold."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from replctl.inventory.yaml_text import Tree
from replctl.postgres.settings import MANAGED, RAISABLE

_NAME = re.compile(r"[a-z_][a-z0-9_]*(?:\.[a-z_][a-z0-9_]*)*")
# Either these live in postgresql.auto.conf alone, or they move files away from where every command looks for them, or
# they are directives that would read further files.
_REFUSED = frozenset(
    {
        "archive_cleanup_command",
        "config_file",
        "data_directory",
        "hba_file",
        "ident_file",
        "include",
        "include_dir",
        "include_if_exists",
        "primary_conninfo",
        "primary_slot_name",
        "promote_trigger_file",
        "recovery_end_command",
        "recovery_min_apply_delay",
        "restore_command",
        "standby_mode",
        "trigger_file",
    }
)
_COUNTS = ("max_wal_senders", "max_replication_slots")
_MAX_COUNT = 262143  # PostgreSQL's MAX_BACKENDS
_WAL_LEVELS = ("replica", "logical")
_SIZE = re.compile(r"([0-9]{1,15}) ?(B|kB|MB|GB|TB)?")
_UNIT_BYTES: Mapping[str | None, int] = {
    "B": 1,
    "kB": 1024,
    "MB": 1024**2,
    None: 1024**2,  # max_slot_wal_keep_size counts in MB
    "GB": 1024**3,
    "TB": 1024**4,
}
_MIN_KEEP_BYTES = 10 * 1024**3
_UNLIMITED = "-1"


def parameter_name(name: str) -> str:
    """Raises ValueError for what is no setting's name, and for a setting that is not the operator's."""
    if _NAME.fullmatch(name) is None:
        raise ValueError("must be the name of a PostgreSQL setting in lower case")
    if name in MANAGED - RAISABLE:
        raise ValueError("is managed by replctl; remove it")
    if name in _REFUSED or name.startswith("recovery_target"):
        raise ValueError("cannot be set here: replctl decides where files lie and how a standby recovers")
    return name


def parameter_text(value: Tree) -> Tree:
    """The value as PostgreSQL writes it; what is no scalar stays and is refused by its type."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value) if isinstance(value, int | float) else value


def minimum_count(node_count: int) -> int:
    """The least max_wal_senders and max_replication_slots of a cluster: enough after any change of roles."""
    return max(10, 2 * node_count + 4)


def lowered(parameters: Mapping[str, str], node_count: int) -> Iterator[tuple[str, str]]:
    """The managed settings that ``parameters`` may raise and does not: name and what is wrong."""
    for name in _COUNTS:
        if name in parameters and not _is_count(parameters[name], minimum_count(node_count)):
            least = minimum_count(node_count)
            yield name, f"must be a number of at least {least}, as {node_count} nodes need"
    if parameters.get("wal_level", "replica") not in _WAL_LEVELS:
        yield "wal_level", "must be replica or logical"
    if not _keeps_enough(parameters.get("max_slot_wal_keep_size", _UNLIMITED)):
        yield "max_slot_wal_keep_size", "must be a size of at least 10GB, or -1 for no limit"


def _is_count(text: str, least: int) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10 and least <= int(text) <= _MAX_COUNT


def _keeps_enough(size: str) -> bool:
    if size == _UNLIMITED:
        return True
    match = _SIZE.fullmatch(size)
    return match is not None and int(match[1]) * _UNIT_BYTES[match[2]] >= _MIN_KEEP_BYTES
