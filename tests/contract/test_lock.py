"""The lock, with real processes on this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from replctl.execution.lock import LockTimings, lock_nodes
from replctl.model.errors import InterruptedByOperator, LockLostError, RefusedError, UnreachableError
from replctl.model.values import NodeName
from replctl.remote.ports import Process
from replctl.remote.waiting import NeverCancelled, SystemClock
from tests.contract.lock_hosts import BOB, CALM, HOLDER, Hosts, Link, eventually, pids_holding, reader_of


@pytest.fixture
def hosts(tmp_path: Path) -> Hosts:
    for name in ("db1", "db2"):
        (tmp_path / name).mkdir()
    return Hosts(tmp_path)


def test_a_lock_names_its_holder_and_leaves_nothing_behind(hosts: Hosts) -> None:
    with hosts.lock("db2", "db1") as lock:
        assert lock.nodes == ("db1", "db2")
        assert json.loads(hosts.lock_file("db1").read_text()) == {
            "who": "alice",
            "where": "ops1",
            "since": "2026-07-01 10:00:00 UTC",
            "doing": "replctl promote db2",
        }
        assert hosts.lock_file("db1").stat().st_mode & 0o777 == 0o600
        lock.raise_if_lost()
        pids = [hosts.far_process("db1"), hosts.far_process("db2")]
    assert not hosts.lock_file("db1").exists()
    assert not hosts.lock_file("db2").exists()
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


@pytest.mark.fault("4")
def test_a_second_run_is_told_who_is_there(hosts: Hosts) -> None:
    with hosts.lock("db2"):
        with pytest.raises(RefusedError) as caught:
            hosts.lock("db1", "db2", "db3", holder=BOB)
        assert caught.value.code == "locked"
        assert caught.value.node == "db2"
        assert (
            caught.value.message
            == "db2 is locked by alice on ops1 since 2026-07-01 10:00:00 UTC, who runs: replctl promote db2"
        )
        assert not hosts.lock_file("db1").exists(), "the lock taken before the refusal is given back"
    with hosts.lock("db1", "db2", holder=BOB) as lock:
        lock.raise_if_lost()


def test_the_next_run_locks_at_once(hosts: Hosts) -> None:
    for _ in range(5):
        with hosts.lock("db1", "db2"):
            pass


def test_missing_parents_are_made_and_taken_away_again(hosts: Hosts) -> None:
    with hosts.lock("db3"):
        assert hosts.lock_file("db3").exists()
        assert (hosts.folder / "db3").stat().st_mode & 0o777 == 0o755
    assert not (hosts.folder / "db3").exists()


def test_parents_in_use_by_then_stay(hosts: Hosts) -> None:
    with hosts.lock("db3"):
        (hosts.folder / "db3" / "main").mkdir()
    assert (hosts.folder / "db3" / "main").is_dir()
    assert not hosts.lock_file("db3").exists()


def test_a_folder_that_cannot_be_written_is_refused(hosts: Hosts) -> None:
    (hosts.folder / "db3").write_text("a file where the folder should be")
    with pytest.raises(RefusedError) as caught:
        hosts.lock("db1", "db3")
    assert caught.value.code == "lock-failed"
    assert "File exists" in caught.value.message or "Not a directory" in caught.value.message
    assert not hosts.lock_file("db1").exists()


@pytest.mark.fault("5")
def test_what_a_dead_run_left_behind_does_not_lock(hosts: Hosts) -> None:
    hosts.lock_file("db1").write_text('{"who": "ghost"}\n')
    with hosts.lock("db1"):
        assert "alice" in hosts.lock_file("db1").read_text()


def test_the_reader_of_heartbeats_does_not_hold_the_lock(hosts: Hosts) -> None:
    with hosts.lock("db1", timings=LockTimings(beat=60.0)):
        shell = hosts.far_process("db1")
        eventually(lambda: reader_of(shell) is not None)
        assert pids_holding(hosts.lock_file("db1")) == [shell]


def test_a_killed_shell_frees_the_lock_at_once_although_its_reader_lives(hosts: Hosts) -> None:
    lock = hosts.lock("db1")
    os.kill(hosts.far_process("db1"), signal.SIGKILL)
    with hosts.lock("db1", holder=BOB), pytest.raises(LockLostError):
        eventually(lock.raise_if_lost)
    lock.release()


def test_a_heartbeat_out_of_turn_finds_what_broke_since_the_last_one(hosts: Hosts) -> None:
    lock = hosts.lock("db1", "db2", timings=LockTimings(beat=60.0))
    lock.beat()
    lock.raise_if_lost()
    os.kill(hosts.far_process("db2"), signal.SIGKILL)
    lock.beat()
    with pytest.raises(LockLostError, match="the lock on db2 is lost"):
        lock.raise_if_lost()
    lock.release()


@pytest.mark.fault("5")
def test_the_far_end_gives_up_without_heartbeats(hosts: Hosts) -> None:
    lock = hosts.lock("db1", timings=LockTimings(beat=60.0, lost_after=0.3, ends_after=1, release=2.0))
    eventually(lambda: not hosts.lock_file("db1").exists())
    with pytest.raises(LockLostError, match="no heartbeat got through"):
        lock.raise_if_lost()
    lock.release()


def test_a_frozen_far_end_means_lost_in_time(hosts: Hosts) -> None:
    lock = hosts.lock("db1")
    group = os.getpgid(hosts.far_process("db1"))
    os.killpg(group, signal.SIGSTOP)
    time.sleep(0.7)
    with pytest.raises(LockLostError) as caught:
        lock.raise_if_lost()
    assert caught.value.node == "db1"
    os.killpg(group, signal.SIGCONT)
    time.sleep(0.2)
    with pytest.raises(LockLostError):
        lock.raise_if_lost()
    lock.release()


class SuspendableClock(SystemClock):
    """A laptop whose lid is closed: the clock jumps, nothing else happens."""

    slept = 0.0

    def now(self) -> float:
        return super().now() + self.slept


def test_a_suspended_machine_has_lost_its_lock_for_good(hosts: Hosts) -> None:
    clock = SuspendableClock()
    lock = hosts.lock("db1", clock=clock)
    clock.slept = 11.0
    time.sleep(0.3)
    with pytest.raises(LockLostError, match="no heartbeat got through"):
        lock.raise_if_lost()
    lock.release()


def test_a_lock_is_kept_longer_than_its_lease(hosts: Hosts) -> None:
    with hosts.lock("db1") as lock:
        deadline = time.monotonic() + 1.6
        while time.monotonic() < deadline:
            lock.raise_if_lost()
            time.sleep(0.05)


def test_many_runs_at_once_never_hold_it_together(hosts: Hosts) -> None:
    inside: list[int] = []
    overlaps: list[int] = []
    refused: list[str] = []

    def contend() -> None:
        for _ in range(4):
            try:
                with hosts.lock("db1"):
                    inside.append(1)
                    overlaps.append(len(inside))
                    time.sleep(0.01)
                    inside.pop()
            except RefusedError as error:
                refused.append(error.code)

    threads = [threading.Thread(target=contend) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert overlaps
    assert set(overlaps) == {1}
    assert set(refused) <= {"locked"}
    assert not hosts.lock_file("db1").exists()


class Slow:
    """A host so busy that a lock is asked for long after its file was opened: once ``go`` is there."""

    def __init__(self, link: Link, go: Path) -> None:
        self.runner = link.runner
        self._waits = f'flock() {{ until [ -e "{go}" ]; do sleep 0.01; done; command flock "$@"; }}\n'

    def shielded(self) -> Slow:
        return self

    def spawn(self, argv: Sequence[str]) -> Process:
        shell, option, script, *arguments = argv
        return self.runner.shielded().spawn((shell, option, self._waits + script, *arguments))


def test_a_file_that_was_deleted_meanwhile_is_no_lock(hosts: Hosts, tmp_path: Path) -> None:
    """The holder deletes the file while it has it; whoever comes next locks a new one."""
    first = hosts.lock("db1", timings=CALM)
    slow = Link(NodeName("db1"), Slow(Link.to("db1"), tmp_path / "go"))
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(hosts.lock_links, [slow], timings=CALM)
        eventually(lambda: len(pids_holding(hosts.lock_file("db1"))) == 2)
        first.release()
        with hosts.lock("db1", holder=BOB, timings=CALM):
            (tmp_path / "go").touch()
            with pytest.raises(RefusedError, match="locked by bob"):
                late.result()


def test_all_locks_or_none(hosts: Hosts) -> None:
    with hosts.lock("db2", holder=BOB, timings=CALM):
        with pytest.raises(RefusedError, match="db2 is locked by bob"):
            hosts.lock("db1", "db2", timings=CALM)
        hosts.lock("db1", timings=CALM).release()


@pytest.mark.parametrize(
    ("left", "shown"),
    [
        (b"not json\n", "a run that left no name"),
        (b"[1]\n", "a run that left no name"),
        (b'{"who": "\\u001b[31mmallory"}\n', "\x1b[31mmallory on ? since ?, who runs: ?"),
        (b"", "a run that left no name"),
    ],
)
def test_an_unreadable_holder_still_locks(hosts: Hosts, left: bytes, shown: str) -> None:
    hosts.lock_file("db1").write_bytes(left)
    with subprocess.Popen(["flock", str(hosts.lock_file("db1")), "sleep", "30"], start_new_session=True) as other:
        eventually(lambda: subprocess.run(["flock", "-n", hosts.lock_file("db1"), "true"], check=False).returncode == 1)
        with pytest.raises(RefusedError) as caught:
            hosts.lock("db1")
        os.killpg(other.pid, signal.SIGKILL)
    assert caught.value.message == f"db1 is locked by {shown}"


class Mute:
    """A host that takes the command and never answers."""

    def __init__(self, link: Link) -> None:
        self.runner = link.runner

    def shielded(self) -> Mute:
        return self

    def spawn(self, argv: Sequence[str]) -> Process:
        del argv
        return self.runner.shielded().spawn(("sh", "-c", "exec sleep 60"))


class Impatient:
    def raise_if_cancelled(self) -> None:
        raise InterruptedByOperator("interrupted", hint="Go on.")


@pytest.mark.parametrize(
    ("cancellation", "error"), [(NeverCancelled(), UnreachableError), (Impatient(), InterruptedByOperator)]
)
def test_a_silent_host_is_left_in_time(hosts: Hosts, cancellation, error: type[Exception]) -> None:
    began = time.monotonic()
    with pytest.raises(error):
        lock_nodes(
            [Link(NodeName("db1"), Mute(Link.to("db1")))],
            hosts.inventory,
            HOLDER,
            clock=SystemClock(),
            cancellation=cancellation,
            timings=LockTimings(answer=0.3, release=0.2),
        )
    assert time.monotonic() - began < 3
