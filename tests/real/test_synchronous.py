"""Commits that wait for replicas: the setting is right after each change, and no commit waits for one that is gone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.real.clusters import assert_cluster, build, ok, rows, wait_until
from tests.real.disasters import failover, rejoin
from tests.real.hosts import Operator
from tests.real.ledger import Writer
from tests.real.standing import Standing, control, start, value
from tests.real.sweeps import CASES, Case, every, some, sweep

SHOW = "show synchronous_standby_names"
PATIENCE = 8.0
"""Seconds without a commit, at most, on a loaded machine; a commit that waits for a stopped replica waits for ever."""


def any_of(*names: str, number: int = 1) -> str:
    listed = ", ".join(f'"{name}"' for name in names)
    return f"ANY {number} ({listed})"


def synchronous(operator: Operator, version: int = 15, **sync: Any) -> None:
    operator.write_inventory(version=version, extra={"sync": {"count": 1, **sync}})


def assert_names(operator: Operator, primary: str, expected: str) -> None:
    """The primary's, in force and kept; replicas that answer have none."""
    for name, row in rows(operator).items():
        if name == primary:
            assert value(operator, name, SHOW) == expected
        elif row["state"] == "streaming":
            assert value(operator, name, SHOW) == ""


@pytest.mark.fault("85a")
@pytest.mark.parametrize("version", [15, 18])
def test_every_planned_change_under_load(operator: Operator, version: int) -> None:
    synchronous(operator, version)
    build(operator)
    assert_names(operator, "db1", any_of("db2", "db3"))
    assert {row["sync_state"] for name, row in rows(operator).items() if name != "db1"} == {"quorum"}
    with Writer(operator) as writer:
        ok(operator.replctl("promote", "db2", "--yes"))
        assert_names(operator, "db2", any_of("db1", "db3"))
        ok(operator.replctl("restart", "db3", "--yes"))
        ok(operator.replctl("remove-replica", "db3", "--yes"))
        ok(operator.replctl("restart", "db1", "--yes"))  # the only one that is left
        assert_names(operator, "db2", any_of("db1", "db3"))
        ok(operator.replctl("remove-replica", "db1", "--yes"))
        assert_names(operator, "db2", "")
        ok(operator.replctl("add-replica", "db1", "db3", "--yes"))
        assert_names(operator, "db2", any_of("db1", "db3"))
        ok(operator.replctl("restart", "--rolling", "--yes"))
        writer.wait_for_rows(20)
    assert_names(operator, "db1", any_of("db2", "db3"))
    assert writer.missing(operator, "db1") == []
    assert writer.longest_gap < PATIENCE
    again = ok(operator.replctl("add-replica", "--all", "--yes", "-o", "json")).document
    assert again["outcome"] == "unchanged"


@pytest.mark.fault("85a")
def test_as_many_as_there_are(cluster: Operator) -> None:
    """Each that is restarted would be missed: commits wait for one less meanwhile, and for both in the end."""
    synchronous(cluster, count=2, mode="first")
    applied = ok(cluster.replctl("config", "apply", "--yes", "-o", "json")).document
    assert "standbys:db1" in [step["id"] for step in applied["steps"]]
    both = 'FIRST 2 ("db2", "db3")'
    assert_names(cluster, "db1", both)
    with Writer(cluster) as writer:
        ok(cluster.replctl("restart", "db3", "--yes"))
        writer.wait_for_rows(20)
        assert_names(cluster, "db1", both)
        control(cluster.lan["db3"], "stop", "-m", "fast")
        acknowledged = len(writer.acknowledged)
        waiting = cluster.replctl("check")
        assert "commits on db1 wait" in waiting.out, waiting.out
        assert len(writer.acknowledged) <= acknowledged + 1
        ok(cluster.replctl("config", "apply", "--yes"))  # what the finding says
        writer.wait_for_rows(20)
        assert_names(cluster, "db1", 'FIRST 1 ("db2", "db3")')
        start(cluster.lan["db3"])
        wait_until(lambda: rows(cluster)["db3"]["state"] == "streaming")
        less = cluster.replctl("check")
        assert "Fix: replctl config apply" in less.out, less.out
        ok(cluster.replctl("config", "apply", "--yes"))
        assert_names(cluster, "db1", both)


@pytest.mark.fault("85b", "85c")
@pytest.mark.parametrize("version", [15, 18])
def test_a_failover_loses_nothing_that_was_answered(operator: Operator, version: int) -> None:
    synchronous(operator, version)
    build(operator)
    with Writer(operator) as writer:
        control(operator.lan["db1"], "stop", "-m", "immediate", version=version)
        planned = operator.replctl("promote", "db2", "--failover", "--dry-run")
        assert "no commit that waited for them is lost" in " ".join(planned.out.split()), planned.out + planned.err
        candidates = operator.replctl("promote", "-o", "json").document
        best = candidates["refusals"][0]["node"]
        failover(operator, best, code=6)
        writer.wait_for_rows(20)
        third = ({"db2", "db3"} - {best}).pop()
        assert_names(operator, best, any_of(*sorted({"db1", third})))
        rejoin(operator, "db1", "--discard-diverged")
        writer.wait_for_rows(20)
    assert_cluster(operator, best, sorted({"db1", third}))
    assert_names(operator, best, any_of(*sorted({"db1", third})))
    assert writer.missing(operator, best) == []
    ok(operator.replctl("promote", "db1", "--yes"))
    assert_names(operator, "db1", any_of("db2", "db3"))


def made_synchronous(case: Case) -> Case:
    """The same with commits that wait, and a look at the setting in the end."""

    def prepare(operator: Operator) -> None:
        synchronous(operator)
        ok(operator.replctl("config", "apply", "--yes"))
        case.prepare(operator)

    def check(operator: Operator) -> None:
        case.check(operator)
        seen = rows(operator)
        (primary,) = [name for name, row in seen.items() if row["role"] == "primary"]
        assert_names(operator, primary, any_of(*(name for name in seen if name != primary)))

    return replace(case, prepare=prepare, check=check)


@pytest.mark.fault("85d")
@pytest.mark.parametrize("name", ["promote", "remove-replica"])
def test_killed_here_and_there(standing: Standing, name: str, tmp_path: Path) -> None:
    sweep(standing.restore, made_synchronous(CASES[name]), tmp_path, some)


@pytest.mark.slow
@pytest.mark.fault("85d")
@pytest.mark.parametrize("name", sorted(CASES))
def test_killed_after_every_operation(standing: Standing, name: str, tmp_path: Path) -> None:
    sweep(standing.restore, made_synchronous(CASES[name]), tmp_path, every)
