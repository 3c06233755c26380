"""What the inventory of the simulation says beside its nodes: settings, passwords, and the application's hosts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache

from replctl.model.actions import RoleKind
from replctl.planning.states import ORDERED_SETTINGS
from replctl.postgres.conf_syntax import parse_conf

Ordered = tuple[int, ...]
"""The values of ORDERED_SETTINGS, in their order."""

UNSET: Ordered = (100, 8, 10, 0, 64)
"""What PostgreSQL has where no file says anything."""
SETTINGS: Ordered = (200, 16, 30, 20, 128)
STEPS: Ordered = (50, 4, 5, 10, 32)
"""Each can be lowered twice before it is what PostgreSQL has, or what replctl itself needs (max_wal_senders)."""


@dataclass(frozen=True)
class Wanted:
    """A part of the inventory that the operator changes now and then."""

    settings: Ordered = SETTINGS
    passwords: Mapping[RoleKind, int] = field(default_factory=lambda: dict.fromkeys(RoleKind, 1))
    """The number of each role's password: every new one has a later number than those before it. 0 is none."""
    app_hosts: int = 0
    synchronous: int = 0
    """How many replicas commits wait for."""

    def with_password(self, kind: RoleKind) -> Wanted:
        """A new one for this role."""
        return replace(self, passwords={**self.passwords, kind: self.passwords[kind] + 1})

    def with_setting(self, place: int, steps: int) -> Wanted:
        """One of the settings raised by so many steps, or lowered."""
        least = SETTINGS[place] - 2 * STEPS[place]
        value = max(least, self.settings[place] + steps * STEPS[place])
        return replace(self, settings=(*self.settings[:place], value, *self.settings[place + 1 :]))


USUAL = Wanted()


def ordered(text: str) -> Ordered:
    """What a server that starts with this postgresql.conf has in force."""
    return _ordered(text)


@cache
def _ordered(text: str) -> Ordered:
    written = parse_conf(text)
    return tuple(int(written.get(name, default)) for name, default in zip(ORDERED_SETTINGS, UNSET, strict=True))


def enough(own: Ordered, demanded: Ordered) -> bool:
    """Whether a standby with these settings replays WAL that demands those."""
    return all(have >= need for have, need in zip(own, demanded, strict=True))


def written(settings: Ordered) -> dict[str, str]:
    """As parameters of the inventory."""
    return {name: str(value) for name, value in zip(ORDERED_SETTINGS, settings, strict=True)}
