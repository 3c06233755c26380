"""promote: the switchover, its continuation, what calls it off, and what is left to do afterwards."""

from __future__ import annotations

from dataclasses import replace

import pytest

from replctl.model.actions import (
    ConfigureStandby,
    CreateSlot,
    DropSlot,
    DropStuckWalsenders,
    ForgetStandby,
    Place,
    PublishEnv,
    ReviveOldPrimary,
)
from replctl.model.facts import Login, ProblemKind
from replctl.model.plan import OnFailure, Plan
from replctl.model.values import Lsn
from replctl.planning.promote import plan_promote
from tests.unit.builders import CURRENT, ClusterBuilder, a_cluster, a_problem, a_slot, a_walsender, mib, settings
from tests.unit.plans import DB1, DB2, DB3, codes, compare_with_golden, lanes, notes_of, steps


def three() -> ClusterBuilder:
    return a_cluster().primary("db1").replica("db2").replica("db3").as_made_by_us()


def plan(built: ClusterBuilder, name=DB2, **facts):
    return plan_promote(built.situation(**facts), name)


def by_id(planned) -> dict:
    assert isinstance(planned, Plan), planned
    return {step.id: step for step in planned.steps}


def unfinished(planned) -> tuple[str, ...]:
    assert isinstance(planned, Plan), planned
    return planned.unfinished


# The switchover.


def test_a_switchover_with_one_sibling() -> None:
    compare_with_golden("promote-switchover", plan(three()))


def test_what_is_undone_and_from_where_there_is_no_way_back() -> None:
    found = by_id(plan(three()))
    assert [step.id for step in found.values() if step.point_of_no_return] == ["promote:db2"]
    assert found["stop:db1"].undo == ReviveOldPrimary((DB3,))
    assert found["demote:db1"].action == ConfigureStandby(Place.LIVE, DB2, "replctl_db1")
    assert found["demote:db1"].undo == ForgetStandby()
    assert (found["slot:db1"].node, found["slot:db1"].undo) == (DB2, DropSlot("replctl_db1"))
    assert found["slot:db3"].action == CreateSlot("replctl_db3")


def test_the_others_follow_side_by_side_and_then_the_env_file_lists_them() -> None:
    planned = plan(three())
    first, gather, env = lanes(planned)
    assert first[0][-2:] == ["probe-write:db2", "env"]
    assert gather[0] == ["repoint:db3", "streaming:db3"]
    assert gather[1][:2] == ["start:db1", "streaming:db1"]
    assert sorted(gather[1][2:]) == ["sweep-db2:db1", "sweep-db3:db1"]
    assert env == [["env-2"]]
    assert isinstance(planned, Plan)
    assert planned.stages[1].on_failure is OnFailure.GO_ON
    assert [step.action for step in planned.steps if step.id.startswith("env")] == [
        PublishEnv(DB2, ()),
        PublishEnv(DB2, (DB1, DB3)),
    ]


def test_the_second_publication_is_made_whatever_the_file_lists_now() -> None:
    assert steps(plan(three().env("db2", "db1", "db3")))[-1] == "env-2"
    already = steps(plan(three().env("db2")))
    assert already[-1] == "env"


def test_slots_that_are_there_are_kept_and_lost_ones_made_anew() -> None:
    built = three().slots("db2", a_slot("replctl_db1", active=False))
    assert "slot:db1" not in steps(plan(built))
    lost = three().slots("db2", a_slot("replctl_db1", active=False, wal_status="lost"))
    assert "slot:db1" in steps(plan(lost))


def test_only_our_own_slots_are_swept() -> None:
    planned = plan(three().slots("db1", a_slot("barman")))
    assert not [step for step in steps(planned) if "barman" in step]


def test_what_the_candidate_lacks_is_written_before_anything_stops() -> None:
    built = a_cluster().primary("db1").replica("db2").replica("db3")
    found = steps(plan(built))
    before = found[: found.index("stop:db1")]
    assert before[:2] == ["write-config:db2", "reload:db2"]
    assert {"passfile:db1", "passfile:db3"} <= set(before)
    assert "passfile:db2" not in before


def test_a_standby_that_does_not_answer_is_dropped_before_the_stop() -> None:
    built = three().walsenders("db1", a_walsender("frozen", pid=77, reply_age_ms=60_000.0))
    assert by_id(plan(built))["walsenders:db1"].action == DropStuckWalsenders((77,))
    assert "walsenders:db1" not in steps(plan(three()))


@pytest.mark.parametrize(
    ("built", "expected"),
    [
        (three().unreachable("db4"), "`replctl add-replica db4` once db4 can be reached again"),
        (three().replica("db4").without_ssh("db4"), "`replctl add-replica db4` once db4 can be reached again"),
        (three().stopped("db4", standby=True), "`replctl add-replica db4`, since db4 is stopped"),
        (
            three().silent("db4", ProblemKind.SQL_STARTING, standby=True),
            "`replctl add-replica db4` once its PostgreSQL answers: the server does not let us in",
        ),
    ],
)
def test_who_is_left_behind_is_told(built: ClusterBuilder, expected: str) -> None:
    planned = plan(built)
    assert unfinished(planned) == (expected,)
    assert not [step for step in steps(planned) if step.endswith(":db4") and "slot" not in step]


