"""An application over the router, as its users write one, and a look at the moment when a response begins."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager
from enum import Enum
from functools import partial
from typing import Annotated, Any

import httpx
import psycopg
from anyio.from_thread import BlockingPortal, start_blocking_portal
from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, HTTPException, Response
from fastapi.responses import StreamingResponse
from sqlalchemy import text
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from replctl.router import (
    AsyncReadSession,
    AsyncWriteSession,
    Connecting,
    ReadReplicaManager,
    ReadSession,
    RouterOptions,
    WriteSession,
    get_replica_manager,
)
from replctl.router.fastapi import (
    AsyncDbRead,
    AsyncDbWrite,
    ClientTokens,
    DbRead,
    DbWrite,
    ReadYourWrites,
    get_async_db_read,
    get_async_db_write,
    get_db_read,
    get_db_write,
    install_error_handlers,
    router,
    serving,
)
from tests.router.labs import Lab, wait_until

TABLE = "create table if not exists notes (text text unique deferrable initially deferred)"

INSERT = text("insert into notes values (:text)")
COUNT = text("select count(*) from notes where text = :text")

PATIENT = RouterOptions(
    connecting=Connecting(connect_timeout=10), probe_timeout=10, first_probe_wait=30, fallback_wait=10
)
"""On a machine with much else to do, a server that is slow is none that is gone."""

notes = APIRouter()


def make_table(lab: Lab) -> None:
    """On every server."""
    with psycopg.connect(lab.url("db1"), autocommit=True) as connection:
        connection.execute(TABLE)
    for node in ("db2", "db3"):
        wait_until(lambda node=node: lab.sql(node, "select to_regclass('notes') is not null") == [(True,)], 60)


@contextmanager
def dead_url() -> Iterator[str]:
    """Of a port at which nobody listens, and nobody will."""
    with socket.socket() as kept:
        kept.bind(("127.0.0.1", 0))
        yield f"postgresql://app:secret@127.0.0.1:{kept.getsockname()[1]}/appdb"


def make_app(manager: ReadReplicaManager, tokens: ClientTokens | None = None) -> FastAPI:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with serving(manager):
            yield

    app = FastAPI(lifespan=lifespan)
    app.include_router(notes)
    app.include_router(router)
    install_error_handlers(app)
    if tokens is not None:
        app.add_middleware(ReadYourWrites, tokens=tokens)
    return app


class Errors(Enum):
    """What becomes of an exception that the application does not answer."""

    ANSWERED = "with status 500"
    RAISED = "by the client"


class Browser:
    """A client in a thread beside the application's event loop, with a jar of cookies. ``seen`` is what ``look`` saw at
    the begin of each response, before the client heard of it."""

    def __init__(self, app: ASGIApp, portal: BlockingPortal, errors: Errors, look: Callable[[], Any]) -> None:
        self.seen: list[Any] = []
        self._app = app
        self._portal = portal
        self._look = look
        transport = httpx.ASGITransport(self._looked_at, raise_app_exceptions=errors is Errors.RAISED)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://app")

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self._portal.call(partial(self.client.get, path, **options))

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self._portal.call(partial(self.client.post, path, **options))

    async def _looked_at(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def looking(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.seen.append(self._look())
            await send(message)

        await self._app(scope, receive, looking)


@contextmanager
def browsing(
    app: FastAPI, errors: Errors = Errors.ANSWERED, look: Callable[[], Any] = lambda: None
) -> Iterator[Browser]:
    """Starts the application and, in the end, shuts it down."""
    with start_blocking_portal() as portal:
        browser = Browser(app, portal, errors, look)
        with (
            portal.wrap_async_context_manager(app.router.lifespan_context(app)),
            portal.wrap_async_context_manager(browser.client),
        ):
            yield browser


# Writing, in all the ways in which a dependency can be written.


@notes.post("/alias/{note}")
def write_by_alias(note: str, db: DbWrite) -> None:
    db.execute(INSERT, {"text": note})


@notes.post("/plain/{note}")
def write_plainly(note: str, db: WriteSession = Depends(get_db_write)) -> None:  # noqa: B008
    db.execute(INSERT, {"text": note})


@notes.post("/function/{note}")
def write_in_function_scope(note: str, db: Annotated[WriteSession, Depends(get_db_write, scope="function")]) -> None:
    db.execute(INSERT, {"text": note})


@notes.post("/request/{note}")
def write_in_request_scope(note: str, db: Annotated[WriteSession, Depends(get_db_write, scope="request")]) -> None:
    db.execute(INSERT, {"text": note})


@notes.post("/loop/{note}")
async def write_in_the_loop(note: str, db: DbWrite) -> None:
    db.execute(INSERT, {"text": note})


@notes.post("/async-alias/{note}")
async def write_by_async_alias(note: str, db: AsyncDbWrite) -> None:
    await db.execute(INSERT, {"text": note})


@notes.post("/async-function/{note}")
async def write_async_in_function_scope(
    note: str, db: Annotated[AsyncWriteSession, Depends(get_async_db_write, scope="function")]
) -> None:
    await db.execute(INSERT, {"text": note})


@notes.post("/response/{note}")
def write_and_make_the_response(note: str, db: DbWrite) -> Response:
    db.execute(INSERT, {"text": note})
    return Response(status_code=201)


@notes.post("/streamed/{note}")
def write_and_stream(note: str, db: DbWrite) -> StreamingResponse:
    db.execute(INSERT, {"text": note})
    return StreamingResponse(iter(["one", "two"]))


WAYS = (
    "alias", "plain", "function", "request", "loop", "async-alias", "async-function", "response", "streamed"
)  # fmt: skip


def _naive() -> Generator[WriteSession]:
    with get_replica_manager().get_write_session() as session:
        yield session


@notes.post("/naive/{note}")
def write_naively(note: str, db: Annotated[WriteSession, Depends(_naive)]) -> None:
    db.execute(INSERT, {"text": note})


@notes.post("/refused/{note}")
def write_and_refuse(note: str, db: DbWrite) -> None:
    db.execute(INSERT, {"text": note})
    raise HTTPException(409, "no")


@notes.post("/async-refused/{note}")
async def write_and_refuse_async(note: str, db: AsyncDbWrite) -> None:
    await db.execute(INSERT, {"text": note})
    raise HTTPException(409, "no")


@notes.post("/unhappy/{note}")
def write_and_return_an_error(note: str, db: DbWrite) -> Response:
    db.execute(INSERT, {"text": note})
    return Response(status_code=400)


# Reading.


@notes.get("/notes/{note}")
def read(note: str, db: DbRead) -> dict[str, Any]:
    return {"count": db.scalar(COUNT, {"text": note}), "host": db.host}


@notes.get("/async-notes/{note}")
async def read_async(note: str, db: AsyncDbRead) -> dict[str, Any]:
    return {"count": await db.scalar(COUNT, {"text": note}), "host": db.host}


@notes.get("/gone/{note}")
def read_and_find_nothing(note: str, db: DbRead) -> None:
    db.scalar(COUNT, {"text": note})
    raise HTTPException(404)


@notes.get("/caught/{note}")
def read_after_an_error(note: str, db: DbRead) -> str:
    db.scalar(COUNT, {"text": note})
    try:
        db.execute(text("select 1 / 0"))
    except Exception as error:  # noqa: BLE001  (an application's)
        return type(error).__name__
    return ""


@notes.post("/through-read/{note}")
def write_through_a_read_session(note: str, db: DbRead) -> None:
    db.execute(INSERT, {"text": note})


@notes.post("/async-through-read/{note}")
async def write_through_an_async_read_session(note: str, db: AsyncDbRead) -> None:
    await db.execute(INSERT, {"text": note})


@notes.post("/both/{note}")
def write_and_read(note: str, db: DbWrite, replica: DbRead) -> list[str | None]:
    replica.scalar(COUNT, {"text": note})
    db.execute(INSERT, {"text": note})
    return [db.host, replica.host]


@notes.post("/twice/{note}")
def write_with_two_commits(note: str, db: DbWrite) -> None:
    db.execute(INSERT, {"text": f"{note} first"})
    db.commit()
    db.execute(INSERT, {"text": note})


@notes.post("/closed/{note}")
def write_and_close(note: str, db: DbWrite) -> None:
    with db:
        db.execute(INSERT, {"text": note})


# Sessions of a request, used in other places.


def _of_a_service(db: Annotated[WriteSession, Depends(get_db_write, scope="function")]) -> WriteSession:
    return db


@notes.get("/same")
def take_two_ways(
    db: DbWrite,
    service: Annotated[WriteSession, Depends(_of_a_service)],
    read: DbRead,
    again: Annotated[ReadSession, Depends(get_db_read, scope="function", use_cache=False)],
) -> list[bool]:
    return [db is service, read is again]


@notes.get("/stream-of-rows")
def stream_from_the_request_session(db: DbRead) -> StreamingResponse:
    def rows() -> Iterator[str]:
        yield str(db.scalar(text("select 1")))

    db.scalar(text("select 1"))
    return StreamingResponse(rows())


@notes.get("/stream-of-its-own")
def stream_from_the_manager() -> StreamingResponse:
    def rows() -> Iterator[str]:
        with get_replica_manager().get_read_session() as session:
            yield str(session.scalar(text("select 1")))

    return StreamingResponse(rows())


@notes.post("/later/{note}")
async def write_later(note: str, db: AsyncDbWrite, later: BackgroundTasks) -> None:
    async def write() -> None:
        await db.execute(INSERT, {"text": note})

    later.add_task(write)


@notes.get("/untouched")
async def touch_no_database(db: DbWrite, replica: Annotated[AsyncReadSession, Depends(get_async_db_read)]) -> str:
    return "nothing asked"
