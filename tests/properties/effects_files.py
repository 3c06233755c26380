"""What an action does to the simulated disks: data directories, staging, rewinding, what is kept aside."""

from __future__ import annotations

from dataclasses import replace

from replctl.model import actions, repair_actions
from replctl.model.actions import ConfigFile, Place, RoleKind
from replctl.model.repair_actions import Promise
from replctl.model.values import NodeName
from tests.properties.effects import data_of, demand, running, stopped, writable
from tests.properties.observed import wal_tail
from tests.properties.wal import Wal
from tests.properties.world import Directory, World, can_log_in


def init_cluster(world: World, node: NodeName, _: actions.InitCluster) -> World:
    _clear_staging(world, node)
    wal = Wal(((world.branches, 0),), 10)
    admin = {RoleKind.ADMIN: world.wanted.passwords[RoleKind.ADMIN]}
    made = Directory(f"72770000{world.branches}", wal, "shut down", checkpoint=9, verifiers=admin)
    world = replace(world, branches=world.branches + 1)
    return world.with_machine(node, staging=made, staging_run=world.run)


def _clear_staging(world: World, node: NodeName) -> None:
    """Only a directory with a marker is ours to delete."""
    machine = world[node]
    demand(machine.staging is None or machine.staging_run is not None, "the staging directory is not ours")


def write_config(world: World, node: NodeName, action: actions.WriteConfig) -> World:
    return with_files(world, node, action.place, action.files)


def with_files(world: World, node: NodeName, place: Place, files: tuple[ConfigFile, ...]) -> World:
    directory = at(world, node, place)
    texts = {file.name: file.text for file in files}
    return put(world, node, place, replace(directory, files={**directory.files, **texts}))


def at(world: World, node: NodeName, place: Place) -> Directory:
    """The directory that a file action writes to. Raises NotPossibleError when it is not there, or not whole."""
    machine = world[node]
    match place:
        case Place.STAGING:
            found = machine.staging if machine.staging_run == world.run else None
        case Place.REWOUND:
            found = machine.rewinding
        case Place.LIVE:
            found = machine.data
    demand(found and not found.partial, f"there is no directory at {place}")
    assert found is not None
    return found


def put(world: World, node: NodeName, place: Place, directory: Directory) -> World:
    names = {Place.STAGING: "staging", Place.REWOUND: "rewinding", Place.LIVE: "data"}
    return world.with_machine(node, **{names[place]: directory})


def install_staging(world: World, node: NodeName, _: actions.InstallStaging) -> World:
    staging = at(world, node, Place.STAGING)
    demand(world[node].data is None, "something stands in its place")
    if world.identity is None:
        world = replace(world, identity=staging.identity, line=staging.wal.branches)
    return world.with_machine(node, data=staging, staging=None, staging_run=None)


def remove_staging(world: World, node: NodeName, _: actions.RemoveStaging) -> World:
    if world[node].staging_run != world.run:
        return world
    return world.with_machine(node, staging=None, staging_run=None)


def write_passfile(world: World, node: NodeName, _: actions.WritePassfile) -> World:
    return world.with_machine(node, passfile=world.wanted.passwords[RoleKind.REPLICATION])


def remove_passfile(world: World, node: NodeName, _: actions.RemovePassfile) -> World:
    return world.with_machine(node, passfile=0)


def base_backup(world: World, node: NodeName, action: actions.BaseBackup) -> World:
    _clear_staging(world, node)
    source = running(world, action.source)
    demand(can_log_in(world, node, action.source), f"{node} cannot log in at {action.source}")
    demand(action.slot is None or action.slot in source.slots, "there is no such slot")
    # pg_basebackup begins with a checkpoint, and copies everything but the slots and a standby's signal file.
    copy = replace(source, slots=frozenset(), signal=False, checkpoint_timeline=source.wal.timeline, recycled=False)
    return world.with_machine(node, staging=copy, staging_run=world.run)


