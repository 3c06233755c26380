"""``drill``: a switchover there and one back, under one lock, with a writer and readers at work all the time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from uuid import uuid4

from replctl.execution import intents
from replctl.execution.drill_clients import Clients
from replctl.execution.drill_outcome import Course, drill_outcome, went_well
from replctl.execution.drill_schema import check_schema, make_schema, settle
from replctl.execution.lock import ClusterLock
from replctl.execution.notes import note_drill
from replctl.execution.pipeline import Intent, change_locked, lock_for, plan_now
from replctl.execution.session import Session
from replctl.model.actions import ProbeWrite
from replctl.model.drill import DrillReport, LastDrill
from replctl.model.errors import ReplctlError, WaitTimeoutError
from replctl.model.facts import ClusterFacts
from replctl.model.inquiry import Inquiry
from replctl.model.inventory import Inventory
from replctl.model.outcome import Outcome, StepOutcome, StepResult
from replctl.model.plan import Plan, Refused, Step
from replctl.model.values import NodeName, SystemIdentifier
from replctl.planning.drill import plan_drill, plan_way_back, route_of, way_there
from replctl.planning.drill_figures import drill_report
from replctl.planning.restart import switchover_candidate
from replctl.remote.waiting import Waiting

ROWS = 20
"""So many rows are committed before the first switchover, between the two, and after the second."""
SERVED_SECONDS = 60.0
SERVED_POLL_SECONDS = 0.02
BACK_POLL_SECONDS = 0.5
BACK_SECONDS = 15.0
"""A replica that has just come back may still be catching up, and is not taken for ready meanwhile."""


def drill_intent(inventory: Inventory, name: NodeName | None) -> Intent:
    """Both ways, to NODE or to the best candidate: what is shown, and agreed to."""

    def inquiry(facts: ClusterFacts) -> Inquiry:
        to = name or switchover_candidate(inventory, facts)
        return intents.promote(to).inquiry(facts) if to is not None else Inquiry()

    return Intent(lambda situation: plan_drill(situation, name), inquiry)


def drill(session: Session, intent: Intent, agree: Callable[[Plan], None]) -> Plan | Refused | Outcome:
    """Carry a drill out. ``agree`` shows the plan and raises RefusedError when the operator says no.

    Raises what went wrong before the first switchover, with nothing changed.
    """
    planned = plan_now(session, intent)
    if isinstance(planned, Refused) or not any(planned.steps):
        return planned
    agree(planned)
    route = route_of(planned)
    with lock_for(session, planned) as lock:
        if route is None:  # it fences, and the drill itself is refused
            return change_locked(session, intent, lock, agreed=planned)
        return _Drill(session, lock, Course(planned, route, session.inventory.app.database)).run()


@dataclass(frozen=True, slots=True)
class _Drill:
    """One drill of one route, under a lock that is held."""

    session: Session
    lock: ClusterLock
    course: Course

    def run(self) -> Refused | Outcome:
        session, route = self.session, self.course.route
        clients = Clients(session.fleet, session.inventory, session.clock)
        with session.cancellation.changing():
            check_schema(session, route.home)
            try:
                make_schema(session, route.home)
                self._practise(clients)
            except ReplctlError as error:
                self.course.failure = error
            finally:
                with session.cancellation.undoing():
                    self._settle(clients)
        return drill_outcome(self.course)

    def _practise(self, clients: Clients) -> None:
        course = self.course
        clients.start()
        self._await_service(clients, course.route.home)
        course.there = self._there()
        if went_well(course.there):
            self._await_service(clients, course.route.to)
            self._go_back()
        if went_well(course.back):
            self._await_service(clients, course.route.home)

    def _await_service(self, clients: Clients, name: NodeName) -> None:
        """A switchover begins, and has ended, while the application is served. Told as a step, though it is none."""
        session = self.session
        step = Step(f"served:{name}", name, ProbeWrite(), "the writer and a reader have to be served before it goes on")
        session.reporter.step_started(step)
        began, rows, reads = session.clock.now(), len(clients.acknowledged), len(clients.reads)

        def written() -> int:
            return sum(row.node == name for row in clients.acknowledged[rows:])

        def served() -> bool | None:
            session.reporter.step_says(step, f"{written()} of {ROWS} rows committed")
            return (written() >= ROWS and len(clients.reads) > reads) or None

        outcome = StepOutcome.FAILED
        try:
            if Waiting(session.clock, session.cancellation, SERVED_SECONDS, SERVED_POLL_SECONDS).until(served) is None:
                raise _not_served(name, written())
            outcome = StepOutcome.UNCHANGED
        finally:
            ms = round((session.clock.now() - began) * 1000, 1)
            session.reporter.step_ended(StepResult(step.id, name, step.why, outcome, ms, f"{written()} rows committed"))

    def _there(self) -> Plan | Refused | Outcome:
        to = self.course.route.to
        intent = Intent(lambda situation: way_there(plan_drill(situation, to)), intents.promote(to).inquiry)
        session = replace(self.session, command=f"{self.session.command} (to {to})")
        return change_locked(session, intent, self.lock, agreed=self.course.agreed_there)

    def _go_back(self) -> None:
        """Planned over what is there now. What refuses it may pass: a replica that has just come back."""
        home = self.course.route.home
        intent = Intent(lambda situation: plan_way_back(situation, home), intents.promote(home).inquiry)
        session = replace(self.session, run=uuid4().hex, command=f"{self.session.command} (back to {home})")
        for _ in Waiting(session.clock, session.cancellation, BACK_SECONDS, BACK_POLL_SECONDS).attempts():
            self.course.back = change_locked(session, intent, self.lock, agreed=None)
            if not isinstance(self.course.back, Refused):
                return

    def _settle(self, clients: Clients) -> None:
        clients.stop()
        course, route = self.course, self.course.route
        settled = settle(self.session, (route.home, route.to))
        course.left = settled.left
        if acknowledged := clients.acknowledged:
            course.report = drill_report(route, acknowledged, clients.reads, settled.numbers)
        if course.report is not None and course.proven and settled.system_identifier is not None:
            self._note(settled.system_identifier, course.report)

    def _note(self, system_identifier: SystemIdentifier, report: DrillReport) -> None:
        """Status shows it from now on."""
        there, back = report.write_outage_ms
        if there is None or back is None or report.lost is None:
            return
        at = datetime.now(UTC).isoformat(timespec="seconds")
        last = LastDrill(at, report.to, (there, back), report.read_outage_ms, report.rows, report.lost)
        try:
            note_drill(self.session.inventory.state_dir, system_identifier, last)
        except OSError as error:
            self.session.reporter.warn(f"the drill could not be noted for `replctl status`: {error.strerror}")


def _not_served(name: NodeName, rows: int) -> WaitTimeoutError:
    return WaitTimeoutError(
        f"{name}: acknowledged {rows} rows within {SERVED_SECONDS:.0f} s, where {ROWS} and an answer to a read were "
        "waited for",
        hint="`replctl status` shows what commits on the primary, or reads from the replicas, wait for.",
        node=name,
    )
