"""From bare hosts to a primary with two replicas and a switchover, for every SSH user and every version."""

from __future__ import annotations

import psycopg
import pytest

from tests.real.clusters import assert_cluster, assert_env, build, ok
from tests.real.hosts import DEPLOY, Operator
from tests.real.ledger import Writer

COMBINATIONS = [
    (15, "postgres"),
    (15, "root"),
    (15, DEPLOY),
    (16, "postgres"),
    (17, DEPLOY),
    (18, "root"),
    (18, "postgres"),
]


@pytest.mark.fault("53")
@pytest.mark.parametrize(("version", "ssh_user"), COMBINATIONS)
def test_the_main_job(operator: Operator, version: int, ssh_user: str) -> None:
    operator.write_inventory(version=version, ssh_user=ssh_user)
    ok(operator.replctl("init-primary", "db1", "--yes"))
    assert_env(operator, "db1", [])
    ok(operator.replctl("add-replica", "db2", "db3", "--yes"))
    assert_cluster(operator, "db1", ["db2", "db3"])

    with Writer(operator) as writer:
        promoted = ok(operator.replctl("promote", "db2", "--yes", "-o", "json")).document
        writer.wait_for_rows(20)
    assert promoted["outcome"] == "done"
    assert 0 < promoted["write_outage_ms"] < 10_000
    assert writer.missing(operator, "db2") == []
    assert_cluster(operator, "db2", ["db1", "db3"])

    url = operator.read_env()["DB_PRIMARY_URL"]
    with psycopg.connect(url, autocommit=True) as app:
        app.execute("create table messages (id int primary key, words text)")
        app.execute("insert into messages values (1, 'grüße')")


@pytest.mark.parametrize(
    "command", [("init-primary", "db1"), ("add-replica", "db2", "db3"), ("promote", "db1"), ("env", "--write")]
)
def test_a_second_run_changes_nothing(operator: Operator, command: tuple[str, ...]) -> None:
    build(operator)
    again = ok(operator.replctl(*command, "--yes", "-o", "json")).document
    assert again["outcome"] == "unchanged"
    assert again["steps"] == []
    assert_cluster(operator, "db1", ["db2", "db3"])


def test_dry_run_prints_the_plan_that_then_runs(operator: Operator) -> None:
    for command in (("init-primary", "db1"), ("add-replica", "db2", "db3"), ("promote", "db3")):
        planned = ok(operator.replctl(*command, "--dry-run", "-o", "json")).document
        assert planned["outcome"] == "planned"
        assert {step["outcome"] for step in planned["steps"]} == {"planned"}
        ran = ok(operator.replctl(*command, "--yes", "-o", "json")).document
        assert [step["id"] for step in ran["steps"]] == [step["id"] for step in planned["steps"]]
    assert_cluster(operator, "db3", ["db1", "db2"])
