"""What a host says without SQL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from replctl.model.values import Lsn, SystemIdentifier, Timeline


class DirectoryState(StrEnum):
    """What stands at a data directory's path."""

    ABSENT = "absent"
    EMPTY = "empty"
    CLUSTER = "cluster"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class DataDirectory:
    """The path of a node's data directory as the OS user sees it."""

    path: str
    state: DirectoryState
    is_symlink: bool = False
    is_mount_point: bool = False
    parent_exists: bool = True
    can_create: bool = True
    """Whether the OS user can make files beside it (or the missing parents)."""
    can_write: bool = True
    """Whether the OS user can make files in it, where it holds a cluster."""
    free_bytes: int | None = None
    content: tuple[str, ...] = ()
    """The first few names in a directory that is not a cluster."""


@dataclass(frozen=True, slots=True)
class ControlData:
    """What pg_controldata reads from a data directory."""

    system_identifier: SystemIdentifier
    state: str
    """As pg_controldata spells it: ``shut down``, ``in production``, ``shut down in recovery``, ..."""
    timeline: Timeline
    checkpoint: Lsn
    """Start of the latest checkpoint's record."""
    checksums: bool
    wal_log_hints: bool
    min_recovery_end: Lsn | None = None
    min_recovery_timeline: Timeline | None = None
    """None outside of recovery."""

    @property
    def cleanly_shut_down_primary(self) -> bool:
        """The last thing written was a shutdown checkpoint, by a server that was not in recovery."""
        return self.state == "shut down"


@dataclass(frozen=True, slots=True)
class Postmaster:
    """A live postmaster, told by its pid file."""

    pid: int
    port: int | None
    status: str
    """The pid file's last line: ``ready``, ``standby``, ``starting``, ``stopping``."""
    socket_dir: str | None = None
    """Where its first Unix socket is."""


@dataclass(frozen=True, slots=True)
class Staging:
    """A staging directory beside the data directory, with the marker that makes it ours."""

    run: str | None
    """None when the marker is missing or unreadable: then it is not ours."""
    system_identifier: SystemIdentifier | None = None


@dataclass(frozen=True, slots=True)
class Switch:
    """A line of a timeline's history: where the timeline ended, and the next one began."""

    timeline: Timeline
    end: Lsn


@dataclass(frozen=True, slots=True)
class History:
    """What a node knows of the timelines before one of them, oldest first."""

    timeline: Timeline
    switches: tuple[Switch, ...] = ()


@dataclass(frozen=True, slots=True)
class Aside:
    """A directory that an earlier run moved aside instead of deleting it."""

    path: str
    size_bytes: int | None


@dataclass(frozen=True, slots=True)
class DebianCluster:
    """A cluster that postgresql-common knows, by its folder in /etc/postgresql."""

    version: str
    name: str
    port: int | None
    data_dir: str
    start: str
    """start.conf: ``auto``, ``manual`` or ``disabled``."""

    @property
    def config_dir(self) -> str:
        return f"/etc/postgresql/{self.version}/{self.name}"

    def __str__(self) -> str:
        return f"{self.version}/{self.name}"


@dataclass(frozen=True, slots=True)
class Unit:
    """What systemd says of the node's unit."""

    name: str
    active: str
    """``active``, ``inactive``, ``failed``, ..."""
    enabled: str
    """``enabled``, ``disabled``, ``generated``, ``masked``, ...; empty when there is no such unit."""
    main_pid: int | None


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What the host says, without SQL."""

    hostname: str
    bin_dir: str | None
    major: int | None
    """None when no PostgreSQL was found in bin_dir."""
    glibc: str | None
    directory: DataDirectory
    port_in_use: bool
    """Something listens on the node's PostgreSQL port."""
    control: ControlData | None = None
    standby_signal: bool = False
    postmaster: Postmaster | None = None
    staging: Staging | None = None
    asides: tuple[Aside, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    """Text of the configuration files in the data directory, by name."""
    other_majors: tuple[str, ...] = ()
    """Other PostgreSQL bin directories seen on the host."""
    config_file: str | None = None
    """postgresql.conf as the live postmaster was told of it, or as it stands for this data directory."""
    fixed_files: tuple[str, ...] = ()
    """Why configuration files cannot be replaced by the OS user as they are, with their owner, group and mode."""
    debian_clusters: tuple[DebianCluster, ...] = ()
    has_pg_ctlcluster: bool = False
    unit: Unit | None = None
    """The node's systemd unit, where systemd is to start it."""
    may_start_unit: bool | None = None
    """Whether sudo lets the SSH user start it; None when nobody asked."""
    unit_of_postmaster: str | None = None
    """The systemd unit in whose control group the live postmaster is."""
    passfile_current: bool = False
    """The passfile is there and holds what it should."""
    can_link_socket_dir: bool = False
    """The OS user can write /run/postgresql."""
    histories: tuple[History, ...] = ()
    """The history files in pg_wal: of timelines that the node followed or was told of."""
    wal_timeline: Timeline | None = None
    """The latest timeline that has a segment in pg_wal: what the node really went through."""
    slot_names: tuple[str, ...] = ()
    """The replication slots in the data directory, running or not."""
    broken_rewind: bool = False
    """A directory that pg_rewind began to change stands beside an empty place: nothing may start it."""
    finished_rewind: bool = False
    """One that pg_rewind finished stands there, and only has to be put back."""
    live_rewind: bool = False
    """One that pg_rewind works on at this moment, perhaps for a run that is gone."""
    wal_free_bytes: int | None = None
    """Room for more WAL on the disk of pg_wal."""
