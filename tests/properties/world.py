"""A simulated cluster as a value: what is on every node's disk, what runs, and how it looks to replctl.

The WAL is a line of branches. A branch is made by initdb or by a promotion and is unique, so that two promotions from
one timeline can be told apart, as PostgreSQL tells them by their history files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache

from replctl.model.actions import ConfigFile
from replctl.model.facts import (
    ClusterFacts,
    ControlData,
    DataDirectory,
    DirectoryState,
    EnvListing,
    Foreign,
    HostFacts,
    Login,
    NodeFacts,
    NoInstance,
    Postmaster,
    Primary,
    ProblemKind,
    Receiver,
    Replica,
    Role,
    ServerFacts,
    Setting,
    Staging,
    Stopped,
    Unreachable,
)
from replctl.model.inventory import Inventory
from replctl.model.values import Lsn, NodeName, SystemIdentifier, Timeline
from replctl.planning.situation import Situation
from replctl.postgres.ownership import MARK
from replctl.postgres.render import Templates, render_config
from tests.unit.builders import SETTINGS, a_cluster, a_node, a_problem, a_slot, a_walsender

TEMPLATES = Templates(
    postgresql_conf=f"# {MARK}\nport = {{{{ managed.port }}}}\n", pg_hba_conf="# {{ peers | length }} peers\n"
)
"""Small ones: every plan renders them for several nodes."""
HBA = "pg_hba.conf"
SERVER_SETTINGS = {
    name: Setting(value, "configuration file") for name, value in (SETTINGS | {"max_wal_senders": "14"}).items()
}


@dataclass(frozen=True)
class Wal:
    """The branches that a node's WAL ran through, each with its beginning, and where it ends."""

    branches: tuple[tuple[int, int], ...]
    """(unique number of the branch, position where it began)"""
    end: int

    @property
    def timeline(self) -> int:
        return len(self.branches)

    def holds(self, other: Wal) -> bool:
        """Whether all of the other's WAL is part of this: then the other can stream from here."""
        shared = len(other.branches)
        if self.branches[:shared] != other.branches:
            return False
        left_at = self.branches[shared][1] if len(self.branches) > shared else self.end
        return other.end <= left_at

    def promoted(self, branch: int) -> Wal:
        return Wal((*self.branches, (branch, self.end)), self.end + 1)

    def written(self, amount: int) -> Wal:
        return replace(self, end=self.end + amount)


@dataclass(frozen=True)
class Directory:
    """A data directory, finished or staged."""

    identity: str
    wal: Wal
    state: str
    """As pg_control has it."""
    checkpoint: int = 0
    signal: bool = False
    upstream: NodeName | None = None
    slot: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    slots: frozenset[str] = frozenset()
    sql: frozenset[str] = frozenset()
    """Roles, database and rights that exist, by the word for each."""
    partial: bool = False
    """A copy or an initdb that was broken off: nothing can start it."""


@dataclass(frozen=True)
class Machine:
    """One host."""

    data: Directory | None = None
    staging: Directory | None = None
    staging_run: str | None = None
    """The run in the staging directory's marker; None: somebody else's directory stands there."""
    passfile: bool = False
    running: bool = False
    in_recovery: bool = False
    loaded: Mapping[str, str] = field(default_factory=dict)
    """The configuration files as the running server read them last."""
    reachable: bool = True
    stalled: bool = False
    """Connected, and receiving nothing."""
    promotion_pending: bool = False
    """A promote request arrived and was not carried out yet."""

    @property
    def writable(self) -> bool:
        return self.running and not self.in_recovery

    @property
    def revivable(self) -> bool:
        """Stopped, and a reboot would make it writable."""
        return not self.running and self.data is not None and not self.data.signal


