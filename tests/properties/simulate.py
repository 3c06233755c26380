"""What every action does to the simulated cluster: wholly, half, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from replctl.model import actions, app_actions, repair_actions
from replctl.model.actions import Action
from replctl.model.errors import ReplctlError, UnreachableError
from replctl.model.values import NodeName
from tests.properties import effects, effects_changes, effects_files
from tests.properties.effects import NotPossibleError, data_of, promoted
from tests.properties.effects_files import at, kept, put, with_files
from tests.properties.world import World, settled

__all__ = ["NotPossibleError", "by_hand", "promotion_happens", "simulate", "simulate_half"]


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
    return settled(EFFECTS[type(action)](world, node, action))


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
            world = settled(promoted(world, name))
    return world


def _needed(node: NodeName | None, action: Action) -> list[NodeName]:
    """The nodes that replctl talks to itself."""
    names = [] if node is None else [node]
    match action:
        case (
            actions.BaseBackup(source=other)
            | actions.AwaitStreaming(upstream=other)
            | actions.AwaitReplayed(upstream=other)
        ):
            names.append(other)
        case actions.PublishEnv(primary=other):
            names.append(other)
        case actions.ProveFurthest(others=others):
            names.extend(others)
        case _:
            pass
    return names


EFFECTS: dict[type, Callable[[World, Any, Any], World]] = {
    actions.InitCluster: effects_files.init_cluster,
    actions.WriteConfig: effects_files.write_config,
    actions.RemoveConfig: effects_files.remove_config,
    actions.SetAutostart: effects.set_autostart,
    actions.InstallStaging: effects_files.install_staging,
    actions.RemoveStaging: effects_files.remove_staging,
    actions.StartPostgres: effects.start,
    actions.StopPostgres: effects.stop,
    actions.FencePrimary: effects.fence,
    actions.StopForSwitchover: effects.stop_for_switchover,
    actions.ReviveOldPrimary: effects.revive,
    actions.ReloadConfig: effects.reload,
    actions.CreateRole: effects.create_role,
    actions.CreateDatabase: effects.makes("database"),
    actions.GrantRewind: effects.makes("rewind"),
    actions.CreateSlot: effects.create_slot,
    actions.DropSlot: effects.drop_slot,
    actions.WritePassfile: effects_files.write_passfile,
    actions.RemovePassfile: effects_files.remove_passfile,
    actions.CheckLogin: effects.check_login,
    actions.BaseBackup: effects_files.base_backup,
    actions.ConfigureStandby: effects_files.configure_standby,
    actions.ForgetStandby: effects_files.forget_standby,
    actions.RepointStandby: effects.repoint,
    actions.AwaitStreaming: effects.await_streaming,
    actions.SetSynchronous: effects_changes.set_synchronous,
    actions.Checkpoint: effects.checkpoint,
    actions.GetReadyToStop: effects_changes.asks_only,
    actions.GetReadyToPromote: effects_changes.asks_only,
    actions.DropStuckWalsenders: effects.drop_stuck,
    actions.ProveCaughtUp: effects.prove_caught_up,
    actions.Promote: effects.promote,
    actions.ProbeWrite: effects.probe_write,
    actions.DetachStandby: effects.detach,
    actions.ProveFurthest: effects.prove_furthest,
    actions.NoteFenceDebt: effects.note_debt,
    actions.SettleFenceDebt: effects.settle_debt,
    repair_actions.RecoverAlone: effects_files.recover_alone,
    repair_actions.KeepDivergedWal: effects_files.keep_diverged,
    repair_actions.CheckRewind: effects_files.check_rewind,
    repair_actions.Rewind: effects_files.rewind,
    repair_actions.InstallRewound: effects_files.install_rewound,
    actions.SetAside: effects_files.set_aside,
    actions.PublishEnv: effects.publish_env,
    actions.StartWithConfig: effects_changes.start_with_config,
    actions.AwaitReplayed: effects_changes.await_replayed,
    actions.SetPassword: effects_changes.set_password,
    actions.RestorePassword: effects_changes.restore_password,
    actions.AwaitPassword: effects_changes.await_password,
    app_actions.PushEnv: effects_changes.push_env,
    app_actions.EndAppSessions: effects_changes.asks_only,
    app_actions.CountAppSessions: effects_changes.asks_only,
}


def _half(world: World, node: NodeName, action: Action) -> list[World]:
    match action:
        case actions.StopPostgres() | actions.FencePrimary() | repair_actions.RecoverAlone() | repair_actions.Rewind():
            return _half_of_server(world, node, action)
        case actions.InitCluster() | actions.BaseBackup() | actions.RemoveStaging():
            return _half_of_staging(world, node, action)
        case actions.WriteConfig(place=place, files=(first, _, *_)):
            return [with_files(world, node, place, (first,))]
        case actions.StartWithConfig(files=files):
            return [with_files(world, node, actions.Place.LIVE, files)]
        case actions.ReviveOldPrimary() if not world[node].running:
            return [world.with_data(node, signal=False)]
        case actions.ForgetStandby():
            return [world.with_data(node, signal=False)]
        case actions.ConfigureStandby(place=place):
            directory = replace(at(world, node, place), upstream=action.upstream, slot=action.slot)
            return [put(world, node, place, directory)]
        case actions.RepointStandby():
            return [world.with_data(node, upstream=action.upstream)]
        case actions.Promote():
            return [world.with_machine(node, promotion_pending=True)]
        case _:
            return []


def _half_of_staging(world: World, node: NodeName, action: Action) -> list[World]:
    if isinstance(action, actions.RemoveStaging):
        left = world[node].staging
        return [world.with_machine(node, staging=replace(left, partial=True))] if left is not None else []
    staging = EFFECTS[type(action)](world, node, action)[node].staging
    assert staging is not None
    return [world.with_machine(node, staging=replace(staging, partial=True), staging_run=world.run)]


def _half_of_server(world: World, node: NodeName, action: Action) -> list[World]:
    match action:
        case actions.FencePrimary():
            signalled = world.with_data(node, signal=True)
            return [signalled, signalled.with_machine(node, running=False)]
        case repair_actions.RecoverAlone():
            begun = world.with_data(node, signal=True)
            alone = begun.with_data(node, state="in archive recovery")
            files = data_of(world[node]).files
            return [begun, alone.with_machine(node, running=True, in_recovery=True, alone=True, loaded=files)]
        case repair_actions.Rewind():
            begun = replace(data_of(world[node]), partial=True)
            return [kept(world, node).with_machine(node, data=None, rewinding=begun)]
        case _:
            # An immediate stop, or a crash, in the middle of a fast one.
            return [world.with_machine(node, running=False)]
