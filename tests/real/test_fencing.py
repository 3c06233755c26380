"""An old primary that still accepts writes: shown by every look, and stopped by the first command that changes."""

from __future__ import annotations

import pytest

from tests.real.clusters import assert_cluster, assert_env, ok, rows, status, wait_until
from tests.real.disasters import (
    announced,
    assert_entries,
    commit,
    entries,
    failover,
    hurry,
    make_table,
    refusal,
    refuses_connections,
    rejoin,
    signal_file,
    step_ids,
)
from tests.real.hosts import Operator
from tests.real.standing import MAIN, control, in_recovery

FENCED, DISCARD = "--old-primary-fenced", "--discard-diverged"
LOOKS = (
    ("status",),
    ("env",),
    ("env", "--check"),
    ("history",),
    ("env", "--write", "--dry-run"),
    ("rejoin", "db1", "--dry-run"),
    ("rejoin", "db1", DISCARD, "--dry-run"),
    ("add-replica", "db3", "--dry-run"),
    ("promote", "db2", "--dry-run"),
)


@pytest.fixture
def split(cluster: Operator) -> Operator:
    """db2 was promoted by hand while db1 served on, and both took commits since. db3 follows db1."""
    make_table(cluster)
    commit(cluster, "db1", range(10))
    wait_until(lambda: len(entries(cluster, "db2")) == 10)
    control(cluster.lan["db2"], "promote")
    wait_until(lambda: not in_recovery(cluster, "db2"))
    commit(cluster, "db1", range(100, 120))
    commit(cluster, "db2", range(200, 230))
    return cluster


def assert_fenced(operator: Operator, name: str) -> None:
    """Stopped, and nothing but replctl would make it a primary again."""
    host = operator.lan[name]
    assert signal_file(host)
    assert refuses_connections(operator, name)
    assert rows(operator)[name]["state"] == "stopped"
    assert status(operator)["primary"] == "db2"


def test_a_partition_heals(cluster: Operator) -> None:
    """The application went on at db2; somebody wrote to db1 all the same. Nothing of it is lost unseen."""
    hurry(cluster)
    host = cluster.lan["db1"]
    make_table(cluster)
    commit(cluster, "db1", range(10))
    wait_until(lambda: len(entries(cluster, "db2")) == 10)
    host.unplug()
    failover(cluster, "db2", FENCED, code=6)
    commit(cluster, "db2", range(200, 230))
    host.plug()
    commit(cluster, "db1", range(100, 120))
    seen = status(cluster)
    assert (seen["health"], seen["primary"]) == ("critical", None)
    (finding,) = [one for one in seen["findings"] if one["code"] == "multiple-primaries"]
    assert "rejoin db1 --discard-diverged" in finding["hint"]
    assert "rejoin db2 --discard-diverged" in finding["hint"]
    assert_env(cluster, "db2", ["db3"])

    refused = rejoin(cluster, "db1", code=3)
    assert_fenced(cluster, "db1")
    assert 20 <= announced(refusal(refused, "diverged")["message"])[1] < 30
    assert_env(cluster, "db2", ["db3"])
    rejoin(cluster, "db1", DISCARD)
    assert_cluster(cluster, "db2", ["db1", "db3"])
    assert_entries(cluster, "db1", {*range(10), *range(200, 230)})
    (aside,) = host.path(MAIN).parent.glob("main.replctl-aside-*")
    assert (aside / "transactions.txt").read_text().count("COMMIT") >= 20
    assert rejoin(cluster, "db1")["outcome"] == "unchanged"


@pytest.mark.fault("69")
def test_looking_fences_nobody(split: Operator) -> None:
    before = split.env_file.read_text()
    for look in LOOKS:
        run = split.replctl(*look)
        assert run.code in {0, 3, 4, 11}, f"{look}: {run.code} {run.err}"
    commit(split, "db1", range(300, 301))
    assert not signal_file(split.lan["db1"])
    assert split.env_file.read_text() == before


@pytest.mark.fault("64")
@pytest.mark.parametrize(
    ("command", "code"),
    [
        (("env", "--write"), 0),
        (("restart", "db2"), 0),
        (("add-replica", "db3"), 3),
        (("remove-replica", "db2"), 3),
        (("rejoin", "db1"), 3),
        (("rejoin", "db3"), 3),
        (("promote", "db3"), 3),
        (("init-primary", "db3"), 3),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else "",
)
def test_every_changing_command_fences_first(split: Operator, command: tuple[str, ...], code: int) -> None:
    """Also one that is refused then: it says so."""
    run = split.replctl(*command, "--yes")
    assert run.code == code, run.out + run.err
    said = " ".join((run.out + run.err).split())
    assert "db1 is fenced first and stays stopped" in said
    assert_fenced(split, "db1")


def test_back_to_one_line(split: Operator) -> None:
    """Both that followed the old line come back, and keep what they had."""
    ok(split.replctl("env", "--write", "--yes"))
    assert_env(split, "db2", [])
    for name in ("db1", "db3"):
        refusal(rejoin(split, name, code=3), "diverged")
        assert "rewind" in step_ids(rejoin(split, name, DISCARD))
    assert_cluster(split, "db2", ["db1", "db3"])
    for name in ("db1", "db3"):
        assert_entries(split, name, {*range(10), *range(200, 230)})
