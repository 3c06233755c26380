"""Plans ``promote``: the planned switchover, its continuation after an interruption, and what is left after it.

Invariant of every prefix of the plan: at most one node that could accept writes. The old primary is stopped and has
standby.signal before the promote request is sent; until then undo starts it again as the primary that it was.
"""

from __future__ import annotations

from collections.abc import Iterable

from replctl.model.actions import (
    AwaitStreaming,
    Checkpoint,
    ConfigureStandby,
    CreateSlot,
    DropSlot,
    DropStuckWalsenders,
    ForgetStandby,
    Place,
    ProbeWrite,
    Promote,
    ProveCaughtUp,
    RepointStandby,
    ReviveOldPrimary,
    StartPostgres,
    StopForSwitchover,
)
from replctl.model.facts import Primary, Replica, ServerFacts, Silent, Stopped, Unreachable
from replctl.model.plan import Plan, Refusal, Refused, Stage, Step
from replctl.model.values import SLOT_PREFIX, NodeName
from replctl.planning.situation import (
    Situation,
    forward_only,
    needs_host,
    needs_primary,
    publish,
    publish_again,
    refresh_hba,
    refuse_second_primary,
    refuse_unknown,
    sequence,
    side_by_side,
    step,
    unreachable_notes,
    waiting_for,
    write_passfile,
)
from replctl.planning.switchover_checks import check_candidate, check_continuation, stuck_walsenders, switchover_notes
from replctl.planning.topology import is_ours, proven_replicas, slot_on, upstream_of

COMMAND = "promote"


def plan_promote(situation: Situation, name: NodeName) -> Plan | Refused:
    """What ends with NODE as the primary and every other node that can be reached streaming from it."""
    facts = situation.facts
    if facts.primary is not None and facts.primary.node == name:
        return _finish(situation, facts.primary)
    if facts.primary is not None:
        return _switchover(situation, facts.primary, name)
    old = _cleanly_stopped_primary(situation)
    if old is not None and not facts.primaries:
        return _revive(situation, old) if old.node == name else _continue(situation, old, name)
    refusals = [*needs_primary(situation, COMMAND), *needs_host(facts.nodes[name])]
    return situation.refuse(COMMAND, dict.fromkeys(_with_way_out(situation, refusals)))


def _switchover(situation: Situation, old: Primary, name: NodeName) -> Plan | Refused:
    refusals = [*needs_host(old), *check_candidate(situation, old, name)]
    candidate = situation.facts.nodes[name]
    if refusals or not isinstance(candidate, Replica):
        return situation.refuse(COMMAND, refusals)
    siblings = _siblings(situation, old.node, name)
    prepare = sequence(
        *refresh_hba(situation, name),
        *(write_passfile(situation, other) for other in (old.node, *siblings)),
        *_slots(situation, candidate.server, name, (old.node, *siblings)),
        _drop_stuck(old),
        step(
            "checkpoint",
            old.node,
            Checkpoint(),
            "most of what the stop has to write is written while writes still flow",
        ),
        step(
            "stop",
            old.node,
            StopForSwitchover(),
            "from here on no write can be lost: there are none",
            undo=ReviveOldPrimary(siblings),
        ),
        *_take_over(situation, old.node, name),
    )
    return situation.plan(
        COMMAND,
        [prepare, *_gather(situation, old.node, name, siblings, old.server)],
        notes=[*switchover_notes(situation, old, candidate), *unreachable_notes(situation, [old.node, name])],
        unfinished=_left_behind(situation, (old.node, name)),
    )


def _continue(situation: Situation, old: Stopped, name: NodeName) -> Plan | Refused:
    """The run before ended between the stop and the promote request: the proof is made again, and it goes on."""
    candidate = situation.facts.nodes[name]
    refusals = check_continuation(situation, old, candidate)
    if refusals or not isinstance(candidate, Replica):
        return situation.refuse(COMMAND, refusals)
    siblings = _siblings(situation, old.node, name)
    passfile = (write_passfile(situation, other) for other in (old.node, *siblings))
    prepare = sequence(
        *refresh_hba(situation, name),
        *passfile,
        *_slots(situation, candidate.server, name, (old.node, *siblings)),
        *_take_over(situation, old.node, name),
    )
    return situation.plan(
        COMMAND,
        [prepare, *_gather(situation, old.node, name, siblings, None)],
        notes=[f"{old.node} was stopped by a switchover that did not end; this run goes on from there"],
        unfinished=_left_behind(situation, (old.node, name)),
    )


