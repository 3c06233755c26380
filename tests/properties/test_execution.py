"""The real execution over the simulated cluster: steps fail, nodes vanish, interrupts arrive, the lock is lost."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from enum import Enum

from hypothesis import given
from hypothesis import strategies as st

from replctl.execution.context import Changed, Context, Effect, Unchanged
from replctl.execution.executor import Execution
from replctl.model.actions import Action, FencePrimary, PublishEnv
from replctl.model.app_actions import PushEnv
from replctl.model.errors import ExitCode, ReplctlError, UnreachableError, WaitTimeoutError
from replctl.model.outcome import Outcome
from replctl.model.plan import Plan
from replctl.model.values import NodeName
from tests.properties.cases import Case, cases
from tests.properties.goals import as_it_should_be
from tests.properties.intents import ENDLESS, Intent, as_told, changes, retried, run_wholly
from tests.properties.observed import observed
from tests.properties.rules import Rules, check_fenced, check_published, check_pushed, what_matters
from tests.properties.schedules import Tally, seen_again
from tests.properties.simulate import promotion_happens, simulate, simulate_half
from tests.properties.world import World, clients_write, unread
from tests.unit.runs import Interrupts, Lock, Ticking, Told, a_session


class Mishap(Enum):
    """What happens when a step is carried out."""

    FAILS_BEFORE = "fails before it changes anything"
    FAILS_HALFWAY = "fails halfway, or after it was done"
    NODE_VANISHES = "its node cannot be reached any more"
    INTERRUPTED = "the operator interrupts meanwhile"
    LOCK_LOST = "the lock is lost meanwhile"
    KILLED = "replctl is killed"


class KilledError(BaseException):
    """SIGKILL: nothing catches it."""


@dataclass
class Play:
    """One run in the simulation. Threads take turns."""

    world: World
    rules: Rules
    mishaps: dict[int, Mishap]
    """By how many actions were carried out before, undo included."""
    begun: int = 0
    killed: bool = False
    interrupts: Interrupts = field(default_factory=Interrupts)
    lock: Lock = field(default_factory=Lock)
    turn: threading.Lock = field(default_factory=threading.Lock)

    def run(self, plan: Plan) -> Outcome:
        told = Told()
        session = a_session(self.world.inventory, told, self.interrupts, Ticking())
        facts = observed(self.world)
        return Execution(session, plan, facts, self.lock, told, carry_out=self.carry_out).run()

    def carry_out(self, context: Context, action: Action) -> Effect:
        with self.turn:
            return self._turn(context.step.node, action, context.step.id)

    def _turn(self, node: NodeName | None, action: Action, step: str) -> Effect:
        mishap = self.mishaps.get(self.begun)
        self.begun += 1
        before = clients_write(self.world)
        self.world = self._before(before, node, action, mishap)
        try:
            after = simulate(self.world, node, action)
        finally:
            self.rules.check(self.world, f"in {step}")
        changed = after != before
        self.world = after
        self.rules.check(after, f"after {step}")
        if isinstance(action, PublishEnv):
            check_published(after, f"after {step}")
        if isinstance(action, PushEnv):
            check_pushed(self.rules.start, after, f"after {step}")
        self._after(mishap)
        return Changed() if changed else Unchanged("it holds")

    def _before(self, world: World, node: NodeName | None, action: Action, mishap: Mishap | None) -> World:
        """The world when the action begins, unless it ends here."""
        if self.killed or mishap is Mishap.KILLED:
            self.killed = True
            self.world = world
            raise KilledError
        if mishap is Mishap.FAILS_BEFORE:
            self.world = world
            raise ReplctlError(f"{node}: it does not work", hint="Mend it.")
        if mishap is Mishap.FAILS_HALFWAY:
            halves = simulate_half(world, node, action)
            self.world = halves[0] if halves else simulate(world, node, action)
            raise WaitTimeoutError(f"{node}: no answer in time", hint="Mend it.")
        if mishap is Mishap.NODE_VANISHES and node is not None:
            self.world = world.with_machine(node, reachable=False)
            raise UnreachableError(f"{node}: no answer", hint="Bring it back.", node=node)
        return world

    def _after(self, mishap: Mishap | None) -> None:
        if mishap is Mishap.INTERRUPTED:
            self.interrupts.arrived = True
        if mishap is Mishap.LOCK_LOST:
            self.lock.lost = True


def mishaps() -> st.SearchStrategy[dict[int, Mishap]]:
    return st.dictionaries(st.integers(0, 20), st.sampled_from(Mishap), min_size=1, max_size=3)


@given(case=cases(), mishaps=mishaps())
def test_every_exit_code_is_true(tally: Tally, case: Case, mishaps: dict[int, Mishap]) -> None:
    start, intent, plan = case.past.world, case.intent, case.plan
    play = Play(start, Rules(start, intent), mishaps)
    try:
        outcome = play.run(plan)
    except KilledError:
        tally.count("executions", "killed")
    else:
        tally.count("executions", f"exit {int(outcome.exit_code)}")
        _check_outcome(play, plan, outcome, intent)
    if not plan.refused:
        _converges(play, intent)


def _check_outcome(play: Play, plan: Plan, outcome: Outcome, intent: Intent) -> None:
    match outcome.exit_code:
        case ExitCode.DONE:
            _has_arrived(play.world, intent)
            check_fenced(play.rules.start, play.world)
        case ExitCode.INCOMPLETE:
            assert outcome.next, "an incomplete run names the next step"
        case _:
            fenced = [step.node for step in plan.steps if isinstance(step.action, FencePrimary)]
            assert what_matters(play.world, fenced) == what_matters(play.rules.start, fenced), outcome


def _has_arrived(world: World, intent: Intent) -> None:
    """What only starts an old primary again leaves the rest to the next run."""
    world = run_wholly(world, intent)
    assert as_it_should_be(world, intent)


def _converges(play: Play, intent: Intent) -> None:
    """Once everybody can be reached again, the same command brings the goal."""
    world = promotion_happens(play.world)
    world, intent = seen_again(world, intent, play.rules.start), retried(world, intent)
    if unread(world):  # a reload by hand mends it
        return
    world = as_told(world, intent, [name for name, machine in play.rules.start.machines.items() if machine.running])
    for _ in range(3):
        world = run_wholly(world, intent)
    assert as_it_should_be(world, intent)
    planned = intent.plan(world)
    assert isinstance(planned, Plan)
    assert intent.command in ENDLESS or not any(changes(world, step) for step in planned.steps)
