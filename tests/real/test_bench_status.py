"""The benchmarks of status and of growth: each runs for a moment and writes its rows. No bar is judged here."""

from __future__ import annotations

from pathlib import Path

from bench.growth_data import read_series
from tests.router.test_bench import rows_by_name, run_bench


def test_status(tmp_path: Path) -> None:
    run = run_bench("status", tmp_path, "--rounds", "1", "--replicas", "1", "--watched", "1")
    assert run.returncode == 0, run.stderr
    rows = rows_by_name(tmp_path)
    assert list(rows) == ["status-tunnel-1", "status-direct-1", "status-watch"]
    assert all(float(rows[name].ratio) > 0 for name in ("status-tunnel-1", "status-direct-1"))


def test_growth(tmp_path: Path) -> None:
    growth = tmp_path / "growth.json"
    run = run_bench("growth", tmp_path, "--rounds", "1", "--replicas", "2", "--growth", str(growth))
    assert run.returncode == 0, run.stderr
    assert list(rows_by_name(tmp_path)) == ["growth-status-2", "growth-add-replica-2", "growth-promote-2"]
    series = read_series(growth)
    assert set(series) == {"status", "add-replica", "promote"}
    assert all([point.nodes for point in points] == [3] for points in series.values())
    assert all(point.seconds > 0 and point.ratio > 0 for points in series.values() for point in points)
