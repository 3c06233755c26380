"""How long until clients write again once `replctl promote --failover` is called: against a failover by hand.

The primary is killed, all of its processes at once, while a client writes. From the start of the command to that
client's first acknowledged row is the figure. The hand, without SSH, keeps the same promises: the old primary cannot
start as a primary again, slots for all who will follow are there, and the candidate has received as much as the other
replica. Which of them that is has been found out before the clock starts. Afterwards the cluster is made whole again.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

import psycopg

from bench.by_hand import Member, fetch, in_recovery, make_slots, until, write_durably
from bench.lan import data_dir, take
from bench.measure import Circumstances, Row, bar, interleaved, ratios, write_rows
from bench.switchover import AFTERWARDS, NAMES, Client, ground, ms, promotions
from tests.real.disasters import end_server
from tests.real.hosts import Operator
from tests.real.hosts.disk import remove_tree

MAX_RATIO = 1.5
INCOMPLETE = 6
"""Exit status: the old primary has still to rejoin."""
LOOKS = ("secrets", "observe", "inquire")
"""The phases of --timings in which replctl looks at the nodes, twice each: before the lock and under it."""
REPLCTL, BY_HAND = "replctl", "by hand"
RECEIVED = "select coalesce(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) - '0/0'"
RECEIVES = "select count(*) from pg_stat_wal_receiver where pid is not null"


@dataclass
class Field:
    """The cluster under test; ``looks`` are the seconds of each of replctl's runs in which it looked at the nodes."""

    operator: Operator
    client: Client
    version: int
    primary: str = NAMES[0]
    looks: list[float] = field(default_factory=list)

    def by_replctl(self) -> float:
        def fail_over(new: str) -> None:
            took = take(
                self.operator, "promote", new, "--failover", "--yes", "-o", "json", "--timings", code=INCOMPLETE
            )
            parts = took.run.document["timings"]["parts"]
            self.looks.append(sum(part["ms"] for part in parts if part["name"] in LOOKS) / 1000)

        return self._measured(fail_over)

    def by_hand(self) -> float:
        return self._measured(lambda new: fail_over_by_hand(self.operator, self.primary, new, self.version))

    def _measured(self, fail_over: Callable[[str], None]) -> float:
        old, operator = self.primary, self.operator
        self.client.tell()
        end_server(operator.lan[old])
        new = furthest(operator, [name for name in NAMES if name != old])
        began = time.perf_counter()
        fail_over(new)
        seconds = self._back_at() - began
        self.primary = new
        take(operator, "add-replica", *(name for name in NAMES if name not in (old, new)), "--yes")
        self._clone_anew(old)
        return seconds

    def _clone_anew(self, old: str) -> None:
        """Not rewound: of a server that is killed again and again pg_rewind may lack WAL that it needs."""
        take(self.operator, "rejoin", old, "--discard-diverged", "--reclone", "--yes")
        place = self.operator.lan[old].path(data_dir(self.version))
        for aside in place.parent.glob(f"{place.name}.replctl-aside-*"):
            remove_tree(aside)

    def _back_at(self) -> float:
        """When the first row after the longest gap was acknowledged; both programs read the same clock."""
        told = [self.client.tell()]

        def comes() -> bool:
            told.append(self.client.tell())
            return told[-1]["acknowledged"] >= told[0]["acknowledged"] + AFTERWARDS

        until(comes)
        return max(told, key=lambda each: each["gap"])["back_at"]


def furthest(operator: Operator, names: list[str]) -> str:
    """The replica that has received most, once none receives any more."""
    positions = {name: position(operator, name) for name in names}
    return max(names, key=lambda name: positions[name])


def position(operator: Operator, name: str) -> int:
    with operator.connect(name) as connection:
        until(lambda: not fetch(connection, RECEIVES))
        return int(fetch(connection, RECEIVED))


def fail_over_by_hand(operator: Operator, old: str, new: str, version: int) -> None:
    """Until ``new`` takes writes."""
    promoted = Member.of(operator, new, version)
    keep_from_leading(operator.lan[old].path(data_dir(version)))
    siblings = [name for name in NAMES if name not in (old, new)]
    with operator.connect(new) as candidate:
        make_slots(operator, new, candidate)
        refuse_lesser(operator, candidate, siblings)
        # What `pg_ctl promote` does.
        write_durably(promoted.directory / "promote", "")
        os.kill(promoted.postmaster, signal.SIGUSR1)
        looks = count(1)
        until(lambda: not in_recovery(candidate, next(looks)))


def keep_from_leading(directory: Path) -> None:
    """Whoever starts the old primary now starts a standby; durably."""
    write_durably(directory / "standby.signal", "")
    descriptor = os.open(directory, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def refuse_lesser(operator: Operator, candidate: psycopg.Connection[Any], siblings: list[str]) -> None:
    """Raises SystemExit when another replica has more than the candidate, which would be lost."""
    own = int(fetch(candidate, RECEIVED))
    for name in siblings:
        with operator.connect(name) as sibling:
            if int(fetch(sibling, RECEIVED)) > own:
                raise SystemExit(f"{name} has received more")


def main() -> None:
    chosen = promotions(__doc__, rounds=7)
    with ground(chosen) as (operator, client, run):
        write_rows(chosen.results, list(rows(run, Field(operator, client, chosen.postgres), chosen.rounds)))


def rows(run: Circumstances, ground: Field, rounds: int) -> Iterator[Row]:
    subjects = {BY_HAND: ground.by_hand, REPLCTL: ground.by_replctl}
    took = interleaved(subjects, rounds)
    seconds, reference, looks = took[REPLCTL], took[BY_HAND], median(ground.looks)
    yield run.row(
        "failover",
        f"from the start of `replctl promote --failover` to the first acknowledged write: {ms(seconds)}, "
        f"{ms(ground.looks)} of them for its looks at the nodes",
        f"the same by hand, without SSH: {ms(reference)}",
        ratios(seconds, reference),
        bar(f"<= {MAX_RATIO:g} x + the looks", met=median(seconds) <= MAX_RATIO * median(reference) + looks),
    )


if __name__ == "__main__":
    main()
