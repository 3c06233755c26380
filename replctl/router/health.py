"""What GET /health/database answers, from what is known of the hosts. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from replctl.router.snapshot import HostState


class HealthStatus(StrEnum):
    HEALTHY = "healthy"
    """The primary can be written to, and at least one replica read from."""
    DEGRADED = "degraded"
    """Only one of the two."""
    DOWN = "down"
    """Neither; without replicas: the one database cannot be written to."""
    SINGLE_DATABASE = "single_database"
    """No replicas are configured, and the one database can be written to."""


@dataclass(frozen=True, slots=True)
class Health:
    """``replicas`` and ``healthy`` are counts. ``details`` names hosts by their ids and holds no secret."""

    status: HealthStatus
    replicas: int
    healthy: int
    details: Mapping[str, Any]

    @property
    def http_status(self) -> int:
        """For a load balancer: 503 when nothing can be served, else 200."""
        return 503 if self.status is HealthStatus.DOWN else 200

    @property
    def document(self) -> dict[str, Any]:
        """For JSON."""
        counts = {"total": self.replicas, "healthy": self.healthy, "unhealthy": self.replicas - self.healthy}
        return {"status": self.status.value, "replicas": counts, "details": dict(self.details)}


def is_taken(state: HostState, now: float) -> bool:
    """Whether units of work go there at the moment ``now`` (monotonic seconds): an answer counts for some time only."""
    return state.usable and state.seen.valid_until > now


def judge_health(primary: HostState, replicas: Sequence[HostState], now: float) -> Health:
    """Of the whole, at the moment ``now`` (monotonic seconds)."""
    healthy = sum(is_taken(state, now) for state in replicas)
    details = {
        "primary": {"id": primary.id, **_document(primary, now)},
        "replicas": {state.id: _document(state, now) for state in replicas},
    }
    can_write = is_taken(primary, now)
    status = _status(has_replicas=bool(replicas), can_write=can_write, can_read=healthy > 0)
    return Health(status, len(replicas), healthy, details)


def _status(*, has_replicas: bool, can_write: bool, can_read: bool) -> HealthStatus:
    if not has_replicas:
        return HealthStatus.SINGLE_DATABASE if can_write else HealthStatus.DOWN
    if can_write and can_read:
        return HealthStatus.HEALTHY
    return HealthStatus.DEGRADED if can_write or can_read else HealthStatus.DOWN


def _document(state: HostState, now: float) -> dict[str, Any]:
    late = {} if not state.usable or is_taken(state, now) else {"healthy": False, "reason": "its probe is late"}
    return {**state.document, **late}
