"""Plans ``drill``: two switchovers, there and back again, of a cluster with which nothing is wrong.

The way back is planned over the cluster as the first switchover will leave it, so that all which could refuse it is
told before anything stops. It is planned once more, over what is there then, before it begins.
"""

from __future__ import annotations

from dataclasses import replace

from replctl.model.actions import Promote, StopForSwitchover
from replctl.model.drill import LastDrill, Route
from replctl.model.facts import (
    ClusterFacts,
    EnvListing,
    NodeFacts,
    Primary,
    Receiver,
    Replica,
    ServerFacts,
    Slot,
    Unreachable,
    Walsender,
)
from replctl.model.plan import Plan, Refusal, Refused, Stage
from replctl.model.report import Severity
from replctl.model.values import NodeName, Timeline
from replctl.planning.amounts import human_duration
from replctl.planning.promote import plan_promote
from replctl.planning.report import status_report
from replctl.planning.restart import nobody_takes_over, switchover_candidate
from replctl.planning.situation import Situation, needs_primary
from replctl.planning.topology import is_ours, walsender_of

COMMAND = "drill"
BACK = "back-"
"""What the ids of the way back begin with."""
SCHEMA = "replctl_drill"


def plan_drill(situation: Situation, name: NodeName | None) -> Plan | Refused:
    """Both switchovers, or everything that is not as it should be. Without a name the best candidate is taken."""
    if unwell := _unwell(situation):
        return situation.refuse(COMMAND, unwell)
    primary = situation.facts.primary
    if primary is None:
        return situation.refuse(COMMAND, needs_primary(situation, COMMAND))
    to = name or switchover_candidate(situation.inventory, situation.facts)
    if to is None:
        return situation.refuse(
            COMMAND, [replace(r, hint=_NO_CANDIDATE) for r in nobody_takes_over(situation, primary)]
        )
    if to == primary.node:
        return situation.refuse(COMMAND, [_is_primary(to)])
    return _there_and_back(situation, primary, to)


def _there_and_back(situation: Situation, primary: Primary, to: NodeName) -> Plan | Refused:
    there = plan_promote(situation, to)
    if isinstance(there, Refused):
        return replace(there, command=COMMAND)
    back = plan_way_back(after_switchover(situation, to), primary.node)
    if isinstance(back, Refused):
        return back
    stages = (*_headed(f"to {to}", there.stages), *_headed(f"then back to {primary.node}", back.stages))
    notes = (*_notes(situation, Route(to, primary.node)), *there.notes)
    return Plan(COMMAND, there.cluster, stages, notes, there.unfinished)


