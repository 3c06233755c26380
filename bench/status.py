"""How long `replctl status` takes for few and for many replicas, by either way to the servers, from start to end.

Against a script that opens the same psycopg connections in threads and asks one question (bench/ask_all.py): a process
of its own, as replctl is. The servers are small ones, all on this machine; sshd and PostgreSQL of every node share its
cores with replctl. What a screen that is watched takes of a core is measured with ten nodes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from bench.lan import VERSION, hosts, server_version, take
from bench.measure import Circumstances, Row, bar, interleaved, options, ratios, write_rows
from tests.real.hosts import Operator
from tests.real.hosts.operator import DATABASES, ROLES

FEW, WATCHED, MANY = 3, 9, 50
"""Replicas: of a usual cluster, of a watched one with ten nodes, of a large one."""
MAX_SECONDS = {"direct": 1.0, "tunnel": 2.0}
"""For MANY."""
MAX_RATIO = 2.5
"""Of the direct way, for MANY."""
MAX_SHARE = 0.05
"""Of one core, for a screen that is watched."""
SMALL: Mapping[str, Any] = {
    "shared_buffers": "8MB",
    "max_connections": 200,
    "fsync": False,
    "min_wal_size": "32MB",
    "max_wal_size": "256MB",
    "checkpoint_timeout": "30min",
    "autovacuum": False,
    "max_wal_senders": 120,
    "max_replication_slots": 120,
}
"""Of each server: dozens of them share this machine. A cluster that grows has room for all from the beginning."""
ADDED_AT_ONCE = 8
"""Replicas, while the cluster is made: a small machine copies them all."""
ROUTES = ("tunnel", "direct")
SCRIPT = "script"


def main() -> None:
    parser = options(__doc__, rounds=15)
    parser.add_argument("--replicas", type=int, nargs="+", default=[FEW, MANY], help="how many, in growing order")
    parser.add_argument("--watched", type=float, default=20.0, metavar="SECONDS", help="of a screen of ten nodes")
    chosen = parser.parse_args()
    write_rows(chosen.results, measured(chosen))


def measured(chosen: argparse.Namespace) -> list[Row]:
    """One cluster grows; the screen is watched when it has ten nodes, or as many as it will have."""
    counts = sorted({*chosen.replicas, min(WATCHED, max(chosen.replicas))})
    rows: list[Row] = []
    with growing(counts) as (operator, sizes):
        for count in sizes:
            run = Circumstances.now(("paramiko", "psycopg"), server_version(operator, "db1"))
            if count in chosen.replicas:
                rows += status_rows(run, operator, count, chosen.rounds)
            if count == min(WATCHED, max(counts)):
                rows.append(watch_row(run, operator, count, chosen.watched))
    return rows


@contextmanager
def growing(counts: Sequence[int]) -> Iterator[tuple[Operator, Iterator[int]]]:
    """An operator of db1 and, as the iteration goes on, of so many replicas."""
    names = names_of(max(counts))
    with hosts(names, parameters=SMALL) as operator:

        def grow() -> Iterator[int]:
            take(operator, "init-primary", names[0], "--yes")
            for before, count in pairwise((0, *counts)):
                extend(operator, names[: count + 1])
                for first in range(before + 1, count + 1, ADDED_AT_ONCE):
                    take(operator, "add-replica", *names[first : min(first + ADDED_AT_ONCE, count + 1)], "--yes")
                yield count

        extend(operator, names[:1])
        yield operator, grow()


def names_of(count: int) -> list[str]:
    """db1, which is the primary, and so many replicas."""
    return [f"db{number}" for number in range(1, count + 2)]


def extend(operator: Operator, names: Sequence[str], route: str = "tunnel") -> None:
    """An inventory of these nodes."""
    operator.write_inventory(version=VERSION, nodes=names, parameters=SMALL, extra={"postgres": {"connect": route}})


def status_rows(run: Circumstances, operator: Operator, count: int, rounds: int) -> Iterator[Row]:
    names = names_of(count)
    subjects: dict[str, Callable[[], float]] = {SCRIPT: lambda: asked(operator, names)}
    subjects |= {route: status_by(operator, names, route) for route in ROUTES}
    healthy(operator)
    for subject in subjects.values():
        subject()  # files come into the page cache
    figures = interleaved(subjects, rounds)
    extend(operator, names)
    for route in ROUTES:
        yield status_row(run, route, count, figures)


def status_by(operator: Operator, names: Sequence[str], route: str) -> Callable[[], float]:
    def status() -> float:
        extend(operator, names, route)
        return take(operator, "status", "-o", "json").seconds

    return status


def healthy(operator: Operator) -> None:
    """New replicas may still catch up. Raises SystemExit with the last look when that lasts a minute."""
    deadline = time.monotonic() + 60
    while (look := operator.replctl("status", "-o", "json")).code != 0:
        if time.monotonic() > deadline:
            raise SystemExit(f"the cluster is not healthy:\n{look.out}{look.err}")


def asked(operator: Operator, names: Sequence[str]) -> float:
    """Seconds of the script. Raises CalledProcessError when it fails."""
    servers = [
        {
            "host": operator.lan[name].address,
            "port": 5432,
            "user": ROLES["admin"],
            "password": operator.passwords["admin"],
            "dbname": DATABASES["admin"],
        }
        for name in names
    ]
    script = Path(__file__).with_name("ask_all.py")
    began = time.perf_counter()
    subprocess.run([sys.executable, script], input=json.dumps(servers).encode(), stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def status_row(run: Circumstances, route: str, count: int, figures: Mapping[str, Sequence[float]]) -> Row:
    seconds, found = median(figures[route]), ratios(figures[route], figures[SCRIPT])
    limit = MAX_SECONDS[route]
    wanted, met = f"< {limit:g} s", seconds < limit
    if route == "direct":
        wanted, met = f"{wanted}, ratio < {MAX_RATIO:g}", met and median(found) < MAX_RATIO
    return run.row(
        f"status-{route}-{count}",
        f"status of {count} replicas, {route}: {seconds:.2f} s",
        f"a script with a psycopg connection to each: {median(figures[SCRIPT]):.2f} s",
        found,
        bar(wanted, met=met) if count == MANY else "none",
    )


def watch_row(run: Circumstances, operator: Operator, count: int, seconds: float) -> Row:
    share = watched_share(operator, seconds)
    return run.row(
        "status-watch",
        f"status --watch of {count + 1} nodes, a look a second: {share:.1%} of one core",
        "one core",
        [share],
        bar(f"< {MAX_SHARE:.0%}", met=share < MAX_SHARE),
    )


def watched_share(operator: Operator, seconds: float) -> float:
    """Processor time of the watching process by the clock's, once the screen stands."""
    terminal = operator.pty("status", "--watch", rows=50, columns=160)
    terminal.read_until("one bar a look")
    reader = threading.Thread(target=terminal.end, args=(seconds + 60,), daemon=True)
    reader.start()
    began, before = time.perf_counter(), cpu_seconds(terminal.program.pid)
    reader.join(seconds)  # it reads until the program ends
    if terminal.program.poll() is not None:
        raise SystemExit("status --watch ended by itself")
    share = (cpu_seconds(terminal.program.pid) - before) / (time.perf_counter() - began)
    terminal.type("q")
    reader.join(20)
    return share


def cpu_seconds(pid: int) -> float:
    """User and system time of a process (proc_pid_stat(5): fields 14 and 15; its name may hold spaces)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
