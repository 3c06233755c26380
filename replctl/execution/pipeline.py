"""The one pipeline of every changing command: observe, plan, ask, lock, observe and plan again, execute."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from replctl.execution.executor import Execution
from replctl.execution.journal import Journal
from replctl.execution.lock import ClusterLock, lock_holders, lock_nodes, this_holder
from replctl.execution.notes import read_debts, read_drill
from replctl.execution.session import Phase, Session
from replctl.model.actions import PublishEnv
from replctl.model.facts import ClusterFacts, Unreachable
from replctl.model.inquiry import Inquiry
from replctl.model.outcome import Outcome
from replctl.model.plan import Plan, Refusal, Refused
from replctl.model.values import SystemIdentifier
from replctl.observe import inquire, observe
from replctl.planning.agreement import keeps_to
from replctl.planning.fencing import after_fencing, plan_with_fencing
from replctl.planning.situation import Situation
from replctl.remote.local_files import check_env_file


@dataclass(frozen=True, slots=True)
class Intent:
    """A changing command: what it wants to know, and the planner that decides."""

    plan: Callable[[Situation], Plan | Refused]
    inquiry: Callable[[ClusterFacts], Inquiry] = lambda _: Inquiry()


def preview(session: Session, intent: Intent) -> Plan | Refused:
    """``--dry-run``: the very plan that would run, and nothing changed."""
    planned = plan_now(session, intent)
    if isinstance(planned, Plan) and planned.refused:
        return Refused(planned.command, planned.cluster, planned.refused)
    return planned


def change(session: Session, intent: Intent, agree: Callable[[Plan], None]) -> Plan | Refused | Outcome:
    """Carry the intent out. ``agree`` shows the plan and raises RefusedError when the operator says no.

    Returns a Refused, the plan itself when it has no steps, else the outcome.
    """
    planned = plan_now(session, intent)
    if isinstance(planned, Refused) or not any(planned.steps):
        return planned
    agree(planned)
    with lock_for(session, planned) as lock:
        return change_locked(session, intent, lock, agreed=planned)


def plan_now(session: Session, intent: Intent) -> Plan | Refused:
    """What the intent comes to now; a refusal first says who is at work on the cluster."""
    return _with_holders(session, *_plan(session, intent))


def change_locked(session: Session, intent: Intent, lock: ClusterLock, agreed: Plan | None) -> Plan | Refused | Outcome:
    """Carry the intent out under a lock that is held; with ``agreed`` only if it still comes to that plan."""
    facts, again = _plan(session, intent)
    if isinstance(again, Refused):
        return again
    if agreed is not None and not keeps_to(agreed, again):
        return _moved(agreed)
    if not any(again.steps):
        return again
    return _execute(session, again, facts, lock)


def _plan(session: Session, intent: Intent) -> tuple[ClusterFacts, Plan | Refused]:
    with session.phases.phase(Phase.OBSERVE, session.inventory.nodes) as awaited:
        seen = observe(session.fleet, session.inventory, session.passwords, awaited.answered)
    seen = replace(
        seen,
        debts=read_debts(session.inventory.state_dir, seen.system_identifier),
        last_drill=read_drill(session.inventory.state_dir, seen.system_identifier),
    )
    inquiry = intent.inquiry(after_fencing(seen))
    with session.phases.phase(Phase.INQUIRE) as awaited:
        facts = inquire(seen, inquiry, session.fleet, session.inventory, session.passwords, says=awaited.says)
    session.cancellation.raise_if_cancelled()
    with session.phases.phase(Phase.PLAN):
        planned = plan_with_fencing(Situation(session.inventory, facts, session.templates), intent.plan)
    if isinstance(planned, Plan) and any(isinstance(step.action, PublishEnv) for step in planned.steps):
        check_env_file(session.inventory.app.env_file)
    return facts, planned


def _with_holders(session: Session, facts: ClusterFacts, planned: Plan | Refused) -> Plan | Refused:
    """What stands in the way may be another run's work: a refusal first says who is at work."""
    if isinstance(planned, Plan):
        return planned
    reached = [name for name, seen in facts.nodes.items() if not isinstance(seen, Unreachable) and seen.host]
    with session.phases.phase(Phase.INQUIRE) as awaited:
        awaited.says("who holds the locks")
        holders = lock_holders([session.fleet[name] for name in reached], session.inventory)
    refusals = (Refusal(held.code, held.node, held.message, held.hint) for held in holders)
    return replace(planned, refusals=(*refusals, *planned.refusals))


def lock_for(session: Session, plan: Plan) -> ClusterLock:
    """A lock on every node that the plan touches. Raises RefusedError when another run holds one of them."""
    links = [session.fleet[name] for name in plan.nodes]
    holder = this_holder(session.command, datetime.now(UTC))
    with session.phases.phase(Phase.LOCK, plan.nodes) as awaited:
        return lock_nodes(
            links,
            session.inventory,
            holder,
            clock=session.clock,
            cancellation=session.cancellation,
            answered=awaited.answered,
        )


def _execute(session: Session, plan: Plan, facts: ClusterFacts, lock: ClusterLock) -> Outcome:
    journal = Journal(
        session.inventory.state_dir,
        run=session.run,
        cluster=session.inventory.cluster,
        command=session.command,
        now=lambda: datetime.now(UTC),
        warn=session.reporter.warn,
    )
    holder = this_holder(session.command, datetime.now(UTC))
    journal.begin(f"{holder.who}@{holder.where}", facts.system_identifier)
    outcome = Execution(session, plan, facts, lock, journal).run()
    journal.end(outcome, _identity(session, facts))
    return outcome


def _identity(session: Session, facts: ClusterFacts) -> SystemIdentifier | None:
    """The cluster's identity, also when this run made the cluster."""
    if facts.system_identifier is not None:
        return facts.system_identifier
    return observe(session.fleet, session.inventory, session.passwords).system_identifier


def _moved(plan: Plan) -> Refused:
    refusal = Refusal(
        "moved",
        None,
        "the cluster changed between the look at it and the lock",
        "Run the same command again: it plans anew.",
    )
    return Refused(plan.command, plan.cluster, (refusal,))