def _take_over(situation: Situation, old: NodeName, name: NodeName) -> tuple[Step, ...]:
    return (
        step("prove", name, ProveCaughtUp(old), f"{name} must have replayed the last thing that {old} wrote"),
        step(
            "demote",
            old,
            ConfigureStandby(Place.LIVE, name, situation.node(old).slot),
            f"{old} must never come back as a second primary, not even by a reboot",
            undo=ForgetStandby(),
        ),
        forward_only(step("promote", name, Promote(), f"{name} becomes the primary")),
        step("probe-write", name, ProbeWrite(), "a primary that refuses writes is not published"),
        *_only(publish(situation, name, ())),
    )


def _gather(
    situation: Situation, old: NodeName, name: NodeName, siblings: tuple[NodeName, ...], server: ServerFacts | None
) -> tuple[Stage, ...]:
    """Every other node follows the new primary, side by side; then the env file lists them."""
    lanes = [
        *(_follow(situation, sibling, name) for sibling in siblings),
        _return_as_replica(situation, old, name, server),
    ]
    return side_by_side(lanes), sequence(publish_again(situation, name, (old, *siblings)))


def _follow(situation: Situation, sibling: NodeName, name: NodeName) -> tuple[Step, ...]:
    slot = situation.node(sibling).slot
    return (
        step("repoint", sibling, RepointStandby(name, slot), f"{sibling} has to follow {name}"),
        step(
            "streaming", sibling, AwaitStreaming(name), f"a link counts only once {name}'s own WAL has come through it"
        ),
    )


def _return_as_replica(
    situation: Situation, old: NodeName, name: NodeName, server: ServerFacts | None
) -> tuple[Step, ...]:
    stale = (
        _stale_slots(server) if server else tuple(n.slot for n in situation.inventory.nodes.values() if n.name != old)
    )
    return (
        step("start", old, StartPostgres(), f"{old} comes back as a replica, once its postmaster is gone"),
        step("streaming", old, AwaitStreaming(name), f"a link counts only once {name}'s own WAL has come through it"),
        *(
            step(_sweep_id(slot), old, DropSlot(slot), "a slot left on a replica keeps WAL for nobody")
            for slot in stale
        ),
    )


def _revive(situation: Situation, old: Stopped) -> Plan | Refused:
    """``promote OLD`` with no promote request sent: the switchover is called off, OLD is started as what it was."""
    refusals = [*refuse_unknown(situation, old), *refuse_second_primary(situation, old)]
    if refusals:
        return situation.refuse(COMMAND, refusals)
    replicas = waiting_for(situation, old.node)
    revive = sequence(
        forward_only(
            step("revive", old.node, ReviveOldPrimary(replicas), "no promote request was sent: it is still the primary")
        ),
        step("probe-write", old.node, ProbeWrite(), "a primary that refuses writes is not published"),
    )
    lanes = (
        (step("streaming", replica.node, AwaitStreaming(old.node), "replicas follow it again"), *_sweep(replica))
        for replica in situation.facts.replicas
        if replica.node in replicas
    )
    return situation.plan(
        COMMAND,
        [revive, side_by_side(lanes), sequence(publish(situation, old.node, replicas))],
        notes=[f"{old.node} was stopped by a switchover that did not end; it is started again as the primary"],
        unfinished=_left_behind(situation, (old.node,)),
    )


def _finish(situation: Situation, primary: Primary) -> Plan | Refused:
    """NODE is the primary already: what an interrupted run left to do is done, and nothing else."""
    refusals = needs_host(primary)
    if refusals:
        return situation.refuse(COMMAND, refusals)
    name = primary.node
    stopped = [facts for facts in situation.facts.nodes.values() if isinstance(facts, Stopped)]
    returning = [facts for facts in stopped if _demoted(facts, primary)]
    straying = [replica for replica in situation.facts.replicas if _strays(situation, replica, name)]
    waiting = (*(facts.node for facts in returning), *(replica.node for replica in straying))
    lanes = [
        *(_follow(situation, replica.node, name) for replica in straying),
        *(_demote_and_return(situation, facts, name) for facts in returning),
        *(_sweep(replica) for replica in situation.facts.replicas if replica not in straying),
    ]
    listed = (*proven_replicas(situation.inventory, situation.facts), *waiting)
    return situation.plan(
        COMMAND,
        [
            sequence(*_slots(situation, primary.server, name, waiting)),
            side_by_side(lanes),
            sequence(publish(situation, name, listed)),
        ],
        notes=unreachable_notes(situation, [name]),
    )


