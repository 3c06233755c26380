"""The configuration of a cluster that somebody else made: theirs stays, ours is one included file and one block.

All functions are about text; what they make of the same text twice is the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from replctl.model.actions import ConfigFile
from replctl.model.inventory import Inventory, Node
from replctl.postgres.conf_syntax import parse_conf, quote_setting
from replctl.postgres.ownership import MARK, is_rendered_by_us
from replctl.postgres.settings import MANAGED, RAISABLE, managed_settings

CONF = "replctl.conf"
"""Beside postgresql.conf, which includes it at its end: there the last one wins."""
INCLUDE = f"include_if_exists '{CONF}'"
BEGIN = "# --- replctl: begin. Rendered from the inventory; what is edited in here is replaced by the next run."
END = "# --- replctl: end"

_INCLUDED = re.compile(rf"^[ \t]*include(_if_exists)?[ \t]*=?[ \t]*'{re.escape(CONF)}'", re.MULTILINE)
_RULE = re.compile(r"^[ \t]*(local|host(no)?(ssl|gssenc)?|include(_if_exists|_dir)?)\b")
INHERITED = "# --- Taken over from the primary"
"""Begins the section of a rendered postgresql.conf that is not the inventory's."""
RENDERED = frozenset(
    {
        "lc_messages",
        "log_directory",
        "log_filename",
        "log_line_prefix",
        "log_rotation_age",
        "log_rotation_size",
        "log_truncate_on_rotation",
        "logging_collector",
    }
)
"""Unmanaged settings of the shipped template: replctl looks for a server's log where they say."""
_EVERYWHERE = ("*", "0.0.0.0", "::")  # noqa: S104 - what somebody else may have written
_THEIRS = ("port", "unix_socket_directories")
"""Managed settings that stay as they are: clients know them."""

AT_RESTART = frozenset({"listen_addresses", "wal_level", "wal_log_hints", "max_wal_senders", "max_replication_slots"})
"""Of our settings, those that a reload does not change (PostgreSQL docs, chapter 20: "only at server start")."""


def is_adopted(files: Mapping[str, str]) -> bool:
    """Whether replctl's settings are part of somebody else's configuration. ``files`` maps names to texts."""
    return bool(_INCLUDED.search(files.get("postgresql.conf", ""))) and MARK in files.get(CONF, "")


def is_known(files: Mapping[str, str]) -> bool:
    """Whether a configuration is ours, whole or in part."""
    return is_rendered_by_us(files) or is_adopted(files)


def adopted_settings(inventory: Inventory, node: Node, live: Mapping[str, str], *, checksums: bool) -> dict[str, str]:
    """Our settings over a live server's: nothing that is more than enough already is taken down.

    ``live`` has pg_settings' values. With data checksums pg_rewind needs no wal_log_hints, which would cost a restart.
    """
    wanted = managed_settings(inventory, node, socket_dir="")
    for name in _THEIRS:
        del wanted[name]
    if checksums:
        del wanted["wal_log_hints"]
    for name in ("max_wal_senders", "max_replication_slots"):
        wanted[name] = str(max(int(wanted[name]), int(live.get(name) or 0)))
    if live.get("wal_level") == "logical":
        wanted["wal_level"] = "logical"
    listened = [part.strip() for part in live.get("listen_addresses", "").split(",")]
    if node.host in listened or any(part in _EVERYWHERE for part in listened):
        wanted["listen_addresses"] = live["listen_addresses"]
    parameters = {name: value for name, value in node.postgres.parameters.items() if name not in RAISABLE}
    return wanted | parameters


def adopted_config(theirs: Mapping[str, str], settings: Mapping[str, str], rules: str) -> tuple[ConfigFile, ...]:
    """The three files: ours, and theirs with what refers to it. ``rules`` is a rendered pg_hba.conf."""
    ours = "".join(f"{name} = {quote_setting(value)}\n" for name, value in settings.items())
    return (
        ConfigFile(CONF, f"# {MARK}; what is edited here is replaced by the next run.\n\n{ours}"),
        ConfigFile("postgresql.conf", with_include(theirs.get("postgresql.conf", ""))),
        ConfigFile("pg_hba.conf", with_block(theirs.get("pg_hba.conf", ""), rules)),
    )


def with_include(text: str) -> str:
    """Their postgresql.conf, which reads ours last."""
    if _INCLUDED.search(text):
        return text
    return f"{text.rstrip()}\n\n# Settings that replctl manages\n{INCLUDE}\n"


def with_block(text: str, rules: str) -> str:
    """Their pg_hba.conf with our block ahead of its first rule: the first line that fits a login decides about it."""
    lines = without_block(text).split("\n")
    place = next((number for number, line in enumerate(lines) if _RULE.match(line)), len(lines))
    block = [BEGIN, *rules.strip("\n").split("\n"), END, ""]
    return "\n".join((*lines[:place], *block, *lines[place:]))


def without_block(text: str) -> str:
    """Their pg_hba.conf as it was."""
    lines, kept, inside = text.split("\n"), list[str](), False
    for line in lines:
        if line == BEGIN:
            inside = True
        elif inside and line == END:
            inside = False
        elif not inside:
            kept.append(line)
    if len(kept) < len(lines):
        place = next((number for number, line in enumerate(kept) if _RULE.match(line)), len(kept))
        if place and kept[place - 1] == "":
            del kept[place - 1]
    return "\n".join(kept)


NOT_INHERITED = MANAGED | {
    "archive_cleanup_command",
    "cluster_name",
    "config_file",
    "data_directory",
    "external_pid_file",
    "hba_file",
    "ident_file",
    "primary_conninfo",
    "primary_slot_name",
    "recovery_end_command",
    "restore_command",
    "stats_temp_directory",
    "synchronous_standby_names",
}
"""What belongs to one node alone, or is replctl's."""


def inheritable(settings: Mapping[str, str], inventory: Inventory) -> dict[str, str]:
    """What a replica of an adopted primary has to have as well: memory, libraries, the settings that must not be less
    on a standby. ``settings`` is what the primary's files set, whoever wrote them."""
    ours = {name for node in inventory.nodes.values() for name in node.postgres.parameters}
    return {name: value for name, value in settings.items() if name not in NOT_INHERITED | RENDERED | ours}


def inherited_settings(text: str) -> dict[str, str]:
    """What a node's own rendered postgresql.conf took over when the node was made."""
    _, found, rest = text.partition(INHERITED)
    return parse_conf(rest.partition("\n# --- ")[0]) if found else {}
