"""How a node that fell out of the cluster comes back, and what of its own is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.real.clusters import assert_cluster, build, data_dir, ok, rows, status, wait_until
from tests.real.disasters import (
    announced,
    assert_entries,
    commit,
    failover,
    follow_nobody,
    lose,
    make_table,
    refusal,
    rejoin,
    signal_file,
    step_ids,
)
from tests.real.hosts import Host, Operator, pg_bin
from tests.real.standing import MAIN, control, execute, forget, lose_slot, server_process, start, value
from tests.real.watched import Watched

CONSENT = "--discard-diverged"
REWIND = f"{MAIN}.replctl-rewind"
PROGRAMS = "/var/lib/postgresql/bin"
KILLED_MIDWAY = "ulimit -f 2048"
"""pg_rewind is killed by the kernel (SIGXFSZ) once it writes past the first MiB of a file: of a WAL segment, say."""


@pytest.fixture
def crashed(cluster: Operator) -> Operator:
    """db2 leads; db1 died with twenty commits that nobody else has."""
    make_table(cluster)
    commit(cluster, "db1", range(10))
    lose(cluster, range(100, 120))
    failover(cluster, "db2", code=6)
    return cluster


def asides(host: Host, version: int = 15) -> list[Path]:
    beside = host.path(data_dir(version)).parent
    return sorted(beside.glob("main.replctl-aside-*"))


def checkpoint_timeline(host: Host) -> str:
    text = host.run([f"{pg_bin(15)}/pg_controldata", "-D", MAIN]).stdout.decode()
    (line,) = [line for line in text.splitlines() if line.startswith("Latest checkpoint's TimeLineID")]
    return line.split()[-1]


@pytest.mark.fault("77", "81", "82")
@pytest.mark.parametrize(
    "version", [15, pytest.param(16, marks=pytest.mark.slow), pytest.param(17, marks=pytest.mark.slow), 18]
)
def test_a_crashed_primary_comes_back_by_pg_rewind(operator: Operator, version: int) -> None:
    """Its last commits were never sent: they are counted, kept beside the data directory, and asked for. The
    postmaster.pid of its end is still there."""
    host, place = operator.lan["db1"], operator.lan["db1"].path(data_dir(version))
    operator.write_inventory(version=version)
    build(operator)
    make_table(operator)
    commit(operator, "db1", range(10))
    execute(operator, "db1", "alter system set work_mem = '7MB'")
    (place / "notes.txt").write_text("mine\n")
    (place / "postgresql.conf").write_text((place / "postgresql.conf").read_text() + "# mine too\n")
    (place / "log/old.log").write_text("from before\n")
    lose(operator, range(100, 120))
    assert (place / "postmaster.pid").exists()
    failover(operator, "db2", code=6)
    commit(operator, "db2", range(200, 220))
    execute(operator, "db2", "alter system set work_mem = '9MB'")

    refused = rejoin(operator, "db1", code=3)
    diverged = refusal(refused, "diverged")
    lost_bytes, commits = announced(diverged["message"])
    assert lost_bytes > 0
    assert 20 <= commits < 30
    assert CONSENT in diverged["hint"]

    done = rejoin(operator, "db1", CONSENT)
    assert {"recover", "keep", "rewind", "install"} <= step_ids(done)
    assert_cluster(operator, "db2", ["db1", "db3"])
    assert_entries(operator, "db1", {*range(10), *range(200, 220)})
    assert value(operator, "db1", "show work_mem") == "7MB"
    assert (place / "notes.txt").read_text() == "mine\n"
    assert (place / "postgresql.conf").read_text().endswith("# mine too\n")
    assert (place / "log/old.log").read_text() == "from before\n"
    (aside,) = asides(host, version)
    assert list((aside / "pg_wal").glob("00000001*"))
    assert (aside / "transactions.txt").read_text().count("COMMIT") == commits
    assert any(str(aside.name) in finding["message"] for finding in status(operator)["findings"])
    assert rejoin(operator, "db1")["outcome"] == "unchanged"


@pytest.mark.fault("78")
def test_before_the_first_checkpoint_of_the_new_primary(cluster: Operator) -> None:
    """pg_rewind reads the source's timeline from its latest checkpoint."""
    source = cluster.lan["db2"]
    make_table(cluster)
    lose(cluster, range(20))
    checkpointer = server_process(source, "checkpointer")
    source.freeze(checkpointer)
    failover(cluster, "db2", code=6)
    assert checkpoint_timeline(source) == "1"
    source.thaw(checkpointer)
    rejoin(cluster, "db1", CONSENT)
    assert_cluster(cluster, "db2", ["db1", "db3"])


