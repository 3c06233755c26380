"""The ways of a unit of work: to the primary, or to a replica that fits and, failing that, to the next best."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from replctl.router.board import Member
from replctl.router.circuit import Condition
from replctl.router.errors import NoReadableHostError, PrimaryUnavailableError
from replctl.router.hosts import Host, told
from replctl.router.live import Live
from replctl.router.selection import Chooser
from replctl.router.snapshot import HostState
from replctl.router.tokens import Token
from replctl.router.waiting import Pause, wait_until

IN_USE = "all connections that this process may have are in use"


@dataclass(frozen=True, slots=True)
class Caller:
    """Which of a host's engines fits the one who calls, and how it waits: a thread, or a task of an event loop."""

    engine_of: Callable[[Host], Engine]
    pause: Pause


Running = Callable[[Pause], Live]
"""The hosts as they are configured at the moment when a unit of work needs one; their first probes are waited for."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Of reads. Times in seconds."""

    fallback: bool
    token_wait: float
    switchover_wait: float


class WriteRoute:
    """To the primary, and to nothing else."""

    def __init__(self, running: Running, caller: Caller) -> None:
        self._running = running
        self._caller = caller
        self.host: str | None = None
        self.timeline = 0

    def connect(self) -> Connection:
        """Raises PrimaryUnavailableError at once when the primary is known to take no writes."""
        live = self._running(self._caller.pause)
        state = live.board.snapshot.primary.state
        if not state.usable and state.seen.circuit.condition is not Condition.UNKNOWN:
            raise PrimaryUnavailableError("nothing can be written now", {state.id: state.reason or ""})
        host = live.primary
        try:
            connection = self._caller.engine_of(host).connect()
        except DBAPIError as error:
            problem = told(error.orig or error)
            live.broke(host, problem)
            raise PrimaryUnavailableError("nothing can be written now", {host.id: problem}) from error
        except PoolTimeout as error:
            raise PrimaryUnavailableError("nothing can be written now", {host.id: IN_USE}) from error
        host.take()
        self.host, self.timeline = host.id, state.timeline or 0
        return connection


def _of_this_cluster(token: Token | None, live: Live) -> Token | None:
    """A token of another cluster, one that was restored elsewhere say, asks for nothing here."""
    cluster = live.board.cluster
    foreign = token is not None and cluster is not None and token.system_identifier != cluster.system_identifier
    return None if foreign else token


