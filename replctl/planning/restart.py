"""Plans ``restart``: one node where it is, or every node one after the other with the primary's role moved away first.

A node that is stopped is started, so that the same command finishes what an interrupted run began.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import assert_never

from replctl.model.actions import (
    AwaitStreaming,
    DropStuckWalsenders,
)
from replctl.model.facts import (
    ClusterFacts,
    Foreign,
    NodeFacts,
    NoInstance,
    Primary,
    Replica,
    Silent,
    Stopped,
    Unreachable,
)
from replctl.model.inventory import Inventory
from replctl.model.plan import Plan, Refusal, Refused, Step
from replctl.model.values import NodeName
from replctl.planning.add_replica import plan_add_replica
from replctl.planning.candidates import Candidate, Verdict, assess_candidates
from replctl.planning.init_primary import plan_init_primary
from replctl.planning.promote import plan_promote
from replctl.planning.role_change import restarted, restarted_primary, wake
from replctl.planning.situation import (
    Situation,
    needs_host,
    needs_primary,
    refuse_silent,
    refuse_unreachable,
    sequence,
    side_by_side,
    step,
    unreachable_notes,
    waiting_for,
)
from replctl.planning.states import is_diverged, settings_at_start, settings_in_force, too_low
from replctl.planning.switchover_checks import stuck_walsenders
from replctl.planning.topology import is_ours, streams_from_primary, unseen_followers, upstream_of, walsender_of

COMMAND = "restart"
AGAIN = "`replctl restart --rolling` again: this run only finishes what another one had begun"


def plan_restart(situation: Situation, name: NodeName) -> Plan | Refused:
    """What ends with NODE started anew, in the role that it has."""
    facts = situation.facts.nodes[name]
    match facts:
        case Unreachable():
            return situation.refuse(COMMAND, [refuse_unreachable(name, facts.ssh)])
        case Silent():
            return situation.refuse(COMMAND, [refuse_silent(name, facts.sql)])
        case Foreign() | NoInstance():
            return situation.refuse(COMMAND, [_nothing_of_ours(facts)])
        case Stopped():
            return _start(situation, facts)
        case Primary():
            return _restart_primary(situation, facts)
        case Replica():
            return _restart_replica(situation, facts)
        case _:
            assert_never(facts)


def _nothing_of_ours(facts: Foreign | NoInstance) -> Refusal:
    name = facts.node
    if isinstance(facts, Foreign):
        what = f"another cluster (system identifier {facts.system_identifier})"
        return Refusal("foreign", name, f"{name} holds {what}", "replctl leaves other clusters alone.")
    return Refusal("absent", name, f"{name} has no PostgreSQL instance", f"`replctl add-replica {name}` clones it.")


def _start(situation: Situation, facts: Stopped) -> Plan | Refused:
    """The checks are those of the command that starts a node in its role."""
    was_primary = not facts.host.standby_signal and not situation.facts.primaries
    planned = plan_init_primary(situation, facts.node) if was_primary else plan_add_replica(situation, [facts.node])
    return _as_restart(planned, f"{facts.node} is stopped, and is only started")


def _as_restart(planned: Plan | Refused, note: str) -> Plan | Refused:
    if isinstance(planned, Refused):
        return replace(planned, command=COMMAND)
    return replace(planned, command=COMMAND, notes=(note, *planned.notes))


def _restart_primary(situation: Situation, primary: Primary) -> Plan | Refused:
    name = primary.node
    refusals = [*needs_primary(situation, COMMAND), *_check_followers(situation, primary)]
    if refusals:
        return situation.refuse(COMMAND, refusals)
    pids = stuck_walsenders(primary)
    stuck = step("walsenders", name, DropStuckWalsenders(pids), "the stop would wait for a standby that is silent")
    restart = sequence(
        stuck if pids else None,
        *restarted_primary(name),
    )
    replicas = waiting_for(situation, name)
    idle = [one for one in replicas if not _streams(situation, one)]
    lanes = (_come_back(replica, None if replica in idle else name) for replica in replicas)
    notes = [
        *_cost_of_the_stop(primary),
        *(f"{replica} does not stream from {name} now, and is not waited for" for replica in idle),
        *unreachable_notes(situation, [name]),
    ]
    return situation.plan(COMMAND, [restart, side_by_side(lanes)], notes=notes)


def _streams(situation: Situation, name: NodeName) -> bool:
    seen = situation.facts.nodes[name]
    return isinstance(seen, Replica) and streams_from_primary(situation.inventory, situation.facts, seen)


def _come_back(replica: NodeName, primary: NodeName | None) -> tuple[Step, ...]:
    if primary is None:  # what it lacked before, it lacks after the restart too
        return (wake(replica),)
    return wake(replica), step("streaming", replica, AwaitStreaming(primary), f"it follows {primary} again")


def _cost_of_the_stop(primary: Primary) -> Iterator[str]:
    name, backlog = primary.node, primary.server.archive_backlog
    yield (
        f"writes are refused while {name} restarts; `replctl restart --rolling` moves the primary's role to another "
        "node instead"
    )
    if backlog:
        yield f"{name} still has {backlog} WAL segments to archive before it stops"


def _restart_replica(situation: Situation, replica: Replica) -> Plan | Refused:
    primary = situation.facts.primary
    refusals = [
        *needs_primary(situation, COMMAND),
        *needs_host(replica),
        *check_replica(situation, replica),
        *_check_start(primary, replica),
    ]
    if refusals or primary is None:
        return situation.refuse(COMMAND, refusals)
    notes = [*_cost_of_the_absence(situation, primary, replica), *unreachable_notes(situation, [primary.node])]
    return situation.plan(COMMAND, [sequence(*_bounce(replica, primary))], notes=notes)


def _bounce(replica: Replica, primary: Primary) -> tuple[Step, ...]:
    name = replica.node
    return (
        *restarted(name, "its sessions end, and it receives no WAL from here on"),
        step("caught-up", name, AwaitStreaming(primary.node), "done means streaming and caught up"),
    )


def _cost_of_the_absence(situation: Situation, primary: Primary, replica: Replica) -> Iterator[str]:
    name = replica.node
    if name in situation.facts.env.replicas:
        yield f"{name} stays in the env file: until it is back, reads that go there fail"
    walsender = walsender_of(situation.inventory, primary.server, replica)
    if situation.inventory.sync is None and walsender is not None and walsender.sync_state in ("sync", "quorum"):
        yield f"{name} is a synchronous standby: commits may wait until it is back"


def check_replica(situation: Situation, replica: Replica) -> list[Refusal]:
    """Done means streaming, which these would never do; one that has diverged would not even start (PostgreSQL's
    "requested timeline does not contain minimum recovery point")."""
    name, primary = replica.node, situation.facts.primary
    if primary is None:
        return []
    if is_diverged(situation.inventory, situation.facts, replica):
        return [
            Refusal(
                "diverged",
                name,
                f"{name} has WAL that {primary.node} never had, and could not start again",
                f"`replctl rejoin {name}` brings it back.",
            )
        ]
    upstream = upstream_of(situation.inventory, situation.facts, replica)
    if upstream is not None and upstream.node == primary.node:
        return []
    where = f"streams from {upstream.text}" if upstream is not None else "has no primary_conninfo"
    return [
        Refusal(
            "wrong-upstream",
            name,
            f"{name} {where}, and not from {primary.node}",
            f"`replctl add-replica {name}` has it stream from {primary.node}.",
        )
    ]


def _check_start(primary: Primary | None, replica: Replica) -> list[Refusal]:
    """With less than its primary has a standby does not start (PostgreSQL docs, 27.4.3), whatever it runs with now."""
    if primary is None or needs_host(replica):
        return []
    name = replica.node
    return [
        Refusal(
            "ordered-setting",
            name,
            f"{name}: {setting} is {own} in its files, below the {wanted} of {primary.node}: it would not start",
            "A lowered setting goes to the primary first: `replctl config apply --restart --restart-primary`.",
        )
        for setting, (own, wanted) in too_low(settings_at_start(replica), settings_in_force(primary)).items()
    ]


def _check_followers(situation: Situation, primary: Primary) -> list[Refusal]:
    """Once the primary has more than a standby, that one stops replaying."""
    then, waiting = settings_at_start(primary), set(waiting_for(situation, primary.node))
    raised = list(too_low(settings_in_force(primary), then))
    seen = [
        Refusal(
            "ordered-setting",
            replica.node,
            f"{replica.node} has {setting} = {own}, less than the {wanted} that {primary.node} is to have: it would "
            "stop replaying",
            f"A raised setting goes to the replicas first: `replctl config apply {replica.node} --restart`.",
        )
        for replica in situation.facts.replicas
        if replica.node in waiting
        for setting, (own, wanted) in too_low(settings_in_force(replica), then).items()
    ]
    return [*seen, *check_unseen_followers(situation, primary, raised)]


def check_unseen_followers(situation: Situation, primary: Primary, raised: Sequence[str]) -> list[Refusal]:
    """Nobody knows whether a standby that streams and does not answer has enough for what the primary is to have."""
    return [
        Refusal(
            "ordered-setting",
            name,
            f"{name} streams from {primary.node} and does not answer: with less {' and '.join(raised)} than "
            f"{primary.node} is to have, it would stop replaying",
            f"Run this again once {name} answers, or take it out first: `replctl remove-replica {name}`.",
        )
        for name in unseen_followers(situation.inventory, situation.facts, primary.server)
        if raised
    ]


def plan_rolling_restart(situation: Situation) -> Plan | Refused:
    """Every replica one after the other, each back before the next; then the primary, by a switchover."""
    facts = situation.facts
    if not facts.primaries:
        return _finish_switchover(situation)
    refusals = [
        *needs_primary(situation, COMMAND),
        *(refuse_silent(name, seen.sql) for name, seen in facts.nodes.items() if isinstance(seen, Silent)),
    ]
    if refusals or facts.primary is None:
        return situation.refuse(COMMAND, dict.fromkeys(refusals))
    if astray := _astray(situation):
        planned = plan_add_replica(situation, astray)
        return _to_be_continued(
            planned, f"{' and '.join(astray)} first: every node has to stream before one is stopped"
        )
    links = [r for replica in facts.replicas for r in check_link(situation, facts.primary, replica)]
    starts = [r for replica in facts.replicas for r in _check_start(facts.primary, replica)]
    if links or starts:
        return situation.refuse(COMMAND, [*links, *starts])
    candidate = switchover_candidate(situation.inventory, facts)
    if candidate is None:
        return situation.refuse(COMMAND, nobody_takes_over(situation, facts.primary))
    return _roll(situation, facts.primary, candidate)


def switchover_candidate(inventory: Inventory, facts: ClusterFacts) -> NodeName | None:
    """The first replica in the inventory's order that may take the role from the running primary.

    All that may are equally good, since nothing is lost; which of them has received most changes from one look to the
    next.
    """
    if facts.primary is None:
        return None
    fit = {found.node for found in assess_candidates(inventory, facts) if found.verdict is Verdict.YES}
    return next((name for name in inventory.nodes if name in fit), None)


def _roll(situation: Situation, primary: Primary, candidate: NodeName) -> Plan | Refused:
    switchover = plan_promote(situation, candidate)
    if isinstance(switchover, Refused):
        return replace(switchover, command=COMMAND)
    # The candidate first: its cache fills while the others restart.
    replicas = sorted(situation.facts.replicas, key=lambda replica: replica.node != candidate)
    reached = [replica for replica in replicas if not needs_host(replica)]
    missed = [name for name, seen in situation.facts.nodes.items() if isinstance(seen, Unreachable) or needs_host(seen)]
    return situation.plan(
        COMMAND,
        [*(sequence(*_bounce(replica, primary)) for replica in reached), *switchover.stages],
        notes=[
            f"{candidate} becomes the primary, and {primary.node} comes back as a replica: so it is restarted too",
            *switchover.notes,
        ],
        unfinished=[*switchover.unfinished, *(f"`replctl restart {name}` after that" for name in missed)],
    )


def _astray(situation: Situation) -> list[NodeName]:
    """Replicas that are stopped, as an interrupted run leaves one, or follow another node than the primary."""
    return [name for name, seen in situation.facts.nodes.items() if _is_astray(situation, seen)]


def _is_astray(situation: Situation, seen: NodeFacts) -> bool:
    if isinstance(seen, Stopped):
        return seen.host.standby_signal
    if not isinstance(seen, Replica) or needs_host(seen):
        return False
    upstream = upstream_of(situation.inventory, situation.facts, seen)
    return upstream is None or upstream.node != (situation.facts.primary and situation.facts.primary.node)


def check_link(situation: Situation, primary: Primary, replica: Replica) -> list[Refusal]:
    name = replica.node
    if needs_host(replica) or streams_from_primary(situation.inventory, situation.facts, replica):
        return []
    return check_replica(situation, replica) or [
        Refusal(
            "not-streaming",
            name,
            f"{name} does not stream from {primary.node}",
            "`replctl status` says why: every node has to stream before one is stopped.",
        )
    ]


def nobody_takes_over(situation: Situation, primary: Primary) -> list[Refusal]:
    way_out = f"`replctl restart {primary.node}` restarts the primary where it is: writes are refused meanwhile."
    replicas = [c for c in _candidates(situation) if isinstance(situation.facts.nodes[c.node], Replica)]
    if not replicas:
        return [Refusal("no-replica", primary.node, f"{primary.node} has no replica to take over from it", way_out)]
    return [
        Refusal("no-candidate", one.node, f"{one.node} cannot take over from {primary.node}: {one.reason}", way_out)
        for one in replicas
    ]


def _candidates(situation: Situation) -> tuple[Candidate, ...]:
    return assess_candidates(situation.inventory, situation.facts)


def _finish_switchover(situation: Situation) -> Plan | Refused:
    """No primary runs: a switchover did not end. The node that has slots for the others was to become the primary."""
    facts = situation.facts
    running = [seen for one in _candidates(situation) if isinstance(seen := facts.nodes[one.node], Replica)]
    for replica in sorted(running, key=lambda seen: not any(is_ours(slot) for slot in seen.server.slots)):
        planned = plan_promote(situation, replica.node)
        if isinstance(planned, Plan):
            return _to_be_continued(planned, f"{replica.node} becomes the primary")
    return situation.refuse(COMMAND, needs_primary(situation, COMMAND))


def _to_be_continued(planned: Plan | Refused, note: str) -> Plan | Refused:
    again = _as_restart(planned, note)
    return again if isinstance(again, Refused) else replace(again, unfinished=(*again.unfinished, AGAIN))