@dataclass(frozen=True)
class World:
    """The truth about a cluster, and the env file."""

    machines: Mapping[NodeName, Machine]
    env: tuple[NodeName, tuple[NodeName, ...]] | None = None
    run: str = "run-0"
    identity: str | None = None
    """The identity that all members share, once one of them was made."""
    branches: int = 1
    acknowledged: tuple[Wal, ...] = ()
    """For each branch that was ever written to: the WAL up to its last acknowledged write."""

    @property
    def inventory(self) -> Inventory:
        return an_inventory(len(self.machines))

    def __getitem__(self, name: NodeName) -> Machine:
        return self.machines[name]

    def with_machine(self, name: NodeName, **changes: object) -> World:
        return replace(self, machines={**self.machines, name: replace(self.machines[name], **changes)})

    def with_data(self, name: NodeName, **changes: object) -> World:
        data = self.machines[name].data
        assert data is not None
        return self.with_machine(name, data=replace(data, **changes))

    def members(self) -> Iterator[tuple[NodeName, Machine, Directory]]:
        """Nodes with a data directory of this cluster."""
        for name, machine in self.machines.items():
            if machine.data is not None and machine.data.identity == self.identity:
                yield name, machine, machine.data

    @property
    def writable(self) -> tuple[NodeName, ...]:
        return tuple(name for name, machine, _ in self.members() if machine.writable)

    @property
    def revivable(self) -> tuple[NodeName, ...]:
        return tuple(name for name, machine, _ in self.members() if machine.revivable)


def can_log_in(world: World, source: NodeName, target: NodeName) -> bool:
    """A replication login: the target's server has read a pg_hba.conf that knows the peers, and the role is there."""
    there = world[target]
    if not there.running or there.data is None or not world[source].passfile:
        return False
    return "replication" in there.data.sql and there.loaded.get(HBA) == configs(len(world.machines))[target][HBA]


def streams(world: World, name: NodeName, upstream: NodeName) -> bool:
    """Whether a link between the two stands."""
    here, there = world[name], world[upstream]
    if not (here.running and here.in_recovery and here.data and there.running and there.data) or name == upstream:
        return False
    own, theirs = here.data, there.data
    return (
        own.upstream == upstream
        and own.identity == theirs.identity
        and (own.slot is None or own.slot in theirs.slots)
        and theirs.wal.holds(own.wal)
        and can_log_in(world, name, upstream)
    )


def settled(world: World) -> World:
    """Everything written has arrived wherever a link stands."""
    for _ in world.machines:
        for name, machine in world.machines.items():
            upstream = machine.data.upstream if machine.data else None
            if upstream is None or machine.stalled or not streams(world, name, upstream):
                continue
            source = world[upstream].data
            assert source is not None
            if machine.data and machine.data.wal != source.wal:
                world = world.with_data(name, wal=source.wal, sql=source.sql)
    return world


def unread(world: World) -> list[NodeName]:
    """Nodes whose server has not read the files that stand in its data directory. Observation cannot tell that."""
    return [name for name, m, data in world.members() if m.running and m.loaded != data.files]


def clients_write(world: World) -> World:
    """Somebody commits on every server that lets him, and is told so."""
    for name in world.writable:
        data = world[name].data
        assert data is not None
        wal = data.wal.written(10)
        others = tuple(old for old in world.acknowledged if old.branches != wal.branches)
        world = replace(world.with_data(name, wal=wal), acknowledged=(*others, wal))
    return settled(world)


@cache
def an_inventory(size: int) -> Inventory:
    """db1, db2, ... and nothing out of the ordinary."""
    nodes = {NodeName(f"db{number}"): a_node(f"db{number}", number) for number in range(1, size + 1)}
    return a_cluster(nodes=nodes).build()[0]


@cache
def configs(size: int) -> Mapping[NodeName, Mapping[str, str]]:
    """Each node's files as that inventory has them."""
    inventory = an_inventory(size)
    files = {
        name: render_config(inventory, node, TEMPLATES, major=15, socket_dir="/run/postgresql")
        for name, node in inventory.nodes.items()
    }
    return {name: {file.name: file.text for file in some} for name, some in files.items()}


