"""How a simulated cluster looks to replctl: the facts that observation and inquiry would bring home."""

from __future__ import annotations

from collections.abc import Iterable

from replctl.model.actions import ConfigFile, RoleKind
from replctl.model.configuration import Configuration, FileEntry, LiveSetting
from replctl.model.facts import (
    ClusterFacts,
    EnvListing,
    FenceDebt,
    Foreign,
    Login,
    NodeFacts,
    NoInstance,
    Primary,
    ProblemKind,
    Receiver,
    Replica,
    Role,
    ServerFacts,
    Setting,
    Stopped,
    Unreachable,
    Walsender,
    WalTail,
)
from replctl.model.host import (
    Aside,
    ControlData,
    DataDirectory,
    DirectoryState,
    History,
    HostFacts,
    Postmaster,
    Staging,
    Unit,
)
from replctl.model.values import Lsn, NodeName, SystemIdentifier, Timeline, WalRange
from replctl.planning.situation import Situation
from replctl.planning.states import ORDERED_SETTINGS
from replctl.postgres.conf_syntax import parse_conf
from replctl.postgres.standby_names import STANDBY_NAMES
from tests.properties.wal import history
from tests.properties.wanted import UNSET, ordered
from tests.properties.world import CONF, TEMPLATES, Directory, Machine, World, can_log_in, configs, replays, streams
from tests.unit.builders import SETTINGS, a_problem, a_slot, a_walsender

SERVER_SETTINGS = {name: Setting(value, "configuration file") for name, value in SETTINGS.items()}
CONFIG_FILE = LiveSetting("config_file", f"/pg/{CONF}", f"/pg/{CONF}", None, "string", "postmaster", "override", "")


class Planned(Situation):
    """Renders each node's files once for all tests: nothing in them depends on the moment."""

    def rendered(self, name: NodeName, major: int) -> tuple[ConfigFile, ...]:  # noqa: ARG002
        nodes = self.inventory.nodes
        parameters = nodes[name].postgres.parameters
        files = configs(len(nodes), tuple(int(parameters[setting]) for setting in ORDERED_SETTINGS))[name]
        return tuple(ConfigFile(file, text) for file, text in files.items())


def situation(world: World, facts: ClusterFacts) -> Situation:
    return Planned(world.inventory, facts, TEMPLATES)


def configurations(world: World, names: Iterable[NodeName]) -> dict[NodeName, Configuration]:
    """What servers say of their files and settings: those that run and answer."""
    answering = (name for name in names if world[name].running and world[name].reachable)
    return {name: _configuration(world[name]) for name in answering}


def _configuration(machine: Machine) -> Configuration:
    assert machine.data is not None
    lines = enumerate(machine.data.files.get(CONF, "").splitlines(), start=1)
    entries = (FileEntry(*said, f"/pg/{CONF}", number) for number, line in lines for said in parse_conf(line).items())
    read = ordered(machine.loaded.get(CONF, ""))
    live = [CONFIG_FILE, *(_live(*row) for row in zip(ORDERED_SETTINGS, machine.in_force, read, UNSET, strict=True))]
    return Configuration(tuple(entries), {one.name: one for one in live})


def _live(name: str, value: int, read: int, default: int) -> LiveSetting:
    source = "configuration file"
    text = str(value)
    return LiveSetting(name, text, text, None, "integer", "postmaster", source, str(default), read != value)


def tried_logins(world: World, sources: Iterable[NodeName], target: NodeName | None) -> tuple[Login, ...]:
    """Logins with the password that replctl has, whatever the passfiles hold."""
    if target is None:
        return ()
    refused = a_problem(ProblemKind.SQL_AUTH, "no pg_hba.conf entry")
    ours = world.wanted.passwords[RoleKind.REPLICATION]
    answers = {name: can_log_in(world.with_machine(name, passfile=ours), name, target) for name in sources}
    return tuple(Login(name, target, None if works else refused) for name, works in answers.items())


def wal_tail(world: World, name: NodeName, ranges: tuple[WalRange, ...]) -> WalTail:
    """What pg_waldump would find on a node, timeline after timeline."""
    data, start = world[name].data, ranges[0].start
    if data is None or data.recycled:
        return WalTail(name, start, None, problem="the segments are gone")
    end, commits = None, 0
    for one in ranges:
        left = data.wal.left(one.timeline)
        if left is None or left <= one.start.position:
            continue
        branch = data.wal.branches[one.timeline - 1][0]
        commits += sum(c.branch == branch and one.start.position < c.end <= left for c in world.commits)
        end = Lsn(left)
    return WalTail(name, start, end, commits)


def observed(world: World) -> ClusterFacts:
    """What observation would say of this world."""
    identities = {m.data.identity for _, m, _ in world.members() if m.data and m.reachable}
    current = world.env_password == world.wanted.passwords[RoleKind.APP]
    env = EnvListing() if world.env is None else EnvListing(*world.env, current=current)
    debts = (FenceDebt(owed, promoted, "2026-11-23T03:15:00Z") for owed, promoted in world.debts.items())
    return ClusterFacts(
        {name: _node(world, name, machine) for name, machine in world.machines.items()},
        SystemIdentifier(world.identity) if identities and world.identity else None,
        env=env,
        debts=tuple(debts),
    )


def _node(world: World, name: NodeName, machine: Machine) -> NodeFacts:
    if not machine.reachable:
        return Unreachable(name, a_problem())
    host = _host(world, machine)
    data = machine.data
    if data is None or host.control is None:
        return NoInstance(name, host)
    if data.identity != world.identity:
        return Foreign(name, host, SystemIdentifier(data.identity), machine.running)
    if not machine.running:
        return Stopped(name, host, host.control)
    server = _server(world, name, data)
    if not machine.in_recovery:
        return Primary(name, host, server, Lsn(data.wal.end))
    return _replica(world, name, data, host, server)


