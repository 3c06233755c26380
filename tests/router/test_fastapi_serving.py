"""The application as a whole: its health, its answer when no server is there, its begin and its end, behind uvicorn."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
import uvicorn
from fastapi import FastAPI
from sqlalchemy import text

from replctl.router import ReadReplicaManager, RouterError, get_replica_manager, init_replica_manager
from replctl.router.fastapi import ClientTokens, lifespan, serving
from tests.router.labs import Lab, wait_until
from tests.router.web_app import PATIENT, browsing, dead_url, make_app, make_table, notes

MARK = "web-serving"
"""Names this file's connections in pg_stat_activity."""


@pytest.fixture(scope="module", autouse=True)
def _restored(lab: Lab) -> None:
    """Once: these tests leave the servers as they found them."""
    lab.restore()
    make_table(lab)


@pytest.fixture(scope="module")
def primary(lab: Lab) -> Iterator[psycopg.Connection[Any]]:
    """A look past the application."""
    with psycopg.connect(lab.url("db1"), autocommit=True) as connection:
        yield connection


def urls(lab: Lab) -> list[str]:
    """The primary's first."""
    return [f"{lab.url(node)}?application_name={MARK}" for node in ("db1", "db2", "db3")]


def served(primary_url: str, *replica_urls: str) -> FastAPI:
    return make_app(ReadReplicaManager(primary_url, replica_urls, lag_check_enabled=False, options=PATIENT))


def health(app: FastAPI) -> httpx.Response:
    with browsing(app) as client:
        response = client.get("/health/database")
    assert response.headers["cache-control"] == "no-store"
    return response


# Health.


def test_the_health_of_a_cluster_that_serves(lab: Lab) -> None:
    """Fails when a usable host is told as unusable, and when anything of the URLs but the ids is shown."""
    response = health(served(*urls(lab)))
    document = response.json()
    assert (response.status_code, document["status"]) == (200, "healthy")
    assert document["replicas"] == {"total": 2, "healthy": 2, "unhealthy": 0}
    assert document["details"]["primary"]["id"] == lab.id("db1")
    assert list(document["details"]["replicas"]) == [lab.id("db2"), lab.id("db3")]
    assert lab.password("app") not in response.text


def test_health_without_replicas_that_serve(lab: Lab) -> None:
    """Fails when a replica that cannot be reached counts."""
    with dead_url() as dead, dead_url() as other:
        response = health(served(urls(lab)[0], dead, other))
    document = response.json()
    assert (response.status_code, document["status"]) == (200, "degraded")
    assert document["replicas"] == {"total": 2, "healthy": 0, "unhealthy": 2}
    assert "secret" not in response.text


def test_health_without_a_primary(lab: Lab) -> None:
    """Fails when what can be read from is told as down."""
    with dead_url() as dead:
        response = health(served(dead, *urls(lab)[1:]))
    assert (response.status_code, response.json()["status"]) == (200, "degraded")
    assert response.json()["replicas"] == {"total": 2, "healthy": 2, "unhealthy": 0}
    assert response.json()["details"]["primary"]["healthy"] is False


def test_health_when_nothing_answers() -> None:
    """Fails when a load balancer is told to go on."""
    with dead_url() as dead, dead_url() as other:
        response = health(served(dead, other))
    assert (response.status_code, response.json()["status"]) == (503, "down")


def test_health_of_a_lone_database(lab: Lab) -> None:
    """Fails when a lone database is degraded for want of replicas, or stays well when it is dead."""
    response = health(served(urls(lab)[0]))
    assert (response.status_code, response.json()["status"]) == (200, "single_database")
    assert response.json()["replicas"] == {"total": 0, "healthy": 0, "unhealthy": 0}
    with dead_url() as dead:
        response = health(served(dead))
    assert (response.status_code, response.json()["status"]) == (503, "down")


# No server for a unit of work.


