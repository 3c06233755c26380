"""What ``check`` looks at beyond ``status``, and what it tells of each thing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

from replctl.model.facts import Login
from replctl.model.report import Health
from replctl.model.values import NodeName


class CheckStatus(StrEnum):
    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


class Cause(StrEnum):
    """Why a replica does not stream or does not keep up."""

    NETWORK = "network"
    AUTHENTICATION = "authentication"
    WAL_REMOVED = "wal-removed"
    DIVERGED = "diverged"
    DISK_FULL = "disk-full"
    PAUSED = "paused"
    CONFLICT = "conflict"
    """Queries on the replica hold up its replay."""
    REPLAY = "replay-bound"
    """All has arrived, and replay is slower than the primary writes."""


@dataclass(frozen=True, slots=True)
class Check:
    """One line of ``check``."""

    name: str
    node: NodeName | None
    """None for the cluster's own."""
    status: CheckStatus
    detail: str
    fix: str = ""
    """A sentence, or one command alone; empty where there is nothing to mend."""
    command: str | None = None
    """The command to copy, where one command mends it."""
    cause: Cause | None = None


@dataclass(frozen=True, slots=True)
class CheckReport:
    cluster: str
    health: Health
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True)
class Archiver:
    """pg_stat_archiver, where archive_mode is on."""

    archived: int
    failing_wal: str | None
    """The segment that archive_command failed with since it last succeeded."""
    command: str
    """archive_command, or the name of archive_library."""


@dataclass(frozen=True, slots=True)
class OldestQuery:
    """The client session whose transaction has been open for longest."""

    pid: int
    user: str
    seconds: float


@dataclass(frozen=True, slots=True)
class ServerCheckup:
    """What SQL says beyond ServerFacts."""

    clock_offset_s: float
    """The server's clock less ours, in seconds; as exact as half of one round trip."""
    archiver: Archiver | None
    replay_waits_for: str | None
    """The startup process's wait event, such as ``RecoveryConflictSnapshot``; None when it does not wait."""
    oldest_query: OldestQuery | None
    conflicts: int
    """Queries that replay has cancelled since the statistics were reset."""
    recovery_settings: Mapping[str, str]
    """Recovery targets and restore_command, where somebody set them."""
    collations: tuple[str, ...]
    """Databases that were made under another version of the collation library than the host has now."""


@dataclass(frozen=True)
class Checkup:
    """Of every node that answers, by name."""

    servers: Mapping[NodeName, ServerCheckup] = field(default_factory=dict[NodeName, ServerCheckup])
    logs: Mapping[NodeName, tuple[str, ...]] = field(default_factory=dict[NodeName, tuple[str, ...]])
    """The last lines of its server log, oldest first."""
    logins: tuple[Login, ...] = ()
    """Between all pairs of nodes: today's roles and those after any switchover."""
    max_lag_ms: float = 5000.0
    """A replica that is further behind is told."""

    @cached_property
    def logins_from(self) -> Mapping[NodeName, Sequence[Login]]:
        """``logins`` by their source."""
        found: dict[NodeName, list[Login]] = {}
        for login in self.logins:
            found.setdefault(login.source, []).append(login)
        return found