def test_a_node_that_was_never_made_is_not_missed() -> None:
    assert unfinished(plan(three().absent("db4"))) == ()


@pytest.mark.fault("72")
def test_notes() -> None:
    built = three()
    primary = built.facts[DB1]
    built.change("db1", server=replace(primary.server, archive_backlog=3, prepared_transactions=2))
    candidate = built.facts[DB2]
    built.change("db2", server=replace(candidate.server, settings=settings(synchronous_standby_names="db3")))
    login = Login(DB3, DB2, a_problem(ProblemKind.FORWARDING, "forwarding is forbidden"))
    assert list(notes_of(plan(built, logins=(login,)))) == [
        "db1 still has 3 WAL segments to archive before it can come back",
        "2 prepared transactions go on to exist on db2",
        "synchronous_standby_names is set on db2: commits wait for the standbys that it names",
        "db3: the login at db2 could not be tried beforehand: forwarding is forbidden",
    ]


# The primary is stopped: the run before ended between the stop and the promote request.


def interrupted(*, signal: bool = False, upstream: str = "10.0.0.2") -> ClusterBuilder:
    """db1 was stopped for db2; with ``signal`` it was already made to follow ``upstream``."""
    built = a_cluster().stopped("db1", standby=signal)
    for name in ("db2", "db3"):
        built.replica(name, of="10.0.0.1:5432", receiver=None)
    if signal:
        built.host("db1", files={"postgresql.auto.conf": f"primary_conninfo = 'host={upstream} port=5432'\n"})
    return built.as_made_by_us().env("db1", "db2", "db3")


def test_a_switchover_goes_on_where_it_was_killed() -> None:
    compare_with_golden("promote-continued", plan(interrupted()))


def test_once_the_old_primary_is_demoted_the_same_candidate_goes_on() -> None:
    found = steps(plan(interrupted(signal=True)))
    assert found[found.index("prove:db2") :][:3] == ["prove:db2", "demote:db1", "promote:db2"]


def test_but_no_other_one() -> None:
    """The promote request may be under way, or carried out by a node that cannot be seen."""
    refused = plan(interrupted(signal=True), DB3)
    assert codes(refused) == [("other-candidate", "db2")]
    assert "`replctl promote db2` finishes it" in refused.refusals[0].hint
    assert "promote:db3" in steps(plan(interrupted(), DB3))


def test_a_demoted_primary_that_follows_a_stranger() -> None:
    assert "promote:db2" in steps(plan(interrupted(signal=True, upstream="10.9.9.9")))


@pytest.mark.parametrize(
    "change",
    [{"replayed": Lsn(CURRENT.position - 200)}, {"replayed": None}],
)
def test_not_without_the_last_record(change: dict) -> None:
    refused = plan(interrupted().change("db2", **change))
    assert codes(refused) == [("not-caught-up", "db2")]
    assert "`replctl promote db1`" in refused.refusals[0].hint


def test_not_from_another_timeline() -> None:
    built = interrupted()
    built.change("db2", server=replace(built.facts[DB2].server, timeline=7))
    assert codes(plan(built)) == [("not-caught-up", "db2")]


@pytest.mark.parametrize(
    ("built", "expected"),
    [
        (interrupted().unreachable("db2"), ("timeout", "db2")),
        (interrupted().silent("db2", ProblemKind.SQL_STARTING, standby=True, state="in archive recovery"), None),
        (interrupted().absent("db2"), ("not-a-replica", "db2")),
        (interrupted().without_ssh("db2"), ("timeout", "db2")),
        (interrupted().stopped("db4", "in production", timeline=9), ("later-timeline", "db4")),
        (interrupted().silent("db4", ProblemKind.SQL_AUTH), ("sql-authentication", "db4")),
        (
            interrupted().change(
                "db2",
                server=replace(interrupted().facts[DB2].server, settings=settings(default_transaction_read_only="on")),
            ),
            ("read-only", "db2"),
        ),
    ],
)
def test_a_continuation_is_refused(built: ClusterBuilder, expected) -> None:
    assert codes(plan(built)) == [expected or ("sql-starting", "db2")]


# promote OLD: the switchover is called off.


def test_the_old_primary_is_revived() -> None:
    compare_with_golden("promote-revive", plan(interrupted(signal=True), DB1))


def test_reviving_is_forward_only() -> None:
    found = by_id(plan(interrupted(), DB1))
    assert found["revive:db1"].action == ReviveOldPrimary((DB2, DB3))
    assert found["revive:db1"].point_of_no_return


