"""Restarts: one node in its role, or every node with the primary's role moved away from the one that stops."""

from __future__ import annotations

import signal
from datetime import datetime

import pytest

from tests.real.clusters import assert_cluster, build, ok, rows, wait_until
from tests.real.hosts import DEPLOY, Operator
from tests.real.ledger import Writer
from tests.real.standing import MAIN, await_streaming, control, execute, frozen, held_replay, role, value
from tests.real.watched import Watched

NODES = ("db1", "db2", "db3")
RELOAD = "select pg_reload_conf()"


def started(operator: Operator) -> dict[str, datetime]:
    """When each server was started."""
    return {name: value(operator, name, "select pg_postmaster_start_time()") for name in NODES}


def restarted(operator: Operator, before: dict[str, datetime]) -> set[str]:
    return {name for name, moment in started(operator).items() if moment != before[name]}


def test_a_replica(cluster: Operator) -> None:
    before = started(cluster)
    document = ok(cluster.replctl("restart", "db2", "--yes", "-o", "json")).document
    assert document["outcome"] == "done"
    assert [step["id"] for step in document["steps"]] == ["stop:db2", "start:db2", "caught-up:db2"]
    assert document["write_outage_ms"] is None
    assert restarted(cluster, before) == {"db2"}
    assert_cluster(cluster, "db1", ["db2", "db3"])


def test_the_primary(cluster: Operator) -> None:
    """Writes are refused meanwhile, and none is lost; the replicas come back to it."""
    before = started(cluster)
    with Writer(cluster) as writer:
        document = ok(cluster.replctl("restart", "db1", "--yes", "-o", "json")).document
        writer.wait_for_rows(20)
    assert document["write_outage_ms"] > 0
    assert writer.missing(cluster, "db1") == []
    assert restarted(cluster, before) == {"db1"}
    assert_cluster(cluster, "db1", ["db2", "db3"])


def test_every_node(cluster: Operator) -> None:
    before = started(cluster)
    with Writer(cluster) as writer:
        document = ok(cluster.replctl("restart", "--rolling", "--yes", "-o", "json")).document
        writer.wait_for_rows(20)
    assert document["outcome"] == "done"
    assert document["write_outage_ms"] > 0
    assert writer.missing(cluster, "db2") == []
    assert restarted(cluster, before) == set(NODES)
    assert_cluster(cluster, "db2", ["db1", "db3"])


def test_another_version_and_user(operator: Operator) -> None:
    """Every node restarts, the role comes back, and a replica leaves."""
    operator.write_inventory(version=17, ssh_user=DEPLOY)
    build(operator)
    before = started(operator)
    ok(operator.replctl("restart", "--rolling", "--yes"))
    assert restarted(operator, before) == set(NODES)
    assert_cluster(operator, "db2", ["db1", "db3"])
    ok(operator.replctl("restart", "db2", "--yes"))
    assert_cluster(operator, "db2", ["db1", "db3"])
    ok(operator.replctl("remove-replica", "db3", "--yes"))
    assert rows(operator)["db3"]["state"] == "absent"
    operator.write_inventory(version=17, ssh_user=DEPLOY, nodes=("db1", "db2"))
    assert_cluster(operator, "db2", ["db1"])


def test_one_that_is_stopped_is_started(cluster: Operator) -> None:
    """In the role that it has."""
    for name in ("db2", "db1"):
        control(cluster.lan[name], "stop", "-m", "fast")
        ok(cluster.replctl("restart", name, "--yes"))
        assert_cluster(cluster, "db1", ["db2", "db3"])


def refused(operator: Operator, *args: str, code: int = 3) -> set[str]:
    """The codes of the reasons; no server was stopped."""
    before = started(operator)
    run = operator.replctl("restart", *args, "--yes", "-o", "json")
    assert run.code == code, run.out + run.err
    assert all(refusal["hint"] for refusal in run.document["refusals"])
    assert restarted(operator, before) == set()
    return {refusal["code"] for refusal in run.document["refusals"]}


def test_refusals(cluster: Operator) -> None:
    """All of them before the first server is stopped."""
    assert cluster.replctl("restart").code == 2
    assert cluster.replctl("restart", "db2", "--rolling").code == 2
    execute(cluster, "db2", "select pg_wal_replay_pause()")
    execute(cluster, "db3", "select pg_wal_replay_pause()")
    assert refused(cluster, "--rolling") == {"no-candidate"}
    execute(cluster, "db2", "select pg_wal_replay_resume()")
    execute(cluster, "db2", "alter system set default_transaction_read_only = on", RELOAD)
    assert refused(cluster, "--rolling") == {"read-only"}


def test_an_unreachable_node(cluster: Operator) -> None:
    """It is left out, and named. That the primary still waits for it is over before the run looks at the cluster."""
    cluster.write_inventory(extra={"ssh": {"connect_timeout": 4}})
    execute(cluster, "db1", "alter system set wal_sender_timeout = '10s'", RELOAD)
    cluster.lan["db3"].unplug()
    listed = "select count(*) from pg_stat_replication where application_name = 'db3'"
    wait_until(lambda: value(cluster, "db1", listed) == 0, 60)
    run = cluster.replctl("restart", "db3", "--yes", "-o", "json")
    assert run.code == 7, run.out + run.err
    run = cluster.replctl("restart", "--rolling", "--yes", "-o", "json")
    assert run.code == 6, run.out + run.err
    assert "replctl restart db3" in run.document["next"]
    assert (role(cluster, "db1"), role(cluster, "db2")) == ("replica", "primary")


