"""Properties of every prefix of every plan, over clusters with a past and clients that write all the time."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from hypothesis import assume, given
from hypothesis import strategies as st

from replctl.model.actions import InitCluster, Promote, PublishEnv
from replctl.model.app_actions import PushEnv
from replctl.model.plan import Plan
from tests.properties.cases import Case, cases
from tests.properties.clusters import EVENTS, Past, an_event, happened, pasts
from tests.properties.goals import as_it_should_be
from tests.properties.intents import (
    CONFIG,
    ENDLESS,
    ENV_WRITE,
    IN_PLACE,
    KEEPS_DIRECTORY,
    ROTATIONS,
    an_intent,
    may_run,
)
from tests.properties.rules import (
    Rules,
    check_fenced,
    check_published,
    check_pushed,
    check_slots,
    lasts,
    uncovered,
    what_matters,
)
from tests.properties.schedules import Tally, in_some_order, moments, undone
from tests.properties.simulate import NotPossibleError, promotion_happens, simulate, simulate_half
from tests.properties.world import World, clients_write

AT_ONCE = ("add-replica", "rejoin", "remove-replica", KEEPS_DIRECTORY, *ENDLESS, IN_PLACE, *ROTATIONS, ENV_WRITE)
MISFORTUNES = (
    *("crashed", "crashed ahead", "rebooted", "stopped by hand", "unreachable", "gone", "isolated", "reachable"),
    *("superseded", "recycled", "stalled", "lost slot"),
)


@given(case=cases())
def test_every_moment_of_every_run_is_safe(tally: Tally, case: Case) -> None:
    world = case.past.world
    rules = Rules(world, case.intent)
    for moment in moments(world, case.plan, case.random, tally):
        tally.count("moments", case.intent.command)
        tally.interrupted(moment.after)
        rules.check(moment.world, moment.when)
        for half in moment.halves:
            rules.check(half, f"in the middle of {moment.after}")
            rules.check(promotion_happens(half), f"later, killed in the middle of {moment.after}")
        if moment.after and isinstance(moment.after.action, PublishEnv):
            check_published(moment.world, moment.when)
        if moment.after and isinstance(moment.after.action, PushEnv):
            check_pushed(world, moment.world, moment.when)


@given(case=cases())
def test_every_step_before_the_point_of_no_return_can_be_taken_back_or_is_harmless(case: Case) -> None:
    assert uncovered(case.plan) == []


@given(case=cases())
def test_undo_of_every_prefix_brings_back_what_matters(tally: Tally, case: Case) -> None:
    world = case.past.world
    rules, before = Rules(world, case.intent), what_matters(world)
    for moment in moments(world, case.plan, case.random, tally):
        if moment.past_return or any(lasts(step, case.intent) for step in moment.done):
            return
        tally.count("undone runs", case.intent.command)
        tally.interrupted(moment.after)
        for state in undone(moment, tally):
            rules.check(state, f"undoing, {moment.when}")
        assert what_matters(state) == before, f"undo {moment.when} leaves something"


@given(case=cases())
def test_a_run_that_nothing_disturbs_is_enough(tally: Tally, case: Case) -> None:
    """Of what only starts an old primary again the rest is left to the next run."""
    plan = case.plan
    assume(not plan.refused)
    assume(case.intent.command not in CONFIG or not plan.unfinished)  # it first starts what is stopped, and says so
    assume(case.intent.command in AT_ONCE or any(isinstance(s.action, InitCluster | Promote) for s in plan.steps))
    *_, last = moments(case.past.world, plan, case.random, tally)
    assert as_it_should_be(last.world, case.intent), f"{last.world.env} {last.world.writable}"
    check_slots(case.past.world, last.world, case.intent)
    check_fenced(case.past.world, last.world)


@given(past=pasts(tuple(EVENTS)), data=st.data())
def test_whatever_is_tried_next_is_safe(tally: Tally, past: Past, data: st.DataObject) -> None:
    """Command after command, each killed somewhere, while nodes crash, vanish and come back in between."""
    world = past.world
    for number in range(3):
        intent = data.draw(an_intent(past.size))
        rules = Rules(world, intent)
        plan = intent.plan(world)
        if isinstance(plan, Plan) and may_run(world, plan):
            world = _killed_somewhere(world, plan, rules, data, tally)
        for event in data.draw(st.lists(an_event(past.size, MISFORTUNES), max_size=2)):
            world = happened(world, event)
        world = replace(world, run=f"run-{number + 2}")


def _killed_somewhere(world: World, plan: Plan, rules: Rules, data: st.DataObject, tally: Tally) -> World:
    last = data.draw(st.integers(0, sum(1 for _ in plan.steps)))
    for number, step in enumerate(in_some_order(plan, Random(last))):
        world = clients_write(world)
        if number == last:
            halves = simulate_half(world, step.node, step.action)
            return promotion_happens(halves[0]) if halves else world
        try:
            world = simulate(world, step.node, step.action)
        except NotPossibleError:
            return world
        tally.count("chains", step.id.split(":")[0].split("-")[0])
        rules.check(world, f"after {step.id}")
    return world
