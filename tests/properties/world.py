"""A simulated cluster as a value: what is on every node's disk, what runs, and who streams from whom."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TypeVar

from replctl.model.actions import RoleKind
from replctl.model.inventory import AppHost, Inventory, ServiceManager, SshSettings, Sync
from replctl.model.values import NodeName
from replctl.postgres.ownership import MARK
from replctl.postgres.render import Templates, render_config
from tests.properties.wal import Branches, Commit, Wal, prefixes
from tests.properties.wanted import SETTINGS, UNSET, USUAL, Ordered, Wanted, enough, written
from tests.unit.builders import a_cluster, a_node

TEMPLATES = Templates(
    postgresql_conf=f"# {MARK}\nport = {{{{ managed.port }}}}\nmax_wal_senders = {{{{ managed.max_wal_senders }}}}\n"
    "{% for name, value in parameters | dictsort %}{{ name }} = {{ value }}\n{% endfor %}",
    pg_hba_conf="# {{ peers | length }} peers\n",
)
"""Small ones: every plan renders them for several nodes."""
CONF = "postgresql.conf"
HBA = "pg_hba.conf"
Published = tuple[NodeName, tuple[NodeName, ...], int]
"""What an env file on a host of the application says: the primary, the replicas, and which password."""


@dataclass(frozen=True)
class Directory:
    """A data directory, finished or staged."""

    identity: str
    wal: Wal
    state: str
    """As pg_control has it."""
    checkpoint: int = 0
    checkpoint_timeline: int = 1
    """The timeline of the last checkpoint or restartpoint, which may be long ago."""
    signal: bool = False
    upstream: NodeName | None = None
    slot: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    slots: frozenset[str] = frozenset()
    waits_for: str = ""
    """synchronous_standby_names in postgresql.auto.conf."""
    sql: frozenset[str] = frozenset()
    """Roles, database and rights that exist, by the word for each."""
    verifiers: Mapping[RoleKind, int] = field(default_factory=dict)
    """The number of the password that lets each role in."""
    demanded: Ordered = UNSET
    """As pg_control has it: of a primary what it had in force last, of a standby what its WAL told it."""
    partial: bool = False
    """A copy, an initdb or a rewind that was broken off: nothing can start it."""
    told: frozenset[Branches] = frozenset()
    """Timelines whose history files an upstream sent, though their WAL may never come."""
    recycled: bool = False
    """The WAL that pg_rewind needs is gone."""

    @property
    def cleanly_stopped(self) -> bool:
        return self.state in ("shut down", "shut down in recovery")


@dataclass(frozen=True)
class Machine:
    """One host."""

    data: Directory | None = None
    staging: Directory | None = None
    staging_run: str | None = None
    """The run in the staging directory's marker; None: somebody else's directory stands there."""
    rewinding: Directory | None = None
    """A data directory that was taken out of its place to be rewound."""
    asides: tuple[Wal | None, ...] = ()
    """The WAL in each directory that was moved aside, or kept; None where it is not whole."""
    passfile: int = 0
    """The number of the password in it."""
    running: bool = False
    in_recovery: bool = False
    alone: bool = False
    """Started as a standby of nobody, by options that no configuration changes."""
    loaded: Mapping[str, str] = field(default_factory=dict)
    """The configuration files as the running server read them last."""
    in_force: Ordered = UNSET
    """What the server started with."""
    reachable: bool = True
    isolated: bool = False
    """Neither replctl nor any other node reaches it, and clients still do."""
    stalled: bool = False
    """Connected, and receiving nothing."""
    silent: bool = False
    """Its walsender has heard nothing of it for long, until that is ended and it comes back."""
    autostart: bool = False
    """Its service starts PostgreSQL with the host."""
    promotion_pending: bool = False
    """A promote request arrived and was not carried out yet."""

    @property
    def writable(self) -> bool:
        return self.running and not self.in_recovery

    @property
    def revivable(self) -> bool:
        """Stopped, and a reboot would make it writable."""
        return not self.running and self.data is not None and not self.data.signal

    def has(self, commit: Commit) -> bool:
        """Whether a write is anywhere on the disk."""
        disks = [disk.wal for disk in (self.data, self.rewinding) if disk is not None and not disk.partial]
        return any(wal.has(commit) for wal in (*disks, *self.asides) if wal is not None)


T = TypeVar("T")


def changed(value: T, **changes: object) -> T:
    """What dataclasses.replace() does, without asking for every field: it is done for every step of every run."""
    copy = object.__new__(type(value))
    copy.__dict__.update(value.__dict__, **changes)
    return copy


@dataclass(frozen=True)
class World:
    """The truth about a cluster, the env file, and the operator's notes."""

    machines: Mapping[NodeName, Machine]
    env: tuple[NodeName, tuple[NodeName, ...]] | None = None
    run: str = "run-0"
    identity: str | None = None
    """The identity that all members share, once one of them was made."""
    branches: int = 1
    line: Branches = ()
    """The branches of the latest promotion: where the cluster rightly goes on."""
    commits: tuple[Commit, ...] = ()
    """Every write that a client was told of."""
    debts: Mapping[NodeName, NodeName] = field(default_factory=dict)
    """Nodes that have still to be fenced, each with the one that took over."""
    wanted: Wanted = USUAL
    env_password: int = 1
    copies: Mapping[str, Published] = field(default_factory=dict)
    """The env files on hosts of the application, by label."""
    replaced: Mapping[RoleKind, int] = field(default_factory=dict)
    """Verifiers that this run replaced: what the running process alone knows."""

    @property
    def inventory(self) -> Inventory:
        wanted = self.wanted
        return an_inventory(len(self.machines), wanted.settings, wanted.app_hosts, wanted.synchronous)

    @property
    def configs(self) -> Mapping[NodeName, Mapping[str, str]]:
        """Each node's files as the inventory has them."""
        return configs(len(self.machines), self.wanted.settings)

    @property
    def published(self) -> Published | None:
        """What copies of the env file should say."""
        return None if self.env is None else (*self.env, self.env_password)

    def __getitem__(self, name: NodeName) -> Machine:
        return self.machines[name]

    def with_machine(self, name: NodeName, **changes: object) -> World:
        return changed(self, machines={**self.machines, name: changed(self.machines[name], **changes)})

    def with_data(self, name: NodeName, **changes: object) -> World:
        data = self.machines[name].data
        assert data is not None
        return self.with_machine(name, data=changed(data, **changes))

    def members(self) -> Iterator[tuple[NodeName, Machine, Directory]]:
        """Nodes with a data directory of this cluster."""
        for name, machine in self.machines.items():
            if machine.data is not None and machine.data.identity == self.identity:
                yield name, machine, machine.data

    @property
    def writable(self) -> tuple[NodeName, ...]:
        return tuple(name for name, machine, _ in self.members() if machine.writable)

    @property
    def rightful(self) -> tuple[NodeName, ...]:
        """Of those that accept writes, the ones that nobody took over from."""
        return tuple(name for name, m, data in self.members() if m.writable and data.wal.branches == self.line)

    @property
    def revivable(self) -> tuple[NodeName, ...]:
        return tuple(name for name, machine, _ in self.members() if machine.revivable)

    @property
    def promised(self) -> tuple[Commit, ...]:
        """The writes that the next primary has to have: those of the line that the cluster rightly goes on."""
        endless = Wal(self.line, max((commit.end for commit in self.commits), default=0))
        return tuple(commit for commit in self.commits if endless.has(commit))


