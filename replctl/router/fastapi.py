"""For FastAPI: a request's sessions, the answer when no server is there, the health of the databases.

A request's unit of work ends when its endpoint returns, before the response leaves: committed then, or rolled back
after any exception, HTTPException too. A response that an endpoint returns commits, whatever its status. What runs
later (background tasks, the body of a streaming response) gets SessionEndedError from the request's sessions, and a
WebSocket none at all: they take their own from the manager, one a unit of work, so that none holds a connection for as
long as a client is slow.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Annotated, Any, TypeVar, cast

import psycopg
from anyio import CancelScope, CapacityLimiter, to_thread
from fastapi import APIRouter, Depends, FastAPI
from fastapi.responses import JSONResponse
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import HTTPConnection, Request

from replctl.router.asgi import ClientTokens, Guarantee, ReadYourWrites, RequestTokens, request_tokens
from replctl.router.default import get_replica_manager, init_replica_manager, use_replica_manager
from replctl.router.errors import ManagerClosedError, RouterError, UnavailableError
from replctl.router.health import Health, judge_health
from replctl.router.manager import ReadReplicaManager
from replctl.router.sessions import AsyncReadSession, AsyncWriteSession, ReadSession, RoutedSession, WriteSession
from replctl.router.tokens import Token

__all__ = [
    "AsyncDbRead",
    "AsyncDbWrite",
    "ClientTokens",
    "DbRead",
    "DbWrite",
    "Guarantee",
    "ReadYourWrites",
    "RequestTokens",
    "get_async_db_read",
    "get_async_db_write",
    "get_db_read",
    "get_db_write",
    "install_error_handlers",
    "lifespan",
    "request_tokens",
    "router",
    "serving",
]

RETRY_AFTER_SECONDS = 1
_SESSIONS = "replctl.router.sessions"
_FUNCTION_STACK = "fastapi_function_astack"
"""FastAPI leaves it when the endpoint has returned and its result is rendered, and sends the response after that."""
_FAILED = (psycopg.Error, SQLAlchemyError, RouterError)
_log = logging.getLogger("replctl.router")

S = TypeVar("S")


# These are no generators: FastAPI runs what follows a plain yield after the response has left.


async def get_db_write(connection: HTTPConnection) -> WriteSession:
    """To write with; committed before the response leaves, so that a COMMIT that fails is no success."""
    return _of_request(connection, WriteSession, lambda manager, _: manager.get_write_session(), _end_write, _in_thread)


async def get_db_read(connection: HTTPConnection) -> ReadSession:
    """To read with; behind ReadYourWrites it shows at least what the client has seen."""
    return _of_request(connection, ReadSession, ReadReplicaManager.get_read_session, _end_read, _in_thread)


async def get_async_db_write(connection: HTTPConnection) -> AsyncWriteSession:
    """As ``get_db_write``."""
    return _of_request(
        connection, AsyncWriteSession, lambda manager, _: manager.get_async_write_session(), _end_write, _in_task
    )


async def get_async_db_read(connection: HTTPConnection) -> AsyncReadSession:
    """As ``get_db_read``."""
    return _of_request(connection, AsyncReadSession, ReadReplicaManager.get_async_read_session, _end_read, _in_task)


DbWrite = Annotated[WriteSession, Depends(get_db_write)]
DbRead = Annotated[ReadSession, Depends(get_db_read)]
AsyncDbWrite = Annotated[AsyncWriteSession, Depends(get_async_db_write)]
AsyncDbRead = Annotated[AsyncReadSession, Depends(get_async_db_read)]


def _of_request(
    connection: HTTPConnection,
    kind: type[S],
    begin: Callable[[ReadReplicaManager, Token | None], S],
    end: Callable[[RoutedSession, BaseException | None, RequestTokens | None], None],
    run: Callable[[S, Callable[[RoutedSession], None]], Awaitable[None]],
) -> S:
    """One of a kind in a request, however often and in whichever of FastAPI's scopes it is asked for: sessions of two
    transactions would not see each other's rows."""
    stack = _function_stack(connection)
    sessions: dict[type[Any], Any] = connection.scope.setdefault(_SESSIONS, {})
    if kind not in sessions:
        tokens = request_tokens(connection)
        session = sessions[kind] = begin(get_replica_manager(), tokens.before if tokens is not None else None)

        async def ended(_: Any, error: BaseException | None, __: Any) -> None:
            with CancelScope(shield=True):
                await run(session, lambda routed: end(routed, error, tokens))

        stack.push_async_exit(ended)
    return sessions[kind]


