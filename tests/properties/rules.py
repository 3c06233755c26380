"""What has to hold at every moment, whatever is interrupted and whoever vanishes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

from replctl.model import actions, app_actions, repair_actions
from replctl.model.actions import RoleKind
from replctl.model.plan import Plan, Step
from replctl.model.values import SLOT_PREFIX, NodeName
from replctl.planning.consent import Consent
from tests.properties.intents import ROTATIONS, Intent, own_slots
from tests.properties.wal import Commit
from tests.properties.wanted import enough, ordered
from tests.properties.world import CONF, Directory, World, can_log_in, replays, streams


@dataclass(frozen=True)
class Rules:
    """Judges every state that follows ``start``. What was wrong there already is not held against the tool."""

    start: World
    intent: Intent

    def check(self, world: World, when: object) -> None:
        self._one_primary(world, when)
        self._none_revivable(world, when)
        self._nothing_lost(world, when)
        for name in world.machines:
            self._nothing_destroyed(world, name, f"{name} {when}")
        self._discarded_on_consent(world, when)
        self._standbys_replay_and_come_back(world, when)
        self._one_of_two_passwords(world, when)

    def _one_primary(self, world: World, when: object) -> None:
        """Nobody becomes writable beside a primary, and the application never knows of two."""
        assert len(world.rightful) <= 1, f"{world.rightful} lead the same timeline {when}"
        for name in set(world.writable) - set(self.start.writable):
            beside = set(world.writable) - {name} - self._given_up()
            assert not beside, f"{name} became writable beside {beside} {when}"
        listed = _listed(world) & set(world.writable) - self._given_up()
        assert len(listed) <= max(1, len(_listed(self.start) & set(self.start.writable))), f"{listed} are listed {when}"

    def _none_revivable(self, world: World, when: object) -> None:
        """Beside a primary there is no stopped node that a reboot would make a second one."""
        if world.rightful:
            waiting = set(world.revivable) - self._already_behind() - self._given_up()
            assert not waiting, f"{waiting} could be revived beside {world.rightful} {when}"

    def _given_up(self) -> set[NodeName]:
        """Nodes out of sight of which the operator has said, now or before, that they accept no writes."""
        unseen = {name for name, machine in self.start.machines.items() if not machine.reachable}
        fenced = Consent.FENCED in self.intent.consents and self.intent.command == "failover"
        return unseen if fenced else unseen - set(self.start.rightful)

    def _already_behind(self) -> set[NodeName]:
        """Stopped primaries that somebody else had replaced, or that lacked writes, before this command began."""
        return {n for n in self.start.revivable if self.start.writable or _lacks(self.start, n, self.start.promised)}

    def _nothing_lost(self, world: World, when: object) -> None:
        """A node that becomes writable holds every write that was promised; a failover gives up what was announced."""
        for name in set(world.writable) - set(self.start.writable):
            lacking = _lacks(world, name, replace(world, line=self.start.line).promised)
            assert not lacking or self.intent.command == "failover", f"{name} lacks {lacking} {when}"
            if Consent.DATA_LOSS not in self.intent.consents:
                astray = [other for other in self._standbys(world) if any(world[other].has(c) for c in lacking)]
                assert not astray, f"{name} became primary, and {astray} have more {when}"

    def _standbys(self, world: World) -> list[NodeName]:
        """Nodes that were no primary: what they have was to be had."""
        return [name for name, _, data in self.start.members() if "recovery" in data.state and world[name].data]

    def _nothing_destroyed(self, world: World, name: NodeName, when: str) -> None:
        """What is on a disk stays there, somewhere; what is not ours is not touched."""
        before, now = self.start[name], world[name]
        assert len(now.asides) >= len(before.asides), f"a directory that was set aside is gone: {when}"
        assert now.data is None or not now.data.partial, f"a broken directory got into place: {when}"
        if before.data is not None and self.intent.command in REPLACING:
            same = now.data is not None and now.data.wal.holds(before.data.wal)
            commits = () if same else self.start.commits
            lost = [commit for commit in commits if before.has(commit) and not _kept(world, name, commit)]
            assert not lost, f"{lost} are on no disk any more: {when}"
            assert now.data or now.rewinding or len(now.asides) > len(before.asides), f"its directory is gone: {when}"
        elif before.data is not None:
            assert now.data is not None, f"its directory is gone: {when}"
            _same_or_grown(before.data, now.data, when)
        if before.staging is not None and before.staging_run is None:
            assert now.staging == before.staging, f"a foreign staging directory was touched: {when}"

    def _discarded_on_consent(self, world: World, when: object) -> None:
        """Commits that only this node has leave its data directory by consent alone."""
        if self.intent.command != "rejoin" or Consent.DISCARD in self.intent.consents:
            return
        data, old = world[self.intent.node].data, self.start[self.intent.node].data
        if data is not None and old is not None and data.wal.holds(old.wal):
            return
        taken = [c for c in self.start.commits if old and old.wal.has(c) and not (data and data.wal.has(c))]
        alone = [c for c in taken if _lacks(self.start, name, [c])] if (name := _primary(self.start)) else []
        assert not alone, f"{alone} were given up without consent {when}"

    def _standbys_replay_and_come_back(self, world: World, when: object) -> None:
        """At any moment a host may go down and come up: its server starts with what its files say."""
        stranded = strandings(world) - self._stranded
        if self.intent.command in FILES_AT_ONCE:
            stranded = {one for one in stranded if one.endswith(PAUSED)}
        assert not stranded, f"{stranded} {when}"

    def _one_of_two_passwords(self, world: World, when: object) -> None:
        """Servers and passfiles have the password of the inventory, or the one that they had before."""
        for name, machine, data in world.members():
            passfiles = (0, world.wanted.passwords[RoleKind.REPLICATION], self.start[name].passfile)
            assert machine.passfile in passfiles, f"passfile of {name} {when}"
            unknown = data.verifiers.items() - self._verifiers
            assert not unknown, f"{name} has passwords that nobody knows: {unknown} {when}"

    @cached_property
    def _stranded(self) -> set[str]:
        return strandings(self.start)

    @cached_property
    def _verifiers(self) -> set[tuple[RoleKind, int]]:
        """Of every role the password of the inventory, and those that servers had before."""
        had = (item for _, _, data in self.start.members() for item in data.verifiers.items())
        return {*self.start.wanted.passwords.items(), *had}


FILES_AT_ONCE = ("config apply", "config apply --restart", "config apply --restart --switchover")
"""Files say the new values from the first step on, whoever has them in force (docs/commands/config.md)."""
PAUSED = "has paused"
WOULD_PAUSE = "would pause once its primary starts again"


def strandings(world: World) -> set[str]:
    """Standbys that do not replay, or would not be there again after a reboot of their host or of the primary's."""
    primary = world[world.rightful[0]] if world.rightful else None
    coming = ordered(primary.data.files.get(CONF, "")) if primary and primary.data else None
    found: set[str] = set()
    for name, machine, data in world.members():
        if machine.running and machine.in_recovery and not replays(machine):
            found.add(f"{name} {PAUSED}")
        if data.signal and not enough(ordered(data.files.get(CONF, "")), data.demanded):
            found.add(f"{name} would not start")
        if coming and streams(world, name, world.rightful[0]) and not enough(machine.in_force, coming):
            found.add(f"{name} {WOULD_PAUSE}")
    return found


