"""The configuration of a cluster that somebody else made: theirs stays, ours is one included file and one block.

All functions are about text; what they make of the same text twice is the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from replctl.model.actions import ConfigFile
from replctl.model.inventory import Inventory, Node, SqlRoute
from replctl.postgres.conf_syntax import parse_conf, quote_setting
from replctl.postgres.hba_syntax import rule_lines
from replctl.postgres.ownership import MARK, is_rendered_by_us
from replctl.postgres.settings import MANAGED, RAISABLE, is_loopback, managed_settings

CONF = "replctl.conf"
"""Beside postgresql.conf, which includes it at its end: there the last one wins."""
INCLUDE = f"include_if_exists '{CONF}'"
BEGIN = "# --- replctl: begin. Rendered from the inventory; what is edited in here is replaced by the next run."
END = "# --- replctl: end"

_INCLUDED = re.compile(rf"^[ \t]*include(_if_exists)?[ \t]*=?[ \t]*'{re.escape(CONF)}'", re.MULTILINE)
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
_LOOPBACK = ("localhost", "127.0.0.1", "*", "0.0.0.0")  # noqa: S104 - the same, where the tunnel's far end connects to
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
    listened = listened_addresses(live.get("listen_addresses", ""))
    if node.host in listened or any(part in _EVERYWHERE for part in listened):
        needs_loopback = node.postgres.connect is not SqlRoute.DIRECT and not is_listened(node, ",".join(listened))
        wanted["listen_addresses"] = ",".join((*listened, *(("localhost",) if needs_loopback else ())))
    parameters = {name: value for name, value in node.postgres.parameters.items() if name not in RAISABLE}
    return wanted | parameters


def listened_addresses(value: str) -> tuple[str, ...]:
    """The items of ``listen_addresses``."""
    return tuple(part.strip() for part in value.split(",") if part.strip())


def is_listened(node: Node, value: str) -> bool:
    """Whether a server with these ``listen_addresses`` is reached by the node's SQL route."""
    listened = listened_addresses(value)
    if node.postgres.connect is not SqlRoute.DIRECT or is_loopback(node.host):
        return any(address in _LOOPBACK for address in listened)
    return node.host in listened or any(address in _EVERYWHERE for address in listened)


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
    end = "" if not text or text.endswith("\n") else "\n"
    return f"{text}{end}\n# Settings that replctl manages\n{INCLUDE}\n"


@dataclass(frozen=True, slots=True)
class Said:
    """Where somebody else's files say a setting, and what."""

    file: str
    number: int
    value: str


def said_later(theirs: Mapping[str, str]) -> dict[str, Said]:
    """By name, the last that is read after our settings: in their postgresql.conf behind the line that includes ours,
    and in postgresql.auto.conf."""
    text = theirs.get("postgresql.conf", "")
    included = _INCLUDED.search(text)
    place = text.count("\n", 0, included.end()) + 1 if included else len(text)
    lines = [("postgresql.conf", number, line) for number, line in enumerate(text.split("\n"), start=1)][place:]
    auto = theirs.get("postgresql.auto.conf", "").split("\n")
    lines += [("postgresql.auto.conf", number, line) for number, line in enumerate(auto, start=1)]
    return {name: Said(file, number, value) for file, number, line in lines for name, value in parse_conf(line).items()}


def with_block(text: str, rules: str) -> str:
    """Their pg_hba.conf with our block ahead of its first rule: the first line that fits a login decides about it."""
    lines = without_block(text).split("\n")
    place = next((number for number, _ in rule_lines(lines)), len(lines))
    block = [BEGIN, *rules.strip("\n").split("\n"), END, ""]
    return "\n".join((*lines[:place], *block, *lines[place:]))


def block_of(text: str) -> str:
    """The rules of our block."""
    return text.partition(f"{BEGIN}\n")[2].partition(END)[0]


def without_block(text: str) -> str:
    """Their pg_hba.conf as it was. Of a block whose end somebody took away, only the first line is known as ours."""
    lines = text.split("\n")
    marks = [line.rstrip() for line in lines]
    kept, place = list[str](), 0
    while place < len(lines):
        if marks[place] != BEGIN:
            kept.append(lines[place])
        else:
            place = _end_of_block(marks, place)
        place += 1
    return "\n".join(kept)


def _end_of_block(marks: Sequence[str], begin: int) -> int:
    """The place of the block's last line: the blank one behind its end, if that is there."""
    ends = (number for number, mark in enumerate(marks[begin + 1 :], start=begin + 1) if mark in (BEGIN, END))
    end = next(ends, None)
    if end is None or marks[end] == BEGIN:
        return begin
    return end + 1 if end + 1 < len(marks) and not marks[end + 1] else end


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
