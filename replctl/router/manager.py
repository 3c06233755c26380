"""The application's door to its databases: sessions to write to the primary with, and to read from replicas."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import sessionmaker

from replctl.router.config import DatabaseConfig, positive, strategy_of
from replctl.router.drain import drain
from replctl.router.env_watch import EnvWatch
from replctl.router.errors import ManagerClosedError
from replctl.router.hosts import Connecting, Host, Use
from replctl.router.live import Live
from replctl.router.prober import Pace
from replctl.router.routes import Caller, ReadRoute, Rules, WriteRoute
from replctl.router.selection import Chooser
from replctl.router.sessions import AsyncReadSession, AsyncWriteSession, ReadSession, WriteSession
from replctl.router.snapshot import Policy, PrimarySilent
from replctl.router.tokens import Token
from replctl.router.urls import DatabaseUrl, parse_url, parse_url_list, parse_urls
from replctl.router.waiting import Pause, pause, pause_task

T = TypeVar("T")

LOOKS_WITHIN_LAG = 4
"""A lag is told four times as often as it takes to become too large."""
MIN_PERIOD = 0.05
SWAP_SECONDS = 0.5
"""New hosts are probed before they are used, for so long at most."""
RECOVERY_CONFLICT = "40001"
ATTEMPTS = 3

_THREAD = Caller(lambda host: host.engine, pause)
_TASK = Caller(lambda host: host.task_engine, pause_task)


@dataclass(frozen=True, slots=True)
class RouterOptions:
    """What the environment does not say. Times in seconds."""

    connecting: Connecting = field(default_factory=Connecting)
    primary_silent: PrimarySilent = PrimarySilent.SERVE
    fallback_connections: int = 5
    """Of the primary, for reads that no replica serves: more of them at once are refused, so that they do not take the
    primary down with them."""
    fallback_wait: float = 0.5
    """For one of those connections to become free."""
    token_wait: float = 0.1
    """For a replica to catch up with what a client has seen."""
    switchover_wait: float = 2.0
    """For the same, or a new primary, while there is no primary to read it from."""
    probe_timeout: float = 1.0
    first_probe_wait: float = 2.0
    drain_timeout: float = 30.0
    """For units of work on hosts that are not used any more; then they are cut off."""


class ReadReplicaManager:
    """Routes units of work. Thread-safe, safe with asyncio, and after a fork.

    Begins to probe when it is first used. Intervals in seconds, lag in milliseconds. Raises ConfigurationError.
    """

    def __init__(  # noqa: PLR0917  (published so)
        self,
        primary_url: str,
        replica_urls: str | Iterable[str] = (),
        strategy: str = "round_robin",
        max_lag_ms: float = 1000,
        health_check_interval: float = 30,
        fallback_to_primary: bool = True,  # noqa: FBT001, FBT002  (published so)
        lag_check_enabled: bool = True,  # noqa: FBT001, FBT002
        *,
        options: RouterOptions | None = None,
    ) -> None:
        config = DatabaseConfig(
            primary=parse_url(primary_url, "primary_url"),
            replicas=_replicas(replica_urls),
            read_replica_strategy=strategy_of(strategy, "strategy"),
            read_replica_fallback=fallback_to_primary,
            read_replica_health_check_interval=positive(health_check_interval, "health_check_interval"),
            max_replication_lag_ms=positive(max_lag_ms, "max_lag_ms"),
            lag_check_enabled=lag_check_enabled,
        )
        self._begin(config, options or RouterOptions())

    @classmethod
    def from_config(cls, config: DatabaseConfig, options: RouterOptions | None = None) -> ReadReplicaManager:
        """With what the environment or an env file says. The file is followed: ``replctl promote`` reaches a running
        application so."""
        manager = cls.__new__(cls)
        manager._begin(config, options or RouterOptions())
        return manager

    def _begin(self, config: DatabaseConfig, options: RouterOptions) -> None:
        self.config = config
        self.options = options
        self._chooser = Chooser(config.read_replica_strategy)
        self._rules = _rules(config, options)
        self._lock = threading.RLock()
        self._live: Live | None = None
        self._gone: list[Host] = []
        self._watch: EnvWatch | None = None
        self._is_closed = False
        settings: dict[str, Any] = {"expire_on_commit": False}
        self._read_sessions = sessionmaker(class_=ReadSession, **settings)
        self._write_sessions = sessionmaker(class_=WriteSession, **settings)
        forked = weakref.WeakMethod(self._forked)
        os.register_at_fork(after_in_child=lambda: _call(forked()))

    # Units of work.

    def get_write_session(self) -> WriteSession:
        """To the primary. ``with`` commits and closes.

        Its first statement raises PrimaryUnavailableError when nothing can be written now.
        """
        return self._write_sessions(route=WriteRoute(self._running, _THREAD))

    def get_read_session(self, token: Token | None = None) -> ReadSession:
        """To a replica; it shows at least what ``token`` has seen. ``with`` closes.

        Its first statement raises NoReadableHostError when no host can be read from now.
        """
        return self._read_sessions(route=self._read_route(_THREAD, token))

    def get_async_write_session(self) -> AsyncWriteSession:
        """As ``get_write_session``, for ``async with``."""
        return AsyncWriteSession(route=WriteRoute(self._running, _TASK), expire_on_commit=False)

    def get_async_read_session(self, token: Token | None = None) -> AsyncReadSession:
        """As ``get_read_session``, for ``async with``."""
        return AsyncReadSession(route=self._read_route(_TASK, token), expire_on_commit=False)

    def run_idempotent_read(self, work: Callable[[ReadSession], T], token: Token | None = None) -> T:
        """A unit of work that may be done again, from its begin and on another host: after a conflict with recovery
        (SQLSTATE 40001), or when its connection broke. Raises what the last of three attempts raised."""
        for _ in range(ATTEMPTS - 1):
            try:
                with self.get_read_session(token) as session:
                    return work(session)
            except DBAPIError as error:
                if not _may_do_again(error):
                    raise
        with self.get_read_session(token) as session:
            return work(session)

    async def run_idempotent_async_read(
        self, work: Callable[[AsyncReadSession], Awaitable[T]], token: Token | None = None
    ) -> T:
        """As ``run_idempotent_read``."""
        for _ in range(ATTEMPTS - 1):
            try:
                async with self.get_async_read_session(token) as session:
                    return await work(session)
            except DBAPIError as error:
                if not _may_do_again(error):
                    raise
        async with self.get_async_read_session(token) as session:
            return await work(session)

    def _read_route(self, caller: Caller, token: Token | None) -> ReadRoute:
        return ReadRoute(self._running, self._chooser, caller, self._rules, token)

    # What is known.

    def get_replica_status(self) -> dict[str, dict[str, Any]]:
        """Of each replica, by ``host:port/db``: ``healthy``, ``lag_ms`` (None: unknown), ``last_check`` (ISO 8601),
        ``consecutive_failures``, and why it is not used. Holds no secret."""
        live = self._running(pause)
        return {
            member.host.id: {**member.state.document, "connections": member.host.in_use, "units": member.host.units}
            for member in live.board.snapshot.replicas
        }

    def get_primary_status(self) -> dict[str, Any]:
        """The same of the primary, with its ``id``; ``healthy``: it can be written to."""
        member = self._running(pause).board.snapshot.primary
        return {
            "id": member.host.id,
            **member.state.document,
            "connections": member.host.in_use,
            "units": member.host.units,
        }

    # Life.

    def start(self) -> None:
        """Begins to probe, and waits a bounded time for the first answers; the first unit of work does so otherwise."""
        self._running(pause)

    def apply(self, config: DatabaseConfig) -> None:
        """Goes over to other hosts or rules. Hosts that stay keep their connections; units of work on the others may
        end in ``drain_timeout`` seconds."""
        with self._lock:
            before = self._live
            if config == self.config or self._is_closed:
                return
            live = self._make(config, before) if before is not None else None
            if live is not None:
                live.start()
                live.settle(SWAP_SECONDS, pause)
            self.config, self._live = config, live
            self._chooser, self._rules = Chooser(config.read_replica_strategy), _rules(config, self.options)
        if before is not None and live is not None:
            before.stop()
            gone = [host for host in before.hosts if host not in live.hosts]
            self._gone = [*(host for host in self._gone if host.in_use), *gone]
            drain(gone, self.options.drain_timeout)

    def dispose(self, timeout: float = 5.0) -> None:
        """Ends it: units of work have so many seconds. Can be called twice."""
        with self._lock:
            self._is_closed = True
            live, watch = self._live, self._watch
            self._live = self._watch = None
        if watch is not None:
            watch.stop()
        if live is not None:
            live.stop()
            drain((*live.hosts, *self._gone), timeout).join()
            live.join()

    async def dispose_async(self, timeout: float = 5.0) -> None:
        """As ``dispose``, and closes the running event loop's connections."""
        live = self._live
        await asyncio.to_thread(self.dispose, timeout)
        for host in (*(live.hosts if live is not None else ()), *self._gone):
            await host.close_idle_tasks()

    @property
    def live(self) -> Live | None:
        """The hosts at work; None before the first use."""
        return self._live

    def _running(self, pause: Pause) -> Live:
        live = self._live or self._started()
        if not live.is_settled:
            live.settle(self.options.first_probe_wait, pause)
        return live

    def _started(self) -> Live:
        with self._lock:
            if self._is_closed:
                raise ManagerClosedError("the manager was disposed of")
            if self._live is None:
                self._live = self._make(self.config, None)
                self._live.start()
                if self.config.env_file is not None:
                    self._watch = EnvWatch(self.config.env_file, self)
                    self._watch.start()
            return self._live

    def _make(self, config: DatabaseConfig, before: Live | None) -> Live:
        stay = {host.url: host for host in before.replicas} if before is not None else {}
        board = before.board if before is not None else None
        primary, reader = self._primary(config, before)
        replicas = [stay.get(url) or self._host(url, Use.READ) for url in config.replicas]
        if before is not None:
            _count_on((before.primary,), (primary,))
            _count_on((before.reader,), (reader,))
            _count_on(before.replicas, replicas)
        return Live(
            primary,
            reader,
            replicas,
            Policy(_max_lag(config), self.options.primary_silent),
            Pace(_period(config), self.options.probe_timeout),
            known=board.cluster if board is not None else None,
            seen=board.seen if board is not None else {},
        )

    def _primary(self, config: DatabaseConfig, before: Live | None) -> tuple[Host, Host]:
        """In both of its uses. Alone, it serves as many reads as there are; else as many as it may stand in for."""
        alone, options = not config.replicas, self.options
        same = before if before is not None and before.primary.url == config.primary else None
        primary = same.primary if same is not None else self._host(config.primary, Use.WRITE)
        if same is not None and alone == (not same.replicas):
            return primary, same.reader
        bounds = {"pool_size": options.fallback_connections, "max_overflow": 0, "pool_timeout": options.fallback_wait}
        pool = {**options.connecting.pool, **({} if alone else bounds)}
        return primary, Host(config.primary, Use.READ, replace(options.connecting, pool=pool), self._broke)

    def _host(self, url: DatabaseUrl, use: Use) -> Host:
        return Host(url, use, self.options.connecting, self._broke)

    def _broke(self, host: Host, problem: str) -> None:
        live = self._live
        if live is not None:
            live.broke(host, problem)

    def _forked(self) -> None:
        """In a forked child: threads and connections stayed with the parent."""
        live, self._live, self._watch = self._live, None, None
        self._lock = threading.RLock()
        for host in live.hosts if live is not None else ():
            host.forget()


