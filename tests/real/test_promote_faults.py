"""What can go wrong in a switchover: refused beforehand, undone before the request, finished after it."""

from __future__ import annotations

import pytest

from tests.real.clusters import assert_cluster, assert_env, ok, rows, slots, status, wait_until
from tests.real.hosts import Operator
from tests.real.ledger import Writer
from tests.real.standing import (
    await_streaming,
    control,
    execute,
    freeze,
    frozen,
    in_recovery,
    restart,
    server_process,
    thaw,
    value,
)
from tests.real.watched import Watched

RELOAD = "select pg_reload_conf()"
# A server that was told to stop waits for its background workers; one that stands still ends only when it goes on.
HOLDS_A_STOP = "logical replication launcher"


def refused(operator: Operator, node: str, code: int = 3) -> set[str]:
    """The codes of the reasons; the primary went on all the while."""
    before = value(operator, "db1", "select pg_postmaster_start_time()")
    run = operator.replctl("promote", node, "--yes", "-o", "json")
    assert run.code == code, run.out + run.err
    assert all(refusal["hint"] for refusal in run.document["refusals"])
    assert value(operator, "db1", "select pg_postmaster_start_time()") == before
    assert slots(operator, "db1") == {"replctl_db2", "replctl_db3"}
    return {refusal["code"] for refusal in run.document["refusals"]}


@pytest.mark.fault("55", "56", "58a", "58b", "75")
def test_refusals(cluster: Operator) -> None:
    """Every state of a candidate that makes a switchover unsafe, or long."""
    execute(cluster, "db2", "select pg_wal_replay_pause()")
    assert refused(cluster, "db2") == {"paused"}
    execute(cluster, "db2", "select pg_wal_replay_resume()")

    execute(cluster, "db2", "alter system set recovery_min_apply_delay = '1h'", RELOAD)
    assert refused(cluster, "db2") == {"delayed"}
    execute(cluster, "db2", "alter system reset recovery_min_apply_delay", RELOAD)

    execute(cluster, "db2", "alter system set default_transaction_read_only = on", RELOAD)
    assert refused(cluster, "db2") == {"read-only"}
    execute(cluster, "db2", "alter system reset default_transaction_read_only", RELOAD)

    conninfo = value(cluster, "db2", "show primary_conninfo")
    execute(cluster, "db2", "alter system set primary_conninfo = ''", RELOAD)
    wait_until(lambda: rows(cluster)["db2"]["state"] == "not-receiving")
    assert refused(cluster, "db2") == {"not-streaming"}
    third = cluster.lan["db3"].address
    elsewhere = conninfo.replace(cluster.lan["db1"].address, third)
    execute(cluster, "db2", "alter system set primary_slot_name = ''")
    execute(cluster, "db2", f"alter system set primary_conninfo = $${elsewhere}$$".replace("$$", "'"), RELOAD)
    await_streaming(cluster, "db3", ["db2"])
    assert refused(cluster, "db2") == {"not-streaming"}


def test_without_a_node(cluster: Operator) -> None:
    """The candidates, best first: nobody is promoted."""
    execute(cluster, "db2", "select pg_wal_replay_pause()")
    run = cluster.replctl("promote", "-o", "json")
    assert (run.code, run.document["outcome"]) == (3, "refused")
    assert [refusal["message"] for refusal in run.document["refusals"]] == ["db3: yes", "db2: no: paused"]


@pytest.mark.fault("60")
def test_an_archive_that_fails(cluster: Operator) -> None:
    """The old primary's postmaster would end only once its backlog is archived."""
    execute(cluster, "db1", "alter system set archive_mode = on", "alter system set archive_command = 'false'")
    restart(cluster.lan["db1"])
    await_streaming(cluster, "db1", ["db2", "db3"])
    for _ in range(12):
        execute(cluster, "db1", "select pg_logical_emit_message(false, 'test', 'x')", "select pg_switch_wal()")
    assert refused(cluster, "db2") == {"archive-backlog"}


