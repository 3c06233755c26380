"""Clusters with a past: commands that ran, and what happens to hosts, servers and files meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import reduce

from hypothesis import strategies as st

from replctl.model.actions import InitCluster, Promote, StartPostgres
from replctl.model.plan import Plan, Refused
from replctl.model.values import NodeName
from replctl.planning.add_replica import plan_add_replica
from replctl.planning.init_primary import plan_init_primary
from replctl.planning.promote import plan_promote
from tests.properties.simulate import NotPossibleError, by_hand, simulate
from tests.properties.world import (
    Directory,
    Machine,
    Wal,
    World,
    clients_write,
    settled,
    situation,
    streams,
    tried_logins,
)


@dataclass(frozen=True)
class Intent:
    """One command of the operator's."""

    command: str
    nodes: tuple[NodeName, ...]

    def plan(self, world: World) -> Plan | Refused:
        match self.command:
            case "add-replica":
                clones = [name for name in self.nodes if world[name].data is None and world[name].reachable]
                target = world.writable[0] if world.writable else None
                return plan_add_replica(situation(world, tried_logins(world, clones, target)), self.nodes)
            case "promote":
                name = self.nodes[0]
                others = [other for other, machine, _ in world.members() if machine.reachable and other != name]
                target = name if world[name].running and world[name].in_recovery else None
                return plan_promote(situation(world, tried_logins(world, others, target)), name)
            case _:
                return plan_init_primary(situation(world), self.nodes[0])


@dataclass(frozen=True)
class Event:
    """Something that happens to a cluster; where it does not fit, nothing does."""

    kind: str
    node: NodeName
    other: NodeName


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


def _init(world: World, event: Event) -> World:
    return run_wholly(world, Intent("init-primary", (event.node,)))


def _add(world: World, event: Event) -> World:
    return run_wholly(world, Intent("add-replica", tuple(dict.fromkeys((event.node, event.other)))))


def _promote(world: World, event: Event) -> World:
    return run_wholly(world, Intent("promote", (event.node,)))


def _stopped_by_hand(world: World, event: Event) -> World:
    machine = world[event.node]
    if not (machine.running and machine.data):
        return world
    if machine.in_recovery:
        world = world.with_data(event.node, state="shut down in recovery")
    else:
        wal = machine.data.wal.written(1)
        changes = {"wal": wal, "state": "shut down", "checkpoint": wal.end - 1}
        world = settled(world.with_data(event.node, **changes))
    return world.with_machine(event.node, running=False)


def crashed(world: World, node: NodeName) -> World:
    return world.with_machine(node, running=False) if world[node].running else world


def _rebooted(world: World, event: Event) -> World:
    """systemd starts what it finds, unless that would be the operator's own second primary."""
    machine = world[event.node]
    second = bool(world.writable) and machine.revivable
    if machine.data is None or machine.running or second:
        return world
    return by_hand(world, event.node, StartPostgres())


def _failed_over_by_hand(world: World, event: Event) -> World:
    """pg_ctl promote with no primary alive. What the node did not have is lost, and the operator knows."""
    if world.writable or not world[event.node].in_recovery or not world[event.node].running:
        return world
    world = by_hand(world, event.node, Promote())
    wal = world[event.node].data.wal
    return replace(world, acknowledged=tuple(known for known in world.acknowledged if wal.holds(known)))


def _cascading(world: World, event: Event) -> World:
    here, there = world[event.node], world[event.other]
    if not (here.running and here.in_recovery and there.running and there.in_recovery) or event.node == event.other:
        return world
    slot = world.inventory.nodes[event.node].slot
    world = world.with_data(event.other, slots=there.data.slots | {slot})
    return settled(world.with_data(event.node, upstream=event.other, slot=slot))


def _foreign(world: World, event: Event) -> World:
    if world[event.node].data is not None:
        return world
    other = Directory("7277000999", Wal(((-1, 0),), 10), "in production", files={"postgresql.conf": ""})
    return world.with_machine(event.node, data=other)


def _left_staging(world: World, event: Event) -> World:
    if world[event.node].data is not None:
        return world
    left = Directory("72770001", Wal(((1, 0),), 10), "shut down", partial=True)
    return world.with_machine(event.node, staging=left, staging_run="an earlier run")


def _old_config(world: World, event: Event) -> World:
    machine = world[event.node]
    if not (machine.running and machine.data):
        return world
    old = {**machine.data.files, "pg_hba.conf": "# as of last year\n"}
    world = world.with_data(event.node, files=old).with_machine(event.node, loaded=old)
    return settled(world)


def _without_role(world: World, event: Event) -> World:
    machine = world[event.node]
    return settled(world.with_data(event.node, sql=frozenset({"replication"}))) if machine.writable else world


def _odd_slots(world: World, event: Event) -> World:
    machine = world[event.node]
    if machine.data is None or not machine.running:
        return world
    stale = world.inventory.nodes[event.other].slot
    return world.with_data(event.node, slots=machine.data.slots | {"barman", stale})


def _lost_slot(world: World, event: Event) -> World:
    machine = world[event.node]
    if machine.data is None:
        return world
    slot = world.inventory.nodes[event.other].slot
    return settled(world.with_data(event.node, slots=machine.data.slots - {slot}))


