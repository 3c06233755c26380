"""What a client has written and seen it sees again, by its cookie or its header."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import event, text

from replctl.router import ConfigurationError, DatabaseConfig, ReadReplicaManager, Token
from replctl.router.asgi import RequestTokens
from replctl.router.fastapi import ClientTokens, DbWrite, Guarantee
from replctl.router.sessions import RoutedSession
from tests.router.labs import Lab, wait_until
from tests.router.web_app import INSERT, PATIENT, Browser, browsing, make_app, make_table

KEY = b"the key of the tests, 32 bytes !"
TOKENS = ClientTokens(KEY, secure=False)
REPLICAS = ("db2", "db3")


@pytest.fixture
def note(request: pytest.FixtureRequest) -> str:
    """A text that no other test writes."""
    return f"{request.node.name} {uuid4().hex}"


@pytest.fixture(scope="module", autouse=True)
def _restored(lab: Lab) -> None:
    """Once: these tests leave the servers as they found them."""
    lab.restore()
    make_table(lab)


@pytest.fixture
def manager(lab: Lab) -> Iterator[ReadReplicaManager]:
    """However far behind, a replica is read from: only tokens keep a client away from it."""
    config = DatabaseConfig.from_env_file(lab.env_file)
    made = ReadReplicaManager.from_config(
        replace(config, lag_check_enabled=False, read_replica_health_check_interval=0.2, env_file=None),
        PATIENT,
    )
    yield made
    made.dispose()


@pytest.fixture
def client(manager: ReadReplicaManager) -> Iterator[Browser]:
    with browsing(make_app(manager, TOKENS)) as made:
        yield made


def _until(lab: Lab, node: str, question: str, *values: Any) -> None:
    with psycopg.connect(lab.url(node), autocommit=True) as connection:
        wait_until(lambda: connection.execute(question, values).fetchone() == (True,), 60)


def token_of(response: Any) -> Token:
    return Token.decode(response.headers["x-db-token"], KEY)


@pytest.mark.parametrize("write", ["alias", "async-alias", "both", "twice", "closed"])
@pytest.mark.parametrize("read", ["notes", "async-notes"])
def test_a_client_sees_its_own_writes(lab: Lab, client: Browser, note: str, write: str, read: str) -> None:
    """No replica has them. Fails when the token is taken before the COMMIT, lost on the way, or not heeded; and when
    replicas would show them anyway."""
    with lab.paused(*REPLICAS):
        assert client.post(f"/{write}/{note}").status_code == 200
        assert client.get(f"/{read}/{note}").json()["count"] == 1
        client.client.cookies.clear()
        assert client.get(f"/{read}/{note}").json()["count"] == 0


def test_a_client_without_cookies_uses_the_header(lab: Lab, client: Browser, note: str) -> None:
    """Fails when one of the two ways is not read, or not written."""
    with lab.paused(*REPLICAS):
        token = client.post(f"/alias/{note}").headers["x-db-token"]
        client.client.cookies.clear()
        assert client.get(f"/notes/{note}", headers={"x-db-token": token}).json()["count"] == 1


@pytest.mark.parametrize(
    ("guarantee", "goes_back"), [(Guarantee.MONOTONIC_READS, False), (Guarantee.READ_YOUR_WRITES, True)]
)
def test_a_client_never_goes_back_if_it_is_promised(
    lab: Lab, manager: ReadReplicaManager, note: str, guarantee: Guarantee, goes_back: bool
) -> None:
    """Another client wrote, one replica has it and one has not. Fails when what a read has seen is not remembered; the
    lesser guarantee shows that the replica that is behind is in use."""
    with browsing(make_app(manager, replace(TOKENS, guarantee=guarantee))) as client, lab.paused("db3"):
        with psycopg.connect(lab.url("db1")) as connection:
            connection.execute("insert into notes values (%s)", (note,))
        _until(lab, "db2", "select count(*) = 1 from notes where text = %s", note)
        wait_until(lambda: client.get(f"/notes/{note}").json()["count"] == 1, 60)
        counts = {client.get(f"/notes/{note}").json()["count"] for _ in range(12)}
    assert (0 in counts) == goes_back


def test_the_cookie_is_out_of_scripts_reach_and_ends(client: Browser, note: str) -> None:
    """Fails when an attribute is missing."""
    said = client.post(f"/alias/{note}").headers["set-cookie"].split("; ")
    assert said[0].startswith("db_token=")
    assert said[1:] == ["Max-Age=3600", "Path=/", "HttpOnly", "SameSite=Lax"]


def test_the_cookie_is_kept_to_https_unless_told_otherwise(manager: ReadReplicaManager, note: str) -> None:
    """Fails when the default is the weaker one."""
    with browsing(make_app(manager, ClientTokens(KEY))) as client:
        assert client.post(f"/alias/{note}").headers["set-cookie"].endswith("; Secure")


@pytest.mark.parametrize(
    "cookie",
    [
        "nonsense",
        "%%%",
        "Ä".encode().decode("latin-1"),
        "",
        Token(1, 1, 2**60).encode(b"another key, of 32 bytes as well"),
        Token(1, 1, 2**60).encode(KEY)[:-1],
        "A" * 5000,
    ],
    ids=["text", "signs", "not-ascii", "empty", "another-key", "cut-off", "long"],
)
def test_a_forged_token_counts_as_none(client: Browser, manager: ReadReplicaManager, note: str, cookie: str) -> None:
    """Fails when it is an error, or is believed and keeps its client away from the replicas."""
    headers = [(b"cookie", f"db_token={cookie}".encode("latin-1")), (b"x-db-token", cookie.encode("latin-1"))]
    response = client.get(f"/notes/{note}", headers=headers)
    assert response.status_code == 200
    assert response.json()["host"] in manager.get_replica_status()
    assert token_of(response).lsn < 2**60


def test_a_token_of_another_cluster_gives_way(client: Browser, manager: ReadReplicaManager, note: str) -> None:
    """Fails when it locks its client out, or is given back. One of this cluster from far ahead is heeded."""
    here = token_of(client.post(f"/alias/{note}"))
    client.client.cookies.clear()
    foreign = Token(here.system_identifier + 1, here.timeline + 7, 2**60)
    response = client.get(f"/notes/{note}", headers={"x-db-token": foreign.encode(KEY)})
    assert response.json()["host"] in manager.get_replica_status()
    assert token_of(response).system_identifier == here.system_identifier
    client.client.cookies.clear()
    ahead = replace(here, lsn=2**60)
    response = client.get(f"/notes/{note}", headers={"x-db-token": ahead.encode(KEY)})
    assert response.json()["host"] == manager.get_primary_status()["id"]
    assert token_of(response) == ahead


@pytest.mark.parametrize(
    ("method", "path", "status"), [("post", "refused", 409), ("get", "gone", 404), ("get", "caught", 200)]
)
def test_what_an_error_tells_is_seen_too(client: Browser, note: str, method: str, path: str, status: int) -> None:
    """Fails when a client that was told "there is one already" may not find it in what it reads next."""
    response = getattr(client, method)(f"/{path}/{note}")
    assert response.status_code == status
    assert token_of(response).lsn > 0


@pytest.mark.parametrize("path", ["/untouched", "/health/database"])
def test_who_asks_no_database_keeps_the_token(client: Browser, path: str) -> None:
    """Fails when every response sets a cookie."""
    response = client.get(path)
    assert response.status_code == 200
    assert not {"set-cookie", "x-db-token"} & set(response.headers)


def test_without_the_middleware_nothing_is_asked(
    manager: ReadReplicaManager, note: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails when a request pays for a token that nobody gets."""

    def no_token(_: RoutedSession) -> Token:
        raise AssertionError("asked for a token")

    monkeypatch.setattr(RoutedSession, "take_token", no_token)
    with browsing(make_app(manager)) as client:
        assert client.post(f"/alias/{note}").status_code == 200
        assert client.get(f"/async-notes/{note}").status_code == 200