@pytest.mark.parametrize("way", ["alias", "async-alias"])
def test_writes_without_a_primary_are_to_be_tried_again(lab: Lab, way: str) -> None:
    """Fails when it is a 500, names hosts to the client, or takes the reads down."""
    with dead_url() as dead, browsing(served(dead, *urls(lab)[1:])) as client:
        response = client.post(f"/{way}/note")
        assert client.get("/notes/note").status_code == 200
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert response.json() == {"detail": "the database is not available now"}


@pytest.mark.parametrize("way", ["notes", "async-notes"])
def test_reads_without_any_host_are_to_be_tried_again(way: str) -> None:
    """Fails when only writes are answered so."""
    with dead_url() as dead, dead_url() as other, browsing(served(dead, other)) as client:
        assert client.get(f"/{way}/note").status_code == 503


# Begin and end.


def test_the_manager_lives_as_long_as_the_application(
    lab: Lab, primary: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what the environment says. Fails when probing waits for the first request, or when connections of threads or
    of the event loop stay."""

    def connections() -> int:
        row = primary.execute("select count(*) from pg_stat_activity where application_name = %s", (MARK,)).fetchone()
        assert row is not None
        return row[0]

    wait_until(lambda: connections() == 0, 60)  # those of the tests before
    monkeypatch.delenv("DB_ENV_FILE", raising=False)
    monkeypatch.setenv("DB_PRIMARY_URL", urls(lab)[0])
    monkeypatch.setenv("DB_READ_REPLICA_URLS", "")
    app = FastAPI(lifespan=lifespan)
    app.include_router(notes)
    with browsing(app) as client:
        assert get_replica_manager().live is not None
        assert client.get("/notes/note").status_code == 200
        assert client.get("/async-notes/note").status_code == 200
        assert connections() == 2
    wait_until(lambda: connections() == 0, 60)
    with pytest.raises(RouterError, match="no manager"):
        get_replica_manager()
    assert not [thread for thread in threading.enumerate() if "replctl-router" in thread.name]


def test_an_application_that_made_its_manager_keeps_it(lab: Lab) -> None:
    """Fails when the lifespan goes by the environment nevertheless."""
    made = init_replica_manager(*urls(lab)[:1])
    with browsing(FastAPI(lifespan=lifespan)):
        assert get_replica_manager() is made


def test_an_event_loop_may_end_with_its_application(lab: Lab) -> None:
    """Fails, by a warning of an unclosed connection, when the manager's end leaves the loop's connections to it."""
    manager = ReadReplicaManager(urls(lab)[0], options=PATIENT)

    async def once() -> Any:
        async with serving(manager), manager.get_async_read_session() as session:
            return await session.scalar(text("select 1"))

    assert asyncio.run(once()) == 1
    gc.collect()


# uvicorn.


@contextmanager
def running(app: FastAPI) -> Iterator[str]:
    """Its URL."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, ws="none", log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started or not thread.is_alive(), 60)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(60)
    assert not thread.is_alive()


def test_behind_uvicorn(lab: Lab, primary: psycopg.Connection[Any]) -> None:
    """Clients at once, each with its cookies: whoever has the first bytes of an answer finds what was written, on the
    primary and through the application. Fails when an answer leaves before its COMMIT, or a token is lost."""
    manager = ReadReplicaManager(urls(lab)[0], urls(lab)[1:], options=PATIENT)

    def talk(number: int) -> list[tuple[int, int]]:
        seen = list[tuple[int, int]]()
        with httpx.Client(base_url=url, timeout=60) as client, psycopg.connect(lab.url("db1"), autocommit=True) as look:
            for way, read in (("alias", "notes"), ("async-alias", "async-notes"), ("function", "notes")) * 5:
                note = f"{number} {uuid4().hex}"
                with client.stream("POST", f"/{way}/{note}") as response:
                    row = look.execute("select count(*) from notes where text = %s", (note,)).fetchone()
                    response.raise_for_status()
                seen.append((row[0] if row else -1, client.get(f"/{read}/{note}").json()["count"]))
        return seen

    with running(make_app(manager, ClientTokens(b"k" * 32, secure=False))) as url, ThreadPoolExecutor(4) as clients:
        for seen in clients.map(talk, range(4)):
            assert seen == [(1, 1)] * 15
    assert manager.live is None