class ReadRoute:
    """To a replica that is usable, and covers the token if there is one."""

    def __init__(self, running: Running, chooser: Chooser, caller: Caller, rules: Rules, token: Token | None) -> None:
        self._running = running
        self._chooser = chooser
        self._caller = caller
        self._rules = rules
        self._token = token
        self._failed: dict[str, str] = {}
        self._state: HostState | None = None

    @property
    def host(self) -> str | None:
        return self._state.id if self._state is not None else None

    @property
    def timeline(self) -> int:
        return (self._state.timeline if self._state is not None else None) or 0

    def connect(self) -> Connection:
        """One host after the other, until one takes the connection. Raises NoReadableHostError."""
        live = self._running(self._caller.pause)
        member = self._at_once(live)
        connection = self._try(live, member) if member is not None else None
        return connection if connection is not None else self._connect_with_care(live)

    def _at_once(self, live: Live) -> Member | None:
        """What nearly every read takes, and all that it pays for; None when a host has to be looked for."""
        if self._token is not None:
            return None
        member = self._chooser.choose(live.board.snapshot.turns)
        return member if member is not None and member.state.seen.valid_until > time.monotonic() else None

    def _connect_with_care(self, live: Live) -> Connection:
        self._token = _of_this_cluster(self._token, live)
        try:
            return self._replica(live) or self._primary(live)
        except NoReadableHostError:
            if not self._may_be_served_soon(live):
                raise
        wait_until(self._is_served_again, self._rules.switchover_wait, self._caller.pause)
        live = self._running(self._caller.pause)
        return self._replica(live) or self._primary(live)

    def _replica(self, live: Live) -> Connection | None:
        while (member := self._choose(live) or self._heir(live)) is not None:
            connection = self._try(live, member)
            if connection is not None:
                return connection
        return None

    def _heir(self, live: Live) -> Member | None:
        """A replica that was promoted and is not published yet, while there is no other primary."""
        snapshot, cluster = live.board.snapshot, live.board.cluster
        if cluster is None or not self._rules.fallback or self._has_primary(live):
            return None
        heirs = [member for member in snapshot.replicas if member.state.is_heir(cluster) and self._fits(member)]
        return heirs[0] if heirs else None

    def _has_primary(self, live: Live) -> bool:
        state = live.board.snapshot.primary.state
        return state.id not in self._failed and (state.usable or state.seen.circuit.condition is Condition.UNKNOWN)

    def _may_be_served_soon(self, live: Live) -> bool:
        """In the midst of a switchover: there is no primary to stand in, and a replica is about to catch up, or one is
        being promoted."""
        replicas = (member.state for member in live.board.snapshot.replicas)
        return self._rules.fallback and not self._has_primary(live) and any(map(_is_promising, replicas))

    def _is_served_again(self) -> bool:
        live = self._running(self._caller.pause)
        return self._has_primary(live) or self._heir(live) is not None or self._caught_up(live)

    def _try(self, live: Live, member: Member) -> Connection | None:
        try:
            connection = self._caller.engine_of(member.host).connect()
        except DBAPIError as error:
            self._failed[member.host.id] = told(error.orig or error)
            live.broke(member.host, self._failed[member.host.id])
            return None
        except PoolTimeout:
            self._failed[member.host.id] = IN_USE
            return None
        self._state = member.state
        member.host.take()
        return connection

    def _choose(self, live: Live) -> Member | None:
        fitting = self._fitting(live)
        if not fitting and self._token is not None and self._could_catch_up(live):
            wait_until(lambda: self._caught_up(live), self._rules.token_wait, self._caller.pause)
            fitting = self._fitting(live)
        return self._chooser.choose(fitting)

    @staticmethod
    def _holds(member: Member) -> bool:
        return member.state.seen.valid_until > time.monotonic()

    def _is_open(self, member: Member) -> bool:
        return member.host.id not in self._failed and self._holds(member)

    def _fits(self, member: Member) -> bool:
        return self._is_open(member) and (self._token is None or member.state.covers(self._token))

    def _fitting(self, live: Live) -> list[Member]:
        return [member for member in live.board.snapshot.turns if self._fits(member)]

    def _could_catch_up(self, live: Live) -> bool:
        """A replica whose replay is paused will not."""
        seen = (member.state.seen.observation for member in live.board.snapshot.turns if self._is_open(member))
        return any(not observation.paused for observation in seen if observation is not None)

    def _caught_up(self, live: Live) -> bool:
        if self._fitting(live):
            return True
        live.hurry()
        return False

    def _primary(self, live: Live) -> Connection:
        snapshot, reader = live.board.snapshot, live.reader
        reasons = {member.host.id: self._why_not(member) for member in snapshot.replicas}
        if reasons and not self._rules.fallback:
            raise NoReadableHostError("no replica can be read from, and the primary does not stand in", reasons)
        primary = snapshot.primary.state
        if not primary.usable and primary.seen.circuit.condition is not Condition.UNKNOWN:
            raise NoReadableHostError("nothing can be read from", {primary.id: primary.reason or "", **reasons})
        if self._token is not None and (primary.timeline or 0) < self._token.timeline:
            reasons[primary.id] = f"is on timeline {primary.timeline}, and the token is of {self._token.timeline}"
            raise NoReadableHostError("no host has what was seen before", reasons)
        try:
            connection = self._caller.engine_of(reader).connect()
        except PoolTimeout as error:
            reasons[primary.id] = "stands in for as many reads as it may"
            raise NoReadableHostError("nothing can be read from now", reasons) from error
        except DBAPIError as error:
            reasons[primary.id] = self._failed[primary.id] = told(error.orig or error)
            live.broke(reader, reasons[primary.id])
            raise NoReadableHostError("nothing can be read from", reasons) from error
        self._state = primary
        reader.take()
        return connection

    def _why_not(self, member: Member) -> str:
        failed, state = self._failed.get(member.host.id), member.state
        if failed is not None or state.reason is not None:
            return failed or state.reason or ""
        return "has not replayed what was seen before" if self._holds(member) else "its probe is late"


def _is_promising(replica: HostState) -> bool:
    observation = replica.seen.observation
    if observation is None or replica.seen.circuit.condition is not Condition.UP:
        return False
    return not observation.in_recovery or (replica.usable and not observation.paused)
