"""Hosts of the application: each has its copy of the env file, whatever becomes of the nodes."""

from __future__ import annotations

import shlex
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.real.clusters import assert_env, build, ok, status, wait_until
from tests.real.hosts import DEPLOY, Lan, Operator, Run
from tests.real.watched import Watched

APPS = ("app1", "app2")
NODES = ("db1", "db2")
FILE = f"/home/{DEPLOY}/chat.env"
RELOADS = f"/home/{DEPLOY}/reloads"
GO = f"/home/{DEPLOY}/go"
RELOAD = shlex.join(["sh", "-c", f'while [ ! -e {GO} ]; do sleep 0.05; done; echo "$(id -un)" >>{RELOADS}'])
"""Waits for the test's permission, which is there unless a test takes it away."""
THEIRS = "# the application's own\nSECRET_KEY=x\n"


@pytest.fixture(scope="module")
def lan() -> Iterator[Lan]:
    with Lan((*NODES, *APPS)) as lan:
        yield lan


@pytest.fixture(scope="module")
def published(lan: Lan, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """Two nodes, one of them the primary, and two hosts of the application that know them."""
    lan.wipe()
    operator = Operator.at(lan, tmp_path_factory.mktemp("published"))
    for name in APPS:
        copy_on(operator, name).write_text(THEIRS)
        operator.lan[name].run(["chown", f"{DEPLOY}:{DEPLOY}", FILE], "root")
        allow(operator, name)
    operator.write_inventory(nodes=NODES, extra={"app": {"publish": [_entry(operator, name) for name in APPS]}})
    build(operator, replicas=("db2",))
    yield operator
    operator.close()


def roles(operator: Operator) -> tuple[str, str]:
    """The primary and the replica; each test leaves them the other way round."""
    primary = status(operator)["primary"]
    return primary, next(name for name in NODES if name != primary)


def _entry(operator: Operator, name: str) -> dict[str, Any]:
    host = {"host": operator.lan[name].address, "user": DEPLOY, "path": FILE, "reload": RELOAD}
    return host | {"ssh": {"connect_timeout": 8}}


def allow(operator: Operator, name: str) -> None:
    operator.lan[name].run(["touch", GO], DEPLOY)


def copy_on(operator: Operator, name: str) -> Path:
    return operator.lan[name].path(FILE)


def reloads(operator: Operator, name: str) -> int:
    lines = operator.lan[name].path(RELOADS).read_text().splitlines()
    assert set(lines) == {DEPLOY}
    return len(lines)


def assert_copy(operator: Operator, name: str, primary: str, replicas: list[str]) -> None:
    """The host's file says what the operator's own does, and is what it was otherwise."""
    assert_env(operator, primary, replicas)
    path = copy_on(operator, name)
    assert path.read_text() == THEIRS + operator.env_file.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.stat().st_uid == path.parent.stat().st_uid


def outcomes(run: Run) -> dict[str, str]:
    return {step["id"]: step["outcome"] for step in run.document["steps"] if step["node"] is None}


def push(operator: Operator, name: str) -> str:
    return f"push:{operator.lan[name].address}:{FILE}"


def test_a_promotion_reaches_every_host_of_the_application(published: Operator) -> None:
    old, new = roles(published)
    for name in APPS:
        assert_copy(published, name, old, [new])
    before = {name: reloads(published, name) for name in APPS}
    run = ok(published.replctl("promote", new, "--yes", "-o", "json"))
    assert run.document["app_sessions"] == {"db1": 0, "db2": 0}
    for name in APPS:
        assert_copy(published, name, new, [old])
        assert reloads(published, name) == before[name] + 2
        assert (outcomes(run)[push(published, name)], outcomes(run)[f"{push(published, name)}-2"]) == ("done", "done")
        previous = copy_on(published, name).with_name("chat.env.replctl-previous")
        assert f"DB_PRIMARY_URL={published.read_env()['DB_PRIMARY_URL']}\n" in previous.read_text()
        assert "DB_READ_REPLICA_URLS=\n" in previous.read_text()
    again = ok(published.replctl("promote", new, "--yes", "-o", "json"))
    assert again.document["outcome"] == "unchanged"
    assert [reloads(published, name) for name in APPS] == [before[name] + 2 for name in APPS]


def test_a_host_out_of_reach_stops_no_promotion_and_is_mended_afterwards(published: Operator) -> None:
    old, new = roles(published)
    stale = copy_on(published, "app1").read_text()
    published.lan["app1"].unplug()
    run = published.replctl("promote", new, "--yes", "-o", "json")
    assert run.code == 6, run.err
    assert outcomes(run)[push(published, "app1")] == "failed"
    assert published.lan["app1"].address in run.document["refusals"][0]["message"]
    assert "`replctl env --write`" in run.document["next"]
    assert_copy(published, "app2", new, [old])
    assert copy_on(published, "app1").read_text() == stale
    check = ok(published.replctl("env", "--check"))
    assert f"{published.lan['app1'].address}:{FILE} was not compared" in check.err.replace("\n", " ")
    published.lan["app1"].plug()
    assert published.replctl("env", "--check").code == 4
    assert ok(published.replctl("env", "--write", "-o", "json")).document["outcome"] == "done"
    for name in APPS:
        assert_copy(published, name, new, [old])
    ok(published.replctl("env", "--check"))
    assert ok(published.replctl("env", "--write", "-o", "json")).document["outcome"] == "unchanged"


def test_a_reload_that_a_killed_run_owes_is_done_by_the_next(published: Operator) -> None:
    copy, due = copy_on(published, "app1"), copy_on(published, "app1").with_name("chat.env.replctl-reload-due")
    copy.write_text(THEIRS)
    published.lan["app1"].run(["rm", GO], DEPLOY)
    run = Watched(published, "env", "--write")
    wait_until(due.exists, 60)
    run.kill()
    run.end()
    allow(published, "app1")
    check = published.replctl("env", "--check")
    assert check.code == 4
    assert "the reload command has still to run" in check.out
    before = reloads(published, "app1")
    assert ok(published.replctl("env", "--write", "-o", "json")).document["outcome"] == "done"
    assert reloads(published, "app1") > before
    assert not due.exists()
    ok(published.replctl("env", "--check"))


def test_sessions_that_came_to_the_demoted_node_by_the_old_file_are_ended(published: Operator) -> None:
    """The application has not read its file yet: it goes on with the old address, and finds a standby there."""
    old, new = roles(published)
    published.lan["app1"].run(["rm", GO], DEPLOY)
    with ThreadPoolExecutor(1) as pool:
        promotion = pool.submit(published.replctl, "promote", new, "--yes", "-o", "json")
        stale = _session_on_standby(published, old)
        reader = published.connect(new, role="app")
        allow(published, "app1")
        run = ok(promotion.result())
    with pytest.raises(psycopg.errors.AdminShutdown):
        stale.execute("select 1")
    reader.execute("select 1")
    stale.close()
    reader.close()
    assert run.document["app_sessions"] == {old: 0, new: 1}
    assert_copy(published, "app1", new, [old])


def _session_on_standby(operator: Operator, name: str) -> psycopg.Connection[Any]:
    """A session of the application on a node that it still takes for the primary, once that runs as a standby."""
    found: list[psycopg.Connection[Any]] = []

    def connect() -> bool:
        try:
            session = operator.connect(name, role="app")
        except psycopg.OperationalError:
            return False
        if not _is_standby(session):
            session.close()
            return False
        found.append(session)
        return True

    wait_until(connect, 60)
    return found[0]


def _is_standby(session: psycopg.Connection[Any]) -> bool:
    try:
        row = session.execute("select pg_is_in_recovery()").fetchone()
    except psycopg.OperationalError:  # it was stopped just now
        return False
    return bool(row and row[0])
