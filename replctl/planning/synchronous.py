"""Synchronous replication: whom commits wait for, and whether these are there."""

from __future__ import annotations

from collections.abc import Iterator

from replctl.model.facts import Primary, Replica
from replctl.model.inventory import Inventory
from replctl.model.plan import Refusal
from replctl.model.report import Finding, Severity
from replctl.model.values import NodeName
from replctl.planning.role_change import siblings_of
from replctl.planning.situation import Situation
from replctl.planning.topology import walsender_owner
from replctl.postgres.standby_names import STANDBY_NAMES as SETTING
from replctl.postgres.standby_names import parse_standby_names

OF_OURS = "Bring these standbys back, or run `replctl config apply`: commits wait only for those that stream by then."


def check_synchronous(situation: Situation, old: Primary, candidate: Replica) -> list[Refusal]:
    """Commits on the candidate would wait for standbys that will not follow it: itself, absent ones, strangers.

    A standby that is no node of the inventory follows where its owner sends it: one that streams now counts.
    """
    inventory, facts = situation.inventory, situation.facts
    if inventory.sync is not None:  # the plan sees to it
        return []
    name, setting = candidate.node, candidate.server.setting(SETTING)
    wanted = parse_standby_names(setting)
    nodes = [old.node, *siblings_of(situation, old.node, name)]
    streaming = [w for w in old.server.walsenders if w.state == "streaming"]
    strangers = [w.application_name for w in streaming if walsender_owner(inventory, facts, w) is None]
    if not wanted.lacking([*nodes, *strangers]):
        return []
    return [
        Refusal(
            "synchronous-standbys",
            name,
            f"{name}: {SETTING} is {setting!r}, and {_too_few(wanted.among(nodes), wanted.number)} will follow it: "
            "every commit would wait",
            _hint(name, nodes),
        )
    ]


def commits_wait(inventory: Inventory, primary: Primary) -> Iterator[Finding]:
    """The primary accepts writes, and answers none of them."""
    name, setting = primary.node, primary.server.setting(SETTING)
    wanted = parse_standby_names(setting)
    streaming = [w.application_name for w in primary.server.walsenders if w.state == "streaming"]
    if wanted.lacking(streaming):
        nodes = [name for name in inventory.nodes if name in streaming]
        yield Finding(
            Severity.WARNING,
            "commits-wait",
            name,
            f"commits on {name} wait: {SETTING} is {setting!r}, and "
            f"{_too_few(wanted.among(streaming), wanted.number)} streams from it",
            _hint(name, nodes) if inventory.sync is None else OF_OURS,
        )


def _too_few(found: list[str], number: int) -> str:
    return f"only {len(found)} of the {number} that it asks for" if found else "none that it names"


def _hint(name: NodeName, nodes: list[NodeName]) -> str:
    """Of the standbys that there are, any one will do: this asks for the least that is still synchronous."""
    listed = ", ".join(f'"{node}"' if "-" in node else node for node in nodes)
    whom, value = (f"any one of {listed}", f"ANY 1 ({listed})") if nodes else ("nobody", "")
    return (
        f"Bring these standbys back, or have commits on {name} wait for {whom}: run "
        f"`ALTER SYSTEM SET {SETTING} = '{value}';` and `SELECT pg_reload_conf();` on {name}."
    )