REPLACING = ("rejoin", "remove-replica")
"""Commands that may put something else in a data directory's place."""


def _primary(world: World) -> NodeName | None:
    return world.rightful[0] if world.rightful else None


def _listed(world: World) -> set[NodeName]:
    return {world.env[0], *world.env[1]} if world.env is not None else set()


def _lacks(world: World, name: NodeName, promised: Iterable[Commit]) -> list[Commit]:
    data = world[name].data
    return [commit for commit in promised if data is None or not data.wal.has(commit)]


def _kept(world: World, name: NodeName, commit: Commit) -> bool:
    primary = _primary(world)
    return world[name].has(commit) or (primary is not None and world[primary].has(commit))


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
    data = world[primary].data
    assert data is not None
    assert data.verifiers.get(RoleKind.APP) == world.env_password, f"nobody gets in at {primary} {when}"
    assert world.rightful == (primary,), f"{primary} is published as the primary {when}"
    astray = [name for name in replicas if not streams(world, name, primary)]
    assert not astray, f"{astray} are published and do not stream {when}"


def check_pushed(start: World, world: World, when: object) -> None:
    """Right after it was pushed, a copy says what the env file says: it names no node that is fenced or removed."""
    new = {label: copy for label, copy in world.copies.items() if copy != start.copies.get(label)}
    assert all(copy == world.published for copy in new.values()), f"{new} and not {world.published} {when}"
    stopped = [
        name for primary, replicas, _ in new.values() for name in (primary, *replicas) if not world[name].running
    ]
    assert not stopped, f"{stopped} are named on a host of the application {when}"


def check_fenced(start: World, end: World) -> None:
    """A primary that was superseded, and was stopped for that, is started by nobody but the operator."""
    for name in set(start.writable) - set(start.rightful):
        machine = end[name]
        stays = not machine.reachable or machine.running or machine.data is None
        assert stays or not machine.autostart, f"{name} was fenced, and its host starts it"


def check_slots(start: World, end: World, intent: Intent) -> None:
    """After a run that nothing disturbed, slots of ours are those of the nodes that follow, and what was there before;
    a switchover leaves none behind, and a failover keeps one for a primary that may come back."""
    for name, machine, _ in end.members():
        if not (machine.reachable and machine.running):
            continue
        used = {end.inventory.nodes[other].slot for other in end.machines if streams(end, other, name)}
        own, before = own_slots(end, name), own_slots(start, name)
        assert used <= own, f"{used - own} are missing on {name}"
        away = _away(start) if intent.command == "failover" and name == intent.node else set()
        assert own - used <= before | away, f"{own - used - before} were left on {name}"
        if intent.command == "promote" and name != intent.node and streams(end, name, intent.node):
            assert own == used, f"{own - used} keep WAL for nobody on {name}"


