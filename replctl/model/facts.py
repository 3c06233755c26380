"""What was observed of a cluster: a closed union per node.

Unknown is a value of its own, never zero and never absent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

from replctl.model.configuration import Configuration
from replctl.model.drill import LastDrill
from replctl.model.host import ControlData, HostFacts
from replctl.model.values import Lsn, NodeName, SystemIdentifier, Timeline


class ProblemKind(StrEnum):
    """Why a node, or one of the two ways to it, did not answer."""

    TIMEOUT = "timeout"
    REFUSED = "connection-refused"
    UNKNOWN_HOST = "unknown-host"
    AUTH = "authentication"
    HOST_KEY = "host-key"
    OS_USER = "os-user"
    FORWARDING = "forwarding-forbidden"
    LOST = "connection-lost"
    SQL_AUTH = "sql-authentication"
    SQL_STARTING = "sql-starting"
    SQL_SHUTTING_DOWN = "sql-shutting-down"
    SQL = "sql"
    PROBE = "probe"


@dataclass(frozen=True, slots=True)
class Problem:
    """One way to a node that failed, with what the operator can do about it."""

    kind: ProblemKind
    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class Setting:
    """A row of pg_settings."""

    value: str
    source: str
    sourcefile: str | None = None
    pending_restart: bool = False


@dataclass(frozen=True, slots=True)
class Walsender:
    """A row of pg_stat_replication, joined with the slot that it uses."""

    pid: int
    application_name: str
    client_addr: str | None
    state: str
    sent: Lsn | None
    flushed: Lsn | None
    replayed: Lsn | None
    replay_lag_ms: float | None
    reply_age_ms: float | None
    sync_state: str
    slot: str | None


@dataclass(frozen=True, slots=True)
class Slot:
    """A row of pg_replication_slots."""

    name: str
    kind: str
    active: bool
    temporary: bool
    restart_lsn: Lsn | None
    wal_status: str | None
    safe_wal_bytes: int | None
    retained_bytes: int | None
    active_pid: int | None = None


@dataclass(frozen=True, slots=True)
class Receiver:
    """The row of pg_stat_wal_receiver."""

    status: str
    sender_host: str | None
    sender_port: int | None
    slot: str | None
    flushed: Lsn | None
    timeline: Timeline | None


@dataclass(frozen=True, slots=True)
class Role:
    """A row of pg_authid that the inventory names."""

    name: str
    can_login: bool
    superuser: bool
    replication: bool
    password_matches: bool | None
    """Whether the stored SCRAM verifier fits the inventory's password; None when it could not be read."""


@dataclass(frozen=True)
class ServerFacts:
    """What SQL says, on a primary and on a replica alike."""

    version_num: int
    version: str
    system_identifier: SystemIdentifier
    timeline: Timeline
    data_directory: str
    settings: Mapping[str, Setting]
    slots: tuple[Slot, ...] = ()
    walsenders: tuple[Walsender, ...] = ()
    roles: tuple[Role, ...] = ()
    databases: Mapping[str, str] = field(default_factory=dict[str, str])
    """The app database's name, if it is there, to the name of its owner."""
    closed_databases: tuple[str, ...] = ()
    """Those of them that take no connections."""
    rewind_granted: bool = False
    """The replication role may execute the four functions that pg_rewind's source side needs."""
    hba_errors: tuple[str, ...] = ()
    """Lines of pg_hba.conf that the server cannot use, with its own words."""
    archive_backlog: int = 0
    """WAL segments that wait for archive_command; they hold up a stop."""
    prepared_transactions: int = 0
    tablespaces: tuple[str, ...] = ()
    """Names of tablespaces beyond PostgreSQL's own two."""
    clock_s: float | None = None
    """What the server's own clock said when it was asked, in seconds since 1970."""

    @property
    def major(self) -> int:
        return self.version_num // 10000

    def setting(self, name: str) -> str:
        """The value of a setting, in its base unit; empty when unknown."""
        found = self.settings.get(name)
        return found.value if found else ""

    @cached_property
    def slots_by_name(self) -> Mapping[str, Slot]:
        return {slot.name: slot for slot in self.slots}

    @cached_property
    def _walsender_places(self) -> Mapping[str | None, Sequence[int]]:
        places: dict[str | None, list[int]] = {}
        for place, walsender in enumerate(self.walsenders):
            for key in (walsender.application_name, walsender.slot):
                if key is not None:
                    places.setdefault(key, []).append(place)
        return places

    def walsenders_of(self, *keys: str | None) -> list[Walsender]:
        """Those whose application_name or slot is one of these, in the order of pg_stat_replication."""
        known = self._walsender_places
        places = {place for key in keys if key in known for place in known[key]}
        return [self.walsenders[place] for place in sorted(places)]


@dataclass(frozen=True, slots=True)
class Unreachable:
    """Neither SSH nor SQL answered. Says nothing about whether PostgreSQL runs."""

    node: NodeName
    ssh: Problem
    sql: Problem | None = None


@dataclass(frozen=True, slots=True)
class NoInstance:
    """The data directory is absent, empty, or holds something that is no PostgreSQL cluster."""

    node: NodeName
    host: HostFacts


@dataclass(frozen=True, slots=True)
class Stopped:
    """A data directory of a cluster without a live postmaster."""

    node: NodeName
    host: HostFacts
    control: ControlData


@dataclass(frozen=True, slots=True)
class Silent:
    """A live postmaster whose SQL does not answer us: starting, shutting down, or refusing the login."""

    node: NodeName
    host: HostFacts
    control: ControlData
    sql: Problem


