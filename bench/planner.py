"""What planning costs for 10, 100 and 1,000 nodes: from facts and an intent to the plan, or to the report.

The facts are made beforehand, as an observation would have made them. Each time they are planned anew: nothing that a
run before has looked up is known any more. A figure is the time for 1,000 nodes, its ratio the time per node against
that for 100 in the same round.

    promote, add-replica, config-apply   with the fencing that every changing command looks for
    add-replica                          of all nodes but the primary at once, cloned from scratch
    config-apply                         of a setting of every node
    status, check                        the report; of all nodes, and all is well
"""

from __future__ import annotations

import gc
import os
import platform
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib.metadata import version
from statistics import median
from time import process_time

from bench.measure import Circumstances, Row, bar, interleaved, options, ratios, write_rows
from replctl.planning.situation import Situation
from tests.unit.large_clusters import PLANNERS, fresh

MEASURED = ("promote", "failover", "add-replica", "restart-rolling", "config-apply", "status", "check")
SIZES = (10, 100, 1000)
MAX_MS = 100.0
"""For 1,000 nodes."""
MAX_GROWTH = 1.5
"""Time per node, of 1,000 against 100."""

Milliseconds = Mapping[int, list[float]]
"""Each round's, by the number of nodes."""


def main() -> None:
    parser = options(__doc__, rounds=11)
    parser.add_argument("--planner", action="append", choices=list(PLANNERS), help=f"instead of {', '.join(MEASURED)}")
    chosen = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    versions = f"replctl {version('replctl')}, Python {platform.python_version()}, jinja2 {version('jinja2')}"
    run = Circumstances(os.getloadavg()[0], versions)
    rows = [row for name in chosen.planner or MEASURED for row in rows_of(run, name, chosen.rounds)]
    write_rows(chosen.results, rows)


def rows_of(run: Circumstances, name: str, rounds: int) -> Iterator[Row]:
    situations = {size: PLANNERS[name].situation(size) for size in SIZES}
    subjects = {f"{name} {size}": partial(planned, name, situation) for size, situation in situations.items()}
    figures = interleaved(subjects, rounds)
    yield row_of(run, name, {size: figures[f"{name} {size}"] for size in SIZES})


def planned(name: str, situation: Situation) -> float:
    """Milliseconds of the processor: planning waits for nothing. The garbage of what was before is collected first."""
    plan: Callable[[Situation], object] = PLANNERS[name].plan
    again = fresh(situation)
    gc.collect()
    begin = process_time()
    plan(again)
    return (process_time() - begin) * 1000


def row_of(run: Circumstances, name: str, times: Milliseconds) -> Row:
    few, some, many = SIZES
    middle = {size: median(found) for size, found in times.items()}
    growth = [ratio * some / many for ratio in ratios(times[many], times[some])]
    met = middle[many] < MAX_MS and median(growth) <= MAX_GROWTH
    return run.row(
        f"planner-{name}-{many}",
        f"{name} for {many:,} nodes: {middle[many]:.0f} ms",
        f"for {some} nodes: {middle[some]:.1f} ms, for {few}: {middle[few]:.1f} ms; the ratio is of the time per node",
        growth,
        bar(f"< {MAX_MS:g} ms, ratio <= {MAX_GROWTH}", met=met),
    )


if __name__ == "__main__":
    main()
