"""Every reason why a node cannot become a replica."""

from __future__ import annotations

from dataclasses import replace

import pytest

from replctl.model.facts import Login, ProblemKind
from replctl.model.plan import Plan
from replctl.planning.add_replica import plan_add_replica
from replctl.postgres.ownership import MARK
from replctl.postgres.render import Templates
from tests.unit.builders import ClusterBuilder, a_cluster, a_problem, a_walsender, settings
from tests.unit.plans import DB1, DB2, DB3, codes, steps


def cluster() -> ClusterBuilder:
    return a_cluster().primary("db1").absent("db2").absent("db3").as_made_by_us()


def plan(built: ClusterBuilder, *names, source=None, **facts):
    return plan_add_replica(built.situation(**facts), names or (DB2,), source)


CLONED = steps(plan(cluster()))


@pytest.mark.parametrize(
    ("built", "expected"),
    [
        (a_cluster().stopped("db1").absent("db2"), [("no-primary", None)]),
        (a_cluster().primary("db1").primary("db3").absent("db2"), [("two-primaries", None)]),
        (a_cluster().unreachable("db1").absent("db2"), [("timeout", "db1")]),
        (a_cluster().silent("db1", ProblemKind.SQL_AUTH).absent("db2"), [("sql-authentication", "db1")]),
        (a_cluster().primary("db1").without_ssh("db1").absent("db2"), [("timeout", "db1")]),
        (a_cluster().unreachable("db1").unreachable("db2"), [("timeout", "db1"), ("timeout", "db2")]),
        (a_cluster().primary("db1").unreachable("db2"), [("timeout", "db2")]),
        (a_cluster().primary("db1").foreign("db2"), [("foreign", "db2")]),
        (a_cluster().primary("db1").silent("db2", ProblemKind.SQL_STARTING), [("sql-starting", "db2")]),
        (a_cluster().primary("db1").replica("db2").without_ssh("db2"), [("timeout", "db2")]),
        (a_cluster().primary("db1").stopped("db2"), [("was-primary", "db2")]),
        (a_cluster().primary("db1").stopped("db2", standby=True, timeline=9), [("later-timeline", "db2")]),
        (a_cluster().primary("db1").replica("db2", timeline=9, receiver=None), [("later-timeline", "db2")]),
        (a_cluster().primary("db1").absent("db2").host("db2", major=16), [("version", "db2")]),
        (a_cluster().primary("db1").absent("db2").host("db2", port_in_use=True), [("port-in-use", "db2")]),
    ],
)
def test_refused(built: ClusterBuilder, expected) -> None:
    assert codes(plan(built)) == expected


def test_the_primary_is_no_replica() -> None:
    assert codes(plan(cluster(), DB1)) == [("is-primary", "db1")]


def test_every_named_node_is_checked() -> None:
    built = a_cluster().primary("db1").unreachable("db2").foreign("db3")
    assert codes(plan(built, DB1, DB2, DB3)) == [("is-primary", "db1"), ("timeout", "db2"), ("foreign", "db3")]
    assert codes(plan(built, DB2, DB2))[:1] == [("timeout", "db2")]


@pytest.mark.parametrize("listed", [True, False])
def test_a_slot_that_another_standby_holds(listed: bool) -> None:
    built = cluster().idle_slot("db2", on="db1", active=True, active_pid=77)
    if listed:
        built.walsenders("db1", a_walsender("stranger", slot="replctl_db2", client_addr="10.9.9.9"))
    refused = plan(built)
    assert codes(refused) == [("slot-in-use", "db2")] or codes(refused) == [("slot-in-use", "db2")]
    assert ("stranger at 10.9.9.9" if listed else "pid 77") in refused.refusals[0].message


def test_a_stranger_of_the_nodes_name() -> None:
    built = cluster().walsenders("db1", a_walsender("db2", slot=None, client_addr="10.9.9.9"))
    refused = plan(built)
    assert codes(refused) == [("name-in-use", "db2")]
    assert "10.9.9.9" in refused.refusals[0].message


def test_room_on_the_disk() -> None:
    built = cluster()
    built.host("db2", directory=replace(built.facts[DB2].host.directory, free_bytes=100 * 2**20))
    assert codes(plan(built, cluster_bytes=100 * 2**20)) == [("disk-space", "db2")]
    assert steps(plan(built, cluster_bytes=80 * 2**20)) == CLONED
    assert steps(plan(built, cluster_bytes=None)) == CLONED


