"""Clusters with a past: commands that ran, and what happens to hosts, servers and files meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, reduce

from hypothesis import strategies as st

from replctl.model.actions import Promote, RoleKind, StartPostgres, StopPostgres
from replctl.model.values import NodeName
from replctl.planning.consent import Consent
from tests.properties.intents import Intent, names, run_wholly
from tests.properties.simulate import NotPossibleError, by_hand
from tests.properties.wal import Wal
from tests.properties.wanted import SETTINGS, USUAL, Wanted
from tests.properties.world import Directory, Machine, World, clients_write, settled, streams, wrote


@dataclass(frozen=True)
class Event:
    """Something that happens to a cluster; where it does not fit, nothing does."""

    kind: str
    node: NodeName
    other: NodeName


def _init(world: World, event: Event) -> World:
    return run_wholly(world, Intent("init-primary", (event.node,)))


def _add(world: World, event: Event) -> World:
    return run_wholly(world, Intent("add-replica", tuple(dict.fromkeys((event.node, event.other)))))


def _promote(world: World, event: Event) -> World:
    return run_wholly(world, Intent("promote", (event.node,)))


def _failed_over(world: World, event: Event) -> World:
    return run_wholly(world, Intent("failover", (event.node,), frozenset(Consent)))


def _rejoined(world: World, event: Event) -> World:
    return run_wholly(world, Intent("rejoin", (event.node,), frozenset({Consent.DISCARD})))


def _removed(world: World, event: Event) -> World:
    return run_wholly(world, Intent("remove-replica", (event.node,)))


def _stopped_by_hand(world: World, event: Event) -> World:
    return by_hand(world, event.node, StopPostgres()) if world[event.node].running else world


def crashed(world: World, node: NodeName) -> World:
    return world.with_machine(node, running=False) if world[node].running else world


def _crashed_ahead(world: World, event: Event) -> World:
    """A primary dies with a commit that one of its standbys has received, or none."""
    if not world[event.node].writable:
        return world
    listens = streams(world, event.other, event.node)
    world = wrote(world, event.node)
    if listens:
        world = world.with_data(event.other, wal=world[event.node].data.wal)
    return crashed(wrote(world, event.node), event.node)


def _gone(world: World, event: Event) -> World:
    """The host loses its power."""
    return crashed(world, event.node).with_machine(event.node, reachable=False)


def _isolated(world: World, event: Event) -> World:
    return world.with_machine(event.node, reachable=False, isolated=True)


def _back(world: World, event: Event) -> World:
    return settled(world.with_machine(event.node, reachable=True, isolated=False))


def _rebooted(world: World, event: Event) -> World:
    """systemd starts what it finds, unless that would be the operator's own second primary."""
    machine = world[event.node]
    second = bool(world.writable) and machine.revivable
    return world if second else _started(world, event)


def _started(world: World, event: Event) -> World:
    """Whatever stands there is started: a superseded primary too."""
    try:
        return world if world[event.node].data is None else by_hand(world, event.node, StartPostgres())
    except NotPossibleError:
        return world


def _superseded(world: World, event: Event) -> World:
    """The primary loses its power, another node takes over, and then the old one is started by somebody."""
    if event.node not in world.rightful:
        return world
    world = _failed_over(_gone(world, event), Event("failed over", event.other, event.node))
    return clients_write(_started(_back(world, event), event)) if world.rightful else world


def _left_behind(world: World, event: Event) -> World:
    """The same, but the old one is not started by anybody."""
    if event.node not in world.rightful:
        return world
    world = _failed_over(_crashed_ahead(world, event), Event("failed over", event.other, event.node))
    return clients_write(world)


def _failed_over_by_hand(world: World, event: Event) -> World:
    """pg_ctl promote with no primary alive. What the node did not have is lost, and the operator knows."""
    if world.writable or not world[event.node].in_recovery or not world[event.node].running:
        return world
    return by_hand(world, event.node, Promote())


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


def _recycled(world: World, event: Event) -> World:
    """A stopped node's old WAL goes, by whatever cleans up there."""
    machine = world[event.node]
    return world if machine.data is None or machine.running else world.with_data(event.node, recycled=True)


def _data_lost(world: World, event: Event) -> World:
    """A standby's disk is replaced by an empty one; what lies outside of its data directory is still there."""
    machine = world[event.node]
    if not machine.in_recovery:
        return world
    return settled(world.with_machine(event.node, data=None, running=False, in_recovery=False))


def _inventory_changes(change: Callable[[Wanted, int], Wanted]) -> Callable[[World, Event], World]:
    """``change`` is told which of the settings it is about."""

    def happens(world: World, event: Event) -> World:
        names = list(world.machines)
        place = (names.index(event.node) + names.index(event.other)) % len(SETTINGS)
        return settled(replace(world, wanted=change(world.wanted, place)))

    return happens


def _half(kind: str) -> Callable[[World, Event], World]:
    """The files say it everywhere, and nobody has restarted for it."""

    def happens(world: World, event: Event) -> World:
        return run_wholly(OF_INVENTORY[kind](world, event), Intent("config apply", (event.node,)))

    return happens


