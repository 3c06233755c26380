"""When the goal of each of the operator's commands holds, judged by the world alone and not by a planner."""

from __future__ import annotations

from collections.abc import Set

from replctl.model.actions import RoleKind
from replctl.model.values import NodeName
from replctl.planning.config_apply import Restarting
from tests.properties.intents import CONFIG, ENDLESS, KEEPS_DIRECTORY, ROTATIONS, STARTS, Intent
from tests.properties.wanted import enough
from tests.properties.world import Machine, World, streams

COMMITS = ("init-primary", "add-replica", "rejoin", "promote", "failover")


def as_it_should_be(world: World, intent: Intent) -> bool:
    """Whether the intent's goal holds, judged by the world alone and not by a planner."""
    if intent.command in ENDLESS:
        restarted = (
            intent.nodes if intent.command == "restart" else tuple(n for n, m, _ in world.members() if m.reachable)
        )
        return all(world[name].running for name in restarted) and len(world.rightful) <= 1
    if intent.command in CONFIG:
        return _configured(world) and (not CONFIG[intent.command] or _in_force(world, CONFIG[intent.command]))
    if len(world.rightful) != 1:
        return False
    (primary,) = world.rightful
    if intent.command in ROTATIONS and not _rotated(world, primary, ROTATIONS[intent.command]):
        return False
    if intent.command in ROTATIONS and intent.command != "rotate-password app":
        return True
    waited_for = intent.command not in COMMITS or _waited_for(world, primary)
    return _published(world, primary) and _arrived(world, intent, primary) and waited_for


def _published(world: World, primary: NodeName) -> bool:
    """In the env file and its copies stand the nodes in their true roles."""
    if any(world.copies.get(host.label) != world.published for host in world.inventory.app.publish):
        return False
    return world.env == (primary, _replicas(world, primary))


def _replicas(world: World, primary: NodeName) -> tuple[NodeName, ...]:
    return tuple(name for name in world.machines if streams(world, name, primary) and world[name].reachable)


def _arrived(world: World, intent: Intent, primary: NodeName) -> bool:
    if intent.command in STARTS and not all(world[name].autostart for name in intent.nodes):
        return False
    match intent.command:
        case "init-primary":
            return primary == intent.node and _complete(world, primary)
        case "add-replica" | "rejoin":
            return set(intent.nodes) <= set(_replicas(world, primary))
        case "remove-replica" | "remove-replica --keep-data":
            return _removed(world, intent)
        case "env --write" | "rotate-password app":
            return world.env_password == world.wanted.passwords[RoleKind.APP]
        case _:
            return primary == intent.node and _all_follow(world, primary)


def _reached(world: World) -> list[tuple[NodeName, Machine]]:
    return [(name, machine) for name, machine, _ in world.members() if machine.reachable and machine.running]


def _configured(world: World) -> bool:
    """Every file says what the inventory says, and was read."""
    return all(m.data and m.data.files == world.configs[name] == m.loaded for name, m in _reached(world))


def _in_force(world: World, restarting: Set[Restarting]) -> bool:
    """Where only replicas may restart, what was lowered waits for the primary."""
    if len(world.rightful) != 1:
        return False
    wanted, theirs = world.wanted.settings, world[world.rightful[0]].in_force
    everybody = len(restarting) > 1
    return all(
        machine.in_force == wanted or (not everybody and (machine.writable or not enough(wanted, theirs)))
        for _, machine in _reached(world)
    )


def _waited_for(world: World, primary: NodeName) -> bool:
    """Commits wait for as many replicas as the inventory asks for and as stream, and nobody else waits for any."""
    sync, data = world.inventory.sync, world[primary].data
    if sync is None or data is None:
        return True
    number = min(sync.count, sum(streams(world, name, primary) for name in world.machines))
    return data.waits_for.startswith(f"ANY {number} " if number else "") and bool(data.waits_for) is bool(number)


def _rotated(world: World, primary: NodeName, kind: RoleKind) -> bool:
    """Every node that can be reached knows the password, and comes back with it."""
    wanted = world.wanted.passwords[kind]
    data = world[primary].data
    if data is None or data.verifiers.get(kind) != wanted:
        return False
    members = [machine for _, machine, _ in world.members() if machine.reachable]
    return kind is not RoleKind.REPLICATION or all(machine.passfile == wanted for machine in members)


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
        and machine.passfile == world.wanted.passwords[RoleKind.REPLICATION]
        and machine.loaded == machine.data.files
    )
