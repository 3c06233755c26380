"""Findings about who leads: two primaries, and old ones that nobody has seen since they were replaced."""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_never

from replctl.model.facts import (
    ClusterFacts,
    FenceDebt,
    Foreign,
    NodeFacts,
    NoInstance,
    Primary,
    Replica,
    Silent,
    Stopped,
    Unreachable,
)
from replctl.model.report import Finding, Severity
from replctl.model.values import SystemIdentifier
from replctl.planning.amounts import human_bytes
from replctl.planning.ancestry import fork_between, line_of, superseded
from replctl.planning.fencing import owes
from replctl.planning.hints import bring_back


def multiple_primaries(facts: ClusterFacts) -> Finding:
    """Both ways forward, with what each of them loses."""
    primaries = sorted(facts.primaries, key=lambda primary: primary.server.timeline)
    each = ", ".join(f"{p.node} (timeline {p.server.timeline}, at {p.current})" for p in primaries)
    message = f"{len(primaries)} nodes run as primary: {each}; how far any replica is behind is unknown"
    old = superseded(facts)
    new = next((primary for primary in facts.primaries if primary not in old), None)
    if len({primary.server.system_identifier for primary in primaries}) > 1:
        hint = (
            "They are of different clusters. Pin the one that is meant as `system_identifier` in the inventory: the "
            "other node is then foreign, and left alone."
        )
    elif len(old) == 1 and new is not None:
        hint = _two_ways(new, old[0])
    elif (first := primaries[0]).server.timeline < (last := primaries[-1]).server.timeline:
        hint = (
            f"{last.node} was promoted last, and {first.node} must stop at once: what is written there is not in "
            f"{last.node}. Then {bring_back(first.node)}"
        )
    else:
        hint = (
            "Find out which one the application writes to, and stop the others at once. `replctl rejoin NODE` then "
            "keeps what one of them has, and brings it back."
        )
    return Finding(Severity.CRITICAL, "multiple-primaries", None, message, hint)


def identity_unknown(facts: ClusterFacts) -> Finding:
    """With the identifier of every node: the operator sees which one does not belong."""
    found: dict[str, list[str]] = {}
    for name, node in facts.nodes.items():
        identifier = _identifier_of(node)
        if identifier is not None:
            found.setdefault(str(identifier), []).append(name)
    each = ", ".join(f"{identifier} on {' and '.join(names)}" for identifier, names in found.items())
    return Finding(
        Severity.WARNING,
        "identity-unknown",
        None,
        f"the nodes do not agree on one system identifier, so that none can be told to be foreign: {each}",
        "Write the cluster's own into the inventory, as `system_identifier`.",
    )


def _identifier_of(node: NodeFacts) -> SystemIdentifier | None:
    match node:
        case Primary() | Replica():
            return node.server.system_identifier
        case Stopped() | Silent():
            return node.control.system_identifier
        case Foreign():
            return node.system_identifier
        case Unreachable() | NoInstance():
            return None
        case _:
            assert_never(node)


def _two_ways(new: Primary, old: Primary) -> str:
    own, theirs = line_of(old), line_of(new)
    fork = fork_between(own, theirs) if own and theirs else None
    assert fork is not None
    old_bytes, new_bytes = human_bytes(old.current - fork.at), human_bytes(new.current - fork.at)
    return (
        f"They parted at {fork.at}. Stay with {new.node}, which was promoted last: any changing command fences "
        f"{old.node}, and `replctl rejoin {old.node} --discard-diverged` brings it back; this gives up at most "
        f"{old_bytes} that {old.node} wrote since, and keeps them aside. Or go back to {old.node}: stop PostgreSQL on "
        f"{new.node} by hand, then `replctl rejoin {new.node} --discard-diverged`; this gives up at most {new_bytes} "
        f"that {new.node} wrote since."
    )


def fence_debts(facts: ClusterFacts) -> Iterator[Finding]:
    """Old primaries that were out of sight when another node took over, and are not known to be harmless."""
    for debt in facts.debts:
        if owes(facts, debt.node):
            yield _debt(facts, debt)


def _debt(facts: ClusterFacts, debt: FenceDebt) -> Finding:
    seen = "is still out of sight" if isinstance(facts.nodes.get(debt.node), Unreachable) else "answers now"
    return Finding(
        Severity.WARNING,
        "fence-debt",
        debt.node,
        f"{debt.node} could not be reached when {debt.promoted} took over from it ({debt.since}), and {seen}: it may "
        "accept writes that nobody else has",
        f"Run `replctl rejoin {debt.node}` once it can be reached: that fences it first. If it never comes back, "
        f"`replctl remove-replica {debt.node}` forgets it.",
    )