def _headed(words: str, stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
    first, *rest = stages
    return (replace(first, heading=words), *rest)


def plan_way_back(situation: Situation, home: NodeName) -> Plan | Refused:
    """The second switchover, over the cluster as it is then."""
    planned = plan_promote(situation, home)
    if isinstance(planned, Refused):
        return replace(planned, command=COMMAND)
    lanes = [
        tuple(tuple(replace(s, id=f"{BACK}{s.id}") for s in lane) for lane in stage.lanes) for stage in planned.stages
    ]
    stages = tuple(Stage(renamed, stage.on_failure) for renamed, stage in zip(lanes, planned.stages, strict=True))
    return replace(planned, command=COMMAND, stages=stages)


def way_there(planned: Plan | Refused) -> Plan | Refused:
    """The first switchover of a planned drill, by itself."""
    if isinstance(planned, Refused):
        return planned
    stages = [s for s in planned.stages if not any(step.id.startswith(BACK) for lane in s.lanes for step in lane)]
    return replace(planned, stages=tuple(stages))


def route_of(planned: Plan) -> Route | None:
    """Where a planned drill goes; None for a plan that only fences."""
    to = [s.node for s in planned.steps if isinstance(s.action, Promote) and not s.id.startswith(BACK)]
    home = [s.node for s in planned.steps if isinstance(s.action, StopForSwitchover) and not s.id.startswith(BACK)]
    return Route(to[0], home[0]) if to and home and to[0] is not None and home[0] is not None else None


def _unwell(situation: Situation) -> list[Refusal]:
    """A drill practises on a healthy cluster: what is wrong before would be taken for what it did."""
    report = status_report(situation.inventory, situation.facts)
    return [
        Refusal(finding.code, finding.node, finding.message, finding.hint)
        for finding in report.findings
        if finding.severity is not Severity.INFO
    ]


_NO_CANDIDATE = (
    "A drill needs a replica that could take over: `replctl status` says in its last column what is missing."
)


def _is_primary(name: NodeName) -> Refusal:
    return Refusal(
        "is-primary",
        name,
        f"{name} is the primary, and a drill goes to a replica and back",
        "Name a replica, or none: `replctl drill` takes the best candidate.",
    )


def _notes(situation: Situation, route: Route) -> tuple[str, ...]:
    last, database = situation.facts.last_drill, situation.inventory.app.database
    return (
        f"{route.to} becomes the primary, and then {route.home} again: two switchovers, neither of which loses a row",
        f"writes are refused twice, {_expected(last)}",
        f"sessions on {route.home} end with the first, those on {route.to} with the second; on other nodes they stay",
        f"meanwhile a writer commits rows in the schema {SCHEMA} of {database}, which is dropped in the end",
        f"a run that is killed in between leaves {route.to} as the primary: `replctl promote {route.home}` goes back",
    )


def _expected(last: LastDrill | None) -> str:
    if last is None:
        return "each time for well below a second where nothing is in the way"
    there, back = (human_duration(ms) for ms in last.write_outage_ms)
    return f"in the last drill for {there} and for {back}"


def after_switchover(situation: Situation, to: NodeName) -> Situation:
    """The cluster as a switchover to NODE leaves it: NODE is the primary, and whoever streamed streams from it."""
    facts = situation.facts
    old, new = facts.primary, facts.nodes[to]
    assert old is not None
    assert isinstance(new, Replica)
    timeline = Timeline(old.server.timeline + 1)
    followers = [old.node, *(replica.node for replica in facts.replicas if replica.node != to)]
    sends = walsender_of(situation.inventory, old.server, new)
    nodes: dict[NodeName, NodeFacts] = {
        **facts.nodes,
        to: Primary(
            to,
            new.host,
            replace(
                new.server,
                timeline=timeline,
                walsenders=tuple(_walsender(situation, sends, name) for name in followers if sends is not None),
                slots=(*_foreign(new.server), *(_slot(situation, name) for name in followers)),
            ),
            old.current,
        ),
        **{name: _follower(situation, facts.nodes[name], new, old, timeline) for name in followers},
    }
    following = set(followers)
    listed = tuple(name for name in situation.inventory.nodes if name in following)
    env = EnvListing(to, listed, current=True)
    return replace(situation, facts=_with_passfiles(replace(facts, nodes=nodes, env=env, logins=())))


def _follower(situation: Situation, seen: NodeFacts, new: Replica, old: Primary, timeline: Timeline) -> Replica:
    """A node that streams from the new primary, all of whose WAL it has."""
    assert isinstance(seen, Primary | Replica)
    upstream = situation.node(new.node)
    port, slot = upstream.postgres.port, situation.node(seen.node).slot
    return Replica(
        seen.node,
        seen.host,
        replace(seen.server, timeline=timeline, walsenders=(), slots=_foreign(seen.server)),
        received=old.current,
        replayed=old.current,
        receiver=Receiver("streaming", upstream.host, port, slot, old.current, timeline),
        paused=seen.paused if isinstance(seen, Replica) else "not paused",
        upstream_host=upstream.host,
        upstream_port=port,
        ssh=seen.ssh,
    )


def _walsender(situation: Situation, like: Walsender, follower: NodeName) -> Walsender:
    node = situation.node(follower)
    return replace(like, application_name=follower, client_addr=node.host, slot=node.slot, state="streaming")


def _slot(situation: Situation, follower: NodeName) -> Slot:
    return Slot(
        situation.node(follower).slot,
        "physical",
        active=True,
        temporary=False,
        restart_lsn=None,
        wal_status="reserved",
        safe_wal_bytes=None,
        retained_bytes=0,
    )


def _foreign(server: ServerFacts) -> tuple[Slot, ...]:
    return tuple(slot for slot in server.slots if not is_ours(slot))


def _with_passfiles(facts: ClusterFacts) -> ClusterFacts:
    """The first switchover writes those that are missing."""
    nodes = {
        name: seen
        if isinstance(seen, Unreachable) or seen.host is None
        else replace(seen, host=replace(seen.host, passfile_current=True))
        for name, seen in facts.nodes.items()
    }
    return replace(facts, nodes=nodes)
