"""Plans, carried out step by step in the simulation: every state that a run goes through."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random

from replctl.model import actions
from replctl.model.plan import Plan, Step
from tests.properties.intents import Intent
from tests.properties.simulate import EFFECTS, simulate, simulate_half
from tests.properties.world import World, clients_write, settled


class Tally:
    """What a run of the tests came across, by kind and name."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def count(self, kind: str, name: str) -> None:
        self.counts[f"{kind}:{name}"] += 1

    def interrupted(self, step: Step | None) -> None:
        """A run that ends right after this step, or in the middle of it, is judged."""
        if step is not None:
            self.count("interrupted", type(step.action).__name__)

    def __repr__(self) -> str:
        return "Tally()"


RUNS = ("killed runs", "undone runs", "executions")
"""Runs that were interrupted somewhere, and judged to their end."""
SCHEDULES = 10_000
EACH = 100
ONLY_UNDO = {
    actions.RemoveStaging,
    actions.RemoveConfig,
    actions.ForgetStandby,
    actions.StartWithConfig,
    actions.RestorePassword,
}


def missing(tally: Tally) -> list[str]:
    """What a whole run of the tests has to come across, and did not."""
    counts = tally.counts
    schedules = sum(counts[key] for key in counts if key.split(":")[0] in RUNS)
    kinds = {kind.__name__ for kind in EFFECTS.keys() - ONLY_UNDO}
    kept = {key.split(":")[1] for key in counts if key.startswith("undone:")}
    few = [(name, how) for how, names in (("interrupted", kinds), ("undone", kept)) for name in sorted(names)]
    return [
        *([f"{schedules} schedules are fewer than {SCHEDULES}"] if schedules < SCHEDULES else []),
        *(f"{name} was {how} {n} times" for name, how in few if (n := counts[f"{how}:{name}"]) < EACH),
    ]


@dataclass(frozen=True)
class Moment:
    """Between two steps of a run."""

    world: World
    done: tuple[Step, ...]
    """The steps that changed something, oldest first."""
    past_return: bool
    after: Step | None = None
    """The step that ended just now."""
    halves: tuple[World, ...] = ()
    """What a kill in the middle of that step would have left instead."""

    @property
    def left(self) -> tuple[World, ...]:
        """What a kill now, or just before, leaves."""
        return (self.world, *self.halves)

    @property
    def when(self) -> str:
        return f"after {self.after.id}" if self.after else "at the start"


def moments(world: World, plan: Plan, random: Random, tally: Tally) -> Iterator[Moment]:
    """Every moment of a run that nothing disturbs, with clients who write all the time."""
    moment = Moment(world, (), past_return=False)
    yield moment
    for step in in_some_order(plan, random):
        tally.count("actions", type(step.action).__name__)
        before = clients_write(moment.world)
        after = simulate(before, step.node, step.action)
        done = moment.done if after == before else (*moment.done, step)
        past_return = moment.past_return or step.point_of_no_return
        moment = Moment(after, done, past_return, step, simulate_half(before, step.node, step.action))
        yield moment


def in_some_order(plan: Plan, random: Random) -> Iterator[Step]:
    """The stages in their order; lanes beside each other in one of the ways that threads could take."""
    for stage in plan.stages:
        lanes = [list(lane) for lane in stage.lanes]
        while lanes:
            lane = random.choice(lanes)
            yield lane.pop(0)
            lanes = [lane for lane in lanes if lane]


def undone(moment: Moment, tally: Tally) -> Iterator[World]:
    """Every state of taking back what a run changed, newest first; the last one is the end."""
    world = moment.world
    yield world
    for step in reversed(moment.done):
        if step.undo is not None:
            tally.count("undone", type(step.action).__name__)
            world = simulate(world, step.node, step.undo)
            yield world


def seen_again(world: World, intent: Intent, start: World) -> World:
    """The next run's world: every node can be reached, but those without which a failover began."""
    gone = {name for name, machine in start.machines.items() if not machine.reachable and intent.command == "failover"}
    machines = {
        name: machine if name in gone else replace(machine, reachable=True, isolated=False)
        for name, machine in world.machines.items()
    }
    return settled(replace(world, machines=machines, run="the next run", replaced={}))
