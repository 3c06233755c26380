"""Sentences that several findings end with. Each begins in lower case, to go on behind another one."""

from __future__ import annotations

from collections.abc import Sequence

from replctl.model.facts import ClusterFacts, NodeFacts, Problem, Replica, Stopped
from replctl.model.inventory import Inventory
from replctl.model.values import NodeName
from replctl.planning.states import ORDERED_SETTINGS, is_diverged


def needs_rejoin(inventory: Inventory, facts: ClusterFacts, node: NodeFacts) -> bool:
    """Whether a node may have WAL that the primary has not, so that `add-replica` does not bring it back."""
    primary = facts.primary
    match node:
        case Replica():
            return is_diverged(inventory, facts, node)
        case Stopped():
            on_another = primary is not None and node.control.timeline != primary.server.timeline
            return on_another or not node.host.standby_signal
        case _:
            return False


def words_of(name: NodeName, problem: Problem) -> str:
    """What went wrong, for a sentence that has named the node already."""
    return problem.message.removeprefix(f"{name}: ")


def bring_back(name: NodeName) -> str:
    """What to do with a node whose WAL may not be part of the primary's."""
    return f"run `replctl rejoin {name}`, which says what it has and keeps it."


def clone_anew(name: NodeName) -> str:
    """What to do with a node that can only come back as a new clone."""
    return f"run `replctl rejoin {name} --reclone`, which moves what stands there aside."


def give_up(name: NodeName) -> str:
    """How a node leaves the cluster, and its slot goes."""
    return f"give it up with `replctl remove-replica {name}`."


def restart_needed(name: NodeName, settings: Sequence[str]) -> str:
    """Settings that are written and not in force yet, and what brings them into force."""
    ordered = [setting for setting in settings if setting in ORDERED_SETTINGS]
    first = f", once its replicas have at least as much of {', '.join(ordered)}" if ordered else ""
    return (
        f"{name} needs a restart before these settings take effect: {', '.join(settings)}; "
        f"run `replctl restart {name}` when it suits{first}"
    )
