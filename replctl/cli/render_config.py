"""``config diff`` as it is read, and its JSON document (docs/contract.md, section 8)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from replctl.cli.text import escape
from replctl.model.errors import ExitCode
from replctl.planning.config_diff import Needs, NodeDifference, SettingDifference

SCHEMA = 1
_STYLES = {"---": "bold", "+++": "bold", "@@ ": "cyan"}
_SIGNS = {"-": "red", "+": "green"}


def differences_renderable(found: Sequence[NodeDifference]) -> RenderableType:
    """Node after node: the files as diff(1) shows them, then the settings and why each is not what it should be."""
    return Group(*(line for node in found for line in _node(node)))


def _node(node: NodeDifference) -> Iterator[Text]:
    yield Text.assemble((node.name, "bold cyan"), ": ", _size(node))
    for file in node.files:
        yield from (_diff_line(line) for line in file.diff.split("\n"))
    for setting in node.settings:
        yield Text.assemble("  ", (setting.name, "bold"), f": {_why(setting)}")


def _size(node: NodeDifference) -> tuple[str, str]:
    kinds = ((len(node.files), "file"), (len(node.settings), "setting"))
    counts = [f"{count} {kind}{'s' if count > 1 else ''}" for count, kind in kinds if count]
    if not counts:
        return "nothing differs", "green"
    total = sum(count for count, _ in kinds)
    return f"{' and '.join(counts)} {'differs' if total == 1 else 'differ'}", "yellow"


def _diff_line(line: str) -> Text:
    style = _STYLES.get(line[:3]) or _SIGNS.get(line[:1], "")
    return Text(escape(line.replace("\t", "    ")), style)


def _why(setting: SettingDifference) -> str:
    is_now = setting.live if setting.becomes is None else f"{setting.becomes} after a restart"
    values = f"{escape(is_now)}, and should be {escape(setting.wanted)}"
    where = escape(setting.where)
    match setting.needs:
        case Needs.OVERRIDE:
            return f"{values}: {where} overrides it"
        case Needs.RESTART:
            return f"{values}: it takes a restart"
        case Needs.RELOAD:
            return f"{values}: it takes a reload"


def differences_document(cluster: str, found: Sequence[NodeDifference], exit_code: ExitCode) -> dict[str, Any]:
    """The document, its keys in the contract's order."""
    return {
        "schema": SCHEMA,
        "command": "config diff",
        "cluster": cluster,
        "outcome": "different" if exit_code is ExitCode.DIFFERENT else "unchanged",
        "exit_code": int(exit_code),
        "nodes": [_node_document(node) for node in found],
    }


def _node_document(node: NodeDifference) -> dict[str, Any]:
    return {
        "name": node.name,
        "files": [{"name": file.path, "diff": file.diff} for file in node.files],
        "settings": [
            {
                "name": setting.name,
                "wanted": setting.wanted,
                "live": setting.live,
                "source": setting.source,
                "line": setting.line,
                "needs": setting.needs.value,
            }
            for setting in node.settings
        ],
    }