def can_log_in(world: World, source: NodeName, target: NodeName) -> bool:
    """A replication login: the target's server has read a pg_hba.conf that knows the peers, and the role is there."""
    there, password = world[target], world[source].passfile
    if not there.running or there.data is None or not password or _cut(world, source, target):
        return False
    known = "replication" in there.data.sql and there.data.verifiers.get(RoleKind.REPLICATION) == password
    return known and there.loaded.get(HBA) == world.configs[target][HBA]


def _cut(world: World, source: NodeName, target: NodeName) -> bool:
    return source != target and (world[source].isolated or world[target].isolated)


def streams(world: World, name: NodeName, upstream: NodeName) -> bool:
    """Whether a link between the two stands."""
    here, there = world[name], world[upstream]
    if not (_connects(world, name, upstream) and here.data and there.data):
        return False
    own, theirs = here.data, there.data
    return (own.slot is None or own.slot in theirs.slots) and theirs.wal.holds(own.wal)


def _connects(world: World, name: NodeName, upstream: NodeName) -> bool:
    """Whether a running standby's walreceiver comes to speak with its upstream."""
    here, there = world[name], world[upstream]
    if not (here.running and here.in_recovery and here.data and there.running and there.data) or name == upstream:
        return False
    same = here.data.identity == there.data.identity and not here.alone
    return here.data.upstream == upstream and same and can_log_in(world, name, upstream)


