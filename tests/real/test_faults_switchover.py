"""What a switchover meets on its way: told before anything is stopped, taken back, or waited for. No acknowledged row
is lost."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.real.clusters import assert_cluster, ok, status, wait_until
from tests.real.disasters import (
    assert_entries,
    codes,
    command,
    commit,
    entries,
    make_table,
    refusal,
    signal_file,
)
from tests.real.hosts import Host, Operator
from tests.real.hosts.operator import ROLES
from tests.real.ledger import Writer
from tests.real.standing import (
    MAIN,
    await_streaming,
    execute,
    freeze,
    frozen,
    held_replay,
    restart,
    role,
    server_process,
    thaw,
    value,
)
from tests.real.test_promote_faults import RELOAD, refused
from tests.real.watched import Watched

WAITING = "select count(*) from pg_stat_activity where wait_event = 'SyncRep'"


def stopping(host: Host) -> bool:
    """Whether the postmaster says in its pid file that it was told to stop."""
    lines = host.path(f"{MAIN}/postmaster.pid").read_text().splitlines()
    return len(lines) >= 8 and lines[7].strip() == "stopping"


@contextmanager
def held_at_the_checkpoint(operator: Operator) -> Iterator[Watched]:
    """A switchover to db2 that has looked at everything and made its slots: the next step is the checkpoint, which
    ends once the context is left, and then comes the stop."""
    with frozen(operator.lan["db1"], "checkpointer"):
        run = Watched(operator, "promote", "db2", "--yes")
        run.until("db2", "slot:db3", "done")
        yield run


@pytest.mark.fault("61")
def test_a_stop_that_is_not_clean(cluster: Operator) -> None:
    """What was to write the shutdown checkpoint dies: the old primary recovers as after a crash, and goes on."""
    host = cluster.lan["db1"]
    checkpointer = server_process(host, "checkpointer")
    # The shutdown checkpoint waits for the last word of every walsender.
    walsender = host.pids(f"walsender replicator {cluster.lan['db3'].address}(")
    assert walsender
    with Writer(cluster) as writer:
        with held_at_the_checkpoint(cluster) as run:
            freeze(walsender)
        wait_until(lambda: stopping(host))
        os.kill(checkpointer, signal.SIGKILL)
        thaw(walsender)
        assert run.end().code == 5, run.err
        assert "it ended without a clean shutdown" in run.err
        writer.wait_for_rows(20)
    assert writer.missing(cluster, "db1") == []
    await_streaming(cluster, "db1", ["db2", "db3"])
    assert_cluster(cluster, "db1", ["db2", "db3"])


@pytest.mark.fault("57")
def test_another_replica_is_ahead_of_the_candidate(cluster: Operator) -> None:
    """Not for long: nothing is promoted until the candidate has the last record, which comes after all that the other
    one has."""
    make_table(cluster)
    commit(cluster, "db1", range(10))
    wait_until(lambda: len(entries(cluster, "db2")) == 10)
    receiver = [server_process(cluster.lan["db2"], "walreceiver")]
    with held_at_the_checkpoint(cluster) as run:
        freeze(receiver)
        commit(cluster, "db1", range(100, 130))
        wait_until(lambda: len(entries(cluster, "db3")) == 40)
        assert len(entries(cluster, "db2")) == 10
    run.until("db2", "prove", "waiting")
    assert signal_file(cluster.lan["db2"])
    thaw(receiver)
    ok(run.end())
    assert_entries(cluster, "db2", {*range(10), *range(100, 130)})
    assert_cluster(cluster, "db2", ["db1", "db3"])


@pytest.mark.fault("67")
def test_no_right_to_promote(cluster: Operator) -> None:
    """A promotion takes a superuser, and an OS user who can write to the data directories: told beforehand."""
    data = cluster.lan["db2"].path(MAIN)
    data.chmod(0o500)
    assert refused(cluster, "db2") == {"read-only-directory"}
    data.chmod(0o700)

    before = value(cluster, "db1", "select pg_postmaster_start_time()")
    with cluster.connect("db1") as connection:
        connection.execute("create role keeper superuser")
        connection.execute("set session authorization keeper")
        connection.execute(f"alter role {ROLES['admin']} nosuperuser")
    document = command(cluster, "promote", "db2", code=3)
    assert all("superuser" in one["message"] for one in document["refusals"])
    assert value(cluster, "db1", "select pg_postmaster_start_time()") == before
    assert role(cluster, "db2") == "replica"


@pytest.mark.fault("67")
def test_a_promote_request_that_is_refused_after_all(cluster: Operator) -> None:
    """The right was there when it was looked for. The old primary is down by then, and its own name brings it back."""
    data = cluster.lan["db2"].path(MAIN)
    with Writer(cluster) as writer:
        with held_at_the_checkpoint(cluster) as run:
            data.chmod(0o500)
        assert run.end().code == 6, run.err
        assert "`replctl promote db1` starts db1 again" in " ".join(run.err.split())
        assert role(cluster, "db2") == "replica"
        data.chmod(0o700)
        ok(cluster.replctl("promote", "db1", "--yes"))
        writer.wait_for_rows(20)
    assert writer.missing(cluster, "db1") == []
    assert_cluster(cluster, "db1", ["db2", "db3"])


@pytest.mark.fault("72")
def test_commits_would_wait_for_an_absent_standby(cluster: Operator) -> None:
    """Refused while nobody who will follow the candidate is named; told where somebody is."""
    execute(cluster, "db2", "alter system set synchronous_standby_names = 'db2, db9'", RELOAD)
    document = command(cluster, "promote", "db2", code=3)
    assert "'db2, db9'" in refusal(document, "synchronous-standbys")["message"]
    execute(cluster, "db2", "alter system set synchronous_standby_names = 'ANY 1 (db1, db9)'", RELOAD)
    with Writer(cluster) as writer:
        run = ok(cluster.replctl("promote", "db2", "--yes", env={"COLUMNS": "1000"}))
        assert "synchronous_standby_names is set on db2" in run.err
        writer.wait_for_rows(20)
    assert writer.missing(cluster, "db2") == []
    assert_cluster(cluster, "db2", ["db1", "db3"])


def await_a_waiting_commit(operator: Operator) -> None:
    wait_until(lambda: value(operator, "db1", WAITING) == 1)


@pytest.mark.fault("73")
def test_a_commit_waits_at_the_stop(cluster: Operator) -> None:
    """The stop ends its wait. The client is told of no commit, though the row exists, and is not lost either."""
    with Writer(cluster) as writer:
        execute(cluster, "db1", "alter system set synchronous_standby_names = 'db9'", RELOAD)
        await_a_waiting_commit(cluster)
        unknown = writer.acknowledged[-1] + 1
        assert "commits-wait" in {finding["code"] for finding in status(cluster)["findings"]}
        done = ok(cluster.replctl("promote", "db2", "--yes", "-o", "json")).document
        assert 0 < done["write_outage_ms"] < 10_000
        writer.wait_for_rows(20)
    assert unknown not in writer.acknowledged
    assert writer.missing(cluster, "db2") == []
    with cluster.connect("db2", "app") as connection:
        assert connection.execute("select from ledger where n = %s", [unknown]).fetchall()
    assert_cluster(cluster, "db2", ["db1", "db3"])


@pytest.mark.slow
@pytest.mark.fault("73")
def test_a_commit_waits_for_the_candidate_at_the_stop(cluster: Operator) -> None:
    """It never gets the candidate's answer: the switchover is taken back, with every row that was acknowledged."""
    execute(cluster, "db1", "alter system set synchronous_commit = remote_apply")
    with Writer(cluster) as writer:
        with held_replay(cluster.lan["db2"]):
            execute(cluster, "db1", "alter system set synchronous_standby_names = 'db2'", RELOAD)
            await_a_waiting_commit(cluster)
            assert command(cluster, "promote", "db2", code=5)["outcome"] == "undone"
        writer.wait_for_rows(20)
    assert writer.missing(cluster, "db1") == []
    await_streaming(cluster, "db1", ["db2", "db3"])
    assert_cluster(cluster, "db1", ["db2", "db3"])


