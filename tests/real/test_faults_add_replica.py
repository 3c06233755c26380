"""More of what goes wrong while a replica is added: around the copy, and in what stands at its place."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.real.clusters import assert_cluster, assert_env, ok, rows, slots, status, wait_until
from tests.real.hosts import Host, Operator, pg_bin
from tests.real.standing import (
    MAIN,
    await_streaming,
    background,
    control,
    execute,
    forget,
    in_recovery,
    start,
    thaw,
    value,
)
from tests.real.watched import copying

PARENT = MAIN.rpartition("/")[0]
TEMPLATES = Path(__file__).parents[2] / "templates"


@pytest.fixture
def without_db2(cluster: Operator) -> Operator:
    """db1 and db3; db2 was never added."""
    forget(cluster, "db2")
    return cluster


def refused(operator: Operator, code: int = 3) -> list[dict[str, Any]]:
    """The reasons; nothing was made on the primary or on the host."""
    host = operator.lan["db2"]
    before = slots(operator, "db1"), host.run(["ls", "-A", PARENT]).stdout
    run = operator.replctl("add-replica", "db2", "--yes", "-o", "json")
    assert run.code == code, run.out + run.err
    assert (slots(operator, "db1"), host.run(["ls", "-A", PARENT]).stdout) == before
    assert all(refusal["hint"] for refusal in run.document["refusals"])
    return run.document["refusals"]


@contextmanager
def small_disk(operator: Operator, host: Host, megabytes: int) -> Iterator[None]:
    """The host's cluster lies on a file system of its own."""
    control(host, "stop", "-m", "fast")
    options = f"size={megabytes}m,mode=700,uid=postgres,gid=postgres"
    host.run(["mkdir", "/var/lib/postgresql/disk"])
    host.run(["mount", "-t", "tmpfs", "-o", options, "disk", "/var/lib/postgresql/disk"], "root")
    host.run(["cp", "-a", f"{PARENT}/.", "/var/lib/postgresql/disk"])
    host.run(["mount", "--move", "/var/lib/postgresql/disk", PARENT], "root")
    start(host)
    yield
    control(host, "stop", "-m", "immediate")
    host.run(["umount", PARENT], "root")


@pytest.mark.slow
@pytest.mark.fault("38", "39")
def test_wal_that_piles_up_on_the_primary(without_db2: Operator) -> None:
    """The copy stands still while the primary writes: its slot gives up at its limit, and the primary goes on."""
    operator, host = without_db2, without_db2.lan["db1"]
    with small_disk(operator, host, 400):
        execute(operator, "db1", "alter system set wal_sender_timeout = '4s'", "select pg_reload_conf()")
        assert "db1 has" in ok(operator.replctl("add-replica", "db2", "--dry-run")).out
        run, pids = copying(operator)
        execute(operator, "db1", "alter system set max_slot_wal_keep_size = '32MB'", "select pg_reload_conf()")
        for _ in range(6):
            execute(operator, "db1", "select pg_logical_emit_message(false, 'test', 'x')", "select pg_switch_wal()")
        caught_up = "select flush_lsn = pg_current_wal_lsn() from pg_stat_replication where application_name = 'db3'"
        wait_until(lambda: value(operator, "db1", caught_up))
        # A walsender whose client stands still would not end for the checkpoint, which would wait for it.
        idle = "select not active from pg_replication_slots where slot_name = 'replctl_db2'"
        wait_until(lambda: value(operator, "db1", idle))
        execute(operator, "db1", "checkpoint")
        state = "select wal_status from pg_replication_slots where slot_name = 'replctl_db2'"
        wait_until(lambda: value(operator, "db1", state) == "lost")
        for setting in ("wal_sender_timeout", "max_slot_wal_keep_size"):
            execute(operator, "db1", f"alter system reset {setting}", "select pg_reload_conf()")
        await_streaming(operator, "db1", ["db3"])  # on a busy machine it may have been dropped too
        thaw(pids)
        ended = run.end()
        assert ended.code == 5, ended.err
        assert "hint:" in ended.err
        assert "replctl_db2" not in slots(operator, "db1")
        assert operator.lan["db2"].run(["ls", "-A", PARENT]).stdout == b""
        execute(operator, "db1", "create table still_writes (n int)")
        ok(operator.replctl("add-replica", "db2", "--yes"))
        assert_cluster(operator, "db1", ["db2", "db3"])


