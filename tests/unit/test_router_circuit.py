"""When a host is left out, and when it is taken back."""

from __future__ import annotations

from replctl.router.circuit import MAX_BACKOFF_SECONDS, Circuit, Condition

UP = Circuit().answered()


def test_nobody_goes_to_a_host_that_was_never_asked() -> None:
    assert Circuit().condition is Condition.UNKNOWN
    assert UP.condition is Condition.UP
    assert Circuit().missed("refused").condition is Condition.DOWN


def test_one_failed_probe_is_no_reason_two_are() -> None:
    once = UP.missed("no answer within 1 s")
    assert (once.condition, once.failures) == (Condition.UP, 1)
    twice = once.missed("no answer within 1 s")
    assert (twice.condition, twice.failures, twice.problem) == (Condition.DOWN, 2, "no answer within 1 s")
    assert once.answered() == UP


def test_the_applications_own_broken_connection_is() -> None:
    assert UP.broke("server closed the connection").condition is Condition.DOWN


def test_it_takes_two_good_probes_in_a_row_to_come_back() -> None:
    down = UP.broke("gone")
    first = down.answered()
    assert (first.condition, first.failures) == (Condition.DOWN, 0)
    assert first.answered() == UP
    assert first.missed("gone again").answered().condition is Condition.DOWN


def test_a_host_that_stays_away_is_asked_less_and_less_often() -> None:
    assert UP.probe_delay(0.25) == 0.25
    circuit, delays = UP, []
    for _ in range(40):
        circuit = circuit.missed("gone")
        delays.append(circuit.probe_delay(0.25))
    assert delays == sorted(delays)
    assert (delays[1], delays[-1]) == (0.25, MAX_BACKOFF_SECONDS)
    assert circuit.answered().probe_delay(0.25) == 0.25, "its second good probe is not waited for"
    assert circuit.probe_delay(30.0) == 30.0
