"""What the inventory says, as values: validated, merged with the defaults and with absolute paths."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from pathlib import Path

from replctl.model.secret import SecretSource
from replctl.model.values import NodeName, SystemIdentifier, canonical_host, slot_name


class Connection(StrEnum):
    """How commands reach a node: over SSH, or as local processes."""

    SSH = "ssh"
    LOCAL = "local"


class ServiceManager(StrEnum):
    """What starts PostgreSQL on a node: PostgreSQL's own program, postgresql-common's, or a systemd unit."""

    PG_CTL = "pg_ctl"
    PG_CTLCLUSTER = "pg_ctlcluster"
    SYSTEMD = "systemd"


class SyncMode(StrEnum):
    """Whose answers a commit waits for: any of the replicas', or those of the first in the inventory's order."""

    ANY = "any"
    FIRST = "first"


class SqlRoute(StrEnum):
    """How SQL reaches a node: through the SSH connection, or at the node's own address."""

    TUNNEL = "tunnel"
    DIRECT = "direct"


@dataclass(frozen=True, slots=True)
class SshSettings:
    """SSH as the inventory has it; what is None comes from the operator's OpenSSH configuration."""

    user: str | None = None
    port: int | None = None
    identity_file: Path | None = None
    known_hosts_file: Path | None = None
    connect_timeout: float = 10.0
    """Seconds for TCP, banner, key exchange and authentication together."""


@dataclass(frozen=True, slots=True)
class PostgresSettings:
    """PostgreSQL on one node; what is None is found on the host."""

    data_dir: str
    version: int | None = None
    bin_dir: str | None = None
    port: int = 5432
    os_user: str = "postgres"
    service: ServiceManager = ServiceManager.PG_CTL
    unit: str | None = None
    """The systemd unit, without ``.service``."""
    connect: SqlRoute = SqlRoute.TUNNEL
    locale: str = "C.UTF-8"
    parameters: Mapping[str, str] = field(default_factory=dict[str, str])
    allow: tuple[str, ...] = ()
    """Networks (CIDR) from which the app role may reach the app database."""


@dataclass(frozen=True, slots=True)
class Node:
    """One host with one PostgreSQL instance. Its role is observed, never written down."""

    name: NodeName
    host: str
    """What peers and the app connect to: an address or a name."""
    ssh_host: str
    connection: Connection
    ssh: SshSettings
    postgres: PostgresSettings
    in_rotation: bool = True
    """Whether the application reads from it while it is a replica."""
    region: str | None = None

    @property
    def slot(self) -> str:
        """The replication slot of this node on its upstream."""
        return slot_name(self.name)


@dataclass(frozen=True, slots=True)
class Admin:
    """The superuser that replctl connects as."""

    user: str
    password: SecretSource
    allow: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Replication:
    """The role that standbys connect as."""

    user: str
    password: SecretSource


@dataclass(frozen=True, slots=True)
class AppHost:
    """A file on a host of the application, which is to say what the env file says."""

    ssh_host: str
    ssh: SshSettings
    """Its user is named: what is done there is done as this user."""
    path: str
    reload: tuple[str, ...] = ()
    """The command that has the application read the file again; empty for none."""
    region: str | None = None

    @property
    def name(self) -> NodeName:
        """What messages call the host; it is no node of the cluster."""
        return NodeName(self.ssh_host)

    @property
    def label(self) -> str:
        """The host and the file: no two in an inventory are the same."""
        port = f":{self.ssh.port}" if self.ssh.port else ""
        return f"{self.ssh_host}{port}:{self.path}"


@dataclass(frozen=True, slots=True)
class App:
    """The application's database and role, and the env file from which it routes its reads."""

    database: str
    user: str
    password: SecretSource
    env_file: Path
    settings: Mapping[str, str] = field(default_factory=dict[str, str])
    """The env file's optional settings, by their variable name, in the contract's order."""
    publish: tuple[AppHost, ...] = ()
    region: str | None = None
    """Of the application that reads the env file."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds."""

    stop: float = 60.0
    catchup: float = 300.0
    promote: float = 60.0


@dataclass(frozen=True, slots=True)
class Sync:
    """Synchronous replication: how many replicas a commit waits for, and whose answers count."""

    mode: SyncMode = SyncMode.ANY
    count: int = 1


@dataclass(frozen=True)
class Inventory:
    """One cluster."""

    path: Path
    cluster: str
    nodes: Mapping[NodeName, Node]
    admin: Admin
    replication: Replication
    app: App
    timeouts: Timeouts = Timeouts()
    system_identifier: SystemIdentifier | None = None
    templates: Path | None = None
    sync: Sync | None = None
    """None leaves synchronous_standby_names to the operator."""

    def reading_order(
        self, primary: NodeName, replicas: Container[NodeName], region: str | None = None
    ) -> tuple[NodeName, ...]:
        """Those of the replicas that the application reads from: of its own region first, else in the inventory's
        order. Its region is ``region``, else that of the env file, else the primary's."""
        near = region or self.app.region or self.nodes[primary].region
        read = (one for one in self.nodes.values() if one.in_rotation and one.name != primary and one.name in replicas)
        return tuple(one.name for one in sorted(read, key=lambda one: one.region != near))

    @property
    def state_dir(self) -> Path:
        """Where the journal and notes of this cluster are kept."""
        return self.path.parent / ".replctl"

    @cached_property
    def nodes_by_slot(self) -> Mapping[str, NodeName]:
        """No two nodes have one slot."""
        return {node.slot: node.name for node in self.nodes.values()}

    @cached_property
    def nodes_by_address(self) -> Mapping[tuple[str, int], NodeName]:
        """By canonical host and port of PostgreSQL; the first in the inventory's order of those that share them."""
        nodes = reversed(tuple(self.nodes.values()))
        return {(canonical_host(node.host), node.postgres.port): node.name for node in nodes}
