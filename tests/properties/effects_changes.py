"""What the steps of ``config apply``, ``rotate-password`` and publishing do to the simulated cluster."""

from __future__ import annotations

from dataclasses import replace

from replctl.model import actions, app_actions
from replctl.model.actions import Place
from replctl.model.values import NodeName
from replctl.postgres.standby_names import standby_names
from tests.properties.effects import demand, running, start, with_verifier, writable
from tests.properties.effects_files import with_files
from tests.properties.world import World, streams


def start_with_config(world: World, node: NodeName, action: actions.StartWithConfig) -> World:
    return start(with_files(world, node, Place.LIVE, action.files), node)


def await_replayed(world: World, node: NodeName, action: actions.AwaitReplayed) -> World:
    """What arrives is replayed at once here."""
    writable(world, action.upstream)
    demand(streams(world, node, action.upstream), f"{node} does not stream from {action.upstream}")
    demand(not world[node].stalled, f"{node} receives nothing")
    return world


def set_password(world: World, node: NodeName, action: actions.SetPassword) -> World:
    data = writable(world, node)
    demand(action.kind is actions.RoleKind.ADMIN or action.kind.value in data.sql, "there is no such role")
    after = with_verifier(world, node, action.kind)
    return (
        after
        if after is world
        else replace(after, replaced={**world.replaced, action.kind: data.verifiers[action.kind]})
    )


def restore_password(world: World, node: NodeName, action: actions.RestorePassword) -> World:
    """Whatever became of the statement: the verifier that it was to replace is there again."""
    old = world.replaced.get(action.kind)
    if old is None:
        return world
    left = {kind: number for kind, number in world.replaced.items() if kind is not action.kind}
    return replace(with_verifier(world, node, action.kind, old), replaced=left)


def await_password(world: World, node: NodeName, action: actions.AwaitPassword) -> World:
    known = running(world, node).verifiers.get(action.kind)
    demand(known == world.wanted.passwords[action.kind], f"{node} has not replayed the new password")
    return world


def push_env(world: World, _: NodeName | None, action: app_actions.PushEnv) -> World:
    """The copy says what the env file says now."""
    demand(world.env, "the env file names no primary")
    return replace(world, copies={**world.copies, action.app_host: world.published})


def set_synchronous(world: World, node: NodeName, action: actions.SetSynchronous) -> World:
    """Of those that follow just then, as the handler asks the server."""
    running(world, node)
    sync = world.inventory.sync
    following = [name for name in action.standbys if name != action.without and streams(world, name, node)]
    value = standby_names(sync, action.standbys, len(following)) if sync is not None else ""
    return world.with_data(node, waits_for=value)


def asks_only(world: World, _node: NodeName | None, _action: object) -> World:
    """Sessions are nothing that the simulation has."""
    return world
