"""What all benchmarks share: subjects that take turns, ratios to a reference, and rows of results.md.

Absolute times say little on a shared machine. A figure is therefore a ratio to a reference that was measured in the
same run, turn by turn, so that whatever else the machine does falls on both.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median

REPOSITORY = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).with_name("results.md")

HEAD = """\
# Results

What the benchmarks wrote; [README.md](README.md) tells how to run and read them.
"""


@dataclass(frozen=True)
class Spread:
    """Of one figure a round."""

    median: float
    minimum: float
    maximum: float

    @classmethod
    def of(cls, figures: Iterable[float]) -> Spread:
        values = list(figures)
        return cls(median(values), min(values), max(values))


@dataclass(frozen=True)
class Row:
    """A line of results.md. The names of the fields are the columns; what stands there is text."""

    benchmark: str
    measured: str
    reference: str
    ratio: str
    minimum: str
    maximum: str
    bar: str
    rounds: str
    date: str
    load: str
    versions: str
    machine: str


@dataclass(frozen=True)
class Circumstances:
    """What a run's rows have in common. ``load`` is the machine's load average of one minute at its begin."""

    load: float
    versions: str

    @classmethod
    def now(cls, packages: Iterable[str], server: str) -> Circumstances:
        named = ", ".join(f"{package} {version(package)}" for package in packages)
        python = f"Python {platform.python_version()}"
        return cls(os.getloadavg()[0], f"replctl {version('replctl')}, {python}, PostgreSQL {server}, {named}")

    def row(self, benchmark: str, measured: str, reference: str, ratios: Iterable[float], bar: str) -> Row:
        """``ratios`` has one of each round."""
        values = list(ratios)
        spread = Spread.of(values)
        return Row(
            benchmark=benchmark,
            measured=measured,
            reference=reference,
            ratio=f"{spread.median:.3g}",
            minimum=f"{spread.minimum:.3g}",
            maximum=f"{spread.maximum:.3g}",
            bar=bar,
            rounds=str(len(values)),
            date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            load=f"{self.load:.1f} to {os.getloadavg()[0]:.1f}",
            versions=self.versions,
            machine=machine(),
        )


def bar(text: str, *, met: bool) -> str:
    """A bar and whether it is met."""
    return f"{text}: {'met' if met else 'missed'}"


def interleaved(subjects: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Every subject's figure of every round. Odd rounds go through them backwards: none always follows the same one."""
    figures: dict[str, list[float]] = {name: [] for name in subjects}
    for number in range(rounds):
        names = list(subjects)
        for name in reversed(names) if number % 2 else names:
            figures[name].append(subjects[name]())
        told = ", ".join(f"{name} {values[-1]:.4g}" for name, values in figures.items())
        say(f"round {number + 1} of {rounds}: {told}")
    return figures


def ratios(figures: Iterable[float], reference: Iterable[float]) -> list[float]:
    """Round by round."""
    return [figure / base for figure, base in zip(figures, reference, strict=True)]


def machine() -> str:
    """Cores, CPU and memory."""
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return f"{os.cpu_count()} cores, {_cpu()}, {gigabytes:.0f} GB"


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Puts rows into the table of ``path``: each in the place of the one of its name, new ones at the end."""
    table = {row.benchmark: row for row in (*read_rows(path), *rows)}
    columns = [field.name for field in fields(Row)]
    lines = [_line(columns), _line(["---"] * len(columns)), *(_line(astuple(row)) for row in table.values())]
    path.write_text(f"{HEAD}\n" + "\n".join(lines) + "\n", encoding="utf-8")
    for row in rows:
        say(f"{row.benchmark}: {row.measured}; ratio {row.ratio} ({row.minimum} to {row.maximum}); {row.bar}")


def read_rows(path: Path) -> list[Row]:
    """The rows of the table of ``path``; none of a file that is not there."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    lines = [line for line in text.splitlines() if line.startswith("| ")][2:]
    return [Row(*(cell.strip() for cell in line.strip("|").split("|"))) for line in lines]


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def options(description: str | None, rounds: int) -> argparse.ArgumentParser:
    """What every benchmark can be told."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="FILE", help="where the rows are put")
    parser.add_argument("--folder", type=Path, default=REPOSITORY / "build/bench", help="for servers of its own")
    return parser


def say(line: str) -> None:
    """What goes on, for whoever looks on."""
    sys.stderr.write(f"{line}\n")