@pytest.mark.fault("41b")
def test_templates_that_admit_no_replica(without_db2: Operator) -> None:
    operator = without_db2
    templates = operator.folder / "templates"
    shutil.copytree(TEMPLATES, templates)
    hba = templates / "pg_hba.conf.j2"
    hba.write_text(hba.read_text().replace("host  replication ", "# host  replication "))
    operator.write_inventory(extra={"templates": "./templates"})
    ok(operator.replctl("init-primary", "db1", "--yes"))
    (login,) = refused(operator)
    assert (login["code"], login["node"]) == ("replication-login", "db2")
    assert "pg_hba.conf" in login["message"] + login["hint"]


@pytest.mark.fault("45a", "45b", "45c")
def test_places_that_nothing_can_be_renamed_to(without_db2: Operator) -> None:
    operator, host = without_db2, without_db2.lan["db2"]
    host.run(["sh", "-c", f"mkdir {PARENT}/real {PARENT}/disk && ln -s real {PARENT}/link"])
    host.run(["mount", "-t", "tmpfs", "-o", "mode=700,uid=postgres,gid=postgres", "disk", f"{PARENT}/disk"], "root")
    for name, words in (("link", "symbolic link"), ("disk", "mount point")):
        operator.write_inventory(extra={"nodes": {"db2": {"postgres": {"data_dir": f"{PARENT}/{name}"}}}})
        (place,) = refused(operator)
        assert (place["code"], place["node"]) == ("data-dir", "db2")
        assert words in place["message"]
        assert f"{PARENT}/{name}/data" in place["hint"]
    operator.write_inventory(extra={"nodes": {"db2": {"postgres": {"data_dir": "/"}}}})
    (root,) = refused(operator, 2)
    assert "nodes.db2.postgres.data_dir" in root["message"]


@pytest.mark.slow
@pytest.mark.fault("43b", "51")
def test_strangers_at_the_place_and_of_the_name(without_db2: Operator) -> None:
    """A standby of somebody else calls itself db2; another cluster runs on the host of db2."""
    operator, host = without_db2, without_db2.lan["db2"]
    conninfo = f"host={operator.lan['db1'].address} user=replicator passfile={MAIN}.replctl-passfile"
    receive = [f"{pg_bin(15)}/pg_receivewal", "-d", f"{conninfo} application_name=db2", "-D", "/tmp", "--no-sync"]
    stranger = background(operator.lan["db3"], receive)
    names = (
        "select array_agg(name order by name) from (select application_name as name, state from pg_stat_replication)"
    )
    names += " as links where state = 'streaming'"
    wait_until(lambda: value(operator, "db1", names) == ["db2", "db3"])
    (same_name,) = refused(operator)
    assert (same_name["code"], same_name["node"]) == ("name-in-use", "db2")
    assert operator.lan["db3"].address in same_name["message"]
    stranger.kill()
    stranger.wait(10)
    wait_until(lambda: value(operator, "db1", names) == ["db3"])

    identity = status(operator)["system_identifier"]
    host.run([f"{pg_bin(15)}/initdb", "-D", MAIN, "--no-sync", "--auth=trust", "--locale=C.UTF-8"])
    host.run([f"{pg_bin(15)}/pg_ctl", "start", "-D", MAIN, "-l", "/tmp/log", "-s", "-o", "-k /tmp"])
    (two,) = refused(operator)  # of two identities that run as primaries nobody can say which is meant
    assert two["code"] == "two-primaries"
    operator.write_inventory(extra={"system_identifier": identity})
    (foreign,) = refused(operator)
    assert (foreign["code"], foreign["node"]) == ("foreign", "db2")
    assert host.pids("postgres -D")


@pytest.mark.slow
@pytest.mark.fault("47")
def test_the_role_moves_while_the_copy_is_made(without_db2: Operator) -> None:
    """The primary crashes, and somebody promotes db3 by hand: the next run copies from there."""
    operator, host = without_db2, without_db2.lan["db1"]
    run, pids = copying(operator)
    control(host, "stop", "-m", "immediate")
    execute(operator, "db3", "select pg_promote()")
    wait_until(lambda: not in_recovery(operator, "db3"))
    thaw(pids)
    ended = run.end(90)
    assert ended.code in {5, 6}, ended.err
    assert "hint:" in ended.err
    assert not (operator.lan["db2"].path(MAIN)).exists()
    ok(operator.replctl("add-replica", "db2", "--yes"))
    assert rows(operator)["db2"]["upstream"] == "db3"
    assert_env(operator, "db3", ["db2"])
