"""What an action does to the simulated cluster when it is carried out wholly: servers, slots, roles, links."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from replctl.model import actions
from replctl.model.errors import ReplctlError
from replctl.model.values import NodeName
from tests.properties.wal import Wal
from tests.properties.wanted import enough, ordered
from tests.properties.world import CONF, Directory, Machine, World, can_log_in, settled, streams


class NotPossibleError(ReplctlError):
    """The action fails for good reason, and changed nothing."""

    def __init__(self, message: str) -> None:
        super().__init__(message, hint="Look at the simulation.")


def demand(holds: object, otherwise: str) -> None:
    if not holds:
        raise NotPossibleError(otherwise)


def data_of(machine: Machine) -> Directory:
    demand(machine.data is not None and not machine.data.partial, "there is no data directory")
    assert machine.data is not None
    return machine.data


def running(world: World, node: NodeName) -> Directory:
    demand(world[node].running, f"{node} does not run")
    return data_of(world[node])


def stopped(world: World, node: NodeName) -> Directory:
    demand(not world[node].running, f"{node} runs")
    return data_of(world[node])


def writable(world: World, node: NodeName) -> Directory:
    demand(world[node].writable, f"{node} does not accept writes")
    return data_of(world[node])


def start(world: World, node: NodeName, _: object = None) -> World:
    machine = world[node]
    if machine.running:
        return world
    data = data_of(machine)
    settings = ordered(data.files.get(CONF, ""))
    if data.signal:
        demand(_newest_timeline_is_its_own(data), "it does not contain the minimum recovery point")
        demand(enough(settings, data.demanded), "recovery aborted because of insufficient parameter settings")
        world = world.with_data(node, state="in archive recovery")
    else:  # a primary writes of itself: what it has in force, and what it does for its standbys every 15 s
        world = world.with_data(node, state="in production", wal=data.wal.written(1), demanded=settings)
    changed = {"running": True, "in_recovery": data.signal, "loaded": data.files, "in_force": settings}
    return world.with_machine(node, alone=False, **changed)


def _newest_timeline_is_its_own(data: Directory) -> bool:
    """A standby goes for the newest timeline that it has a history file of, whether or not it can get there."""
    told = {len(branches): branches for branches in data.told}
    newest = data.wal.timeline
    while newest + 1 in told:
        newest += 1
    return newest == data.wal.timeline or Wal(told[newest], data.wal.end + 1).holds(data.wal)


def stop(world: World, node: NodeName, _: object) -> World:
    """A primary writes its shutdown record, and whoever is connected receives it."""
    if not world[node].running:
        return world
    data = data_of(world[node])
    if world[node].in_recovery:
        world = world.with_data(node, state="shut down in recovery")
    else:
        wal = data.wal.written(1)
        record = {"checkpoint": data.wal.end, "checkpoint_timeline": wal.timeline}
        world = settled(world.with_data(node, wal=wal, state="shut down", **record))
    return world.with_machine(node, running=False, promotion_pending=False)


def stop_for_switchover(world: World, node: NodeName, action: actions.StopForSwitchover) -> World:
    writable(world, node)
    return stop(world, node, action)


def fence(world: World, node: NodeName, action: actions.FencePrimary) -> World:
    data_of(world[node])
    return stop(world.with_data(node, signal=True), node, action)


def revive(world: World, node: NodeName, _: actions.ReviveOldPrimary) -> World:
    data_of(world[node])
    return start(world.with_data(node, signal=False), node)


def reload(world: World, node: NodeName, _: actions.ReloadConfig) -> World:
    return world.with_machine(node, loaded=running(world, node).files)


def makes(word: str) -> Callable[[World, NodeName, Any], World]:
    """Roles and the like: each is there or not."""

    def effect(world: World, node: NodeName, _: object) -> World:
        return world.with_data(node, sql=writable(world, node).sql | {word})

    return effect


def create_role(world: World, node: NodeName, action: actions.CreateRole) -> World:
    return with_verifier(makes(action.kind.value)(world, node, action), node, action.kind)


def with_verifier(world: World, node: NodeName, kind: actions.RoleKind, number: int | None = None) -> World:
    """A role's password becomes the inventory's, or an earlier one."""
    verifiers = writable(world, node).verifiers
    wanted = world.wanted.passwords[kind] if number is None else number
    return world.with_data(node, verifiers={**verifiers, kind: wanted}) if verifiers.get(kind) != wanted else world


def create_slot(world: World, node: NodeName, action: actions.CreateSlot) -> World:
    return world.with_data(node, slots=running(world, node).slots | {action.slot})


def drop_slot(world: World, node: NodeName, action: actions.DropSlot) -> World:
    return world.with_data(node, slots=running(world, node).slots - {action.slot})


def check_login(world: World, node: NodeName, action: actions.CheckLogin) -> World:
    # replctl itself offers the password here; the passfile is only written afterwards.
    with_password = world.with_machine(node, passfile=world.wanted.passwords[actions.RoleKind.REPLICATION])
    demand(can_log_in(with_password, node, action.target), f"{node} cannot log in at {action.target}")
    return world


def repoint(world: World, node: NodeName, action: actions.RepointStandby) -> World:
    running(world, node)
    return world.with_data(node, upstream=action.upstream, slot=action.slot)


def detach(world: World, node: NodeName, _: actions.DetachStandby) -> World:
    running(world, node)
    demand(world[node].in_recovery, f"{node} is no standby")
    return world.with_data(node, upstream=None)


def await_streaming(world: World, node: NodeName, action: actions.AwaitStreaming) -> World:
    writable(world, action.upstream)
    demand(streams(world, node, action.upstream), f"{node} does not stream from {action.upstream}")
    demand(not world[node].stalled, f"{node} receives nothing")
    return world


def prove_caught_up(world: World, node: NodeName, action: actions.ProveCaughtUp) -> World:
    old, data = world[action.old_primary], running(world, node)
    demand(old.data and not old.running and old.data.state == "shut down", "it was not shut down cleanly")
    assert old.data is not None
    demand(data.wal.end > old.data.checkpoint, f"{node} has not replayed the last record")
    return world


def prove_furthest(world: World, node: NodeName, action: actions.ProveFurthest) -> World:
    own = running(world, node).wal
    for other in action.others:
        theirs = running(world, other).wal
        demand((own.timeline, own.end) >= (theirs.timeline, theirs.end), f"{other} has received more than {node}")
    return world


def promote(world: World, node: NodeName, _: actions.Promote) -> World:
    running(world, node)
    return world if world[node].writable else promoted(world, node)


def promoted(world: World, node: NodeName) -> World:
    """The new timeline begins where the WAL ends; pg_control names it only after its first checkpoint."""
    wal = data_of(world[node]).wal.promoted(world.branches)
    own = world[node].in_force  # it tells its standbys at once what it has in force
    world = world.with_data(node, wal=wal, state="in production", signal=False, demanded=own)
    world = replace(world, branches=world.branches + 1, line=wal.branches)
    return world.with_machine(node, in_recovery=False, promotion_pending=False)


def checkpoint(world: World, node: NodeName, _: actions.Checkpoint) -> World:
    return world.with_data(node, checkpoint_timeline=running(world, node).wal.timeline)


def probe_write(world: World, node: NodeName, _: actions.ProbeWrite) -> World:
    writable(world, node)
    return world


def publish_env(world: World, _: NodeName | None, action: actions.PublishEnv) -> World:
    writable(world, action.primary)
    streaming = tuple(name for name in action.replicas if streams(world, name, action.primary))
    return replace(world, env=(action.primary, streaming), env_password=world.wanted.passwords[actions.RoleKind.APP])


def note_debt(world: World, _: NodeName | None, action: actions.NoteFenceDebt) -> World:
    return replace(world, debts={**world.debts, action.owed: action.promoted})


def settle_debt(world: World, _: NodeName | None, action: actions.SettleFenceDebt) -> World:
    return replace(world, debts={owed: by for owed, by in world.debts.items() if owed != action.owed})


def drop_stuck(world: World, node: NodeName, _: actions.DropStuckWalsenders) -> World:
    running(world, node)
    for name, machine in world.machines.items():
        world = world.with_machine(name, silent=False) if machine.silent else world
    return world


def set_autostart(world: World, node: NodeName, action: actions.SetAutostart) -> World:
    return world.with_machine(node, autostart=action.wanted is actions.Autostart.ON)
