"""What ``status`` says of nodes in every state that can be made quickly, and of what nobody listed."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from replctl.model.values import Lsn
from tests.real.clusters import data_dir, wait_until
from tests.real.gallery import pictured
from tests.real.hosts import Operator, pg_bin
from tests.real.standing import MAIN, background, control, execute, forget, in_recovery, restart

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/status.schema.json").read_text())
EXITS = {"healthy": 0, "degraded": 10, "critical": 11}
FIGURES = ("unreceived_bytes", "unreplayed_bytes", "lag_ms")
MIB = 2**20
SECONDS = 2
"""connect_timeout in these tests."""
NO_UPSTREAM = ("alter system set primary_conninfo = ''", "select pg_reload_conf()")


@pytest.fixture
def hurried(cluster: Operator) -> Operator:
    cluster.write_inventory(extra={"ssh": {"connect_timeout": SECONDS}})
    return cluster


def look(operator: Operator) -> dict[str, Any]:
    """One look, in time, whose document keeps every rule of the contract."""
    began = time.monotonic()
    run = operator.replctl("status", "-o", "json")
    assert time.monotonic() - began < SECONDS + 3 + STARTING
    document = run.document
    jsonschema.validate(document, SCHEMA)
    assert run.code == EXITS[document["health"]]
    assert_rules(document)
    return document


STARTING = 10.0
"""Seconds for everything else on a machine that is busy with other tests; a node without a deadline takes minutes."""


def assert_rules(document: dict[str, Any]) -> None:
    primaries = [row["name"] for row in document["nodes"] if row["role"] == "primary"]
    findings = document["findings"]
    assert document["primary"] == (primaries[0] if len(primaries) == 1 else None)
    worst = {finding["severity"] for finding in findings}
    health = "critical" if len(primaries) != 1 else "degraded" if worst & {"warning", "critical"} else "healthy"
    assert document["health"] == health
    for finding in findings:
        assert list(finding) == ["severity", "code", "node", "message", "hint"]
        assert finding["hint"]
    for row in document["nodes"]:
        assert_row(row, findings, one_primary=len(primaries) == 1)


def assert_row(row: dict[str, Any], findings: list[dict[str, Any]], *, one_primary: bool) -> None:
    """What is unknown is null with a finding that says why, never 0."""
    if row["role"] == "primary":
        assert [row[key] for key in (*FIGURES, "upstream", "sync_state", "slot")] == [None] * 6
        return
    if row["state"] == "unreachable":
        assert [row[key] for key in ("timeline", "upstream", "sync_state", *FIGURES)] == [None] * 6
    if any(row[key] is None for key in FIGURES) and one_primary:
        assert [finding for finding in findings if finding["node"] == row["name"]], row
    if row["unreplayed_bytes"] == 0:
        assert (row["lag_ms"], row["lag_is_lower_bound"]) == (0.0, False)


def states(operator: Operator) -> dict[str, str]:
    return {row["name"]: row["state"] for row in look(operator)["nodes"]}


def codes(document: dict[str, Any], node: str | None) -> set[str]:
    return {finding["code"] for finding in document["findings"] if finding["node"] == node}


def test_nothing_there(operator: Operator) -> None:
    operator.write_inventory(extra={"ssh": {"connect_timeout": SECONDS}})
    document = look(operator)
    assert {(row["role"], row["state"]) for row in document["nodes"]} == {("none", "absent")}
    assert document["health"] == "critical"
    assert codes(document, None) == {"no-primary"}
    assert document["system_identifier"] is None
    pictured(operator, "absent", "no-primary")


@pytest.mark.fault("83d", "83g")
def test_links_and_replay(hurried: Operator) -> None:
    """Two nodes at a time, through the states that a running replica can be in."""
    healthy = look(hurried)
    assert (healthy["health"], healthy["unlisted"]) == ("healthy", [])
    assert {row["state"] for row in healthy["nodes"]} == {"read-write", "streaming"}
    assert all(row["in_env"] for row in healthy["nodes"])
    assert all(row["sync_state"] == "async" for row in healthy["nodes"] if row["role"] == "replica")
    pictured(hurried, "read-write", "streaming")

    execute(hurried, "db2", "select pg_wal_replay_pause()")
    execute(hurried, "db3", "alter system set recovery_min_apply_delay = '1h'", "select pg_reload_conf()")
    execute(hurried, "db1", "create table t as select generate_series(1, 1000)")
    document = look(hurried)
    rows = {row["name"]: row for row in document["nodes"]}
    assert (rows["db2"]["state"], rows["db3"]["state"]) == ("paused", "delayed")
    assert rows["db2"]["unreplayed_bytes"] > 0
    assert rows["db2"]["unreceived_bytes"] >= 0
    assert codes(document, "db2") >= {"paused"}
    assert codes(document, "db3") >= {"delayed"}
    assert document["health"] == "degraded"
    pictured(hurried, "paused", "delayed")
    execute(hurried, "db2", "select pg_wal_replay_resume()")
    execute(hurried, "db3", "alter system reset recovery_min_apply_delay", "select pg_reload_conf()")

    other = f"host={hurried.lan['db2'].address} port=5432 user=replicator passfile={MAIN}.replctl-passfile"
    execute(
        hurried,
        "db3",
        f"alter system set primary_conninfo = '{other} application_name=db3'",
        "alter system set primary_slot_name = ''",
        "select pg_reload_conf()",
    )
    execute(hurried, "db2", *NO_UPSTREAM)
    wait_until(lambda: states(hurried) == {"db1": "read-write", "db2": "not-receiving", "db3": "wrong-upstream"})
    document = look(hurried)
    assert document["nodes"][2]["upstream"] == "db2"
    assert "env-drift" in codes(document, "db2")
    pictured(hurried, "not-receiving", "wrong-upstream", "env-drift")

    execute(hurried, "db2", "alter system set restore_command = 'false'", "select pg_reload_conf()")
    wait_until(lambda: states(hurried)["db2"] == "archive")
    pictured(hurried, "archive")


@pytest.mark.fault("65a", "65b", "83i")
def test_nodes_that_do_not_answer(hurried: Operator) -> None:
    host = hurried.lan["db3"]
    control(hurried.lan["db2"], "stop", "-m", "fast")
    host.unplug()
    document = look(hurried)
    rows = {row["name"]: row for row in document["nodes"]}
    assert (rows["db2"]["state"], rows["db2"]["role"]) == ("stopped", "replica")
    assert (rows["db3"]["state"], rows["db3"]["role"]) == ("unreachable", "unknown")
    assert document["health"] == "degraded"
    assert rows["db3"]["slot"]["name"] == "replctl_db3"
    assert "slot-inactive" in codes(document, "db2")
    pictured(hurried, "stopped", "unreachable", "slot-inactive")
    host.plug()
    host.freeze(host.postmaster(MAIN))
    document = look(hurried)
    assert document["nodes"][2]["state"] == "ssh-only"
    assert codes(document, "db3") >= {"ssh-only"}
    pictured(hurried, "ssh-only")
    host.thaw(host.postmaster(MAIN))

    operator_network = f"{hurried.lan.network.operator_address}/32"
    hurried.write_inventory(
        extra={
            "ssh": {"connect_timeout": SECONDS},
            "postgres": {"connect": "direct"},
            "admin": {"allow": [operator_network]},
        }
    )
    host.stop_sshd()
    document = look(hurried)
    assert document["nodes"][2]["state"] == "sql-only"
    assert document["nodes"][2]["role"] == "replica"
    assert codes(document, "db3") >= {"sql-only"}
    pictured(hurried, "sql-only")


@pytest.mark.fault("83e")
def test_other_clusters_and_strangers(hurried: Operator) -> None:
    first, second = hurried.lan["db1"], hurried.lan["db2"]
    forget(hurried, "db2")
    second.run([f"{pg_bin(15)}/initdb", "-D", data_dir(), "--no-sync", "--auth=trust", "--locale=C.UTF-8"])
    execute(hurried, "db1", "select pg_create_physical_replication_slot('theirs', true)")
    conninfo = f"host={first.address} user=replicator passfile={MAIN}.replctl-passfile application_name=stranger"
    third = hurried.lan["db3"]
    receiver = background(third, [f"{pg_bin(15)}/pg_receivewal", "-d", conninfo, "-D", "/tmp", "--no-sync"])
    wait_until(lambda: unlisted(hurried) == {("slot", "theirs"), ("walsender", "stranger")})
    document = look(hurried)
    assert (document["nodes"][1]["role"], document["nodes"][1]["state"]) == ("foreign", "foreign")
    assert codes(document, "db1") >= {"slot-unlisted", "walsender-unlisted"}
    assert document["health"] == "degraded"
    pictured(hurried, "foreign", "slot-unlisted", "walsender-unlisted")
    receiver.kill()
    receiver.wait(10)


def unlisted(operator: Operator) -> set[tuple[str, str]]:
    return {(row["kind"], row["name"]) for row in look(operator)["unlisted"]}


@pytest.mark.fault("83c")
def test_two_primaries_and_none(hurried: Operator) -> None:
    execute(hurried, "db3", "select pg_promote()")
    document = look(hurried)
    assert document["health"] == "critical"
    assert codes(document, None) == {"multiple-primaries"}
    assert [row[key] for row in document["nodes"] for key in FIGURES] == [None] * 9
    pictured(hurried, "multiple-primaries", case="one-promoted")

    host = hurried.lan["db3"]
    host.run(["touch", f"{MAIN}/standby.signal"])
    restart(host)
    wait_until(lambda: in_recovery(hurried, "db3"))
    document = look(hurried)
    assert document["nodes"][2]["state"] == "diverged"
    assert codes(document, "db3") >= {"diverged"}
    assert Lsn.parse(document["nodes"][2]["fork_lsn"]) > Lsn(0)
    pictured(hurried, "diverged")

    control(hurried.lan["db1"], "stop", "-m", "fast")
    document = look(hurried)
    assert (document["nodes"][0]["state"], document["nodes"][0]["role"]) == ("stopped", "unknown")
    assert codes(document, None) == {"no-primary"}
    pictured(hurried, "no-primary", "stopped", case="primary-stopped")


def test_how_long_wal_fits(cluster: Operator) -> None:
    """The primary's pace, the room on its disk, and how long a slot that nobody reads from can go on."""
    control(cluster.lan["db3"], "stop", "-m", "fast")
    for _ in range(4):
        execute(cluster, "db1", "select pg_logical_emit_message(false, 'test', 'x')", "select pg_switch_wal()")
    execute(cluster, "db1", "alter system set max_slot_wal_keep_size = '200MB'", "select pg_reload_conf()")
    wait_until(lambda: cluster.replctl("status", "-o", "json").document["nodes"][2]["slot"]["limit_bytes"] == 200 * MIB)
    document = look(cluster)
    pace = document["wal_bytes_per_s"]
    assert 0 < pace < 4 * 16 * MIB
    slot, room = document["nodes"][2]["slot"], document["nodes"][0]["wal_free_bytes"]
    assert not slot["active"]
    assert 3 * 16 * MIB < slot["retained_bytes"] < 200 * MIB
    assert 0 < slot["full_in_s"] <= 200 * MIB / pace + 1
    disk = os.statvfs(cluster.lan["db1"].path(f"{MAIN}/pg_wal"))
    assert abs(room - disk.f_bavail * disk.f_frsize) < 64 * MIB
    plain = cluster.replctl("status").out
    assert "MiB of 200 MiB, full in" in plain
    assert "B/s" in plain.splitlines()[0]
    samples = cluster.replctl("status", "-o", "prometheus")
    assert samples.code == 10
    assert 'replctl_slot_limit_bytes{cluster="chat",node="db3"} 209715200' in samples.out.splitlines()
    assert 'replctl_node_state{cluster="chat",node="db3",state="stopped"} 1.0' in samples.out.splitlines()
    assert cluster.replctl("status", "--watch", "-o", "prometheus").code == 2
