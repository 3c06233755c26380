"""The reckoning of a drill: what its writer and its readers noted becomes outages, lost rows and rows written twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

from replctl.model.drill import Acknowledged, DrillReport, Route


def drill_report(
    route: Route, acknowledged: Sequence[Acknowledged], reads: Iterable[float], stored: Iterable[int] | None
) -> DrillReport:
    """``acknowledged`` in the order of the answers; ``reads`` are the moments at which a read was answered, in seconds;
    ``stored`` the numbers that the primary has in the end, None when nobody could ask it."""
    there, back = _outages(acknowledged, route)
    found = None if stored is None else Counter(stored)
    numbers = [row.number for row in acknowledged]
    return DrillReport(
        to=route.to,
        write_outage_ms=(there, back),
        read_outage_ms=_longest_gap(reads),
        rows=len(numbers),
        missing=None if found is None else tuple(sorted(number for number in numbers if number not in found)),
        repeated=None if found is None else tuple(sorted(number for number, times in found.items() if times > 1)),
    )


def _outages(acknowledged: Sequence[Acknowledged], route: Route) -> tuple[float | None, float | None]:
    """What the writer saw of each way: the time between the last row here and the first one there."""
    moves = {(before.node, row.node): _ms(row.at - before.at) for before, row in pairwise(acknowledged)}
    return moves.get((route.home, route.to)), moves.get((route.to, route.home))


def _longest_gap(reads: Iterable[float]) -> float | None:
    return max((_ms(after - before) for before, after in pairwise(sorted(reads))), default=None)


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)
