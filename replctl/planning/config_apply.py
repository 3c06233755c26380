"""Plans ``config apply``: the files of every node, then, where it was asked for, the restarts that settings wait for.

A standby must have at least its primary's value of the five ordered settings, or it does not start. So a raised one
goes to the replicas first and a lowered one to the primary first, whichever flags were given. The files of the later
ones wait for their turn, if that comes in the same run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum

from replctl.model.actions import (
    Action,
    AwaitReplayed,
    AwaitStreaming,
    Checkpoint,
    ConfigFile,
    DropStuckWalsenders,
    Pending,
    ProbeWrite,
    ReloadConfig,
    StartPostgres,
    StartWithConfig,
    StopPostgres,
)
from replctl.model.facts import Primary, Replica, Stopped
from replctl.model.plan import Plan, Refusal, Refused, Stage, Step
from replctl.model.values import NodeName
from replctl.planning.add_replica import plan_add_replica
from replctl.planning.config_diff import (
    Needs,
    SettingDifference,
    host_and_major,
    look_at,
    setting_differences,
)
from replctl.planning.init_primary import plan_init_primary
from replctl.planning.promote import plan_promote
from replctl.planning.restart import check_link, check_unseen_followers, nobody_takes_over, switchover_candidate
from replctl.planning.role_change import wake
from replctl.planning.situation import (
    Situation,
    forward_only,
    needs_primary,
    sequence,
    side_by_side,
    step,
    waiting_for,
    write_config,
)
from replctl.planning.states import ORDERED_SETTINGS
from replctl.planning.switchover_checks import stuck_walsenders
from replctl.postgres.setting_values import comparable

COMMAND = "config apply"
AGAIN = "the same command again: this run only starts what another one had stopped"


class Restarting(StrEnum):
    """What may be restarted for settings that wait for it."""

    REPLICAS = "replicas"
    PRIMARY = "primary"
    SWITCHOVER = "switchover"


@dataclass(slots=True)
class _Restarts:
    """What has been decided so far, and the ordered settings of every running node once that is done."""

    situation: Situation
    due: Mapping[NodeName, tuple[SettingDifference, ...]]
    values: dict[NodeName, dict[str, int]]
    stages: list[Stage] = field(default_factory=list[Stage])
    refusals: list[Refusal] = field(default_factory=list[Refusal])
    done: set[NodeName] = field(default_factory=set[NodeName])
    late: set[NodeName] = field(default_factory=set[NodeName])
    """Nodes whose files are written when their turn comes: whichever host boots before, no standby is below the primary
    that it comes back to."""
    notes: list[str] = field(default_factory=list[str])
    unfinished: list[str] = field(default_factory=list[str])

    def target(self, name: NodeName) -> dict[str, int]:
        """A node's ordered settings once it has restarted."""
        return self.values[name] | _ordered(self.situation, name, self.due.get(name, ()))

    def written_late(self, name: NodeName) -> tuple[Step, ...]:
        self.late.add(name)
        return _write(self.situation, name)

    def restarted(self, name: NodeName, *stages: Stage) -> None:
        self.values[name] = self.target(name)
        self.done.add(name)
        self.stages += stages


def plan_config_apply(
    situation: Situation, names: Sequence[NodeName], restarting: Set[Restarting] = frozenset()
) -> Plan | Refused:
    """What brings the configuration of the named nodes, or of all that can be reached, to the inventory's."""
    if restarting and (begun := _start_first(situation, names, restarting)) is not None:
        return begun
    looked = look_at(situation, names)
    refusals = list(looked.others) if names or not looked.nodes else []
    if restarting:
        refusals += needs_primary(situation, COMMAND)
    if refusals:
        return situation.refuse(COMMAND, dict.fromkeys(refusals))
    found = {name: setting_differences(situation, name) for name in looked.nodes}
    due = {name: waiting for name in found if (waiting := _that(Needs.RESTART, found[name]))}
    restarts = _Restarts(situation, due, _values_now(situation))
    if restarting and situation.facts.primary is not None:
        _decide(restarts, situation.facts.primary, restarting)
    if restarts.refusals:
        return situation.refuse(COMMAND, dict.fromkeys(restarts.refusals))
    files = Stage(tuple(_write(situation, name) for name in looked.nodes if name not in restarts.late))
    notes = [
        *(f"{other.message}: its configuration stays as it is. {other.hint}" for other in looked.others),
        *(note for name, one in found.items() for note in _overrides(name, _that(Needs.OVERRIDE, one))),
        *restarts.notes,
        *_left(restarts),
    ]
    return situation.plan(COMMAND, [files, *restarts.stages], notes=notes, unfinished=restarts.unfinished)


