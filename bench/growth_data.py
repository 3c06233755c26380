"""The file of what benchmarks measured for more and more nodes, a series each; growth_plot.py draws it.

{"add-replica": [{"nodes": 2, "ratio": 1.0, "seconds": 0.41}, ...], ...}
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

GROWTH = Path(__file__).with_name("growth.json")


@dataclass(frozen=True, order=True)
class Point:
    """``seconds`` is the median of all rounds, ``ratio`` that to the benchmark's reference."""

    nodes: int
    ratio: float
    seconds: float


def write_series(path: Path, name: str, points: Iterable[Point]) -> None:
    """Puts a series into the file, in the place of the one of its name; the others stay. Points stand by their number
    of nodes."""
    series = {**read_series(path), name: sorted(points)}
    lines = [f"  {json.dumps(name)}: [\n{_lines(series[name])}\n  ]" for name in sorted(series)]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def read_series(path: Path) -> Mapping[str, Sequence[Point]]:
    """Every series by its name; none of a file that is not there."""
    if not path.is_file():
        return {}
    found = json.loads(path.read_text(encoding="utf-8"))
    return {name: [Point(**point) for point in points] for name, points in found.items()}


def _lines(points: Iterable[Point]) -> str:
    return ",\n".join(f"    {json.dumps(asdict(point))}" for point in points)