@pytest.mark.fault("63")
def test_an_unreachable_primary(cluster: Operator) -> None:
    """No switchover without it, and a failover only by an explicit statement."""
    cluster.write_inventory(extra={"ssh": {"connect_timeout": 2}})
    cluster.lan["db1"].unplug()
    run = cluster.replctl("promote", "db2", "--yes", "-o", "json")
    assert run.code == 7, run.out + run.err
    assert run.document["refusals"][0]["node"] == "db1"
    assert in_recovery(cluster, "db2")
    assert in_recovery(cluster, "db3")
    assert slots(cluster, "db2") == set()


@pytest.mark.fault("54")
def test_a_candidate_that_freezes_at_the_stop(cluster: Operator) -> None:
    """The primary shuts down cleanly all the same; the proof fails, and the primary is started again."""
    execute(cluster, "db1", "alter system set wal_sender_timeout = '3s'", RELOAD)
    pids = [server_process(cluster.lan["db2"], kind) for kind in ("startup", "walreceiver")]
    with Writer(cluster) as writer:
        with frozen(cluster.lan["db1"], HOLDS_A_STOP):
            run = Watched(cluster, "promote", "db2", "--yes")
            run.until("db1", "checkpoint", "ok:")
            freeze(pids)
        try:
            ended = run.end()
        finally:
            thaw(pids)
        assert ended.code == 5, ended.err
        assert "db2" in ended.err
        writer.wait_for_rows(20)
    assert writer.missing(cluster, "db1") == []
    await_streaming(cluster, "db1", ["db2", "db3"])
    assert_cluster(cluster, "db1", ["db2", "db3"])


@pytest.mark.fault("59")
def test_a_stop_that_takes_too_long(cluster: Operator) -> None:
    """Whether the primary still stops is unknown: nothing is promoted, and the next run sees what became of it."""
    cluster.write_inventory(extra={"timeouts": {"stop": 2}})
    with frozen(cluster.lan["db1"], HOLDS_A_STOP):
        ended = cluster.replctl("promote", "db2", "--yes")
        assert ended.code == 6, ended.err
        assert "hint:" in ended.err
        assert in_recovery(cluster, "db2")
    wait_until(lambda: rows(cluster)["db1"]["state"] == "stopped")
    ok(cluster.replctl("promote", "db2", "--yes"))
    assert_cluster(cluster, "db2", ["db1", "db3"])


@pytest.mark.fault("66")
def test_a_promotion_that_takes_too_long(cluster: Operator) -> None:
    """The request was sent: it may be carried out at any time, so that there is no way back."""
    cluster.write_inventory(extra={"timeouts": {"promote": 1}})
    execute(cluster, "db2", "alter system set recovery_end_command = 'sleep 6'", RELOAD)
    ended = cluster.replctl("promote", "db2", "--yes")
    assert ended.code == 6, ended.err
    assert "promote db2" in ended.err
    assert rows(cluster)["db1"]["state"] == "stopped"
    assert in_recovery(cluster, "db2")
    wait_until(lambda: not in_recovery(cluster, "db2"))
    ok(cluster.replctl("promote", "db2", "--yes"))
    assert_cluster(cluster, "db2", ["db1", "db3"])


@pytest.mark.fault("70")
def test_a_sibling_that_is_down(cluster: Operator) -> None:
    """The switchover is complete without it; it is left out of the env file and told."""
    control(cluster.lan["db3"], "stop", "-m", "fast")
    run = cluster.replctl("promote", "db2", "--yes", "-o", "json")
    assert run.code == 6, run.out + run.err
    assert "add-replica db3" in run.document["next"]
    assert 0 < run.document["write_outage_ms"] < 10_000
    assert_env(cluster, "db2", ["db1"])
    ok(cluster.replctl("add-replica", "db3", "--yes"))
    assert_cluster(cluster, "db2", ["db1", "db3"])


@pytest.mark.slow
@pytest.mark.fault("53")
def test_to_and_fro_under_load(cluster: Operator) -> None:
    outages: list[float] = []
    with Writer(cluster) as writer:
        for new in ("db2", "db1", "db3", "db1", "db2"):
            done = ok(cluster.replctl("promote", new, "--yes", "-o", "json")).document
            outages.append(done["write_outage_ms"])
            writer.wait_for_rows(20)
    assert writer.missing(cluster, "db2") == []
    assert max(outages) < 10_000
    assert_cluster(cluster, "db2", ["db1", "db3"])
    assert status(cluster)["timeline"] == 6
