"""What a run shows while it goes on."""

from __future__ import annotations

import io
import threading

from rich.console import Console

from replctl.cli.copying import CopyMeter, copy_text
from replctl.cli.live_steps import RichReporter
from replctl.cli.progress import PlainReporter, QuietReporter, live_reporter
from replctl.cli.streams import open_console
from replctl.model.actions import BaseBackup, PublishEnv
from replctl.model.outcome import StepOutcome, StepResult
from replctl.model.plan import Step
from replctl.model.values import NodeName

DB2 = NodeName("db2")
CLONE = Step("clone:db2", DB2, BaseBackup(NodeName("db1"), "replctl_db2"), "copies db1")
ENV = Step("env", None, PublishEnv(DB2, ()), "the application reads it")
GIB, MIB = 2**30, 2**20


class StillClock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


def ended(step: Step, outcome: StepOutcome, ms: float | None = 1500, detail: str = "") -> StepResult:
    return StepResult(step.id, step.node, step.why, outcome, ms, detail)


def test_plain_lines_have_node_step_and_event() -> None:
    out, clock = io.StringIO(), StillClock()
    with PlainReporter(open_console(out), clock, [NodeName("db1"), DB2]) as reporter:
        reporter.step_started(CLONE)
        for second in range(5):
            reporter.step_copied(CLONE, second * 110 * MIB, 3 * GIB)
            clock.sleep(1)
        reporter.step_ended(ended(CLONE, StepOutcome.DONE))
        reporter.step_ended(ended(ENV, StepOutcome.UNCHANGED, detail="it lists these nodes already"))
        reporter.step_ended(ended(CLONE, StepOutcome.UNDO_FAILED, None, "disk \x1b[31m[red]full"))
        reporter.warn("db4 cannot be reached")
    assert out.getvalue().splitlines() == [
        "db2   clone            copies db1",
        "db2   clone            copying 0 B of 3 GiB (0 %)",
        "db2   clone            copying 220 MiB of 3 GiB (7 %), 110 MiB/s, 25.9 s left",
        "db2   clone            copying 440 MiB of 3 GiB (14 %), 110 MiB/s, 23.9 s left",
        "db2   clone            done in 1.5 s",
        "here  env              ok: it lists these nodes already",
        "db2   clone            could not be undone: disk \\x1b[31m[red]full",
        "warning: db4 cannot be reached",
    ]


def test_plain_lines_repeat_nothing() -> None:
    out, clock = io.StringIO(), StillClock()
    reporter = PlainReporter(open_console(out), clock, [DB2])
    for _ in range(3):
        reporter.step_says(CLONE, "waiting for the checkpoint")
        clock.sleep(5)
    assert out.getvalue().count("checkpoint") == 1


def test_long_lines_are_not_wrapped() -> None:
    out = io.StringIO()
    PlainReporter(open_console(out), StillClock(), [DB2]).step_says(CLONE, "x" * 5000)
    assert len(out.getvalue().splitlines()) == 1


def test_quiet_still_warns() -> None:
    out = io.StringIO()
    with QuietReporter(open_console(out)) as reporter:
        reporter.step_started(CLONE)
        reporter.step_says(CLONE, "x")
        reporter.step_copied(CLONE, 1, None)
        reporter.step_ended(ended(CLONE, StepOutcome.DONE))
        reporter.warn("db4 cannot be reached")
    assert out.getvalue() == "warning: db4 cannot be reached\n"


def a_terminal(width: int) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None, markup=False)


def shown(console: Console) -> str:
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def test_the_live_display_has_a_line_a_step() -> None:
    console, clock = a_terminal(80), StillClock()
    with live_reporter(console, clock, [DB2]) as reporter:
        assert isinstance(reporter, RichReporter)
        reporter.step_started(CLONE)
        reporter.step_started(ENV)
        reporter.step_copied(CLONE, 0, 3 * GIB)
        clock.sleep(2)
        reporter.step_copied(CLONE, GIB, 3 * GIB)
        reporter.step_says(ENV, "says [red]this\x07")
        reporter._progress.refresh()
        reporter.step_ended(ended(CLONE, StepOutcome.DONE))
        reporter.warn("careful")
    text = shown(console)
    assert "1 GiB of 3 GiB (33 %), 512 MiB/s, 4 s left" in text
    assert "says [red]this\\x07" in text
    assert "done in 1.5 s" in text
    assert "warning: careful" in text


def test_reason_and_wait_stand_beside_each_other_where_there_is_room() -> None:
    console = a_terminal(160)
    with RichReporter(console, StillClock(), [DB2]) as reporter:
        reporter.step_started(CLONE)
        reporter.step_says(CLONE, "waiting for the checkpoint")
        reporter._progress.refresh()
    assert any("copies db1" in line and "checkpoint" in line for line in shown(console).splitlines())


def test_many_threads_may_report_at_once() -> None:
    console = a_terminal(100)
    with RichReporter(console, StillClock(), [DB2]) as reporter:

        def work(number: int) -> None:
            step = Step(f"clone:{number}", DB2, BaseBackup(DB2, None), "copies")
            for done in range(20):
                reporter.step_started(step)
                reporter.step_copied(step, done, None)
                reporter.step_ended(ended(step, StepOutcome.DONE))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert shown(console).count("done in 1.5 s") == 80


def test_a_copy_tells_only_what_is_known() -> None:
    assert copy_text(MIB, None, None) == "1 MiB"
    assert copy_text(3 * GIB, 2 * GIB, float(MIB)) == "3 GiB of 2 GiB (100 %), 1 MiB/s"
    assert copy_text(0, 0, None) == "0 B"


def test_the_rate_is_that_of_the_last_ten_seconds() -> None:
    meter = CopyMeter()
    assert meter.bytes_per_second is None
    for second in range(30):
        meter.add(float(second), 0 if second < 15 else (second - 14) * 100)
    assert meter.bytes_per_second == 100
    meter.add(31.0, 5)
    assert meter.bytes_per_second is None
