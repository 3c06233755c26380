"""The primary is dead: what is said before, what is lost, and what is never done."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.real.clusters import assert_cluster, assert_env, ok, rows, status, wait_until
from tests.real.disasters import (
    announced,
    assert_entries,
    await_sent,
    codes,
    commit,
    end_server,
    entries,
    failover,
    follow_nobody,
    hurry,
    lose,
    make_table,
    refusal,
    rejoin,
    signal_file,
)
from tests.real.gallery import pictured
from tests.real.hosts import Operator
from tests.real.ledger import Writer
from tests.real.standing import control, freeze, frozen, in_recovery, role, start, thaw, value
from tests.real.watched import Watched

FENCED, LOSS, DISCARD = "--old-primary-fenced", "--accept-data-loss", "--discard-diverged"


@pytest.mark.slow
@pytest.mark.fault("64")
def test_of_a_host_that_lost_its_power(cluster: Operator) -> None:
    """Refused until its fencing is stated; then the next command that meets it brings it back."""
    hurry(cluster)
    host = cluster.lan["db1"]
    with Writer(cluster) as writer:
        # A replica that has received more than db2 would be another refusal.
        follow_nobody(cluster, "db3")
        writer.wait_for_rows(20)
        host.power_cut()
        told = list(writer.acknowledged)
        before = cluster.env_file.read_text()
        refused = failover(cluster, "db2", code=3)
        assert codes(refused) == {"old-primary-unreachable"}
        assert "init-primary db1" in refused["refusals"][0]["message"]
        assert cluster.env_file.read_text() == before
        done = failover(cluster, "db2", FENCED, code=6)
        assert "replctl rejoin db1" in done["next"]
        writer.wait_for_rows(20)
        seen = status(cluster)
        assert (seen["primary"], seen["timeline"]) == ("db2", 2)
        assert {"fence-debt", "unreachable"} <= {finding["code"] for finding in seen["findings"]}
        pictured(cluster, "fence-debt")
        assert_env(cluster, "db2", ["db3"])
        assert failover(cluster, "db2", FENCED)["outcome"] == "unchanged"
        host.power_on()
        start(host)
        rejoin(cluster, "db1", DISCARD)
    lost = writer.missing(cluster, "db2")
    assert lost == told[len(told) - len(lost) :], "only what was not sent when the power went may be lost"
    assert_cluster(cluster, "db2", ["db1", "db3"])


def test_what_a_crash_loses_is_announced(cluster: Operator) -> None:
    """Its host answers: nobody has to say that it is fenced, and its own WAL says what its end cost."""
    make_table(cluster)
    commit(cluster, "db1", range(10))
    lose(cluster, range(100, 130))
    assert not signal_file(cluster.lan["db1"])
    planned = ok(cluster.replctl("promote", "db2", "--failover", "--dry-run", env={"COLUMNS": "1000"}))
    lost_bytes, commits = announced(planned.out)
    assert not signal_file(cluster.lan["db1"])
    run = Watched(cluster, "promote", "db2", "--failover", "--yes")
    run.until("db1", "demote", "done")
    assert signal_file(cluster.lan["db1"])
    assert in_recovery(cluster, "db2")
    ended = run.end()
    assert ended.code == 6, ended.err
    assert "replctl rejoin db1" in ended.err
    assert_entries(cluster, "db2", set(range(10)))
    assert 30 <= commits < 40
    assert 30 * 64 < lost_bytes < 65536
    assert_env(cluster, "db2", ["db3"])
    assert failover(cluster, "db2")["outcome"] == "unchanged"


def test_after_a_clean_stop_nothing_is_lost(cluster: Operator) -> None:
    """What --failover allows is not needed: it is the second half of a switchover."""
    with Writer(cluster) as writer:
        control(cluster.lan["db1"], "stop", "-m", "fast")
        failover(cluster, "db2")
        writer.wait_for_rows(20)
    assert writer.missing(cluster, "db2") == []
    assert_cluster(cluster, "db2", ["db1", "db3"])


def test_of_a_primary_that_lives(cluster: Operator) -> None:
    for flags in ((), (FENCED, LOSS)):
        assert codes(failover(cluster, "db2", *flags, code=3)) == {"primary-alive"}
    assert_cluster(cluster, "db1", ["db2", "db3"])


def test_of_a_primary_that_only_its_replicas_reach(cluster: Operator) -> None:
    """sshd is gone, and the way to PostgreSQL with it; whoever says that it is fenced is wrong."""
    cluster.lan["db1"].stop_sshd()
    for flags in ((), (FENCED,), (FENCED, LOSS)):
        refused = failover(cluster, "db2", *flags, code=3)
        assert {(one["code"], one["node"]) for one in refused["refusals"]} == {("old-primary-answers", "db1")}
    cluster.lan["db1"].start_sshd()
    assert_cluster(cluster, "db1", ["db2", "db3"])


@contextmanager
def nothing_sent_to(operator: Operator, name: str) -> Iterator[None]:
    await_sent(operator, "db1")
    pids = operator.lan["db1"].pids(f"walsender replicator {operator.lan[name].address}(")
    assert pids
    freeze(pids)
    try:
        yield
    finally:
        thaw(pids)


@pytest.mark.fault("57", "71")
def test_past_a_replica_that_has_more(cluster: Operator) -> None:
    """Told, and left for rejoin: it can never follow as it is."""
    make_table(cluster)
    commit(cluster, "db1", range(10))
    with nothing_sent_to(cluster, "db2"):
        commit(cluster, "db1", range(100, 110))
        wait_until(lambda: len(entries(cluster, "db3")) == 20)
        end_server(cluster.lan["db1"])
    ahead = refusal(failover(cluster, "db2", code=3), "data-loss")
    assert ahead["node"] == "db3"
    assert LOSS in ahead["hint"]
    done = failover(cluster, "db2", LOSS, code=6)
    assert "replctl rejoin db3" in done["next"]
    assert_env(cluster, "db2", [])
    assert rows(cluster)["db3"]["state"] == "diverged"
    refusal(rejoin(cluster, "db3", code=3), "diverged")
    for name in ("db3", "db1"):
        rejoin(cluster, name, DISCARD)
    assert_cluster(cluster, "db2", ["db1", "db3"])
    assert_entries(cluster, "db3", set(range(10)))


@pytest.mark.fault("70")
def test_past_a_replica_that_nobody_sees(cluster: Operator) -> None:
    """It may have more."""
    hurry(cluster)
    make_table(cluster)
    lose(cluster, range(10))
    cluster.lan["db3"].power_cut()
    unseen = refusal(failover(cluster, "db2", code=3), "data-loss")
    assert unseen["node"] == "db3"
    failover(cluster, "db2", LOSS, code=6)
    assert_env(cluster, "db2", [])
    cluster.lan["db3"].power_on()
    rejoin(cluster, "db3")
    rejoin(cluster, "db1", DISCARD)
    assert_cluster(cluster, "db2", ["db1", "db3"])


def upstream(operator: Operator, name: str) -> str:
    return value(operator, name, "show primary_conninfo")


def assert_as_before(operator: Operator, conninfos: dict[str, str]) -> None:
    """The crash, and nothing else: db1 is started again, and its replicas follow it."""
    assert not signal_file(operator.lan["db1"])
    assert {name: upstream(operator, name) for name in conninfos} == conninfos
    assert in_recovery(operator, "db2")
    ok(operator.replctl("init-primary", "db1", "--yes"))
    wait_until(lambda: status(operator)["health"] == "healthy")


def test_a_failure_before_the_promotion_is_taken_back(cluster: Operator) -> None:
    """db3 does not stop receiving: positions cannot be compared."""
    before = {name: upstream(cluster, name) for name in ("db2", "db3")}
    with frozen(cluster.lan["db3"], "walreceiver"):
        end_server(cluster.lan["db1"])
        undone = failover(cluster, "db2", code=5)
    assert undone["outcome"] == "undone"
    assert_as_before(cluster, before)
    assert_cluster(cluster, "db1", ["db2", "db3"])


def test_a_replica_gets_more_after_the_look(cluster: Operator) -> None:
    """What db1 had sent is still on its way into db3 while the plan is made."""
    before = {name: upstream(cluster, name) for name in ("db2", "db3")}
    make_table(cluster)
    commit(cluster, "db1", range(10))
    wait_until(lambda: len(entries(cluster, "db3")) == 10)
    with nothing_sent_to(cluster, "db2"), frozen(cluster.lan["db3"], "walreceiver"):
        commit(cluster, "db1", range(100, 110))
        end_server(cluster.lan["db1"])
        run = Watched(cluster, "promote", "db2", "--failover", "--yes")
        run.until("db2", "slot:db3", "done")
        run.signal(signal.SIGSTOP)
    wait_until(lambda: len(entries(cluster, "db3")) == 20)
    run.signal(signal.SIGCONT)
    ended = run.end()
    assert ended.code == 5, ended.err
    assert "db3 has received up to" in " ".join(ended.err.split())
    assert_as_before(cluster, before)
    assert_cluster(cluster, "db1", ["db2", "db3"])
    assert_entries(cluster, "db2", {*range(10), *range(100, 110)})


def test_an_interrupt_before_the_promotion_takes_everything_back(cluster: Operator) -> None:
    before = {name: upstream(cluster, name) for name in ("db2", "db3")}
    with frozen(cluster.lan["db3"], "walreceiver"):
        end_server(cluster.lan["db1"])
        run = Watched(cluster, "promote", "db2", "--failover", "--yes")
        run.until("db3", "detach", "waiting")
        run.signal(signal.SIGINT)
        assert run.end().code == 130, run.err
    assert_as_before(cluster, before)
    assert_cluster(cluster, "db1", ["db2", "db3"])


MOMENTS = (
    ("db1", "demote", "done"),
    ("db2", "detach", "done"),
    ("db3", "detach", "done"),
    ("db2", "promote", "waiting"),
    ("here", "env", "done"),
    ("db3", "repoint", "done"),
)


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS, ids=lambda moment: f"{moment[1]}-{moment[0]}")
def test_killed_and_run_again(cluster: Operator, moment: tuple[str, ...]) -> None:
    make_table(cluster)
    commit(cluster, "db1", range(10))
    lose(cluster, range(100, 110))
    run = Watched(cluster, "promote", "db2", "--failover", "--yes")
    run.until(*moment)
    run.kill()
    again = cluster.replctl("promote", "db2", "--failover", "--yes")
    assert again.code in {0, 6}, again.err
    assert role(cluster, "db2") == "primary"
    assert_env(cluster, "db2", ["db3"])
    rejoin(cluster, "db1", DISCARD)
    assert_cluster(cluster, "db2", ["db1", "db3"])
    assert_entries(cluster, "db1", set(range(10)))
    assert failover(cluster, "db2")["outcome"] == "unchanged"
