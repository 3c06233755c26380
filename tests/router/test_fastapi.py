"""A request's sessions: committed before the response begins, rolled back after an error, given back in any case."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import anyio
import httpx
import psycopg
import pytest
from fastapi import HTTPException, Response
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import HTTPConnection

from replctl.router import (
    Connecting,
    DatabaseConfig,
    ReadReplicaManager,
    RouterError,
    SessionEndedError,
)
from replctl.router.fastapi import AsyncDbWrite, DbRead, DbWrite, get_db_read, serving
from tests.router.labs import Lab, wait_until
from tests.router.web_app import INSERT, PATIENT, TABLE, WAYS, Browser, Errors, browsing, make_app

PID = text("select pg_backend_pid()")


@pytest.fixture(scope="module", autouse=True)
def _restored(lab: Lab) -> None:
    """Once: these tests leave the servers as they found them."""
    lab.restore()


@pytest.fixture
def note(request: pytest.FixtureRequest) -> str:
    """A text that no other test writes."""
    return f"{request.node.name} {uuid4().hex}"


@pytest.fixture(scope="module")
def primary(lab: Lab) -> Iterator[psycopg.Connection[Any]]:
    """A look past the application."""
    with psycopg.connect(lab.url("db1"), autocommit=True) as connection:
        connection.execute(TABLE)
        yield connection


@pytest.fixture
def manager(lab: Lab, primary: Any) -> Iterator[ReadReplicaManager]:
    config = replace(DatabaseConfig.from_env_file(lab.env_file), lag_check_enabled=False, env_file=None)
    made = ReadReplicaManager.from_config(config, PATIENT)
    yield made
    made.dispose()


@pytest.fixture
def client(manager: ReadReplicaManager) -> Iterator[Browser]:
    with browsing(make_app(manager)) as made:
        yield made


@pytest.fixture
def strict_client(manager: ReadReplicaManager) -> Iterator[Browser]:
    """Raises what the application raises."""
    with browsing(make_app(manager), Errors.RAISED) as made:
        yield made


def written(primary: psycopg.Connection[Any], note: str) -> int:
    row = primary.execute("select count(*) from notes where text = %s", (note,)).fetchone()
    assert row is not None
    return row[0]


def in_use(manager: ReadReplicaManager) -> list[int]:
    live = manager.live
    return [host.in_use for host in live.hosts] if live is not None else []


@pytest.mark.parametrize("way", WAYS)
def test_a_write_is_committed_when_the_response_begins(
    manager: ReadReplicaManager, primary: psycopg.Connection[Any], note: str, way: str
) -> None:
    """Fails when the commit waits for what FastAPI runs after the response, in any way to write the dependency."""
    with browsing(make_app(manager), look=lambda: written(primary, note)) as client:
        assert client.post(f"/{way}/{note}").status_code < 300
    assert client.seen == [1]


def test_the_look_at_the_beginning_notices_a_commit_that_comes_later(
    manager: ReadReplicaManager, primary: psycopg.Connection[Any], note: str
) -> None:
    """What the test above is worth: the dependency with a plain yield commits after the response."""
    with browsing(make_app(manager), look=lambda: written(primary, note)) as client:
        assert client.post(f"/naive/{note}").status_code == 200
    assert (client.seen, written(primary, note)) == ([0], 1)


@pytest.mark.parametrize("way", WAYS)
def test_a_commit_that_fails_is_no_success(
    client: Browser, manager: ReadReplicaManager, primary: psycopg.Connection[Any], note: str, way: str
) -> None:
    """The unique constraint is checked by COMMIT. Fails when the 200 leaves before, or the connection is lost."""
    assert client.post(f"/alias/{note}").status_code == 200
    assert client.post(f"/{way}/{note}").status_code == 500
    assert (written(primary, note), in_use(manager)) == (1, [0, 0, 0, 0])


def test_an_application_can_answer_to_a_commit_that_fails(manager: ReadReplicaManager, note: str) -> None:
    """Fails when a failing COMMIT does not come by the exception handlers."""
    app = make_app(manager)

    @app.exception_handler(IntegrityError)
    async def _conflict(*_: Any) -> Response:
        return Response(status_code=409)

    with browsing(app) as client:
        assert [client.post(f"/alias/{note}").status_code for _ in range(2)] == [200, 409]


@pytest.mark.parametrize("way", ["refused", "async-refused"])
def test_an_http_exception_rolls_back(
    client: Browser, manager: ReadReplicaManager, primary: psycopg.Connection[Any], note: str, way: str
) -> None:
    """Fails when only unexpected exceptions undo what was written, or the connection is lost."""
    assert client.post(f"/{way}/{note}").status_code == 409
    assert (written(primary, note), in_use(manager)) == (0, [0, 0, 0, 0])


def test_a_server_that_is_gone_by_the_end_changes_no_answer(
    lab: Lab, manager: ReadReplicaManager, primary: psycopg.Connection[Any], note: str
) -> None:
    """A connection ends behind the last statement. Fails when the failing ROLLBACK is told in place of the answer."""
    app = make_app(manager)

    def cut_off(node: str, pid: int) -> None:
        lab.sql(node, f"select pg_terminate_backend({pid})")
        gone = f"select not exists (select from pg_stat_activity where pid = {pid})"
        wait_until(lambda: lab.sql(node, gone) == [(True,)], 60)

    @app.post("/write")
    def write_and_refuse(db: DbWrite) -> None:
        db.execute(INSERT, {"text": note})
        cut_off("db1", db.scalar(PID))
        raise HTTPException(409)

    @app.get("/read")
    def read(db: DbRead) -> str:
        pid = db.scalar(PID)
        cut_off("db2" if db.host == lab.id("db2") else "db3", pid)
        return "done"

    with browsing(app) as client:
        assert client.post("/write").status_code == 409
        assert client.get("/read").json() == "done"
        assert in_use(manager) == [0, 0, 0, 0]
    assert written(primary, note) == 0


def test_an_error_response_that_is_returned_commits(
    client: Browser, primary: psycopg.Connection[Any], note: str
) -> None:
    """As documented. Fails when the status decides."""
    assert client.post(f"/unhappy/{note}").status_code == 400
    assert written(primary, note) == 1


@pytest.mark.parametrize("way", ["notes", "async-notes"])
def test_reads_go_to_replicas(client: Browser, manager: ReadReplicaManager, note: str, way: str) -> None:
    """Fails when a read session is the primary's, or both reads go to one replica."""
    hosts = {client.get(f"/{way}/{note}").json()["host"] for _ in range(2)}
    assert hosts == set(manager.get_replica_status())
    assert in_use(manager) == [0, 0, 0, 0]


