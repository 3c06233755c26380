"""A primary that died, one that came back, and what only it had: stories that every rule of failover is told by."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from replctl.model import actions, repair_actions
from replctl.model.plan import Plan, Refused
from replctl.model.values import NodeName
from replctl.planning.consent import Consent
from tests.properties.clusters import EVENTS, Event, Past
from tests.properties.goals import as_it_should_be
from tests.properties.intents import KEEPS_DIRECTORY, ROLLING, Intent, retried, run_wholly
from tests.properties.rules import Rules
from tests.properties.schedules import seen_again
from tests.properties.simulate import simulate, simulate_half
from tests.properties.world import World, clients_write

DB1, DB2, DB3 = (NodeName(name) for name in ("db1", "db2", "db3"))
THREE = Past(3, 3, ()).world
ALL = frozenset(Consent)


def happens(world: World, kind: str, node: NodeName, other: NodeName = DB3) -> World:
    return clients_write(EVENTS[kind](world, Event(kind, node, other)))


def failover(node: NodeName, *consents: Consent) -> Intent:
    return Intent("failover", (node,), frozenset(consents))


def rejoin(node: NodeName, *consents: Consent) -> Intent:
    return Intent("rejoin", (node,), frozenset(consents))


def codes(world: World, intent: Intent) -> set[str]:
    planned = intent.plan(world)
    refusals = planned.refusals if isinstance(planned, Refused) else planned.refused
    return {refusal.code for refusal in refusals}


def plan_of(world: World, intent: Intent) -> Plan:
    planned = intent.plan(world)
    assert isinstance(planned, Plan), planned
    return planned


def lines_of(world: World, intent: Intent) -> str:
    return "\n".join(plan_of(world, intent).notes)


EVERY_COMMAND = [
    *(Intent("promote", (name,)) for name in (DB1, DB2, DB3)),
    *(Intent("add-replica", (name,)) for name in (DB1, DB3)),
    *(rejoin(name) for name in (DB1, DB2, DB3)),
    *(failover(name, *ALL) for name in (DB1, DB2, DB3)),
    *(Intent(command, (name,)) for command in ("remove-replica", KEEPS_DIRECTORY) for name in (DB1, DB3)),
    *(Intent("init-primary", (name,)) for name in (DB1, DB2)),
    *(Intent("restart", (name,)) for name in (DB1, DB2, DB3)),
    Intent(ROLLING, (DB1,)),
]


@pytest.mark.parametrize("intent", EVERY_COMMAND, ids=lambda intent: f"{intent.command} {intent.node}")
def test_a_superseded_primary_is_fenced_by_the_first_command_that_meets_it(intent: Intent) -> None:
    world = happens(THREE, "superseded", DB1, DB2)
    assert set(world.writable) == {DB1, DB2}
    first, *_ = plan_of(world, intent).steps
    assert (first.node, first.action) == (DB1, actions.FencePrimary())
    rules, ended = Rules(world, intent), run_wholly(world, intent)
    rules.check(ended, "at the end")
    assert not ended[DB1].writable
    assert not ended[DB1].revivable
    assert ended.env is not None
    assert DB1 not in {*ended.env} | {*ended.env[1]} or intent.node == DB1


def test_the_statement_is_asked_for_while_the_old_primary_is_out_of_sight() -> None:
    for kind in ("gone", "isolated"):
        world = happens(THREE, kind, DB1)
        assert codes(world, failover(DB2)) == {"old-primary-unreachable"}
        assert codes(world, failover(DB2, Consent.DATA_LOSS)) == {"old-primary-unreachable"}
        assert codes(world, failover(DB2, Consent.FENCED)) == set()


def test_what_the_replicas_hear_counts_for_more_than_what_is_said() -> None:
    world = happens(THREE, "unreachable", DB1)
    assert codes(world, failover(DB2, *ALL)) == {"old-primary-answers"}


def test_a_live_primary_is_not_replaced() -> None:
    assert codes(THREE, failover(DB2, *ALL)) == {"primary-alive"}


def test_the_loss_is_announced_and_only_what_was_announced_is_lost() -> None:
    world = happens(THREE, "crashed ahead", DB1, DB3)
    assert codes(world, failover(DB2)) == {"data-loss"}
    notes = lines_of(world, failover(DB3))
    assert "with 1 commit" in notes
    after = run_wholly(world, failover(DB3))
    assert as_it_should_be(after, failover(DB3))
    lost = [commit for commit in world.commits if not after[DB3].has(commit)]
    assert len(lost) == 1
    assert after[DB1].has(lost[0])


def test_what_only_the_old_primary_has_is_given_up_by_consent_and_kept() -> None:
    world = happens(THREE, "left behind", DB1, DB2)
    assert codes(world, rejoin(DB1)) == {"diverged"}
    assert codes(world, Intent("add-replica", (DB1,))) == codes(world, Intent("restart", (DB1,))) == {"diverged"}
    after = run_wholly(world, rejoin(DB1, Consent.DISCARD))
    assert as_it_should_be(after, rejoin(DB1))
    assert all(after[DB1].has(commit) for commit in world.commits if world[DB1].has(commit))


def killed_in(world: World, intent: Intent, kind: type) -> Iterator[World]:
    """What a run leaves that is killed in the middle of a step of this kind."""
    for step in plan_of(world, intent).steps:
        world = clients_write(world)
        if isinstance(step.action, kind):
            yield from simulate_half(world, step.node, step.action)
        world = simulate(world, step.node, step.action)


def test_what_a_broken_rewind_left_never_gets_into_place() -> None:
    start, intent = happens(THREE, "left behind", DB1, DB2), rejoin(DB1, Consent.DISCARD)
    (broken,) = killed_in(start, intent, repair_actions.Rewind)
    broken = seen_again(broken, intent, start)
    assert codes(broken, intent) == {"broken-rewind"}
    for other in EVERY_COMMAND:
        after = run_wholly(broken, other)
        Rules(broken, other).check(after, f"after {other}")
        assert after[DB1].rewinding == broken[DB1].rewinding or len(after[DB1].asides) > len(broken[DB1].asides)
    cloned = run_wholly(broken, retried(broken, intent))
    assert as_it_should_be(cloned, intent)
    assert cloned[DB1].asides[: len(broken[DB1].asides)] == broken[DB1].asides


def test_a_clean_old_primary_that_has_nothing_of_its_own_comes_back_without_consent() -> None:
    world = happens(THREE, "stopped by hand", DB1)
    world = run_wholly(world, failover(DB2))
    assert as_it_should_be(world, failover(DB2))
    assert as_it_should_be(run_wholly(world, rejoin(DB1)), rejoin(DB1))


def test_a_switchover_goes_on_though_an_older_primary_is_stopped_too() -> None:
    world = run_wholly(happens(THREE, "superseded", DB1, DB2), Intent("promote", (DB2,)))
    intent = Intent("promote", (DB3,))
    for step in plan_of(world, intent).steps:
        world = simulate(clients_write(world), step.node, step.action)
        if step.id == "stop:db2":
            break
    assert world[DB1].data.state == world[DB2].data.state == "shut down"
    assert as_it_should_be(run_wholly(world, intent), intent)


def test_a_debt_stays_while_the_one_that_took_over_is_out_of_sight() -> None:
    world = happens(happens(THREE, "superseded", DB1, DB2), "isolated", DB2)
    for intent in EVERY_COMMAND:
        after = run_wholly(world, intent)
        assert DB1 in after.debts or not after[DB1].running, intent


def test_there_and_back_again_by_failover_and_rejoin() -> None:
    world = THREE
    for number in range(20):
        old, new = (DB1, DB2) if number % 2 == 0 else (DB2, DB1)
        world = happens(world, "crashed ahead", old, new)
        intent = failover(new, *ALL)
        rules, world = Rules(world, intent), run_wholly(world, intent)
        rules.check(world, f"in round {number}")
        assert as_it_should_be(world, intent), number
        world = run_wholly(replace(world, run=f"run-{number}"), rejoin(old, Consent.DISCARD))
        world = run_wholly(world, rejoin(DB3, Consent.DISCARD))
        assert as_it_should_be(world, rejoin(old)), number
