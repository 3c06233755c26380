"""The operator's commands over the simulation, as replctl itself makes them, and when the goal of each holds."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hypothesis import strategies as st

from replctl.execution import intents, pipeline
from replctl.model.actions import InitCluster
from replctl.model.facts import ClusterFacts
from replctl.model.plan import Plan, Refused
from replctl.model.values import SLOT_PREFIX, NodeName
from replctl.observe import Inquiry
from replctl.planning.consent import Consent
from replctl.planning.fencing import after_fencing, plan_with_fencing
from replctl.planning.remove_replica import Directory
from tests.properties.observed import observed, situation, tried_logins, wal_tail
from tests.properties.simulate import NotPossibleError, simulate
from tests.properties.world import HBA, World, can_log_in, clients_write, configs, streams
from tests.properties.world import Directory as Disk

KEEPS_DIRECTORY = "remove-replica --keep-data"
ROLLING = "restart --rolling"
STARTS = ("init-primary", "add-replica", "rejoin")
"""After these the named nodes come back with their hosts."""
ENDLESS = ("restart", ROLLING)
"""Done again from the beginning by every run."""


@dataclass(frozen=True)
class Intent:
    """One command of the operator's, with what he states."""

    command: str
    nodes: tuple[NodeName, ...]
    consents: frozenset[Consent] = frozenset()

    @property
    def node(self) -> NodeName:
        return self.nodes[0]

    def plan(self, world: World) -> Plan | Refused:
        """As the pipeline does it: look, ask, plan; whatever is wanted, a superseded primary is fenced first."""
        intent, seen = self._intent(world), observed(world)
        facts = _answered(world, seen, intent.inquiry(after_fencing(seen)))
        return plan_with_fencing(situation(world, facts), intent.plan)

    def _intent(self, world: World) -> pipeline.Intent:
        match self.command:
            case "add-replica":
                return intents.add_replica(self.nodes, None)
            case "promote":
                return intents.promote(self.node)
            case "failover":
                return intents.failover(world.inventory, self.node, self.consents)
            case "rejoin":
                return intents.rejoin(self.node, self.consents)
            case "remove-replica":
                return intents.remove_replica(self.node, Directory.SET_ASIDE)
            case "remove-replica --keep-data":
                return intents.remove_replica(self.node, Directory.KEPT)
            case "restart":
                return intents.restart(self.node)
            case "restart --rolling":
                return intents.restart_every_node(world.inventory)
            case _:
                return intents.init_primary(self.node)


def _answered(world: World, facts: ClusterFacts, inquiry: Inquiry) -> ClusterFacts:
    tails = tuple(wal_tail(world, name, ranges) for name, ranges in inquiry.wal)
    return replace(facts, logins=tried_logins(world, inquiry.login_from, inquiry.login_at), wal=tails)


def run_wholly(world: World, intent: Intent) -> World:
    """A command that nothing disturbs. Steps that cannot be done end it."""
    planned = intent.plan(world)
    if isinstance(planned, Refused):
        return world
    for step in planned.steps:
        try:
            world = simulate(clients_write(world), step.node, step.action)
        except NotPossibleError:
            return world
    return world


def retried(world: World, intent: Intent) -> Intent:
    """The same command again; what pg_rewind left half done can only be cloned anew, and the operator says so."""
    if intent.command != "rejoin" or world[intent.node].rewinding is None:
        return intent
    return replace(intent, consents=intent.consents | {Consent.RECLONE})


def an_intent(size: int) -> st.SearchStrategy[Intent]:
    one = st.sampled_from(names(size)).map(lambda name: (name,))
    some = st.lists(st.sampled_from(names(size)), min_size=1, max_size=size, unique=True).map(tuple)
    lost = st.sets(st.sampled_from((Consent.FENCED, Consent.DATA_LOSS))).map(frozenset)
    returned = st.sets(st.sampled_from((Consent.DISCARD, Consent.RECLONE))).map(frozenset)
    return st.one_of(
        st.builds(Intent, st.just("promote"), one),
        st.builds(Intent, st.just("promote"), one),
        st.builds(Intent, st.just("failover"), one, lost),
        st.builds(Intent, st.just("rejoin"), one, returned),
        st.builds(Intent, st.just("add-replica"), some),
        st.builds(Intent, st.just("add-replica"), some),
        st.builds(Intent, st.sampled_from(("remove-replica", KEEPS_DIRECTORY)), one),
        st.builds(Intent, st.just("init-primary"), one),
    )