EVENTS: dict[str, Callable[[World, Event], World]] = {
    "init-primary": _init,
    "add-replica": _add,
    "promote": _promote,
    "stopped by hand": _stopped_by_hand,
    "crashed": lambda world, event: crashed(world, event.node),
    "rebooted": _rebooted,
    "failed over by hand": _failed_over_by_hand,
    "cascading": _cascading,
    "foreign": _foreign,
    "left staging": _left_staging,
    "old config": _old_config,
    "without role": _without_role,
    "odd slots": _odd_slots,
    "lost slot": _lost_slot,
    "no passfile": lambda world, event: settled(world.with_machine(event.node, passfile=False)),
    "no env file": lambda world, _: replace(world, env=None),
    "wrong env file": lambda world, event: replace(world, env=(event.node, (event.other,))),
    "unreachable": lambda world, event: world.with_machine(event.node, reachable=False),
    "reachable": lambda world, event: world.with_machine(event.node, reachable=True),
    "stalled": lambda world, event: world.with_machine(event.node, stalled=True),
}
QUIET = tuple(kind for kind in EVENTS if kind != "stalled")
"""Without a standby that receives nothing, every step of a plan can be done."""


def happened(world: World, event: Event) -> World:
    return clients_write(EVENTS[event.kind](world, event))


def names(size: int) -> list[NodeName]:
    return [NodeName(f"db{number}") for number in range(1, size + 1)]


def an_event(size: int, kinds: tuple[str, ...] = tuple(EVENTS)) -> st.SearchStrategy[Event]:
    nodes = st.sampled_from(names(size))
    return st.builds(Event, st.sampled_from(kinds), nodes, nodes)


def an_intent(size: int) -> st.SearchStrategy[Intent]:
    one = st.sampled_from(names(size)).map(lambda name: (name,))
    some = st.lists(st.sampled_from(names(size)), min_size=1, max_size=size, unique=True).map(tuple)
    return st.one_of(
        st.builds(Intent, st.just("promote"), one),
        st.builds(Intent, st.just("promote"), one),
        st.builds(Intent, st.just("add-replica"), some),
        st.builds(Intent, st.just("add-replica"), some),
        st.builds(Intent, st.just("init-primary"), one),
    )


@dataclass(frozen=True, repr=False)
class Past:
    """How a cluster came to be as it is; told when a property fails."""

    size: int
    grown: int
    events: tuple[Event, ...]

    def __repr__(self) -> str:
        told = [f"{event.kind} {event.node}/{event.other}" for event in self.events]
        return f"{self.size} nodes, {self.grown} of them made; {told}"

    @property
    def world(self) -> World:
        world = World({name: Machine() for name in names(self.size)})
        if self.grown > 0:
            world = run_wholly(world, Intent("init-primary", (names(self.size)[0],)))
        if self.grown > 1:
            world = run_wholly(world, Intent("add-replica", tuple(names(self.size)[1 : self.grown])))
        return replace(reduce(happened, self.events, world), run="run-1")


@st.composite
def pasts(draw: st.DrawFn, kinds: tuple[str, ...] = QUIET) -> Past:
    """Nothing at all, a primary alone, or a primary with all or some replicas; and then what life adds."""
    size = draw(st.integers(1, 5))
    grown = draw(st.sampled_from((0, 1, 1, (size + 1) // 2, size, size)))
    return Past(size, grown, tuple(draw(st.lists(an_event(size, kinds), max_size=4))))


def may_run(world: World, plan: Plan) -> bool:
    """With every node that has data out of reach nobody can know that there is a cluster already."""
    makes_a_cluster = any(isinstance(step.action, InitCluster) for step in plan.steps)
    return not (makes_a_cluster and any(machine.data for machine in world.machines.values()))


def links_are_sound(world: World) -> bool:
    """Whether every running standby has what it needs at its upstream: what lacks there is add-replica's to mend."""
    standbys = [(machine, data) for _, machine, data in world.members() if machine.running and machine.in_recovery]
    return all(machine.passfile and data.slot in _slots_on(world, data.upstream) for machine, data in standbys)


def _slots_on(world: World, name: NodeName | None) -> frozenset[str]:
    data = world[name].data if name is not None else None
    return data.slots if data is not None else frozenset()


def as_it_should_be(world: World, intent: Intent) -> bool:
    """Whether the intent's goal holds, judged by the world alone and not by a planner."""
    if len(world.writable) != 1 or world.env is None:
        return False
    primary = world.writable[0]
    replicas = tuple(name for name in world.machines if streams(world, name, primary) and world[name].reachable)
    if world.env != (primary, replicas):
        return False
    if intent.command == "init-primary":
        return primary == intent.nodes[0] and _complete(world, primary)
    if intent.command == "add-replica":
        return set(intent.nodes) <= set(replicas)
    # Steps of the plan prove the links; a link that was broken before is add-replica's to mend.
    reached = ((machine, data) for _, machine, data in world.members() if machine.reachable and machine.running)
    standbys = [data for machine, data in reached if machine.in_recovery]
    return primary == intent.nodes[0] and all(data.upstream == primary for data in standbys)


def _complete(world: World, primary: NodeName) -> bool:
    machine = world[primary]
    return (
        machine.data is not None
        and machine.data.sql >= {"replication", "app", "database", "rewind"}
        and machine.passfile
        and machine.loaded == machine.data.files
    )
