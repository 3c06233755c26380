"""How a plan is carried out: forward, back before the point of no return, and never back after it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from replctl.execution.context import Changed, Context, Effect, Unchanged
from replctl.model.actions import AwaitStreaming, DropSlot
from replctl.model.errors import (
    ConnectionLostError,
    ExitCode,
    RefusedError,
    ReplctlError,
    SqlError,
    UnreachableError,
    WaitTimeoutError,
)
from replctl.model.outcome import OutcomeKind, StepOutcome
from replctl.model.plan import Stage as PlanStage
from replctl.model.values import NodeName
from tests.unit.plays import (
    ABC,
    HINT,
    a_plan,
    a_step,
    back,
    does,
    ended,
    failure,
    lasting,
    no_return,
    one_lane,
    side_by_side,
    steps_of,
)
from tests.unit.runs import Stage


def test_everything_is_done_in_order_and_told() -> None:
    stage = Stage({does("b"): Changed("made")})
    outcome = stage.play(ABC)
    assert ended(outcome) == (OutcomeKind.DONE, ExitCode.DONE)
    assert stage.actions == [does("a"), does("b"), does("c")]
    assert stage.told.started == ["a", "b", "c"]
    assert stage.told.logged == stage.told.ended == list(outcome.steps)
    assert (outcome.steps[1].detail, outcome.steps[1].ms, outcome.steps[1].why) == ("made", 100.0, "why b")
    assert (outcome.next, outcome.refusals, outcome.write_outage_ms) == (None, (), None)


def test_goals_that_held_already_are_unchanged() -> None:
    outcome = Stage({does(name): Unchanged("there") for name in "abc"}).play(ABC)
    assert ended(outcome) == (OutcomeKind.UNCHANGED, ExitCode.DONE)
    assert {result.detail for result in outcome.steps} == {"there"}


def test_what_the_plan_could_not_reach_makes_it_incomplete() -> None:
    plan = replace(ABC, unfinished=("`replctl add-replica db3` later",))
    outcome = Stage().play(plan)
    assert ended(outcome) == (OutcomeKind.INCOMPLETE, ExitCode.INCOMPLETE)
    assert outcome.next == "`replctl add-replica db3` later"


def test_undo_goes_newest_first_and_includes_the_step_that_failed() -> None:
    stage = Stage({does("c"): failure()})
    outcome = stage.play(ABC)
    assert stage.actions == [does("a"), does("b"), does("c"), back("c"), back("b"), back("a")]
    assert stage.shielded == [back("c"), back("b"), back("a")]
    assert ended(outcome) == (OutcomeKind.UNDONE, ExitCode.UNDONE)
    assert stage.told.outcomes == ["a done", "b done", "c failed", "c undone", "b undone", "a undone"]
    assert outcome.refusals[0].message == "db1: it does not work"
    assert outcome.next is None


def test_what_was_there_before_is_not_undone() -> None:
    stage = Stage({does("a"): Unchanged("there"), does("c"): failure()})
    stage.play(ABC)
    assert back("a") not in stage.actions
    assert back("b") in stage.actions


def test_steps_that_never_began_say_so() -> None:
    outcome = Stage({does("a"): failure()}).play(ABC)
    assert steps_of(outcome) == {"a": "undone", "b": "not-run", "c": "not-run"}


def test_a_failing_undo_does_not_stop_the_others() -> None:
    stage = Stage({does("c"): failure(), back("b"): failure(ConnectionLostError)})
    outcome = stage.play(ABC)
    assert stage.actions[-3:] == [back("c"), back("b"), back("a")]
    assert steps_of(outcome) == {"a": "undone", "b": "undo-failed", "c": "undone"}
    assert ended(outcome) == (OutcomeKind.INCOMPLETE, ExitCode.INCOMPLETE)
    assert outcome.next == HINT


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (failure(UnreachableError), OutcomeKind.UNREACHABLE, ExitCode.UNREACHABLE),
        (failure(RefusedError), OutcomeKind.REFUSED, ExitCode.REFUSED),
        (failure(SqlError, node=None, sqlstate="28P01"), OutcomeKind.REFUSED, ExitCode.REFUSED),
        (failure(SqlError, node=None, sqlstate="42501"), OutcomeKind.UNDONE, ExitCode.UNDONE),
        (failure(ReplctlError), OutcomeKind.UNDONE, ExitCode.UNDONE),
    ],
)
def test_a_failure_before_anything_changed_is_judged_by_its_kind(
    error: ReplctlError, kind: OutcomeKind, code: ExitCode
) -> None:
    outcome = Stage({does("a"): error}).play(a_plan(one_lane(lasting("a"), a_step("b"))))
    assert ended(outcome) == (kind, code)
    assert outcome.refusals[0].exit_code is error.exit_code


@pytest.mark.parametrize("kind", [WaitTimeoutError, ConnectionLostError])
def test_a_change_whose_outcome_is_unknown_may_stand(kind: type[ReplctlError]) -> None:
    unknown = Stage({does("a"): failure(kind)}).play(a_plan(one_lane(lasting("a"))))
    assert ended(unknown) == (OutcomeKind.INCOMPLETE, ExitCode.INCOMPLETE)
    taken_back = Stage({does("a"): failure(kind)}).play(a_plan(one_lane(a_step("a"))))
    assert ended(taken_back) == (OutcomeKind.UNDONE, ExitCode.UNDONE)
    waiting = lasting("a", action=AwaitStreaming(NodeName("db1")))
    asked = Stage({waiting.action: failure(kind)}).play(a_plan(one_lane(waiting)))
    assert ended(asked) == (OutcomeKind.UNDONE, ExitCode.UNDONE)


def test_a_failure_after_something_was_undone_is_5_whatever_its_kind() -> None:
    outcome = Stage({does("c"): failure(UnreachableError)}).play(ABC)
    assert ended(outcome) == (OutcomeKind.UNDONE, ExitCode.UNDONE)


def test_what_cannot_be_taken_back_makes_it_incomplete() -> None:
    outcome = Stage({does("b"): failure()}).play(a_plan(one_lane(lasting("a"), a_step("b"))))
    assert ended(outcome) == (OutcomeKind.INCOMPLETE, ExitCode.INCOMPLETE)


def test_after_the_point_of_no_return_nothing_is_undone() -> None:
    stage = Stage({does("c"): failure()})
    outcome = stage.play(a_plan(one_lane(a_step("a"), no_return("b"), a_step("c"), a_step("d"))))
    assert stage.actions == [does("a"), does("b"), does("c")]
    assert ended(outcome) == (OutcomeKind.INCOMPLETE, ExitCode.INCOMPLETE)
    assert outcome.next == HINT


def test_the_point_of_no_return_is_passed_when_its_step_begins() -> None:
    """A promote request that timed out may still be carried out."""
    stage = Stage({does("b"): failure()})
    outcome = stage.play(a_plan(one_lane(a_step("a", undo=None), no_return("b"))))
    assert ended(outcome) == (OutcomeKind.INCOMPLETE, ExitCode.INCOMPLETE)
    alone = Stage({does("b"): failure()}).play(a_plan(one_lane(no_return("b"))))
    assert ended(alone) == (OutcomeKind.INCOMPLETE, ExitCode.INCOMPLETE)


def test_independent_lanes_do_not_stop_each_other_nor_what_follows() -> None:
    stage = Stage({does("x2"): failure()})
    plan = a_plan(
        one_lane(a_step("a")),
        side_by_side((a_step("x1", "db2"), a_step("x2", "db2")), (a_step("y1", "db3"), a_step("y2", "db3"))),
        one_lane(lasting("env")),
    )
    outcome = stage.play(plan)
    assert steps_of(outcome) == {
        "a": "done",
        "x1": "undone",
        "x2": "undone",
        "y1": "done",
        "y2": "done",
        "env": "done",
    }
    assert ended(outcome) == (OutcomeKind.INCOMPLETE, ExitCode.INCOMPLETE)


def test_when_every_lane_failed_what_they_rest_on_is_undone_too() -> None:
    stage = Stage({does("x"): failure(), does("y"): failure()})
    outcome = stage.play(a_plan(one_lane(a_step("a")), side_by_side((a_step("x"),), (a_step("y"),))))
    assert steps_of(outcome) == {"a": "undone", "x": "undone", "y": "undone"}
    assert ended(outcome) == (OutcomeKind.UNDONE, ExitCode.UNDONE)


def test_a_failed_lane_of_a_stage_that_stops_undoes_the_lanes_beside_it() -> None:
    stage = Stage({does("y"): failure()})
    plan = a_plan(one_lane(a_step("a")), PlanStage(((a_step("x"),), (a_step("y"),))), one_lane(a_step("later")))
    outcome = stage.play(plan)
    assert steps_of(outcome) == {"a": "undone", "x": "undone", "y": "undone", "later": "not-run"}
    assert stage.actions[-1] == back("a")


def test_a_lane_past_its_return_keeps_what_the_run_did_before() -> None:
    stage = Stage({does("x2"): failure()})
    plan = a_plan(one_lane(a_step("a")), side_by_side((no_return("x1"), a_step("x2"))))
    outcome = stage.play(plan)
    assert back("a") not in stage.actions
    assert outcome.exit_code is ExitCode.INCOMPLETE


def interrupting(stage: Stage, effect: Effect | None = None):
    def deed(context: Context) -> Effect:
        stage.interrupts.arrived = True
        return effect or Changed()

    return deed


def test_an_interrupt_before_the_first_change() -> None:
    stage = Stage()
    stage.interrupts.arrived = True
    outcome = stage.play(ABC)
    assert stage.actions == []
    assert ended(outcome) == (OutcomeKind.UNDONE, ExitCode.INTERRUPTED)


def test_an_interrupt_between_two_steps_undoes_what_was_done() -> None:
    stage = Stage()
    stage.deeds[does("b")] = interrupting(stage)
    outcome = stage.play(ABC)
    assert stage.actions == [does("a"), does("b"), back("b"), back("a")]
    assert ended(outcome) == (OutcomeKind.UNDONE, ExitCode.INTERRUPTED)


def test_undo_runs_while_interrupts_are_only_counted() -> None:
    stage = Stage({does("b"): failure()})
    seen: list[str] = []
    stage.deeds[back("a")] = lambda _: seen.append(stage.interrupts.phases[-1]) or Changed()
    stage.play(ABC)
    assert seen == ["undoing"]


def test_an_interrupt_past_the_point_of_no_return_waits_until_the_application_can_write_again() -> None:
    stage = Stage()
    stage.deeds[does("promote")] = interrupting(stage)
    plan = a_plan(
        one_lane(a_step("stop"), no_return("promote"), lasting("env")),
        side_by_side((lasting("x"),), (lasting("y"),)),
        one_lane(lasting("env-2")),
    )
    outcome = stage.play(plan)
    assert steps_of(outcome) == {
        "stop": "done",
        "promote": "done",
        "env": "done",
        "x": "not-run",
        "y": "not-run",
        "env-2": "not-run",
    }
    assert stage.shielded == [does("promote"), does("env")]
    assert ended(outcome) == (OutcomeKind.INCOMPLETE, ExitCode.INCOMPLETE)
    assert outcome.next == "Run the same command again."


def test_a_lane_of_its_own_can_be_interrupted_past_its_point_of_no_return() -> None:
    stage = Stage()
    stage.deeds[does("x")] = interrupting(stage)
    outcome = stage.play(a_plan(side_by_side((no_return("x"), lasting("wait")))))
    assert steps_of(outcome) == {"x": "done", "wait": "not-run"}
    assert stage.shielded == []
    assert outcome.exit_code is ExitCode.INCOMPLETE


def losing(stage: Stage):
    def deed(_: Context) -> Effect:
        stage.lock.lost = True
        return Changed()

    return deed


def test_without_the_lock_nothing_more_is_changed_not_even_back() -> None:
    stage = Stage()
    stage.deeds[does("b")] = losing(stage)
    outcome = stage.play(ABC)
    assert stage.actions == [does("a"), does("b")]
    assert steps_of(outcome) == {"a": "undo-failed", "b": "undo-failed", "c": "not-run"}
    assert ended(outcome) == (OutcomeKind.INCOMPLETE, ExitCode.INCOMPLETE)
    assert outcome.refusals[0].code == "lock-lost"


def breaking(stage: Stage, error: ReplctlError):
    """The connection that the lock rests on breaks under the step."""

    def deed(_: Context) -> Effect:
        stage.lock.broken = True
        raise error

    return deed


@pytest.mark.parametrize("kind", [ConnectionLostError, UnreachableError])
def test_a_connection_that_broke_may_have_been_the_lock_s(kind: type[ReplctlError]) -> None:
    stage = Stage()
    stage.deeds[does("b")] = breaking(stage, failure(kind))
    outcome = stage.play(ABC)
    assert stage.actions == [does("a"), does("b")]
    assert steps_of(outcome) == {"a": "undo-failed", "b": "undo-failed", "c": "not-run"}
    assert ended(outcome) == (OutcomeKind.INCOMPLETE, ExitCode.INCOMPLETE)


def test_nor_does_an_undo_go_on_whose_connection_broke() -> None:
    stage = Stage({does("c"): failure()})
    stage.deeds[back("b")] = breaking(stage, failure(ConnectionLostError))
    outcome = stage.play(ABC)
    assert stage.actions[-2:] == [back("c"), back("b")]
    assert steps_of(outcome) == {"a": "undo-failed", "b": "undo-failed", "c": "undone"}


def test_a_lock_lost_before_the_first_change() -> None:
    stage = Stage()
    stage.lock.lost = True
    outcome = stage.play(ABC)
    assert stage.actions == []
    assert ended(outcome) == (OutcomeKind.UNDONE, ExitCode.UNDONE)


def test_a_lock_lost_past_the_point_of_no_return() -> None:
    stage = Stage()
    stage.deeds[does("b")] = losing(stage)
    outcome = stage.play(a_plan(one_lane(no_return("b"), lasting("c")), side_by_side((lasting("x"),))))
    assert stage.actions == [does("b")]
    assert outcome.exit_code is ExitCode.INCOMPLETE


def test_the_write_outage_is_measured_from_the_stop_to_the_first_write() -> None:
    def stops(context: Context) -> Effect:
        context.stopwatch.stopped_at = 10.0
        return Changed()

    def writes(context: Context) -> Effect:
        context.stopwatch.writable_at = 10.1237
        return Unchanged("wrote")

    outcome = Stage({does("a"): stops, does("b"): writes}).play(ABC)
    assert outcome.write_outage_ms == 123.7


def test_an_outage_that_did_not_end_has_no_length() -> None:
    def stops(context: Context) -> Effect:
        context.stopwatch.stopped_at = 10.0
        raise failure()

    assert Stage({does("a"): stops}).play(ABC).write_outage_ms is None


def bug(_: Context) -> Effect:
    raise ZeroDivisionError


def test_a_bug_is_raised_when_all_was_taken_back() -> None:
    stage = Stage({does("y"): bug})
    with pytest.raises(ZeroDivisionError):
        stage.play(a_plan(one_lane(a_step("a"), a_step("b")), one_lane(a_step("x"), a_step("y"), a_step("z"))))
    assert stage.actions[-4:] == [back("y"), back("x"), back("b"), back("a")]


def test_a_bug_past_the_point_of_no_return_takes_nothing_back() -> None:
    stage = Stage({does("c"): bug})
    with pytest.raises(ZeroDivisionError):
        stage.play(a_plan(one_lane(a_step("a"), no_return("b"), a_step("c"))))
    assert stage.actions == [does("a"), does("b"), does("c")]


def test_a_bug_in_a_lane_leaves_the_others_what_they_have() -> None:
    stage = Stage({does("x2"): bug})
    lanes = side_by_side((a_step("x1"), a_step("x2")), (a_step("y"),))
    with pytest.raises(ZeroDivisionError):
        stage.play(a_plan(one_lane(a_step("a")), lanes))
    assert [action for action in stage.actions if isinstance(action, DropSlot)] == [back("x2"), back("x1")]


def test_a_bug_in_an_undo_does_not_stop_the_others() -> None:
    stage = Stage({does("c"): failure(), back("b"): bug})
    with pytest.raises(ZeroDivisionError):
        stage.play(ABC)
    assert stage.actions[-3:] == [back("c"), back("b"), back("a")]


def test_several_failures_are_all_told_and_one_hint_is_told_once() -> None:
    stage = Stage({does("x"): failure(), does("y"): failure(ConnectionLostError)})
    outcome = stage.play(a_plan(side_by_side((lasting("x"),), (lasting("y"),), (lasting("z"),))))
    assert sorted(refusal.code for refusal in outcome.refusals) == ["connection-lost", "timeout"]
    assert outcome.next == HINT


def test_every_outcome_of_a_step_is_told_by_some_run() -> None:
    """What the JSON promises and what runs tell is one list; ``planned`` is told of plans."""
    plays = [
        Stage({does("a"): Unchanged("there"), does("c"): failure(), back("b"): failure()}).play(ABC),
        Stage({does("b"): failure()}).play(a_plan(one_lane(a_step("a"), lasting("b"), lasting("c")))),
        Stage().play(ABC),
    ]
    seen = {result.outcome for outcome in plays for result in outcome.steps}
    assert seen == set(StepOutcome) - {StepOutcome.PLANNED}
