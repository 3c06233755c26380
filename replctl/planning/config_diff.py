"""What ``config diff`` tells: each node's files and settings beside what the inventory makes of them.

A file is compared with its text on the host. A setting is compared with what is in force: the right line in the right
file does nothing where a later file overrides it, where nobody reloaded, or where only a restart would do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import unified_diff
from enum import StrEnum
from pathlib import PurePosixPath
from typing import assert_never

from replctl.model.actions import ConfigFile
from replctl.model.configuration import Configuration, FileEntry, LiveSetting
from replctl.model.facts import Foreign, NoInstance, Primary, Replica, Silent, Stopped, Unreachable
from replctl.model.host import HostFacts
from replctl.model.plan import Refusal
from replctl.model.values import NodeName
from replctl.planning.situation import Situation, needs_host, refuse_silent, refuse_unreachable
from replctl.postgres.adopted import CONF
from replctl.postgres.conf_syntax import parse_conf
from replctl.postgres.layout import layout_of
from replctl.postgres.ownership import MARK, is_rendered_by_us
from replctl.postgres.render import POSTGRESQL_CONF
from replctl.postgres.setting_values import comparable

AUTO_CONF = "postgresql.auto.conf"
COMMAND_LINE = "command line"
SERVER_WIDE = frozenset({"default", "configuration file", COMMAND_LINE})
"""Sources of pg_settings that speak of the server. The others are our own session's, or the server's own doing."""


class Needs(StrEnum):
    """What brings a setting to what the inventory says."""

    RELOAD = "reload"
    RESTART = "restart"
    OVERRIDE = "override"
    """Something that is read later says otherwise, and has to give way first."""


@dataclass(frozen=True, slots=True)
class FileDifference:
    """``diff`` is a unified diff from what stands on the host to what the inventory makes of it."""

    path: str
    diff: str


@dataclass(frozen=True, slots=True)
class SettingDifference:
    """A setting that is not what it should be. ``source`` and ``line`` are where its value is said today.

    ``said`` is what a line says that is in the way: it is in force already, or will be after the next restart.
    """

    name: str
    wanted: str
    live: str
    source: str | None
    line: int | None
    needs: Needs
    said: str | None = None

    @property
    def becomes(self) -> str | None:
        """The value that the next restart brings, of a setting that is still as it should be."""
        return self.said if self.live == self.wanted else None

    @property
    def where(self) -> str:
        """``file:line``, or what else says it."""
        return f"{self.source}:{self.line}" if self.line is not None else self.source or "no file"


@dataclass(frozen=True, slots=True)
class NodeDifference:
    """Both kinds, of one node."""

    name: NodeName
    files: tuple[FileDifference, ...]
    settings: tuple[SettingDifference, ...]


@dataclass(frozen=True, slots=True)
class Looked:
    """The nodes that can be compared, and why the others cannot."""

    nodes: tuple[NodeName, ...]
    others: tuple[Refusal, ...]


def look_at(situation: Situation, names: Sequence[NodeName]) -> Looked:
    """Of the named nodes, or of all, those that run with a configuration of ours."""
    wanted = tuple(dict.fromkeys(names)) or tuple(situation.inventory.nodes)
    reasons = {name: _why_not(situation, name) for name in wanted}
    return Looked(
        tuple(name for name, why in reasons.items() if why is None),
        tuple(why for why in reasons.values() if why is not None),
    )


def _why_not(situation: Situation, name: NodeName) -> Refusal | None:
    facts = situation.facts.nodes[name]
    match facts:
        case Unreachable():
            return refuse_unreachable(name, facts.ssh)
        case Silent():
            return refuse_silent(name, facts.sql)
        case Stopped():
            return Refusal("stopped", name, f"{name} is stopped", f"`replctl restart {name}` starts it in its role.")
        case NoInstance():
            return Refusal(
                "absent", name, f"{name} has no PostgreSQL instance", f"`replctl add-replica {name}` clones it."
            )
        case Foreign():
            return Refusal(
                "foreign",
                name,
                f"{name} holds another cluster",
                "replctl leaves other clusters alone: name the others.",
            )
        case Primary() | Replica():
            return next(iter(needs_host(facts)), None) or _unfit(situation, facts)
        case _:
            assert_never(facts)


def _unfit(situation: Situation, facts: Primary | Replica) -> Refusal | None:
    name = facts.node
    files: Mapping[str, str] = facts.host.files if facts.host is not None else {}
    if not is_rendered_by_us(files) and MARK not in files.get(CONF, ""):
        return Refusal(
            "adopt",
            name,
            f"{name} has a configuration that replctl did not make",
            "`replctl init-primary NODE --adopt`, with the primary's name, takes the cluster over.",
        )
    if name not in situation.facts.configurations:
        return Refusal(
            "sql", name, f"{name}: its settings could not be read", f"Run this again; `replctl status` shows {name}."
        )
    return None


def compare(situation: Situation, name: NodeName) -> NodeDifference:
    """One node of ``look_at``."""
    host, major = host_and_major(situation, name)
    directory = layout_of(situation.node(name), host).config_dir
    changed = situation.changed_config(name, major)
    files = tuple(_file(host, f"{directory}/{file.name}", file) for file in changed)
    return NodeDifference(name, files, setting_differences(situation, name))


def host_and_major(situation: Situation, name: NodeName) -> tuple[HostFacts, int]:
    """Of a node that runs and was reached."""
    facts = situation.facts.nodes[name]
    assert isinstance(facts, Primary | Replica)
    assert facts.host is not None
    return facts.host, facts.server.major


def _file(host: HostFacts, path: str, file: ConfigFile) -> FileDifference:
    old = host.files.get(file.name, "").splitlines()
    lines = unified_diff(old, file.text.splitlines(), path, "from the inventory", lineterm="")
    return FileDifference(path, "\n".join(lines))


def setting_differences(situation: Situation, name: NodeName) -> tuple[SettingDifference, ...]:
    """Settings in force that are not what the inventory says, or wait for a restart, by name."""
    _, major = host_and_major(situation, name)
    texts = {file.name: file.text for file in situation.rendered(name, major)}
    seen = situation.facts.configurations[name]
    own = CONF if CONF in texts else POSTGRESQL_CONF
    config_file = seen.live.get("config_file")
    path = str(PurePosixPath(config_file.value).with_name(own)) if config_file is not None else own
    return tuple(_differences(seen, path, parse_conf(texts[own])))


def _differences(seen: Configuration, path: str, written: Mapping[str, str]) -> Iterator[SettingDifference]:
    today = {entry.name: entry for entry in seen.entries}
    later = _later(seen, path)
    wanted = {**_not_ours(seen, path, written), **written}
    for name in sorted(wanted.keys() & seen.live.keys()):
        found = _judge(seen.live[name], wanted[name], later.get(name), today.get(name))
        if found is not None:
            yield found


def _later(seen: Configuration, path: str) -> dict[str, FileEntry]:
    """What is read after our file, and so wins over it: postgresql.auto.conf always is."""
    last = max((place for place, entry in enumerate(seen.entries) if entry.file == path), default=None)
    after = (
        seen.entries[last + 1 :]
        if last is not None
        else [entry for entry in seen.entries if PurePosixPath(entry.file).name == AUTO_CONF]
    )
    return {entry.name: entry for entry in after}


def _not_ours(seen: Configuration, path: str, written: Mapping[str, str]) -> dict[str, str]:
    """Settings that our file says no more, and those of others that wait for a restart: what they will be then."""
    elsewhere = {entry.name: entry.value for entry in seen.entries if entry.file != path}
    dropped = {entry.name for entry in seen.entries if entry.file == path} - written.keys()
    waiting = {name for name, setting in seen.live.items() if setting.pending_restart} - written.keys()
    return {name: elsewhere.get(name, seen.live[name].default) for name in dropped | waiting if name in seen.live}


def _judge(
    live: LiveSetting, wanted: str, later: FileEntry | None, today: FileEntry | None
) -> SettingDifference | None:
    target = comparable(wanted, live)
    if later is not None and comparable(later.value, live) != target:
        return SettingDifference(live.name, wanted, live.shown, later.file, later.line, Needs.OVERRIDE, later.value)
    if live.source not in SERVER_WIDE or comparable(live.value, live) == target:
        return None
    if live.source == COMMAND_LINE:
        return SettingDifference(live.name, wanted, live.shown, COMMAND_LINE, None, Needs.OVERRIDE)
    needs = Needs.RESTART if live.context == "postmaster" else Needs.RELOAD
    file, line = (today.file, today.line) if today is not None else (None, None)
    return SettingDifference(live.name, wanted, live.shown, file, line, needs)
