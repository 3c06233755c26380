"""Whom commits wait for: a plan that takes standbys away, or brings them, keeps synchronous_standby_names right.

Invariant, with ``sync`` in the inventory: at no moment of a plan do commits wait for more standbys than stream. Before
one is stopped the primary asks for less; a node that becomes the primary asks for nobody until others follow it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from replctl.model.actions import AwaitStreaming, Promote, SetSynchronous, StopPostgres
from replctl.model.facts import ClusterFacts, Primary, Replica, Stopped
from replctl.model.inventory import Inventory, Sync
from replctl.model.plan import OnFailure, Stage, Step
from replctl.model.values import NodeName
from replctl.planning.topology import streams_from_primary
from replctl.postgres.conf_syntax import parse_conf
from replctl.postgres.standby_names import STANDBY_NAMES, parse_standby_names, standby_names

COMMANDS = frozenset({"init-primary", "add-replica", "promote", "rejoin", "remove-replica", "restart", "config apply"})
"""Those after which synchronous_standby_names is as the inventory has it."""


def with_synchronous(
    inventory: Inventory, facts: ClusterFacts, command: str, stages: Sequence[Stage]
) -> Sequence[Stage]:
    """The stages with what keeps the setting right; those of a plan within this one are made anew."""
    if inventory.sync is None or command not in COMMANDS:
        return stages
    bare = [replace(stage, lanes=tuple(tuple(_not_ours(lane)) for lane in stage.lanes)) for stage in stages]
    case = _Case(inventory, facts, inventory.sync, tuple(_steps(bare)), frozenset(_following(inventory, facts)))
    kept = [replace(stage, lanes=tuple(tuple(case.kept_right(lane)) for lane in stage.lanes)) for stage in bare]
    spared = any(isinstance(step.action, SetSynchronous) for step in _steps(kept))
    last = [*case.in_the_end(certainly=spared), *case.left_over()]
    if not last:
        return kept
    moves = [place for place, stage in enumerate(kept) if any(_moves(step) for step in _steps([stage]))]
    place = moves[-1] + 1 if moves else len(kept)
    return [*kept[:place], Stage(tuple((step,) for step in last), OnFailure.GO_ON), *kept[place:]]


def wanted_names(inventory: Inventory, facts: ClusterFacts, sync: Sync, primary: Primary) -> str:
    """What the setting has to be on the primary, with those that follow it now."""
    return standby_names(sync, _others(inventory, primary.node), len(_following(inventory, facts)))


def _not_ours(lane: Sequence[Step]) -> Iterator[Step]:
    return (step for step in lane if not isinstance(step.action, SetSynchronous))


def _steps(stages: Sequence[Stage]) -> Iterator[Step]:
    return (step for stage in stages for lane in stage.lanes for step in lane)


def _moves(step: Step) -> bool:
    return isinstance(step.action, AwaitStreaming | StopPostgres | SetSynchronous)


def _others(inventory: Inventory, primary: NodeName) -> tuple[NodeName, ...]:
    """In the inventory's order, which is the order of preference of FIRST."""
    return tuple(name for name in inventory.nodes if name != primary)


def _following(inventory: Inventory, facts: ClusterFacts) -> set[NodeName]:
    return {replica.node for replica in facts.replicas if streams_from_primary(inventory, facts, replica)}


def names_set(facts: ClusterFacts, name: NodeName) -> str:
    """What a node has as synchronous_standby_names, as far as it is known; empty if not."""
    seen = facts.nodes[name]
    match seen:
        case Primary() | Replica():
            return seen.server.setting(STANDBY_NAMES)
        case Stopped():
            return parse_conf(seen.host.files.get("postgresql.auto.conf", "")).get(STANDBY_NAMES, "")
        case _:
            return ""


@dataclass(frozen=True, slots=True)
class _Case:
    inventory: Inventory
    facts: ClusterFacts
    sync: Sync
    steps: tuple[Step, ...]
    following: frozenset[NodeName]
    """Those that stream from today's primary."""

    def kept_right(self, lane: Sequence[Step]) -> Iterator[Step]:
        """A lane with what has to come before its stops and its promotion, and after a return as a replica."""
        yield from (self._alone(step) for step in lane if self._needs_alone(step))
        for step in lane:
            if self._is_missed(step):
                yield self._spare(step)
            yield step
            if isinstance(step.action, AwaitStreaming) and step.node and names_set(self.facts, step.node):
                yield _waits_for_nobody(step.node)

    def _needs_alone(self, step: Step) -> bool:
        return isinstance(step.action, Promote) and step.node is not None and names_set(self.facts, step.node) != ""

    def _alone(self, step: Step) -> Step:
        assert step.node is not None
        why = f"nobody follows {step.node} at first, and its commits would wait"
        return Step(f"no-standbys:{step.node}", step.node, SetSynchronous(()), why)

    def _is_missed(self, step: Step) -> bool:
        """Whether commits on today's primary wait once this node is stopped."""
        primary = self.facts.primary
        if primary is None or not isinstance(step.action, StopPostgres) or step.node is None:
            return False
        wanted = parse_standby_names(primary.server.setting(STANDBY_NAMES))
        return step.node in self.following and wanted.lacking(self.following - {step.node})

    def _spare(self, step: Step) -> Step:
        assert self.facts.primary is not None
        assert step.node is not None
        primary, names = self.facts.primary.node, _others(self.inventory, self.facts.primary.node)
        why = f"no commit may wait for {step.node} while it is stopped"
        action = SetSynchronous(names, without=step.node)
        return Step(f"standbys:{primary}", primary, action, why, undo=SetSynchronous(names))

    def left_over(self) -> Iterator[Step]:
        """Replicas that an interrupted run left with what they had as the primary."""
        moved = {step.node for step in self.steps if isinstance(step.action, AwaitStreaming | StopPostgres | Promote)}
        for replica in self.facts.replicas:
            if replica.node not in moved and names_set(self.facts, replica.node):
                yield _waits_for_nobody(replica.node)

    def in_the_end(self, *, certainly: bool) -> Iterator[Step]:
        """What has commits wait for those that follow by then, where that is news."""
        promoted = next((step.node for step in reversed(self.steps) if isinstance(step.action, Promote)), None)
        primary = self.facts.primary
        if promoted is not None:
            leads, now, following = promoted, "", set[NodeName]()
        elif primary is not None:
            leads, now = primary.node, primary.server.setting(STANDBY_NAMES)
            following = set(self.following)
        else:
            return
        for step in self.steps:
            if step.node is not None and step.node != leads:
                if isinstance(step.action, AwaitStreaming):
                    following.add(step.node)
                elif isinstance(step.action, StopPostgres):
                    following.discard(step.node)
        names = _others(self.inventory, leads)
        wanted = standby_names(self.sync, names, len(following))
        if wanted != now or certainly:
            yield Step(f"standbys:{leads}", leads, SetSynchronous(names), _why(self.sync, leads, len(following)))


def _waits_for_nobody(replica: NodeName) -> Step:
    why = f"{replica} is a replica, and must wait for nobody when it is promoted one day"
    return Step(f"no-standbys:{replica}", replica, SetSynchronous(()), why)


def _why(sync: Sync, leads: NodeName, following: int) -> str:
    number = min(sync.count, following)
    if not number:
        return f"no replica follows {leads}, and commits would wait for ever"
    whom = "any" if sync.mode.value == "any" else "the first"
    return f"commits on {leads} wait for {whom} {number} of its replicas"