def test_a_connection_that_ends_after_the_commit_costs_no_token(
    lab: Lab, manager: ReadReplicaManager, note: str
) -> None:
    """Fails when what is committed is told as failed, or its client cannot read it."""
    app = make_app(manager, TOKENS)

    @app.post("/cut-off")
    def write_and_lose_the_connection(db: DbWrite) -> None:
        pid = db.scalar(text("select pg_backend_pid()"))

        def cut_off(_: Any) -> None:
            lab.sql("db1", f"select pg_terminate_backend({pid})")
            _until(lab, "db1", "select not exists (select from pg_stat_activity where pid = %s)", pid)

        event.listen(db, "after_commit", cut_off)
        db.execute(INSERT, {"text": note})

    with browsing(app) as client, lab.paused(*REPLICAS):
        assert client.post("/cut-off").status_code == 200
        assert client.get(f"/notes/{note}").json()["count"] == 1


def test_the_newest_of_several_tokens_counts() -> None:
    """Fails when the last one does."""
    tokens = RequestTokens(Guarantee.MONOTONIC_READS, Token(1, 2, 50))
    assert tokens.newest is None
    for token in (Token(1, 2, 70), Token(1, 2, 60), Token(1, 1, 99)):
        tokens.add(token)
    assert tokens.newest == Token(1, 2, 70)
    behind = RequestTokens(Guarantee.MONOTONIC_READS, Token(1, 2, 50))
    behind.add(Token(1, 2, 40))
    assert behind.newest == Token(1, 2, 50)


def test_settings_that_cannot_be_used_are_refused() -> None:
    """Fails when a short key signs, or a name breaks the header; and when a key is shown."""
    for settings in ({"key": b"short"}, {"key": KEY, "cookie": "a;b"}, {"key": KEY, "header": "x y"}):
        with pytest.raises(ConfigurationError):
            ClientTokens(**settings)
    assert "32 bytes" not in repr(TOKENS)
