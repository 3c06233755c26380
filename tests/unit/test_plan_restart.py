"""restart: one node in its role; every node, one after the other; and what an interrupted run left."""

from __future__ import annotations

import pytest

from replctl.model.actions import AwaitStreaming, DropStuckWalsenders, StartPostgres
from replctl.model.errors import ExitCode
from replctl.model.facts import ProblemKind
from replctl.model.plan import OnFailure, Plan, Refused
from replctl.planning.restart import AGAIN, plan_restart, plan_rolling_restart, switchover_candidate
from replctl.postgres.ownership import MARK
from tests.unit.builders import ClusterBuilder, a_cluster, a_slot, a_walsender
from tests.unit.plans import DB1, DB2, DB3, DB4, codes, compare_with_golden, lanes, notes_of, steps


def three() -> ClusterBuilder:
    return a_cluster().primary("db1").replica("db2").replica("db3").as_made_by_us()


def plan(built: ClusterBuilder, name=DB2):
    return plan_restart(built.situation(), name)


def rolling(built: ClusterBuilder, **facts):
    return plan_rolling_restart(built.situation(**facts))


def hints(planned) -> list[str]:
    assert isinstance(planned, Refused), planned
    return [refusal.hint for refusal in planned.refusals]


# One node.


def test_a_replica() -> None:
    planned = plan(three())
    assert steps(planned) == ["stop:db2", "start:db2", "caught-up:db2"]
    assert isinstance(planned, Plan)
    stop, _, caught_up = planned.steps
    assert stop.undo == StartPostgres()
    assert caught_up.action == AwaitStreaming(DB1)
    assert any("stays in the env file" in note for note in planned.notes)


def test_a_replica_that_commits_wait_for() -> None:
    built = a_cluster().primary("db1").replica("db2", walsender={"sync_state": "quorum"}).env("db1")
    assert notes_of(plan(built)) == ("db2 is a synchronous standby: commits may wait until it is back",)


def test_the_primary() -> None:
    compare_with_golden("restart-primary", plan(three(), DB1))


def test_the_primary_s_replicas_come_back_side_by_side() -> None:
    planned = plan(three(), DB1)
    assert lanes(planned)[1] == [["wake:db2", "streaming:db2"], ["wake:db3", "streaming:db3"]]
    assert isinstance(planned, Plan)
    assert planned.stages[1].on_failure is OnFailure.GO_ON
    assert any("`replctl restart --rolling`" in note for note in planned.notes)


def test_a_replica_that_did_not_stream_before_is_not_waited_for() -> None:
    built = a_cluster().primary("db1").replica("db2").replica("db3", receiver=None).as_made_by_us()
    planned = plan(built, DB1)
    assert lanes(planned)[1] == [["wake:db2", "streaming:db2"], ["wake:db3"]]
    assert "db3 does not stream from db1 now, and is not waited for" in notes_of(planned)


def test_what_holds_up_the_primary_s_stop() -> None:
    built = a_cluster().primary("db1", archive_backlog=3).replica("db2")
    planned = plan(built.walsenders("db1", a_walsender("frozen", pid=77, reply_age_ms=60_000.0)), DB1)
    assert isinstance(planned, Plan)
    assert next(planned.steps).action == DropStuckWalsenders((77,))
    assert any("3 WAL segments" in note for note in planned.notes)


def test_one_that_is_stopped_is_started() -> None:
    replica = plan(a_cluster().primary("db1").stopped("db2", standby=True).as_made_by_us())
    assert steps(replica) == ["slot:db2", "standby:db2", "start:db2", "streaming:db2", "env"]
    assert isinstance(replica, Plan)
    assert (replica.command, replica.notes[0]) == ("restart", "db2 is stopped, and is only started")
    primary = plan(a_cluster().stopped("db1").replica("db2", of="db1", receiver=None).as_made_by_us(), DB1)
    assert steps(primary)[0] == "start:db1"