@pytest.mark.fault("74")
def test_prepared_transactions_and_logical_slots(cluster: Operator) -> None:
    """A logical slot would stay behind: refused. A prepared transaction moves along, and the operator is told."""
    for name in ("db2", "db3", "db1"):
        execute(cluster, name, "alter system set max_prepared_transactions = 5", "alter system set wal_level = logical")
        restart(cluster.lan[name])
    await_streaming(cluster, "db1", ["db2", "db3"])
    execute(cluster, "db1", "select pg_create_logical_replication_slot('subscriber', 'pgoutput')")
    document = command(cluster, "promote", "db2", code=3)
    assert codes(document) == {"logical-slot"}
    assert "subscriber" in refusal(document, "logical-slot")["message"]
    execute(cluster, "db1", "select pg_drop_replication_slot('subscriber')")

    make_table(cluster)
    with cluster.connect("db1", "app", autocommit=False) as connection:
        connection.execute("insert into entries values (1)")
        connection.execute("prepare transaction 'half'")
    run = ok(cluster.replctl("promote", "db2", "--yes", env={"COLUMNS": "1000"}))
    told, stopped = run.err.index("prepared transaction"), run.err.index("done in")
    assert told < stopped
    with cluster.connect("db2", "app") as connection:
        connection.execute("commit prepared 'half'")
    for name in ("db1", "db2"):
        assert_entries(cluster, name, {1})
    assert_cluster(cluster, "db2", ["db1", "db3"])