def _function_stack(connection: HTTPConnection) -> AsyncExitStack[bool | None]:
    if connection.scope["type"] != "http":
        raise RouterError("a WebSocket takes its sessions from the manager, one a unit of work")
    stack = connection.scope.get(_FUNCTION_STACK)
    if not isinstance(stack, AsyncExitStack):
        raise RouterError("sessions are dependencies of FastAPI's routes, and need FastAPI 0.121 or later")
    return cast("AsyncExitStack[bool | None]", stack)


async def _in_thread(session: RoutedSession, end: Callable[[RoutedSession], None]) -> None:
    # With a limit of its own: those who wait for a connection may hold all threads of the pool, and this frees one.
    await to_thread.run_sync(end, session, limiter=CapacityLimiter(1))


async def _in_task(session: AsyncSession, end: Callable[[RoutedSession], None]) -> None:
    await session.run_sync(lambda routed: end(cast(RoutedSession, routed)))


def _end_write(session: RoutedSession, error: BaseException | None, tokens: RequestTokens | None) -> None:
    try:
        if error is None:
            session.commit()
        else:
            with suppress(SQLAlchemyError):  # the endpoint's own error is the one to tell
                session.rollback()
        if tokens is not None:
            # After a rollback too: the client may be told of what the session has read.
            _remember(session, error, tokens, session.invalidate)
    finally:
        _let_go(session)


def _end_read(session: RoutedSession, error: BaseException | None, tokens: RequestTokens | None) -> None:
    try:
        if tokens is not None and tokens.guarantee is Guarantee.MONOTONIC_READS:
            _remember(session, error, tokens, session.rollback)
    finally:
        _let_go(session)


def _let_go(session: RoutedSession) -> None:
    # Its work is done: that a server is gone by now, and has rolled back what was open, changes no answer.
    with suppress(SQLAlchemyError):
        session.end()


def _remember(
    session: RoutedSession, error: BaseException | None, tokens: RequestTokens, mend: Callable[[], None]
) -> None:
    """Takes a token; after ``mend`` when it cannot be had at first. What is committed stays so without one too, and
    the response leaves."""
    is_answered = error is None or isinstance(error, Exception)
    if not is_answered or session.host is None:
        return
    try:
        if not session.get_bind().invalidated:
            tokens.add(session.take_token())
    except _FAILED:
        try:
            mend()
            tokens.add(session.take_token())
        except _FAILED as problem:
            _log.warning("a client gets no token of what it has seen: %s", problem)


# The application.


@asynccontextmanager
async def serving(manager: ReadReplicaManager) -> AsyncGenerator[None]:
    """Makes it the application's manager, and starts it; disposes of it in the end. For a lifespan of one's own."""
    use_replica_manager(manager)
    try:
        await to_thread.run_sync(manager.start)
        yield
    finally:
        await manager.dispose_async()
        use_replica_manager(None)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
    """``FastAPI(lifespan=lifespan)``: with the manager that ``init_replica_manager`` made, or else what the environment
    says. Raises ConfigurationError."""
    try:
        manager = get_replica_manager()
    except RouterError:
        manager = init_replica_manager()
    async with serving(manager):
        yield


def install_error_handlers(app: FastAPI) -> None:
    """503 with Retry-After when there is no server for a unit of work; the log, not the client, is told why."""
    app.add_exception_handler(UnavailableError, _unavailable)


async def _unavailable(_: Request, error: Exception) -> JSONResponse:
    _log.warning("answered with 503: %s", error)
    document = {"detail": "the database is not available now"}
    return JSONResponse(document, 503, {"Retry-After": str(RETRY_AFTER_SECONDS)})


router = APIRouter(tags=["health"])


@router.get("/health/database", responses={503: {"description": "Nothing can be served."}})
async def get_database_health() -> JSONResponse:
    """Of the primary and the replicas, as units of work see them: asks no server."""
    health = await read_health(get_replica_manager())
    return JSONResponse(health.document, health.http_status, {"Cache-Control": "no-store"})


async def read_health(manager: ReadReplicaManager) -> Health:
    """Waits a bounded time for the first answers when the manager has just begun."""
    live = manager.live
    if live is None or not live.is_settled:
        await to_thread.run_sync(manager.start)
        live = manager.live
    if live is None:
        raise ManagerClosedError("the manager was disposed of")
    snapshot = live.board.snapshot
    replicas = [member.state for member in snapshot.replicas]
    return judge_health(snapshot.primary.state, replicas, time.monotonic())
