"""What a run of a plan needs beside the plan: everything that is told of it is kept, nothing remote is touched."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

from replctl.execution.context import Changed, Context, Effect
from replctl.execution.executor import Execution
from replctl.execution.session import Session
from replctl.model.actions import Action
from replctl.model.errors import InterruptedByOperator, LockLostError, ReplctlError
from replctl.model.inventory import Inventory
from replctl.model.outcome import Outcome, StepResult
from replctl.model.plan import Plan, Step
from replctl.model.secret import Passwords, Secret
from tests.unit.builders import TEMPLATES, a_cluster

Deed = Callable[[Context], Effect]


class Ticking:
    """Every look at the clock is a tenth of a second later."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> float:
        self.seconds += 0.1
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


class Told:
    """The reporter and the journal of a run."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.ended: list[StepResult] = []
        self.logged: list[StepResult] = []
        self.warnings: list[str] = []

    def step_started(self, step: Step) -> None:
        self.started.append(step.id)

    def step_says(self, step: Step, text: str) -> None: ...

    def step_copied(self, step: Step, done_bytes: int, total_bytes: int | None) -> None: ...

    def step_ended(self, result: StepResult) -> None:
        self.ended.append(result)

    def step(self, result: StepResult) -> None:
        self.logged.append(result)

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    @property
    def outcomes(self) -> list[str]:
        return [f"{result.id} {result.outcome}" for result in self.logged]


class Interrupts:
    """The operator's interrupts without signals: ``arrived`` is set by a step."""

    def __init__(self) -> None:
        self.arrived = False
        self.phases: list[str] = []

    def raise_if_cancelled(self) -> None:
        if self.arrived and self.phases[-1:] != ["undoing"]:
            raise InterruptedByOperator("interrupted by SIGINT", hint="Run the same command again.")

    @contextmanager
    def changing(self) -> Generator[None]:
        with self._in("changing"):
            yield

    @contextmanager
    def undoing(self) -> Generator[None]:
        with self._in("undoing"):
            yield

    @contextmanager
    def _in(self, phase: str) -> Generator[None]:
        self.phases.append(phase)
        try:
            yield
        finally:
            self.phases.pop()


class Lock:
    """Held, until a step loses it, or breaks it: that shows at the next heartbeat."""

    def __init__(self) -> None:
        self.lost = False
        self.broken = False

    def beat(self) -> None:
        self.lost = self.lost or self.broken

    def raise_if_lost(self) -> None:
        if self.lost:
            raise LockLostError("db1: the lock is gone", hint="Run the same command again.")


@dataclass
class Stage:
    """Where a plan is played: what each action does is said beforehand, and all else works."""

    deeds: dict[Action, Deed | Effect | ReplctlError] = field(default_factory=dict)
    told: Told = field(default_factory=Told)
    interrupts: Interrupts = field(default_factory=Interrupts)
    lock: Lock = field(default_factory=Lock)
    clock: Ticking = field(default_factory=Ticking)
    done: list[tuple[str | None, Action]] = field(default_factory=list)
    shielded: list[Action] = field(default_factory=list)
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def carry_out(self, context: Context, action: Action) -> Effect:
        with self._turn:
            self.done.append((context.step.node, action))
            if context.shielded:
                self.shielded.append(action)
        deed = self.deeds.get(action, Changed())
        if isinstance(deed, ReplctlError):
            raise deed
        return deed if not callable(deed) else deed(context)

    def play(self, plan: Plan) -> Outcome:
        inventory, facts = a_cluster().primary("db1").replica("db2").replica("db3").build()
        session = a_session(inventory, self.told, self.interrupts, self.clock)
        return Execution(session, plan, facts, self.lock, self.told, carry_out=self.carry_out).run()

    @property
    def actions(self) -> list[Action]:
        return [action for _, action in self.done]


def a_session(inventory: Inventory, told: Told, interrupts: Interrupts, clock: Ticking) -> Session:
    passwords = Passwords(Secret("a"), Secret("r"), Secret("c"))
    fleet = None  # whoever asks for a node gets an AttributeError
    return Session(inventory, passwords, TEMPLATES, fleet, clock, interrupts, told, run="run-1", command="replctl test")
