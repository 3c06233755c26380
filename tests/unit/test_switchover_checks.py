"""Every reason why a switchover does not begin."""

from __future__ import annotations

from dataclasses import replace

import pytest

from replctl.model.facts import Login, ProblemKind
from replctl.model.host import DataDirectory, DirectoryState
from replctl.model.plan import Plan, Refused
from replctl.planning.promote import plan_promote
from replctl.postgres.ownership import MARK
from tests.unit.builders import DATA_DIR, ClusterBuilder, a_cluster, a_problem, a_slot, a_walsender, mib, settings
from tests.unit.plans import DB1, DB2, DB3, codes, notes_of, steps

SYNCHRONOUS = "synchronous_standby_names"
READ_ONLY = DataDirectory(DATA_DIR, DirectoryState.CLUSTER, can_write=False)


def pair(**replica) -> ClusterBuilder:
    return a_cluster().primary("db1").replica("db2", **replica)


def plan(built: ClusterBuilder, **facts):
    return plan_promote(built.situation(**facts), DB2)


def with_server(built: ClusterBuilder, name: str, **fields) -> ClusterBuilder:
    return built.change(name, server=replace(built.facts[name].server, **fields))


@pytest.mark.parametrize(
    ("built", "expected"),
    [
        (a_cluster().primary("db1").unreachable("db2"), ("timeout", "db2")),
        (a_cluster().primary("db1").silent("db2", ProblemKind.SQL_STARTING), ("sql-starting", "db2")),
        (a_cluster().primary("db1").absent("db2"), ("not-a-replica", "db2")),
        (a_cluster().primary("db1").foreign("db2"), ("not-a-replica", "db2")),
        (a_cluster().primary("db1").stopped("db2", standby=True), ("not-a-replica", "db2")),
        (pair().without_ssh("db2"), ("timeout", "db2")),
        (pair().without_ssh("db1"), ("timeout", "db1")),
        (pair(receiver=None), ("not-streaming", "db2")),
        (pair(walsender=None), ("not-streaming", "db2")),
        (pair(walsender={"state": "catchup"}), ("catching-up", "db2")),
        (pair(walsender={"reply_age_ms": 20_000.0}), ("silent-standby", "db2")),
        (pair(paused="paused"), ("paused", "db2")),
        (pair(paused="pause requested"), ("paused", "db2")),
        (pair(setting={"recovery_min_apply_delay": "3600000"}), ("delayed", "db2")),
        (pair(timeline=7), ("timeline", "db2")),
        (pair(unreplayed=mib(1025)), ("far-behind", "db2")),
        (pair(setting={"default_transaction_read_only": "on"}), ("read-only", "db2")),
        (pair(setting={"max_wal_senders": "0"}), ("budget", "db2")),
        (pair(setting={"max_connections": "200"}), ("ordered-setting", "db1")),
        (pair().slots("db1", a_slot("sub", kind="logical")), ("logical-slot", "db1")),
        (with_server(pair(), "db1", archive_backlog=11), ("archive-backlog", "db1")),
        (pair().host("db1", directory=READ_ONLY), ("read-only-directory", "db1")),
        (pair().host("db2", directory=READ_ONLY), ("read-only-directory", "db2")),
        (pair(setting={SYNCHRONOUS: "db9"}), ("synchronous-standbys", "db2")),
        (pair(setting={SYNCHRONOUS: "db2"}), ("synchronous-standbys", "db2")),
        (pair(setting={SYNCHRONOUS: "ANY 2 (*)"}), ("synchronous-standbys", "db2")),
        (pair(setting={SYNCHRONOUS: "FIRST 2 (db1, db3)"}).unreachable("db3"), ("synchronous-standbys", "db2")),
    ],
)
def test_refused(built: ClusterBuilder, expected: tuple[str, str]) -> None:
    assert codes(plan(built)) == [expected]


