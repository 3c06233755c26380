"""Killed after every remote operation, and run again: what is run when something is broken, or new."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.real.hosts import Lan
from tests.real.standing import Standing
from tests.real.sweeps import CASES, INIT_PRIMARY, bare, every, sweep


@pytest.mark.slow
@pytest.mark.fault("1d", "1e")
@pytest.mark.parametrize("name", ["failover", "rejoin"])
def test_every_operation_of_a_repair(standing: Standing, name: str, tmp_path: Path) -> None:
    sweep(standing.restore, CASES[name], tmp_path, every)


@pytest.mark.slow
@pytest.mark.fault("1a")
def test_every_operation_of_init_primary(lan: Lan, tmp_path: Path) -> None:
    sweep(bare(lan), INIT_PRIMARY, tmp_path, every)
