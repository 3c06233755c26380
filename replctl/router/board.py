"""What the probes and the application found out, made into the snapshot that units of work read."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import MappingProxyType

from replctl.router.circuit import Circuit, Condition
from replctl.router.hosts import Host
from replctl.router.lag import PositionRing, Sample
from replctl.router.probe import Observation
from replctl.router.selection import turns
from replctl.router.snapshot import Cluster, HostState, Policy, Seen, judge_primary, judge_replica

_log = logging.getLogger("replctl.router")


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """A host beside its state."""

    host: Host
    state: HostState
    lag_ms: float | None
    connections: Sized
    """Those that are in use at this moment, whenever they are looked at."""

    @classmethod
    def of(cls, host: Host, state: HostState) -> Member:
        """With what a choice goes by at hand: it is made once a unit of work, a snapshot once a probe."""
        return cls(host, state, state.lag_ms, host.checked_out)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Never changed: another one takes its place."""

    primary: Member
    replicas: tuple[Member, ...]
    turns: tuple[Member, ...]
    """The usable replicas, in the order of a round."""

    @property
    def probed(self) -> bool:
        """Every host has been asked at least once."""
        members = (self.primary, *self.replicas)
        return all(member.state.seen.circuit.condition is not Condition.UNKNOWN for member in members)


class Board:
    """Thread-safe. Those who report wait for each other; who reads ``snapshot`` waits for nobody.

    ``known`` is the cluster as an earlier board saw it, and ``seen`` what it saw of hosts that stay.
    """

    def __init__(
        self,
        primary: Host,
        replicas: Sequence[Host],
        policy: Policy,
        known: Cluster | None = None,
        seen: Mapping[Host, Seen] = MappingProxyType({}),
    ) -> None:
        self.primary = primary
        self.replicas = tuple(replicas)
        self.cluster = known
        self._policy = policy
        self._lock = threading.Lock()
        self._ring = PositionRing()
        self._is_named = False
        self._seen = {host: seen.get(host, Seen()) for host in (primary, *replicas)}
        self.snapshot = self._snapshot()

    @property
    def seen(self) -> Mapping[Host, Seen]:
        """For the board that follows this one."""
        return dict(self._seen)

    def probed(self, host: Host, observation: Observation, valid_for: float) -> Circuit:
        """A probe was answered; what it said counts for ``valid_for`` seconds."""
        with self._lock:
            if host is self.primary:
                self._learn(observation)
            circuit = self._seen[host].circuit.answered()
            valid_until = time.monotonic() + valid_for
            self._put(host, Seen(circuit, observation, None, datetime.now(UTC), valid_until))
            return circuit

    def missed(self, host: Host, problem: str) -> Circuit:
        """A probe failed."""
        with self._lock:
            seen = self._seen[host]
            circuit = seen.circuit.missed(problem)
            self._put(host, replace(seen, circuit=circuit, last_check=datetime.now(UTC)))
            return circuit

    def broke(self, host: Host, problem: str) -> None:
        """The application's connection failed. A host of an earlier board is nobody's business any more."""
        with self._lock:
            seen = self._seen.get(host)
            if seen is not None:
                self._put(host, replace(seen, circuit=seen.circuit.broke(problem)))

    def _learn(self, observation: Observation) -> None:
        """What the primary shows of its cluster. Which cluster it is, the first look decides: the settings name it."""
        if observation.in_recovery or observation.lsn is None:
            return
        said = Cluster(observation.system_identifier, observation.timeline)
        if self.cluster is None or (not self._is_named and self.cluster.system_identifier != said.system_identifier):
            self.cluster = said
        self._is_named = True
        if said.system_identifier == self.cluster.system_identifier and said.timeline >= self.cluster.timeline:
            self.cluster = said
            self._ring.add(Sample(observation.asked, observation.lsn))

    def _put(self, host: Host, seen: Seen) -> None:
        self._seen[host] = seen
        before, self.snapshot = self.snapshot, self._snapshot()
        _log_changes(before, self.snapshot)

    def _snapshot(self) -> Snapshot:
        first = self._seen[self.primary]
        primary = Member.of(self.primary, judge_primary(self.primary.id, first, self.cluster))
        replicas = tuple(Member.of(host, self._judged(host, first)) for host in self.replicas)
        return Snapshot(primary, replicas, turns(replicas, lambda member: member.state.usable))

    def _judged(self, host: Host, primary: Seen) -> HostState:
        seen = self._seen[host]
        observation = seen.observation
        if observation is not None and observation.lsn is not None:
            silent = primary.circuit.condition is Condition.DOWN
            seen = replace(seen, staleness=self._ring.staleness(observation.lsn, observation.asked, silent=silent))
        return judge_replica(host.id, seen, self.cluster, primary, self._policy)


def _log_changes(before: Snapshot, after: Snapshot) -> None:
    for old, new in zip((before.primary, *before.replicas), (after.primary, *after.replicas), strict=True):
        if old.state.usable != new.state.usable:
            _log.log(
                logging.INFO if new.state.usable else logging.WARNING,
                "%s %s: %s",
                "primary" if new is after.primary else "replica",
                new.host.id,
                new.state.reason or "is used",
            )
    if before.turns and not after.turns:
        _log.warning("no replica is left to read from")