@pytest.mark.parametrize(
    "built",
    [
        pair(),
        pair(walsender={"reply_age_ms": 14_000.0}),
        pair(walsender={"reply_age_ms": None}),
        pair(unreplayed=mib(1024)),
        pair(setting={"default_transaction_read_only": "off"}),
        pair(setting={"max_wal_senders": "1"}),
        pair(setting={"max_connections": "50"}),
        pair().slots("db1", a_slot("sub", kind="logical", temporary=True)),
        with_server(pair(), "db1", archive_backlog=10),
        with_server(pair(), "db1", settings=settings(synchronous_standby_names="db9")),
        pair(setting={SYNCHRONOUS: "DB1, db9"}),
        pair(setting={SYNCHRONOUS: "barman"}).walsenders("db1", a_walsender("barman")),
        pair(setting={SYNCHRONOUS: "FIRST 2 (db1, db3)"}).replica("db3"),
    ],
)
def test_not_refused(built: ClusterBuilder) -> None:
    assert "promote:db2" in steps(plan(built))


def test_every_reason_is_told_at_once() -> None:
    built = pair(paused="paused", setting={"recovery_min_apply_delay": "5", "default_transaction_read_only": "on"})
    with_server(built, "db1", archive_backlog=99)
    assert codes(plan(built)) == [
        ("paused", "db2"),
        ("delayed", "db2"),
        ("read-only", "db2"),
        ("archive-backlog", "db1"),
    ]


def test_foreign_slots_take_room_from_ours() -> None:
    tight = {"max_replication_slots": "1"}
    assert "promote:db2" in steps(plan(pair(setting=tight).slots("db2", a_slot("replctl_db1", active=False))))
    assert codes(plan(pair(setting=tight).slots("db2", a_slot("barman")))) == [("budget", "db2")]


def test_a_sibling_with_less_than_the_candidate_could_not_replay() -> None:
    built = a_cluster().primary("db1", settings=settings(max_worker_processes="16"))
    built.replica("db2", setting={"max_worker_processes": "16"}).replica("db3")
    assert codes(plan(built)) == [("ordered-setting", "db3")]


def after_a_start(now: str, text: str, mark: str = f"# {MARK}\n", **more: str) -> Plan | Refused:
    """db1 has ``now`` max_connections in force, db2 200, and the files of db1 are these."""
    built = a_cluster().primary("db1", settings=settings(max_connections=now))
    built.replica("db2", setting={"max_connections": "200"})
    return plan(built.host("db1", files={"postgresql.conf": f"{mark}{text}", **more}))


def test_the_old_primary_comes_back_with_what_its_files_say() -> None:
    assert isinstance(after_a_start("100", "max_connections = 300\n"), Plan)
    assert isinstance(after_a_start("200", ""), Plan)
    assert isinstance(after_a_start("200", "max_connections = 100\ninclude_dir 'conf.d'\n", mark=""), Plan)
    overridden = {"postgresql.auto.conf": "max_connections = 50\n"}
    assert codes(after_a_start("100", "max_connections = 300\n", **overridden)) == [("ordered-setting", "db1")]
    assert codes(after_a_start("200", "max_connections = 100\n")) == [("ordered-setting", "db1")]


def test_logins_at_the_candidate_from_everybody_who_will_follow_it() -> None:
    refused = a_problem(ProblemKind.SQL_AUTH, "no pg_hba.conf entry")
    logins = (Login(DB1, DB2, None), Login(DB3, DB2, refused), Login(DB3, DB1, refused))
    built = pair().replica("db3")
    assert codes(plan(built, logins=logins)) == [("replication-login", "db3")]
    forbidden = a_problem(ProblemKind.FORWARDING, "forwarding is forbidden")
    planned = plan(built, logins=(Login(DB3, DB2, forbidden),))
    assert any("could not be tried" in note for note in notes_of(planned))


@pytest.mark.parametrize(
    ("locale", "glibc", "refused"),
    [("C.UTF-8", "2.31", False), ("de_DE.UTF-8", "2.36", False), ("de_DE.UTF-8", "2.31", True)],
)
def test_text_that_sorts_differently(locale: str, glibc: str, refused: bool) -> None:
    built = pair().host("db2", glibc=glibc)
    built.node("db2", postgres=replace(built.nodes[DB2].postgres, locale=locale))
    planned = plan(built)
    if refused:
        assert codes(planned) == [("collation", "db2")]
    else:
        assert "promote:db2" in steps(planned)
