"""SQL sessions: implements ports.Database with psycopg."""

from __future__ import annotations

import select
import selectors
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TypeVar

import psycopg
from psycopg import pq, sql
from psycopg.abc import PQGen
from psycopg.pq.abc import PGconn
from psycopg.rows import DictRow, dict_row
from psycopg.waiting import Ready

from replctl.model.secret import Secret
from replctl.model.values import NodeName
from replctl.remote.ports import Database, Query, Row
from replctl.remote.sql_errors import lost, translate
from replctl.remote.tracing import Kind, traced

T = TypeVar("T")
Params = Sequence[object] | Mapping[str, object]

_GRACE_SECONDS = 2.0
"""The server ends a statement by its statement_timeout; when it has not by then, it or the network is stuck."""
_SETTLE_SECONDS = 10.0


class TimedConnection(psycopg.Connection[DictRow]):
    """A connection whose every wait ends at a deadline. psycopg itself would wait for a dead network for ever."""

    def __init__(self, pgconn: PGconn) -> None:
        super().__init__(pgconn, row_factory=dict_row)
        self.deadline = time.monotonic() + _SETTLE_SECONDS
        self.autocommit = True

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        """Raises TimeoutError at the deadline: the session cannot be used any more then."""
        del interval, timeout
        try:
            wanted = next(gen)
            # Of one descriptor: epoll, the default, costs five system calls where poll costs one.
            with selectors.PollSelector() as selector:
                while True:
                    key = selector.register(self.pgconn.socket, wanted)
                    ready = selector.select(max(0.0, self.deadline - time.monotonic()))
                    selector.unregister(key.fileobj)
                    # One that never stops sending would fill our memory.
                    if not ready or time.monotonic() > self.deadline + _GRACE_SECONDS:
                        raise TimeoutError
                    wanted = gen.send(Ready(ready[0][1]))
        except StopIteration as end:
            result: T = end.value
            return result


class SqlDatabase:
    """Implements ports.Database. Threads may share it; their statements take turns."""

    def __init__(self, node: NodeName, connection: TimedConnection, on_close: Callable[[], None]) -> None:
        self.node = node
        self._connection = connection
        self._on_close = on_close
        self._turn = threading.RLock()
        self._limit_ms: int | None = None
        connection.prepare_threshold = None

    def fetch(self, query: Query, params: Params = (), *, timeout: float = 10.0) -> list[Row]:
        with self._turn:
            return self._statement(lambda: list[Row](self._run(query, params, timeout).fetchall()))

    def execute(self, query: Query, params: Params = (), *, timeout: float = 10.0) -> None:
        with self._turn:
            self._statement(lambda: self._run(query, params, timeout))

    def transaction(self) -> AbstractContextManager[None]:
        return _Transaction(self)

    def close(self) -> None:
        self._connection.close()
        self._on_close()

    @property
    def usable(self) -> bool:
        return not self._connection.closed

    @property
    def is_idle(self) -> bool:
        """Whether it can be used again: it is in no transaction, and the server has not said a word since, as it does
        when it ends a session."""
        with self._turn:
            pgconn = self._connection.pgconn
            if self._connection.closed or pgconn.transaction_status != pq.TransactionStatus.IDLE:
                return False
            poll = select.poll()
            poll.register(pgconn.socket, select.POLLIN)
            return not poll.poll(0)

    @property
    def is_superuser(self) -> bool:
        return self._connection.pgconn.parameter_status(b"is_superuser") == b"on"

    def encrypt(self, user: str, password: Secret) -> str:
        """The SCRAM verifier of a password, computed by libpq on this side."""
        made = self._statement(
            lambda: self._connection.pgconn.encrypt_password(
                password.reveal().encode(), user.encode(), b"scram-sha-256"
            )
        )
        return made.decode()

    def begin(self) -> AbstractContextManager[psycopg.Transaction]:
        """psycopg's own transaction, once BEGIN has been answered."""
        block = self._connection.transaction()
        with traced(self.node, Kind.STATEMENT, lambda: "begin"):
            self._statement(block.__enter__)
        return block

    def end(self, block: AbstractContextManager[psycopg.Transaction], failure: BaseException | None) -> None:
        """COMMIT, or ROLLBACK after a failure, which also takes back the statement_timeout that was set inside."""
        self._limit_ms = None
        self._connection.deadline = max(self._connection.deadline, time.monotonic() + _SETTLE_SECONDS)
        kind = None if failure is None else type(failure)
        with traced(self.node, Kind.STATEMENT, lambda: "rollback" if failure else "commit"):
            self._statement(lambda: block.__exit__(kind, failure, None))

    def _run(self, query: Query, params: Params, timeout: float) -> psycopg.Cursor[DictRow]:
        self._connection.deadline = time.monotonic() + timeout + _GRACE_SECONDS
        limit_ms = max(1, round(timeout * 1000))
        if limit_ms != self._limit_ms:
            self._send(sql.SQL("set statement_timeout = {}").format(sql.Literal(limit_ms)), ())
            self._limit_ms = limit_ms
        return self._send(query, params)

    def _send(self, query: Query, params: Params) -> psycopg.Cursor[DictRow]:
        with traced(self.node, Kind.STATEMENT, lambda: shown(query)):
            return self._connection.execute(query, params or None)

    def _statement(self, act: Callable[[], T]) -> T:
        try:
            return act()
        except psycopg.Error as error:
            raise translate(error, self.node, self._connection) from error
        except TimeoutError as error:
            self._connection.close()
            raise lost(self.node, "the server does not answer any more") from error


class _Transaction:
    """A block whose end is translated like a statement. Whatever is raised inside goes on to the caller."""

    def __init__(self, database: SqlDatabase) -> None:
        self._database = database
        self._block: AbstractContextManager[psycopg.Transaction] | None = None

    def __enter__(self) -> None:
        self._block = self._database.begin()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._block is not None
        self._database.end(self._block, error)


def shown(query: Query) -> str:
    """A statement on one line for the log. Composed values are left out: one of them is a password's verifier."""
    match query:
        case sql.Composed():
            text = "".join(_operand(part) for part in query)
        case sql.SQL():
            text = query.as_string()
        case str():
            text = query
    return " ".join(text.split())


def _operand(part: sql.Composable) -> str:
    return part.as_string() if isinstance(part, sql.SQL | sql.Identifier) else "..."


def scram_verifier(database: Database, user: str, password: Secret) -> str:
    """The SCRAM-SHA-256 verifier of ``password``, computed by libpq: the server never sees the password.

    It has the server's scram_iterations when ``database`` is a session of ours, else libpq's default.
    """
    if isinstance(database, SqlDatabase):
        return database.encrypt(user, password)
    return offline_verifier(user, password)


def offline_verifier(user: str, password: Secret) -> str:
    """The SCRAM-SHA-256 verifier of ``password`` for a server that does not run yet, with libpq's own iterations."""
    unconnected = pq.PGconn.connect_start(b"host=/nonexistent")
    try:
        return unconnected.encrypt_password(password.reveal().encode(), user.encode(), b"scram-sha-256").decode()
    finally:
        unconnected.finish()
