"""Killed after every remote operation, and run again: the commands of every day. A sample of the repairs runs here too,
with the other tests; the whole sweep is slow."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.real.standing import Standing
from tests.real.sweeps import CASES, every, some, sweep


@pytest.mark.fault("1d", "1e")
@pytest.mark.parametrize("name", ["failover", "rejoin"])
def test_a_sample(standing: Standing, name: str, tmp_path: Path) -> None:
    sweep(standing.restore, CASES[name], tmp_path, some)


@pytest.mark.slow
@pytest.mark.fault("1b", "1c", "1f")
@pytest.mark.parametrize("name", ["add-replica", "promote", "remove-replica"])
def test_every_operation(standing: Standing, name: str, tmp_path: Path) -> None:
    sweep(standing.restore, CASES[name], tmp_path, every)
