"""Plans ``promote --failover``: the primary is dead, and what it did not send is given up on the operator's word.

Invariant of every prefix of the plan: the old primary cannot come back writable by itself, or the operator has said
that it is fenced and a note reminds of it. Until the promote request everything is taken back.
"""

from __future__ import annotations

from collections.abc import Set

from replctl.model.actions import (
    ConfigureStandby,
    DetachStandby,
    ForgetStandby,
    NoteFenceDebt,
    Place,
    ProveFurthest,
    RepointStandby,
    SettleFenceDebt,
)
from replctl.model.facts import ClusterFacts, Replica, Stopped, Unreachable
from replctl.model.plan import Plan, Refused, Step
from replctl.model.values import NodeName
from replctl.planning.acknowledged import acknowledged_note
from replctl.planning.amounts import human_bytes
from replctl.planning.consent import Consent
from replctl.planning.divergence import counted
from replctl.planning.failover_checks import (
    Ahead,
    ahead_of,
    check_failover_candidate,
    check_nobody_leads,
    check_old,
    former_primaries,
    nothing_is_lost,
    refuse_ahead,
)
from replctl.planning.promote import COMMAND, plan_promote
from replctl.planning.role_change import follow, left_behind, promotion, siblings_of, slots_for
from replctl.planning.services import stays_down
from replctl.planning.situation import (
    Situation,
    publish_again,
    refresh_hba,
    sequence,
    side_by_side,
    step,
    write_passfile,
)
from replctl.planning.topology import upstream_of


def plan_failover(situation: Situation, name: NodeName, consents: Set[Consent]) -> Plan | Refused:
    """What ends with NODE as the primary, without the old one."""
    facts = situation.facts
    if facts.primary is not None and facts.primary.node == name:
        return plan_promote(situation, name)
    alive = check_nobody_leads(situation, name)
    if alive:
        return situation.refuse(COMMAND, alive)
    if nothing_is_lost(situation, name):
        return plan_promote(situation, name)
    candidate = facts.nodes[name]
    refusals = check_failover_candidate(situation, name)
    if refusals or not isinstance(candidate, Replica):
        return situation.refuse(COMMAND, refusals)
    old = former_primaries(situation.inventory, facts, candidate)
    ahead = ahead_of(situation, candidate, old)
    refusals = [
        *check_old(situation, candidate, old, consents),
        *([] if Consent.DATA_LOSS in consents else [refuse_ahead(candidate, one) for one in ahead]),
    ]
    if refusals:
        return situation.refuse(COMMAND, refusals)
    return _plan(situation, candidate, old, ahead)


def _plan(situation: Situation, candidate: Replica, old: tuple[Stopped | Unreachable, ...], ahead: list[Ahead]) -> Plan:
    name = candidate.node
    unfollowing = {one.node for one in ahead}
    siblings = tuple(other for other in siblings_of(situation, name, name) if other not in unfollowing)
    attached = {name, *siblings}

    def runs(other: NodeName) -> bool:
        return isinstance(situation.facts.nodes[other], Replica)

    prepare = sequence(
        *(_owe(node.node, name) for node in old if isinstance(node, Unreachable)),
        *refresh_hba(situation, name),
        *(write_passfile(situation, other) for other in siblings),
        *slots_for(situation, candidate.server, name, (*siblings, *(node.node for node in old))),
        *(one for node in old if isinstance(node, Stopped) for one in _demote(situation, node, name)),
        *(_detach(situation, one) for one in situation.facts.replicas if one.node in attached),
        step("furthest", name, ProveFurthest(siblings), f"{name} must have received as much as any other"),
        *promotion(situation, name),
    )
    return situation.plan(
        COMMAND,
        [
            prepare,
            side_by_side(follow(situation, sibling, name) for sibling in siblings),
            sequence(publish_again(situation, name, siblings)),
        ],
        notes=[*_announced(situation, candidate, old, ahead), *(_announced_of(candidate, one) for one in ahead)],
        unfinished=[
            *left_behind(situation, (name,), "rejoin"),
            *(
                f"`replctl rejoin {other}`, since {other} has WAL that {name} lacks"
                for other in unfollowing
                if runs(other)
            ),
        ],
    )


def _owe(old: NodeName, name: NodeName) -> Step:
    return Step(
        f"debt:{old}",
        None,
        NoteFenceDebt(old, name),
        f"{old} has to be fenced by the first command that meets it",
        undo=SettleFenceDebt(old),
    )


def _demote(situation: Situation, old: Stopped, name: NodeName) -> tuple[Step, ...]:
    """A node that has standby.signal already keeps it, whatever happens to this run."""
    demote = step(
        "demote",
        old.node,
        ConfigureStandby(Place.LIVE, name, situation.node(old.node).slot),
        f"{old.node} must never come back as a second primary, not even by a reboot",
        undo=None if old.host.standby_signal else ForgetStandby(),
    )
    return (demote, *stays_down(situation, old.node))


def _detach(situation: Situation, replica: Replica) -> Step | None:
    """Only what can be attached again by an undo is detached."""
    upstream = upstream_of(situation.inventory, situation.facts, replica)
    if upstream is None or upstream.node is None:
        return None
    slot = replica.server.setting("primary_slot_name") or situation.node(replica.node).slot
    return step(
        "detach",
        replica.node,
        DetachStandby(),
        "positions are compared while nobody receives anything any more",
        undo=RepointStandby(upstream.node, slot),
    )


def _announced(
    situation: Situation, candidate: Replica, old: tuple[Stopped | Unreachable, ...], ahead: list[Ahead]
) -> list[str]:
    """The most that can be lost, before anybody says yes."""
    notes: list[str] = []
    for node in old:
        if isinstance(node, Unreachable):
            notes.append(
                f"{node.node} is out of sight: everything that it wrote past {candidate.received} is lost, unless it "
                "comes back; nobody that answers can say how much that is"
            )
        else:
            notes.append(_announced_stopped(situation.facts, candidate, node))
            if proof := acknowledged_note(situation.facts, candidate.node, node, ahead):
                notes.append(proof)
    return notes


def _announced_stopped(facts: ClusterFacts, candidate: Replica, old: Stopped) -> str:
    again = f"{old.node} is given up; starting it again instead (`replctl init-primary {old.node}`) would lose nothing"
    tail = facts.wal_of(old.node)
    if tail is None or tail.problem is not None:
        why = f": {tail.problem}" if tail is not None else ""
        return f"{again}; how much {old.node} has past {candidate.received} could not be read{why}"
    if tail.end is None:
        return f"{again}; {candidate.node} has received all that {old.node} has, so that nothing is lost"
    return (
        f"{again}; at most {human_bytes(tail.size_bytes)} with {counted(tail.commits)} are lost, from {tail.start} to "
        f"{tail.end}: they stay on {old.node}"
    )


def _announced_of(candidate: Replica, ahead: Ahead) -> str:
    amount = "an unknown amount" if ahead.lost_bytes is None else human_bytes(ahead.lost_bytes)
    return f"{ahead.node} has, or may have, {amount} more than {candidate.node}, which is lost; it has to rejoin"