@dataclass(frozen=True, slots=True)
class Primary:
    """Running and not in recovery."""

    node: NodeName
    host: HostFacts | None
    """None when SSH does not answer (``sql-only``)."""
    server: ServerFacts
    current: Lsn
    """pg_current_wal_lsn(), from the snapshot that the walsenders were read in."""
    ssh: Problem | None = None
    wal_bytes_per_s: int | None = None
    """WAL written a second, over the last minute or longer; None before a segment was filled."""


@dataclass(frozen=True, slots=True)
class Replica:
    """Running in recovery."""

    node: NodeName
    host: HostFacts | None
    server: ServerFacts
    received: Lsn | None
    """greatest(receive, replay): after a restart receive alone is the segment's start."""
    replayed: Lsn | None
    receiver: Receiver | None
    paused: str
    """pg_get_wal_replay_pause_state(): ``not paused``, ``pause requested``, ``paused``."""
    upstream_host: str | None
    """From primary_conninfo, as configured."""
    upstream_port: int | None
    last_replay_age_ms: float | None = None
    ssh: Problem | None = None


@dataclass(frozen=True, slots=True)
class Foreign:
    """A data directory or server of another cluster, told by its system identifier."""

    node: NodeName
    host: HostFacts | None
    system_identifier: SystemIdentifier
    running: bool


NodeFacts = Unreachable | NoInstance | Stopped | Silent | Primary | Replica | Foreign


@dataclass(frozen=True, slots=True)
class Login:
    """A replication login that was tried with the real password, from one node's own address at another."""

    source: NodeName
    target: NodeName
    problem: Problem | None
    """None when the login worked and this cluster answered."""


@dataclass(frozen=True, slots=True)
class WalTail:
    """What a node's own WAL holds from a position on, as pg_waldump reads it."""

    node: NodeName
    start: Lsn
    end: Lsn | None
    """Where its last record ends, within a page header; None when it has none from ``start`` on."""
    commits: int = 0
    problem: str | None = None
    """Why it could not be read: segments are gone, or there is no pg_waldump."""

    @property
    def size_bytes(self) -> int:
        return 0 if self.end is None else max(0, self.end - self.start)


@dataclass(frozen=True, slots=True)
class FenceDebt:
    """A note on the operator's machine: this node could not be reached when another one took over from it."""

    node: NodeName
    promoted: NodeName
    since: str
    """UTC, as ISO 8601."""


@dataclass(frozen=True)
class EnvListing:
    """What the env file lists, by the inventory's node names."""

    primary: NodeName | None = None
    replicas: tuple[NodeName, ...] = ()
    current: bool = False
    """The file exists with mode 0600, and says of these nodes exactly what the inventory makes of them."""

    @cached_property
    def names(self) -> frozenset[NodeName]:
        """Every node that the file lists."""
        return frozenset({*self.replicas, *(() if self.primary is None else (self.primary,))})


@dataclass(frozen=True)
class ClusterFacts:
    """One observation of every node of the inventory, in the inventory's order."""

    nodes: Mapping[NodeName, NodeFacts]
    system_identifier: SystemIdentifier | None
    """The cluster's identity: pinned by the inventory, or agreed on by the nodes that run."""
    logins: tuple[Login, ...] = ()
    """Only where the command needs them."""
    env: EnvListing = EnvListing()
    cluster_bytes: int | None = None
    """Size of the primary's databases; only where the command needs it."""
    wal: tuple[WalTail, ...] = ()
    """Only where the command needs them."""
    primary_wal: tuple[str, ...] | None = None
    """Names of the primary's WAL segments; only where the command needs them."""
    debts: tuple[FenceDebt, ...] = ()
    """Reminders, never evidence."""
    last_drill: LastDrill | None = None
    """A reminder too."""
    by_psql: frozenset[NodeName] = frozenset()
    """Running nodes that know no password of ours: SQL goes through psql on the host."""
    file_settings: Mapping[str, str] = field(default_factory=dict[str, str])
    """What the primary's configuration files set; only where the command needs it."""

    configurations: Mapping[NodeName, Configuration] = field(default_factory=dict["NodeName", "Configuration"])
    """Files and settings of running nodes; only where the command needs them."""

    @cached_property
    def primaries(self) -> tuple[Primary, ...]:
        return tuple(f for f in self.nodes.values() if isinstance(f, Primary))

    @cached_property
    def primary(self) -> Primary | None:
        """The one primary; None when there is none, or more than one."""
        found = self.primaries
        return found[0] if len(found) == 1 else None

    def host_of(self, name: NodeName) -> HostFacts | None:
        """What SSH said of a node; None when it did not answer."""
        seen = self.nodes[name]
        return None if isinstance(seen, Unreachable) else seen.host

    def wal_of(self, node: NodeName) -> WalTail | None:
        """What was read of a node's WAL, if that was asked for."""
        return next((tail for tail in self.wal if tail.node == node), None)

    @cached_property
    def wal_segment_bytes(self) -> int:
        """The same on every node of a cluster: initdb chose it."""
        running = (node.server for node in self.nodes.values() if isinstance(node, Primary | Replica))
        return next((int(found) for server in running if (found := server.setting("wal_segment_size"))), 16 * 2**20)

    @cached_property
    def replicas(self) -> tuple[Replica, ...]:
        return tuple(f for f in self.nodes.values() if isinstance(f, Replica))

    @cached_property
    def logins_by_ends(self) -> Mapping[tuple[NodeName, NodeName], Login]:
        """By source and target."""
        return {(login.source, login.target): login for login in self.logins}

    @cached_property
    def receiving_by_slot(self) -> Mapping[str, NodeName]:
        """Who says of which slot that it receives its WAL by it."""
        return {r.receiver.slot: r.node for r in self.replicas if r.receiver and r.receiver.slot}
