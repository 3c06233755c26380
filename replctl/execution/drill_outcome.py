"""How a drill ended, from how each of its switchovers did: what stands, and what is to be done next."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TypeGuard

from replctl.model.drill import DrillReport, Route
from replctl.model.errors import ExitCode, InterruptedByOperator, ReplctlError
from replctl.model.outcome import Outcome, OutcomeKind, StepOutcome, StepResult
from replctl.model.plan import Plan, Refusal, Refused
from replctl.planning.drill import SCHEMA, way_there

SHOWN_NUMBERS = 20
Ended = Plan | Refused | Outcome


@dataclass(slots=True)
class Course:
    """What a drill has come to so far."""

    planned: Plan
    route: Route
    database: str
    """The application's, which has the schema."""
    there: Ended | None = None
    back: Ended | None = None
    """None for a switchover that was not begun."""
    failure: ReplctlError | None = None
    """What ended the drill outside of the two switchovers."""
    report: DrillReport | None = None
    left: ReplctlError | None = None
    """Why the schema could not be dropped."""

    @property
    def agreed_there(self) -> Plan:
        found = way_there(self.planned)
        assert isinstance(found, Plan)
        return found

    @property
    def proven(self) -> bool:
        """The role moved, came back, and the application was served on each side."""
        return went_well(self.there) and went_well(self.back) and self.failure is None


def went_well(ended: Ended | None) -> TypeGuard[Outcome]:
    """Whether a switchover was carried out, with nothing left to do."""
    return isinstance(ended, Outcome) and ended.kind is OutcomeKind.DONE


def drill_outcome(course: Course) -> Refused | Outcome:
    """Raises what ended the drill before its first switchover, if nothing is left of it."""
    if course.there is None and course.left is None and course.failure is not None:
        raise course.failure
    if isinstance(course.there, Refused) and course.left is None:
        return course.there
    wrong = tuple(_wrong(course))
    kind, code = _judge(course, wrong)
    report = course.report
    return Outcome(
        course.planned.command,
        course.planned.cluster,
        kind,
        code,
        steps=_steps(course),
        refusals=wrong,
        next=_next(course) if code is ExitCode.INCOMPLETE else None,
        write_outage_ms=report.longest_write_outage_ms if report is not None else None,
        app_sessions=course.back.app_sessions if isinstance(course.back, Outcome) else None,
        drill=report,
    )


def _judge(course: Course, wrong: tuple[Refusal, ...]) -> tuple[OutcomeKind, ExitCode]:
    if not wrong:
        return OutcomeKind.DONE, ExitCode.DONE
    there = course.there
    changed = went_well(there) or course.left is not None or any(_rows(course))
    if isinstance(there, Outcome) and not changed:
        return there.kind, there.exit_code  # what it had changed is undone, or stands
    return OutcomeKind.INCOMPLETE, ExitCode.INCOMPLETE


def _wrong(course: Course) -> Iterator[Refusal]:
    """Lost rows first: nothing is worse."""
    yield from _rows(course)
    for way in (course.there, course.back):
        if isinstance(way, Outcome | Refused):
            yield from (_with_way_on(course, refusal) for refusal in way.refusals)
        if isinstance(way, Plan):
            yield _unmoved(course, way)
    if course.failure is not None:
        yield _with_way_on(course, _refusal(course.failure))
    if course.left is not None:
        yield Refusal(
            "schema-left",
            course.left.node,
            f"the schema {SCHEMA} of {course.database} may still be there: {course.left.message}",
            _drop_by_hand(course),
        )


def _rows(course: Course) -> Iterator[Refusal]:
    report = course.report
    if report is not None and report.missing:
        yield Refusal(
            "rows-lost",
            None,
            f"{len(report.missing)} OF {report.rows} ACKNOWLEDGED ROWS ARE LOST: {_numbers(report.missing)}",
            "Promote nothing before you know why: compare synchronous_commit, fsync and the storage of both nodes, and "
            "look at their logs of these minutes.",
        )
    if report is not None and report.missing is None and went_well(course.back):
        yield Refusal(
            "rows-unknown",
            None,
            f"the {report.rows} acknowledged rows could not be read back",
            "Run the drill again once the app database answers: this one has proven nothing.",
        )
    if report is not None and report.repeated:
        yield Refusal(
            "rows-twice",
            None,
            f"{len(report.repeated)} rows are there more than once: {_numbers(report.repeated)}",
            "Every number was sent once: look for what repeats statements between replctl and the servers.",
        )


def _numbers(numbers: tuple[int, ...]) -> str:
    more = len(numbers) - SHOWN_NUMBERS
    return ", ".join(map(str, numbers[:SHOWN_NUMBERS])) + (f" and {more} more" if more > 0 else "")


def _unmoved(course: Course, _: Plan) -> Refusal:
    return Refusal(
        "moved",
        None,
        "the primary's role was moved by somebody else during the drill",
        f"`replctl status` shows how the cluster stands; {course.route.home} was the primary before.",
    )


def _refusal(failure: ReplctlError) -> Refusal:
    return Refusal(failure.code, failure.node, failure.message, failure.hint, failure.exit_code)


def _with_way_on(course: Course, refusal: Refusal) -> Refusal:
    """Whoever interrupts a drill does not want to run it again, but to know how the cluster stands."""
    if refusal.code != InterruptedByOperator.code:
        return refusal
    return replace(refusal, hint=_way_on(course) or "The cluster is as it was before.")


def _next(course: Course) -> str:
    parts = [_way_on(course), _drop_by_hand(course) if course.left is not None else "", _look_at_rows(course)]
    return " ".join(part for part in parts if part) or "`replctl status` shows how the cluster stands."


def _way_on(course: Course) -> str:
    """What brings the primary's role back to where it was; empty when it is there."""
    to, home = course.route.to, course.route.home
    if went_well(course.back):
        return ""
    if isinstance(course.back, Outcome) and course.back.exit_code is ExitCode.INCOMPLETE:
        return f"`replctl promote {home}` finishes the way back."
    if went_well(course.there):
        return f"{to} is the primary and the cluster is whole: `replctl promote {home}` goes back."
    if isinstance(course.there, Outcome) and course.there.exit_code is ExitCode.INCOMPLETE:
        return f"`replctl promote {to}` finishes the switchover, and `replctl promote {home}` then goes back."
    return ""


def _drop_by_hand(course: Course) -> str:
    return f"Run `DROP SCHEMA IF EXISTS {SCHEMA} CASCADE` in {course.database} on the primary; the next drill does too."


def _look_at_rows(course: Course) -> str:
    report = course.report
    bad = report is not None and (report.missing or report.repeated)
    return "Look at the logs of both servers." if bad else ""


def _steps(course: Course) -> tuple[StepResult, ...]:
    ran = [step for way in (course.there, course.back) if isinstance(way, Outcome) for step in way.steps]
    known = {step.id for step in ran}
    rest = (
        StepResult(step.id, step.node, step.why, StepOutcome.NOT_RUN)
        for step in course.planned.steps
        if step.id not in known
    )
    return (*ran, *rest)
