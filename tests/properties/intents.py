"""The operator's commands over the simulation, as replctl itself makes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hypothesis import strategies as st

from replctl.execution import intents, pipeline
from replctl.model.actions import InitCluster, PublishEnv, RoleKind
from replctl.model.app_actions import CountAppSessions, PushEnv
from replctl.model.facts import ClusterFacts
from replctl.model.inquiry import Inquiry
from replctl.model.plan import Plan, Refused, Step
from replctl.model.values import SLOT_PREFIX, NodeName
from replctl.planning.config_apply import Restarting
from replctl.planning.consent import Consent
from replctl.planning.fencing import after_fencing, plan_with_fencing
from replctl.planning.remove_replica import Directory
from tests.properties.observed import configurations, observed, situation, tried_logins, wal_tail
from tests.properties.simulate import NotPossibleError, simulate
from tests.properties.world import HBA, World, can_log_in, clients_write
from tests.properties.world import Directory as Disk

KEEPS_DIRECTORY = "remove-replica --keep-data"
ROLLING = "restart --rolling"
STARTS = ("init-primary", "add-replica", "rejoin")
"""After these the named nodes come back with their hosts."""
IN_PLACE = "config apply --restart --restart-primary"
SWITCHOVER = "config apply --restart --switchover"
CONFIG = {
    "config apply": frozenset[Restarting](),
    "config apply --restart": frozenset({Restarting.REPLICAS}),
    IN_PLACE: frozenset({Restarting.REPLICAS, Restarting.PRIMARY}),
    SWITCHOVER: frozenset({Restarting.REPLICAS, Restarting.SWITCHOVER}),
}
"""What each may restart."""
ROTATIONS = {f"rotate-password {kind.value}": kind for kind in RoleKind}
ENV_WRITE = "env --write"
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
        if self.command in CONFIG:
            return intents.config_apply(world.inventory, (), CONFIG[self.command])
        if self.command in ROTATIONS:
            return intents.rotate_password(world.inventory, ROTATIONS[self.command])
        if self.command == ENV_WRITE:
            return intents.write_env()
        return self._of_members(world)

    def _of_members(self, world: World) -> pipeline.Intent:
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
    logins = tried_logins(world, inquiry.login_from, inquiry.login_at)
    return replace(facts, logins=logins, wal=tails, configurations=configurations(world, inquiry.settings))


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


def as_told(world: World, intent: Intent, ran: Sequence[NodeName]) -> World:
    """What the refusals of a broken-off ``config apply --switchover`` ask for first: a node that it left stopped is
    started in its role, the switchover is finished, and the replicas that it did not come to have to have what the
    candidate has already."""
    if intent.command != SWITCHOVER:
        return world
    for name in ran:
        if not world[name].running:
            world = run_wholly(world, Intent("restart", (name,)))
    for name in ran:
        if not world.writable:
            world = run_wholly(world, Intent("promote", (name,)))
    for _ in range(2):  # the first one only starts what is stopped
        world = run_wholly(world, Intent("config apply --restart", intent.nodes))
    return world


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
        st.builds(Intent, st.sampled_from((*CONFIG, *ROTATIONS, ENV_WRITE)), one),
    )


def names(size: int) -> list[NodeName]:
    return [NodeName(f"db{number}") for number in range(1, size + 1)]


def may_run(world: World, plan: Plan) -> bool:
    """With every node that has data out of reach nobody can know that there is a cluster already."""
    makes_a_cluster = any(isinstance(step.action, InitCluster) for step in plan.steps)
    return not (makes_a_cluster and any(machine.data for machine in world.machines.values()))


def changes(world: World, step: Step) -> bool:
    """Whether a plan with this step has something to do: what hosts of the application have is only seen by a push."""
    return not (world.wanted.app_hosts and isinstance(step.action, PublishEnv | PushEnv | CountAppSessions))


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
        admitted = upstream.data.files.get(HBA) == world.configs[data.upstream][HBA]
    return bool(world[name].passfile) and data.slot in upstream.data.slots and admitted


def own_slots(world: World, name: NodeName) -> set[str]:
    """Slots of ours on a node."""
    data = world[name].data
    return {slot for slot in data.slots if slot.startswith(SLOT_PREFIX)} if data is not None else set()