@pytest.mark.parametrize("way", ["through-read", "async-through-read"])
def test_a_read_session_cannot_write(lab: Lab, primary: psycopg.Connection[Any], note: str, way: str) -> None:
    """Neither on the primary, which stands in where no replica is listed. Fails when a read session is writable."""
    lone = ReadReplicaManager(lab.url("db1"), options=PATIENT)
    with browsing(make_app(lone), Errors.RAISED) as client, pytest.raises(DBAPIError) as raised:
        client.post(f"/{way}/{note}")
    assert getattr(raised.value.orig, "sqlstate", None) == "25006"
    assert written(primary, note) == 0


def test_a_request_has_one_session_of_a_kind(client: Browser) -> None:
    """Fails when a dependency of a dependency, in another of FastAPI's scopes, gets a transaction of its own."""
    assert client.get("/same").json() == [True, True]


def test_a_session_that_was_not_used_asks_no_server(client: Browser, manager: ReadReplicaManager) -> None:
    """Fails when the end of a request connects."""
    assert client.get("/untouched").status_code == 200
    assert manager.get_primary_status()["units"] == 0


def test_a_stream_does_not_hold_on_to_the_session_of_the_request(
    strict_client: Browser, manager: ReadReplicaManager
) -> None:
    """Fails when the body of a response takes a connection that nobody gives back; a session of its own is fine."""
    with pytest.raises(SessionEndedError):
        strict_client.get("/stream-of-rows")
    assert strict_client.get("/stream-of-its-own").text == "1"
    assert in_use(manager) == [0, 0, 0, 0]


