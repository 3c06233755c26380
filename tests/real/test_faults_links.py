"""What stands between the operator and the hosts, and between the hosts: lost sessions, cut cables, odd accounts, few
sessions, a /tmp that is of no use."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.real.clusters import assert_cluster, assert_env, build, ok, slots, wait_until
from tests.real.hosts import Host, Operator
from tests.real.ledger import Writer
from tests.real.standing import MAIN, await_streaming, forget, freeze, frozen, server_process, thaw, value
from tests.real.watched import Watched, copying

PARENT = MAIN.rpartition("/")[0]
OUTAGE_SECONDS = 3.0
"""Less than what a lock, a walsender or a session survives."""
NOISE = "echo Mind the step\necho to stderr >&2\nPATH=/nowhere\nexport LC_ALL=de_DE.UTF-8 PGHOST=elsewhere\n"
ODD_SSHD = "Banner /etc/ssh/banner\nPrintMotd yes\nSetEnv PATH=/nowhere LANG=tr_TR.UTF-8 PGPORT=1 PGUSER=nobody\n"


@pytest.fixture
def without_db2(cluster: Operator) -> Operator:
    """db1 and db3; db2 was never added."""
    forget(cluster, "db2")
    return cluster


WAITING_COPIES = "select count(*) from pg_stat_progress_basebackup where phase like 'waiting for checkpoint%'"


def end_sessions(host: Host) -> None:
    """Every SSH connection to the host breaks; what runs there goes on."""
    for pid in host.pids("sshd: postgres"):
        os.kill(pid, signal.SIGKILL)


@contextmanager
def sshd_setting(host: Host, lines: str) -> Iterator[None]:
    """sshd with other settings: the first line of a setting counts."""
    config = host.path("/etc/ssh/sshd_config")
    before = config.read_text()
    config.write_text(lines + before)
    try:
        host.stop_sshd()
        host.start_sshd()
        yield
    finally:
        config.write_text(before)
        if host.powered:
            host.stop_sshd()
            host.start_sshd()


def refusals(operator: Operator, code: int, *command: str) -> list[dict[str, Any]]:
    run = operator.replctl(*command, "--yes", "-o", "json")
    assert run.code == code, run.out + run.err
    assert all(refusal["hint"] for refusal in run.document["refusals"])
    return run.document["refusals"]


@pytest.mark.fault("3")
def test_ssh_drops_while_the_copy_lives_on(without_db2: Operator) -> None:
    operator, host = without_db2, without_db2.lan["db2"]
    with frozen(operator.lan["db1"], "checkpointer"):  # for whose checkpoint a copy waits before it begins
        run = Watched(operator, "add-replica", "db2", "--yes")
        wait_until(lambda: value(operator, "db1", WAITING_COPIES))  # it has said so: no broken pipe ends it
        orphans = host.pids("pg_basebackup --pgdata")
        host.stop_sshd()
        end_sessions(host)
        ended = run.end()
        assert ended.code in {5, 6}, ended.err
        assert "hint:" in ended.err
        assert set(host.pids("pg_basebackup --pgdata")) == set(orphans)
        host.start_sshd()
    ok(operator.replctl("add-replica", "db2", "--yes"))
    assert not set(host.pids("pg_basebackup")) & set(orphans)
    assert_cluster(operator, "db1", ["db2", "db3"])


@pytest.mark.fault("7a")
def test_the_connection_breaks_while_the_promotion_is_under_way(cluster: Operator) -> None:
    """Nobody knows whether it will happen: there is no way back, and the next run looks again."""
    host = cluster.lan["db2"]
    startup = [server_process(host, "startup")]
    with Writer(cluster) as writer:
        run = Watched(cluster, "promote", "db2", "--yes")
        run.until("db1", "demote", "done")
        freeze(startup)
        run.until("db2", "promote", "waiting")
        end_sessions(host)
        ended = run.end()
        assert ended.code == 6, ended.err
        assert "same command again" in ended.err
        assert cluster.lan["db1"].path(f"{MAIN}/standby.signal").exists()
        thaw(startup)
        ok(cluster.replctl("promote", "db2", "--yes"))
        writer.wait_for_rows(20)
    assert writer.missing(cluster, "db2") == []
    assert_cluster(cluster, "db2", ["db1", "db3"])


@pytest.mark.fault("7b")
def test_a_network_that_is_gone_for_seconds(without_db2: Operator) -> None:
    operator, host = without_db2, without_db2.lan["db2"]
    run, pids = copying(operator)
    host.unplug()
    thaw(pids)
    time.sleep(OUTAGE_SECONDS)
    host.plug()
    ok(run.end())
    assert_cluster(operator, "db1", ["db2", "db3"])


@pytest.mark.fault("9a")
def test_the_new_replica_does_not_reach_the_primary(without_db2: Operator) -> None:
    operator, first, second = without_db2, without_db2.lan["db1"], without_db2.lan["db2"]
    operator.write_inventory(extra={"ssh": {"connect_timeout": 5}})
    second.block(first)
    (login,) = refusals(operator, 3, "add-replica", "db2")
    assert (login["code"], login["node"]) == ("replication-login", "db2")
    assert "db1" in login["message"]
    assert slots(operator, "db1") == {"replctl_db3"}
    assert second.run(["ls", "-A", PARENT]).stdout == b""
    second.unblock(first)
    operator.write_inventory()
    ok(operator.replctl("add-replica", "db2", "--yes"))
    assert_cluster(operator, "db1", ["db2", "db3"])


@pytest.mark.slow
@pytest.mark.fault("9b")
def test_a_sibling_does_not_reach_the_new_primary(cluster: Operator) -> None:
    """Seen beforehand it is a reason not to begin; afterwards the others go on without it."""
    second, third = cluster.lan["db2"], cluster.lan["db3"]
    cluster.write_inventory(extra={"ssh": {"connect_timeout": 5}})
    third.block(second)
    (login,) = refusals(cluster, 3, "promote", "db2")
    assert login["node"] == "db3"
    assert "db2" in login["message"]
    third.unblock(second)
    cluster.write_inventory(extra={"timeouts": {"catchup": 8}})
    run = Watched(cluster, "promote", "db2", "--yes")
    run.until("db1", "checkpoint", "ok:")
    third.block(second)
    ended = run.end()
    assert ended.code == 6, ended.err
    assert "add-replica db3" in ended.err
    assert_env(cluster, "db2", ["db1"])
    third.unblock(second)
    cluster.write_inventory()
    await_streaming(cluster, "db2", ["db1", "db3"])  # by itself: a run that meets it on its way plans anew
    ok(cluster.replctl("add-replica", "db3", "--yes"))
    assert_cluster(cluster, "db2", ["db1", "db3"])


@pytest.mark.slow
@pytest.mark.fault("12a", "12b", "13b", "13c")
def test_talkative_hosts_with_an_odd_environment(operator: Operator) -> None:
    host = operator.lan["db1"]
    host.path("/etc/ssh/banner").write_text("Authorised use only!\n")
    host.path("/etc/motd").write_text("The printer on floor 3 is out of order.\n")
    with sshd_setting(host, ODD_SSHD):
        host.path("/var/lib/postgresql/.bashrc").write_text(NOISE)
        build(operator, replicas=("db2",))
        ok(operator.replctl("promote", "db2", "--yes"))
        ok(operator.replctl("promote", "db1", "--yes"))
        with operator.connect("db1") as connection:
            encodings = "select pg_encoding_to_char(encoding), datcollate from pg_database where datname = 'chatdb'"
            assert connection.execute(encodings).fetchall() == [("UTF8", "C.UTF-8")]


@pytest.mark.slow
@pytest.mark.fault("16a")
def test_few_sessions_a_connection(operator: Operator) -> None:
    host = operator.lan["db1"]
    with sshd_setting(host, "MaxSessions 1\n"):
        (few,) = refusals(operator, 7, "init-primary", "db1")
        assert few["node"] == "db1"
        assert "MaxSessions" in few["hint"]
        assert not list(host.path(PARENT).glob("*"))
    with sshd_setting(host, "MaxSessions 3\n"):
        build(operator, replicas=("db2",))


@pytest.mark.slow
@pytest.mark.fault("16b")
def test_connections_that_sshd_drops(operator: Operator) -> None:
    """Others are just logging in, and sshd takes no more of them for the moment."""
    host = operator.lan["db1"]
    with sshd_setting(host, "MaxStartups 1:100:1\n"):
        with socket.create_connection((host.address, 22)) as other:
            assert other.recv(4) == b"SSH-"
            (dropped,) = refusals(operator, 7, "init-primary", "db1")
            assert dropped["node"] == "db1"
            assert not list(host.path(PARENT).glob("*"))
        ok(operator.replctl("init-primary", "db1", "--yes"))


@pytest.mark.slow
@pytest.mark.fault("17a", "17b")
def test_temporary_folders_of_no_use(operator: Operator) -> None:
    """Full on one host, mounted noexec on the other: nothing is written to them, nor run from them."""
    first, second = operator.lan["db1"], operator.lan["db2"]
    first.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=1777", "full", "/tmp"], "root")
    assert first.run(["dd", "if=/dev/zero", "of=/tmp/filler"], check=False).returncode != 0
    second.run(["mount", "-t", "tmpfs", "-o", "noexec,mode=1777", "odd", "/tmp"], "root")
    build(operator, replicas=("db2",))
    ok(operator.replctl("promote", "db2", "--yes"))
    assert first.run(["ls", "-A", "/tmp"]).stdout == b"filler\n"
    assert second.run(["ls", "-A", "/tmp"]).stdout == b""
