"""One sshd and its accounts for each test process."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg import sql

from replctl.remote.ports import Database, Fleet
from replctl.remote.shell_runner import ShellRunner
from replctl.remote.sql import scram_verifier
from tests.contract.routes import OS_USER, ROOT, ROUTES, SUDO, SUDO_PTY, Route
from tests.contract.scratch_postgres import scratch
from tests.contract.sql_site import DB1, PASSWORDS, WAYS, Site
from tests.contract.sshd import Sshd, serving, unix_user

# sshd lets anyone but root serve the own account alone, and accounts are made by root.
NEEDS_ROOT = {
    "test_app_files.py",
    "test_host_files.py",
    "test_kept_sessions.py",
    "test_hostile_inventory.py",
    "test_ssh.py",
    "test_ssh_trust.py",
    "test_sql.py",
    "test_ssh_promises.py",
}


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    return True if collection_path.name in NEEDS_ROOT and not ROOT else None


@pytest.fixture(scope="session")
def worker() -> str:
    return os.environ.get("PYTEST_XDIST_WORKER", "gw")


@pytest.fixture(scope="session")
def sshd() -> Iterator[Sshd]:
    with serving() as sshd:
        yield sshd


@pytest.fixture(scope="session")
def routes(request: pytest.FixtureRequest, worker: str) -> Iterator[dict[str, Route]]:
    if not ROOT:
        yield {"local": Route("local")}
        return
    sshd: Sshd = request.getfixturevalue("sshd")
    with contextlib.ExitStack() as accounts:
        plain = accounts.enter_context(unix_user(f"replctl-deploy-{worker}", sudoers=SUDO))
        with_pty = accounts.enter_context(unix_user(f"replctl-pty-{worker}", sudoers=SUDO_PTY))
        made = [
            Route("local"),
            Route("ssh-same", sshd, OS_USER),
            Route("ssh-root", sshd, "root"),
            Route("ssh-sudo", sshd, plain.name),
            Route("ssh-sudo-pty", sshd, with_pty.name),
        ]
        yield {route.name: route for route in made}


@pytest.fixture(scope="module", params=ROUTES)
def route(request: pytest.FixtureRequest, routes: dict[str, Route]) -> Route:
    return routes[request.param]


@pytest.fixture(scope="module")
def runner(route: Route) -> Iterator[ShellRunner]:
    runner = route.open()
    yield runner
    runner.close()


@pytest.fixture(scope="module")
def site(sshd: Sshd) -> Iterator[Site]:
    with scratch() as server:
        site = Site(server, sshd)
        fleet = site.fleet(site.node("local"))
        database = fleet[DB1].database()
        verifier = scram_verifier(database, "replicator", PASSWORDS.replication)
        database.execute(sql.SQL("create role replicator login replication password {}").format(verifier))
        database.execute("create role plain login password 'plain'")
        database.execute("create role crowded login password 'crowded' connection limit 0")
        fleet.close()
        yield site


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def fleet(site: Site, way: str) -> Iterator[Fleet]:
    fleet = site.fleet(site.node(way))
    yield fleet
    fleet.close()


@pytest.fixture
def database(fleet: Fleet) -> Database:
    return fleet[DB1].database()