def _count_on(before: Iterable[Host], after: Iterable[Host]) -> None:
    """A server that stays keeps its count, whatever its URL now says of passwords and options."""
    earlier = {host.id: host for host in before}
    for host in after:
        if host.id in earlier and host is not earlier[host.id]:
            host.count_on(earlier[host.id])


def _replicas(urls: str | Iterable[str]) -> tuple[DatabaseUrl, ...]:
    return parse_urls(urls, "replica_urls") if isinstance(urls, str) else parse_url_list(urls, "replica_urls")


def _rules(config: DatabaseConfig, options: RouterOptions) -> Rules:
    return Rules(config.read_replica_fallback, options.token_wait, options.switchover_wait)


def _max_lag(config: DatabaseConfig) -> float | None:
    return config.max_replication_lag_ms / 1000 if config.lag_check_enabled else None


def _period(config: DatabaseConfig) -> float:
    lag = _max_lag(config)
    looks = [config.read_replica_health_check_interval, *([lag / LOOKS_WITHIN_LAG] if lag is not None else [])]
    return max(MIN_PERIOD, min(looks))


def _may_do_again(error: DBAPIError) -> bool:
    return error.connection_invalidated or getattr(error.orig, "sqlstate", None) == RECOVERY_CONFLICT


def _call(forked: Callable[[], None] | None) -> None:
    if forked is not None:
        forked()
