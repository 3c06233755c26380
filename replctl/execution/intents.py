"""The changing commands: what each wants to know beforehand, and which planner decides."""

from __future__ import annotations

from collections.abc import Sequence

from replctl.execution.pipeline import Intent
from replctl.model.facts import ClusterFacts, NoInstance, Primary, Replica, Unreachable
from replctl.model.values import NodeName
from replctl.observe import Inquiry
from replctl.planning.add_replica import plan_add_replica
from replctl.planning.init_primary import plan_init_primary
from replctl.planning.promote import plan_promote
from replctl.planning.publish_env import plan_env_write


def init_primary(name: NodeName) -> Intent:
    """Make NODE the primary that the inventory describes."""
    return Intent(lambda situation: plan_init_primary(situation, name))


def add_replica(names: Sequence[NodeName], source: NodeName | None) -> Intent:
    """Make every named node a streaming replica."""
    return Intent(
        lambda situation: plan_add_replica(situation, names, source), lambda facts: _about_clones(facts, names)
    )


def add_every_replica(source: NodeName | None) -> Intent:
    """Make every node but the primary a streaming replica."""
    return Intent(
        lambda situation: plan_add_replica(situation, _all_but_primary(situation.facts), source),
        lambda facts: _about_clones(facts, _all_but_primary(facts)),
    )


def _all_but_primary(facts: ClusterFacts) -> list[NodeName]:
    return [name for name, seen in facts.nodes.items() if not isinstance(seen, Primary)]


def _about_clones(facts: ClusterFacts, names: Sequence[NodeName]) -> Inquiry:
    clones = tuple(name for name in names if isinstance(facts.nodes[name], NoInstance))
    primary = facts.primary.node if facts.primary else None
    return Inquiry(login_at=primary if clones else None, login_from=clones, size=bool(clones))


def promote(name: NodeName) -> Intent:
    """Move the primary's role to NODE."""

    def inquiry(facts: ClusterFacts) -> Inquiry:
        if not isinstance(facts.nodes[name], Replica):
            return Inquiry()
        others = tuple(
            other
            for other, seen in facts.nodes.items()
            if other != name and not isinstance(seen, Unreachable | NoInstance) and seen.host is not None
        )
        return Inquiry(login_at=name, login_from=others)

    return Intent(lambda situation: plan_promote(situation, name), inquiry)


def write_env() -> Intent:
    """Bring the env file to how the cluster stands now."""
    return Intent(plan_env_write)
