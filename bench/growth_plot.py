"""Draws how commands grow with the number of nodes: growth.json, as docs/performance-growth.svg and .png.

On the left the time, on the right its ratio to the benchmark's reference. The same figures make the same files.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from bench.growth_data import GROWTH, Point, read_series
from bench.measure import REPOSITORY, say

PICTURES = (REPOSITORY / "docs/performance-growth.svg", REPOSITORY / "docs/performance-growth.png")
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#000000", "#cc79a7", "#56b4e9", "#e69f00")
"""Okabe and Ito's, which are told apart by readers who do not tell red from green."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
STYLE = {
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "figure.constrained_layout.h_pad": 0.1,
    "figure.constrained_layout.w_pad": 0.1,
    "savefig.facecolor": "white",
    "svg.hashsalt": "replctl",
}
LABEL_HEIGHT = 0.065
"""Of the panel's height: labels that would be nearer to each other are moved apart."""

Series = Mapping[str, Sequence[Point]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--growth", type=Path, default=GROWTH, metavar="FILE", help="what was measured")
    parser.add_argument("pictures", type=Path, nargs="*", default=PICTURES, help="one for each format")
    chosen = parser.parse_args()
    series = {name: points for name, points in read_series(chosen.growth).items() if points}
    if not series:
        raise SystemExit(f"nothing was measured yet: {chosen.growth} has no points")
    for picture in chosen.pictures:
        draw(series, picture)
        say(f"{picture}")


def draw(series: Series, picture: Path) -> None:
    """Writes one picture, in the format that its name ends with."""
    with rc_context(STYLE):
        figure = Figure(figsize=(10.5, 4.4), dpi=150, layout="constrained")
        left, right = figure.subplots(1, 2)
        panel(left, series, lambda point: point.seconds)
        panel(right, series, lambda point: point.ratio)
        left.set_title("Time", loc="left", fontweight="bold")
        left.set_ylabel("seconds, median")
        right.set_title("Ratio to the reference", loc="left", fontweight="bold")
        right.set_ylabel("times the reference")
        # Both name the day or the version of what drew them otherwise.
        without = {"Date": None} if picture.suffix == ".svg" else {"Software": None}
        figure.savefig(picture, metadata=without)


def panel(axes: Axes, series: Series, figure_of: Callable[[Point], float]) -> None:
    """Every series as a line, with its name at the end. Both axes are logarithmic: what is proportional is straight."""
    looks = dict(zip(sorted(series), zip(cycle(COLOURS), cycle(MARKERS)), strict=False))
    for name, points in series.items():
        colour, marker = looks[name]
        nodes, figures = [point.nodes for point in points], [figure_of(point) for point in points]
        axes.plot(nodes, figures, color=colour, marker=marker, markersize=6, linewidth=2, clip_on=False)
    axes.set(xscale="log", yscale="log", xlabel="nodes")
    axes.xaxis.set_major_locator(FixedLocator(sorted({point.nodes for points in series.values() for point in points})))
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low > 10 else (1, 1.5, 2, 3, 4, 5, 7)))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_locator(NullLocator())
    ends = {name: figure_of(points[-1]) for name, points in series.items()}
    last = max(points[-1].nodes for points in series.values())
    for name, height in apart({name: height_of(axes, end) for name, end in ends.items()}).items():
        axes.annotate(
            name,
            (last, height),
            xycoords=axes.get_xaxis_transform(),
            xytext=(10, 0),
            textcoords="offset points",
            va="center",
            color=looks[name][0],
            fontweight="bold",
        )


def height_of(axes: Axes, figure: float) -> float:
    """Where a figure stands between the lower and the upper end of the panel, from 0 to 1."""
    low, high = axes.get_ylim()
    return math.log(figure / low) / math.log(high / low)


def apart(heights: Mapping[str, float]) -> dict[str, float]:
    """The heights of labels, each by LABEL_HEIGHT or more above the one below."""
    found: dict[str, float] = {}
    lowest = -math.inf
    for name in sorted(heights, key=lambda one: heights[one]):
        lowest = found[name] = max(heights[name], lowest + LABEL_HEIGHT)
    too_high = max(0.0, lowest - 1)
    return {name: height - too_high for name, height in found.items()}


if __name__ == "__main__":
    main()