def _start_first(situation: Situation, names: Sequence[NodeName], restarting: Set[Restarting]) -> Plan | None:
    """What a run that was killed between a stop and a start has left, where that may be started."""
    stopped = [
        seen
        for name, seen in situation.facts.nodes.items()
        if isinstance(seen, Stopped) and (not names or name in names)
    ]
    led = [seen.node for seen in stopped if not seen.host.standby_signal]
    followed = [seen.node for seen in stopped if seen.host.standby_signal]
    planned, names = None, followed
    if Restarting.PRIMARY in restarting and not situation.facts.primaries and len(led) == 1:
        planned, names = plan_init_primary(situation, led[0]), led
    elif Restarting.REPLICAS in restarting and situation.facts.primary is not None and followed:
        planned = plan_add_replica(situation, followed)
    if not isinstance(planned, Plan):
        return None
    notes = (f"{' and '.join(names)} was left stopped, and comes back first", *planned.notes)
    return replace(planned, command=COMMAND, notes=notes, unfinished=(*planned.unfinished, AGAIN))


def _that(needs: Needs, found: Sequence[SettingDifference]) -> tuple[SettingDifference, ...]:
    return tuple(one for one in found if one.needs is needs)


def _write(situation: Situation, name: NodeName) -> tuple[Step, ...]:
    """Files that say so already may still wait for a reload."""
    host, major = host_and_major(situation, name)
    steps = write_config(name, host, situation.changed_config(name, major), Pending.PLANNED)
    if steps or not _that(Needs.RELOAD, setting_differences(situation, name)):
        return steps
    return (step("reload", name, ReloadConfig(Pending.PLANNED), "the files say what the server has not read yet"),)


def _values_now(situation: Situation) -> dict[NodeName, dict[str, int]]:
    running = (seen for seen in situation.facts.nodes.values() if isinstance(seen, Primary | Replica))
    return {
        seen.node: {name: int(text) for name in ORDERED_SETTINGS if (text := seen.server.setting(name))}
        for seen in running
    }


def _ordered(situation: Situation, name: NodeName, due: Sequence[SettingDifference]) -> dict[str, int]:
    if not due:
        return {}
    live = situation.facts.configurations[name].live
    wanted = {one.name: comparable(one.wanted, live[one.name]) for one in due if one.name in ORDERED_SETTINGS}
    return {name: int(value) for name, value in wanted.items() if isinstance(value, Decimal)}


def _below(standby: Mapping[str, int], primary: Mapping[str, int]) -> list[str]:
    return [name for name, value in standby.items() if value < primary.get(name, value)]


def _decide(restarts: _Restarts, primary: Primary, restarting: Set[Restarting]) -> None:
    situation = restarts.situation
    replicas = [one for one in situation.facts.replicas if one.node in restarts.due]
    candidate = switchover_candidate(situation.inventory, situation.facts)
    if Restarting.SWITCHOVER in restarting:  # its cache fills while the others restart
        replicas.sort(key=lambda one: one.node != candidate)
    if Restarting.REPLICAS in restarting:
        _restart_replicas(restarts, primary, replicas)
    if primary.node not in restarts.due:
        return
    if Restarting.PRIMARY in restarting:
        restarts.refusals += _too_low(restarts, primary)
        raised = _below(restarts.values[primary.node], restarts.target(primary.node))
        first = restarts.written_late(primary.node) if raised else ()
        restarts.restarted(primary.node, *_restart_primary(situation, primary, first))
        restarts.notes.append(f"writes are refused while {primary.node} restarts")
        if Restarting.REPLICAS in restarting:
            _restart_replicas(restarts, primary, replicas)
    elif Restarting.SWITCHOVER in restarting:
        _switch_over(restarts, primary, candidate)


def _restart_replicas(restarts: _Restarts, primary: Primary, replicas: Sequence[Replica]) -> None:
    """Those that may have their new settings under the primary as it is by then."""
    for replica in replicas:
        name = replica.node
        if name in restarts.done or _below(restarts.target(name), restarts.values[primary.node]):
            continue
        restarts.refusals += check_link(restarts.situation, primary, replica)
        lowered = _below(restarts.target(name), restarts.values[name])
        first = _once_replayed(restarts, replica, primary) if lowered else ()
        restarts.restarted(name, sequence(*first, *_bounce(restarts.situation, replica, primary)))


def _once_replayed(restarts: _Restarts, replica: Replica, primary: Primary) -> tuple[Step, ...]:
    """A standby starts with less only if its own pg_control says that its primary has less."""
    why = f"it may have less than before once it has replayed that {primary.node} has"
    known = step("replayed", replica.node, AwaitReplayed(primary.node), why)
    return (known, *restarts.written_late(replica.node))


def _bounce(situation: Situation, replica: Replica, primary: Primary) -> tuple[Step, ...]:
    """Forward only from the end on: the next node may fail without this one going back."""
    name = replica.node
    back = step("caught-up", name, AwaitStreaming(primary.node), "it is back before the next one stops")
    return (*_restart(situation, name, "its sessions end, and it receives no WAL from here on"), forward_only(back))


