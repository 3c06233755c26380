"""What ``status`` reports; its JSON form is docs/contract.md's, field by field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from replctl.model.drill import LastDrill
from replctl.model.values import Lsn, NodeName, SystemIdentifier, Timeline


class NodeRole(StrEnum):
    PRIMARY = "primary"
    REPLICA = "replica"
    NONE = "none"
    FOREIGN = "foreign"
    UNKNOWN = "unknown"


class NodeState(StrEnum):
    """In the order of precedence: the first that holds is the node's state."""

    UNREACHABLE = "unreachable"
    SQL_ONLY = "sql-only"
    SSH_ONLY = "ssh-only"
    ABSENT = "absent"
    FOREIGN = "foreign"
    STOPPED = "stopped"
    STARTING = "starting"
    READ_WRITE = "read-write"
    DIVERGED = "diverged"
    SLOT_LOST = "slot-lost"
    WRONG_UPSTREAM = "wrong-upstream"
    ARCHIVE = "archive"
    NOT_RECEIVING = "not-receiving"
    PARAMETER_PAUSED = "parameter-paused"
    PAUSED = "paused"
    DELAYED = "delayed"
    CATCHUP = "catchup"
    STREAMING = "streaming"


class Severity(StrEnum):
    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class Health(StrEnum):
    HEALTHY = "healthy"
    DEGRADED = "degraded"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that the operator should know, with the command that mends it."""

    severity: Severity
    code: str
    node: NodeName | None
    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class SlotReport:
    """A node's own slot on its upstream."""

    name: str
    active: bool
    retained_bytes: int | None
    wal_status: str | None
    limit_bytes: int | None = None
    """max_slot_wal_keep_size of its upstream; None without a limit."""
    full_in_s: int | None = None
    """Seconds until the slot reaches its limit, or the upstream's disk is full, if its standby took no more WAL from
    now on and the primary wrote on as it does; None when that cannot be told, or never."""


@dataclass(frozen=True, slots=True)
class NodeReport:
    """One row. None is "unknown" (with a finding that says why) or "does not apply"."""

    name: NodeName
    host: str
    port: int
    role: NodeRole
    state: NodeState
    timeline: Timeline | None = None
    upstream: str | None = None
    unreceived_bytes: int | None = None
    unreplayed_bytes: int | None = None
    lag_ms: float | None = None
    lag_is_lower_bound: bool = False
    sync_state: str | None = None
    slot: SlotReport | None = None
    in_env: bool | None = None
    wal_free_bytes: int | None = None
    """Room for WAL on the node's disk of pg_wal."""
    fork_lsn: Lsn | None = None
    """Where a diverged node's WAL left the primary's."""
    promote: str = ""
    """The PROMOTE? column: ``yes``, ``loses 16 MiB``, ``no: not-receiving``; empty for a primary."""


@dataclass(frozen=True, slots=True)
class Unlisted:
    """A walsender or a slot that no node of the inventory owns."""

    kind: str
    name: str
    detail: str


@dataclass(frozen=True)
class StatusReport:
    cluster: str
    health: Health
    primary: NodeName | None
    system_identifier: SystemIdentifier | None
    timeline: Timeline | None
    nodes: tuple[NodeReport, ...]
    unlisted: tuple[Unlisted, ...]
    findings: tuple[Finding, ...]
    wal_bytes_per_s: int | None = None
    """What the primary writes, over the last minute or longer."""
    last_drill: LastDrill | None = None
    """The last proof that the primary's role can move and come back."""

    @cached_property
    def rows(self) -> Mapping[NodeName, NodeReport]:
        """``nodes`` by name."""
        return {row.name: row for row in self.nodes}

    @cached_property
    def findings_by_node(self) -> Mapping[NodeName | None, Sequence[Finding]]:
        found: dict[NodeName | None, list[Finding]] = {}
        for finding in self.findings:
            found.setdefault(finding.node, []).append(finding)
        return found
