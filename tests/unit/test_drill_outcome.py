"""How a drill ends, for each way in which its two switchovers can."""

from __future__ import annotations

from dataclasses import replace

import pytest

from replctl.cli.outcome_json import outcome_document
from replctl.execution.drill_outcome import Course, drill_outcome
from replctl.model.drill import DrillReport, Route
from replctl.model.errors import ConnectionLostError, ExitCode, InterruptedByOperator, WaitTimeoutError
from replctl.model.outcome import Outcome, OutcomeKind, StepOutcome, StepResult
from replctl.model.plan import Plan, Refusal, Refused
from replctl.planning.drill import plan_drill, way_there
from tests.unit.builders import a_cluster
from tests.unit.plans import DB1, DB2
from tests.unit.plays import ended, steps_of

REPORT = DrillReport(DB2, (90.0, 110.0), 12.0, 400, (), ())
INTERRUPTED = InterruptedByOperator("interrupted by SIGINT", hint="Run the same command again to carry on.")
LOST_LOCK = Refusal("lock-lost", DB1, "db1: the lock is gone", "Mend it.")


def planned() -> Plan:
    found = plan_drill(a_cluster().primary("db1").replica("db2").replica("db3").as_made_by_us().situation(), DB2)
    assert isinstance(found, Plan)
    return found


PLANNED = planned()


def way(which: str, kind: OutcomeKind, code: ExitCode, *refusals: Refusal) -> Outcome:
    there = way_there(PLANNED)
    assert isinstance(there, Plan)
    chosen = [s for s in PLANNED.steps if s.id.startswith("back-") == (which == "back")]
    result = StepOutcome.DONE if kind is OutcomeKind.DONE else StepOutcome.UNDONE
    steps = tuple(StepResult(step.id, step.node, step.why, result, 1.0) for step in chosen)
    return Outcome("drill", "chat", kind, code, steps=steps, refusals=refusals, next="Mend it.", write_outage_ms=90.0)


def went(which: str) -> Outcome:
    return replace(way(which, OutcomeKind.DONE, ExitCode.DONE), next=None)


def a_course(**fields: object) -> Course:
    good = {"there": went("there"), "back": went("back"), "report": REPORT}
    return Course(PLANNED, Route(DB2, DB1), "chatdb", **{**good, **fields})


def outcome_of(course: Course) -> Outcome:
    found = drill_outcome(course)
    assert isinstance(found, Outcome)
    return found


def test_there_and_back_with_nothing_lost() -> None:
    course = a_course()
    outcome = outcome_of(course)
    assert course.proven
    assert ended(outcome) == (OutcomeKind.DONE, ExitCode.DONE)
    assert outcome.next is None
    document = outcome_document(outcome)
    assert set(steps_of(outcome).values()) == {"done"}
    assert [step["id"] for step in document["steps"]] == [step.id for step in PLANNED.steps]
    assert document["write_outage_ms"] == 110.0
    assert document["drill"] == {
        "to": "db2",
        "write_outage_ms": [90.0, 110.0],
        "read_outage_ms": 12.0,
        "rows": 400,
        "lost": 0,
        "twice": 0,
    }


@pytest.mark.parametrize(
    ("report", "code", "words"),
    [
        (replace(REPORT, missing=(7, 9)), "rows-lost", "2 OF 400 ACKNOWLEDGED ROWS ARE LOST: 7, 9"),
        (replace(REPORT, missing=tuple(range(30))), "rows-lost", "18, 19 and 10 more"),
        (
            replace(REPORT, missing=None, repeated=None),
            "rows-unknown",
            "the 400 acknowledged rows could not be read back",
        ),
        (replace(REPORT, repeated=(3,)), "rows-twice", "1 rows are there more than once: 3"),
    ],
)
def test_a_lost_row_is_said_loudly(report: DrillReport, code: str, words: str) -> None:
    outcome = outcome_of(a_course(report=report))
    assert ended(outcome) == (OutcomeKind.INCOMPLETE, ExitCode.INCOMPLETE)
    assert outcome.refusals[0].code == code
    assert words in outcome.refusals[0].message
    assert outcome.next


def test_a_row_that_is_lost_although_everything_was_undone() -> None:
    there = way("there", OutcomeKind.UNDONE, ExitCode.UNDONE, LOST_LOCK)
    outcome = outcome_of(a_course(there=there, back=None, report=replace(REPORT, missing=(1,))))
    assert outcome.exit_code is ExitCode.INCOMPLETE


