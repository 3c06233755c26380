"""A cluster with a past, and a command that can be carried out on it: what the properties are tried on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from random import Random

from hypothesis import assume
from hypothesis import strategies as st

from replctl.model.plan import Plan
from replctl.model.values import NodeName
from replctl.planning.consent import Consent
from tests.properties.clusters import Event, Past, pasts
from tests.properties.intents import (
    CONFIG,
    ENV_WRITE,
    IN_PLACE,
    KEEPS_DIRECTORY,
    ROLLING,
    ROTATIONS,
    SWITCHOVER,
    Intent,
    changes,
    links_are_sound,
    may_run,
)
from tests.properties.world import World

DEATHS = ("crashed", "crashed ahead", "gone", "isolated", "stopped by hand")
RETURNS = ("superseded", "superseded", "left behind")
BEFORE = {
    "failover": DEATHS,
    "rejoin": RETURNS,
    "promote": (None, *("silent",) * 4, "stopped by hand"),
    "restart": (None, "half raised", "half lowered"),
    "remove-replica": (None, "data lost"),
    "init-primary": ("old config", "old config", "without role", "stopped by hand"),
    **dict.fromkeys(CONFIG, ("raised", "raised", "lowered", "raised and lowered", "half raised", "half lowered")),
    IN_PLACE: ("raised", *("lowered",) * 4, "half lowered"),
    **{command: (f"new {kind.value} password",) for command, kind in ROTATIONS.items()},
    ENV_WRITE: ("wrong env file", "no env file", "another app host", "no copies"),
}
"""What has to happen before there is anything rare to do for a command: to the primary, or one of its standbys."""
OF_STANDBYS = ("silent", "data lost")
STATED = {
    "failover": [frozenset(), frozenset({Consent.FENCED}), frozenset({Consent.FENCED, Consent.DATA_LOSS})],
    "rejoin": [frozenset(), frozenset({Consent.DISCARD}), frozenset({Consent.DISCARD, Consent.RECLONE})],
}
ENOUGH = {"failover": frozenset(Consent), "rejoin": frozenset({Consent.DISCARD})}
"""What is stated where less is refused."""
WEIGHTS = {
    "promote": 7,
    "failover": 4,
    "rejoin": 5,
    "add-replica": 3,
    "remove-replica": 5,
    KEEPS_DIRECTORY: 2,
    "restart": 1,
    ROLLING: 1,
    "init-primary": 3,
    **dict.fromkeys(CONFIG, 1),
    IN_PLACE: 2,
    **dict.fromkeys(ROTATIONS, 1),
    ENV_WRITE: 1,
}
COMMANDS = tuple(command for command, weight in WEIGHTS.items() for _ in range(weight))
RARE = (
    *(*("rejoin",) * 16, *("failover",) * 4, *("promote",) * 4, *("remove-replica",) * 22, *("init-primary",) * 2),
    *(*CONFIG, *(IN_PLACE,) * 5, *ROTATIONS),
)
"""What has steps that the others do not come across: they get a share of their own."""
MOVES = ("promote", ROLLING, SWITCHOVER)
"""Commands after which the application has to learn of another primary."""
MAY_START_BROKEN = ("add-replica", "rejoin")
"""Commands that mend links; the others leave a broken one to them."""


@dataclass(frozen=True)
class Case:
    """A cluster, a command that can be carried out on it, and the order in which its lanes run."""

    past: Past
    intent: Intent
    order: int

    @property
    def random(self) -> Random:
        return Random(self.order)

    @cached_property
    def plan(self) -> Plan:
        plan = self.intent.plan(self.past.world)
        assert isinstance(plan, Plan), plan
        return plan


@st.composite
def cases(draw: st.DrawFn, commands: tuple[str, ...] = COMMANDS) -> Case:
    command = draw(st.sampled_from(commands))
    past = draw(pasts())
    if command in MOVES:
        past = replace(past, wanted=replace(past.wanted, app_hosts=1))
    past = _led_up_to(draw, past, command)
    intent = _feasible(draw, past, command)
    assume(intent is not None)
    assert intent is not None
    assume(command in MAY_START_BROKEN or links_are_sound(past.world))
    assume(_the_last_primary_is_in_sight(past.world))
    return Case(past, intent, draw(st.integers(0, 9)))


def _led_up_to(draw: st.DrawFn, past: Past, command: str) -> Past:
    kind = draw(st.sampled_from(BEFORE[command])) if command in BEFORE else None
    if command == "init-primary" and draw(st.integers(0, 2)) == 0:
        return Past(past.size, 0, (), past.wanted)
    world = past.world
    if kind is None or len(world.rightful) != 1:
        return past
    (primary,) = world.rightful
    standby = draw(st.sampled_from(_standbys(world) or [primary]))
    event = Event(kind, standby, primary) if kind in OF_STANDBYS else Event(kind, primary, standby)
    return past.followed_by(event)


def _standbys(world: World) -> list[NodeName]:
    return [name for name, machine, _ in world.members() if machine.running and machine.in_recovery]


def _the_last_primary_is_in_sight(world: World) -> bool:
    """An old primary that writes while the one that took over is out of sight cannot be told from a primary, unless
    a note reminds of it."""
    seen = [name for name in world.writable if world[name].reachable]
    reminded = len(seen) == 1 and (successor := world.debts.get(seen[0])) and not world[successor].reachable
    return (
        not seen or bool(reminded) or (bool(world.rightful) and all(world[name].reachable for name in world.rightful))
    )


def _feasible(draw: st.DrawFn, past: Past, command: str) -> Intent | None:
    """The first node that the command finds something to do for."""
    world = past.world
    stated = draw(st.sampled_from(STATED.get(command, [frozenset()])))
    first = [past.events[-1].node] if past.events and draw(st.integers(0, 3)) else []
    for name in dict.fromkeys((*first, *draw(st.permutations(sorted(world.machines))))):
        more = draw(st.sampled_from(sorted(world.machines)))
        nodes = tuple(dict.fromkeys((name, more))) if command == "add-replica" else (name,)
        for consents in dict.fromkeys((stated, ENOUGH.get(command, stated))):
            intent = Intent(command, nodes, consents)
            plan = intent.plan(world)
            worth = command == ENV_WRITE or (
                isinstance(plan, Plan) and any(changes(world, step) for step in plan.steps)
            )
            if isinstance(plan, Plan) and worth and any(plan.steps) and may_run(world, plan):
                return intent
    return None