def _restart(situation: Situation, name: NodeName, why: str) -> tuple[Step, ...]:
    return (
        step("stop", name, StopPostgres(), why, undo=_undo_of_stop(situation, name)),
        step("start", name, StartPostgres(), f"{name} comes back with its new settings"),
    )


def _undo_of_stop(situation: Situation, name: NodeName) -> Action:
    """The new settings may be why it does not start: then it starts with the old ones."""
    host, major = host_and_major(situation, name)
    changed = situation.changed_config(name, major)
    old = tuple(ConfigFile(file.name, host.files[file.name]) for file in changed if file.name in host.files)
    return StartWithConfig(old) if old else StartPostgres()


def _restart_primary(situation: Situation, primary: Primary, first: tuple[Step, ...]) -> tuple[Stage, Stage]:
    name, pids = primary.node, stuck_walsenders(primary)
    stuck = step("walsenders", name, DropStuckWalsenders(pids), "the stop would wait for a standby that is silent")
    probe = step("probe-write", name, ProbeWrite(), f"writes go on once {name} takes them")
    restart = sequence(
        *first,
        stuck if pids else None,
        step("checkpoint", name, Checkpoint(), "most of what the stop has to write is written while writes still flow"),
        *_restart(situation, name, "writes are refused from here on"),
        forward_only(probe),
    )
    lanes = (
        (
            wake(replica),
            step("streaming", replica, AwaitStreaming(name), f"it follows {name} again"),
        )
        for replica in waiting_for(situation, name)
    )
    return restart, side_by_side(lanes)


def _too_low(restarts: _Restarts, primary: Primary) -> Iterator[Refusal]:
    """Replicas that would not follow the primary with what it is to have."""
    target = restarts.target(primary.node)
    yield from check_unseen_followers(restarts.situation, primary, _below(restarts.values[primary.node], target))
    for replica in restarts.situation.facts.replicas:
        name = replica.node
        for setting in _below(restarts.values[name], target):
            both = bool(_below(restarts.target(name), restarts.values[primary.node]))
            yield Refusal(
                "ordered-setting",
                name,
                f"{name} has {setting} = {restarts.values[name][setting]}, less than the {target[setting]} that "
                f"{primary.node} is to have: it would stop replaying",
                "Raise in one run and lower in another: one takes the replicas first, the other the primary."
                if both
                else f"With --restart the replicas come first; `replctl config apply {name} --restart` does it alone.",
            )


def _switch_over(restarts: _Restarts, primary: Primary, candidate: NodeName | None) -> None:
    """The candidate leads with what it has by then, and the old primary starts as its standby."""
    situation = restarts.situation
    if candidate is None:
        restarts.refusals += nobody_takes_over(situation, primary)
        return
    links = [r for one in situation.facts.replicas for r in check_link(situation, primary, one)]
    planned = plan_promote(situation, candidate)
    restarts.refusals += [*links, *(planned.refusals if isinstance(planned, Refused) else ())]
    for setting in _below(restarts.target(primary.node), restarts.values[candidate]):
        restarts.refusals.append(
            Refusal(
                "ordered-setting",
                primary.node,
                f"{primary.node} cannot follow {candidate} with less {setting} than {candidate} has",
                "A lowered setting goes to the primary first, where it is: `replctl config apply --restart "
                "--restart-primary`.",
            )
        )
    if isinstance(planned, Plan):
        restarts.restarted(primary.node, *planned.stages)
        restarts.notes += [f"{candidate} becomes the primary, and {primary.node} a replica", *planned.notes]
        restarts.unfinished += planned.unfinished


def _overrides(name: NodeName, found: Sequence[SettingDifference]) -> Iterator[str]:
    for one in found:
        way = "take it out of what starts the server"
        if one.line is not None:
            way = f"`ALTER SYSTEM RESET {one.name}`" if _is_auto(one) else "take that line out"
        yield f"{name}: {one.where} overrides {one.name} = {one.wanted}; {way}, and run this again"


def _is_auto(one: SettingDifference) -> bool:
    return (one.source or "").endswith("/postgresql.auto.conf")


def _left(restarts: _Restarts) -> Iterator[str]:
    """Who still waits for a restart, and what would be next."""
    primary = restarts.situation.facts.primary
    for name, waiting in restarts.due.items():
        if name in restarts.done:
            continue
        names = ", ".join(one.name for one in waiting)
        if primary is not None and name == primary.node:
            way = "`replctl config apply --restart --restart-primary`, or --switchover in its place"
        elif primary is not None and _below(restarts.target(name), restarts.values[primary.node]):
            way = (
                f"a lowered setting goes to {primary.node} first, and {name} could not start before: `replctl config "
                "apply --restart --restart-primary`"
            )
        else:
            way = "`replctl config apply --restart`"
        yield f"{name} waits for a restart, for {names}: {way}"
