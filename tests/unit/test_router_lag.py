"""How old a replica's content is told to be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replctl.router.lag import MAX_SAMPLES, PositionRing, Sample, Staleness


def ring(*samples: tuple[float, int]) -> PositionRing:
    made = PositionRing()
    for at, lsn in samples:
        made.add(Sample(at, lsn))
    return made


@pytest.mark.parametrize(
    ("replayed", "at", "expected"),
    [
        (300, 12.5, Staleness(0.0)),
        (999, 12.5, Staleness(0.0)),
        (299, 12.5, Staleness(1.5)),
        (200, 12.5, Staleness(1.5)),
        (100, 12.5, Staleness(2.5)),
        (99, 12.5, Staleness(2.5, is_lower_bound=True)),
    ],
)
def test_the_age_counts_from_the_newest_sample_that_is_covered(replayed: int, at: float, expected: Staleness) -> None:
    assert ring((10.0, 100), (11.0, 200), (12.0, 300)).staleness(replayed, at) == expected


def test_a_sample_of_later_than_the_replica_was_asked_is_no_reproach() -> None:
    assert ring((10.0, 100), (12.0, 300)).staleness(100, 11.0) == Staleness(0.0)


@pytest.mark.parametrize("samples", [(), ((12.0, 300),)])
def test_without_a_sample_that_tells_it_is_unknown_and_not_0(samples: tuple[tuple[float, int], ...]) -> None:
    assert ring(*samples).staleness(100, 11.0) is None


def test_an_idle_primary_means_0_for_ever_and_fills_no_ring() -> None:
    idle = ring(*((float(second), 100) for second in range(5000)))
    assert len(idle.samples) == 2
    assert idle.staleness(100, 5000.0) == Staleness(0.0)


def test_a_primary_that_is_asked_again_after_the_replica_does_not_make_it_current() -> None:
    """The position that the replica lacks was there before it was asked, and is not younger for being seen again."""
    assert ring((1.0, 100), (2.0, 200), (9.0, 200)).staleness(100, 8.0) == Staleness(7.0)


def test_it_grows_while_nothing_is_replayed() -> None:
    busy = ring(*((float(second), 100 * second) for second in range(1, 60)))
    ages = [busy.staleness(1000, at) for at in (20.0, 30.0, 59.0)]
    assert ages == [Staleness(10.0), Staleness(20.0), Staleness(49.0)]


def test_while_the_primary_is_silent_it_counts_from_the_last_proof() -> None:
    known = ring((10.0, 100), (11.0, 200))
    assert known.staleness(200, 15.0) == Staleness(0.0)
    assert known.staleness(200, 15.0, silent=True) == Staleness(4.0)


def test_positions_that_go_back_are_another_servers() -> None:
    anew = ring((10.0, 500), (11.0, 100))
    assert [sample.lsn for sample in anew.samples] == [100]


def test_what_is_remembered_is_bounded() -> None:
    full = ring(*((float(second), second) for second in range(3 * MAX_SAMPLES)))
    assert len(full.samples) == MAX_SAMPLES
    age = full.staleness(1, 3.0 * MAX_SAMPLES)
    assert age is not None
    assert age.is_lower_bound


@given(
    steps=st.lists(st.tuples(st.floats(0.01, 5.0), st.integers(0, 1000)), min_size=1, max_size=40),
    replayed_until=st.integers(0, 40),
    later=st.floats(0.0, 10.0),
)
def test_it_is_never_told_younger_than_it_is_at_the_samples(
    steps: list[tuple[float, int]], replayed_until: int, later: float
) -> None:
    """The truth: the moment of the first commit that the replica lacks. What was committed before the told moment is
    there, whatever the clocks of the servers say: none enters."""
    now, lsn, made, history = 0.0, 1000, PositionRing(), []
    for seconds, written in steps:
        now, lsn = now + seconds, lsn + written
        made.add(Sample(now, lsn))
        history.append((now, lsn))
    replayed = history[min(replayed_until, len(history) - 1)][1]
    at = now + later
    told = made.staleness(replayed, at)
    assert told is not None
    current_at = at - told.seconds
    assert all(position <= replayed for moment, position in history if moment <= current_at - 1e-6)
    assert replayed < lsn or told.seconds == 0.0
