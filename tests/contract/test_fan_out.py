"""Several nodes at once: every outcome, within the deadline, and no thread that keeps the process."""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
import time

import pytest

from replctl.model.errors import InterruptedByOperator, UnreachableError
from replctl.model.values import NodeName
from replctl.remote.background import within
from replctl.remote.fan_out import MAX_AT_ONCE, fan_out
from replctl.remote.waiting import NeverCancelled
from tests.contract.routes import Interrupt

NAMES = [NodeName(f"db{number}") for number in range(40)]


def test_every_outcome_in_order() -> None:
    def work(name: NodeName) -> str:
        if name == "db1":
            raise UnreachableError("no", hint="Yes.", node=name)
        return name.upper()

    found = fan_out(NAMES[:3], work, deadline=5)
    assert list(found) == NAMES[:3]
    assert (found[NAMES[0]], found[NAMES[2]]) == ("DB0", "DB2")
    assert isinstance(found[NAMES[1]], UnreachableError)


def test_a_hung_node_costs_its_own_row() -> None:
    release = threading.Event()
    started = time.monotonic()
    found = fan_out(NAMES[:3], lambda name: name != "db1" or release.wait(10), deadline=0.3)
    assert time.monotonic() - started < 1
    release.set()
    error = found[NAMES[1]]
    assert isinstance(error, UnreachableError)
    assert (error.code, error.node) == ("timeout", "db1")
    assert found[NAMES[0]] is found[NAMES[2]] is True


def test_not_too_many_at_once() -> None:
    lock = threading.Lock()
    running, most = 0, 0

    def work(name: NodeName) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.02)
        with lock:
            running -= 1

    assert set(fan_out(NAMES, work, deadline=5).values()) == {None}
    assert 1 < most <= MAX_AT_ONCE


def test_a_bug_is_raised_in_the_caller() -> None:
    with pytest.raises(ZeroDivisionError):
        fan_out(NAMES[:2], lambda name: len(name) // 0, deadline=5)


def test_an_interrupt_is_raised_in_the_caller() -> None:
    def work(name: NodeName) -> None:
        raise InterruptedByOperator("interrupted", hint="Run it again.")

    with pytest.raises(InterruptedByOperator):
        fan_out(NAMES[:2], work, deadline=5)


def test_a_hung_worker_does_not_keep_the_process() -> None:
    script = (
        "import threading\n"
        "from replctl.remote.fan_out import fan_out\n"
        "print(fan_out(['db1'], lambda name: threading.Event().wait(60), deadline=0.2))\n"
    )
    started = time.monotonic()
    done = subprocess.run((sys.executable, "-c", script), capture_output=True, text=True, check=True, timeout=30)
    assert time.monotonic() - started < 10
    assert "db1 did not answer within 0.2 s" in done.stdout


class TestWithin:
    def test_result_and_error(self) -> None:
        assert within(5, lambda: 3, cancellation=NeverCancelled(), discard=pytest.fail) == 3
        with pytest.raises(KeyError):
            within(5, lambda: {}["x"], cancellation=NeverCancelled(), discard=pytest.fail)

    def test_what_comes_late_is_discarded(self) -> None:
        release, late = threading.Event(), queue.SimpleQueue()
        with pytest.raises(TimeoutError):
            within(0.1, lambda: release.wait(5), cancellation=NeverCancelled(), discard=late.put)
        release.set()
        assert late.get(timeout=5) is True

    def test_interrupted(self) -> None:
        interrupt = Interrupt()
        release = threading.Event()
        interrupt.now = True
        with pytest.raises(InterruptedByOperator):
            within(5, lambda: release.wait(5), cancellation=interrupt, discard=bool)
        release.set()