def test_a_cluster_of_one(operator: Operator) -> None:
    """Nobody can take over: the way out is named, and works."""
    build(operator, replicas=())
    run = operator.replctl("restart", "--rolling", "--yes", "-o", "json")
    assert run.code == 3, run.out + run.err
    (reason,) = run.document["refusals"]
    assert reason["code"] == "no-replica"
    assert "replctl restart db1" in reason["hint"]
    ok(operator.replctl("restart", "db1", "--yes"))
    assert rows(operator)["db1"]["state"] == "read-write"


def kill_in_the_stop(operator: Operator, name: str, *args: str) -> None:
    """Kill a run once the server has been told to stop; the server stops later, and nobody starts it."""
    pid_file = operator.lan[name].path(f"{MAIN}/postmaster.pid")
    with frozen(operator.lan[name], "background writer"):
        run = Watched(operator, "restart", *args, "--yes")
        wait_until(lambda: "stopping" in pid_file.read_text(), 60)
        run.kill()
    wait_until(lambda: rows(operator)[name]["state"] == "stopped", 60)


@pytest.mark.parametrize("name", ["db2", "db1"])
def test_killed_between_stop_and_start(cluster: Operator, name: str) -> None:
    kill_in_the_stop(cluster, name, name)
    ok(cluster.replctl("restart", name, "--yes"))
    assert_cluster(cluster, "db1", ["db2", "db3"])


def test_interrupted_in_the_stop_of_the_primary(cluster: Operator) -> None:
    """It is started again, and writes go on."""
    pid_file = cluster.lan["db1"].path(f"{MAIN}/postmaster.pid")
    with Writer(cluster) as writer:
        with frozen(cluster.lan["db1"], "background writer"):
            run = Watched(cluster, "restart", "db1", "--yes")
            wait_until(lambda: "stopping" in pid_file.read_text(), 60)
            run.signal(signal.SIGINT)
        ended = run.end()
        assert ended.code == 130, ended.err
        writer.wait_for_rows(20)
    assert writer.missing(cluster, "db1") == []
    await_streaming(cluster, "db1", ["db2", "db3"])
    assert_cluster(cluster, "db1", ["db2", "db3"])


def bring_to_an_end(operator: Operator, writer: Writer) -> None:
    """The next run brings back what the killed one left, and says so; the one after it restarts every node."""
    run = operator.replctl("restart", "--rolling", "--yes", "-o", "json")
    assert run.code == 6, run.out + run.err
    assert "replctl restart --rolling" in run.document["next"]
    before = started(operator)
    ok(operator.replctl("restart", "--rolling", "--yes"))
    writer.wait_for_rows(20)
    assert restarted(operator, before) == set(NODES)


def assert_nothing_lost(operator: Operator, writer: Writer) -> None:
    primary = next(name for name in NODES if role(operator, name) == "primary")
    assert writer.missing(operator, primary) == []
    assert_cluster(operator, primary, [name for name in NODES if name != primary])


def test_every_node_killed_in_the_stop_of_a_replica(cluster: Operator) -> None:
    with Writer(cluster) as writer:
        kill_in_the_stop(cluster, "db2", "--rolling")
        bring_to_an_end(cluster, writer)
    assert_nothing_lost(cluster, writer)


def test_every_node_killed_before_the_promote_request(cluster: Operator) -> None:
    replayed = "select pg_last_wal_replay_lsn() >= pg_last_wal_receive_lsn()"
    with Writer(cluster) as writer:
        run = Watched(cluster, "restart", "--rolling", "--yes")
        run.until("db2", "caught-up", "ok:", seconds=60)
        with held_replay(cluster.lan["db2"]):
            run.until("db2", "prove", "waiting", seconds=60)
            run.kill()
        wait_until(lambda: value(cluster, "db2", replayed) and rows(cluster)["db1"]["state"] == "stopped", 60)
        bring_to_an_end(cluster, writer)
    assert_nothing_lost(cluster, writer)


def test_every_node_killed_after_the_promote_request(cluster: Operator) -> None:
    with Writer(cluster) as writer:
        run = Watched(cluster, "restart", "--rolling", "--yes")
        run.until("db2", "promote", "waiting", seconds=60)
        run.kill()
        wait_until(lambda: role(cluster, "db2") == "primary" and rows(cluster)["db1"]["state"] == "stopped", 60)
        bring_to_an_end(cluster, writer)
    assert_nothing_lost(cluster, writer)


def test_a_replica_that_does_not_start_again(cluster: Operator) -> None:
    """The primary is not touched, and the same command goes on once it is mended."""
    config = cluster.lan["db3"].path(f"{MAIN}/postgresql.auto.conf")
    sound = config.read_text()
    config.write_text(f"{sound}shared_buffers = nonsense\n")
    before = started(cluster)
    with Writer(cluster) as writer:
        run = cluster.replctl("restart", "--rolling", "--yes", "-o", "json")
        assert run.code == 6, run.out + run.err
        assert run.document["write_outage_ms"] is None
        writer.wait_for_rows(20)
    assert value(cluster, "db1", "select pg_postmaster_start_time()") == before["db1"]
    config.write_text(sound)
    first = cluster.replctl("restart", "--rolling", "--yes", "-o", "json")
    assert first.code == 6, first.out + first.err
    wait_until(lambda: rows(cluster)["db3"]["state"] == "streaming")
    ok(cluster.replctl("restart", "--rolling", "--yes"))
    assert_cluster(cluster, "db2", ["db1", "db3"])
