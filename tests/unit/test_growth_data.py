"""The file of what benchmarks measured for more and more nodes."""

from __future__ import annotations

import json
from pathlib import Path

from bench.growth_data import Point, read_series, write_series

STATUS = [Point(2, 1.0, 0.41), Point(50, 2.5, 1.0)]
PROMOTE = [Point(2, 1.1, 0.2)]


def test_a_series_takes_the_place_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "growth.json"
    write_series(path, "status-tunnel", PROMOTE)
    write_series(path, "promote", PROMOTE)
    write_series(path, "status-tunnel", reversed(STATUS))
    assert read_series(path) == {"promote": PROMOTE, "status-tunnel": STATUS}


def test_what_is_written(tmp_path: Path) -> None:
    path = tmp_path / "growth.json"
    write_series(path, "promote", PROMOTE)
    assert json.loads(path.read_text()) == {"promote": [{"nodes": 2, "ratio": 1.1, "seconds": 0.2}]}
    first = path.read_text()
    write_series(path, "promote", PROMOTE)
    assert path.read_text() == first


def test_a_series_without_points(tmp_path: Path) -> None:
    path = tmp_path / "growth.json"
    write_series(path, "promote", [])
    assert read_series(path) == {"promote": []}


def test_no_file_has_no_series(tmp_path: Path) -> None:
    assert read_series(tmp_path / "growth.json") == {}
