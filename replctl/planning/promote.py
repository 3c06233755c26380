"""Plans ``promote``: the planned switchover, its continuation after an interruption, and what is left after it.

Invariant of every prefix of the plan: at most one node that could accept writes. The old primary is stopped and has
standby.signal before the promote request is sent; until then undo starts it again as the primary that it was.
"""

from __future__ import annotations

from dataclasses import replace

from replctl.model.actions import (
    AwaitStreaming,
    Checkpoint,
    ConfigureStandby,
    DropStuckWalsenders,
    Place,
    ProbeWrite,
    ReviveOldPrimary,
    StopForSwitchover,
)
from replctl.model.errors import ExitCode
from replctl.model.facts import Primary, Replica, Stopped
from replctl.model.plan import Plan, Refusal, Refused, Step
from replctl.model.values import NodeName
from replctl.planning.ancestry import has_diverged
from replctl.planning.publishing import end_stale_sessions
from replctl.planning.role_change import (
    follow,
    gather,
    get_ready,
    if_needed,
    left_behind,
    promotion,
    return_as_replica,
    siblings_of,
    slots_for,
    sweep,
    take_over,
)
from replctl.planning.situation import (
    Situation,
    cleanly_stopped_primary,
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
from replctl.planning.switchover_checks import (
    check_beside,
    check_candidate,
    check_continuation,
    stuck_walsenders,
    switchover_notes,
)
from replctl.planning.topology import proven_replicas, upstream_of

COMMAND = "promote"


def plan_promote(situation: Situation, name: NodeName) -> Plan | Refused:
    """What ends with NODE as the primary and every other node that can be reached streaming from it."""
    facts = situation.facts
    if facts.primary is not None and facts.primary.node == name:
        return _finish(situation, facts.primary)
    if facts.primary is not None:
        return _switchover(situation, facts.primary, name)
    old = cleanly_stopped_primary(situation)
    if old is not None and not facts.primaries:
        return _revive(situation, old) if old.node == name else _continue(situation, old, name)
    started = _started_old_primary(situation, name)
    if started is not None and not facts.primaries:
        return _continue_beside(situation, started, name)
    refusals = [*needs_primary(situation, COMMAND), *needs_host(facts.nodes[name])]
    return situation.refuse(COMMAND, dict.fromkeys(_with_way_out(situation, name, refusals)))


def _switchover(situation: Situation, old: Primary, name: NodeName) -> Plan | Refused:
    refusals = [*needs_host(old), *check_candidate(situation, old, name)]
    candidate = situation.facts.nodes[name]
    if refusals or not isinstance(candidate, Replica):
        return situation.refuse(COMMAND, refusals)
    siblings = siblings_of(situation, old.node, name)
    prepare = sequence(
        *refresh_hba(situation, name),
        *(write_passfile(situation, other) for other in (old.node, *siblings)),
        *slots_for(situation, candidate.server, name, (old.node, *siblings)),
        _drop_stuck(old),
        *get_ready(situation, old.node, name),
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
        *take_over(situation, old.node, name),
    )
    return situation.plan(
        COMMAND,
        [prepare, *gather(situation, old.node, name, siblings, old.server)],
        notes=[*switchover_notes(situation, old, candidate), *unreachable_notes(situation, [old.node, name])],
        unfinished=left_behind(situation, (old.node, name)),
    )


def _continue(situation: Situation, old: Stopped, name: NodeName) -> Plan | Refused:
    """The run before ended between the stop and the promote request: the proof is made again, and it goes on."""
    candidate = situation.facts.nodes[name]
    refusals = check_continuation(situation, old, candidate)
    if refusals or not isinstance(candidate, Replica):
        return situation.refuse(COMMAND, refusals)
    siblings = siblings_of(situation, old.node, name)
    passfile = (write_passfile(situation, other) for other in (old.node, *siblings))
    prepare = sequence(
        *refresh_hba(situation, name),
        *passfile,
        *slots_for(situation, candidate.server, name, (old.node, *siblings)),
        *take_over(situation, old.node, name),
    )
    return situation.plan(
        COMMAND,
        [prepare, *gather(situation, old.node, name, siblings, None)],
        notes=[f"{old.node} was stopped by a switchover that did not end; this run goes on from there"],
        unfinished=left_behind(situation, (old.node, name)),
    )


def _continue_beside(situation: Situation, old: Replica, name: NodeName) -> Plan | Refused:
    """Somebody started the old primary before the promote request: it is a standby that follows NODE by now."""
    candidate = situation.facts.nodes[name]
    assert isinstance(candidate, Replica)
    refusals = check_beside(situation, old, candidate)
    if refusals:
        return situation.refuse(COMMAND, refusals)
    siblings = siblings_of(situation, old.node, name)
    prepare = sequence(
        *refresh_hba(situation, name),
        *(write_passfile(situation, other) for other in (old.node, *siblings)),
        *slots_for(situation, candidate.server, name, (old.node, *siblings)),
        *promotion(situation, name),
    )
    lanes = [follow(situation, sibling, name) for sibling in siblings]
    return situation.plan(
        COMMAND,
        [
            prepare,
            side_by_side([*lanes, follow(situation, old.node, name)]),
            end_stale_sessions(situation.inventory.app.publish, old.node),
            sequence(publish_again(situation, name, (old.node, *siblings))),
        ],
        notes=[f"{old.node} was stopped by a switchover that did not end, and runs as a standby now"],
        unfinished=left_behind(situation, (old.node, name)),
    )


def _started_old_primary(situation: Situation, name: NodeName) -> Replica | None:
    """Only the switchover's demotion has two nodes follow each other: it comes after the clean stop and the proof."""
    old = _followed_by(situation, name)
    back = _followed_by(situation, old.node) if old is not None else None
    return old if back is not None and back.node == name else None


def _followed_by(situation: Situation, name: NodeName) -> Replica | None:
    """The running standby that a running standby follows."""
    facts = situation.facts.nodes[name]
    upstream = upstream_of(situation.inventory, situation.facts, facts) if isinstance(facts, Replica) else None
    found = situation.facts.nodes[upstream.node] if upstream is not None and upstream.node is not None else None
    return found if isinstance(found, Replica) else None


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
        (step("streaming", replica.node, AwaitStreaming(old.node), "replicas follow it again"), *sweep(replica))
        for replica in situation.facts.replicas
        if replica.node in replicas
    )
    return situation.plan(
        COMMAND,
        [revive, side_by_side(lanes), sequence(publish(situation, old.node, replicas))],
        notes=[f"{old.node} was stopped by a switchover that did not end; it is started again as the primary"],
        unfinished=left_behind(situation, (old.node,)),
    )


