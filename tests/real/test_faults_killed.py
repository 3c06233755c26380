"""init-primary and add-replica are killed after each of their steps: the same command finishes the job."""

from __future__ import annotations

import pytest

from tests.real.clusters import assert_cluster, assert_env, ok, rows
from tests.real.hosts import Operator
from tests.real.standing import MAIN, forget
from tests.real.watched import Watched

INIT_PRIMARY = (
    "initdb",
    "config",
    "passfile",
    "install",
    "start",
    "role-replication",
    "role-app",
    "database",
    "grant-rewind",
)
ADD_REPLICA = (
    ("db2", "login", "ok:"),
    ("db1", "slot:db2", "done"),
    ("db2", "passfile", "done"),
    ("db2", "clone", "done"),
    ("db2", "config", "done"),
    ("db2", "standby", "done"),
    ("db2", "install", "done"),
    ("db2", "start", "done"),
    ("db2", "streaming", "ok:"),
    ("here", "env", "done"),
)


def killed(operator: Operator, moment: tuple[str, ...], *command: str) -> None:
    run = Watched(operator, *command, "--yes")
    run.until(*moment)
    run.kill()


def assert_finished(operator: Operator, *command: str) -> None:
    """The same command again succeeds; once more, there is nothing to do."""
    ok(operator.replctl(*command, "--yes"))
    again = ok(operator.replctl(*command, "--yes", "-o", "json")).document
    assert (again["outcome"], again["steps"]) == ("unchanged", [])


def assert_nothing_beside(operator: Operator, name: str) -> None:
    beside = operator.lan[name].path(MAIN).parent
    assert {path.name for path in beside.iterdir()} == {"main", "main.replctl-passfile"}


@pytest.mark.slow
@pytest.mark.fault("1a")
@pytest.mark.parametrize("step", INIT_PRIMARY)
def test_init_primary(operator: Operator, step: str) -> None:
    killed(operator, ("db1", step, "done"), "init-primary", "db1")
    assert_finished(operator, "init-primary", "db1")
    assert rows(operator)["db1"]["state"] == "read-write"
    assert_env(operator, "db1", [])
    assert_nothing_beside(operator, "db1")
    with operator.connect("db1", "app") as connection:
        connection.execute("create table messages (id int)")


@pytest.mark.slow
@pytest.mark.fault("1b")
@pytest.mark.parametrize("moment", ADD_REPLICA, ids=lambda moment: moment[1])
def test_add_replica(cluster: Operator, moment: tuple[str, ...]) -> None:
    forget(cluster, "db2")
    killed(cluster, moment, "add-replica", "db2")
    assert_finished(cluster, "add-replica", "db2")
    assert_cluster(cluster, "db1", ["db2", "db3"])
    assert_nothing_beside(cluster, "db2")
