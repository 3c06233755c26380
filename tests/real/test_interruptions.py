"""A run that is killed, frozen or met by another one: the same command finishes the job."""

from __future__ import annotations

import getpass
import signal
import socket
import time

import pytest

from tests.real.clusters import assert_cluster, ok, rows, slots, wait_until
from tests.real.hosts import Operator
from tests.real.ledger import Writer
from tests.real.standing import MAIN, forget, held_replay, in_recovery, role
from tests.real.watched import Watched, copying, replaced

LOST_SECONDS = 11
"""A little more than a lock outlives its holder's last sign of life."""


def assert_unchanged(operator: Operator, *args: str) -> None:
    again = ok(operator.replctl(*args, "--yes", "-o", "json")).document
    assert (again["outcome"], again["steps"]) == ("unchanged", [])


class TestSwitchover:
    @pytest.mark.fault("1c", "68")
    def test_killed_at_each_point_and_finished(self, cluster: Operator) -> None:
        """Between stop and promotion, after the old primary is marked as a standby, after the promote request."""
        with Writer(cluster) as writer:
            for old, new, moment in (
                ("db1", "db2", ("db1", "stop", "done")),
                ("db2", "db1", ("db2", "demote", "done")),
                ("db1", "db2", ("db2", "promote", "waiting")),
            ):
                run = Watched(cluster, "promote", new, "--yes")
                run.until(*moment)
                run.kill()
                ok(cluster.replctl("promote", new, "--yes"))
                writer.wait_for_rows(20)
                assert_cluster(cluster, new, sorted({"db1", "db2", "db3"} - {new}))
                assert role(cluster, old) == "replica"
            assert_unchanged(cluster, "promote", "db2")
        assert writer.missing(cluster, "db2") == []

    def test_called_off_while_no_promote_request_was_sent(self, cluster: Operator) -> None:
        with held_replay(cluster.lan["db2"]):
            run = Watched(cluster, "promote", "db2", "--yes")
            run.until("db2", "prove", "waiting")
            run.kill()
        ok(cluster.replctl("promote", "db1", "--yes"))
        assert_cluster(cluster, "db1", ["db2", "db3"])
        assert_unchanged(cluster, "promote", "db1")

    def test_a_frozen_run_changes_nothing_more(self, cluster: Operator) -> None:
        """Its lock is gone when it wakes up: it may neither go on nor take anything back."""
        with held_replay(cluster.lan["db2"]):
            run = Watched(cluster, "promote", "db2", "--yes", "-o", "table")
            run.until("db2", "prove", "waiting")
            run.signal(signal.SIGSTOP)
        time.sleep(LOST_SECONDS)
        run.signal(signal.SIGCONT)
        ended = run.end()
        assert ended.code in {5, 6}, ended.err
        assert "lock" in ended.err
        assert not cluster.lan["db1"].path(f"{MAIN}/standby.signal").exists()
        assert rows(cluster)["db1"]["state"] == "stopped"
        assert in_recovery(cluster, "db2")
        ok(cluster.replctl("promote", "db2", "--yes"))
        assert_cluster(cluster, "db2", ["db1", "db3"])


class TestAddReplica:
    @pytest.mark.fault("1b", "35")
    def test_killed_after_the_slot_and_during_the_copy(self, cluster: Operator) -> None:
        host = cluster.lan["db2"]
        forget(cluster, "db2")
        run = Watched(cluster, "add-replica", "db2", "--yes")
        run.until("db1", "slot:db2", "done")
        run.kill()
        run, orphans = copying(cluster)  # frozen, they outlive the run for certain, as on a host without a network
        run.kill()
        ok(cluster.replctl("add-replica", "db2", "--yes"))
        assert_cluster(cluster, "db1", ["db2", "db3"])
        assert not set(host.pids("pg_basebackup")) & set(orphans)
        assert leftovers(cluster, "db2") == []
        assert_unchanged(cluster, "add-replica", "db2")


class TestInitPrimary:
    @pytest.mark.fault("1a", "22")
    def test_killed_in_initdb_and_after_the_rename(self, operator: Operator) -> None:
        host = operator.lan["db1"]
        with replaced(host, "initdb", "sleep 60"):
            run = Watched(operator, "init-primary", "db1", "--yes")
            wait_until(lambda: host.pids("/initdb"))
            run.kill()
        run = Watched(operator, "init-primary", "db1", "--yes")
        run.until("db1", "install", "done")
        run.kill()
        ok(operator.replctl("init-primary", "db1", "--yes"))
        assert leftovers(operator, "db1") == []
        assert rows(operator)["db1"]["state"] == "read-write"
        assert_unchanged(operator, "init-primary", "db1")
        with operator.connect("db1", "app") as connection:
            connection.execute("create table messages (id int)")


def leftovers(operator: Operator, name: str) -> list[str]:
    """What a run keeps beside the data directory while it goes on."""
    beside = operator.lan[name].path(MAIN).parent
    return [path.name for path in beside.iterdir() if path.name not in {"main", "main.replctl-passfile"}]


class TestTwoOperators:
    @pytest.mark.fault("4", "5")
    def test_the_second_is_told_of_the_first(self, cluster: Operator) -> None:
        forget(cluster, "db2")
        first, _ = copying(cluster)
        for second in (("promote", "db3"), ("add-replica", "db2")):
            run = cluster.replctl(*second, "--yes", "-o", "json")
            assert run.code == 3, run.out
            locked = run.document["refusals"][0]
            assert locked["code"] == "locked"
            for word in (getpass.getuser(), socket.gethostname(), "since 20", "add-replica db2 --yes"):
                assert word in locked["message"]
        assert slots(cluster, "db1") == {"replctl_db2", "replctl_db3"}
        first.kill()
        began = time.monotonic()
        ok(cluster.replctl("add-replica", "db2", "--yes"))
        assert time.monotonic() - began < 15 + 10
        assert_cluster(cluster, "db1", ["db2", "db3"])