def test_a_login_that_fails_before_anything_is_made() -> None:
    login = Login(DB2, DB1, a_problem(ProblemKind.SQL_AUTH, "password authentication failed"))
    assert codes(plan(cluster(), logins=(login,))) == [("replication-login", "db2")]


def test_a_login_that_the_plan_itself_will_mend() -> None:
    built = cluster().absent("db4")
    built.rendered = ()
    built.host("db1", files={"pg_hba.conf": "# without db4\n"})
    login = Login(DB2, DB1, a_problem(ProblemKind.SQL_AUTH, "no pg_hba.conf entry"))
    assert steps(plan(built, logins=(login,)))[:2] == ["write-config:db1", "reload:db1"]


def test_a_replica_with_less_than_its_primary_would_not_replay() -> None:
    built = a_cluster().primary("db1", settings=settings(max_connections="200")).absent("db2").as_made_by_us()
    node = built.nodes[DB2]
    small = replace(node, postgres=replace(node.postgres, parameters={"max_connections": "100"}))
    assert codes(plan(built.node("db2", postgres=small.postgres))) == [("ordered-setting", "db2")]
    overridden = {"postgresql.auto.conf": "max_connections = 200\n"}
    assert isinstance(plan(built.host("db1", files=overridden)), Plan)


def test_the_settings_that_replctl_gives_a_clone_may_be_too_low() -> None:
    built = a_cluster().primary("db1", settings=settings(max_wal_senders="30")).absent("db2").as_made_by_us()
    templates = Templates(f"# {MARK}\nmax_wal_senders = {{{{ managed.max_wal_senders }}}}\n", "")
    situation = replace(built.situation(), templates=templates)
    assert codes(plan_add_replica(situation, [DB2])) == [("ordered-setting", "db2")]


@pytest.mark.parametrize(
    "source",
    [
        a_cluster().primary("db1").absent("db2").stopped("db3", standby=True),
        a_cluster().primary("db1").absent("db2").replica("db3", receiver=None),
        a_cluster().primary("db1").absent("db2").unreachable("db3"),
    ],
)
def test_a_source_has_to_stream_itself(source: ClusterBuilder) -> None:
    assert codes(plan(source, DB2, source=DB3)) == [("source", "db3")]


def test_a_source_has_to_be_reached() -> None:
    built = a_cluster().primary("db1").absent("db2").replica("db3").without_ssh("db3")
    assert codes(plan(built, DB2, source=DB3)) == [("timeout", "db3")]


@pytest.mark.parametrize(
    ("changed", "times"),
    [
        ({"max_wal_senders": "1"}, 2),
        ({"max_wal_senders": "2"}, 1),
        ({"max_replication_slots": "0"}, 1),
        ({"max_wal_senders": "3"}, 1),
    ],
)
def test_walsenders_and_slots_for_the_clone_and_everybody_later(changed: dict[str, str], times: int) -> None:
    built = a_cluster().primary("db1", settings=settings(**changed)).absent("db2").absent("db3").as_made_by_us()
    assert codes(plan(built)) == [("budget", "db1")] * times


def test_tablespaces_are_not_copied() -> None:
    built = cluster().change("db1", server=replace(cluster().facts[DB1].server, tablespaces=("cold", "hot")))
    refused = plan(built, DB2, DB3)
    assert codes(refused) == [("tablespaces", "db1")]
    assert refused.refusals[0].message.endswith(": cold, hot")
    assert "start:db2" in steps(plan(built.stopped("db2", standby=True).as_made_by_us(), DB2))


def test_a_joining_node_needs_no_budget() -> None:
    built = a_cluster().primary("db1", settings=settings(max_wal_senders="1")).stopped("db2", standby=True)
    assert "start:db2" in steps(plan(built.as_made_by_us()))


def test_a_primary_of_somebody_elses_is_adopted_first() -> None:
    theirs = {"postgresql.conf": "max_connections = 77\n"}
    assert codes(plan(a_cluster().primary("db1").host("db1", files=theirs).absent("db2"))) == [("adopt", "db1")]
