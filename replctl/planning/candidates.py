"""Which replica would make a good primary, and what its promotion would cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from replctl.model.facts import ClusterFacts, NodeFacts, Primary, Replica, Stopped
from replctl.model.inventory import Inventory
from replctl.model.report import NodeState
from replctl.model.values import Lsn, NodeName, Timeline
from replctl.planning.amounts import human_bytes
from replctl.planning.states import is_delayed, states_of
from replctl.planning.topology import streams_from_primary


class Verdict(StrEnum):
    """In the order of preference."""

    YES = "yes"
    LOSES = "loses"
    NO = "no"


_ORDER = {verdict: place for place, verdict in enumerate(Verdict)}


@dataclass(frozen=True, slots=True)
class Candidate:
    """What the promotion of one node would mean."""

    node: NodeName
    verdict: Verdict
    lost_bytes: int | None = None
    """With LOSES: WAL that is known to exist elsewhere and not here; None when only an unreachable or crashed old
    primary could tell, and no node that answers has more."""
    reason: str = ""
    """With NO: the state that forbids it, or another reason in a few words."""
    timeline: Timeline | None = None
    received: Lsn | None = None

    @property
    def text(self) -> str:
        """As the PROMOTE? column shows it: ``yes``, ``loses 16 MiB``, ``loses unknown``, ``no: paused``."""
        if self.verdict is Verdict.YES:
            return "yes"
        if self.verdict is Verdict.NO:
            return f"no: {self.reason}"
        return "loses unknown" if self.lost_bytes is None else f"loses {human_bytes(self.lost_bytes)}"


def without_primary(candidate: Candidate) -> str:
    """What to do with a candidate that would lose something."""
    return f"`replctl promote {candidate.node} --failover --dry-run` says what going on without the old primary loses."


def assess_candidates(inventory: Inventory, facts: ClusterFacts) -> tuple[Candidate, ...]:
    """Every node that is not a running primary, best first: verdict, then timeline, then received LSN."""
    return assess_by_state(inventory, facts, states_of(inventory, facts))


def assess_by_state(
    inventory: Inventory, facts: ClusterFacts, states: Mapping[NodeName, NodeState]
) -> tuple[Candidate, ...]:
    """The same, where the state of every node is known already."""
    peers = _peers(facts)
    nodes = [node for node in facts.nodes.values() if not isinstance(node, Primary)]
    return tuple(sorted((_assess(inventory, facts, node, states[node.node], peers) for node in nodes), key=_rank))


def _rank(candidate: Candidate) -> tuple[int, int, int, int]:
    order = _ORDER[candidate.verdict]
    received = candidate.received.position if candidate.received else -1
    return order, candidate.lost_bytes or 0, -(candidate.timeline or 0), -received


def _assess(
    inventory: Inventory, facts: ClusterFacts, node: NodeFacts, state: NodeState, peers: Mapping[Timeline, _Peers]
) -> Candidate:
    if not isinstance(node, Replica):
        return Candidate(node.node, Verdict.NO, reason=state.value)
    if len(facts.primaries) > 1:
        return _refuse(node, "more than one primary")
    if facts.primary is not None:
        return _for_switchover(inventory, facts, facts.primary, node, state)
    return _for_failover(node, peers)


def _for_switchover(
    inventory: Inventory, facts: ClusterFacts, primary: Primary, replica: Replica, state: NodeState
) -> Candidate:
    """With a live primary nothing is lost, provided that the candidate streams from it and replays."""
    if state is not NodeState.STREAMING:
        return _refuse(replica, state.value)
    if not streams_from_primary(inventory, facts, replica):
        return _refuse(replica, f"no walsender on {primary.node}")
    if replica.server.timeline != primary.server.timeline:
        return _refuse(replica, f"timeline {replica.server.timeline}, not {primary.server.timeline}")
    return Candidate(replica.node, Verdict.YES, timeline=replica.server.timeline, received=replica.received)


def _for_failover(replica: Replica, peers: Mapping[Timeline, _Peers]) -> Candidate:
    """What its link was like counts no more once the primary is gone; what the node is like does."""
    latest = max(peers)
    if (unfit := _unfit(replica)) is not None:
        return _refuse(replica, unfit.value)
    if replica.server.timeline < latest:
        return _refuse(replica, f"timeline {replica.server.timeline}, not {latest}")
    if replica.received is None:
        return _refuse(replica, "received nothing")
    verdict, lost = _loss(peers[replica.server.timeline], replica, replica.received)
    return Candidate(replica.node, verdict, lost, timeline=replica.server.timeline, received=replica.received)


def _unfit(replica: Replica) -> NodeState | None:
    if replica.ssh is not None:
        return NodeState.SQL_ONLY
    if replica.paused != "not paused":
        return NodeState.PAUSED
    return NodeState.DELAYED if is_delayed(replica) else None


@dataclass(frozen=True, slots=True)
class _Peers:
    """The replicas of one timeline, and the old primary if it was stopped cleanly on it and answers."""

    furthest: Lsn
    """Of what is known to exist."""
    old: Lsn | None
    """Where the shutdown checkpoint's record of the old primary starts."""


def _peers(facts: ClusterFacts) -> Mapping[Timeline, _Peers]:
    ends: dict[Timeline, list[Lsn]] = {}
    for replica in facts.replicas:
        ends.setdefault(replica.server.timeline, []).append(replica.received or Lsn(0))
    old = {timeline: _cleanly_stopped_primary(facts, timeline) for timeline in ends}
    return {timeline: _Peers(max([*found, old[timeline] or Lsn(0)]), old[timeline]) for timeline, found in ends.items()}


def _loss(peers: _Peers, replica: Replica, received: Lsn) -> tuple[Verdict, int | None]:
    """A cleanly stopped primary of the same timeline wrote nothing behind its shutdown checkpoint's record, and replay
    moves at record ends: replayed past that record's start, nothing is lost. Otherwise only what others received is
    known, and the old primary may have had more."""
    if received < peers.furthest:
        return Verdict.LOSES, peers.furthest - received
    proven = peers.old is not None and replica.replayed is not None and replica.replayed > peers.old
    return (Verdict.YES, None) if proven else (Verdict.LOSES, None)


def _cleanly_stopped_primary(facts: ClusterFacts, timeline: Timeline) -> Lsn | None:
    """Where the shutdown checkpoint's record of the old primary starts, if it was stopped cleanly and answers."""
    ends = [
        node.control.checkpoint
        for node in facts.nodes.values()
        if isinstance(node, Stopped) and node.control.cleanly_shut_down_primary and node.control.timeline == timeline
    ]
    return max(ends, default=None)


def _refuse(replica: Replica, reason: str) -> Candidate:
    return Candidate(
        replica.node, Verdict.NO, reason=reason, timeline=replica.server.timeline, received=replica.received
    )
