"""Plans, carried out step by step in the simulation: every state that a run goes through."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from replctl.model.plan import Plan, Step
from tests.properties.simulate import simulate, simulate_half
from tests.properties.world import World, clients_write


class Tally:
    """What a run of the tests came across, by kind and name."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def count(self, kind: str, name: str) -> None:
        self.counts[f"{kind}:{name}"] += 1

    def __repr__(self) -> str:
        return "Tally()"


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
            tally.count("undo", type(step.undo).__name__)
            world = simulate(world, step.node, step.undo)
            yield world