def names(size: int) -> list[NodeName]:
    return [NodeName(f"db{number}") for number in range(1, size + 1)]


def may_run(world: World, plan: Plan) -> bool:
    """With every node that has data out of reach nobody can know that there is a cluster already."""
    makes_a_cluster = any(isinstance(step.action, InitCluster) for step in plan.steps)
    return not (makes_a_cluster and any(machine.data for machine in world.machines.values()))


def links_are_sound(world: World) -> bool:
    """Whether every running standby has what it needs at its upstream: what lacks there is add-replica's to mend."""
    standbys = ((name, data) for name, m, data in world.members() if m.running and m.in_recovery)
    return all(_link_is_sound(world, name, data) for name, data in standbys)


def _link_is_sound(world: World, name: NodeName, data: Disk) -> bool:
    upstream = world[data.upstream] if data.upstream is not None else None
    if upstream is None or upstream.data is None:
        return False
    if upstream.running:
        admitted = upstream.isolated or can_log_in(world, name, data.upstream)
    else:
        admitted = upstream.data.files.get(HBA) == configs(len(world.machines))[data.upstream][HBA]
    return world[name].passfile and data.slot in upstream.data.slots and admitted


def as_it_should_be(world: World, intent: Intent) -> bool:
    """Whether the intent's goal holds, judged by the world alone and not by a planner."""
    if intent.command in ENDLESS:
        restarted = (
            intent.nodes if intent.command == "restart" else tuple(n for n, m, _ in world.members() if m.reachable)
        )
        return all(world[name].running for name in restarted) and len(world.rightful) <= 1
    if len(world.rightful) != 1 or world.env is None:
        return False
    (primary,) = world.rightful
    replicas = tuple(name for name in world.machines if streams(world, name, primary) and world[name].reachable)
    if world.env != (primary, replicas):
        return False
    if intent.command in STARTS and not all(world[name].autostart for name in intent.nodes):
        return False
    match intent.command:
        case "init-primary":
            return primary == intent.node and _complete(world, primary)
        case "add-replica" | "rejoin":
            return set(intent.nodes) <= set(replicas)
        case "remove-replica" | "remove-replica --keep-data":
            return _removed(world, intent)
        case _:
            return primary == intent.node and _all_follow(world, primary)


def _all_follow(world: World, primary: NodeName) -> bool:
    """Steps of the plan prove the links; a link that was broken before is add-replica's to mend, and what diverged
    is rejoin's."""
    wal = world[primary].data.wal
    reached = ((machine, data) for _, machine, data in world.members() if machine.reachable and machine.running)
    standbys = [data for machine, data in reached if machine.in_recovery and wal.holds(data.wal)]
    return all(data.upstream == primary for data in standbys)


def _removed(world: World, intent: Intent) -> bool:
    machine, slot = world[intent.node], world.inventory.nodes[intent.node].slot
    left = [n for n, m, data in world.members() if m.reachable and m.running and slot in data.slots]
    if left or (machine.reachable and machine.running):
        return False
    gone = machine.data is None or machine.data.identity != world.identity or not machine.reachable
    return gone or (intent.command == KEEPS_DIRECTORY and machine.data is not None and machine.data.signal)


def _complete(world: World, primary: NodeName) -> bool:
    machine = world[primary]
    return (
        machine.data is not None
        and machine.data.sql >= {"replication", "app", "database", "rewind"}
        and machine.passfile
        and machine.loaded == machine.data.files
    )


def own_slots(world: World, name: NodeName) -> set[str]:
    """Slots of ours on a node."""
    data = world[name].data
    return {slot for slot in data.slots if slot.startswith(SLOT_PREFIX)} if data is not None else set()