def settled(world: World) -> World:
    """Everything written has arrived wherever a link stands."""
    followers = [(name, m.data.upstream) for name, m in world.machines.items() if m.in_recovery and m.data]
    for _ in followers:
        before = world
        for name, upstream in followers:
            if upstream is not None and not world[name].stalled and _connects(world, name, upstream):
                world = _received(world, name, upstream)
        if world is before:
            break
    return world


def _received(world: World, name: NodeName, upstream: NodeName) -> World:
    own, source = world[name].data, world[upstream].data
    assert own is not None
    assert source is not None
    if not streams(world, name, upstream):
        # A walreceiver asks for the history files before it asks for WAL.
        known = {len(branches) for branches in own.told}
        told = {some for some in prefixes(source.wal.branches, own.wal.timeline) if len(some) not in known}
        return world.with_data(name, told=own.told | told) if told else world
    if own.wal == source.wal:
        return world
    told = {"sql": source.sql, "verifiers": source.verifiers, "demanded": source.demanded}
    return world.with_data(name, wal=source.wal, **told)


def replays(machine: Machine) -> bool:
    """Whether a running standby has what its WAL demands: with less it pauses, and does not start again."""
    return machine.data is not None and enough(machine.in_force, machine.data.demanded)


def unread(world: World) -> list[NodeName]:
    """Nodes whose server has not read the files that stand in its data directory. Observation cannot tell that."""
    return [name for name, m, data in world.members() if m.running and m.loaded != data.files]


def clients_write(world: World) -> World:
    """Somebody commits on every server that lets him, and is told so."""
    for name in world.writable:
        world = wrote(world, name)
    return settled(world)


def wrote(world: World, name: NodeName) -> World:
    """A client commits, and no standby has received it yet."""
    data = world[name].data
    assert data is not None
    wal = data.wal.written(10)
    commit = Commit(wal.branches[-1][0], wal.end)
    return replace(world.with_data(name, wal=wal), commits=(*world.commits, commit))


@cache
def an_inventory(size: int, settings: Ordered = SETTINGS, app_hosts: int = 0, synchronous: int = 0) -> Inventory:
    """db1, db2, ... each started by a systemd unit; app1, app2, ... read the env file."""
    made = [a_node(f"db{number}", number) for number in range(1, size + 1)]
    changed = {"service": ServiceManager.SYSTEMD, "parameters": written(settings)}
    nodes = {node.name: replace(node, postgres=replace(node.postgres, **changed)) for node in made}
    inventory = a_cluster(nodes=nodes).build()[0]
    hosts = (AppHost(f"app{number}", SshSettings(user="deploy"), "/srv/.env") for number in range(1, app_hosts + 1))
    sync = Sync(count=synchronous) if 0 < synchronous < size else None
    return replace(inventory, app=replace(inventory.app, publish=tuple(hosts)), sync=sync)


@cache
def configs(size: int, settings: Ordered = SETTINGS) -> Mapping[NodeName, Mapping[str, str]]:
    """Each node's files as that inventory has them."""
    inventory = an_inventory(size, settings)
    files = {
        name: render_config(inventory, node, TEMPLATES, major=15, socket_dir="/run/postgresql")
        for name, node in inventory.nodes.items()
    }
    return {name: {file.name: file.text for file in some} for name, some in files.items()}
