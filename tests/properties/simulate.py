"""What every action does to the simulated cluster: wholly, half, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from replctl.model import actions
from replctl.model.actions import Action, ConfigFile, Place
from replctl.model.errors import ReplctlError, UnreachableError
from replctl.model.values import NodeName
from tests.properties.world import Directory, Machine, Wal, World, can_log_in, settled, streams


class NotPossibleError(ReplctlError):
    """The action fails for good reason, and changed nothing."""

    def __init__(self, message: str) -> None:
        super().__init__(message, hint="Look at the simulation.")


def simulate(world: World, node: NodeName | None, action: Action) -> World:
    """The world after the action; the same world when its goal held already.

    Raises UnreachableError or NotPossibleError, with nothing changed.
    """
    for name in _needed(node, action):
        if not world[name].reachable:
            raise UnreachableError(f"{name}: no answer", hint="Bring it back.", node=name)
    return by_hand(world, node, action)


def by_hand(world: World, node: NodeName | None, action: Action) -> World:
    """The same, whether or not replctl reaches the node. Raises NotPossibleError."""
    return settled(_EFFECTS[type(action)](world, node, action))


def simulate_half(world: World, node: NodeName | None, action: Action) -> tuple[World, ...]:
    """The worlds that the action may leave when replctl is killed in the middle of it."""
    try:
        done = simulate(world, node, action)
    except ReplctlError:
        return ()
    return tuple(settled(half) for half in _half(world, node, action)) if done != world else ()


def promotion_happens(world: World) -> World:
    """A promote request that was sent takes effect, whoever is still there to see it."""
    for name, machine in world.machines.items():
        if machine.promotion_pending:
            world = _promoted(world, name)
    return world


def _needed(node: NodeName | None, action: Action) -> list[NodeName]:
    """The nodes that replctl talks to itself."""
    names = [] if node is None else [node]
    match action:
        case actions.BaseBackup(source=other) | actions.AwaitStreaming(upstream=other):
            names.append(other)
        case actions.PublishEnv(primary=other):
            names.append(other)
        case _:
            pass
    return names


def _demand(holds: object, otherwise: str) -> None:
    if not holds:
        raise NotPossibleError(otherwise)


def _data(machine: Machine) -> Directory:
    _demand(machine.data is not None and not machine.data.partial, "there is no data directory")
    assert machine.data is not None
    return machine.data


def _writable(world: World, node: NodeName) -> Directory:
    _demand(world[node].writable, f"{node} does not accept writes")
    return _data(world[node])


def _running(world: World, node: NodeName) -> Directory:
    _demand(world[node].running, f"{node} does not run")
    return _data(world[node])


def _clear_staging(world: World, node: NodeName) -> None:
    """Only a directory with a marker is ours to delete."""
    machine = world[node]
    _demand(machine.staging is None or machine.staging_run is not None, "the staging directory is not ours")


def _init_cluster(world: World, node: NodeName, _: actions.InitCluster) -> World:
    _clear_staging(world, node)
    wal = Wal(((world.branches, 0),), 10)
    made = Directory(f"72770000{world.branches}", wal, "shut down", checkpoint=9)
    world = replace(world, branches=world.branches + 1)
    return world.with_machine(node, staging=made, staging_run=world.run)


def _write_config(world: World, node: NodeName, action: actions.WriteConfig) -> World:
    return _with_files(world, node, action.place, action.files)


def _with_files(world: World, node: NodeName, place: Place, files: tuple[ConfigFile, ...]) -> World:
    texts = {file.name: file.text for file in files}
    if place is Place.STAGING:
        staging = _staged(world, node)
        return world.with_machine(node, staging=replace(staging, files={**staging.files, **texts}))
    data = _data(world[node])
    return world.with_data(node, files={**data.files, **texts})


def _staged(world: World, node: NodeName) -> Directory:
    machine = world[node]
    _demand(machine.staging and not machine.staging.partial and machine.staging_run == world.run, "nothing is staged")
    assert machine.staging is not None
    return machine.staging


def _install_staging(world: World, node: NodeName, _: actions.InstallStaging) -> World:
    staging = _staged(world, node)
    _demand(world[node].data is None, "something stands in its place")
    world = replace(world, identity=world.identity or staging.identity)
    return world.with_machine(node, data=staging, staging=None, staging_run=None)


def _remove_staging(world: World, node: NodeName, _: actions.RemoveStaging) -> World:
    if world[node].staging_run != world.run:
        return world
    return world.with_machine(node, staging=None, staging_run=None)


def _start(world: World, node: NodeName, _: object = None) -> World:
    machine = world[node]
    if machine.running:
        return world
    data = _data(machine)
    world = world.with_data(node, state="in archive recovery" if data.signal else "in production")
    return world.with_machine(node, running=True, in_recovery=data.signal, loaded=data.files)


def _stop(world: World, node: NodeName, _: actions.StopForSwitchover) -> World:
    data = _writable(world, node)
    world = settled(world.with_data(node, wal=data.wal.written(1), checkpoint=data.wal.end, state="shut down"))
    return world.with_machine(node, running=False)


def _revive(world: World, node: NodeName, _: actions.ReviveOldPrimary) -> World:
    _data(world[node])
    return _start(world.with_data(node, signal=False), node)


def _reload(world: World, node: NodeName, _: actions.ReloadConfig) -> World:
    return world.with_machine(node, loaded=_running(world, node).files)


def _sql(word: str) -> Callable[[World, NodeName, Any], World]:
    def effect(world: World, node: NodeName, _: object) -> World:
        return world.with_data(node, sql=_writable(world, node).sql | {word})

    return effect


def _create_role(world: World, node: NodeName, action: actions.CreateRole) -> World:
    return _sql(action.kind.value)(world, node, action)


def _create_slot(world: World, node: NodeName, action: actions.CreateSlot) -> World:
    return world.with_data(node, slots=_running(world, node).slots | {action.slot})


def _drop_slot(world: World, node: NodeName, action: actions.DropSlot) -> World:
    return world.with_data(node, slots=_running(world, node).slots - {action.slot})


def _write_passfile(world: World, node: NodeName, _: actions.WritePassfile) -> World:
    return world.with_machine(node, passfile=True)


def _remove_passfile(world: World, node: NodeName, _: actions.RemovePassfile) -> World:
    return world.with_machine(node, passfile=False)


def _check_login(world: World, node: NodeName, action: actions.CheckLogin) -> World:
    # replctl itself offers the password here; the passfile is only written afterwards.
    with_password = world.with_machine(node, passfile=True)
    _demand(can_log_in(with_password, node, action.target), f"{node} cannot log in at {action.target}")
    return world


def _base_backup(world: World, node: NodeName, action: actions.BaseBackup) -> World:
    _clear_staging(world, node)
    source = _running(world, action.source)
    _demand(can_log_in(world, node, action.source), f"{node} cannot log in at {action.source}")
    _demand(action.slot is None or action.slot in source.slots, "there is no such slot")
    # pg_basebackup copies everything but the slots, and a standby's signal file.
    copy = replace(source, slots=frozenset(), signal=False)
    return world.with_machine(node, staging=copy, staging_run=world.run)


def _configure_standby(world: World, node: NodeName, action: actions.ConfigureStandby) -> World:
    changes = {"upstream": action.upstream, "slot": action.slot, "signal": True}
    if action.place is Place.STAGING:
        return world.with_machine(node, staging=replace(_staged(world, node), **changes))
    _data(world[node])
    return world.with_data(node, **changes)


def _forget_standby(world: World, node: NodeName, _: actions.ForgetStandby) -> World:
    _data(world[node])
    return world.with_data(node, upstream=None, slot=None, signal=False)


def _repoint(world: World, node: NodeName, action: actions.RepointStandby) -> World:
    _running(world, node)
    return world.with_data(node, upstream=action.upstream, slot=action.slot)


def _await_streaming(world: World, node: NodeName, action: actions.AwaitStreaming) -> World:
    _writable(world, action.upstream)
    _demand(streams(world, node, action.upstream), f"{node} does not stream from {action.upstream}")
    _demand(not world[node].stalled, f"{node} receives nothing")
    return world


def _prove_caught_up(world: World, node: NodeName, action: actions.ProveCaughtUp) -> World:
    old, data = world[action.old_primary], _running(world, node)
    _demand(old.data and not old.running and old.data.state == "shut down", "it was not shut down cleanly")
    assert old.data is not None
    _demand(data.wal.end > old.data.checkpoint, f"{node} has not replayed the last record")
    return world


def _promote(world: World, node: NodeName, _: actions.Promote) -> World:
    _running(world, node)
    return world if world[node].writable else _promoted(world, node)


def _promoted(world: World, node: NodeName) -> World:
    data = _data(world[node])
    world = world.with_data(node, wal=data.wal.promoted(world.branches), state="in production", signal=False)
    world = replace(world, branches=world.branches + 1)
    return world.with_machine(node, in_recovery=False, promotion_pending=False)


def _probe_write(world: World, node: NodeName, _: actions.ProbeWrite) -> World:
    _writable(world, node)
    return world


def _publish_env(world: World, node: NodeName | None, action: actions.PublishEnv) -> World:
    _writable(world, action.primary)
    streaming = tuple(name for name in action.replicas if streams(world, name, action.primary))
    return replace(world, env=(action.primary, streaming))


def _nothing(world: World, node: NodeName, _: object) -> World:
    _running(world, node)
    return world


_EFFECTS: dict[type, Callable[[World, Any, Any], World]] = {
    actions.InitCluster: _init_cluster,
    actions.WriteConfig: _write_config,
    actions.InstallStaging: _install_staging,
    actions.RemoveStaging: _remove_staging,
    actions.StartPostgres: _start,
    actions.StopForSwitchover: _stop,
    actions.ReviveOldPrimary: _revive,
    actions.ReloadConfig: _reload,
    actions.CreateRole: _create_role,
    actions.CreateDatabase: _sql("database"),
    actions.GrantRewind: _sql("rewind"),
    actions.CreateSlot: _create_slot,
    actions.DropSlot: _drop_slot,
    actions.WritePassfile: _write_passfile,
    actions.RemovePassfile: _remove_passfile,
    actions.CheckLogin: _check_login,
    actions.BaseBackup: _base_backup,
    actions.ConfigureStandby: _configure_standby,
    actions.ForgetStandby: _forget_standby,
    actions.RepointStandby: _repoint,
    actions.AwaitStreaming: _await_streaming,
    actions.Checkpoint: _nothing,
    actions.DropStuckWalsenders: _nothing,
    actions.ProveCaughtUp: _prove_caught_up,
    actions.Promote: _promote,
    actions.ProbeWrite: _probe_write,
    actions.PublishEnv: _publish_env,
}


def _half(world: World, node: NodeName, action: Action) -> list[World]:
    match action:
        case actions.InitCluster() | actions.BaseBackup():
            staging = _EFFECTS[type(action)](world, node, action)[node].staging
            assert staging is not None
            begun = replace(staging, partial=True)
            return [world.with_machine(node, staging=begun, staging_run=world.run)]
        case actions.WriteConfig(place=place, files=(first, _, *_)):
            return [_with_files(world, node, place, (first,))]
        case actions.RemoveStaging() if world[node].staging:
            return [world.with_machine(node, staging=replace(world[node].staging, partial=True))]
        case actions.ReviveOldPrimary() if not world[node].running:
            return [world.with_data(node, signal=False)]
        case actions.ForgetStandby():
            return [world.with_data(node, signal=False)]
        case actions.ConfigureStandby(place=Place.STAGING):
            staged = replace(_staged(world, node), upstream=action.upstream, slot=action.slot)
            return [world.with_machine(node, staging=staged)]
        case actions.ConfigureStandby() if not _data(world[node]).signal:
            return [world.with_data(node, upstream=action.upstream, slot=action.slot)]
        case actions.RepointStandby():
            return [world.with_data(node, upstream=action.upstream)]
        case actions.Promote():
            return [world.with_machine(node, promotion_pending=True)]
        case _:
            return []