def _new_password(kind: RoleKind) -> Callable[[World, Event], World]:
    """A new one before the last is known everywhere would be one more that nobody can log in with."""

    def happens(world: World, _: Event) -> World:
        known = all(data.verifiers.get(kind, 0) == world.wanted.passwords[kind] for _, _, data in world.members())
        return replace(world, wanted=world.wanted.with_password(kind)) if known else world

    return happens


EVENTS: dict[str, Callable[[World, Event], World]] = {
    "init-primary": _init,
    "add-replica": _add,
    "promote": _promote,
    "failed over": _failed_over,
    "rejoined": _rejoined,
    "removed": _removed,
    "stopped by hand": _stopped_by_hand,
    "crashed": lambda world, event: crashed(world, event.node),
    "crashed ahead": _crashed_ahead,
    "gone": _gone,
    "isolated": _isolated,
    "rebooted": _rebooted,
    "superseded": _superseded,
    "left behind": _left_behind,
    "failed over by hand": _failed_over_by_hand,
    "cascading": _cascading,
    "foreign": _foreign,
    "left staging": _left_staging,
    "old config": _old_config,
    "without role": _without_role,
    "odd slots": _odd_slots,
    "lost slot": _lost_slot,
    "recycled": _recycled,
    "data lost": _data_lost,
    "no passfile": lambda world, event: settled(world.with_machine(event.node, passfile=0)),
    "no env file": lambda world, _: replace(world, env=None),
    "wrong env file": lambda world, event: replace(world, env=(event.node, (event.other,))),
    "unreachable": lambda world, event: world.with_machine(event.node, reachable=False),
    "reachable": _back,
    "silent": lambda world, event: world.with_machine(event.node, silent=world[event.node].in_recovery),
    "stalled": lambda world, event: world.with_machine(event.node, stalled=True),
}
OF_INVENTORY: dict[str, Callable[[World, Event], World]] = {
    "raised": _inventory_changes(lambda wanted, place: wanted.with_setting(place, 1)),
    "lowered": _inventory_changes(lambda wanted, place: wanted.with_setting(place, -1)),
    "raised and lowered": _inventory_changes(
        lambda wanted, place: wanted.with_setting(place, 1).with_setting((place + 1) % 5, -1)
    ),
    **{f"new {kind.value} password": _new_password(kind) for kind in RoleKind},
    "half raised": _half("raised"),
    "half lowered": _half("lowered"),
    "another app host": lambda world, _: replace(
        world, wanted=replace(world.wanted, app_hosts=world.wanted.app_hosts + 1)
    ),
    "no copies": lambda world, _: replace(world, copies={}),
}
"""The operator changes the inventory. What other commands make of it before the one that is made for it is told apart
by the cases."""
EVENTS |= OF_INVENTORY
QUIET = tuple(kind for kind in EVENTS if kind != "stalled" and kind not in OF_INVENTORY)
"""Without a standby that receives nothing, every step of a plan can be done."""


def happened(world: World, event: Event) -> World:
    return clients_write(EVENTS[event.kind](world, event))


def an_event(size: int, kinds: tuple[str, ...] = tuple(EVENTS)) -> st.SearchStrategy[Event]:
    nodes = st.sampled_from(names(size))
    return st.builds(Event, st.sampled_from(kinds), nodes, nodes)


@dataclass(frozen=True, repr=False)
class Past:
    """How a cluster came to be as it is; told when a property fails."""

    size: int
    grown: int
    events: tuple[Event, ...]
    wanted: Wanted = USUAL
    """What the inventory says when the cluster is made."""

    def __repr__(self) -> str:
        told = [f"{event.kind} {event.node}/{event.other}" for event in self.events]
        wanted = f"{self.wanted.app_hosts} app hosts, commits wait for {self.wanted.synchronous}"
        return f"{self.size} nodes, {self.grown} of them made, {wanted}; {told}"

    @cached_property
    def world(self) -> World:
        world = World({name: Machine() for name in names(self.size)}, wanted=self.wanted)
        if self.grown > 0:
            world = run_wholly(world, Intent("init-primary", (names(self.size)[0],)))
        if self.grown > 1:
            world = run_wholly(world, Intent("add-replica", tuple(names(self.size)[1 : self.grown])))
        return replace(reduce(happened, self.events, world), run="run-1")

    def followed_by(self, event: Event) -> Past:
        """The same past and one more event; what came before is not gone through again."""
        longer = replace(self, events=(*self.events, event))
        before = replace(self.world, run=World.run)
        longer.__dict__["world"] = replace(happened(before, event), run=self.world.run)
        return longer


@st.composite
def pasts(draw: st.DrawFn, kinds: tuple[str, ...] = QUIET) -> Past:
    """Nothing at all, a primary alone, or a primary with all or some replicas; and then what life adds."""
    size = draw(st.integers(1, 5))
    grown = draw(st.sampled_from((0, 1, 1, (size + 1) // 2, size, size)))
    events = tuple(draw(st.lists(an_event(size, kinds), max_size=4)))
    return Past(size, grown, events, replace(USUAL, app_hosts=draw(st.sampled_from((0, 0, 0, 1)))))
