"""The health of the whole: its four states, from values. Over servers: test_fastapi_serving.py."""

from __future__ import annotations

import json

import pytest

from replctl.router.circuit import Circuit, Condition
from replctl.router.health import HealthStatus, judge_health
from replctl.router.lag import Staleness
from replctl.router.snapshot import HostState, Seen

NOW = 1000.0
UP = HostState("10.0.0.1:5432/app", None, Seen(Circuit(Condition.UP), staleness=Staleness(0.5), valid_until=NOW + 1))
LATE = HostState("10.0.0.2:5432/app", None, Seen(Circuit(Condition.UP), valid_until=NOW - 0.1))
BEHIND = HostState("10.0.0.3:5432/app", "9.0 s behind", Seen(Circuit(Condition.UP), valid_until=NOW + 1))
DOWN = HostState("10.0.0.4:5432/app", "connection refused", Seen(Circuit(Condition.DOWN, failures=3)))
UNASKED = HostState("10.0.0.5:5432/app", "it has not been asked yet", Seen())


@pytest.mark.parametrize(
    ("primary", "replicas", "status", "http"),
    [
        (UP, [UP], "healthy", 200),
        (UP, [DOWN, UP, BEHIND], "healthy", 200),
        (UP, [DOWN, BEHIND], "degraded", 200),
        (DOWN, [DOWN, UP], "degraded", 200),
        (UP, [LATE], "degraded", 200),
        (DOWN, [DOWN], "down", 503),
        (LATE, [LATE], "down", 503),
        (UNASKED, [UNASKED], "down", 503),
        (UP, [], "single_database", 200),
        (DOWN, [], "down", 503),
    ],
)
def test_the_status_follows_from_the_hosts(
    primary: HostState, replicas: list[HostState], status: str, http: int
) -> None:
    """Fails when one kind of host stands in for the other, or when an old answer counts."""
    health = judge_health(primary, replicas, NOW)
    assert (health.status.value, health.http_status) == (status, http)


def test_the_document_counts_the_replicas_and_tells_why_one_is_not_used() -> None:
    """Fails when a replica is counted twice or left out, or when a late probe keeps its host healthy."""
    document = judge_health(UP, [UP, LATE, BEHIND, DOWN], NOW).document
    assert document["status"] == "healthy"
    assert document["replicas"] == {"total": 4, "healthy": 1, "unhealthy": 3}
    assert document["details"]["primary"]["id"] == UP.id
    replicas = document["details"]["replicas"]
    assert [replica["healthy"] for replica in replicas.values()] == [True, False, False, False]
    assert replicas[LATE.id]["reason"] == "its probe is late"
    assert replicas[DOWN.id]["reason"] == "connection refused"
    assert json.loads(json.dumps(document)) == document


def test_a_lone_database_has_no_replicas() -> None:
    """Fails when the primary counts as a replica of its own."""
    for primary in (UP, DOWN):
        assert judge_health(primary, [], NOW).document["replicas"] == {"total": 0, "healthy": 0, "unhealthy": 0}


def test_unknown_lag_is_null_and_not_zero() -> None:
    """Fails when what is unknown is told as a number."""
    document = judge_health(UP, [UP, DOWN], NOW).document
    assert document["details"]["replicas"][UP.id]["lag_ms"] == 500
    assert document["details"]["replicas"][DOWN.id]["lag_ms"] is None


def test_every_status_is_reached() -> None:
    """Fails when a status is added that no hosts lead to."""
    reached = {judge_health(primary, replicas, NOW).status for primary in (UP, DOWN) for replicas in ([UP], [DOWN], [])}
    assert reached == set(HealthStatus)
