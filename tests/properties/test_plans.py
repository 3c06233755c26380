"""Properties of every prefix of every plan, over clusters with a past and clients that write all the time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

from hypothesis import assume, given
from hypothesis import strategies as st

from replctl.model.actions import InitCluster, Promote, PublishEnv
from replctl.model.plan import Plan
from tests.properties.clusters import (
    EVENTS,
    Intent,
    Past,
    an_event,
    an_intent,
    as_it_should_be,
    happened,
    links_are_sound,
    may_run,
    pasts,
)
from tests.properties.rules import Rules, check_published, lasts, uncovered, what_matters
from tests.properties.schedules import Tally, in_some_order, moments, undone
from tests.properties.simulate import NotPossibleError, promotion_happens, simulate, simulate_half
from tests.properties.world import World, clients_write, settled, unread

MISFORTUNES = ("crashed", "rebooted", "stopped by hand", "unreachable", "reachable", "stalled", "lost slot")


@dataclass(frozen=True)
class Case:
    """A cluster, a command that can be carried out on it, and the order in which its lanes run."""

    past: Past
    intent: Intent
    order: int

    @property
    def random(self) -> Random:
        return Random(self.order)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    past = draw(pasts())
    case = Case(past, draw(an_intent(past.size)), draw(st.integers(0, 9)))
    world = past.world
    plan = case.intent.plan(world)
    assume(isinstance(plan, Plan) and any(plan.steps))
    assume(may_run(world, plan))
    assume(case.intent.command == "add-replica" or links_are_sound(world))
    return case


def planned(world: World, intent: Intent) -> Plan:
    plan = intent.plan(world)
    assert isinstance(plan, Plan), plan
    return plan


@given(case=cases())
def test_every_moment_of_every_run_is_safe(tally: Tally, case: Case) -> None:
    world = case.past.world
    rules = Rules(world)
    for moment in moments(world, planned(world, case.intent), case.random, tally):
        tally.count("moments", case.intent.command)
        rules.check(moment.world, moment.when)
        for half in moment.halves:
            rules.check(half, f"in the middle of {moment.after}")
            rules.check(promotion_happens(half), f"later, killed in the middle of {moment.after}")
        if moment.after and isinstance(moment.after.action, PublishEnv):
            check_published(moment.world, moment.when)


@given(case=cases())
def test_every_step_before_the_point_of_no_return_can_be_taken_back_or_is_harmless(case: Case) -> None:
    assert uncovered(planned(case.past.world, case.intent)) == []


@given(case=cases())
def test_undo_of_every_prefix_brings_back_what_matters(tally: Tally, case: Case) -> None:
    world = case.past.world
    rules, before = Rules(world), what_matters(world)
    for moment in moments(world, planned(world, case.intent), case.random, tally):
        if moment.past_return or any(lasts(step) for step in moment.done):
            return
        tally.count("undone runs", case.intent.command)
        for state in undone(moment, tally):
            rules.check(state, f"undoing, {moment.when}")
        assert what_matters(state) == before, f"undo {moment.when} leaves something"


@given(case=cases())
def test_a_run_that_nothing_disturbs_is_enough(tally: Tally, case: Case) -> None:
    """Making, cloning and moving a primary; what only starts an old one again leaves the rest to the next run."""
    plan = planned(case.past.world, case.intent)
    assume(case.intent.command == "add-replica" or any(isinstance(s.action, InitCluster | Promote) for s in plan.steps))
    *_, last = moments(case.past.world, plan, case.random, tally)
    assert as_it_should_be(last.world, case.intent), f"{last.world.env} {last.world.writable}"


@given(case=cases(), late=st.booleans())
def test_the_same_command_converges_from_every_moment(tally: Tally, case: Case, late: bool) -> None:
    """Killed between two steps, in the middle of one, or while it undoes; ``late``: a promotion that was asked for
    happens only now."""
    world, random = case.past.world, case.random
    for moment in moments(world, planned(world, case.intent), random, tally):
        left = [moment.world, *moment.halves]
        if not moment.past_return:
            left += undone(moment, tally)
        for state in left:
            if unread(state):  # a reload by hand mends it: see the docstring of unread
                continue
            tally.count("killed runs", case.intent.command)
            ends = promotion_happens(state) if late else state
            _converges(ends, case.intent, random, moment.when)


def _converges(world: World, intent: Intent, random: Random, when: str) -> None:
    rules = Rules(world)
    reached = {name: replace(machine, reachable=True) for name, machine in world.machines.items()}
    world = settled(replace(world, machines=reached, run="run-2"))
    for _ in range(3):
        plan = intent.plan(world)
        assert isinstance(plan, Plan), f"killed {when}: {plan.refusals}"
        if not any(plan.steps):
            break
        for step in in_some_order(plan, random):
            world = simulate(clients_write(world), step.node, step.action)
            rules.check(world, f"killed {when}, then after {step.id}")
    assert as_it_should_be(world, intent), f"killed {when}: {world.env} {world.writable}"
    again = [step.id for step in planned(world, intent).steps]
    assert again == [], f"killed {when}"


@given(past=pasts(tuple(EVENTS)), data=st.data())
def test_whatever_is_tried_next_is_safe(tally: Tally, past: Past, data: st.DataObject) -> None:
    """Command after command, each killed somewhere, while nodes crash, vanish and come back in between."""
    world = past.world
    for number in range(3):
        rules = Rules(world)
        intent = data.draw(an_intent(past.size))
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
