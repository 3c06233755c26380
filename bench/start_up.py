"""What the quick commands take from start to end: against `python -c "import typer"`, which every program with Typer
takes.

Whole processes, one after the other, with an interpreter that starts anew each time and files that are in the page
cache. `inventory check` reads an inventory of three nodes that `inventory init` wrote, its templates and its secrets.
What `status` imports before it contacts the first node is measured for information.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

from bench.measure import Circumstances, Row, bar, interleaved, options, ratios, write_rows

MAX_RATIO = 3.0
REFERENCE = "import typer"
STATUS = "import replctl.__main__, replctl.cli.reading"
NODES = ("db1=192.0.2.11", "db2=192.0.2.12", "db3=192.0.2.13")
"""Of the block that is kept for documents: nothing is contacted there."""


def main() -> None:
    chosen = options(__doc__, rounds=20).parse_args()
    run = Circumstances.now(("typer", "rich", "pyyaml"), "not contacted")
    chosen.folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=chosen.folder) as folder:
        write_inventory(Path(folder))
        subjects = {name: started(command, Path(folder)) for name, command in commands().items()}
        for start in subjects.values():
            start()  # the first run may have to compile modules
        figures = interleaved(subjects, chosen.rounds)
    write_rows(chosen.results, [row(run, name, figures) for name in figures if name != REFERENCE])


def commands() -> dict[str, Sequence[str]]:
    """By name; the names of rows are made of them."""
    program = str(Path(sys.executable).with_name("replctl"))
    return {
        REFERENCE: (sys.executable, "-c", REFERENCE),
        "version": (program, "--version"),
        "help": (program, "--help"),
        "inventory-check": (program, "inventory", "check"),
        "status-imports": (sys.executable, "-c", STATUS),
    }


def write_inventory(folder: Path) -> None:
    program = Path(sys.executable).with_name("replctl")
    nodes = [word for node in NODES for word in ("--node", node)]
    subprocess.run([program, "inventory", "init", "--yes", *nodes], cwd=folder, stdout=subprocess.DEVNULL, check=True)


def started(command: Sequence[str], folder: Path) -> Callable[[], float]:
    """Runs a command to its end; its seconds. Raises CalledProcessError when it fails."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("REPLCTL_")}

    def run() -> float:
        began = perf_counter()
        subprocess.run(command, cwd=folder, env=environ, stdout=subprocess.DEVNULL, check=True)
        return perf_counter() - began

    return run


def row(run: Circumstances, name: str, figures: dict[str, list[float]]) -> Row:
    found = ratios(figures[name], figures[REFERENCE])
    shown = f'python -c "{STATUS}"' if name == "status-imports" else " ".join(("replctl", *commands()[name][1:]))
    return run.row(
        f"start-up-{name}",
        f"{shown}: {milliseconds(figures[name])}",
        f'python -c "{REFERENCE}": {milliseconds(figures[REFERENCE])}',
        found,
        "none" if name == "status-imports" else bar(f"< {MAX_RATIO:g}", met=median(found) < MAX_RATIO),
    )


def milliseconds(seconds: list[float]) -> str:
    return f"{median(seconds) * 1000:.0f} ms"


if __name__ == "__main__":
    main()
