"""The same command again brings the goal, whatever moment the run before was broken off at."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from replctl.model.plan import Plan
from replctl.planning.consent import Consent
from tests.properties.cases import RARE, Case, cases
from tests.properties.clusters import Event, Past
from tests.properties.goals import as_it_should_be
from tests.properties.intents import ENDLESS, Intent, as_told, changes, names, retried
from tests.properties.rules import Rules, check_fenced
from tests.properties.schedules import Tally, in_some_order, moments, seen_again, undone
from tests.properties.simulate import promotion_happens, simulate
from tests.properties.wanted import USUAL
from tests.properties.world import World, clients_write, unread


@given(case=cases(), late=st.booleans())
def test_the_same_command_converges_from_every_moment(tally: Tally, case: Case, late: bool) -> None:
    """Killed between two steps, in the middle of one, or while it undoes; ``late``: a promotion that was asked for
    happens only now."""
    _every_moment_converges(tally, case, late)


@given(case=cases(RARE), late=st.booleans())
def test_so_does_what_is_rare(tally: Tally, case: Case, late: bool) -> None:
    _every_moment_converges(tally, case, late)


DB1, DB2, DB3, DB4 = names(4)
WAITED_FOR = {
    "promote": ((), Intent("promote", (DB2,))),
    "add-replica": ((), Intent("add-replica", (DB4,))),
    "remove-replica": ((), Intent("remove-replica", (DB3,))),
    "restart": ((), Intent("restart", (DB2,))),
    "failover": (("crashed",), Intent("failover", (DB2,), frozenset(Consent))),
    "rejoin": (("left behind",), Intent("rejoin", (DB1,), frozenset({Consent.DISCARD}))),
}
ORDERS = 12


@pytest.mark.parametrize("synchronous", [1, 2])
@pytest.mark.parametrize("name", WAITED_FOR)
def test_so_do_commits_that_wait_for_replicas(tally: Tally, name: str, synchronous: int) -> None:
    """With as many replicas as commits wait for, and with one to spare."""
    kinds, intent = WAITED_FOR[name]
    events = tuple(Event(kind, DB1, DB2) for kind in kinds)
    past = Past(4, 3, events, replace(USUAL, synchronous=synchronous))
    for order in range(ORDERS):
        _converges_from_every_moment(tally, Case(past, intent, order), late=bool(order % 2))


def _every_moment_converges(tally: Tally, case: Case, late: bool) -> None:
    assume(not case.plan.refused)
    assume(not _refused_in_full_sight(case))
    _converges_from_every_moment(tally, case, late)


def _converges_from_every_moment(tally: Tally, case: Case, late: bool) -> None:
    world, random = case.past.world, case.random
    ran = [name for name, machine in world.machines.items() if machine.running]
    for moment in moments(world, case.plan, random, tally):
        left = list(moment.left)
        if not moment.past_return:
            left += undone(moment, tally)
        for state in left:
            if unread(state):  # a reload by hand mends it: see the docstring of unread
                continue
            tally.count("killed runs", case.intent.command)
            tally.interrupted(moment.after)
            ends = promotion_happens(state) if late else state
            next_run = as_told(seen_again(ends, case.intent, world), case.intent, ran)
            end = _converges(next_run, retried(ends, case.intent), random, moment.when)
            check_fenced(world, end)


def _refused_in_full_sight(case: Case) -> bool:
    """A node that comes into sight again may be one for whose sake the command is refused, as it would have been."""
    world = case.past.world
    hidden = any(not machine.reachable for machine in world.machines.values())
    return hidden and not isinstance(case.intent.plan(seen_again(world, case.intent, world)), Plan)


def _converges(world: World, intent: Intent, random: Random, when: str) -> World:
    rules = Rules(world, intent)
    for _ in range(3):
        plan = intent.plan(world)
        assert isinstance(plan, Plan), f"killed {when}: {plan.refusals}"
        assert not plan.refused, f"killed {when}: {plan.refused}"
        if not any(plan.steps):
            break
        for step in in_some_order(plan, random):
            world = simulate(clients_write(world), step.node, step.action)
            rules.check(world, f"killed {when}, then after {step.id}")
    assert as_it_should_be(world, intent), f"killed {when}: {world.env} {world.writable}"
    if intent.command not in ENDLESS:
        _nothing_is_left(world, intent, when)
    return world


def _nothing_is_left(world: World, intent: Intent, when: str) -> None:
    last = intent.plan(world)
    assert isinstance(last, Plan), f"killed {when}: {last}"
    assert [step.id for step in last.steps if changes(world, step)] == [], f"killed {when}"
    for step in last.steps:
        assert simulate(world, step.node, step.action) == world, f"killed {when}, {step.id} has something to do"