def _host(world: World, machine: Machine) -> HostFacts:
    data, staging = machine.data, machine.staging
    control = None if data is None or data.partial else _control(data)
    marker = None if staging is None else Staging(machine.staging_run)
    return HostFacts(
        hostname="host",
        bin_dir="/usr/lib/postgresql/15/bin",
        major=15,
        glibc="2.36",
        directory=DataDirectory("/pg", DirectoryState.ABSENT if data is None else DirectoryState.CLUSTER),
        port_in_use=machine.running,
        control=control,
        standby_signal=data is not None and data.signal,
        postmaster=Postmaster(812, 5432, "ready") if machine.running else None,
        staging=marker,
        asides=tuple(Aside(f"/pg.replctl-aside-{number}", 1024) for number, _ in enumerate(machine.asides)),
        files={} if data is None else {**data.files, "postgresql.auto.conf": _auto_conf(world, data)},
        passfile_current=machine.passfile == world.wanted.passwords[RoleKind.REPLICATION],
        can_link_socket_dir=True,
        unit=Unit("postgresql-15", "active", "enabled" if machine.autostart else "disabled", None),
        histories=_histories(data),
        wal_timeline=None if data is None else Timeline(data.wal.timeline),
        slot_names=() if data is None else tuple(sorted(data.slots)),
        broken_rewind=data is None and machine.rewinding is not None and machine.rewinding.partial,
        finished_rewind=data is None and machine.rewinding is not None and not machine.rewinding.partial,
    )


def _histories(data: Directory | None) -> tuple[History, ...]:
    """The file of its own timeline, which names those before it too, and those that it was sent; a promotion does away
    with the files of timelines that it went through."""
    if data is None:
        return ()
    own = (data.wal.branches,) if data.wal.timeline > 1 else ()
    return tuple(history(branches) for branches in (*own, *sorted(data.told)))


def _auto_conf(world: World, data: Directory) -> str:
    waits_for = f"{STANDBY_NAMES} = '{data.waits_for}'\n" if data.waits_for else ""
    if not data.upstream:
        return waits_for
    return f"primary_conninfo = 'host={world.inventory.nodes[data.upstream].host} port=5432'\n{waits_for}"


def _control(data: Directory) -> ControlData:
    recovering = "recovery" in data.state
    return ControlData(
        SystemIdentifier(data.identity),
        data.state,
        Timeline(data.checkpoint_timeline),
        Lsn(data.checkpoint),
        True,
        True,
        min_recovery_end=Lsn(data.wal.end if recovering else 0),
        min_recovery_timeline=Timeline(data.wal.timeline) if recovering else None,
    )


def _server(world: World, name: NodeName, data: Directory) -> ServerFacts:
    slots = tuple(a_slot(slot, active=bool(_user_of(world, name, slot))) for slot in sorted(data.slots))
    links = [other for other in world.machines if streams(world, other, name)]
    walsenders = tuple(_walsender(world, other) for other in links)
    app = world.inventory.app
    return ServerFacts(
        150018,
        "15.18",
        SystemIdentifier(data.identity),
        Timeline(data.wal.timeline),
        "/pg",
        _settings(world[name], data),
        slots,
        walsenders,
        roles=_roles(world, data),
        databases={app.database: app.user} if "database" in data.sql else {},
        rewind_granted="rewind" in data.sql,
    )


def _settings(machine: Machine, data: Directory) -> dict[str, Setting]:
    read = ordered(machine.loaded.get(CONF, ""))
    own = {
        name: Setting(str(value), "configuration file", pending_restart=value != written)
        for name, value, written in zip(ORDERED_SETTINGS, machine.in_force, read, strict=True)
    }
    kept = {"primary_slot_name": data.slot or "", STANDBY_NAMES: data.waits_for}
    return SERVER_SETTINGS | own | {name: Setting(value, "configuration file") for name, value in kept.items()}


def _roles(world: World, data: Directory) -> tuple[Role, ...]:
    inventory, passwords = world.inventory, world.wanted.passwords
    users = {
        RoleKind.ADMIN: inventory.admin.user,
        RoleKind.REPLICATION: inventory.replication.user,
        RoleKind.APP: inventory.app.user,
    }
    return tuple(
        Role(
            user,
            True,
            kind is RoleKind.ADMIN,
            kind is RoleKind.REPLICATION,
            data.verifiers.get(kind) == passwords[kind],
        )
        for kind, user in users.items()
        if kind is RoleKind.ADMIN or kind.value in data.sql
    )


def _walsender(world: World, name: NodeName) -> Walsender:
    pid = 900 + list(world.machines).index(name)
    silence = 20_000.0 if world[name].silent else 20.0
    return a_walsender(name, slot=world.inventory.nodes[name].slot, pid=pid, reply_age_ms=silence)


def _user_of(world: World, name: NodeName, slot: str) -> NodeName | None:
    links = (other for other in world.machines if world[other].data and world[other].data.slot == slot)
    return next((other for other in links if streams(world, other, name)), None)


def _replica(world: World, name: NodeName, data: Directory, host: HostFacts, server: ServerFacts) -> Replica:
    upstream = None if world[name].alone else data.upstream
    address = str(world.inventory.nodes[upstream].host) if upstream else None
    receiver = None
    if upstream and streams(world, name, upstream):
        receiver = Receiver("streaming", address, 5432, data.slot, Lsn(data.wal.end), Timeline(data.wal.timeline))
    end = Lsn(data.wal.end)
    paused = "not paused" if replays(world[name]) else "paused"
    return Replica(name, host, server, end, end, receiver, paused, address, 5432 if address else None)
