"""What has to hold at every moment, whatever is interrupted and whoever vanishes."""

from __future__ import annotations

from dataclasses import dataclass

from replctl.model import actions
from replctl.model.plan import Plan, Step
from replctl.model.values import SLOT_PREFIX, NodeName
from tests.properties.world import Directory, World, streams


@dataclass(frozen=True)
class Rules:
    """Judges every state that follows ``start``. What was wrong there already is not held against the tool."""

    start: World

    def check(self, world: World, when: object) -> None:
        self._one_primary(world, when)
        self._nothing_lost(world, when)
        self._nothing_destroyed(world, when)

    def _one_primary(self, world: World, when: object) -> None:
        """At most one writable node, and beside it none that a reboot would make a second one."""
        assert len(world.writable) <= max(1, len(self.start.writable)), f"{world.writable} are writable {when}"
        if world.writable:
            waiting = set(world.revivable) - self._already_behind()
            assert not waiting, f"{waiting} could be revived beside {world.writable} {when}"

    def _already_behind(self) -> set[NodeName]:
        """Stopped primaries that somebody else had replaced, or that lacked writes, before this command began."""
        return {name for name in self.start.revivable if self.start.writable or not _has_all(self.start, name)}

    def _nothing_lost(self, world: World, when: object) -> None:
        """A node that becomes writable holds every write that was ever acknowledged."""
        for name in set(world.writable) - set(self.start.writable):
            assert _has_all(world, name), f"{name} lacks acknowledged writes {when}"

    def _nothing_destroyed(self, world: World, when: object) -> None:
        """Data directories stay, WAL only grows, and what is not ours is not touched."""
        for name, machine in self.start.machines.items():
            now = world[name]
            if machine.data is not None:
                assert now.data is not None, f"{name}'s data directory is gone {when}"
                _same_or_grown(machine.data, now.data, f"{name} {when}")
            if machine.staging is not None and machine.staging_run is None:
                assert now.staging == machine.staging, f"{name}'s foreign staging directory was touched {when}"


def _has_all(world: World, name: NodeName) -> bool:
    data = world[name].data
    return data is not None and all(data.wal.holds(known) for known in world.acknowledged)


def _same_or_grown(before: Directory, now: Directory, when: str) -> None:
    assert now.identity == before.identity, f"another cluster stands at {when}"
    assert now.wal.branches[: len(before.wal.branches)] == before.wal.branches, f"WAL was rewritten: {when}"
    assert now.wal.end >= before.wal.end, f"WAL was lost: {when}"
    foreign = {slot for slot in before.slots if not slot.startswith(SLOT_PREFIX)}
    assert foreign <= now.slots, f"a foreign slot was dropped: {when}"
    assert before.sql <= now.sql or now.signal, f"roles were dropped: {when}"


def check_published(world: World, when: object) -> None:
    """Right after the env file was written, it names nodes in their true roles only."""
    assert world.env is not None
    primary, replicas = world.env
    assert world.writable == (primary,), f"{primary} is published as the primary {when}"
    astray = [name for name in replicas if not streams(world, name, primary)]
    assert not astray, f"{astray} are published and do not stream {when}"


HARMLESS: dict[type, str] = {
    actions.CheckLogin: "asks only",
    actions.Checkpoint: "the server would make one anyway",
    actions.DropStuckWalsenders: "puts the setting back itself; the standby comes back when it can",
    actions.ProveCaughtUp: "asks only",
    actions.ProbeWrite: "leaves a record in the WAL that nobody reads",
    actions.AwaitStreaming: "waits only; its write probe leaves a record in the WAL that nobody reads",
    actions.WritePassfile: "says what the inventory says; nothing reads it until the node follows a peer",
    actions.CreateRole: "what the inventory wants, whole by itself",
    actions.CreateDatabase: "what the inventory wants, whole by itself",
    actions.GrantRewind: "what the inventory wants, whole by itself",
    actions.PublishEnv: "true by itself: it lists nodes proven at that moment",
    actions.RepointStandby: "a running standby follows the one primary: nothing else it could rightly follow",
    actions.ConfigureStandby: "a stopped standby stays one, and will follow the one primary when it is started",
    actions.DropSlot: "a slot of ours on a standby, where it keeps WAL for nobody",
}
"""Changing steps that need no undo, and why."""


LASTING = (actions.PublishEnv, actions.RepointStandby, actions.ConfigureStandby, actions.DropSlot)
"""Of these, what stays: a run that fails after one of them ends incomplete, not undone."""


def uncovered(plan: Plan) -> list[Step]:
    """Steps that a failing run would neither take back nor leave as something harmless."""
    found: list[Step] = []
    past_return = False
    for stage in plan.stages:
        for lane in stage.lanes:
            for index, step in enumerate(lane):
                before = lane[: index + 1]
                if not past_return and not any(one.point_of_no_return for one in before) and not _covered(step, before):
                    found.append(step)
        past_return = past_return or any(step.point_of_no_return for lane in stage.lanes for step in lane)
    return found


def _covered(step: Step, before: tuple[Step, ...]) -> bool:
    staged = getattr(step.action, "place", None) is actions.Place.STAGING
    if staged:  # goes with the staging directory that an earlier step of the lane made
        return any(isinstance(earlier.undo, actions.RemoveStaging) for earlier in before)
    return step.undo is not None or type(step.action) in HARMLESS


def lasts(step: Step) -> bool:
    staged = getattr(step.action, "place", None) is actions.Place.STAGING
    return step.undo is None and isinstance(step.action, LASTING) and not staged


def what_matters(world: World) -> object:
    """A world without what may differ after an undo: writes of clients, passfiles, and what a server read last
    (a reload is undone before the files are)."""
    return world.env, {name: _matters(world, name) for name in world.machines}


def _matters(world: World, name: NodeName) -> object:
    machine = world[name]
    data, staging = machine.data, machine.staging
    if data is not None:
        # A primary does not look at what it would follow as a standby.
        follows = (data.upstream, data.slot) if data.signal else None
        kept = (data.identity, data.wal.branches, follows, dict(data.files), data.slots)
        return machine.running, machine.in_recovery, kept
    return None if staging is None or staging.partial else "staged"
