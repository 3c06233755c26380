"""The benchmarks of changing commands: each runs for a moment and writes its rows. No bar is judged here."""

from __future__ import annotations

from pathlib import Path

from bench.measure import Row
from tests.router.test_bench import rows_by_name, run_bench


def measured(folder: Path, name: str, *options: str) -> dict[str, Row]:
    """The rows that a benchmark of one round wrote."""
    run = run_bench(name, folder, "--rounds", "1", *options)
    assert run.returncode == 0, run.stderr
    rows = rows_by_name(folder)
    assert all(float(row.ratio) > 0 for row in rows.values())
    assert all(row.bar.endswith(("met", "missed")) for row in rows.values())
    return rows


def test_switchover(tmp_path: Path) -> None:
    rows = measured(tmp_path, "switchover", "--scale", "1")
    assert list(rows) == ["switchover", "switchover-whole", "switchover-busy", "switchover-far"]
    assert "round trips more than by hand" in rows["switchover-far"].measured


def test_add_replica(tmp_path: Path) -> None:
    rows = measured(tmp_path, "add_replica", "--scale", "1")
    assert list(rows) == ["add-replica", "add-replica-three", "add-replica-memory"]


def test_init_primary(tmp_path: Path) -> None:
    assert list(measured(tmp_path, "init_primary")) == ["init-primary"]


def test_failover(tmp_path: Path) -> None:
    rows = measured(tmp_path, "failover", "--scale", "1")
    assert "of them for its looks" in rows["failover"].measured
