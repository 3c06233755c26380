"""Asks one host again and again, in a thread of its own and on a connection of its own."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass

from replctl.router.board import Board
from replctl.router.hosts import Host
from replctl.router.probe import ProbeConnection, ProbeFailedError

JITTER = 0.15
"""Of the time between two probes, so that many processes do not ask in step."""
LATE_SECONDS = 1.0
"""How much later than it should a probe may be before its host is not taken any more."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds between two probes of a host that answers, and how long an answer may take."""

    period: float
    timeout: float = 1.0

    @property
    def valid_for(self) -> float:
        """Seconds that an answer counts."""
        return self.period * (1 + JITTER) + self.timeout + LATE_SECONDS


class Prober:
    """Begins with ``start``; ``stop`` waits for nothing."""

    def __init__(self, host: Host, board: Board, pace: Pace) -> None:
        self._host = host
        self._board = board
        self._pace = pace
        self._wake = threading.Event()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name=f"replctl-router {host.id}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def hurry(self) -> None:
        """Asks at once, whatever the pace."""
        self._wake.set()

    def stop(self) -> None:
        self._stopped = True
        self._wake.set()

    def join(self, seconds: float) -> None:
        """Waits for its end."""
        self._thread.join(seconds)

    def _run(self) -> None:
        connection = ProbeConnection(self._host.url, self._pace.timeout)
        try:
            while not self._stopped:
                period = self._probe(connection)
                self._wake.wait(period * random.uniform(1 - JITTER, 1 + JITTER))  # noqa: S311  (jitter is no secret)
                self._wake.clear()
        finally:
            connection.close()

    def _probe(self, connection: ProbeConnection) -> float:
        try:
            circuit = self._board.probed(self._host, connection.ask(), self._pace.valid_for)
        except ProbeFailedError as failure:
            circuit = self._board.missed(self._host, str(failure))
        return circuit.probe_delay(self._pace.period)
