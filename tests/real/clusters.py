"""What the tests of the real tier ask of a cluster again and again."""

from __future__ import annotations

import stat
import time
from typing import Any

from tests.real.hosts import Operator, Run


def ok(run: Run) -> Run:
    """The run, which must have ended with 0."""
    assert run.code == 0, f"exit {run.code}\n{run.out}\n{run.err}"
    return run


def build(operator: Operator, primary: str = "db1", replicas: tuple[str, ...] = ("db2", "db3")) -> None:
    """A primary with its replicas, by the commands that are under test."""
    ok(operator.replctl("init-primary", primary, "--yes"))
    if replicas:
        ok(operator.replctl("add-replica", *replicas, "--yes"))


def status(operator: Operator) -> dict[str, Any]:
    return operator.replctl("status", "-o", "json").document


def rows(operator: Operator) -> dict[str, dict[str, Any]]:
    """The status rows by node."""
    return {row["name"]: row for row in status(operator)["nodes"]}


def assert_cluster(operator: Operator, primary: str, replicas: list[str]) -> None:
    """Healthy: one primary, every replica streams from it, slots are the expected set, the env file says so."""
    seen = status(operator)
    assert seen["health"] == "healthy", seen["findings"]
    assert seen["primary"] == primary
    assert [row["name"] for row in seen["nodes"] if row["state"] == "streaming"] == replicas
    assert all(row["upstream"] == primary for row in seen["nodes"] if row["name"] in replicas)
    assert_env(operator, primary, replicas)
    assert slots(operator, primary) == {f"replctl_{name}" for name in replicas}
    for name in replicas:
        assert slots(operator, name) == set()


def assert_env(operator: Operator, primary: str, replicas: list[str]) -> None:
    env = operator.read_env()
    assert f"@{operator.lan[primary].address}:5432/" in env["DB_PRIMARY_URL"]
    urls = [url for url in env["DB_READ_REPLICA_URLS"].split(",") if url]
    assert [f"@{operator.lan[name].address}:5432/" for name in replicas] == [
        url[url.index("@") : url.rindex("/") + 1] for url in urls
    ]
    assert stat.S_IMODE(operator.env_file.stat().st_mode) == 0o600


def slots(operator: Operator, name: str) -> set[str]:
    with operator.connect(name) as connection:
        return {row[0] for row in connection.execute("select slot_name from pg_replication_slots")}


def wait_until(condition: Any, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.05)


def data_dir(version: int = 15) -> str:
    return f"/var/lib/postgresql/{version}/main"
