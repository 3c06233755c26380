"""How commands grow with the number of nodes: status, add-replica of one more replica, and promote.

One cluster of small servers grows on this machine, whose cores they share with replctl. At each size the commands take
turns with the reference, which stays the same: a script that asks three servers one question (bench/ask_all.py). So a
ratio that grows is the commands' growth, and not what else the machine had to do. The median ratios and times are
series of growth.json, which `make bench-plot` draws.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median

from bench.growth_data import GROWTH, Point, write_series
from bench.hand_made import take_away
from bench.lan import VERSION, server_version, take
from bench.measure import Circumstances, Row, interleaved, options, ratios, write_rows
from bench.status import SCRIPT, asked, growing, healthy, names_of, status_by
from tests.real.hosts import Operator

SIZES = (2, 5, 10, 20, 50)
"""Replicas."""
MOST_CHANGED = 20
"""Replicas of the largest cluster in which add-replica and promote are measured."""
ASKED = 3
"""Servers that the reference asks, in a cluster of any size."""
STATUS, ADD_REPLICA, PROMOTE = "status", "add-replica", "promote"

Figures = Mapping[str, Sequence[float]]
"""Each round's seconds."""


def main() -> None:
    parser = options(__doc__, rounds=7)
    parser.add_argument("--replicas", type=int, nargs="+", default=SIZES, help="how many")
    parser.add_argument("--growth", type=Path, default=GROWTH, metavar="FILE", help="where the series are put")
    chosen = parser.parse_args()
    measured: dict[int, Figures] = {}
    rows: list[Row] = []
    with growing(sorted(chosen.replicas)) as (operator, sizes):
        for count in sizes:
            run = Circumstances.now(("paramiko", "psycopg"), server_version(operator, "db1"))
            healthy(operator)
            measured[count] = interleaved(subjects(operator, count), chosen.rounds)
            rows += rows_of(run, count, measured[count])
    for name in (STATUS, ADD_REPLICA, PROMOTE):
        write_series(chosen.growth, name, points(measured, name))
    write_rows(chosen.results, rows)


def subjects(operator: Operator, count: int) -> Mapping[str, Callable[[], float]]:
    names = names_of(count)
    found: dict[str, Callable[[], float]] = {
        SCRIPT: partial(asked, operator, names[:ASKED]),
        STATUS: status_by(operator, names, "tunnel"),
    }
    if count <= MOST_CHANGED:
        found |= {ADD_REPLICA: partial(add_again, operator, names[-1]), PROMOTE: partial(promote_twice, operator)}
    return found


def add_again(operator: Operator, name: str) -> float:
    """The last replica is taken away by hand, which is not measured."""
    take_away(operator, "db1", [name], VERSION)
    return take(operator, "add-replica", name, "--yes").seconds


def promote_twice(operator: Operator) -> float:
    """To db2 and back, so that the cluster is as it was: the mean of both."""
    return sum(take(operator, "promote", name, "--yes").seconds for name in ("db2", "db1")) / 2


def points(measured: Mapping[int, Figures], name: str) -> Iterator[Point]:
    """``nodes`` has the primary among them."""
    for count, figures in measured.items():
        if name in figures:
            yield Point(count + 1, median(ratios(figures[name], figures[SCRIPT])), median(figures[name]))


def rows_of(run: Circumstances, count: int, figures: Figures) -> Iterator[Row]:
    for name in (STATUS, ADD_REPLICA, PROMOTE):
        if name in figures:
            yield run.row(
                f"growth-{name}-{count}",
                f"{name} with {count} replicas: {median(figures[name]):.2f} s",
                f"a script that asks {ASKED} servers: {median(figures[SCRIPT]):.2f} s",
                ratios(figures[name], figures[SCRIPT]),
                "none",
            )


if __name__ == "__main__":
    main()