@pytest.mark.parametrize(
    ("built", "expected"),
    [
        (a_cluster().primary("db1").unreachable("db2"), ProblemKind.TIMEOUT),
        (a_cluster().primary("db1").replica("db2").without_ssh("db2"), ProblemKind.TIMEOUT),
        (a_cluster().primary("db1").silent("db2", ProblemKind.SQL), ProblemKind.SQL),
        (a_cluster().primary("db1").foreign("db2"), "foreign"),
        (a_cluster().primary("db1").absent("db2"), "absent"),
        (a_cluster().primary("db1").stopped("db2"), "was-primary"),
        (a_cluster().primary("db1").replica("db3").replica("db2", of="db3"), "wrong-upstream"),
        (a_cluster().primary("db1").replica("db2", receiver=None, upstream_host=None), "wrong-upstream"),
        (a_cluster().primary("db1").replica("db2", timeline=9, receiver=None), "diverged"),
    ],
)
def test_refusals_of_one_node(built: ClusterBuilder, expected: str) -> None:
    assert codes(plan(built)) == [(expected, DB2)]


@pytest.mark.parametrize("setting", ["max_connections = 50", "max_connections = 50\nwork_mem = '1MB'"])
def test_a_replica_whose_files_say_less_than_its_primary_has_is_not_stopped(setting: str) -> None:
    built = a_cluster().primary("db1").replica("db2").replica("db3")
    built.host("db2", files={"postgresql.conf": f"# {MARK}\n{setting}\n"})
    assert codes(plan_restart(built.situation(), DB2)) == [("ordered-setting", "db2")]
    assert codes(plan_rolling_restart(built.situation())) == [("ordered-setting", "db2")]
    assert steps(plan_restart(built.situation(), DB3)) == ["stop:db3", "start:db3", "caught-up:db3"]
    assert steps(plan_restart(built.situation(), DB1))[:2] == ["checkpoint:db1", "stop:db1"]


def test_a_primary_whose_files_say_more_than_its_replicas_have_is_not_restarted() -> None:
    built = a_cluster().primary("db1").replica("db2", setting={"max_worker_processes": "16"}).replica("db3")
    built.host("db1", files={"postgresql.conf": f"# {MARK}\nmax_worker_processes = 12\n"})
    assert codes(plan_restart(built.situation(), DB1)) == [("ordered-setting", "db3")]


@pytest.mark.parametrize("workers", [8, 12])
def test_a_standby_that_does_not_answer_may_have_too_little(workers: int) -> None:
    built = a_cluster().primary("db1").unreachable("db2").walsenders("db1", a_walsender("db2"))
    built.host("db1", files={"postgresql.conf": f"# {MARK}\nmax_worker_processes = {workers}\n"})
    planned = plan_restart(built.situation(), DB1)
    assert isinstance(planned, Plan) if workers == 8 else codes(planned) == [("ordered-setting", DB2)]


def test_a_replica_needs_its_primary() -> None:
    planned = plan(a_cluster().unreachable("db1").replica("db2", of="10.0.0.1:5432"))
    assert codes(planned) == [(ProblemKind.TIMEOUT, DB1)]
    assert isinstance(planned, Refused)
    assert (planned.command, planned.exit_code) == ("restart", ExitCode.UNREACHABLE)
    two = a_cluster().primary("db1").primary("db2").replica("db3", of="db1")
    assert codes(plan(two, DB1)) == [("two-primaries", None)]


# Every node.


def test_every_node() -> None:
    compare_with_golden("restart-rolling", rolling(three()))


def test_the_candidate_restarts_first_and_each_is_back_before_the_next() -> None:
    built = a_cluster().primary("db1").replica("db2", paused="paused").replica("db3").as_made_by_us()
    planned = rolling(built)
    first, second, *rest = lanes(planned)
    assert (first, second) == (
        [["stop:db3", "start:db3", "caught-up:db3"]],
        [["stop:db2", "start:db2", "caught-up:db2"]],
    )
    assert "promote:db3" in rest[0][0]
    assert isinstance(planned, Plan)
    assert all(stage.on_failure is OnFailure.STOP for stage in planned.stages[:3])
    assert len({step.id for step in planned.steps}) == len(list(planned.steps))