def test_a_background_task_does_not_write_unnoticed(
    strict_client: Browser, manager: ReadReplicaManager, primary: psycopg.Connection[Any], note: str
) -> None:
    """Fails when what is written after the response is lost without a word."""
    with pytest.raises(SessionEndedError):
        strict_client.post(f"/later/{note}")
    assert (written(primary, note), in_use(manager)) == (0, [0, 0, 0, 0])


def test_a_web_socket_is_told_where_to_take_its_sessions() -> None:
    """Fails when a session is kept for as long as a client stays connected."""
    connection = HTTPConnection({"type": "websocket", "headers": []})
    with pytest.raises(RouterError, match="from the manager"):
        asyncio.run(get_db_read(connection))


def test_outside_of_a_route_there_is_a_clear_error() -> None:
    """Fails when a session is handed out that nobody ends."""
    connection = HTTPConnection({"type": "http", "headers": []})
    with pytest.raises(RouterError, match=r"FastAPI 0\.121"):
        asyncio.run(get_db_read(connection))


def test_ends_of_requests_do_not_wait_for_threads(lab: Lab, primary: psycopg.Connection[Any], note: str) -> None:
    """More requests than threads, and one connection: all threads wait for it. Fails, after the pool's time-out, when
    the one who has it needs one of those threads to give it back."""
    connecting = Connecting(connect_timeout=10, pool={"pool_size": 1, "max_overflow": 0, "pool_timeout": 60})
    manager = ReadReplicaManager(lab.url("db1"), options=replace(PATIENT, connecting=connecting))

    async def at_once() -> list[int]:
        transport = httpx.ASGITransport(make_app(manager))
        async with serving(manager), httpx.AsyncClient(transport=transport, base_url="http://app") as client:
            answers = await asyncio.gather(*[client.post(f"/alias/{note} {number}") for number in range(60)])
        return [answer.status_code for answer in answers]

    assert asyncio.run(asyncio.wait_for(at_once(), 50)) == [200] * 60


@pytest.mark.parametrize("way", ["waiting", "sleeping"])
def test_a_request_that_is_cancelled_gives_its_connection_back(
    manager: ReadReplicaManager, primary: psycopg.Connection[Any], note: str, way: str
) -> None:
    """While it waits for something else, and while it waits for the server. Fails when the end of the unit of work is
    cancelled with it: then the connection is thrown away, or never comes back."""
    app = make_app(manager)
    written_at = asyncio.Event()
    pids = list[int]()

    async def write(db: AsyncSession) -> None:
        await db.execute(INSERT, {"text": note})
        pids.append(await db.scalar(PID))
        written_at.set()

    @app.post("/waiting")
    async def write_and_wait(db: AsyncDbWrite) -> None:
        await write(db)
        await anyio.sleep_forever()

    @app.post("/sleeping")
    async def write_and_sleep(db: AsyncDbWrite) -> None:
        await write(db)
        await db.execute(text("select pg_sleep(3600)"))

    async def cancelled() -> list[int]:
        transport = httpx.ASGITransport(app)
        async with serving(manager), httpx.AsyncClient(transport=transport, base_url="http://app") as client:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(client.post, f"/{way}")
                await written_at.wait()
                tasks.cancel_scope.cancel()
            used = in_use(manager)
            async with manager.get_async_write_session() as session:
                pids.append(await session.scalar(PID))
            return used

    assert asyncio.run(asyncio.wait_for(cancelled(), 60)) == [0, 0, 0, 0]
    assert way == "sleeping" or pids[0] == pids[1]
    assert written(primary, note) == 0