@pytest.mark.parametrize(
    ("kind", "code"), [(OutcomeKind.UNDONE, ExitCode.UNDONE), (OutcomeKind.UNDONE, ExitCode.INTERRUPTED)]
)
def test_a_first_switchover_that_was_taken_back(kind: OutcomeKind, code: ExitCode) -> None:
    """No second one is tried, and the cluster is as it was."""
    course = a_course(there=way("there", kind, code, LOST_LOCK), back=None)
    outcome = outcome_of(course)
    assert ended(outcome) == (kind, code)
    assert not course.proven
    assert outcome.next is None
    assert {step.outcome for step in outcome.steps if step.id.startswith("back-")} == {StepOutcome.NOT_RUN}


def test_a_first_switchover_with_something_left_to_do() -> None:
    unfinished = way("there", OutcomeKind.INCOMPLETE, ExitCode.INCOMPLETE, LOST_LOCK)
    outcome = outcome_of(a_course(there=unfinished, back=None))
    assert ended(outcome) == (OutcomeKind.INCOMPLETE, ExitCode.INCOMPLETE)
    assert outcome.next == "`replctl promote db2` finishes the switchover, and `replctl promote db1` then goes back."


@pytest.mark.parametrize(
    "back",
    [
        None,
        Refused("drill", "chat", (Refusal("paused", DB1, "db1: replay is paused", "Resume it."),)),
        way("back", OutcomeKind.UNDONE, ExitCode.UNDONE, LOST_LOCK),
        way("back", OutcomeKind.UNDONE, ExitCode.INTERRUPTED, LOST_LOCK),
    ],
)
def test_a_way_back_that_did_not_come_about(back: Outcome | Refused | None) -> None:
    course = a_course(back=back, failure=None if back else INTERRUPTED)
    outcome = outcome_of(course)
    assert not course.proven
    assert ended(outcome) == (OutcomeKind.INCOMPLETE, ExitCode.INCOMPLETE)
    assert outcome.next == "db2 is the primary and the cluster is whole: `replctl promote db1` goes back."
    assert outcome.refusals
    assert all("same command" not in refusal.hint for refusal in outcome.refusals)


def test_a_way_back_with_something_left_to_do() -> None:
    outcome = outcome_of(a_course(back=way("back", OutcomeKind.INCOMPLETE, ExitCode.INCOMPLETE, LOST_LOCK)))
    assert outcome.exit_code is ExitCode.INCOMPLETE
    assert outcome.next == "`replctl promote db1` finishes the way back."


def test_somebody_else_moved_the_role_meanwhile() -> None:
    outcome = outcome_of(a_course(back=Plan("drill", "chat", ())))
    assert [refusal.code for refusal in outcome.refusals] == ["moved"]
    assert outcome.exit_code is ExitCode.INCOMPLETE


def test_an_application_that_was_not_served_afterwards() -> None:
    failure = WaitTimeoutError("db1: acknowledged 0 rows within 60 s", hint="Look at it.", node=DB1)
    outcome = outcome_of(a_course(failure=failure))
    assert ended(outcome) == (OutcomeKind.INCOMPLETE, ExitCode.INCOMPLETE)
    assert outcome.next == "`replctl status` shows how the cluster stands."


def test_what_ends_it_before_the_first_switchover_is_raised() -> None:
    with pytest.raises(InterruptedByOperator):
        drill_outcome(a_course(there=None, back=None, failure=INTERRUPTED))


def test_a_first_switchover_that_is_refused_by_now() -> None:
    refused = Refused("drill", "chat", (LOST_LOCK,))
    assert drill_outcome(a_course(there=refused, back=None)) is refused


@pytest.mark.parametrize("failure", [None, INTERRUPTED])
def test_a_schema_that_could_not_be_dropped_is_left_to_do(failure: InterruptedByOperator | None) -> None:
    left = ConnectionLostError("the SQL session on db1 broke: it is gone", hint="Again.", node=DB1)
    ways = {"there": None, "back": None, "report": None} if failure else {}
    outcome = outcome_of(a_course(**ways, failure=failure, left=left))
    assert ended(outcome) == (OutcomeKind.INCOMPLETE, ExitCode.INCOMPLETE)
    assert outcome.refusals[-1].code == "schema-left"
    assert "DROP SCHEMA IF EXISTS replctl_drill CASCADE` in chatdb" in (outcome.next or "")