def configure_standby(world: World, node: NodeName, action: actions.ConfigureStandby) -> World:
    directory = at(world, node, action.place)
    kept = action.place is Place.LIVE or world.inventory.sync is None
    waits_for = directory.waits_for if kept else ""
    directory = replace(directory, upstream=action.upstream, slot=action.slot, signal=True, waits_for=waits_for)
    return put(world, node, action.place, directory)


def forget_standby(world: World, node: NodeName, _: actions.ForgetStandby) -> World:
    data_of(world[node])
    return world.with_data(node, upstream=None, slot=None, signal=False)


def recover_alone(world: World, node: NodeName, _: repair_actions.RecoverAlone) -> World:
    """It stays a standby: standby.signal comes before the start, and is not taken away."""
    data = stopped(world, node)
    return world if data.cleanly_stopped else world.with_data(node, signal=True, state="shut down in recovery")


def keep_diverged(world: World, node: NodeName, action: repair_actions.KeepDivergedWal) -> World:
    """Where the operator was told that there is no commit, one that is there after all is not given up."""
    stopped(world, node)
    commits = wal_tail(world, node, action.ranges).commits
    demand(action.promise is not Promise.NO_COMMIT or commits == 0, "it has a commit that nobody gave up")
    return kept(world, node)


def kept(world: World, node: NodeName) -> World:
    wal, asides = data_of(world[node]).wal, world[node].asides
    there = any(aside is not None and aside.holds(wal) for aside in asides)
    return world if there else world.with_machine(node, asides=(*asides, wal))


def check_rewind(world: World, node: NodeName, action: repair_actions.CheckRewind) -> World:
    data, source = stopped(world, node), writable(world, action.source)
    demand(data.cleanly_stopped, "it was not stopped cleanly")
    demand(not data.recycled, "its WAL is gone")
    demand(source.checkpoint_timeline == source.wal.timeline, "pg_control of the source has the old timeline")
    demand(source.identity == data.identity, "another cluster")
    demand(can_log_in(world, node, action.source), f"{node} cannot log in at {action.source}")
    demand("rewind" in source.sql, "the role may not read the source's files")
    return world


def rewind(world: World, node: NodeName, action: repair_actions.Rewind) -> World:
    """Configuration is kept, slots are not; it is a standby before anything could start it."""
    check_rewind(world, node, repair_actions.CheckRewind(action.source))
    world = kept(world, node)
    data, source = data_of(world[node]), data_of(world[action.source])
    demand(world[node].rewinding is None, "what an earlier rewind left is in the way")
    rewound = replace(
        data,
        wal=source.wal,
        sql=source.sql,
        verifiers=source.verifiers,
        demanded=source.demanded,
        state="in archive recovery",
        checkpoint=source.checkpoint,
        checkpoint_timeline=source.checkpoint_timeline,
        slots=frozenset(),
        signal=True,
        told=source.told,
    )
    return world.with_machine(node, data=None, rewinding=rewound)


def install_rewound(world: World, node: NodeName, _: repair_actions.InstallRewound) -> World:
    demand(world[node].data is None, "something stands in its place")
    return world.with_machine(node, data=at(world, node, Place.REWOUND), rewinding=None)


def set_aside(world: World, node: NodeName, _: actions.SetAside) -> World:
    """The data directory, or what a broken rewind left where there is none."""
    machine = world[node]
    demand(not machine.running, f"{node} runs")
    if machine.data is not None:
        return world.with_machine(node, data=None, asides=(*machine.asides, machine.data.wal))
    if machine.rewinding is None:
        return world
    left = None if machine.rewinding.partial else machine.rewinding.wal
    return world.with_machine(node, rewinding=None, asides=(*machine.asides, left))


def remove_config(world: World, node: NodeName, action: actions.RemoveConfig) -> World:
    """The files lie in the data directory here: they go with it."""
    return world
