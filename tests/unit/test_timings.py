"""Which step and which phase took how long, on how many calls."""

from __future__ import annotations

import io
import threading
from concurrent.futures import ThreadPoolExecutor

from replctl.cli.options import Output, Tracing
from replctl.cli.progress import QuietReporter
from replctl.cli.streams import open_console, show
from replctl.cli.telling import Telling
from replctl.cli.timings import Timed, Timings, timings_renderable
from replctl.cli.verbose import heard_by
from replctl.execution.session import Phase
from replctl.model.actions import PublishEnv
from replctl.model.outcome import StepOutcome, StepResult
from replctl.model.plan import Step
from replctl.model.values import NodeName
from replctl.remote.fan_out import fan_out
from replctl.remote.tracing import Kind, traced

DB1, DB2 = NodeName("db1"), NodeName("db2")
NODES = [DB1, DB2]


class Hand:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


def a_step(name: str, node: NodeName | None) -> Step:
    return Step(f"{name}:{node}" if node else name, node, PublishEnv(DB1, ()), "because")


def ended(step: Step, outcome: StepOutcome, ms: float) -> StepResult:
    return StepResult(step.id, step.node, step.why, outcome, ms)


def call(node: NodeName, kind: Kind) -> None:
    traced(node, kind, lambda: "text").end()


def a_run() -> Timings:
    clock = Hand()
    timings = Timings(clock)
    timed = Timed(QuietReporter(open_console(io.StringIO())), timings)
    with heard_by(timings.heard):
        for _ in range(2):
            with timed.phase(Phase.OBSERVE, NODES):
                clock.sleep(0.03)
                fan_out(NODES, lambda name: [call(name, Kind.COMMAND), call(name, Kind.STATEMENT)], deadline=20)
        slot, env = a_step("slot", DB2), a_step("env", None)
        timed.step_started(slot)
        call(DB2, Kind.STATEMENT)
        call(DB2, Kind.SESSION)
        timed.step_ended(ended(slot, StepOutcome.DONE, 60.4))
        timed.step_started(env)
        timed.step_ended(ended(env, StepOutcome.FAILED, 7))
        call(DB2, Kind.STATEMENT)
        timed.step_ended(ended(slot, StepOutcome.UNDONE, 20))
    clock.sleep(1)
    return timings


def test_calls_belong_to_what_they_were_made_for() -> None:
    found = {part.name: (part.times, part.ms, part.commands, part.statements) for part in a_run().parts()}
    assert found == {
        "observe": (2, 60.0, 4, 4),
        "undo": (1, 20.0, 0, 1),
        "slot:db2": (1, 60.4, 0, 1),
        "env": (1, 7.0, 0, 0),
    }


def test_lanes_beside_each_other_are_told_apart() -> None:
    timings = Timings(Hand())
    timed = Timed(QuietReporter(open_console(io.StringIO())), timings)
    both = threading.Barrier(2)

    def lane(node: NodeName) -> None:
        step = a_step("start", node)
        timed.step_started(step)
        both.wait(20)
        for _ in range(3 if node == DB1 else 5):
            call(node, Kind.COMMAND)
        timed.step_ended(ended(step, StepOutcome.DONE, 1))

    with heard_by(timings.heard), ThreadPoolExecutor(2) as pool:
        list(pool.map(lane, NODES))
    assert {part.node: part.commands for part in timings.parts()} == {DB1: 3, DB2: 5}


def test_the_table() -> None:
    out = io.StringIO()
    show(open_console(out), timings_renderable(a_run()))
    assert out.getvalue() == (
        "\ntimings\n"
        "WHAT               NODE     TOOK  COMMANDS  SQL\n"
        "observe (2 times)          60 ms         4    4\n"
        "undo                       20 ms         0    1\n"
        "slot               db2     60 ms         0    1  longest\n"
        "env                here     7 ms         0    0\n"
        "total                    1060 ms         4    6\n"
    )


def test_the_longest_connection_is_named() -> None:
    timings = Timings(Hand())
    with heard_by(timings.heard):
        for node in NODES:
            with traced(node, Kind.SSH, lambda: "SSH"):
                threading.Event().wait(0.01 if node == DB1 else 0.2)
    (connect,) = timings.parts()
    assert (connect.name, connect.node, connect.times) == ("connect", DB2, 2)
    assert connect.ms >= 190


def test_a_document_has_them_instead_of_the_table(capsys) -> None:
    for tracing, output in (
        (Tracing(timings=True), Output.JSON),
        (Tracing(timings=True), Output.TABLE),
        (Tracing(), Output.JSON),
    ):
        telling = Telling(tracing, output, Hand())
        with telling.open(telling.of_looks()) as told:
            with told.phase(Phase.PLAN):
                pass
            document = telling.timed({"schema": 1}) if output is Output.JSON else {}
        said = capsys.readouterr().err
        assert ("timings" in document) == (tracing.timings and output is Output.JSON)
        assert ("timings\n" in said) == (tracing.timings and output is Output.TABLE)
    telling = Telling(Tracing(timings=True), Output.JSON, Hand())
    with telling.open(telling.of_steps(NODES)) as told, told.phase(Phase.PLAN):
        call(DB1, Kind.COMMAND)
    assert telling.timed({"schema": 1}) == {
        "schema": 1,
        "timings": {
            "total_ms": 0.0,
            "parts": [
                {
                    "kind": "phase",
                    "name": "plan",
                    "node": None,
                    "times": 1,
                    "ms": 0.0,
                    "commands": 1,
                    "statements": 0,
                }
            ],
        },
    }
