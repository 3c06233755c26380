"""All that is known of the hosts at one moment, and what follows from it. Values; the hot path reads nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from replctl.router.circuit import Circuit, Condition
from replctl.router.lag import Staleness
from replctl.router.probe import Observation
from replctl.router.tokens import Token


class PrimarySilent(StrEnum):
    """What reads do while the primary does not answer, and nobody knows how old a replica's content is."""

    SERVE = "serve"
    """Go on: reads stay up during a failover. ``lag_ms`` counts from when the replica was proved current last."""
    LIMIT = "limit"
    """The limit of the lag holds for that age too: reads stop soon after."""


@dataclass(frozen=True, slots=True)
class Policy:
    """``max_lag`` in seconds; None: any lag will do."""

    max_lag: float | None
    primary_silent: PrimarySilent = PrimarySilent.SERVE


@dataclass(frozen=True, slots=True)
class Seen:
    """A host's latest probe, with what became of it."""

    circuit: Circuit = field(default_factory=Circuit)
    observation: Observation | None = None
    staleness: Staleness | None = None
    last_check: datetime | None = None
    valid_until: float = 0.0
    """Monotonic seconds. Later than that its prober itself is stuck, and the host is not taken."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """What the primary has shown: the cluster that replicas must be of. ``timeline`` is the latest that was seen."""

    system_identifier: int
    timeline: int


@dataclass(frozen=True, slots=True)
class HostState:
    """A host as units of work see it; ``reason`` says why it is not taken, and is None when it is."""

    id: str
    reason: str | None
    seen: Seen
    timeline: int | None = None
    """As far as it is proven; for a replica that receives and does not tell, its primary's."""

    @property
    def usable(self) -> bool:
        """A primary may be written to, a replica read from; as long as ``seen.valid_until`` has not passed."""
        return self.reason is None

    @property
    def lag_ms(self) -> float | None:
        """None is unknown."""
        staleness = self.seen.staleness
        return None if staleness is None or self.seen.circuit.condition is not Condition.UP else staleness.seconds * 1e3

    def covers(self, token: Token) -> bool:
        """Whether whoever reads here sees all that the token's owner has seen."""
        observation = self.seen.observation
        return (
            observation is not None
            and observation.lsn is not None
            and observation.system_identifier == token.system_identifier
            and self.timeline is not None
            and self.timeline >= token.timeline
            and observation.lsn >= token.lsn
        )

    def is_heir(self, cluster: Cluster) -> bool:
        """Of a replica: it is one no more, since it was promoted to be this cluster's primary."""
        observation = self.seen.observation
        return (
            observation is not None
            and self.seen.circuit.condition is Condition.UP
            and not observation.in_recovery
            and observation.system_identifier == cluster.system_identifier
            and observation.timeline > cluster.timeline
        )

    @property
    def document(self) -> dict[str, Any]:
        """For JSON; without secrets."""
        seen, observation = self.seen, self.seen.observation
        staleness = seen.staleness
        return {
            "healthy": self.usable,
            "lag_ms": self.lag_ms,
            "lag_is_lower_bound": staleness is not None and staleness.is_lower_bound,
            "last_check": seen.last_check.isoformat() if seen.last_check else None,
            "consecutive_failures": seen.circuit.failures,
            "condition": seen.circuit.condition.value,
            "reason": self.reason,
            "timeline": self.timeline,
            "receiving": observation.has_receiver if observation else None,
            "paused": observation.paused if observation else None,
        }


def judge_primary(host: str, seen: Seen, cluster: Cluster | None) -> HostState:
    """Whether it may be written to."""
    observation = seen.observation
    timeline = observation.timeline if observation else None
    return HostState(host, _why_not_write(seen, observation, cluster), seen, timeline)


def _why_not_write(seen: Seen, observation: Observation | None, cluster: Cluster | None) -> str | None:
    if seen.circuit.condition is not Condition.UP or observation is None:
        return seen.circuit.problem
    if observation.in_recovery:
        return "is in recovery: another host is the primary, or none is"
    if observation.read_only:
        return "takes no writes: default_transaction_read_only is on"
    if cluster is not None and observation.system_identifier != cluster.system_identifier:
        return "is of another cluster"
    if cluster is not None and observation.timeline < cluster.timeline:
        return (
            f"is a former primary: on timeline {observation.timeline}, and the cluster has been on {cluster.timeline}"
        )
    return None


def judge_replica(host: str, seen: Seen, cluster: Cluster | None, primary: Seen, policy: Policy) -> HostState:
    """Whether it may be read from."""
    observation = seen.observation
    timeline = _timeline(observation, cluster) if observation else None
    if seen.circuit.condition is not Condition.UP or observation is None:
        return HostState(host, seen.circuit.problem, seen, timeline)
    return HostState(host, _why_not_read(seen, observation, cluster, primary, policy), seen, timeline)


def _timeline(observation: Observation, cluster: Cluster | None) -> int:
    """A replica that does not tell what it receives is taken to follow the primary beside which it was listed, as
    long as it receives."""
    if observation.timeline_is_exact or not observation.has_receiver or cluster is None:
        return observation.timeline
    return max(observation.timeline, cluster.timeline)


def _why_not_read(
    seen: Seen, observation: Observation, cluster: Cluster | None, primary: Seen, policy: Policy
) -> str | None:
    if not observation.in_recovery:
        return "is in no recovery: a replica no more"
    if cluster is not None and observation.system_identifier != cluster.system_identifier:
        return "is of another cluster"
    silent = primary.circuit.condition is Condition.DOWN
    if cluster is not None and _strayed(observation, cluster, silent=silent):
        return f"is on timeline {observation.timeline}, and the primary on {cluster.timeline}"
    if policy.max_lag is None or (silent and policy.primary_silent is PrimarySilent.SERVE):
        return None
    if seen.staleness is None:
        return "its lag is not known yet"
    if seen.staleness.seconds > policy.max_lag:
        least = ">= " if seen.staleness.is_lower_bound else ""
        return f"{least}{seen.staleness.seconds:.1f} s behind, and {policy.max_lag:g} s are allowed"
    return None


def _strayed(observation: Observation, cluster: Cluster, *, silent: bool) -> bool:
    """A later timeline than the primary's is another primary's; unless this one may be dead, and that one its heir."""
    if observation.timeline > cluster.timeline:
        return not silent
    return observation.timeline_is_exact and observation.timeline < cluster.timeline
