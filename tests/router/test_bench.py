"""Benchmarks: each runs, tells what it measured, and leaves nothing behind. No bar is judged here."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.cpu_share import PERIOD, Controller, Throttling, limit, limited
from bench.measure import Circumstances, Row, Spread, interleaved, ratios, read_rows, write_rows
from bench.publish import filled

REPOSITORY = Path(__file__).parents[2]
OLD = Row("router-overhead-tcp", *["old"] * 11)
KEPT = Row("another", *["kept"] * 11)


def run_bench(name: str, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    places = ("--results", str(folder / "results.md"), "--folder", str(folder / "servers"))
    argv = [sys.executable, "-m", f"bench.{name}", *places, *options]
    return subprocess.run(argv, cwd=REPOSITORY, capture_output=True, text=True, timeout=300, check=False)


def rows_by_name(folder: Path) -> dict[str, Row]:
    return {row.benchmark: row for row in read_rows(folder / "results.md")}


class TestRuns:
    def test_overhead(self, tmp_path: Path) -> None:
        write_rows(tmp_path / "results.md", [OLD, KEPT])
        run = run_bench("router_overhead", tmp_path, "--rounds", "2", "--reads", "10")
        assert run.returncode == 0, run.stderr
        rows = rows_by_name(tmp_path)
        assert list(rows)[:2] == [OLD.benchmark, KEPT.benchmark]
        assert rows[KEPT.benchmark] == KEPT
        for name in ("overhead-tcp", "overhead-unix", "overhead-unix-control"):
            row = rows[f"router-{name}"]
            assert 0.1 < float(row.minimum) <= float(row.ratio) <= float(row.maximum) < 10, name
            assert row.rounds == "2"
        assert 0 < float(rows["router-selection-round_robin"].ratio) < 1
        assert "PostgreSQL" in rows[OLD.benchmark].versions
        assert not (tmp_path / "servers/lab.json").exists()

    def test_throughput(self, tmp_path: Path) -> None:
        run = run_bench("router_throughput", tmp_path, "--rounds", "1", "--seconds", "0.5", "--clients", "4")
        if os.geteuid() != 0:
            assert "needs root" in run.stderr
            return
        assert run.returncode == 0, run.stderr
        rows = rows_by_name(tmp_path)
        assert len(rows) == 6
        assert all(float(row.ratio) > 0.2 for row in rows.values())
        assert rows["router-throughput-round_robin-3"].bar.startswith(">= 2.7: ")
        assert "client: " in run.stderr
        assert not (tmp_path / "servers/lab.json").exists()

    def test_start_up(self, tmp_path: Path) -> None:
        run = run_bench("start_up", tmp_path, "--rounds", "2")
        assert run.returncode == 0, run.stderr
        rows = rows_by_name(tmp_path)
        assert list(rows) == [f"start-up-{name}" for name in ("version", "help", "inventory-check", "status-imports")]
        assert all(float(row.ratio) > 0.5 and row.rounds == "2" for row in rows.values())
        assert rows["start-up-help"].bar.startswith("< 3: ")
        assert list((tmp_path / "servers").iterdir()) == []


class TestMeasuring:
    def test_subjects_take_turns(self) -> None:
        calls: list[str] = []

        def subject(name: str) -> float:
            calls.append(name)
            return float(len(calls))

        figures = interleaved({"a": lambda: subject("a"), "b": lambda: subject("b")}, rounds=2)
        assert calls == ["a", "b", "b", "a"]
        assert figures == {"a": [1, 4], "b": [2, 3]}
        assert ratios(figures["a"], figures["b"]) == [0.5, 4 / 3]
        assert Spread.of([3, 1, 2]) == Spread(2, 1, 3)

    def test_a_row_survives_its_file(self, tmp_path: Path) -> None:
        row = Circumstances.now(["psycopg"], "18.6").row("x", "this: 2 µs", "that: 1 µs", [1.5, 2, 3], "<= 2: met")
        write_rows(tmp_path / "results.md", [KEPT, row])
        assert read_rows(tmp_path / "results.md") == [KEPT, row]
        assert (row.ratio, row.minimum, row.maximum, row.rounds) == ("2", "1.5", "3", "3")


class TestPages:
    def test_a_block_is_filled_again_and_again(self) -> None:
        page = "before\n<!-- bench: router- -->\nold\n<!-- end -->\nafter\n"
        once = filled(page, [OLD, KEPT])
        assert "| old | old | old (old to old) | old |" in once
        assert "kept" not in once
        assert once.startswith("before\n<!-- bench: router- -->\n")
        assert once.endswith("<!-- end -->\nafter\n")
        assert filled(once, [OLD]) == once

    @pytest.mark.parametrize("page", ["no block\n", "<!-- bench: nothing- -->\n<!-- end -->\n"])
    def test_nothing_to_put_is_an_error(self, page: str) -> None:
        with pytest.raises(SystemExit):
            filled(page, [OLD])


class TestShares:
    def test_version_2(self, tmp_path: Path) -> None:
        (tmp_path / "cgroup.controllers").write_text("cpuset cpu io\n")
        (tmp_path / "cgroup.subtree_control").write_text("")
        controller = Controller.found(tmp_path)
        assert (tmp_path / "cgroup.subtree_control").read_text() == "+cpu"
        group = tmp_path / "group"
        group.mkdir()
        limit(controller, group, 0.2)
        assert (group / "cpu.max").read_text() == f"{PERIOD // 5} {PERIOD}"

    def test_no_controller(self, tmp_path: Path) -> None:
        with pytest.raises(SystemExit, match="is not mounted"):
            Controller.found(tmp_path)

    def test_who_is_limited_leaves_the_group_alive(self) -> None:
        if os.geteuid() != 0:
            with pytest.raises(SystemExit, match="needs root"):
                Controller.of_machine()
            return
        with spinning() as process:
            with limited(Controller.of_machine(), {"db1": process.pid}, 0.1) as groups:
                group = groups["db1"]
                assert (group / "cgroup.procs").read_text().split() == [str(process.pid)]
                before = Throttling.of(group)
                with pytest.raises(subprocess.TimeoutExpired):
                    process.wait(0.5)
                assert Throttling.of(group).used_up > before.used_up
            assert not group.exists()
            assert process.poll() is None


@contextmanager
def spinning() -> Iterator[subprocess.Popen[bytes]]:
    """A process that would use a whole core."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield process
    finally:
        process.kill()
        process.wait()