def test_a_clean_stop_behind_the_fork_gives_up_no_commit(cluster: Operator) -> None:
    """Its shutdown record reached nobody: it has to be rewound, and nobody has to agree to it."""
    execute(cluster, "db1", "alter system set autovacuum = off", "select pg_reload_conf()")
    follow_nobody(cluster, "db2", "db3")
    control(cluster.lan["db1"], "stop", "-m", "fast")
    failover(cluster, "db2", code=6)
    assert "rewind" in step_ids(rejoin(cluster, "db1"))
    assert_cluster(cluster, "db2", ["db1", "db3"])
    assert rejoin(cluster, "db1")["outcome"] == "unchanged"


def test_a_replica_that_was_stopped_comes_back_as_it_is(cluster: Operator) -> None:
    control(cluster.lan["db2"], "stop", "-m", "fast")
    assert not {"rewind", "copy", "backup"} & step_ids(rejoin(cluster, "db2"))
    assert_cluster(cluster, "db1", ["db2", "db3"])
    assert asides(cluster.lan["db2"]) == []


def test_a_node_without_a_data_directory_is_cloned(cluster: Operator) -> None:
    forget(cluster, "db2")
    rejoin(cluster, "db2")
    assert_cluster(cluster, "db1", ["db2", "db3"])


@pytest.mark.fault("80")
def test_a_lost_slot_needs_a_new_clone(cluster: Operator) -> None:
    control(cluster.lan["db2"], "stop", "-m", "fast")
    make_table(cluster)
    commit(cluster, "db1", range(5))
    lose_slot(cluster, "replctl_db2")
    needed = refusal(rejoin(cluster, "db2", code=3), "needs-clone")
    assert "--reclone" in needed["hint"]
    rejoin(cluster, "db2", "--reclone")
    assert len(asides(cluster.lan["db2"])) == 1
    assert_cluster(cluster, "db1", ["db2", "db3"])


@pytest.mark.fault("80")
def test_without_checksums_and_hints_it_needs_a_new_clone(cluster: Operator) -> None:
    host = cluster.lan["db1"]
    control(host, "stop", "-m", "fast")
    host.run([f"{pg_bin(15)}/pg_checksums", "--disable", "-D", MAIN])
    control(host, "start", "-l", f"{MAIN}/log/start.log", "-o", "-c wal_log_hints=off")
    make_table(cluster)
    lose(cluster, range(20))
    failover(cluster, "db2", code=6)
    assert "wal_log_hints" in refusal(rejoin(cluster, "db1", CONSENT, code=3), "needs-clone")["message"]
    rejoin(cluster, "db1", CONSENT, "--reclone")
    assert len(asides(host)) == 1
    assert_cluster(cluster, "db2", ["db1", "db3"])


def write_segments(operator: Operator, name: str) -> None:
    """Three more segments of WAL; a checkpoint removes those before them that nobody needs."""
    for number in range(200, 203):
        commit(operator, name, range(number, number + 1))
        execute(operator, name, "select pg_switch_wal()")


def recycle(operator: Operator, name: str, segment: str) -> None:
    """Until a node has no such WAL segment any more: nothing keeps it for db1."""
    execute(operator, name, "select pg_drop_replication_slot('replctl_db1')")

    def gone() -> bool:
        execute(operator, name, "checkpoint")
        return value(operator, name, f"select count(*) from pg_ls_waldir() where name = '{segment}'") == 0

    wait_until(gone)


def test_wal_before_the_fork_that_the_new_primary_recycled(cluster: Operator) -> None:
    """The replay after pg_rewind begins there: the node keeps its own."""
    make_table(cluster)
    segment = value(cluster, "db1", "select pg_walfile_name(redo_lsn) from pg_control_checkpoint()")
    execute(cluster, "db1", "select pg_switch_wal()")
    commit(cluster, "db1", range(10))
    lose(cluster, range(100, 110))
    failover(cluster, "db2", code=6)
    recycle(cluster, "db2", segment)
    rejoin(cluster, "db1", CONSENT)
    assert_cluster(cluster, "db2", ["db1", "db3"])
    assert_entries(cluster, "db1", set(range(10)))


@pytest.mark.fault("80")
def test_wal_since_the_fork_that_the_new_primary_recycled(crashed: Operator) -> None:
    """pg_rewind would work, and its result never catch up."""
    segment = value(crashed, "db2", "select pg_walfile_name(pg_current_wal_lsn())")
    write_segments(crashed, "db2")
    recycle(crashed, "db2", segment)
    needed = refusal(rejoin(crashed, "db1", CONSENT, code=3), "needs-clone")
    assert "db2 no longer has its WAL from" in needed["message"]
    rejoin(crashed, "db1", CONSENT, "--reclone")
    assert_cluster(crashed, "db2", ["db1", "db3"])


def test_wal_since_the_fork_is_kept_for_the_old_primary(crashed: Operator) -> None:
    """However long it takes to come back, within max_slot_wal_keep_size: its slot is made by the failover."""
    write_segments(crashed, "db2")
    execute(crashed, "db2", "checkpoint", "checkpoint")
    rejoin(crashed, "db1", CONSENT)
    assert_cluster(crashed, "db2", ["db1", "db3"])


