"""The staging directory, by real shells on this machine: what is made there, put in place, and deleted."""

from __future__ import annotations

import json
import pwd
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from os import geteuid
from pathlib import Path

import pytest

from replctl.execution.context import Changed, Context, Stopwatch, Unchanged
from replctl.execution.handlers.files import begin_staging, install_staging, remove_staging
from replctl.model.actions import InstallStaging, RemoveStaging
from replctl.model.errors import CommandFailedError, ReplctlError
from replctl.model.inventory import Connection
from replctl.model.plan import Step
from replctl.postgres.paths import staging_dir, staging_marker
from replctl.remote.links import open_fleet
from replctl.remote.waiting import SystemClock
from tests.unit.builders import a_cluster
from tests.unit.plans import DB1
from tests.unit.runs import Interrupts, Ticking, Told, a_session


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    """A step of run-1 on db1, which is this machine and has no data directory."""
    cluster = a_cluster().absent("db1")
    me = pwd.getpwuid(geteuid()).pw_name
    settings = replace(cluster.nodes[DB1].postgres, data_dir=str(tmp_path / "main"), os_user=me)
    inventory, facts = cluster.node("db1", connection=Connection.LOCAL, postgres=settings).build()
    bare = a_session(inventory, Told(), Interrupts(), Ticking())
    fleet = open_fleet(inventory, bare.passwords, cancellation=bare.cancellation, clock=SystemClock(), warn=pytest.fail)
    step = Step("install:db1", DB1, InstallStaging(), "why")
    yield Context(replace(bare, fleet=fleet), facts, step, Stopwatch())
    fleet.close()


def staged(context: Context, run: str | None = "run-1") -> Path:
    """A staging directory with a file in it, made by that run, or by nobody we know."""
    folder = Path(staging_dir(context.node))
    folder.mkdir()
    (folder / "PG_VERSION").write_text("15\n")
    if run is not None:
        Path(staging_marker(context.node)).write_text(json.dumps({"run": run, "system_identifier": None}))
    return folder


def test_a_run_marks_its_staging_directory_and_takes_it_away_again(context: Context) -> None:
    folder = Path(begin_staging(context))
    assert json.loads(Path(staging_marker(context.node)).read_text())["run"] == "run-1"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert remove_staging(context, RemoveStaging()) == Changed()
    assert not folder.exists()
    assert not Path(staging_marker(context.node)).exists()


@pytest.mark.parametrize("run", ["run-0", None])
def test_undo_leaves_what_this_run_did_not_make(context: Context, run: str | None) -> None:
    folder = staged(context, run)
    assert isinstance(remove_staging(context, RemoveStaging()), Unchanged)
    assert (folder / "PG_VERSION").exists()


def test_what_an_earlier_run_left_is_cleared(context: Context) -> None:
    folder = staged(context, "run-0")
    begin_staging(context)
    assert list(folder.iterdir()) == []


def test_what_nobody_marked_is_not_cleared(context: Context) -> None:
    folder = staged(context, None)
    with pytest.raises(ReplctlError) as caught:
        begin_staging(context)
    assert caught.value.code == "staging-foreign"
    assert (folder / "PG_VERSION").exists()
    assert not Path(staging_marker(context.node)).exists()


def test_what_was_started_once_is_not_deleted(context: Context) -> None:
    folder = staged(context)
    (folder / "postmaster.opts").touch()
    with pytest.raises(ReplctlError) as caught:
        remove_staging(context, RemoveStaging())
    assert caught.value.code == "staging-foreign"
    assert (folder / "PG_VERSION").exists()


def test_what_still_writes_there_is_ended_first(context: Context) -> None:
    """The WAL child of an interrupted pg_basebackup has its parent's command line and outlives it."""
    folder = staged(context)
    writer = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", f"--pgdata={folder}"])
    try:
        remove_staging(context, RemoveStaging())
        assert writer.poll() is not None
    finally:
        writer.kill()
        writer.wait(10)
    assert not folder.exists()


@pytest.mark.parametrize("empty", [True, False])
def test_a_finished_directory_is_renamed_into_place(context: Context, empty: bool) -> None:
    folder, place = staged(context), Path(context.node.postgres.data_dir)
    if empty:
        place.mkdir()
    assert install_staging(context, InstallStaging()) == Changed()
    assert [path.name for path in place.iterdir()] == ["PG_VERSION"]
    assert not folder.exists()
    assert not Path(staging_marker(context.node)).exists()


def test_what_stands_in_its_place_by_now_stays(context: Context) -> None:
    folder, place = staged(context), Path(context.node.postgres.data_dir)
    place.mkdir()
    (place / "precious").touch()
    with pytest.raises(CommandFailedError):
        install_staging(context, InstallStaging())
    assert [path.name for path in place.iterdir()] == ["precious"]
    assert (folder / "PG_VERSION").exists()
