"""What can go wrong while a replica is added: refused beforehand, or undone, and mended by the same command."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack
from typing import Any

import pytest

from tests.real.clusters import assert_cluster, ok, rows, slots, wait_until
from tests.real.hosts import Operator, pg_bin
from tests.real.standing import MAIN, background, execute, forget, lose_slot, thaw, value
from tests.real.watched import Watched, copying

PARENT = MAIN.rpartition("/")[0]


@pytest.fixture
def without_db2(cluster: Operator) -> Operator:
    """db1 and db3; db2 was never added."""
    forget(cluster, "db2")
    return cluster


def refused(operator: Operator, *args: str) -> list[dict[str, Any]]:
    """The reasons; nothing was made on the primary or on the host."""
    host = operator.lan["db2"]
    before = slots(operator, "db1"), host.run(["ls", "-A", PARENT]).stdout
    run = operator.replctl(*args, "--yes", "-o", "json")
    assert run.code == 3, run.out + run.err
    assert (slots(operator, "db1"), host.run(["ls", "-A", PARENT]).stdout) == before
    return run.document["refusals"]


def assert_undone(operator: Operator) -> None:
    """Neither on the primary nor on the host is anything left of the run."""
    host = operator.lan["db2"]
    assert "replctl_db2" not in slots(operator, "db1")
    assert [path.name for path in host.path(PARENT).iterdir()] == []
    assert not host.pids("pg_basebackup")
    assert value(operator, "db1", "select count(*) from pg_stat_replication") == 1


@pytest.mark.fault("34a", "34b")
def test_the_copy_ends_midway(without_db2: Operator) -> None:
    """One half of pg_basebackup is killed; then its walsender; a slot without its WAL is no hindrance afterwards."""
    operator = without_db2
    run, pids = copying(operator)
    os.kill(max(pids), signal.SIGKILL)
    os.kill(min(pids), signal.SIGCONT)
    assert_failed(operator, run)

    run, pids = copying(operator)
    execute(operator, "db1", "select pg_terminate_backend(pid) from pg_stat_replication where state = 'backup'")
    thaw(pids)
    assert_failed(operator, run)

    execute(operator, "db1", "select pg_create_physical_replication_slot('replctl_db2', true)")
    lose_slot(operator, "replctl_db2")
    ok(operator.replctl("add-replica", "db2", "--yes"))
    assert_cluster(operator, "db1", ["db2", "db3"])


def assert_failed(operator: Operator, run: Watched) -> None:
    ended = run.end()
    assert ended.code == 5, ended.err
    assert "hint:" in ended.err
    assert "db2" in ended.err
    assert_undone(operator)


@pytest.mark.fault("36", "37a", "40a", "40b", "43a", "44", "48")
def test_refusals_before_anything_is_made(without_db2: Operator) -> None:
    operator, host = without_db2, without_db2.lan["db2"]
    assert refused(operator, "add-replica", "db1")[0]["code"] == "is-primary"

    with ExitStack() as sessions:
        for _ in range(8):
            sessions.enter_context(operator.connect("db1", replication="database"))
        (budget,) = refused(operator, "add-replica", "db2")
        assert budget["code"] == "budget"
        assert "max_wal_senders" in budget["message"]
    execute(operator, "db1", "select pg_create_physical_replication_slot('by_hand' || n) from generate_series(1, 9) n")
    (budget,) = refused(operator, "add-replica", "db2")
    assert "max_replication_slots" in budget["message"]
    execute(operator, "db1", "select pg_drop_replication_slot('by_hand' || n) from generate_series(1, 9) n")

    execute(operator, "db1", "select pg_create_physical_replication_slot('replctl_db2', true)")
    receiver = background(operator.lan["db3"], receive_wal(operator, "replctl_db2"))
    wait_until(
        lambda: value(operator, "db1", "select active from pg_replication_slots where slot_name = 'replctl_db2'")
    )
    assert refused(operator, "add-replica", "db2")[0]["code"] == "slot-in-use"
    receiver.kill()
    receiver.wait(10)

    operator.write_inventory(extra={"nodes": {"db2": {"postgres": {"parameters": {"max_connections": 20}}}}})
    (low,) = refused(operator, "add-replica", "db2")
    assert (low["code"], low["node"]) == ("ordered-setting", "db2")
    operator.write_inventory()

    host.run(["mount", "-t", "tmpfs", "-o", "size=8m,mode=700,uid=postgres,gid=postgres", "disk", PARENT], "root")
    (small,) = refused(operator, "add-replica", "db2")
    assert (small["code"], small["node"]) == ("disk-space", "db2")
    host.run(["umount", PARENT], "root")

    host.run([f"{pg_bin(15)}/initdb", "-D", MAIN, "--no-sync", "--auth=trust", "--locale=C.UTF-8"])
    assert refused(operator, "add-replica", "db2")[0]["code"] == "foreign"
    assert host.path(f"{MAIN}/PG_VERSION").exists()


def receive_wal(operator: Operator, slot: str) -> list[str]:
    conninfo = (
        f"host={operator.lan['db1'].address} user=replicator passfile={MAIN}.replctl-passfile application_name=other"
    )
    return [f"{pg_bin(15)}/pg_receivewal", "-d", conninfo, "-D", "/tmp", "-S", slot, "--no-sync"]


@pytest.mark.fault("37b")
def test_a_disk_that_fills_up(without_db2: Operator) -> None:
    """The databases fit, and the WAL beside them does not."""
    operator, host = without_db2, without_db2.lan["db2"]
    size = value(operator, "db1", "select (sum(pg_database_size(oid)) / 1024)::int from pg_database")
    room = f"size={int(size * 1.15) + 4096}k,mode=700,uid=postgres,gid=postgres"
    host.run(["mount", "-t", "tmpfs", "-o", room, "disk", PARENT], "root")
    run = operator.replctl("add-replica", "db2", "--yes")
    assert run.code == 5, run.err
    assert "No space left on device" in run.err
    assert "replctl_db2" not in slots(operator, "db1")
    assert host.run(["ls", "-A", PARENT]).stdout == b""
    host.run(["umount", PARENT], "root")
    ok(operator.replctl("add-replica", "db2", "--yes"))
    assert_cluster(operator, "db1", ["db2", "db3"])


@pytest.mark.fault("41a", "52")
def test_what_the_copy_brings_along(without_db2: Operator) -> None:
    """The primary's ALTER SYSTEM settings, and a pg_hba.conf there that knows no peer."""
    operator, host = without_db2, without_db2.lan["db1"]
    execute(
        operator,
        "db1",
        "alter system set port = 6000",
        "alter system set cluster_name = 'first'",
        "alter system set unix_socket_directories = '/tmp'",
        "alter system set work_mem = '5MB'",
    )
    hba = host.path(f"{MAIN}/pg_hba.conf")
    lines = hba.read_text().splitlines(keepends=True)
    hba.write_text("".join(line for line in lines if not line.startswith("host  replication")))
    execute(operator, "db1", "select pg_reload_conf()")
    ok(operator.replctl("add-replica", "db2", "--yes"))
    assert {name: row["state"] for name, row in rows(operator).items()} == {
        "db1": "read-write",
        "db2": "streaming",
        "db3": "streaming",
    }
    assert value(operator, "db2", "show port") == "5432"
    assert value(operator, "db2", "show cluster_name") != "first"
    assert value(operator, "db2", "show work_mem") == "5MB"


@pytest.mark.fault("49")
def test_a_copy_that_never_streams_is_not_listed(cluster: Operator) -> None:
    """Not even if the env file lists the node from earlier days."""
    operator, first, second = cluster, cluster.lan["db1"], cluster.lan["db2"]
    before = operator.env_file.read_text()
    forget(operator, "db2")
    operator.env_file.write_text(before)
    operator.write_inventory(extra={"timeouts": {"catchup": 2}})
    run = Watched(operator, "add-replica", "db2", "--yes")
    run.until("db2", "standby", "done")
    second.block(first)
    ended = run.end()
    assert ended.code == 6, ended.err
    assert "add-replica db2" in ended.err
    assert second.address not in operator.read_env()["DB_READ_REPLICA_URLS"]
    second.unblock(first)
    operator.write_inventory()
    ok(operator.replctl("add-replica", "db2", "--yes"))
    assert_cluster(operator, "db1", ["db2", "db3"])


@pytest.mark.fault("50")
def test_from_a_replica(without_db2: Operator) -> None:
    ok(without_db2.replctl("add-replica", "db2", "--from", "db3", "--yes"))
    assert_cluster(without_db2, "db1", ["db2", "db3"])