def _finish(situation: Situation, primary: Primary) -> Plan | Refused:
    """NODE is the primary already: what an interrupted run left to do is done, and nothing else."""
    refusals = needs_host(primary)
    if refusals:
        return situation.refuse(COMMAND, refusals)
    name = primary.node
    stopped = [facts for facts in situation.facts.nodes.values() if isinstance(facts, Stopped)]
    returning = [f for f in stopped if _demoted(f, primary) and not has_diverged(situation.facts, f)]
    straying = {replica.node: None for replica in situation.facts.replicas if _strays(situation, replica, name)}
    waiting = (*(facts.node for facts in returning), *straying)
    lanes = [
        *(follow(situation, replica, name) for replica in straying),
        *(_demote_and_return(situation, facts, name) for facts in returning),
        *(sweep(replica) for replica in situation.facts.replicas if replica.node not in straying),
    ]
    listed = (*proven_replicas(situation.inventory, situation.facts), *waiting)
    return situation.plan(
        COMMAND,
        [
            sequence(*slots_for(situation, primary.server, name, waiting)),
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
        *if_needed(write_passfile(situation, facts.node)),
        demote,
        *return_as_replica(situation, facts.node, name, None),
    )


def _strays(situation: Situation, replica: Replica, name: NodeName) -> bool:
    if needs_host(replica) or has_diverged(situation.facts, replica):
        return False
    upstream = upstream_of(situation.inventory, situation.facts, replica)
    slot = situation.node(replica.node).slot
    return upstream is None or upstream.node != name or replica.server.setting("primary_slot_name") != slot


def _drop_stuck(old: Primary) -> Step | None:
    pids = stuck_walsenders(old)
    if not pids:
        return None
    return step(
        "walsenders", old.node, DropStuckWalsenders(pids), "the stop would wait for a standby that does not answer"
    )


def _with_way_out(situation: Situation, name: NodeName, refusals: list[Refusal]) -> list[Refusal]:
    """With the primary dead a switchover is impossible; say what is possible."""
    stopped = [
        Refusal(
            "primary-stopped",
            facts.node,
            f"no node runs as primary: {facts.node} was the primary and is stopped",
            f"`replctl init-primary {facts.node}` starts it again and loses nothing. If it cannot be started, "
            f"`replctl promote {name} --failover` goes on without it, and says what that loses.",
        )
        for facts in situation.facts.nodes.values()
        if isinstance(facts, Stopped) and not facts.host.standby_signal
    ]
    rest = (refusal for refusal in refusals if not stopped or refusal.code != "no-primary")
    return [*stopped, *(_or_fail_over(refusal, name) for refusal in rest)]


def _or_fail_over(refusal: Refusal, name: NodeName) -> Refusal:
    if refusal.exit_code is not ExitCode.UNREACHABLE or refusal.node in (None, name):
        return refusal
    way = f"If {refusal.node} was the primary and is dead, `replctl promote {name} --failover` goes on without it."
    return replace(refusal, hint=f"{refusal.hint} {way}")
