"""config apply: the files, and the restarts in the order that the ordered settings ask for."""

from __future__ import annotations

import pytest

from replctl.model.actions import AwaitReplayed, ConfigFile, StartPostgres, StartWithConfig
from replctl.model.plan import OnFailure, Plan, Refused
from replctl.planning.config_apply import Restarting, plan_config_apply
from tests.unit.builders import ClusterBuilder, a_cluster, a_walsender
from tests.unit.configurations import Seen, situation_of
from tests.unit.plans import DB1, DB2, DB3, codes, compare_with_golden, lanes, notes_of, steps

REPLICAS = frozenset({Restarting.REPLICAS})
IN_PLACE = REPLICAS | {Restarting.PRIMARY}
BY_SWITCHOVER = REPLICAS | {Restarting.SWITCHOVER}
NAMES = ("db1", "db2", "db3")


def three() -> ClusterBuilder:
    return a_cluster().primary("db1").replica("db2").replica("db3").as_made_by_us()


def connections(number: int, says: int | None = None) -> Seen:
    return Seen(f"max_connections = '{says or number}'\n", {"max_connections": str(number)})


def plan(wanted: int, *now: int, restarting=frozenset(), names=(), files_say_so: bool = False):
    """max_connections of db1, db2, db3 as they are ``now``, and what the inventory wants."""
    seen = {
        name: connections(number, wanted if files_say_so else None) for name, number in zip(NAMES, now, strict=True)
    }
    situation = situation_of(three(), {"max_connections": str(wanted)}, **seen)
    return plan_config_apply(situation, names, restarting)


def bounce(name: str) -> list[str]:
    return [f"stop:{name}", f"start:{name}", f"caught-up:{name}"]


def written(name: str) -> list[str]:
    return [f"write-config:{name}", f"reload:{name}"]


IN_PLACE_STEPS = ["checkpoint:db1", "stop:db1", "start:db1", "probe-write:db1"]


def test_nothing_to_do() -> None:
    planned = plan(100, 100, 100, 100, restarting=IN_PLACE)
    assert (steps(planned), notes_of(planned)) == ([], ())


def test_files_side_by_side_and_who_waits() -> None:
    planned = plan(200, 100, 100, 100)
    assert lanes(planned) == [[[f"write-config:{name}", f"reload:{name}"] for name in NAMES]]
    assert notes_of(planned) == (
        "db1 waits for a restart, for max_connections: `replctl config apply --restart --restart-primary`, or "
        "--switchover in its place",
        "db2 waits for a restart, for max_connections: `replctl config apply --restart`",
        "db3 waits for a restart, for max_connections: `replctl config apply --restart`",
    )


def test_the_named_nodes_alone() -> None:
    assert steps(plan(200, 100, 100, 100, names=[DB3])) == ["write-config:db3", "reload:db3"]


def test_a_file_that_nobody_read_yet() -> None:
    seen = Seen("work_mem = '8MB'\n", {"work_mem": "4096"})
    situation = situation_of(a_cluster().primary("db1"), {"work_mem": "8MB"}, db1=seen)
    assert steps(plan_config_apply(situation, ())) == ["reload:db1"]


def test_raised_the_replicas_come_first() -> None:
    planned = plan(200, 100, 100, 100, restarting=IN_PLACE)
    compare_with_golden("config-apply-raised", planned)
    assert lanes(planned) == [
        [written("db2"), written("db3")],
        [bounce("db2")],
        [bounce("db3")],
        [[*written("db1"), *IN_PLACE_STEPS]],
        [["wake:db2", "streaming:db2"], ["wake:db3", "streaming:db3"]],
    ]


def test_raised_the_primary_alone_is_refused_until_the_replicas_have_it() -> None:
    only = frozenset({Restarting.PRIMARY})
    planned = plan(200, 100, 100, 200, restarting=only)
    assert codes(planned) == [("ordered-setting", DB2)]
    assert isinstance(planned, Refused)
    assert "`replctl config apply db2 --restart`" in planned.refusals[0].hint
    assert steps(plan(200, 100, 200, 200, restarting=only, files_say_so=True))[:4] == IN_PLACE_STEPS


@pytest.mark.parametrize(("wanted", "refused"), [(200, [("ordered-setting", DB3)]), (50, None)])
def test_raised_not_while_a_standby_streams_that_does_not_answer(wanted: int, refused) -> None:
    """How much it has is not known. One that does not stream is told later that its primary has more."""
    seen = {"db1": connections(100), "db2": connections(wanted)}
    away = a_cluster().primary("db1").replica("db2").unreachable("db3").as_made_by_us()
    parameters = {"max_connections": str(wanted)}
    assert isinstance(plan_config_apply(situation_of(away, parameters, **seen), (), IN_PLACE), Plan)
    streams = away.walsenders("db1", a_walsender("db3"))
    planned = plan_config_apply(situation_of(streams, parameters, **seen), (), IN_PLACE)
    assert isinstance(planned, Plan) if refused is None else codes(planned) == refused


def test_lowered_the_primary_comes_first() -> None:
    planned = plan(50, 100, 100, 100, restarting=IN_PLACE)
    compare_with_golden("config-apply-lowered", planned)
    assert steps(planned) == [
        *written("db1"),
        *IN_PLACE_STEPS,
        *("wake:db2", "streaming:db2", "wake:db3", "streaming:db3"),
        *("replayed:db2", *written("db2"), *bounce("db2")),
        *("replayed:db3", *written("db3"), *bounce("db3")),
    ]
    assert isinstance(planned, Plan)
    assert next(one.action for one in planned.steps if one.id == "replayed:db2") == AwaitReplayed(DB1)


