"""How long `replctl add-replica` takes: against pg_basebackup, a start and a wait until it streams, by hand.

The hand has no need of SSH. One replica, and three at once, copied from a primary whose tables pgbench made; with
fsync, and the copy's checkpoint at once on both sides. replctl runs on a terminal, so that it draws its progress bar.
The most memory that it had is a row of its own.
"""

from __future__ import annotations

import contextlib
import os
import termios
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from bench import hand_made
from bench.lan import PARAMETERS, VERSION, build, fill, hosts, server_version
from bench.measure import Circumstances, Row, bar, interleaved, options, ratios, say, write_rows
from tests.real.hosts import Operator

PRIMARY, REPLICAS = "db1", ("db2", "db3", "db4")
SCALE = 140
MAX_RATIO = 1.05
MORE_SECONDS = 0.5
MAX_MEGABYTES = 100.0
WINDOW = (40, 120)
KEEPING = {**PARAMETERS, "wal_keep_size": "1GB"}
"""Of three copies that begin at once the checkpoint of one may remove the WAL that the new slot of another reserves."""
REPLCTL, BY_HAND = "replctl", "by hand"

Figures = Mapping[str, list[float]]
"""Seconds of every round, by who made the replicas."""


@dataclass
class Field:
    """A primary, and hosts on which replicas come and go; ``peaks`` is the memory in bytes of replctl's runs."""

    operator: Operator
    version: int
    env: bytes
    peaks: list[float] = field(default_factory=list)

    def subjects(self, names: Sequence[str]) -> Mapping[str, Callable[[], float]]:
        def by_hand() -> None:
            hand_made.add_replicas(self.operator, PRIMARY, names, self.version)

        def by_replctl() -> None:
            self.peaks.append(shown(self.operator, "add-replica", *names, "--yes"))

        return {
            BY_HAND: lambda: self._measured(by_hand, names),
            REPLCTL: lambda: self._measured(by_replctl, names),
        }

    def _measured(self, add: Callable[[], None], names: Sequence[str]) -> float:
        os.sync()  # what was written before is no part of this
        began = time.perf_counter()
        add()
        seconds = time.perf_counter() - began
        hand_made.take_away(self.operator, PRIMARY, names, self.version)
        self.operator.env_file.write_bytes(self.env)
        return seconds


def shown(operator: Operator, *args: str) -> int:
    """Run replctl on a terminal; the most memory that it had, in bytes. Raises SystemExit with its output if it fails.

    The output is read all the time: a terminal that nobody reads would keep replctl waiting.
    """
    ours, theirs = os.openpty()
    output: list[bytes] = []
    try:
        termios.tcsetwinsize(theirs, WINDOW)
        program = operator.start(*args, stdout=theirs, stderr=theirs)
        reader = threading.Thread(target=lambda: output.extend(read_terminal(ours)))
        reader.start()
        _, status, usage = os.wait4(program.pid, 0)
        program.returncode = os.waitstatus_to_exitcode(status)
    finally:
        os.close(theirs)
    reader.join()
    os.close(ours)
    if program.returncode:
        raise SystemExit(f"replctl {' '.join(args)} ended with {program.returncode}:\n{b''.join(output).decode()}")
    return usage.ru_maxrss * 1024


def read_terminal(descriptor: int) -> Iterator[bytes]:
    """Until nobody has its other end open any more, which Linux tells as an error."""
    with contextlib.suppress(OSError):
        while piece := os.read(descriptor, 65536):
            yield piece


def main() -> None:
    parser = options(__doc__, rounds=5)
    parser.add_argument("--scale", type=int, default=SCALE, help="of pgbench's tables: 15 MB each")
    parser.add_argument("--postgres", type=int, default=VERSION, help="major version")
    chosen = parser.parse_args()
    with hosts((PRIMARY, *REPLICAS), version=chosen.postgres, parameters=KEEPING) as operator:
        say(f"a primary with pgbench's tables of scale {chosen.scale}")
        build(operator, PRIMARY, ())
        fill(operator, PRIMARY, chosen.scale)
        hand_made.write_passfiles(operator, REPLICAS)
        with operator.connect(PRIMARY) as connection:
            connection.execute("checkpoint")
        ground = Field(operator, chosen.postgres, operator.env_file.read_bytes())
        run = Circumstances.now(("paramiko", "psycopg"), server_version(operator, PRIMARY))
        write_rows(chosen.results, list(rows(run, ground, chosen.rounds, size(operator))))


def rows(run: Circumstances, ground: Field, rounds: int, copied: str) -> Iterator[Row]:
    one, three = ground.subjects(REPLICAS[:1]), ground.subjects(REPLICAS)
    one[BY_HAND]()  # not counted: pages are in memory afterwards
    yield time_row(run, "add-replica", interleaved(one, rounds), f"one replica of {copied}")
    yield time_row(run, "add-replica-three", interleaved(three, rounds), f"three at once of {copied} each")
    yield memory_row(run, ground.peaks, copied)


def size(operator: Operator) -> str:
    """Of all databases of the primary."""
    with operator.connect(PRIMARY) as connection:
        row = connection.execute("select sum(pg_database_size(oid)) from pg_database").fetchone()
    assert row is not None
    return f"{float(row[0]) / 1e9:.2g} GB"


def time_row(run: Circumstances, name: str, took: Figures, what: str) -> Row:
    seconds, reference = took[REPLCTL], took[BY_HAND]
    most = MAX_RATIO * median(reference) + MORE_SECONDS
    return run.row(
        name,
        f"`replctl add-replica` on a terminal, {what}: {median(seconds):.2f} s",
        f"pg_basebackup, start and streaming by hand: {median(reference):.2f} s",
        ratios(seconds, reference),
        bar(f"<= {MAX_RATIO:g} x + {MORE_SECONDS:g} s", met=median(seconds) <= most),
    )


def memory_row(run: Circumstances, peaks: Sequence[float], copied: str) -> Row:
    megabytes = [peak / 1e6 for peak in peaks]
    return run.row(
        "add-replica-memory",
        f"most memory of `replctl add-replica` at {copied}: {max(megabytes):.0f} MB",
        f"{MAX_MEGABYTES:g} MB",
        ratios(megabytes, [MAX_MEGABYTES] * len(megabytes)),
        bar(f"< {MAX_MEGABYTES:g} MB", met=max(megabytes) < MAX_MEGABYTES),
    )


if __name__ == "__main__":
    main()