def test_what_cannot_be_reached_is_told() -> None:
    planned = rolling(three().unreachable("db4"))
    assert isinstance(planned, Plan)
    assert "`replctl restart db4` after that" in planned.unfinished
    assert not [step for step in planned.steps if step.node == DB4]


def test_nobody_can_take_over() -> None:
    alone = rolling(a_cluster().primary("db1").absent("db2"))
    assert codes(alone) == [("no-replica", DB1)]
    paused = rolling(a_cluster().primary("db1").replica("db2", paused="paused").as_made_by_us())
    assert codes(paused) == [("no-candidate", DB2)]
    for planned in (alone, paused):
        assert "`replctl restart db1`" in hints(planned)[0]


def test_a_refused_switchover_refuses_all_of_it() -> None:
    built = a_cluster().primary("db1").replica("db2", setting={"default_transaction_read_only": "on"})
    planned = rolling(built)
    assert codes(planned) == [("read-only", DB2)]
    assert isinstance(planned, Refused)
    assert planned.command == "restart"


def test_every_node_has_to_be_judged_before_one_is_stopped() -> None:
    silent = three().silent("db4", ProblemKind.SQL_STARTING, standby=True)
    assert codes(rolling(silent)) == [(ProblemKind.SQL_STARTING, DB4)]
    waiting = a_cluster().primary("db1").replica("db2").replica("db3", receiver=None)
    assert codes(rolling(waiting)) == [("not-streaming", DB3)]
    assert codes(rolling(a_cluster().primary("db1").primary("db2"))) == [("two-primaries", None)]


@pytest.mark.parametrize(
    ("built", "expected"),
    [
        (three().stopped("db4", standby=True), "start:db4"),
        (three().replica("db4", of="db3"), "repoint:db4"),
    ],
)
def test_what_an_interrupted_run_left_is_brought_back_first(built: ClusterBuilder, expected: str) -> None:
    planned = rolling(built)
    assert expected in steps(planned)
    assert not [step for step in steps(planned) if step.startswith("stop")]
    assert isinstance(planned, Plan)
    assert (planned.command, planned.unfinished[-1]) == ("restart", AGAIN)


def interrupted() -> ClusterBuilder:
    """A switchover to db3 that ended after the stop, with the slots on its candidate."""
    built = a_cluster().stopped("db1").replica("db2", of="db1", receiver=None, unreplayed=-100)
    built = built.replica("db3", of="db1", receiver=None, unreplayed=-100).as_made_by_us()
    return built.slots("db3", a_slot("replctl_db1", active=False), a_slot("replctl_db2", active=False))


def test_a_switchover_that_did_not_end_is_finished_first() -> None:
    planned = rolling(interrupted())
    assert "promote:db3" in steps(planned)
    assert isinstance(planned, Plan)
    assert planned.unfinished[-1] == AGAIN


def test_without_a_primary_and_a_switchover_there_is_nothing_to_restart_safely() -> None:
    planned = rolling(a_cluster().unreachable("db1").replica("db2", of="10.0.0.1:5432"))
    assert codes(planned) == [(ProblemKind.TIMEOUT, DB1)]


def test_the_candidate_stays_the_same_while_writes_go_on() -> None:
    assert switchover_candidate(*three().build()) == DB2
    assert switchover_candidate(*a_cluster().primary("db1").replica("db2", lag=4096).replica("db3").build()) == DB2
    assert switchover_candidate(*a_cluster().unreachable("db1").replica("db2").build()) is None
    assert switchover_candidate(*a_cluster().primary("db1").replica("db2", paused="paused").build()) is None
