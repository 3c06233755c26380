"""Findings and states that ``test_status_states`` has not: each made on real hosts, each in a document that keeps the
contract and on a screen that says it."""

from __future__ import annotations

from typing import Any

from tests.real.clusters import data_dir, wait_until
from tests.real.gallery import shown_on
from tests.real.hosts import Operator, pg_bin
from tests.real.standing import (
    MAIN,
    background,
    control,
    execute,
    forget,
    frozen,
    lose_slot,
    restart,
    start,
    value,
)
from tests.real.test_status_states import codes, hurried, look

__all__ = ["hurried"]


def found(operator: Operator, node: str | None, *wanted: str) -> dict[str, Any]:
    """The document, once all of these are told of the node; each is on the screens of both widths."""
    wait_until(lambda: codes(look(operator), node) >= set(wanted))
    shown_on(operator, *wanted)
    return look(operator)


def states(document: dict[str, Any]) -> list[str]:
    return [row["state"] for row in document["nodes"]]


def test_settings_that_a_standby_has_less_of(hurried: Operator) -> None:
    execute(hurried, "db1", "alter system set max_connections = 200")
    restart(hurried.lan["db1"])
    document = found(hurried, "db2", "parameter-paused")
    assert states(document) == ["read-write", "parameter-paused", "parameter-paused"]


def test_a_standby_that_takes_no_connections(hurried: Operator) -> None:
    execute(hurried, "db2", "alter system set hot_standby = off")
    control(hurried.lan["db2"], "stop", "-m", "fast")
    control(hurried.lan["db2"], "start", "-W", "-l", f"{data_dir()}/log/start.log")
    document = found(hurried, "db2", "starting")
    assert states(document)[1] == "starting"


def test_slots_that_are_gone_lost_or_left(hurried: Operator) -> None:
    replays_nothing_when_started(hurried, "db3")
    control(hurried.lan["db2"], "stop", "-m", "fast")
    control(hurried.lan["db3"], "stop", "-m", "fast")
    dropped = "select pg_drop_replication_slot('replctl_db2') from pg_replication_slots where not active"
    wait_until(lambda: look(hurried)["nodes"][2]["slot"]["active"] is False)
    execute(hurried, "db1", f"{dropped} and slot_name = 'replctl_db2'")
    execute(hurried, "db1", "select pg_create_physical_replication_slot('replctl_db1', true)")
    found(hurried, "db2", "slot-missing")
    found(hurried, "db1", "slot-stale")
    execute(hurried, "db1", "alter system set max_slot_wal_keep_size = '64MB'", "select pg_reload_conf()")
    for _ in range(4):
        execute(hurried, "db1", "select pg_logical_emit_message(false, 'test', 'x')", "select pg_switch_wal()")
    # Half a segment more: wherever in its segment the slot begins, it keeps more than four fifths.
    execute(hurried, "db1", "select pg_logical_emit_message(false, 'test', repeat('x', 8000000))")
    found(hurried, "db3", "slot-filling")
    lose_slot(hurried, "replctl_db3")
    start(hurried.lan["db3"])
    document = found(hurried, "db3", "slot-lost", "lag-unknown")
    assert document["nodes"][2]["lag_ms"] is None
    assert states(document)[2] == "slot-lost"


def replays_nothing_when_started(operator: Operator, name: str) -> None:
    """A restartpoint behind all transactions: how old the newest replayed one is will be unknown then."""
    execute(operator, "db1", "checkpoint")
    end = value(operator, "db1", "select pg_current_wal_flush_lsn()")
    wait_until(lambda: value(operator, name, f"select pg_last_wal_replay_lsn() >= '{end}'"))
    execute(operator, name, "checkpoint")


def test_walsenders_that_are_gone_or_of_one_name(hurried: Operator) -> None:
    end = "select pg_terminate_backend(pid) from pg_stat_replication where application_name = 'db2'"
    with frozen(hurried.lan["db2"], "walreceiver"):
        execute(hurried, "db1", end)
        found(hurried, "db2", "walsender-missing")
    wait_until(lambda: look(hurried)["health"] == "healthy")
    conninfo = f"host={hurried.lan['db1'].address} user=replicator passfile={MAIN}.replctl-passfile"
    receive = [f"{pg_bin(15)}/pg_receivewal", "-d", f"{conninfo} application_name=db2", "-D", "/tmp", "--no-sync"]
    receiver = background(hurried.lan["db3"], receive)
    try:
        found(hurried, "db2", "walsender-duplicate")
    finally:
        receiver.kill()
        receiver.wait(10)


