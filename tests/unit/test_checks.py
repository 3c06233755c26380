"""check: what is told of each kind of fault, its cause, and the command to copy."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from replctl.model.checkup import (
    Archiver,
    Cause,
    Check,
    CheckReport,
    CheckStatus,
    Checkup,
    OldestQuery,
    ServerCheckup,
)
from replctl.model.facts import Login, Problem, ProblemKind
from replctl.model.host import Aside
from replctl.model.report import Health
from replctl.model.values import NodeName
from replctl.planning.checks import check_report
from replctl.planning.report import status_report
from tests.unit.builders import ClusterBuilder, a_cluster, a_slot, gib, kib, mib
from tests.unit.configurations import Seen, situation_of

DB1, DB2, DB3 = NodeName("db1"), NodeName("db2"), NodeName("db3")
WELL = ServerCheckup(0.0, None, None, None, 0, {}, ())


def three(**replica) -> ClusterBuilder:
    built = a_cluster().primary("db1").replica("db2", **replica).replica("db3").as_made_by_us()
    return built.env("db1", "db2", "db3")


def checked(
    built: ClusterBuilder,
    parameters: Mapping[str, str] | None = None,
    *,
    logins: tuple[Login, ...] = (),
    logs: Mapping[NodeName, tuple[str, ...]] | None = None,
    extra: Mapping[NodeName, ServerCheckup] | None = None,
    seen: Mapping[str, Seen] | None = None,
) -> CheckReport:
    nodes = seen if seen is not None else {name: Seen("", {"max_connections": "100"}) for name in ("db1", "db2", "db3")}
    situation = situation_of(built, parameters or {}, **nodes)
    servers = {NodeName(name): WELL for name in nodes} | dict(extra or {})
    checkup = Checkup(servers, logs or {}, logins)
    return check_report(situation, checkup, status_report(situation.inventory, situation.facts))


def wrong(report: CheckReport) -> list[tuple[str | None, str]]:
    return [(one.node, one.name) for one in report.checks if one.status is not CheckStatus.OK]


def the(report: CheckReport, node: str | None, name: str) -> Check:
    """The one line of that name that is not well."""
    found = [o for o in report.checks if (o.node, o.name) == (node, name) and o.status is not CheckStatus.OK]
    assert len(found) == 1, [(one.node, one.name, one.detail) for one in report.checks]
    return found[0]


def refused(kind: ProblemKind, message: str) -> tuple[Login, ...]:
    return (Login(DB2, DB1, Problem(kind, message, "Look there.")),)


def test_all_is_well() -> None:
    report = checked(three())
    assert wrong(report) == []
    assert report.health is Health.HEALTHY
    assert {one.node for one in report.checks} == {None, DB1, DB2, DB3}


def test_every_node_is_told_of_the_same_things() -> None:
    report = checked(three())
    names = [one.name for one in report.checks if one.node == DB2]
    assert len(names) == len(set(names))
    assert {"ssh", "instance", "replication", "replay", "slot", "settings", "disk", "boot"} <= set(names)


RULE = 'no pg_hba.conf entry for replication connection from host "10.0.0.2", user "replicator", no encryption'


@pytest.mark.parametrize(
    ("kind", "message", "cause", "command"),
    [
        (ProblemKind.SQL_AUTH, RULE, Cause.AUTHENTICATION, "replctl config apply db1"),
        (
            ProblemKind.SQL_AUTH,
            'password authentication failed for user "replicator"',
            Cause.AUTHENTICATION,
            "replctl init-primary db1",
        ),
        (
            ProblemKind.TIMEOUT,
            "timed out",
            Cause.NETWORK,
            "ssh 10.0.0.1 'sudo -n iptables -I INPUT -p tcp -s 10.0.0.2 --dport 5432 -j ACCEPT'",
        ),
    ],
    ids=["no rule", "password", "port blocked"],
)
def test_a_login_tells_why_nothing_is_received(kind, message, cause, command) -> None:
    report = checked(three(receiver=None), logins=refused(kind, message))
    for name in ("replication", "logins"):
        one = the(report, "db2", name)
        assert (one.status, one.cause, one.command) == (CheckStatus.FAILED, cause, command)
        assert message in one.detail
    assert report.health is Health.DEGRADED


@pytest.mark.parametrize(
    ("line", "cause", "command"),
    [
        (
            "FATAL:  could not receive data from WAL stream: ERROR:  requested WAL segment 000000010000000000000003 "
            "has already been removed",
            Cause.WAL_REMOVED,
            "replctl rejoin db2 --reclone",
        ),
        (
            "FATAL:  could not start WAL streaming: ERROR:  requested starting point 0/5000000 on timeline 1 is not in "
            "this server's history",
            Cause.DIVERGED,
            "replctl rejoin db2",
        ),
        ("FATAL:  could not write to file: No space left on device", Cause.DISK_FULL, None),
        ("FATAL:  something else of the walreceiver", None, "replctl add-replica db2"),
    ],
)
def test_where_the_login_succeeds_the_log_tells_why(line, cause, command) -> None:
    lines = (
        "LOG:  started streaming",
        f"2026-01-01 10:00:00 UTC [7] {line}",
        "LOG:  waiting for WAL to become available",
    )
    one = the(checked(three(receiver=None), logs={DB2: lines}), "db2", "replication")
    assert (one.cause, one.command) == (cause, command)
    assert "its log says" in one.detail


def test_a_password_that_stands_wrong_in_the_passfile() -> None:
    built = a_cluster().primary("db1").replica("db2", receiver=None)
    lines = ('FATAL:  could not connect to the primary server: password authentication failed for user "replicator"',)
    situation = situation_of(built, {}, db1=Seen("", {"max_connections": "100"}))
    checkup = Checkup({DB2: WELL}, {DB2: lines}, ())
    report = check_report(situation, checkup, status_report(situation.inventory, situation.facts))
    one = the(report, "db2", "replication")
    assert (one.cause, one.command) == (Cause.AUTHENTICATION, "replctl add-replica db2")
    assert "passfile" in one.detail


def test_paused_replay_is_resumed_by_a_command_to_copy() -> None:
    one = the(checked(three(paused="paused", unreplayed=mib(3))), "db2", "replay")
    assert one.cause is Cause.PAUSED
    assert one.command is not None
    assert one.command.startswith("ssh 10.0.0.2 'sudo -n -u postgres /usr/lib/postgresql/15/bin/psql ")
    assert "SELECT pg_wal_replay_resume()" in one.command


def late(**replica) -> ClusterBuilder:
    return three(walsender={"replay_lag_ms": 9000.0}, **replica)


def test_late_because_little_arrives() -> None:
    one = the(checked(late(lag=mib(90), unreplayed=mib(100))), "db2", "replay")
    assert (one.cause, "more than 5 s" in one.detail) == (Cause.NETWORK, True)


def test_late_because_replay_is_slow() -> None:
    one = the(checked(late(lag=kib(1), unreplayed=mib(100))), "db2", "replay")
    assert one.cause is Cause.REPLAY


def test_late_because_a_query_is_in_the_way() -> None:
    query = OldestQuery(4711, "report", 320.0)
    extra = {DB2: ServerCheckup(0.0, None, "RecoveryConflictSnapshot", query, 3, {}, ())}
    one = the(checked(late(lag=kib(1), unreplayed=mib(100)), extra=extra), "db2", "replay")
    assert one.cause is Cause.CONFLICT
    assert "session 4711 of report" in one.detail
    assert one.command is not None
    assert "pg_terminate_backend(4711)" in one.command


def test_what_status_warns_of_is_told_once() -> None:
    report = checked(three(receiver=None, walsender=None, slot={"active": False, "retained_bytes": mib(3)}))
    assert the(report, "db2", "slot").status is CheckStatus.WARNING
    assert the(report, "db2", "slot").command is None
    assert the(report, "db2", "replication").command == "replctl add-replica db2"


def test_a_slot_of_somebody_else_is_not_dropped_by_a_command_to_copy() -> None:
    one = the(checked(three().slots("db1", a_slot("barman", active=False))), "db1", "slot")
    assert (one.status, one.command) == (CheckStatus.WARNING, None)


def test_a_setting_that_something_else_overrides() -> None:
    seen = {
        "db1": Seen("max_connections = 200\n", {"max_connections": "200"}),
        "db2": Seen("max_connections = 200\n", {"max_connections": "50"}, auto="max_connections = 50\n"),
    }
    report = checked(three(), {"max_connections": "200"}, seen=seen)
    one = the(report, "db2", "settings")
    assert "postgresql.auto.conf:1" in one.detail
    assert one.command is not None
    assert "alter system reset max_connections" in one.command


def test_a_setting_that_waits_for_a_restart() -> None:
    seen = {name: Seen("max_connections = 200\n", {"max_connections": "100"}) for name in ("db1", "db2", "db3")}
    report = checked(three(), {"max_connections": "200"}, seen=seen)
    assert the(report, "db2", "restart").command == "replctl config apply db2 --restart"
    assert the(report, "db1", "restart").command == "replctl config apply --restart --restart-primary"
    lines = [(check.node, check.name) for check in report.checks]
    assert lines.count(("db1", "restart")) == 1, "nothing is said to be well beside what is wrong with it"


def test_a_stopped_standby_that_could_not_start() -> None:
    built = a_cluster().primary("db1").stopped("db2", "shut down in recovery", standby=True).as_made_by_us()
    built.host("db2", files={"postgresql.auto.conf": "max_connections = '10'\n"}).env("db1", "db2")
    report = checked(built, seen={"db1": Seen("", {"max_connections": "100"})})
    lines = [one for one in report.checks if one.node == DB2 and one.command is not None]
    assert [one.name for one in lines][:2] == ["start", "instance"]
    assert "sed -i -e" in (lines[0].command or "")
    assert "max_connections = 10 (the primary has 100)" in lines[0].detail


def test_a_disk_that_an_earlier_run_filled() -> None:
    built = three().host("db2", asides=(Aside("/data/main.replctl-aside-1", gib(3)),), wal_free_bytes=mib(20))
    one = the(checked(built), "db2", "disk")
    assert one.command == "ssh 10.0.0.2 'sudo -n -u postgres rm -rf -- /data/main.replctl-aside-1'"


def test_an_archive_that_fails() -> None:
    extra = {DB1: ServerCheckup(0.0, Archiver(7, "000000010000000000000003", "false"), None, None, 0, {}, ())}
    assert "000000010000000000000003" in the(checked(three(), extra=extra), "db1", "archive").detail


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        (ServerCheckup(61.0, None, None, None, 0, {}, ()), "clock"),
        (ServerCheckup(0.0, None, None, None, 0, {"recovery_target_time": "2026-01-01"}, ()), "recovery"),
        (ServerCheckup(0.0, None, None, None, 0, {}, ("chatdb",)), "collation"),
    ],
)
def test_what_only_a_closer_look_shows(changed: ServerCheckup, name: str) -> None:
    assert the(checked(three(), extra={DB2: changed}), "db2", name).fix


def test_a_node_that_is_out_of_sight_is_told_once() -> None:
    built = a_cluster().primary("db1").replica("db2").unreachable("db3").as_made_by_us().env("db1", "db2", "db3")
    seen = {name: Seen("", {"max_connections": "100"}) for name in ("db1", "db2")}
    report = checked(built, seen=seen)
    assert [one.name for one in report.checks if one.node == DB3] == ["ssh"]


def test_no_primary_is_critical() -> None:
    built = a_cluster().unreachable("db1").replica("db2", of="10.0.0.1:5432", receiver=None)
    seen = {"db2": Seen("", {"max_connections": "100"})}
    assert checked(built, seen=seen).health is Health.CRITICAL
