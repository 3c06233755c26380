"""Which replica is chosen."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replctl.router.config import Strategy
from replctl.router.selection import Chooser, turns


@dataclass(frozen=True)
class Replica:
    name: str
    in_use: int = 0
    lag_ms: float | None = 0.0

    @property
    def connections(self) -> range:
        return range(self.in_use)


A, B, C = (Replica(name) for name in "abc")


def chosen(strategy: Strategy, *replicas: Replica, times: int = 60) -> Counter[str]:
    chooser = Chooser(strategy)
    found = [chooser.choose(replicas) for _ in range(times)]
    return Counter(replica.name for replica in found if replica is not None)


def test_turns_are_even() -> None:
    assert chosen(Strategy.ROUND_ROBIN, A, B, C) == {"a": 20, "b": 20, "c": 20}


def test_who_stays_keeps_its_turns_and_those_of_the_missing_are_shared_out() -> None:
    able = turns([A, B, C], lambda replica: replica is not B)
    assert [replica.name for replica in able] == ["a", "a", "c", "a", "c", "c"]
    assert chosen(Strategy.ROUND_ROBIN, *able) == {"a": 30, "c": 30}


@given(st.lists(st.booleans(), min_size=1, max_size=8))
def test_rounds_are_fair_whoever_is_missing(usable: list[bool]) -> None:
    everyone = [Replica(str(number)) for number in range(len(usable))]
    able = turns(everyone, lambda replica: usable[int(replica.name)])
    counts = Counter(replica.name for replica in able)
    assert set(counts) == {str(number) for number, there in enumerate(usable) if there}
    assert len(set(counts.values())) <= 1
    for place, replica in enumerate(able):
        own = everyone[place % len(everyone)]
        assert replica is own or not usable[int(own.name)]


@pytest.mark.parametrize("strategy", Strategy)
def test_of_none_none_is_chosen(strategy: Strategy) -> None:
    assert Chooser(strategy).choose([]) is None


def test_the_fewest_connections() -> None:
    busy = Replica("busy", in_use=2)
    assert set(chosen(Strategy.LEAST_CONNECTIONS, busy, A, B)) == {"a", "b"}, "equals take turns"
    assert chosen(Strategy.LEAST_CONNECTIONS, busy, A) == {"a": 60}


def test_the_smallest_lag_and_an_unknown_one_last() -> None:
    unknown, late = Replica("unknown", lag_ms=None), Replica("late", lag_ms=300.0)
    assert chosen(Strategy.LEAST_LAG, unknown, late, A) == {"a": 60}
    assert chosen(Strategy.LEAST_LAG, unknown, late) == {"late": 60}


def test_at_random_everybody_is_chosen_some_day() -> None:
    assert set(chosen(Strategy.RANDOM, A, B, C, times=400)) == {"a", "b", "c"}


def test_threads_share_the_turns() -> None:
    chooser, found = Chooser(Strategy.ROUND_ROBIN), Counter[str]()
    lock = threading.Lock()

    def work() -> None:
        own = Counter(replica.name for _ in range(3000) if (replica := chooser.choose((A, B, C))) is not None)
        with lock:
            found.update(own)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {"a": 8000, "b": 8000, "c": 8000}