class Planned(Situation):
    """Renders each node's files once for all tests: nothing in them depends on the moment."""

    def rendered(self, name: NodeName, major: int) -> tuple[ConfigFile, ...]:  # noqa: ARG002
        files = configs(len(self.inventory.nodes))[name]
        return tuple(ConfigFile(file, text) for file, text in files.items())


def situation(world: World, logins: tuple[Login, ...] = ()) -> Situation:
    return Planned(world.inventory, replace(observed(world), logins=logins), TEMPLATES)


def tried_logins(world: World, sources: Iterable[NodeName], target: NodeName | None) -> tuple[Login, ...]:
    """Logins with the password that replctl has, whatever the passfiles hold."""
    if target is None or not world[target].reachable:
        return ()
    refused = a_problem(ProblemKind.SQL_AUTH, "no pg_hba.conf entry")
    answers = {name: can_log_in(world.with_machine(name, passfile=True), name, target) for name in sources}
    return tuple(Login(name, target, None if works else refused) for name, works in answers.items())


def observed(world: World) -> ClusterFacts:
    """What observation and inquiry would say of this world."""
    identities = {m.data.identity for _, m, _ in world.members() if m.data and m.reachable}
    env = EnvListing() if world.env is None else EnvListing(*world.env, current=True)
    return ClusterFacts(
        {name: _node(world, name, machine) for name, machine in world.machines.items()},
        SystemIdentifier(world.identity) if identities and world.identity else None,
        env=env,
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
        files={} if data is None else {**data.files, "postgresql.auto.conf": _auto_conf(world, data)},
        passfile_current=machine.passfile,
        can_link_socket_dir=True,
    )


def _auto_conf(world: World, data: Directory) -> str:
    return f"primary_conninfo = 'host={world.inventory.nodes[data.upstream].host} port=5432'\n" if data.upstream else ""


def _control(data: Directory) -> ControlData:
    identity, timeline = SystemIdentifier(data.identity), Timeline(data.wal.timeline)
    return ControlData(identity, data.state, timeline, Lsn(data.checkpoint), True, True)


def _server(world: World, name: NodeName, data: Directory) -> ServerFacts:
    slots = tuple(a_slot(slot, active=bool(_user_of(world, name, slot))) for slot in sorted(data.slots))
    links = [other for other in world.machines if streams(world, other, name)]
    walsenders = tuple(a_walsender(other, slot=world.inventory.nodes[other].slot) for other in links)
    own = SERVER_SETTINGS | {"primary_slot_name": Setting(data.slot or "", "configuration file")}
    app, replication = world.inventory.app, world.inventory.replication
    users = {"replication": replication.user, "app": app.user}
    roles = (Role(user, True, False, word == "replication", True) for word, user in users.items() if word in data.sql)
    return ServerFacts(
        150018,
        "15.18",
        SystemIdentifier(data.identity),
        Timeline(data.wal.timeline),
        "/pg",
        own,
        slots,
        walsenders,
        roles=tuple(roles),
        databases={app.database: app.user} if "database" in data.sql else {},
        rewind_granted="rewind" in data.sql,
    )


def _user_of(world: World, name: NodeName, slot: str) -> NodeName | None:
    links = (other for other in world.machines if world[other].data and world[other].data.slot == slot)
    return next((other for other in links if streams(world, other, name)), None)


def _replica(world: World, name: NodeName, data: Directory, host: HostFacts, server: ServerFacts) -> Replica:
    upstream = data.upstream
    address = str(world.inventory.nodes[upstream].host) if upstream else None
    receiver = None
    if upstream and streams(world, name, upstream):
        receiver = Receiver("streaming", address, 5432, data.slot, Lsn(data.wal.end), Timeline(data.wal.timeline))
    end = Lsn(data.wal.end)
    return Replica(name, host, server, end, end, receiver, "not paused", address, 5432 if address else None)
