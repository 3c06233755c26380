"""Whose WAL is part of whose: the timelines that two nodes went through, and where they parted.

A history file names every timeline before its own, with the position where each ended (PostgreSQL docs, 26.3.5). A
node whose WAL goes past such an end on the old timeline has diverged: it can never stream from the new one.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from replctl.model.facts import ClusterFacts, NodeFacts, Primary, Replica, Silent, Stopped
from replctl.model.host import HostFacts
from replctl.model.values import Lsn, Timeline, WalRange

FIRST = Timeline(1)


@dataclass(frozen=True, slots=True)
class Reach:
    """A timeline that a node went through; ``end`` is None for the one that it is on."""

    timeline: Timeline
    end: Lsn | None


Line = tuple[Reach, ...]


@dataclass(frozen=True, slots=True)
class Fork:
    """Where a node's WAL left the primary's."""

    at: Lsn
    own: tuple[WalRange, ...]
    """The node's WAL from there on, oldest first. Whether anything was written there is another question."""

    @property
    def went_on(self) -> bool:
        """The node was promoted after the fork, so that it has WAL of its own for certain."""
        return len(self.own) > 1


def line_of(node: NodeFacts) -> Line | None:
    """The timelines of a node, oldest first; None when its history is not known."""
    match node:
        case Primary() | Replica():
            return _line(node.host, node.server.timeline)
        case Stopped() | Silent():
            return _line(node.host, node.host.wal_timeline or node.control.timeline)
        case _:
            return None


def _line(host: HostFacts | None, timeline: Timeline) -> Line | None:
    if timeline == FIRST:
        return (Reach(FIRST, None),)
    histories = host.histories if host is not None else ()
    found = next((history.switches for history in histories if history.timeline == timeline), None)
    return None if found is None else (*(Reach(s.timeline, s.end) for s in found), Reach(timeline, None))


def fork_between(node: Line, primary: Line) -> Fork | None:
    """Where the node's line left the primary's; None when all of it is part of the primary's."""
    for place, (own, theirs) in enumerate(zip(node, primary, strict=False)):
        if own.end is None and theirs.end is None:
            return None
        same_next = own.end == theirs.end and node[place + 1].timeline == primary[place + 1].timeline
        if not same_next:
            at = min(end for end in (own.end, theirs.end) if end is not None)
            return Fork(at, _ranges(node, place, at))
    return None


def _ranges(line: Line, place: int, at: Lsn) -> tuple[WalRange, ...]:
    rest = line[place:]
    later = [WalRange(after.timeline, before.end) for before, after in pairwise(rest) if before.end is not None]
    return (WalRange(rest[0].timeline, at), *later)


def fork_from_primary(facts: ClusterFacts, node: NodeFacts) -> Fork | None:
    """Where a node left the one primary's history; None also when one of the two histories is not known."""
    own, theirs = line_of(node), line_of(facts.primary) if facts.primary else None
    return fork_between(own, theirs) if own is not None and theirs is not None else None


def has_diverged(facts: ClusterFacts, node: NodeFacts) -> bool:
    """Whether a node certainly has WAL past the fork. What cannot be told by these facts counts as not."""
    fork = fork_from_primary(facts, node)
    if fork is None:
        return False
    if fork.went_on:
        return True
    match node:
        case Primary():
            return node.current > fork.at
        case Replica():
            return node.received is not None and node.received > fork.at
        case Stopped() | Silent():
            return _goes_past(facts, node, fork.at)
        case _:
            return False


def _goes_past(facts: ClusterFacts, node: Stopped | Silent, fork: Lsn) -> bool:
    """pg_control knows where a record begins (a checkpoint's), and where one ended (in recovery)."""
    tail = facts.wal_of(node.node)
    if tail is not None and tail.end is not None and tail.end > fork:
        return True
    recovered = node.control.min_recovery_end
    return node.control.checkpoint >= fork or (recovered is not None and recovered > fork)


def superseded(facts: ClusterFacts) -> tuple[Primary, ...]:
    """Primaries that another one went on without: their timeline ended in its history, and they have written on.

    Empty unless exactly one primary is left without them: between two that nothing tells apart nobody can choose.
    """
    old = tuple(p for p in facts.primaries if any(_supersedes(q, p) for q in facts.primaries if q is not p))
    return old if len(facts.primaries) - len(old) == 1 else ()


def _supersedes(new: Primary, old: Primary) -> bool:
    own, theirs = line_of(old), line_of(new)
    fork = fork_between(own, theirs) if own is not None and theirs is not None else None
    return fork is not None and not fork.went_on and old.current > fork.at
