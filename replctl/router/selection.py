"""Which replica a unit of work reads from: one choice a unit, from a snapshot, without I/O and without waiting."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence, Sized
from itertools import count
from typing import Protocol, TypeVar

from replctl.router.config import Strategy


class Candidate(Protocol):
    """What a choice goes by."""

    @property
    def lag_ms(self) -> float | None: ...

    @property
    def connections(self) -> Sized:
        """Those that are checked out at this moment."""
        ...


C = TypeVar("C")
ByFigures = TypeVar("ByFigures", bound=Candidate)


def turns(everyone: Sequence[C], usable: Callable[[C], bool]) -> tuple[C, ...]:
    """A round of turns: each candidate has its own ones, however the others fare; those of the unusable ones go to the
    usable ones in equal parts. Empty without a usable one.

    A rotation over what is left of a list would move everybody's turn whenever one comes or goes.
    """
    able = [one for one in everyone if usable(one)]
    return tuple(everyone) if len(able) == len(everyone) else tuple(_shared(everyone, able, usable))


def _shared(everyone: Sequence[C], able: Sequence[C], usable: Callable[[C], bool]) -> Iterator[C]:
    taken_over = 0
    for _ in able:
        for one in everyone:
            if usable(one):
                yield one
            else:
                yield able[taken_over % len(able)]
                taken_over += 1


class Chooser:
    """Chooses by a strategy. Thread-safe: a count is taken in one step of the interpreter."""

    def __init__(self, strategy: Strategy) -> None:
        self.strategy = strategy
        self._count = count()

    def choose(self, round_of_turns: Sequence[ByFigures]) -> ByFigures | None:
        """The next one; None of none. Equals take turns."""
        if not round_of_turns:
            return None
        turn = next(self._count) % len(round_of_turns)
        match self.strategy:
            case Strategy.ROUND_ROBIN:
                return round_of_turns[turn]
            case Strategy.RANDOM:
                return random.choice(round_of_turns)  # noqa: S311  (nobody is to be kept from guessing it)
            case Strategy.LEAST_CONNECTIONS:
                return _least(round_of_turns, turn, _in_use)
            case Strategy.LEAST_LAG:
                return _least(round_of_turns, turn, _lag)


def _least(candidates: Sequence[ByFigures], turn: int, figure: Callable[[ByFigures], float]) -> ByFigures:
    """The first of the least ones, from the turn on and around: min() of a rotated copy takes three times as long."""
    best = candidates[turn]
    least = figure(best)
    for place in range(turn + 1 - len(candidates), turn):
        candidate = candidates[place]
        value = figure(candidate)
        if value < least:
            best, least = candidate, value
    return best


def _in_use(candidate: Candidate) -> int:
    return len(candidate.connections)


def _lag(candidate: Candidate) -> float:
    lag = candidate.lag_ms
    return lag if lag is not None else float("inf")
