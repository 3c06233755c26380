"""What may be another plan under the lock than the one that was agreed to, and what may not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from replctl.model.actions import CreateSlot, DropSlot, DropStuckWalsenders, PublishEnv
from replctl.model.plan import Plan
from replctl.planning.add_replica import plan_add_replica
from replctl.planning.agreement import keeps_to
from replctl.planning.promote import plan_promote
from replctl.planning.restart import plan_restart
from replctl.planning.situation import Situation, sequence, step
from tests.unit.builders import ClusterBuilder, a_cluster
from tests.unit.plans import DB1, DB2, DB3, steps

SITUATION = a_cluster().primary("db1").situation()
A, B, C = (step("slot", DB1, CreateSlot(name), "it is needed") for name in "abc")


def a_plan(*them, unfinished=()) -> Plan:
    return SITUATION.plan("test", [sequence(*them)], unfinished=unfinished)


@pytest.mark.parametrize("again", [a_plan(A, B, C), a_plan(A, C), a_plan(C), a_plan()])
def test_less_of_the_same_keeps_to_it(again: Plan) -> None:
    assert keeps_to(a_plan(A, B, C), again)


@pytest.mark.parametrize(
    "again",
    [
        a_plan(A, B, C, C),
        a_plan(B, A),
        a_plan(replace(A, action=DropSlot("a"))),
        a_plan(replace(A, node=DB2)),
        a_plan(replace(A, undo=DropSlot("a"))),
        a_plan(replace(A, point_of_no_return=True)),
        a_plan(replace(A, why="it is another reason")),
        a_plan(A, unfinished=("`replctl add-replica db3` later",)),
    ],
)
def test_anything_else_does_not(again: Plan) -> None:
    assert not keeps_to(a_plan(A, B, C), again)


def test_what_is_settled_at_the_moment() -> None:
    stuck = step("walsenders", DB1, DropStuckWalsenders((77,)), "the stop would wait")
    published = step("env", None, PublishEnv(DB1, (DB2, DB3)), "the application reads it")
    assert keeps_to(a_plan(A, published), a_plan(stuck, A, replace(published, action=PublishEnv(DB1, (DB2,)))))
    assert keeps_to(a_plan(A), a_plan(A, published))


def three(**db3) -> ClusterBuilder:
    return a_cluster().primary("db1").replica("db2").replica("db3", **db3).as_made_by_us()


CALM = three(setting={"primary_slot_name": "replctl_db3"})
RECONNECTING = three(receiver=None, setting={"primary_slot_name": "replctl_db3"})


def adding(situation: Situation):
    return plan_add_replica(situation, [DB2, DB3])


@pytest.mark.parametrize("planner", [adding, lambda situation: plan_restart(situation, DB1)])
def test_a_replica_that_reconnects_meanwhile(planner) -> None:
    """Between the look and the lock, or the other way round."""
    calm, reconnecting = planner(CALM.situation()), planner(RECONNECTING.situation())
    assert "streaming:db3" in {*steps(calm), *steps(reconnecting)}
    assert steps(calm) != steps(reconnecting)
    assert keeps_to(calm, reconnecting)
    assert keeps_to(reconnecting, calm)


def test_a_sibling_that_is_gone_by_the_time_of_a_switchover() -> None:
    """It would be left behind, and nobody agreed to that."""
    calm = plan_promote(CALM.situation(), DB2)
    gone = a_cluster().primary("db1").replica("db2").unreachable("db3").as_made_by_us()
    again = plan_promote(gone.situation(), DB2)
    assert set(steps(again)) < set(steps(calm))
    assert not keeps_to(calm, again)