def with_own_rewind(operator: Operator, lines: str) -> None:
    """db1 has programs of its own: PostgreSQL's, and before pg_rewind changes anything these lines are run."""
    host = operator.lan["db1"]
    host.run(["mkdir", PROGRAMS])
    host.run(["sh", "-c", f"ln -s {pg_bin(15)}/* {PROGRAMS}/ && rm {PROGRAMS}/pg_rewind"])
    program = host.path(f"{PROGRAMS}/pg_rewind")
    program.write_text(f'#!/bin/sh\ncase $1 in *replctl-rewind) {lines};; esac\nexec {pg_bin(15)}/pg_rewind "$@"\n')
    program.chmod(0o755)
    operator.write_inventory(extra={"nodes": {"db1": {"postgres": {"bin_dir": PROGRAMS}}}})


@pytest.mark.fault("79")
def test_pg_rewind_is_killed_midway(crashed: Operator) -> None:
    """What it leaves is out of its place, and nothing starts it; a new clone mends it."""
    host = crashed.lan["db1"]
    with_own_rewind(crashed, KILLED_MIDWAY)
    broken = rejoin(crashed, "db1", CONSENT, code=6)
    assert "--reclone" in broken["next"]
    assert not host.path(MAIN).exists()
    assert host.path(REWIND).exists()
    assert not host.path(f"{REWIND}/standby.signal").exists()
    assert rows(crashed)["db1"]["role"] == "none"
    refusal(rejoin(crashed, "db1", CONSENT, code=3), "broken-rewind")
    crashed.write_inventory()
    rejoin(crashed, "db1", "--reclone")
    assert not list(host.path(MAIN).parent.glob("main.replctl-rewind*"))
    assert len(asides(host)) == 2
    assert_cluster(crashed, "db2", ["db1", "db3"])
    assert rejoin(crashed, "db1")["outcome"] == "unchanged"


def test_replctl_is_killed_while_pg_rewind_works(crashed: Operator) -> None:
    """pg_rewind goes on by itself: nobody may touch what it works on, and then its result is as good."""
    host = crashed.lan["db1"]
    host.path("/var/lib/postgresql/hold").touch()
    with_own_rewind(crashed, "while [ -e /var/lib/postgresql/hold ]; do sleep 0.1; done")
    run = Watched(crashed, "rejoin", "db1", CONSENT, "--yes")
    run.until("db1", "rewind", "pg_rewind")
    wait_until(lambda: not host.path(MAIN).exists())
    run.kill()
    for consent in ((), ("--reclone",)):
        assert host.pids("pg_rewind --target"), host.cmdlines()
        refusal(rejoin(crashed, "db1", *consent, code=3), "rewind-running")
    host.path("/var/lib/postgresql/hold").unlink()
    wait_until(lambda: not host.pids("replctl-rewind"))
    done = rejoin(crashed, "db1")
    assert "install" in step_ids(done)
    assert "rewind" not in step_ids(done)
    assert_cluster(crashed, "db2", ["db1", "db3"])
    assert not list(host.path(MAIN).parent.glob("main.replctl-rewind*"))


@pytest.mark.slow
@pytest.mark.parametrize("moment", [("recover", "done"), ("keep", "done"), ("rewind", "done"), ("install", "done")])
def test_killed_and_run_again(crashed: Operator, moment: tuple[str, str]) -> None:
    run = Watched(crashed, "rejoin", "db1", CONSENT, "--yes")
    run.until("db1", *moment)
    run.kill()
    rejoin(crashed, "db1", CONSENT)
    assert_cluster(crashed, "db2", ["db1", "db3"])
    assert rejoin(crashed, "db1")["outcome"] == "unchanged"
    assert len(asides(crashed.lan["db1"])) == 1


@pytest.mark.fault("82")
def test_a_crashed_primary_that_somebody_started_as_a_standby(crashed: Operator) -> None:
    """standby.signal is there: it runs, follows nobody for long, and is stopped by the run that rewinds it."""
    host = crashed.lan["db1"]
    assert signal_file(host)
    start(host)
    assert rows(crashed)["db1"]["state"] == "diverged"
    refusal(rejoin(crashed, "db1", code=3), "diverged")
    assert rows(crashed)["db1"]["state"] == "diverged"
    rejoin(crashed, "db1", CONSENT)
    assert_cluster(crashed, "db2", ["db1", "db3"])


def test_what_rejoin_refuses(cluster: Operator) -> None:
    assert refusal(rejoin(cluster, "db1", code=3), "is-primary")["node"] == "db1"
    control(cluster.lan["db1"], "stop", "-m", "fast")
    refusal(rejoin(cluster, "db2", code=3), "no-primary")
    ok(cluster.replctl("init-primary", "db1", "--yes"))
    assert rejoin(cluster, "db2")["outcome"] == "unchanged"
