"""Runs a plan: stage after stage, lanes beside each other, undo before the point of no return and forward after it."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from threading import current_thread, main_thread
from typing import Protocol

from replctl.execution.context import Changed, Context, Effect, Stopwatch
from replctl.execution.handlers.registry import carry_out
from replctl.execution.session import Session
from replctl.model.actions import (
    Action,
    AwaitPassword,
    AwaitReplayed,
    AwaitStreaming,
    CheckLogin,
    Checkpoint,
    GetReadyToPromote,
    GetReadyToStop,
    ProbeWrite,
    ProveCaughtUp,
)
from replctl.model.errors import (
    ConnectionLostError,
    ExitCode,
    InterruptedByOperator,
    ReplctlError,
    SqlError,
    UnreachableError,
    WaitTimeoutError,
)
from replctl.model.facts import ClusterFacts
from replctl.model.outcome import Outcome, OutcomeKind, StepOutcome, StepResult
from replctl.model.plan import OnFailure, Plan, Refusal, Step

INVALID_LOGIN = "28P01"
"""invalid_password (PostgreSQL docs, appendix A)."""
ASKING = (
    AwaitPassword,
    AwaitReplayed,
    AwaitStreaming,
    CheckLogin,
    Checkpoint,
    GetReadyToPromote,
    GetReadyToStop,
    ProbeWrite,
    ProveCaughtUp,
)
"""Actions that leave nothing behind, however they end."""


class Guard(Protocol):
    """The lock, as execution needs it."""

    def raise_if_lost(self) -> None:
        """Raises LockLostError once no further change may be made."""
        ...

    def beat(self) -> None:
        """Ask every node now whether the lock is still held there. Raises nothing: raise_if_lost() tells it."""
        ...


class StepLog(Protocol):
    """The journal, as execution needs it."""

    def step(self, result: StepResult) -> None: ...


@dataclass(slots=True)
class _Lane:
    """How one lane went."""

    steps: tuple[Step, ...]
    changed: list[Step] = field(default_factory=list[Step])
    """The steps that changed something, or may have, oldest first."""
    failure: ReplctlError | None = None
    past_return: bool = False
    whole: bool = False
    """Every step of it was carried out. False without a failure: replctl itself failed, with a bug."""


class Execution:
    """One run of one plan."""

    def __init__(
        self,
        session: Session,
        plan: Plan,
        facts: ClusterFacts,
        guard: Guard,
        journal: StepLog,
        *,
        carry_out: Callable[[Context, Action], Effect] = carry_out,
    ) -> None:
        self._session = session
        self._plan = plan
        self._facts = facts
        self._guard = guard
        self._journal = journal
        self._do = carry_out
        self._stopwatch = Stopwatch()
        self._may_stand: set[str] = set()
        """Ids of failed steps whose change may be there all the same."""
        self._results = {step.id: StepResult(step.id, step.node, step.why, StepOutcome.NOT_RUN) for step in plan.steps}

    def run(self) -> Outcome:
        """Carry the plan out. Raises nothing that a step raises: the outcome tells it. A bug is raised, when what it
        left half done is undone like after any other failure."""
        begun: list[_Lane] = []
        with self._session.cancellation.changing():
            try:
                for stage in self._plan.stages:
                    lanes = [_Lane(steps) for steps in stage.lanes]
                    begun += lanes
                    self._run_stage(lanes, stage.on_failure)
                    if stage.on_failure is OnFailure.STOP and not all(lane.whole for lane in lanes):
                        break
            finally:
                self._unwind(begun)
        return self._outcome([lane.failure for lane in begun if lane.failure is not None])

    def _unwind(self, begun: Sequence[_Lane]) -> None:
        """When a lane broke off, which was undone by itself, take back what the others did."""
        broke_off = not all(lane.whole for lane in begun)
        if broke_off and not any(lane.past_return for lane in begun) and not self._succeeded():
            self._undo([step for lane in begun if lane.whole for step in lane.changed])

    def _succeeded(self) -> bool:
        """Whether an independent lane got somewhere, so that what it rests on has to stay."""
        independent = [stage for stage in self._plan.stages if stage.on_failure is OnFailure.GO_ON]
        return any(
            self._results[step.id].outcome is StepOutcome.DONE
            for stage in independent
            for lane in stage.lanes
            for step in lane
        )

    def _run_stage(self, lanes: Sequence[_Lane], on_failure: OnFailure) -> None:
        if len(lanes) == 1:
            self._run_lane(lanes[0], on_failure)
            return
        with ThreadPoolExecutor(len(lanes)) as pool:
            running = [pool.submit(self._run_lane, lane, on_failure) for lane in lanes]
        for run in running:
            run.result()

    def _run_lane(self, lane: _Lane, on_failure: OnFailure) -> None:
        try:
            self._run_steps(lane, on_failure)
            lane.whole = True
        except ReplctlError as failure:
            lane.failure = failure
        finally:
            if not lane.whole and not lane.past_return:
                self._undo(lane.changed)

    def _run_steps(self, lane: _Lane, on_failure: OnFailure) -> None:
        for step in lane.steps:
            # What follows a promotion up to the env file is not interrupted: the application waits for it.
            shielded = lane.past_return and on_failure is OnFailure.STOP
            self._begin(step, lane, shielded=shielded)
            self._carry_out(step, lane, shielded=shielded or (step.point_of_no_return and on_failure is OnFailure.STOP))

    def _begin(self, step: Step, lane: _Lane, *, shielded: bool) -> None:
        if not shielded:
            self._session.cancellation.raise_if_cancelled()
        self._guard.raise_if_lost()
        lane.past_return = lane.past_return or step.point_of_no_return

    def _carry_out(self, step: Step, lane: _Lane, *, shielded: bool) -> None:
        session = self._session
        session.reporter.step_started(step)
        started = session.clock.now()
        context = Context(session, self._facts, step, self._stopwatch, shielded=shielded)
        lane.changed.append(step)
        try:
            effect = self._do(context, step.action)
        except ReplctlError as failure:
            if _may_stand(step, failure):
                self._may_stand.add(step.id)
            self._record(step, StepOutcome.FAILED, started, failure.message)
            self._distrust(failure)
            raise
        if isinstance(effect, Changed):
            self._record(step, StepOutcome.DONE, started, effect.detail)
        else:
            lane.changed.remove(step)
            self._record(step, StepOutcome.UNCHANGED, started, effect.reason)

    def _distrust(self, failure: ReplctlError) -> None:
        """A connection that broke may have been the lock's too, which would notice at its next heartbeat: too late
        for an undo that begins now."""
        if isinstance(failure, ConnectionLostError | UnreachableError):
            self._guard.beat()

    def _undo(self, steps: Sequence[Step]) -> None:
        """Take the steps back, newest first. Every one is tried; what cannot be taken back is told."""
        on_main = current_thread() is main_thread()
        with self._session.cancellation.undoing() if on_main else nullcontext(), ExitStack() as newest_first:
            for step in steps:
                if step.undo is not None:
                    newest_first.callback(self._undo_one, step, step.undo)

    def _undo_one(self, step: Step, undo: Action) -> None:
        started = self._session.clock.now()
        taken_back = replace(step, action=undo, why=f"takes back: {step.why}", undo=None)
        context = Context(self._session, self._facts, taken_back, self._stopwatch, shielded=True)
        try:
            self._guard.raise_if_lost()
            self._do(context, undo)
        except ReplctlError as failure:
            self._record(step, StepOutcome.UNDO_FAILED, started, failure.message)
            self._distrust(failure)
        else:
            self._record(step, StepOutcome.UNDONE, started, "")

    def _record(self, step: Step, outcome: StepOutcome, started: float, detail: str) -> None:
        ms = (self._session.clock.now() - started) * 1000
        result = StepResult(step.id, step.node, step.why, outcome, round(ms, 1), detail)
        self._results[step.id] = result
        self._journal.step(result)
        self._session.reporter.step_ended(result)

    def _outcome(self, failures: Sequence[ReplctlError]) -> Outcome:
        results = tuple(self._results[step.id] for step in self._plan.steps)
        kind, code = _judge(self._plan, results, failures, self._may_stand)
        if self._plan.refused and not failures:
            kind, code = OutcomeKind.REFUSED, ExitCode.REFUSED
        hints = list(dict.fromkeys(failure.hint for failure in failures)) or list(self._plan.unfinished)
        return Outcome(
            self._plan.command,
            self._plan.cluster,
            kind,
            code,
            steps=results,
            refusals=(*(_refusal(failure) for failure in failures), *self._plan.refused),
            next=" ".join(hints) if code is ExitCode.INCOMPLETE else None,
            write_outage_ms=self._stopwatch.write_outage_ms,
            notes=self._plan.notes,
            app_sessions=self._stopwatch.app_sessions,
        )


def _may_stand(step: Step, failure: ReplctlError) -> bool:
    """Whether a step that failed may have changed something that no undo takes back, or may still change it."""
    unknown = isinstance(failure, ConnectionLostError | WaitTimeoutError) and not isinstance(step.action, ASKING)
    return step.point_of_no_return or (unknown and step.undo is None)


def _judge(
    plan: Plan, results: Sequence[StepResult], failures: Sequence[ReplctlError], may_stand: Set[str]
) -> tuple[OutcomeKind, ExitCode]:
    """How the run ended, from what its steps left behind."""
    seen = {result.outcome for result in results}
    if not failures:
        if StepOutcome.DONE not in seen:
            return OutcomeKind.UNCHANGED, ExitCode.DONE
        done = (OutcomeKind.DONE, ExitCode.DONE)
        return (OutcomeKind.INCOMPLETE, ExitCode.INCOMPLETE) if plan.unfinished else done
    if _something_stays(results, may_stand):
        return OutcomeKind.INCOMPLETE, ExitCode.INCOMPLETE
    if any(isinstance(failure, InterruptedByOperator) for failure in failures):
        return OutcomeKind.UNDONE, ExitCode.INTERRUPTED
    if StepOutcome.UNDONE in seen:
        return OutcomeKind.UNDONE, ExitCode.UNDONE
    return _untouched(failures[0])


def _something_stays(results: Sequence[StepResult], may_stand: Set[str]) -> bool:
    """A change that stands, one that could not be taken back, or a failed one that may stand all the same."""
    return any(
        result.outcome in (StepOutcome.DONE, StepOutcome.UNDO_FAILED)
        or (result.outcome is StepOutcome.FAILED and result.id in may_stand)
        for result in results
    )


def _untouched(failure: ReplctlError) -> tuple[OutcomeKind, ExitCode]:
    """The run failed before it had changed anything."""
    if failure.exit_code is ExitCode.UNREACHABLE:
        return OutcomeKind.UNREACHABLE, ExitCode.UNREACHABLE
    wrong_password = isinstance(failure, SqlError) and failure.sqlstate == INVALID_LOGIN
    if failure.exit_code is ExitCode.REFUSED or wrong_password:
        return OutcomeKind.REFUSED, ExitCode.REFUSED
    return OutcomeKind.UNDONE, ExitCode.UNDONE


def _refusal(failure: ReplctlError) -> Refusal:
    return Refusal(failure.code, failure.node, failure.message, failure.hint, failure.exit_code)
