"""Interrupts: at once before a change, between actions during one, not at all in an undo."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from replctl.cli.signals import Interrupts, write_to_stderr
from replctl.model.errors import InterruptedByOperator


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)
    time.sleep(0)  # the handler runs at the next bytecode


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_before_a_change_a_signal_ends_what_blocks(number: signal.Signals) -> None:
    reader, writer = os.pipe()
    later = threading.Timer(0.05, os.kill, (os.getpid(), number))
    later.start()
    with Interrupts(), pytest.raises(InterruptedByOperator, match=number.name):
        os.read(reader, 1)
    later.join()
    os.close(reader)
    os.close(writer)


def test_during_a_change_it_waits_to_be_asked() -> None:
    said: list[str] = []
    with Interrupts(said.append) as interrupts, interrupts.changing():
        interrupts.raise_if_cancelled()
        send(signal.SIGTERM)
        send(signal.SIGTERM)
        assert len(said) == 1
        assert said[0].startswith("interrupted")
        with pytest.raises(InterruptedByOperator, match="SIGTERM"):
            interrupts.raise_if_cancelled()


def test_an_undo_is_deaf_and_says_so_once() -> None:
    said: list[str] = []
    with Interrupts(said.append) as interrupts, interrupts.changing():
        send(signal.SIGINT)
        with interrupts.undoing():
            interrupts.raise_if_cancelled()
            send(signal.SIGINT)
            send(signal.SIGHUP)
            interrupts.raise_if_cancelled()
        assert interrupts.ignored == 2
        assert said[1:] == ["undoing what this run changed; please wait"]
        with pytest.raises(InterruptedByOperator):
            interrupts.raise_if_cancelled()


def test_a_signal_during_an_undo_alone_cancels_nothing() -> None:
    with Interrupts(lambda _: None) as interrupts, interrupts.changing():
        with interrupts.undoing():
            send(signal.SIGINT)
        interrupts.raise_if_cancelled()


def test_handlers_are_restored_and_ignored_signals_stay_ignored() -> None:
    before = signal.getsignal(signal.SIGINT), signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupts():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGINT) is not before[0]
            send(signal.SIGHUP)
        assert signal.getsignal(signal.SIGINT) is before[0]
    finally:
        signal.signal(signal.SIGHUP, before[1])


def test_a_terminal_that_is_gone_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    monkeypatch.setattr("replctl.cli.signals._STDERR", writer)
    write_to_stderr("undoing")
    os.close(writer)