def test_a_file_of_rules_that_nobody_can_use(hurried: Operator) -> None:
    rules = hurried.lan["db2"].path(f"{MAIN}/pg_hba.conf")
    rules.write_text(rules.read_text() + "host all all nonsense\n")
    document = found(hurried, "db2", "hba-error")
    assert document["health"] == "degraded"


def test_an_env_file_that_cannot_be_read(hurried: Operator) -> None:
    hurried.env_file.unlink()
    hurried.env_file.mkdir()
    document = found(hurried, None, "env-unreadable")
    assert [row["in_env"] for row in document["nodes"]] == [None, None, None]


def test_directories_that_hold_something_else(hurried: Operator) -> None:
    for name in ("db2", "db3"):
        forget(hurried, name)
        hurried.lan[name].run(["mkdir", "-p", data_dir()])
    hurried.lan["db2"].run(["touch", f"{data_dir()}/notes.txt"])
    broken = hurried.lan["db3"]
    broken.run(["mkdir", f"{data_dir()}/global"])
    broken.run(["sh", "-c", f"echo 15 >{data_dir()}/PG_VERSION; echo x >{data_dir()}/global/pg_control"])
    found(hurried, "db2", "directory-not-empty")
    document = found(hurried, "db3", "directory-unreadable")
    assert states(document)[1:] == ["absent", "absent"]


def test_a_cluster_beside_the_cluster(hurried: Operator) -> None:
    """Two primaries of two clusters: nobody can say which one is meant."""
    forget(hurried, "db2")
    second = hurried.lan["db2"]
    second.run([f"{pg_bin(15)}/initdb", "-D", data_dir(), "--no-sync", "--auth=trust", "--locale=C.UTF-8"])
    second.run(["mkdir", f"{data_dir()}/log"])
    start(second)
    found(hurried, None, "multiple-primaries", "identity-unknown")


def test_a_primary_that_is_older_than_a_stopped_node(hurried: Operator) -> None:
    execute(hurried, "db3", "select pg_promote()")
    control(hurried.lan["db3"], "stop", "-m", "fast")
    document = found(hurried, "db3", "later-timeline")
    assert states(document) == ["read-write", "streaming", "stopped"]


def test_what_waits_and_what_was_left_lying(hurried: Operator) -> None:
    """A setting for the next start, a commit for a standby that there is not, directories of earlier runs."""
    staging, aside = f"{MAIN}.replctl-new", f"{MAIN}.replctl-aside-20250101T000000Z"
    hurried.lan["db2"].run(["sh", "-c", f"mkdir {staging} {aside}; echo old >{aside}/base"])
    marker = '{"run": "cut-short", "system_identifier": null}'
    hurried.lan["db2"].run(["sh", "-c", f"printf %s '{marker}' >{staging}.json"])
    settings = ("max_connections = 70", "synchronous_standby_names = 'db9'")
    execute(hurried, "db1", *(f"alter system set {setting}" for setting in settings), "select pg_reload_conf()")
    found(hurried, "db1", "pending-restart", "commits-wait")
    found(hurried, "db2", "staging", "aside")


def test_a_replica_that_has_much_to_fetch(hurried: Operator) -> None:
    """Over a slow line."""
    first, second = hurried.lan["db1"], hurried.lan["db2"]
    control(second, "stop", "-m", "fast")
    with hurried.connect("db1") as connection:
        for _ in range(12):
            connection.execute("select pg_logical_emit_message(false, 'test', repeat('x', 8000000))")
    line = ("dev", "eth0", "root")
    first.run(["tc", "qdisc", "add", *line, "tbf", "rate", "20mbit", "burst", "64kbit", "latency", "50ms"], "root")
    try:
        start(second)
        assert states(found(hurried, "db2", "catchup"))[1] == "catchup"
    finally:
        first.run(["tc", "qdisc", "del", *line], "root")
