"""Reads and writes synchronous_standby_names (PostgreSQL docs, 20.6.2; its grammar is syncrep_gram.y)."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from replctl.model.inventory import Sync
from replctl.model.values import NodeName

STANDBY_NAMES = "synchronous_standby_names"

# FIRST and ANY differ in whose answer counts, not in how many standbys have to be there.
_COUNTED = re.compile(r"\s*(?:(?:first|any)\s+)?'?(?P<number>\d+)'?\s*\((?P<names>.*)\)\s*", re.IGNORECASE | re.DOTALL)
_NAME = re.compile(r'"(?P<quoted>(?:[^"]|"")+)"|(?P<plain>[^\s,"()]+)')


@dataclass(frozen=True, slots=True)
class StandbyNames:
    """How many standbys each commit waits for, and which names count. Without any, no commit waits."""

    number: int
    names: tuple[str, ...]

    def among(self, standbys: Iterable[str]) -> list[str]:
        """Those of the standbys that count: PostgreSQL compares without regard to case, and ``*`` is everybody."""
        wanted = {name.lower() for name in self.names}
        return [standby for standby in standbys if "*" in wanted or standby.lower() in wanted]

    def lacking(self, standbys: Iterable[str]) -> bool:
        """Whether every commit waits as long as only these stream."""
        return len(self.among(standbys)) < self.number


def parse_standby_names(text: str) -> StandbyNames:
    """What the setting says. A list without a number asks for one of its names."""
    counted = _COUNTED.fullmatch(text)
    listed = counted["names"] if counted else text
    names = tuple((found["quoted"] or "").replace('""', '"') or found["plain"] for found in _NAME.finditer(listed))
    return StandbyNames(int(counted["number"]) if counted else min(1, len(names)), names)


def standby_names(sync: Sync, standbys: Collection[NodeName], following: int) -> str:
    """The setting that has commits wait for ``sync.count`` of the standbys, or for as many as follow now: a commit that
    waits for nobody's answer waits for ever. Empty where nobody follows."""
    number = min(sync.count, following)
    if not number or not standbys:
        return ""
    return f"{sync.mode.value.upper()} {number} ({', '.join(map(_quoted, standbys))})"


def _quoted(name: NodeName) -> str:
    """A node's name has no quotes; some are words of the grammar."""
    return f'"{name}"'
