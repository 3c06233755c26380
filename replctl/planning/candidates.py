"""Which replica would make a good primary, and what its promotion would cost."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from replctl.model.facts import ClusterFacts, Primary, Replica, Stopped
from replctl.model.inventory import Inventory
from replctl.model.report import NodeState
from replctl.model.values import Lsn, NodeName, Timeline
from replctl.planning.amounts import human_bytes
from replctl.planning.states import is_delayed, state_of
from replctl.planning.topology import streams_from_primary


class Verdict(StrEnum):
    """In the order of preference."""

    YES = "yes"
    LOSES = "loses"
    NO = "no"


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
    names = [name for name, node in facts.nodes.items() if not isinstance(node, Primary)]
    found = [_assess(inventory, facts, name) for name in names]
    return tuple(sorted(found, key=_rank))


def _rank(candidate: Candidate) -> tuple[int, int, int, int]:
    order = list(Verdict).index(candidate.verdict)
    received = candidate.received.position if candidate.received else -1
    return order, candidate.lost_bytes or 0, -(candidate.timeline or 0), -received


def _assess(inventory: Inventory, facts: ClusterFacts, name: NodeName) -> Candidate:
    node = facts.nodes[name]
    state = state_of(inventory, facts, node)
    if not isinstance(node, Replica):
        return Candidate(name, Verdict.NO, reason=state.value)
    if len(facts.primaries) > 1:
        return _refuse(node, "more than one primary")
    if facts.primary is not None:
        return _for_switchover(inventory, facts, facts.primary, node, state)
    return _for_failover(facts, node)


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


def _for_failover(facts: ClusterFacts, replica: Replica) -> Candidate:
    """What its link was like counts no more once the primary is gone; what the node is like does."""
    latest = max(other.server.timeline for other in facts.replicas)
    if (unfit := _unfit(replica)) is not None:
        return _refuse(replica, unfit.value)
    if replica.server.timeline < latest:
        return _refuse(replica, f"timeline {replica.server.timeline}, not {latest}")
    if replica.received is None:
        return _refuse(replica, "received nothing")
    verdict, lost = _loss(facts, replica, replica.received)
    return Candidate(replica.node, verdict, lost, timeline=replica.server.timeline, received=replica.received)


def _unfit(replica: Replica) -> NodeState | None:
    if replica.ssh is not None:
        return NodeState.SQL_ONLY
    if replica.paused != "not paused":
        return NodeState.PAUSED
    return NodeState.DELAYED if is_delayed(replica) else None


def _loss(facts: ClusterFacts, replica: Replica, received: Lsn) -> tuple[Verdict, int | None]:
    """A cleanly stopped primary of the same timeline wrote nothing behind its shutdown checkpoint's record, and replay
    moves at record ends: replayed past that record's start, nothing is lost. Otherwise only what others received is
    known, and the old primary may have had more."""
    peers = [r for r in facts.replicas if r.server.timeline == replica.server.timeline]
    ends = [r.received for r in peers if r.received is not None]
    old = _cleanly_stopped_primary(facts, replica.server.timeline)
    furthest = max([*ends, old] if old else ends)
    if received < furthest:
        return Verdict.LOSES, furthest - received
    proven = old is not None and replica.replayed is not None and replica.replayed > old
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
