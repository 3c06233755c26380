"""The hosts of one configuration at work: probed, and ready to be read from and written to."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from replctl.router.board import Board, Member
from replctl.router.circuit import Condition
from replctl.router.hosts import Host
from replctl.router.prober import Pace, Prober
from replctl.router.snapshot import Cluster, Policy, Seen
from replctl.router.waiting import Pause, wait_until

HURRY_SECONDS = 0.02
"""Between two rounds of probes while somebody waits for what they say."""
STOP_SECONDS = 5.0


class Live:
    """``reader`` is the primary in its other use: to be read from in place of a replica, or as the only host."""

    def __init__(
        self,
        primary: Host,
        reader: Host,
        replicas: Iterable[Host],
        policy: Policy,
        pace: Pace,
        *,
        known: Cluster | None = None,
        seen: Mapping[Host, Seen] = MappingProxyType({}),
    ) -> None:
        self.board = Board(primary, tuple(replicas), policy, known, seen)
        self.primary = primary
        self.reader = reader
        self.replicas = self.board.replicas
        self.is_settled = False
        self._probers = {host: Prober(host, self.board, pace) for host in (primary, *self.replicas)}
        self._hurried = 0.0

    @property
    def hosts(self) -> tuple[Host, ...]:
        return (self.primary, self.reader, *self.replicas)

    def start(self) -> None:
        for prober in self._probers.values():
            prober.start()

    def stop(self) -> None:
        """The probers end on their own."""
        for prober in self._probers.values():
            prober.stop()

    def join(self) -> None:
        """Waits for the probers' end."""
        deadline = time.monotonic() + STOP_SECONDS
        for prober in self._probers.values():
            prober.join(max(0.0, deadline - time.monotonic()))

    def hurry(self) -> None:
        """Has every host probed now, unless that was asked for a moment ago."""
        now = time.monotonic()
        if now - self._hurried >= HURRY_SECONDS:
            self._hurried = now
            for prober in self._probers.values():
                prober.hurry()

    def settle(self, seconds: float, pause: Pause) -> None:
        """Waits, at most so many seconds, until every host has been asked, and every lag is known that can be."""
        wait_until(self._settled, seconds, pause)
        self.is_settled = True

    def _settled(self) -> bool:
        snapshot = self.board.snapshot
        primary = snapshot.primary.state.seen.circuit.condition
        if primary is Condition.UNKNOWN or any(_is_open(member) for member in snapshot.replicas):
            self.hurry()
            return False
        return True

    def broke(self, host: Host, problem: str) -> None:
        """The application could not use a host. The primary's writes go on when only reads from it failed."""
        if host is not self.reader:
            self.board.broke(host, problem)
        self.hurry()


def _is_open(replica: Member) -> bool:
    """Not asked yet, or its lag not told yet."""
    seen = replica.state.seen
    return seen.circuit.condition is Condition.UNKNOWN or (seen.circuit.condition is Condition.UP and _no_lag(replica))


def _no_lag(replica: Member) -> bool:
    observation = replica.state.seen.observation
    return replica.state.reason is not None and replica.lag_ms is None and bool(observation and observation.in_recovery)
