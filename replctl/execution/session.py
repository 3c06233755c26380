"""What one run of a command works with: built once in cli/app.py, passed down, never changed."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from replctl.model.inventory import Inventory
from replctl.model.outcome import StepResult
from replctl.model.plan import Step
from replctl.model.secret import Passwords
from replctl.model.values import NodeName
from replctl.postgres.render import Templates
from replctl.remote.ports import Cancellation, Clock, Fleet


class Reporter(Protocol):
    """Told how a run goes, from several threads at once; shows it or keeps quiet."""

    def step_started(self, step: Step) -> None: ...

    def step_says(self, step: Step, text: str) -> None:
        """What the step waits for now, in a few words."""
        ...

    def step_copied(self, step: Step, done_bytes: int, total_bytes: int | None) -> None:
        """How far a copy has come; ``total_bytes`` is None while it is not known."""
        ...

    def step_ended(self, result: StepResult) -> None:
        """The step ended as ``result`` says; told once more, with ``undone`` or ``undo-failed``, of an undo."""
        ...

    def warn(self, text: str) -> None:
        """Something that the operator should know and that changes nothing in the run."""
        ...


class Phase(StrEnum):
    """What a command does beside its steps."""

    SECRETS = "secrets"
    """Passwords are read; a program that asks for one may use the terminal meanwhile."""
    OBSERVE = "observe"
    INQUIRE = "inquire"
    PLAN = "plan"
    LOCK = "lock"


class Awaited(Protocol):
    """Told what a phase waits for, from several threads at once."""

    def answered(self, name: NodeName) -> None:
        """This node is not waited for any more."""
        ...

    def says(self, text: str) -> None:
        """What the phase waits for now, in a few words."""
        ...


class Phases(Protocol):
    """Told of each phase while it goes on; shows it or keeps quiet."""

    def phase(self, phase: Phase, nodes: Iterable[NodeName] = ()) -> AbstractContextManager[Awaited]:
        """``nodes`` are those that are waited for."""
        ...


class Unwatched:
    """Phases that nobody is told of."""

    def phase(self, phase: Phase, nodes: Iterable[NodeName] = ()) -> AbstractContextManager[Awaited]:
        del phase, nodes
        return nullcontext(self)

    def answered(self, name: NodeName) -> None:
        pass

    def says(self, text: str) -> None:
        pass


class Interruption(Cancellation, Protocol):
    """The operator's interrupts, and how much they may disturb at the moment."""

    def changing(self) -> AbstractContextManager[None]:
        """Inside, an interrupt is only seen by raise_if_cancelled()."""
        ...

    def undoing(self) -> AbstractContextManager[None]:
        """Inside, interrupts are counted and not obeyed. For the main thread."""
        ...


@dataclass(frozen=True, slots=True)
class Session:
    """One immutable object for the whole run."""

    inventory: Inventory
    passwords: Passwords
    templates: Templates
    fleet: Fleet
    clock: Clock
    cancellation: Interruption
    reporter: Reporter
    run: str
    """This run's id: marks the staging directory that this run, and no other, may delete."""
    command: str
    """The command line as the operator typed it, for the lock's holder details and the journal."""
    phases: Phases = field(default_factory=Unwatched)
