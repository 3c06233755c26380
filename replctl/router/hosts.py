"""A host as the application uses it: its engines, its connections, its tallies."""

from __future__ import annotations

import asyncio
import os
import select
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any
from weakref import WeakKeyDictionary

import psycopg
from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from replctl.router.tally import Tally
from replctl.router.urls import DatabaseUrl

READ_ONLY = "25006"
"""SQLSTATE read_only_sql_transaction: the server was demoted."""
_READABLE = "replctl.router.readable"
"""Where a pool's record keeps what tells of its connection."""
_ENDED_ALONE = ("25P03", "40001", "57P05")
"""idle_in_transaction_session_timeout, a conflict with recovery, idle_session_timeout: they end a session, and say
nothing of the server."""
IDLE_TIMEOUT = "select set_config('idle_in_transaction_session_timeout', %s, false)"


class Use(StrEnum):
    """What a host's connections are for. Those to read with cannot write, on whatever server they end."""

    WRITE = "write"
    READ = "read"


@dataclass(frozen=True, slots=True)
class Connecting:
    """How connections are made. Times in seconds; ``pool`` is handed to create_engine: pool_size, pool_recycle."""

    connect_timeout: float = 2.0
    idle_in_transaction_timeout: float = 60.0
    pool: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


Broken = Callable[["Host", str], None]
"""Is told of a connection that failed, and why; or of a primary that took no write."""

_LIBPQ = {"keepalives_idle": "10", "keepalives_interval": "5", "keepalives_count": "3", "tcp_user_timeout": "15000"}
"""A host that vanished from the network is noticed within some 15 s by those that wait for its answer."""


class Host:
    """One server in one use. Its engines are made when they are first needed, for threads and for each event loop."""

    def __init__(self, url: DatabaseUrl, use: Use, connecting: Connecting, broken: Broken) -> None:
        self.url = url
        self.id = url.id
        self.use = use
        self._connecting = connecting
        self._broken = broken
        self._tally = Tally()
        self._is_left = False
        self.checked_out: dict[int, Any] = {}
        """Connections in use at this moment, by their pool's records."""
        self.engine = self._prepared(create_engine(self._url(), **self._options()))
        """For threads."""
        self._async_engines: WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncEngine] = WeakKeyDictionary()

    @property
    def in_use(self) -> int:
        """Connections that are checked out at this moment, by threads and by tasks."""
        return len(self.checked_out)

    def take(self) -> None:
        """Counts a unit of work."""
        self._tally.add()

    @property
    def units(self) -> int:
        """Units of work that were sent here."""
        return self._tally.total

    def count_on(self, earlier: Host) -> None:
        """The same server's earlier host gives way to this one; the count goes on."""
        self._tally = earlier._tally

    @property
    def task_engine(self) -> Engine:
        """The synchronous face of the running event loop's engine."""
        loop = asyncio.get_running_loop()
        engine = self._async_engines.get(loop)
        if engine is None:
            engine = create_async_engine(self._url(), **self._options())
            self._prepared(engine.sync_engine)
            self._async_engines[loop] = engine
        return engine.sync_engine

    def leave(self) -> None:
        """Closes what nobody uses now. A connection that is in use is closed as it is given back, and so is one that
        is still made for a unit of work that chose this host a moment ago."""
        self._is_left = True
        self.engine.dispose()
        for loop, engine in list(self._async_engines.items()):
            if loop.is_running():
                asyncio.run_coroutine_threadsafe(engine.dispose(), loop)
            else:
                engine.sync_engine.dispose(close=False)

    async def close_idle_tasks(self) -> None:
        """The same for the running event loop's connections, and waits for it."""
        engine = self._async_engines.pop(asyncio.get_running_loop(), None)
        if engine is not None:
            await engine.dispose()

    def abort(self) -> None:
        """Cuts the connections that are still in use: their statements fail, whatever the server does."""
        for record in list(self.checked_out.values()):
            with suppress(OSError, psycopg.Error, AttributeError), _duplicate(record) as connection:
                connection.shutdown(socket.SHUT_RDWR)

    def forget(self) -> None:
        """In a forked child: the connections are the parent's, and are left alone."""
        self.engine.dispose(close=False)
        self._async_engines = WeakKeyDictionary()
        self.checked_out.clear()

    def _url(self) -> URL:
        url = self.url
        return URL.create(
            "postgresql+psycopg",
            username=url.user,
            password=url.password or None,
            host=url.host,
            port=url.port,
            database=url.database,
        )

    def _options(self) -> dict[str, Any]:
        # libpq counts whole seconds, and takes 1 for 2.
        timeout = max(2, round(self._connecting.connect_timeout))
        defaults = {"connect_timeout": str(timeout), **_LIBPQ}
        return {**self._connecting.pool, "connect_args": {**defaults, **dict(self.url.options)}}

    def _prepared(self, engine: Engine) -> Engine:
        def begin(connection: Any, record: Any) -> None:
            self._begin(connection, engine.dialect)
            record.info[_READABLE] = _readable(record)

        event.listen(engine, "connect", begin)
        event.listen(engine, "checkout", self._out)
        event.listen(engine, "checkin", self._in)
        event.listen(engine, "handle_error", self._failed)
        return engine

    def _begin(self, connection: Any, dialect: Any) -> None:
        """A new connection: once, so that units of work need not ask for it each time."""
        milliseconds = round(self._connecting.idle_in_transaction_timeout * 1000)
        cursor = connection.cursor()
        cursor.execute(IDLE_TIMEOUT, (str(milliseconds),))
        if self.use is Use.READ:
            cursor.execute("set default_transaction_read_only = on")
        cursor.close()
        connection.commit()
        if self.use is Use.READ:
            dialect.set_readonly(connection, value=True)

    def _out(self, _: Any, record: Any, __: Any) -> None:
        """A connection on which something waits to be read was closed by the server: another one is made.

        That costs no question to the server, as pool_pre_ping would.
        """
        if record.info[_READABLE](0):
            raise DisconnectionError
        self.checked_out[id(record)] = record

    def _in(self, _: Any, record: Any) -> None:
        self.checked_out.pop(id(record), None)
        if self._is_left:
            record.invalidate()

    def _failed(self, context: ExceptionContext) -> None:
        problem = context.original_exception
        sqlstate = getattr(problem, "sqlstate", None)
        if self.use is Use.WRITE:
            # There is no other primary to go to: one session that was ended must not stop everybody's writes.
            if sqlstate == READ_ONLY:
                self._broken(self, "takes no writes any more")
        elif context.is_disconnect and isinstance(problem, psycopg.Error) and sqlstate not in _ENDED_ALONE:
            # A task that was cancelled is a disconnect to SQLAlchemy as well, and no fault of the server's.
            self._broken(self, told(problem))


def told(problem: BaseException) -> str:
    """The first line of what a server or libpq said; those hold no password."""
    return str(problem).strip().split("\n", 1)[0] or type(problem).__name__


def _readable(record: Any) -> Callable[[int], object]:
    """Asks, within so many milliseconds, whether there is something to read; or whether the socket is closed."""
    poll = select.poll()
    poll.register(record.driver_connection.pgconn.socket, select.POLLIN)
    return poll.poll


def _duplicate(record: Any) -> socket.socket:
    return socket.socket(fileno=os.dup(record.driver_connection.pgconn.socket))
