"""Fencing: a primary that another one went on without is stopped before anything else happens.

It is done by changing commands alone, on what they observe now; notes only remind of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from replctl.model.actions import FencePrimary, SettleFenceDebt
from replctl.model.facts import ClusterFacts, NoInstance, Primary, Replica, Stopped, Unreachable
from replctl.model.plan import Plan, Refusal, Refused, Stage, Step
from replctl.model.values import NodeName
from replctl.planning.ancestry import fork_from_primary, has_diverged, superseded
from replctl.planning.services import check_starts, stays_down
from replctl.planning.situation import IN_PRODUCTION, Situation, step
from replctl.postgres.layout import kept_down

SHUT_DOWN = "shut down"


def after_fencing(facts: ClusterFacts) -> ClusterFacts:
    """The facts as they will be once every superseded primary that SSH reaches has been fenced, and stays down."""
    fenced = {old.node: _fenced(old) for old in superseded(facts) if old.ssh is None and old.host is not None}
    down = {old.node: replace(old, host=kept_down(old.host)) for old in _fenced_before(facts)}
    return replace(facts, nodes={**facts.nodes, **down, **{name: seen for name, seen in fenced.items() if seen}})


def _fenced_before(facts: ClusterFacts) -> tuple[Stopped, ...]:
    """Stopped primaries with standby.signal that another one went on without: the run that fenced them may have been
    killed before it came to their service."""
    stopped = (seen for seen in facts.nodes.values() if isinstance(seen, Stopped) and seen.host.standby_signal)
    return tuple(seen for seen in stopped if _was_left_behind(facts, seen))


def _was_left_behind(facts: ClusterFacts, node: Stopped) -> bool:
    """What a switchover demoted ends where the new timeline begins. How far a crashed one had written is not known; a
    copy that never started looks like it, and is started by add-replica."""
    if node.control.state == IN_PRODUCTION:
        return fork_from_primary(facts, node) is not None
    return node.control.state == SHUT_DOWN and has_diverged(facts, node)


def _fenced(old: Primary) -> Stopped | None:
    if old.host is None or old.host.control is None:
        return None
    control = replace(old.host.control, state=SHUT_DOWN, checkpoint=old.current, timeline=old.server.timeline)
    host = replace(old.host, postmaster=None, standby_signal=True, control=control, port_in_use=False)
    return Stopped(old.node, kept_down(host), control)


def plan_with_fencing(situation: Situation, planner: Callable[[Situation], Plan | Refused]) -> Plan | Refused:
    """What the planner wants, with the fencing that today's facts demand as its first stage.

    A refusal then becomes a plan that fences and ends refused.
    """
    facts = after_fencing(situation.facts)
    changed = [name for name, seen in facts.nodes.items() if seen is not situation.facts.nodes[name]]
    fenced = [name for name in changed if isinstance(situation.facts.nodes[name], Primary)]
    planned = planner(replace(situation, facts=facts))
    if isinstance(planned, Plan) and any(planned.steps) and (doubts := _doubts(facts)):
        return situation.refuse(planned.command, doubts)
    if isinstance(planned, Plan) and (refusals := check_starts(situation, planned)):
        planned = situation.refuse(planned.command, refusals)
    lanes = [_fence(situation, name) for name in fenced]
    if isinstance(planned, Refused):
        if not lanes:
            return planned
        plan = situation.plan(planned.command, [Stage(tuple(lanes))], notes=[_note(name) for name in fenced])
        return replace(plan, refused=planned.refusals)
    lanes += [lane for name in changed if name not in fenced and (lane := _kept_down(situation, name))]
    seen = {one.action for one in planned.steps if isinstance(one.action, SettleFenceDebt)}
    settled = tuple(one for one in _settled(situation, fenced) if one.action not in seen)
    if lanes:
        notes = (*(_note(name) for name in fenced), *planned.notes)
        planned = replace(planned, stages=(Stage(tuple(lanes)), *planned.stages), notes=notes)
    if settled and any(planned.steps):
        planned = replace(planned, stages=(*planned.stages, Stage((settled,))))
    return planned


def _doubts(facts: ClusterFacts) -> list[Refusal]:
    """The only primary in sight was replaced, says a note, by a node that cannot be asked: nothing is built on it."""
    return [
        Refusal(
            "replaced-primary",
            debt.node,
            f"{debt.node} runs as primary, but {debt.promoted} took over from it ({debt.since}) and cannot be reached: "
            f"what {debt.node} has may not be the cluster's",
            f"Bring {debt.promoted} back, or mend the way to it. If it is gone for good, take it out of the inventory.",
        )
        for debt in facts.debts
        if facts.primary is not None and facts.primary.node == debt.node and _replaced_out_of_sight(facts, debt.node)
    ]


def _fence(situation: Situation, name: NodeName) -> tuple[Step, ...]:
    primary = next(p.node for p in situation.facts.primaries if p not in superseded(situation.facts))
    fence = step("fence", name, FencePrimary(), f"{primary} took over from {name}, which still accepts writes")
    return (fence, *_kept_down(situation, name))


def _kept_down(situation: Situation, name: NodeName) -> tuple[Step, ...]:
    return tuple(replace(one, undo=None) for one in stays_down(situation, name))


def _note(name: NodeName) -> str:
    return f"{name} is fenced first and stays stopped: what it wrote since the other node took over is kept there"


def _settled(situation: Situation, fenced: list[NodeName]) -> tuple[Step, ...]:
    """Debts of nodes that are seen to be harmless now, or are made so by this very plan."""
    return tuple(
        settle(debt.node)
        for debt in situation.facts.debts
        if debt.node in fenced or is_harmless(situation.facts, debt.node)
    )


def settle(name: NodeName) -> Step:
    """The note of a node that is harmless, or given up, goes."""
    return Step(f"settle:{name}", None, SettleFenceDebt(name), f"{name} needs no fencing any more")


def is_harmless(facts: ClusterFacts, name: NodeName) -> bool:
    """Whether a node was seen, and nothing but replctl would make it a second primary."""
    match facts.nodes.get(name):
        case None | NoInstance() | Replica():
            return True
        case Stopped(host=host):
            return host.standby_signal
        case Primary():
            return facts.primary is not None and facts.primary.node == name and not _replaced_out_of_sight(facts, name)
        case _:
            return False


def _replaced_out_of_sight(facts: ClusterFacts, name: NodeName) -> bool:
    """It is the only primary that can be seen, but the one that took over from it may be writing at this moment."""
    return any(debt.node == name and isinstance(facts.nodes.get(debt.promoted), Unreachable) for debt in facts.debts)


def owes(facts: ClusterFacts, name: NodeName) -> bool:
    """Whether a note reminds of a node that could not be seen since, or that could come back as it was."""
    found = facts.nodes.get(name)
    return any(debt.node == name for debt in facts.debts) and (
        isinstance(found, Unreachable) or not is_harmless(facts, name)
    )
