"""The scripts that stop a server, move its data directory aside and give it new files, on processes that look like
postmasters."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from replctl.postgres.scripts import GONE, NOT_OURS, RUNS, TIMED_OUT, install_config, set_aside
from replctl.postgres.stopping import stop

OBEDIENT = "trap 'exit 0' INT; echo ready; while :; do sleep 0.05; done"
TOLD = "trap 'echo reload' HUP; echo ready; while :; do sleep 0.05; done"
DEAF = "trap '' INT; echo ready; while :; do sleep 0.05; done"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory as far as these scripts look at one."""
    found = tmp_path / "main"
    found.mkdir()
    (found / "PG_VERSION").write_text("15\n")
    return found


@contextmanager
def postmaster(data: Path, program: str = OBEDIENT) -> Iterator[subprocess.Popen[str]]:
    """A process in the data directory whose number its pid file has."""
    with subprocess.Popen(["sh", "-c", program], cwd=data, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        (data / "postmaster.pid").write_text(f"{process.pid}\n{data}\n1\n5432\n/tmp\n*\n1 1\nready   \n")
        try:
            yield process
        finally:
            process.kill()


def run(command: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def aside(data: Path) -> subprocess.CompletedProcess[str]:
    return run(set_aside(str(data), f"{data}.replctl-rewind", f"{data}.replctl-aside-"))


def names(data: Path) -> list[str]:
    return sorted(path.name for path in data.parent.iterdir())


class TestStop:
    def test_it_waits_until_the_postmaster_is_gone(self, data: Path) -> None:
        with postmaster(data) as process:
            assert run(stop(str(data), seconds=20)).returncode == 0
            assert process.wait(10) == 0

    def test_a_deadline_ends_the_wait_and_not_the_server(self, data: Path) -> None:
        with postmaster(data, DEAF) as process:
            assert run(stop(str(data), seconds=1)).returncode == TIMED_OUT
            assert process.poll() is None

    def test_there_is_none(self, data: Path) -> None:
        assert run(stop(str(data), seconds=1)).returncode == GONE
        with postmaster(data) as process:
            process.kill()
            process.wait(10)
            assert run(stop(str(data), seconds=1)).returncode == GONE

    def test_another_program_that_got_the_number_is_left_alone(self, data: Path, tmp_path: Path) -> None:
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        with postmaster(elsewhere) as process:
            (data / "postmaster.pid").write_text((elsewhere / "postmaster.pid").read_text())
            assert run(stop(str(data), seconds=1)).returncode == GONE
            assert process.poll() is None


class TestSetAside:
    def test_it_gets_a_new_name_each_time(self, data: Path) -> None:
        """Also within one second."""
        seen: list[str] = []
        for _ in range(3):
            done = aside(data)
            assert done.returncode == 0, done.stderr
            assert re.fullmatch(r".*/main\.replctl-aside-\d{8}T\d{6}Z(-\d+)?\n", done.stdout)
            seen.append(done.stdout.strip())
            data.mkdir()
        assert len(set(seen)) == 3
        assert (Path(seen[0]) / "PG_VERSION").exists()

    def test_a_running_server_keeps_its_directory(self, data: Path) -> None:
        with postmaster(data) as process:
            assert aside(data).returncode == RUNS
            assert process.poll() is None
        assert names(data) == ["main"]

    def test_what_a_broken_rewind_left_goes_when_nothing_stands_in_its_place(self, data: Path) -> None:
        left = data.rename(f"{data}.replctl-rewind")
        data.mkdir()
        assert aside(data).returncode == 0
        assert left.exists()
        done = aside(data)
        assert done.returncode == 0, done.stderr
        assert not left.exists()
        assert (Path(done.stdout.strip()) / "PG_VERSION").exists()

    def test_there_is_neither(self, tmp_path: Path) -> None:
        assert aside(tmp_path / "main").returncode == GONE
        assert names(tmp_path / "main") == []

    def test_what_is_no_directory_of_ours_stays(self, data: Path) -> None:
        real = data.rename(data.with_name("real"))
        data.symlink_to(real)
        assert aside(data).returncode == NOT_OURS
        data.unlink()
        data.write_text("a file")
        assert aside(data).returncode == NOT_OURS
        assert names(data) == ["main", "real"]


class TestInstallConfig:
    def test_a_server_that_runs_is_told_in_the_same_breath(self, data: Path) -> None:
        """Nobody is needed for it who may be gone by then."""
        with postmaster(data, TOLD) as process:
            assert run(install(data, "a.conf", "b.conf")).returncode == 0
            assert process.stdout is not None
            assert process.stdout.readline() == "reload\n"
        assert {(data / name).read_text() for name in ("a.conf", "b.conf")} == {"new"}

    def test_a_file_keeps_its_mode_and_the_link_to_it_and_a_new_one_is_like_its_neighbour(self, data: Path) -> None:
        command = install(data, "postgresql.conf", "replctl.conf")
        (data / "replctl.conf").unlink()
        kept = (data / "postgresql.conf").rename(data.parent / "kept.conf")
        kept.chmod(0o640)
        (data / "postgresql.conf").symlink_to(kept)
        assert run(command).returncode == 0
        assert (data / "postgresql.conf").is_symlink()
        assert kept.read_text() == "new"
        assert {stat.S_IMODE((data / name).stat().st_mode) for name in ("postgresql.conf", "replctl.conf")} == {0o640}
        assert names(data) == ["kept.conf", "main"]
        assert sorted(path.name for path in data.glob("*.conf*")) == ["postgresql.conf", "replctl.conf"]

    def test_one_of_another_user_is_left_alone(self, data: Path) -> None:
        command = install(data, "a.conf")
        os.chown(data / "a.conf", 54321, -1)
        assert run(command).returncode != 0
        assert (data / "a.conf").read_text() == "old"

    def test_none_is_needed(self, data: Path) -> None:
        assert run(install(data, "a.conf")).returncode == 0
        assert (data / "a.conf").read_text() == "new"
        assert run(install_config(str(data), [f"{data}/a.conf"], ".new")).returncode != 0


def install(data: Path, *names: str) -> tuple[str, ...]:
    for name in names:
        (data / name).write_text("old")
        (data / f"{name}.new").write_text("new")
    return install_config(str(data), [f"{data}/{name}" for name in names], ".new")