def test_lowered_the_replicas_wait_for_the_primary() -> None:
    planned = plan(50, 100, 100, 100, restarting=REPLICAS, files_say_so=True)
    assert steps(planned) == []
    assert "a lowered setting goes to db1 first" in notes_of(planned)[1]
    assert steps(plan(50, 50, 100, 100, restarting=REPLICAS)) == [
        *("replayed:db2", *written("db2"), *bounce("db2")),
        *("replayed:db3", *written("db3"), *bounce("db3")),
    ]


def test_lowered_cannot_be_done_by_a_switchover() -> None:
    assert codes(plan(50, 100, 100, 100, restarting=BY_SWITCHOVER)) == [("ordered-setting", DB1)]


def test_raised_and_lowered_at_once() -> None:
    wanted = {"max_connections": "200", "max_worker_processes": "4"}
    now = Seen("", {"max_connections": "100", "max_worker_processes": "8"})
    situation = situation_of(three(), wanted, db1=now, db2=now, db3=now)
    planned = plan_config_apply(situation, (), IN_PLACE)
    assert codes(planned) == [("ordered-setting", DB2), ("ordered-setting", DB3)]
    assert isinstance(planned, Refused)
    assert planned.refusals[0].hint.startswith("Raise in one run")


def test_by_a_switchover() -> None:
    planned = plan(200, 100, 100, 100, restarting=BY_SWITCHOVER, files_say_so=True)
    compare_with_golden("config-apply-switchover", planned)
    assert steps(planned)[:6] == [*bounce("db2"), *bounce("db3")]
    assert "promote:db2" in steps(planned)


def test_a_server_that_does_not_start_starts_with_what_it_had() -> None:
    planned = plan(200, 100, 100, 100, restarting=REPLICAS)
    assert isinstance(planned, Plan)
    found = {one.id: one for one in planned.steps}
    assert found["stop:db2"].undo == StartWithConfig((ConfigFile("postgresql.conf", connections(100).text),))
    assert found["caught-up:db2"].point_of_no_return
    assert all(stage.on_failure is OnFailure.STOP for stage in planned.stages)
    again = plan(200, 100, 100, 100, restarting=REPLICAS, files_say_so=True)
    assert isinstance(again, Plan)
    assert {one.id: one for one in again.steps}["stop:db2"].undo == StartPostgres()


def test_every_replica_has_to_stream_before_it_is_stopped() -> None:
    built = a_cluster().primary("db1").replica("db2").replica("db3", receiver=None).as_made_by_us()
    seen = {name: connections(100, 200) for name in NAMES}
    situation = situation_of(built, {"max_connections": "200"}, **seen)
    assert codes(plan_config_apply(situation, (), REPLICAS)) == [("not-streaming", DB3)]
    assert steps(plan_config_apply(situation, [DB2], REPLICAS)) == bounce("db2")


def test_nobody_takes_over() -> None:
    situation = situation_of(a_cluster().primary("db1"), {"max_connections": "200"}, db1=connections(100))
    assert codes(plan_config_apply(situation, (), BY_SWITCHOVER)) == [("no-replica", DB1)]
    without = a_cluster().replica("db2", of="10.0.0.1:5432", receiver=None)
    situation = situation_of(without, {"max_connections": "200"}, db2=connections(100))
    assert steps(plan_config_apply(situation, ())) == ["write-config:db2", "reload:db2"]
    assert codes(plan_config_apply(situation, (), REPLICAS)) == [("no-primary", None)]


def test_what_a_killed_run_left_stopped_comes_back_first() -> None:
    built = a_cluster().primary("db1").stopped("db2", standby=True).as_made_by_us()
    situation = situation_of(built, {"max_connections": "200"}, db1=connections(100))
    planned = plan_config_apply(situation, (), IN_PLACE)
    assert {"start:db2", "streaming:db2"} <= set(steps(planned))
    assert isinstance(planned, Plan)
    assert planned.unfinished[-1].startswith("the same command again")
    assert "start:db2" not in steps(plan_config_apply(situation, (DB1,), IN_PLACE))
    assert "start:db2" not in steps(plan_config_apply(situation, (), frozenset({Restarting.PRIMARY})))


def test_a_primary_that_a_killed_run_left_stopped_comes_back_first() -> None:
    built = a_cluster().stopped("db1").replica("db2", of="10.0.0.1:5432", receiver=None).as_made_by_us()
    situation = situation_of(built, {"max_connections": "200"}, db2=connections(100))
    assert steps(plan_config_apply(situation, (), IN_PLACE))[0] == "start:db1"
    assert codes(plan_config_apply(situation, (), REPLICAS)) == [("no-primary", None)]


@pytest.mark.parametrize("names", [(), (DB2,)])
def test_who_cannot_be_changed(names) -> None:
    built = a_cluster().primary("db1").stopped("db2", standby=True)
    planned = plan_config_apply(situation_of(built, {"max_connections": "200"}, db1=connections(100)), names)
    if names:
        assert codes(planned) == [("stopped", DB2)]
    else:
        assert steps(planned) == ["write-config:db1", "reload:db1"]
        assert notes_of(planned)[0] == (
            "db2 is stopped: its configuration stays as it is. `replctl restart db2` starts it in its role."
        )


def test_what_overrides_is_told() -> None:
    seen = Seen("work_mem = '8MB'\n", {"work_mem": "8192"}, "work_mem = '1MB'\n")
    situation = situation_of(a_cluster().primary("db1"), {"work_mem": "8MB"}, db1=seen)
    (note,) = notes_of(plan_config_apply(situation, ()))
    assert "postgresql.auto.conf:1 overrides work_mem = 8MB; `ALTER SYSTEM RESET work_mem`" in note
