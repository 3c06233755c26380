"""What a node has that the primary never had, in words."""

from __future__ import annotations

from replctl.model.facts import ClusterFacts
from replctl.model.values import Lsn, NodeName
from replctl.planning.amounts import human_bytes


def describe_tail(facts: ClusterFacts, name: NodeName, start: Lsn) -> str:
    """Range, bytes and commits of a node's WAL from a position on."""
    tail = facts.wal_of(name)
    if tail is None or tail.problem is not None:
        why = f" ({tail.problem})" if tail is not None and tail.problem else ""
        return f"from {start} on, how much of it could not be read{why}"
    if tail.end is None:
        return f"from {start} on, no record of it can be read"
    return f"{start} to {tail.end}, {human_bytes(tail.size_bytes)}, {counted(tail.commits)}"


def counted(commits: int) -> str:
    return "1 commit" if commits == 1 else f"{commits} commits"
