"""Chains of misfortune that a random search meets too rarely."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from replctl.model.plan import Plan, Refused
from replctl.model.values import NodeName
from tests.properties.clusters import Event, Past, crashed, happened
from tests.properties.goals import as_it_should_be
from tests.properties.intents import IN_PLACE, Intent, run_wholly
from tests.properties.rules import Rules
from tests.properties.simulate import promotion_happens, simulate, simulate_half
from tests.properties.world import World, clients_write, replays

DB1, DB2, DB3 = (NodeName(name) for name in ("db1", "db2", "db3"))
THREE = Past(3, 3, ()).world


def promote(node: NodeName) -> Intent:
    return Intent("promote", (node,))


def restart(node: NodeName) -> Intent:
    return Intent("restart", (node,))


def killed_after(world: World, intent: Intent, last: str) -> World:
    """A run that was killed once this step had ended."""
    plan = intent.plan(world)
    assert isinstance(plan, Plan)
    for step in plan.steps:
        world = simulate(clients_write(world), step.node, step.action)
        if step.id == last:
            return replace(world, run="the next run")
    raise AssertionError(f"no step {last} in {[step.id for step in plan.steps]}")


def codes(world: World, intent: Intent) -> set[str]:
    planned = intent.plan(world)
    return {refusal.code for refusal in planned.refusals} if isinstance(planned, Refused) else set()


def without(world: World, node: NodeName) -> World:
    return world.with_machine(node, reachable=False)


def test_the_old_primary_is_not_revived_once_the_new_one_has_written_and_crashed() -> None:
    world = clients_write(killed_after(THREE, promote(DB2), "promote:db2"))
    world = crashed(world, DB2)
    assert codes(world, promote(DB1)) == {"later-timeline"}
    assert codes(world, promote(DB3)) == {"later-timeline", "other-candidate"}
    assert codes(world, Intent("init-primary", (DB1,))) == {"is-replica", "later-timeline"}


def test_nobody_else_is_promoted_while_the_candidate_may_be_the_primary_out_of_sight() -> None:
    world = without(killed_after(THREE, promote(DB2), "promote:db2"), DB2)
    assert codes(world, promote(DB3)) == {"other-candidate"}
    assert codes(world, promote(DB1)) == {"others-unreachable"}


def test_nobody_else_is_promoted_while_a_request_may_still_be_carried_out() -> None:
    world = killed_after(THREE, promote(DB2), "demote:db1")
    assert codes(world, promote(DB3)) == {"other-candidate"}
    assert as_it_should_be(run_wholly(world, promote(DB2)), promote(DB2))


@pytest.mark.parametrize("last", ["checkpoint:db1", "stop:db1", "prove:db2", "demote:db1"])
def test_a_switchover_that_sent_no_request_is_called_off(last: str) -> None:
    before = killed_after(THREE, promote(DB2), last)
    rules, world = Rules(before, promote(DB1)), run_wholly(before, promote(DB1))
    rules.check(world, f"after calling it off, killed after {last}")
    assert as_it_should_be(world, promote(DB1))
    assert world.writable == (DB1,)


def test_before_the_old_primary_is_demoted_another_node_may_be_chosen() -> None:
    world = run_wholly(killed_after(THREE, promote(DB2), "stop:db1"), promote(DB3))
    assert as_it_should_be(world, promote(DB3))


def test_the_env_file_lists_everybody_even_if_it_did_so_before_the_role_moved() -> None:
    """It still says what an earlier switchover made of it: the first of the two publications takes the replicas out."""
    world = replace(THREE, env=(DB2, (DB1, DB3)))
    assert run_wholly(world, promote(DB2)).env == (DB2, (DB1, DB3))


def test_a_primary_out_of_sight_is_not_replaced_by_an_empty_cluster() -> None:
    world = without(Past(2, 1, ()).world, DB1)
    assert codes(world, Intent("init-primary", (DB2,))) == {"others-unreachable"}


@pytest.mark.parametrize(
    ("kind", "refused"),
    [
        ("half lowered", {promote(DB2): {DB1}, restart(DB2): {DB2}, restart(DB3): {DB3}, restart(DB1): set()}),
        ("half raised", {promote(DB2): set(), restart(DB2): set(), restart(DB1): {DB2, DB3}}),
    ],
)
def test_settings_that_wait_for_a_restart_strand_nobody(kind: str, refused: dict[Intent, set[NodeName]]) -> None:
    world = happened(THREE, Event(kind, DB1, DB2))
    for intent, nodes in refused.items():
        planned = intent.plan(world)
        found = planned.refusals if isinstance(planned, Refused) else ()
        assert {refusal.node for refusal in found} == nodes
        assert {refusal.code for refusal in found} <= {"ordered-setting"}
        ended = run_wholly(world, intent)
        assert not any(machine.running and not replays(machine) for machine in ended.machines.values())


def test_a_lowered_setting_is_applied_in_one_run_whatever_host_restarts_meanwhile() -> None:
    world = happened(THREE, Event("lowered", DB1, DB2))
    intent = Intent(IN_PLACE, (DB1,))
    rules = Rules(world, intent)
    for moment in moments_of(world, intent.plan(world)):
        rules.check(moment, "while it is applied")
    assert as_it_should_be(run_wholly(world, intent), intent)


def moments_of(world: World, plan: Plan) -> Iterator[World]:
    for step in plan.steps:
        world = clients_write(world)
        yield from simulate_half(world, step.node, step.action)
        world = simulate(world, step.node, step.action)
        yield world


def test_fifty_switchovers_there_and_back_each_killed_somewhere_lose_nothing() -> None:
    world = THREE
    for number in range(50):
        intent = promote((DB2, DB1)[number % 2])
        plan = intent.plan(world)
        assert isinstance(plan, Plan)
        ends = list(moments_of(world, plan))
        rules, world = Rules(world, intent), promotion_happens(ends[number * 7 % len(ends)])
        rules.check(world, f"killed in round {number}")
        world = run_wholly(run_wholly(world, intent), intent)
        assert as_it_should_be(world, intent), f"round {number}"
