"""Plans, outcomes and the history as they are read, and their JSON."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console, RenderableType

from replctl.cli.outcome_json import error_outcome, outcome_document
from replctl.cli.render_history import history_document, history_renderable
from replctl.cli.render_outcome import outcome_renderable
from replctl.cli.render_plan import plan_renderable
from replctl.cli.streams import UNWRAPPED, open_console, show
from replctl.execution.journal import UNFINISHED, Run
from replctl.model.actions import CreateSlot, DropSlot, InstallStaging, PublishEnv, StartPostgres
from replctl.model.errors import ExitCode, InterruptedByOperator, RefusedError, UsageError
from replctl.model.outcome import Outcome, OutcomeKind, StepOutcome, StepResult
from replctl.model.plan import Plan, Refusal, Stage, Step
from replctl.model.values import NodeName

DB1, DB2, DB3 = (NodeName(name) for name in ("db1", "db2", "db3"))


def lane(node: NodeName) -> tuple[Step, ...]:
    slot = f"replctl_{node}"
    return (
        Step(f"slot:{node}", DB1, CreateSlot(slot), f"db1 keeps the WAL that {node} needs", DropSlot(slot)),
        Step(f"install:{node}", node, InstallStaging(), "renamed into place", point_of_no_return=True),
        Step(f"start:{node}", node, StartPostgres(), "it connects [red]\x1b[31m"),
    )


PLAN = Plan(
    "add-replica",
    "chat",
    (Stage((lane(DB2), lane(DB3)[:1])), Stage(((Step("env", None, PublishEnv(DB1, (DB2,)), "the app reads it"),),))),
    notes=("db4 stays as it is",),
    unfinished=("`replctl add-replica db4` later",),
)


def plain(renderable: RenderableType) -> str:
    out = io.StringIO()
    show(open_console(out), renderable)
    return out.getvalue()


def at_width(renderable: RenderableType, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None, markup=False)
    with console.capture() as captured:
        console.print(renderable)
    return [line.rstrip() for line in captured.get().splitlines()]


def test_a_plan_without_a_terminal_is_one_line_a_step() -> None:
    assert plain(plan_renderable(PLAN, width=UNWRAPPED)) == (
        "add-replica, cluster chat: 5 steps\n"
        "\n"
        "#    NODE  STEP      WHY                               UNDO\n"
        "1a   db1   slot:db2  db1 keeps the WAL that db2 needs  drop slot replctl_db2\n"
        "2a!  db2   install   renamed into place                -\n"
        "3a   db2   start     it connects [red]\\x1b[31m         -\n"
        "1b   db1   slot:db3  db1 keeps the WAL that db3 needs  drop slot replctl_db3\n"
        "4    here  env       the app reads it                  -\n"
        "\n"
        "Lanes a, b, ... run beside each other, one node each.\n"
        "! point of no return: from there on its lane goes only forward.\n"
        "If a step fails before that, what was done is taken back.\n"
        "\n"
        "note: db4 stays as it is\n"
        "left to do afterwards: `replctl add-replica db4` later\n"
    )


@pytest.mark.parametrize("width", [80, 160])
def test_a_plan_fits_its_terminal(width: int) -> None:
    lines = at_width(plan_renderable(PLAN, width=width), width)
    assert max(len(line) for line in lines) <= width
    assert any("undo: drop slot replctl_db2" in line for line in lines) == (width == 80)
    assert any(line.endswith("UNDO") for line in lines) == (width == 160)


def test_an_empty_plan_is_nothing_to_do() -> None:
    assert plain(plan_renderable(Plan("promote", "chat", ()), width=80)) == "promote, cluster chat: nothing to do\n"


def test_many_lanes_have_letters() -> None:
    lanes = tuple((lane(NodeName(f"n{number}"))[0],) for number in range(30))
    text = plain(plan_renderable(Plan("add-replica", "chat", (Stage(lanes),)), width=UNWRAPPED))
    assert [text.count(f"\n{number} ") for number in ("1a", "1z", "1aa", "1ad", "1ae")] == [1, 1, 1, 1, 0]


PROMOTED = Outcome(
    "promote",
    "chat",
    OutcomeKind.INCOMPLETE,
    ExitCode.INCOMPLETE,
    steps=(
        StepResult("stop:db1", DB1, "why", StepOutcome.DONE, 120.0),
        StepResult("env", None, "why", StepOutcome.UNCHANGED, 1.0),
        StepResult("start:db1", DB1, "why", StepOutcome.FAILED, 6e4, "db1 did not start\x07"),
    ),
    next="replctl promote db2",
    write_outage_ms=142.3,
    notes=("db3 is left out",),
)
REFUSED = Outcome(
    "promote",
    "chat",
    OutcomeKind.REFUSED,
    ExitCode.REFUSED,
    refusals=(
        Refusal("paused", DB2, "replay is paused on db2", "Resume it."),
        Refusal("old", None, "too old", "Wait."),
    ),
)


def test_an_outcome_says_what_happened_and_what_comes_next() -> None:
    assert plain(outcome_renderable(PROMOTED, took_ms=63_210)) == (
        "promote, cluster chat: incomplete: the cluster was changed, and something is left to do, 1 step, "
        "1 ok, in 1m 3s\n"
        "failed: start on db1: db1 did not start\\x07\n"
        "writes: were down for 142 ms\n"
        "  note: db3 is left out\n"
        "next: replctl promote db2\n"
    )


def test_refusals_come_as_a_list_with_their_hints() -> None:
    assert plain(outcome_renderable(REFUSED)) == (
        "promote, cluster chat: refused: nothing was changed\n"
        "   1. replay is paused on db2\n"
        "hint: Resume it.\n"
        "   2. too old\n"
        "hint: Wait.\n"
    )


def test_the_document_has_the_contracts_keys() -> None:
    assert outcome_document(PROMOTED) == {
        "schema": 1,
        "command": "promote",
        "cluster": "chat",
        "outcome": "incomplete",
        "exit_code": 6,
        "steps": [
            {"id": "stop:db1", "node": "db1", "why": "why", "outcome": "done", "ms": 120.0},
            {"id": "env", "node": None, "why": "why", "outcome": "unchanged", "ms": 1.0},
            {"id": "start:db1", "node": "db1", "why": "why", "outcome": "failed", "ms": 60000.0},
        ],
        "refusals": [],
        "next": "replctl promote db2",
        "write_outage_ms": 142.3,
    }
    assert list(outcome_document(PROMOTED))[:4] == ["schema", "command", "cluster", "outcome"]


def test_where_the_applications_sessions_are_is_told_where_it_was_asked() -> None:
    counted = replace(PROMOTED, app_sessions={DB1: 0, DB2: None})
    assert "\nsessions: of the application: db1 0, db2 unknown\n" in plain(outcome_renderable(counted))
    assert outcome_document(counted)["app_sessions"] == {"db1": 0, "db2": None}


def test_refusals_are_listed_with_their_codes() -> None:
    document = json.loads(json.dumps(outcome_document(REFUSED)))
    assert (document["outcome"], document["exit_code"]) == ("refused", 3)
    assert document["refusals"] == [
        {"code": "paused", "node": "db2", "message": "replay is paused on db2", "hint": "Resume it."},
        {"code": "old", "node": None, "message": "too old", "hint": "Wait."},
    ]


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (RefusedError("locked", hint="Wait.", node=DB1, code="locked"), "refused", 3),
        (UsageError("no", hint="Do."), "error", 2),
        (InterruptedByOperator("stop", hint="Do."), "undone", 130),
    ],
)
def test_an_error_has_a_document_too(error, kind: str, code: int) -> None:
    document = outcome_document(error_outcome("promote", "chat", error))
    assert (document["outcome"], document["exit_code"]) == (kind, code)
    assert document["refusals"][0]["message"] == error.message


def test_an_interrupt_is_named() -> None:
    error = InterruptedByOperator("stop", hint="Do.")
    assert "interrupted: nothing stays changed" in plain(outcome_renderable(error_outcome("promote", "chat", error)))


START = datetime(2026, 7, 1, 10, 0, tzinfo=UTC)
RUNS = [
    Run("r1", "replctl init-primary db1", "alice@ops1", START, START + timedelta(seconds=4), "done", 0, None, None, ()),
    Run("r2", "replctl promote \x1b[31m", "bob@ops2", START, None, UNFINISHED, None, None, None, ()),
]


def test_history_is_a_table_with_the_newest_last() -> None:
    assert plain(history_renderable(RUNS)) == (
        "TIME (UTC)           OUTCOME     TOOK  WHO         COMMAND\n"
        "2026-07-01 10:00:00  done         4 s  alice@ops1  replctl init-primary db1\n"
        "2026-07-01 10:00:00  unfinished     -  bob@ops2    replctl promote \\x1b[31m\n"
    )
    assert plain(history_renderable([])) == "no run is recorded\n"
    assert max(len(line) for line in at_width(history_renderable(RUNS), 80)) <= 80


def test_history_as_json() -> None:
    first, second = json.loads(json.dumps(history_document(RUNS)))
    assert (first["run"], first["outcome"], first["ms"], first["exit_code"]) == ("r1", "done", 4000.0, 0)
    assert (second["outcome"], second["ended"], second["steps"]) == ("unfinished", None, [])