def _away(start: World) -> set[str]:
    """The slots of nodes that do not run, or of which nobody knows."""
    return {
        start.inventory.nodes[name].slot
        for name, machine in start.machines.items()
        if not (machine.reachable and machine.running)
    }


HARMLESS: dict[type, str] = {
    actions.CheckLogin: "asks only",
    actions.Checkpoint: "the server would make one anyway",
    actions.GetReadyToStop: "what waits for its go ends with the connection",
    actions.GetReadyToPromote: "what waits for its go ends with the connection",
    actions.DropStuckWalsenders: "puts the setting back itself; the standby comes back when it can",
    actions.ProveCaughtUp: "asks only",
    actions.ProbeWrite: "leaves a record in the WAL that nobody reads",
    actions.AwaitStreaming: "waits only; its write probe leaves a record in the WAL that nobody reads",
    actions.SetSynchronous: "commits wait for no more standbys than stream, whatever it says",
    actions.WritePassfile: "says what the inventory says; nothing reads it until the node follows a peer",
    actions.CreateRole: "what the inventory wants, whole by itself",
    actions.CreateDatabase: "what the inventory wants, whole by itself",
    actions.GrantRewind: "what the inventory wants, whole by itself",
    actions.PublishEnv: "true by itself: it lists nodes proven at that moment",
    actions.RepointStandby: "a running standby follows the one primary: nothing else it could rightly follow",
    actions.ConfigureStandby: "a stopped standby stays one, and will follow the one primary when it is started",
    actions.DropSlot: "a slot of ours on a standby, where it keeps WAL for nobody",
    actions.ReloadConfig: "reads what is there; a change of the files has its own undo",
    actions.FencePrimary: "two primaries are worse than one that is stopped",
    actions.ProveFurthest: "asks only",
    actions.SetAutostart: "without an undo for a fenced node alone, which stays down",
    actions.SettleFenceDebt: "the node was seen to be harmless",
    repair_actions.RecoverAlone: "replays what is there; it stays a stopped node that cannot lead",
    repair_actions.KeepDivergedWal: "a copy beside the data directory",
    repair_actions.CheckRewind: "asks only",
    actions.AwaitReplayed: "waits only",
    actions.AwaitPassword: "waits only",
    app_actions.PushEnv: "says what the env file says",
    app_actions.EndAppSessions: "the application connects again, by the file that it has",
    app_actions.CountAppSessions: "asks only",
}
"""Changing steps that need no undo, and why."""


LASTING = (
    actions.PublishEnv,
    actions.RepointStandby,
    actions.ConfigureStandby,
    actions.DropSlot,
    actions.FencePrimary,
    actions.SetAutostart,
    actions.SettleFenceDebt,
    repair_actions.RecoverAlone,
)
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
    is_undo_itself = any(step.action == earlier.undo for earlier in before) or _starts_again(step, before)
    return step.undo is not None or is_undo_itself or type(step.action) in HARMLESS


def _starts_again(step: Step, before: tuple[Step, ...]) -> bool:
    """The undo of the stop before it starts the server too, with the files that it had."""
    stopped = any(isinstance(earlier.undo, actions.StartWithConfig) and earlier.node == step.node for earlier in before)
    return stopped and isinstance(step.action, actions.StartPostgres)


def lasts(step: Step, intent: Intent) -> bool:
    """Whether a run that fails after this step keeps it. A passfile with a new password goes with the role that has it
    (Execution keeps what independent lanes rest on)."""
    if intent.command in ROTATIONS and isinstance(step.action, actions.WritePassfile):
        return True
    staged = getattr(step.action, "place", None) is actions.Place.STAGING
    return step.undo is None and isinstance(step.action, LASTING) and not staged


def what_matters(world: World, besides: Iterable[NodeName | None] = ()) -> object:
    """A world without what may differ after an undo: writes of clients, passfiles, and what a server read last
    (a reload is undone before the files are); and without nodes that were fenced, which is never undone."""
    left = set(besides)
    nodes = {name: _matters(world, name) for name in world.machines if name not in left}
    return world.env, dict(world.debts), nodes, _passwords(world), _let_in(world, left)


def _passwords(world: World) -> object:
    return {name: dict(machine.data.verifiers) for name in world.rightful if (machine := world[name]).data}


def _let_in(world: World, besides: set[NodeName | None]) -> object:
    """Standbys that would connect again."""
    links = ((name, data.upstream) for name, machine, data in world.members() if machine.in_recovery)
    return {
        name for name, upstream in links if upstream and upstream not in besides and can_log_in(world, name, upstream)
    }


def _matters(world: World, name: NodeName) -> object:
    machine = world[name]
    data, staging = machine.data, machine.staging
    if data is not None:
        # A primary does not look at what it would follow as a standby.
        follows = (data.upstream, data.slot) if data.signal else None
        kept = (data.identity, data.wal.branches, follows, dict(data.files), data.slots)
        return machine.running, machine.in_recovery, machine.autostart, kept
    return None if staging is None or staging.partial else "staged"
