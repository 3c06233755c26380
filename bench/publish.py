"""Puts the rows of results.md into the pages that tell of them.

A page says where: between `<!-- bench: BEGINNING -->` and `<!-- end -->` come the benchmarks whose names begin so.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from bench.measure import REPOSITORY, RESULTS, Row, read_rows

BLOCK = re.compile(r"(<!-- bench: (?P<beginning>\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
PAGES = [REPOSITORY / "docs/router.md", REPOSITORY / "docs/performance.md"]
HEAD = """\
| measured | against | ratio: median (minimum to maximum) | bar |
|---|---|---|---|
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", type=Path, nargs="*", default=PAGES)
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="FILE")
    chosen = parser.parse_args()
    rows = read_rows(chosen.results)
    for page in chosen.pages:
        text = page.read_text(encoding="utf-8")
        page.write_text(filled(text, rows), encoding="utf-8")


def filled(text: str, rows: list[Row]) -> str:
    """``text`` with its blocks filled. Raises SystemExit for a block, or a text, without anything to put there."""

    def block(match: re.Match[str]) -> str:
        fitting = [row for row in rows if row.benchmark.startswith(match["beginning"])]
        if not fitting:
            raise SystemExit(f"no benchmark's name begins with {match['beginning']}")
        return f"{match[1]}{table(fitting)}{match[3]}"

    replaced, blocks = BLOCK.subn(block, text)
    if not blocks:
        raise SystemExit("the page has no place for results: <!-- bench: BEGINNING --> and <!-- end -->")
    return replaced


def table(rows: list[Row]) -> str:
    """The figures, and one line for each run that made some of them."""
    runs = dict.fromkeys(
        f"{row.date}, {row.rounds} rounds, load {row.load}: {row.machine}; {row.versions}." for row in rows
    )
    return f"{HEAD}{''.join(map(_line, rows))}\n{chr(10).join(f'- {run}' for run in runs)}\n"


def _line(row: Row) -> str:
    return f"| {row.measured} | {row.reference} | {row.ratio} ({row.minimum} to {row.maximum}) | {row.bar} |\n"


if __name__ == "__main__":
    main()