def _demoted(facts: Stopped, primary: Primary) -> bool:
    """A former primary that a switchover stopped and marked as a standby, and that has not been started since."""
    return (
        facts.control.cleanly_shut_down_primary
        and facts.host.standby_signal
        and facts.control.timeline <= primary.server.timeline
    )


def _demote_and_return(situation: Situation, facts: Stopped, name: NodeName) -> tuple[Step, ...]:
    slot = situation.node(facts.node).slot
    why = f"{facts.node} has to follow {name}"
    demote = step("demote", facts.node, ConfigureStandby(Place.LIVE, name, slot), why)
    return (
        *_only(write_passfile(situation, facts.node)),
        demote,
        *_return_as_replica(situation, facts.node, name, None),
    )


def _strays(situation: Situation, replica: Replica, name: NodeName) -> bool:
    if needs_host(replica):
        return False
    upstream = upstream_of(situation.inventory, situation.facts, replica)
    slot = situation.node(replica.node).slot
    return upstream is None or upstream.node != name or replica.server.setting("primary_slot_name") != slot


def _sweep(replica: Replica) -> tuple[Step, ...]:
    if needs_host(replica):
        return ()
    return tuple(
        step(_sweep_id(slot), replica.node, DropSlot(slot), "a slot left on a replica keeps WAL for nobody")
        for slot in _stale_slots(replica.server)
    )


def _sweep_id(slot: str) -> str:
    return f"sweep-{slot.removeprefix(SLOT_PREFIX)}"


def _stale_slots(server: ServerFacts) -> tuple[str, ...]:
    return tuple(slot.name for slot in server.slots if is_ours(slot))


def _slots(
    situation: Situation, server: ServerFacts, name: NodeName, followers: Iterable[NodeName]
) -> tuple[Step, ...]:
    wanted = ((follower, situation.node(follower).slot) for follower in followers)
    return tuple(
        Step(
            f"slot:{follower}",
            name,
            CreateSlot(slot),
            f"{name} keeps the WAL that {follower} needs from now on",
            undo=DropSlot(slot),
        )
        for follower, slot in wanted
        if (found := slot_on(server, slot)) is None or found.wal_status == "lost"
    )


def _drop_stuck(old: Primary) -> Step | None:
    pids = stuck_walsenders(old)
    if not pids:
        return None
    return step(
        "walsenders", old.node, DropStuckWalsenders(pids), "the stop would wait for a standby that does not answer"
    )


def _siblings(situation: Situation, old: NodeName, name: NodeName) -> tuple[NodeName, ...]:
    """Running replicas beside the candidate that SSH reaches."""
    return tuple(
        replica.node
        for replica in situation.facts.replicas
        if replica.node not in (old, name) and not needs_host(replica)
    )


def _left_behind(situation: Situation, done: tuple[NodeName, ...]) -> tuple[str, ...]:
    """Members that the plan cannot bring along: they stay out of the env file until the operator gets to them."""
    sentences: list[str] = []
    for name, facts in situation.facts.nodes.items():
        if name in done:
            continue
        if isinstance(facts, Unreachable) or needs_host(facts):
            sentences.append(f"`replctl add-replica {name}` once {name} can be reached again")
        elif isinstance(facts, Stopped):
            sentences.append(f"`replctl add-replica {name}`: it is stopped")
        elif isinstance(facts, Silent):
            sentences.append(f"`replctl add-replica {name}` once its PostgreSQL answers: {facts.sql.message}")
    return tuple(sentences)


def _cleanly_stopped_primary(situation: Situation) -> Stopped | None:
    found = [
        facts
        for facts in situation.facts.nodes.values()
        if isinstance(facts, Stopped) and facts.control.cleanly_shut_down_primary
    ]
    return found[0] if len(found) == 1 else None


def _with_way_out(situation: Situation, refusals: list[Refusal]) -> list[Refusal]:
    """With the primary dead a switchover is impossible; say what is possible."""
    stopped = [
        Refusal(
            "primary-stopped",
            facts.node,
            f"no node runs as primary: {facts.node} was the primary and is stopped",
            f"`replctl init-primary {facts.node}` starts it again and loses nothing. A failover without it is not "
            "supported by this version.",
        )
        for facts in situation.facts.nodes.values()
        if isinstance(facts, Stopped) and not facts.host.standby_signal
    ]
    return [*stopped, *(refusal for refusal in refusals if not stopped or refusal.code != "no-primary")]


def _only(step_or_none: Step | None) -> tuple[Step, ...]:
    return () if step_or_none is None else (step_or_none,)
