"""`make demo-app`: examples/chat with clients, and a switchover under their load; and that its count can count."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.router.labs import Lab, wait_until

REPOSITORY = Path(__file__).parents[2]
TOOLS = REPOSITORY / "tools"
SECONDS = 300
STILL = ("--without-promotion", "--seconds", "0.5")
ANY_LAG = {"DB_LAG_CHECK_ENABLED": "false"}


def load(lab: Lab, figures: Path, *options: str, **environ: str) -> tuple[int, dict[str, Any]]:
    """The exit code and the figures of tools/demo_app.py, which `make demo-app` runs on a lab of its own."""
    done = subprocess.run(
        [sys.executable, TOOLS / "demo_app.py", lab.folder, "--figures", figures, *options],
        env=os.environ | environ,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert figures.exists(), done.stdout + done.stderr
    return done.returncode, json.loads(figures.read_text())


def test_a_switchover_under_load(lab: Lab, tmp_path: Path) -> None:
    """Fails when a read fails or waits in vain, when a client is shown less than it wrote or saw, when a row that was
    acknowledged is lost, or when the application does not find the new primary and its replicas."""
    code, seen = load(lab, tmp_path / "figures.json", "--seconds", "1")
    assert (code, seen["violations"], seen["rows_lost"], seen["reads_failed"]) == (0, 0, 0, 0)
    assert seen["promotion_exit_code"] == 0
    assert seen["reads_answered_during_promotion"] > 0
    assert seen["rows_acknowledged"] > 0
    assert seen["health"] == "healthy"


@pytest.fixture
def paused(lab: Lab) -> Iterator[Lab]:
    """A lab with the application's table, whose replicas replay nothing from now on."""
    made = {"DB_ENV_FILE": str(lab.env_file), "PYTHONPATH": str(REPOSITORY / "examples")}
    subprocess.run([sys.executable, "-m", "chat.create_tables"], env=os.environ | made, check=True)
    wait_until(lab.is_caught_up)
    with lab.paused("db2", "db3"):
        yield lab


def test_the_count_counts_without_tokens(paused: Lab, tmp_path: Path) -> None:
    """Fails when the clients would not notice that they were shown less than they wrote: the replicas show nothing of
    it, and nobody asks for more."""
    code, seen = load(paused, tmp_path / "figures.json", "--without-tokens", *STILL, **ANY_LAG)
    assert code == 1
    assert seen["rows_acknowledged"] > 0
    assert seen["violations"] > 0
    assert seen["rows_lost"] == 0


def test_with_tokens_the_primary_serves_what_paused_replicas_do_not_show(paused: Lab, tmp_path: Path) -> None:
    """Fails when a token is not taken, does not travel, or is not heeded."""
    code, seen = load(paused, tmp_path / "figures.json", *STILL, **ANY_LAG)
    assert (code, seen["violations"], seen["reads_failed"], seen["rows_lost"]) == (0, 0, 0, 0)
    assert seen["rows_acknowledged"] > 0
