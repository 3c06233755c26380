"""Nodes with files and settings: what servers say of their configuration, beside an inventory with parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from replctl.model.configuration import Configuration, FileEntry, LiveSetting
from replctl.model.values import NodeName
from replctl.planning.situation import Situation
from replctl.postgres.conf_syntax import parse_conf
from replctl.postgres.ownership import MARK
from replctl.postgres.render import Templates
from tests.unit.builders import DATA_DIR, ClusterBuilder, settings

CONF = f"{DATA_DIR}/postgresql.conf"
AUTO = f"{DATA_DIR}/postgresql.auto.conf"
HBA = f"# {MARK}\n"
TEMPLATES = Templates(
    f"# {MARK}\n"
    "{% for name, value in parameters | dictsort %}{{ name }} = {{ value | setting }}\n{% endfor %}",
    HBA,
)
KINDS: Mapping[str, Mapping[str, Any]] = {
    "max_connections": {"default": "100"},
    "max_worker_processes": {"default": "8"},
    "work_mem": {"unit": "kB", "context": "user", "default": "4096"},
    "cluster_name": {"kind": "string"},
    "config_file": {"kind": "string", "source": "override"},
}


def a_setting(name: str, value: str, **changed: Any) -> LiveSetting:
    setting = LiveSetting(name, value, value, None, "integer", "postmaster", "configuration file", "")
    return replace(setting, **{**KINDS.get(name, {}), **changed})


def entries(text: str, file: str = CONF) -> tuple[FileEntry, ...]:
    """The lines of a file as pg_file_settings has them."""
    numbered = [(number, parse_conf(line)) for number, line in enumerate(text.splitlines(), start=1)]
    return tuple(FileEntry(name, value, file, number) for number, said in numbered for name, value in said.items())


@dataclass(frozen=True)
class Seen:
    """One node: ``says`` is its postgresql.conf, ``auto`` its postgresql.auto.conf, ``live`` what is in force."""

    says: str = ""
    live: Mapping[str, str | LiveSetting] = field(default_factory=dict)
    auto: str = ""

    @property
    def text(self) -> str:
        return f"# {MARK}\n{self.says}"

    @property
    def configuration(self) -> Configuration:
        live = {"config_file": CONF, **self.live}
        found = {name: a_setting(name, value) if isinstance(value, str) else value for name, value in live.items()}
        return Configuration((*entries(self.text), *entries(self.auto, AUTO)), found)


def situation_of(built: ClusterBuilder, parameters: Mapping[str, str], **seen: Seen) -> Situation:
    """The nodes of ``built``, those that are named here with their configuration; the inventory has ``parameters``."""
    for name, one in seen.items():
        node = built.nodes[NodeName(name)]
        built.node(name, postgres=replace(node.postgres, parameters=dict(parameters)))
        built.host(name, files={"postgresql.conf": one.text, "pg_hba.conf": HBA})
        if not one.live:  # stopped: nothing is in force
            continue
        ordered = {key: text for key, text in one.live.items() if isinstance(text, str)}
        built.change(name, server=replace(built.facts[NodeName(name)].server, settings=settings(**ordered)))
    found = {NodeName(name): one.configuration for name, one in seen.items()}
    return replace(built.situation(configurations=found), templates=TEMPLATES)