def test_replicas_of_another_node_are_not_waited_for() -> None:
    built = interrupted().replica("db4", of="10.0.0.2:5432")
    assert [step for step in steps(plan(built, DB1)) if step.startswith("streaming")] == [
        "streaming:db2",
        "streaming:db3",
    ]


@pytest.mark.parametrize(
    ("built", "expected"),
    [
        (interrupted().unreachable("db3"), ("others-unreachable", "db3")),
        (interrupted().replica("db3", timeline=9, of="10.0.0.2:5432"), ("later-timeline", "db3")),
        (interrupted().stopped("db3", "in production", timeline=9), ("later-timeline", "db3")),
        (interrupted().silent("db3", ProblemKind.SQL_AUTH), ("sql-authentication", "db3")),
    ],
)
def test_not_once_somebody_may_have_gone_on(built: ClusterBuilder, expected) -> None:
    assert codes(plan(built, DB1)) == [expected]


# NODE is the primary already: what an interrupted run left is finished.


def promoted() -> ClusterBuilder:
    """db2 was promoted and replctl was killed: db1 is still stopped, db3 still follows it."""
    return (
        a_cluster()
        .stopped("db1", standby=True)
        .primary("db2", timeline=9)
        .replica("db3", of="10.0.0.1:5432", receiver=None)
        .as_made_by_us()
        .env("db1", "db2", "db3")
    )


def test_what_is_left_after_the_promote_request() -> None:
    compare_with_golden("promote-finish", plan(promoted()))


def test_on_todays_primary_there_is_nothing_to_do() -> None:
    own = {"primary_slot_name": "replctl_db2"}
    built = a_cluster().primary("db1").replica("db2", setting=own).as_made_by_us()
    assert steps(plan(built, DB1)) == []
    assert steps(plan(built.env("db1"), DB1)) == ["env"]


def test_a_replica_that_uses_another_slot_is_pointed_again() -> None:
    built = a_cluster().primary("db1").replica("db2").as_made_by_us()
    assert steps(plan(built, DB1))[:2] == ["repoint:db2", "streaming:db2"]


def test_stale_slots_of_replicas_are_swept() -> None:
    own = {"primary_slot_name": "replctl_db2"}
    built = a_cluster().primary("db1").replica("db2", setting=own).as_made_by_us()
    built.slots("db2", a_slot("replctl_db1", active=False), a_slot("barman", active=False))
    assert steps(plan(built, DB1)) == ["sweep-db1:db2"]


def test_replicas_out_of_ssh_reach_are_left_alone() -> None:
    built = a_cluster().primary("db1").replica("db2").without_ssh("db2").as_made_by_us().env("db1", "db2")
    built.slots("db2", a_slot("replctl_db1", active=False))
    assert steps(plan(built, DB1)) == []


@pytest.mark.parametrize(
    "built",
    [
        a_cluster().primary("db1").stopped("db2"),
        a_cluster().primary("db1").stopped("db2", "shut down in recovery", standby=True),
        a_cluster().primary("db1").stopped("db2", standby=True, timeline=9),
    ],
)
def test_only_what_a_switchover_stopped_is_brought_back(built: ClusterBuilder) -> None:
    assert steps(plan(built.as_made_by_us().env("db1"), DB1)) == []


def test_a_returning_primary_without_a_passfile_gets_one() -> None:
    built = a_cluster().stopped("db1", standby=True).primary("db2", timeline=9).env("db2")
    assert steps(plan(built))[:4] == ["slot:db1", "passfile:db1", "demote:db1", "start:db1"]


# Nobody to switch over from.


@pytest.mark.parametrize(
    ("built", "expected"),
    [
        (a_cluster().primary("db1").primary("db3").replica("db2"), [("two-primaries", None)]),
        (a_cluster().unreachable("db1").replica("db2"), [("timeout", "db1")]),
        (a_cluster().unreachable("db1").unreachable("db2"), [("timeout", "db1"), ("timeout", "db2")]),
        (a_cluster().silent("db1", ProblemKind.SQL_AUTH).replica("db2"), [("sql-authentication", "db1")]),
        (a_cluster().stopped("db1", "in production").replica("db2"), [("primary-stopped", "db1")]),
        (
            a_cluster().stopped("db1").stopped("db3").replica("db2"),
            [("primary-stopped", "db1"), ("primary-stopped", "db3")],
        ),
        (a_cluster().absent("db1").replica("db2", of="10.0.0.1:5432"), [("no-primary", None)]),
        (a_cluster().primary("db2").without_ssh("db2"), [("timeout", "db2")]),
        (a_cluster().primary("db1").without_ssh("db1").replica("db2"), [("timeout", "db1")]),
    ],
)
def test_refused(built: ClusterBuilder, expected) -> None:
    assert codes(plan(built)) == expected


def test_the_amount_to_replay_is_told() -> None:
    built = a_cluster().primary("db1").replica("db2", lag=mib(2048))
    (refusal,) = plan(built).refusals
    assert refusal.message == "db2 has 2048 MiB left to replay"
