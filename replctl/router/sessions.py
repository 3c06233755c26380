"""SQLAlchemy sessions that take their connection from a route: once a unit of work, at its first statement."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, cast

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from replctl.router.errors import SessionEndedError
from replctl.router.tokens import POSITION_SQL, Token

MAX_MOVES = 3
"""A first statement that breaks goes to so many other hosts; who lost more of them at once is told."""


class Route(Protocol):
    """Where a unit of work goes."""

    @property
    def host(self) -> str | None:
        """The id of the host that it went to."""
        ...

    @property
    def timeline(self) -> int:
        """That host's timeline, as it is known; 0 when it is not."""
        ...

    def connect(self) -> Connection:
        """A connection to the host that is chosen now. Raises UnavailableError."""
        ...


@dataclass(frozen=True, slots=True)
class _EndedRoute:
    """Of a unit of work that is over."""

    host: str | None
    timeline: int

    def connect(self) -> Connection:
        raise SessionEndedError("the session has ended: who goes on working takes one of their own from the manager")


class RoutedSession(Session):
    """Keeps one connection from its first statement until it is closed.

    As a context it ends the unit of work: it is rolled back after an error, and closed. It may also be used as any
    session is, and be closed by its owner.
    """

    def __init__(self, *, route: Route, **options: Any) -> None:
        super().__init__(**options)
        self._route = route
        self._chosen: Connection | None = None

    @property
    def host(self) -> str | None:
        """``host:port/db`` of the server that this session talks to; None before its first statement."""
        return self._route.host

    def get_bind(self, *_: Any, **__: Any) -> Connection:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The session's one connection."""
        if self._chosen is None:
            self._chosen = self._route.connect()
        return self._chosen

    def take_token(self) -> Token:
        """What has been seen up to here, asked for on the session's own connection: after a commit, or after reads.

        Raises UnavailableError when the session has no connection yet and none can be had.
        """
        row = self._ask(self.get_bind())
        return Token.at(int(row[0]), int(row[1]) or self._route.timeline, int(row[2]))

    def close(self) -> None:
        """Gives the connection back."""
        try:
            super().close()
        finally:
            self._give_back()

    def invalidate(self) -> None:
        """Throws the connection away."""
        try:
            super().invalidate()
        finally:
            self._give_back()

    def end(self) -> None:
        """Closes it for good: a statement that comes later raises SessionEndedError."""
        try:
            self.close()
        finally:
            self._route = _EndedRoute(self._route.host, self._route.timeline)

    def _give_back(self) -> None:
        connection, self._chosen = self._chosen, None
        if connection is not None:
            connection.close()

    @staticmethod
    def _ask(connection: Connection) -> Any:
        if connection.in_transaction():
            return connection.execute(text(POSITION_SQL)).one()
        # One round trip, where a transaction would take three.
        driver: Any = connection.connection.dbapi_connection
        driver.autocommit = True
        try:
            cursor = driver.cursor()
            cursor.execute(POSITION_SQL)
            return cursor.fetchone()
        finally:
            driver.autocommit = False


class ReadSession(RoutedSession):
    """Cannot write: neither on a replica nor on a primary that stands in for one."""

    _asked = False

    def execute(self, *args: Any, **options: Any) -> Any:
        return self._first_may_move(super().execute, args, options)

    def scalar(self, *args: Any, **options: Any) -> Any:
        return self._first_may_move(super().scalar, args, options)

    def scalars(self, *args: Any, **options: Any) -> Any:
        return self._first_may_move(super().scalars, args, options)

    def _first_may_move(self, call: Any, args: Any, options: Any) -> Any:
        """A connection that breaks at the first statement has shown nothing yet: the unit of work begins anew on the
        next host. Later ones are never repeated: two hosts need not show the same moment."""
        moves = 0 if self._asked else MAX_MOVES
        self._asked = True
        for _ in range(moves):
            try:
                return call(*args, **options)
            except DBAPIError as error:
                if not error.connection_invalidated:
                    raise
                self.rollback()
                self._give_back()
        return call(*args, **options)


class WriteSession(RoutedSession):
    """Writes to the primary. As a context it commits, unless an error ends it."""

    def __exit__(self, kind: type[BaseException] | None, error: Any, trace: TracebackType | None) -> None:
        try:
            if kind is None:
                self.commit()
        finally:
            super().__exit__(kind, error, trace)


def _routed(session: AsyncSession) -> RoutedSession:
    return cast(RoutedSession, session.sync_session)


class AsyncRoutedSession(AsyncSession):
    """RoutedSession for asyncio."""

    @property
    def host(self) -> str | None:
        """As RoutedSession's."""
        return _routed(self).host

    async def take_token(self) -> Token:
        """As RoutedSession's."""
        return await self.run_sync(lambda _: _routed(self).take_token())


class AsyncReadSession(AsyncRoutedSession):
    """ReadSession for asyncio."""

    sync_session_class = ReadSession


class AsyncWriteSession(AsyncRoutedSession):
    """WriteSession for asyncio."""

    sync_session_class = WriteSession

    async def __aexit__(self, kind: Any, error: Any, trace: Any) -> None:
        try:
            if kind is None:
                await self.commit()
        finally:
            await super().__aexit__(kind, error, trace)
