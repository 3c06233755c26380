"""The drill's plan: there and back, on a cluster with which nothing is wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest

from replctl.model.drill import LastDrill, Route
from replctl.model.facts import Login, Primary, ProblemKind, Replica
from replctl.model.plan import Plan
from replctl.planning.drill import after_switchover, plan_drill, plan_way_back, route_of, way_there
from replctl.planning.promote import plan_promote
from replctl.planning.report import status_report
from tests.unit.builders import ClusterBuilder, a_cluster, a_problem, a_slot, mib
from tests.unit.plans import DB1, DB2, DB3, codes, compare_with_golden, notes_of, steps

DRILL = LastDrill("2026-11-20T03:00:00+00:00", DB2, (96.4, 1030.0), 12.0, 1234, 0)


def healthy() -> ClusterBuilder:
    return a_cluster().primary("db1").replica("db2").replica("db3").as_made_by_us()


def test_there_and_back() -> None:
    planned = plan_drill(healthy().situation(), DB2)
    found = steps(planned)
    there = [step for step in found if not step.startswith("back-")]
    assert there == steps(plan_promote(healthy().situation(), DB2))
    back = [step.removeprefix("back-") for step in found[len(there) :]]
    swapped = a_cluster().primary("db2", timeline=9).replica("db1", timeline=9).replica("db3", timeline=9)
    assert back == steps(plan_promote(swapped.as_made_by_us().env("db2", "db1", "db3").situation(), DB1))
    assert len(set(found)) == len(found)
    compare_with_golden("drill", planned)


def test_the_first_way_by_itself_is_the_switchover() -> None:
    planned = plan_drill(healthy().situation(), DB2)
    there = way_there(planned)
    assert steps(there) == steps(plan_promote(healthy().situation(), DB2))
    assert isinstance(planned, Plan)
    assert route_of(planned) == Route(DB2, DB1)


def test_without_a_name_the_first_that_may_take_over() -> None:
    planned = plan_drill(healthy().situation(), None)
    assert isinstance(planned, Plan)
    assert route_of(planned) == Route(DB2, DB1)


def test_what_happens_is_said_beforehand() -> None:
    notes = " ".join(notes_of(plan_drill(healthy().situation(), DB2)))
    for part in ("db2 becomes the primary, and then db1 again", "below a second", "sessions on db1 end with the first"):
        assert part in notes
    assert "`replctl promote db1` goes back" in notes
    last = " ".join(notes_of(plan_drill(healthy().situation(last_drill=DRILL), DB2)))
    assert "in the last drill for 96 ms and for 1 s" in last


@pytest.mark.parametrize(
    ("built", "expected"),
    [
        (healthy().unreachable("db4"), {"unreachable"}),
        (healthy().stopped("db4", "shut down in recovery", standby=True), {"stopped"}),
        (healthy().env("db1", "db2"), {"env-drift"}),
        (a_cluster().primary("db1").replica("db2").replica("db3", paused="paused"), {"paused"}),
        (a_cluster().replica("db2", of="10.0.0.9:5432", receiver=None), {"no-primary"}),
        (healthy().owing("db3", "db1"), set()),
    ],
)
def test_only_a_healthy_cluster_practises(built: ClusterBuilder, expected: set[str]) -> None:
    """Every warning and every critical finding is a reason why not; a debt that is harmless is none."""
    situation = built.situation()
    planned = plan_drill(situation, DB2)
    if not expected:
        assert isinstance(planned, Plan)
        return
    report = status_report(situation.inventory, situation.facts)
    assert {code for code, _ in codes(planned)} >= expected
    bad = [(f.code, f.node) for f in report.findings if f.severity != "info"]
    assert codes(planned) == bad
    assert planned.exit_code == 3


def test_the_primary_itself_is_no_place_to_go_to() -> None:
    assert codes(plan_drill(healthy().situation(), DB1)) == [("is-primary", "db1")]


def test_a_cluster_of_one_cannot_practise() -> None:
    planned = plan_drill(a_cluster().primary("db1").as_made_by_us().situation(), None)
    assert codes(planned) == [("no-replica", "db1")]


def test_what_refuses_the_switchover_refuses_the_drill() -> None:
    failed = Login(DB3, DB2, a_problem(ProblemKind.SQL_AUTH, "db3 cannot log in"))
    planned = plan_drill(healthy().situation(logins=(failed,)), DB2)
    assert codes(planned) == [("replication-login", "db3")]
    assert planned.command == "drill"


def short_of_slots() -> ClusterBuilder:
    """Only as long as db1 is the primary there is room for all that its slots are for."""
    cluster = healthy().slots("db1", a_slot("barman"))
    server = cluster.facts[DB1].server
    few = {**server.settings, "max_replication_slots": replace(server.settings["max_replication_slots"], value="2")}
    return cluster.change("db1", server=replace(server, settings=few))


def test_what_would_refuse_the_way_back_is_told_before_anything_stops() -> None:
    assert isinstance(plan_promote(short_of_slots().situation(), DB2), Plan)
    assert codes(plan_drill(short_of_slots().situation(), DB2)) == [("budget", "db1")]


def test_the_cluster_in_between_as_it_is_imagined() -> None:
    situation = after_switchover(healthy().situation(), DB2)
    facts = situation.facts
    assert isinstance(facts.nodes[DB2], Primary)
    assert {name for name, seen in facts.nodes.items() if isinstance(seen, Replica)} == {DB1, DB3}
    assert {seen.server.timeline for seen in facts.nodes.values()} == {9}
    report = status_report(situation.inventory, facts)
    assert [finding.code for finding in report.findings] == []
    assert [row.state for row in report.nodes] == ["streaming", "read-write", "streaming"]


def test_the_way_back_is_planned_over_what_is_there_then() -> None:
    late = a_cluster().primary("db2").replica("db1", walsender={"state": "catchup"}).replica("db3").as_made_by_us()
    planned = plan_way_back(late.situation(), DB1)
    assert codes(planned) == [("catching-up", "db1")]
    assert planned.command == "drill"


def test_a_plan_that_only_fences_has_no_route() -> None:
    assert route_of(Plan("drill", "chat", ())) is None


def test_a_replica_that_lags_a_little_practises_too() -> None:
    cluster = a_cluster().primary("db1").replica("db2", lag=mib(1)).replica("db3").as_made_by_us()
    assert isinstance(plan_drill(cluster.situation(), DB2), Plan)
