"""The line that names what is waited for: only after a moment, only on a terminal, and gone afterwards."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable

import pytest
from rich.console import Console

from replctl.cli.live_steps import RichReporter
from replctl.cli.progress import PlainReporter, QuietReporter, WaitingReporter
from replctl.cli.streams import open_console
from replctl.cli.waiting_screen import Waited, WaitingScreen, not_yet
from replctl.execution.session import Phase
from replctl.model.actions import PublishEnv
from replctl.model.outcome import StepOutcome, StepResult
from replctl.model.plan import Step
from replctl.model.values import NodeName
from replctl.remote.waiting import SystemClock

NODES = [NodeName(f"db{number}") for number in range(1, 4)]
STEP = Step("env", None, PublishEnv(NODES[0], ()), "the application reads it")


def a_terminal(width: int = 80) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None, markup=False)


def shown(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def words(phase: Phase, *answered: str, said: str = "") -> str:
    waited = Waited(phase, NODES)
    for name in answered:
        waited.answered(NodeName(name))
    waited.says(said)
    return waited.words()


def test_who_has_not_answered_is_named() -> None:
    assert words(Phase.OBSERVE, "db1", "db2") == "looking at 3 nodes: db3 has not answered yet"
    assert words(Phase.OBSERVE, "db1") == "looking at 3 nodes: db2 and db3 have not answered yet"
    assert words(Phase.OBSERVE, "db1", "db2", "db3", "db3") == "looking at 3 nodes: all have answered"
    assert words(Phase.LOCK, "db1", "db2") == "locking 3 nodes: db3 has not answered yet"
    assert words(Phase.INQUIRE, said="what the WAL of db2 holds") == "asking the nodes: what the WAL of db2 holds"
    assert words(Phase.SECRETS, said="app.password, which pass is to print").startswith("waiting for app.password")
    assert words(Phase.INQUIRE) == words(Phase.SECRETS) == ""


def test_of_many_nodes_some_are_counted() -> None:
    many = [NodeName(f"db{number}") for number in range(10)]
    assert not_yet(many, 10) == "none has answered yet"
    assert not_yet(many[:5], 10) == "db0, db1, db2 and 2 more have not answered yet"
    assert not_yet(many[:1], 1) == "db0 has not answered yet"
    assert not_yet([], 1) == "it has answered"


@pytest.mark.parametrize("reporter", [WaitingReporter, lambda console, clock: RichReporter(console, clock, NODES)])
def test_the_line_comes_and_goes(reporter: Callable[..., WaitingReporter]) -> None:
    console = a_terminal()
    with reporter(console, SystemClock()).phase(Phase.OBSERVE, NODES) as awaited:
        awaited.answered(NODES[0])
        until(lambda: "looking at 3 nodes: db2 and db3 have not answered yet" in shown(console))
        awaited.answered(NODES[1])
        until(lambda: "looking at 3 nodes: db3 has not answered yet" in shown(console))
    assert shown(console).endswith("\x1b[2K")  # the line is taken away
    assert shown(console).count("\x1b[?25l") == shown(console).count("\x1b[?25h") == 1


def test_what_is_quick_does_not_flicker() -> None:
    console = a_terminal()
    for _ in range(20):
        with WaitingReporter(console, SystemClock()).phase(Phase.OBSERVE, NODES):
            pass
    assert shown(console) == ""


def test_without_a_terminal_nothing_is_shown() -> None:
    out = io.StringIO()
    for reporter in (QuietReporter(open_console(out)), PlainReporter(open_console(out), SystemClock(), NODES)):
        with reporter.phase(Phase.OBSERVE, NODES) as awaited:
            awaited.answered(NODES[0])
            awaited.says("something")
            time.sleep(0.5)
    assert out.getvalue() == ""


def test_a_warning_meanwhile_stands_above() -> None:
    console = a_terminal()
    reporter = WaitingReporter(console, SystemClock())
    with reporter.phase(Phase.OBSERVE, NODES):
        until(lambda: "looking" in shown(console))
        reporter.warn("db4 cannot be reached")
        seen = len(shown(console))
        until(lambda: len(shown(console)) > seen)
    assert "warning: db4 cannot be reached\n" in shown(console)


def test_while_a_program_may_ask_for_a_passphrase_nothing_moves() -> None:
    console = a_terminal()
    with WaitingReporter(console, SystemClock()).phase(Phase.SECRETS) as awaited:
        awaited.says("app.password, which pass is to print")
        until(lambda: "waiting" in shown(console))
        time.sleep(0.5)
    assert shown(console) == "waiting for app.password, which pass is to print\n"


def test_a_long_line_is_cut_and_controls_are_spelled() -> None:
    console = a_terminal(40)
    with WaitingScreen(console, SystemClock(), threading.RLock()).phase(Phase.INQUIRE) as awaited:
        awaited.says("\x1b[31m" + "x" * 200)
        until(lambda: "asking" in shown(console))
    drawn = shown(console).split("\r")[-1]
    assert "\\x1b[31m" in shown(console)
    assert "x" * 60 not in drawn


def test_the_steps_take_the_terminal_over() -> None:
    console = a_terminal()
    reporter = RichReporter(console, SystemClock(), NODES)
    with reporter:
        with reporter.phase(Phase.LOCK, NODES):
            until(lambda: "locking" in shown(console))
        reporter.step_started(STEP)
        with reporter.phase(Phase.OBSERVE, NODES):  # between the two plans of one run
            time.sleep(0.5)
        reporter.step_ended(StepResult("env", None, "", StepOutcome.DONE, 5.0))
    assert "looking" not in shown(console)
    assert "done in 5 ms" in shown(console)
