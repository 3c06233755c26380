"""Hosts as they are: noisy, odd, limited, and gone in the middle of something."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from replctl.model.errors import ConnectionLostError, InterruptedByOperator, UnreachableError, WaitTimeoutError
from replctl.model.secret import Secret
from replctl.remote import dial
from replctl.remote.dial import Dialer
from replctl.remote.ssh_config import SshConfig
from replctl.remote.waiting import NeverCancelled, SystemClock
from tests.contract.routes import (
    OS_USER,
    Interrupt,
    Route,
    closing,
    eventually,
    runner_over,
    running,
    ssh_host,
    ssh_node,
)
from tests.contract.sshd import Sshd, UnixUser, free_port, serving, unix_user

NOISE = """
printf 'Welcome! \\033[31m'
echo to stderr >&2
echo 21dfe5693f07e50bfab24541d68ccad3 99
export PGHOST=elsewhere LC_ALL=C.UTF-8 PATH=/nowhere PGOPTIONS='-c work_mem=1'
"""

# Knows words and single quotes, and neither $ nor ; outside them: a POSIX script would not get through.
ODD_SHELL = """#!/usr/bin/python3
import os, re, shlex, sys
command = sys.argv[sys.argv.index("-c") + 1]
bare = re.sub("'[^']*'", "", command)
if set(bare) & set('$;&|"`(){}\\\\!') or "!" in command or "\\n" in command:
    sys.exit("odd: syntax error")
words = shlex.split(command)
assert words.pop(0) == "exec"
os.execv(words[0], words)
"""


@pytest.fixture
def marker() -> Iterator[str]:
    marker = f"7{uuid.uuid4().int % 10**12:012d}"
    yield marker
    assert eventually(lambda: not running(marker)), "a process was left behind"


@pytest.fixture(scope="module")
def visitor(worker: str) -> Iterator[UnixUser]:
    """An account without any sudo rule."""
    with unix_user(f"replctl-visitor-{worker}") as user:
        yield user


class TestAccounts:
    @pytest.mark.fault("12a", "13b", "13c")
    def test_noise_before_the_command_is_dropped(self, routes: dict[str, Route]) -> None:
        user = UnixUser(routes["ssh-sudo"].user)
        rc = user.home / ".bashrc"
        before = rc.read_text()
        rc.write_text(NOISE + before)
        with closing(routes["ssh-sudo"].open()) as runner:
            result = runner.run(["sh", "-c", 'echo out; echo err >&2; echo "$LC_ALL ${PGHOST-}"'], timeout=5)
        rc.write_text(before)
        assert (result.stdout, result.stderr) == (b"out\nC \n", b"err\n")

    @pytest.mark.fault("13a")
    def test_odd_login_shell(self, sshd: Sshd, worker: str) -> None:
        shell = sshd.folder / "odd-shell"
        shell.write_text(ODD_SHELL)
        shell.chmod(0o755)
        with (
            unix_user(f"replctl-odd-{worker}", shell=str(shell)) as user,
            closing(runner_over(ssh_host(sshd, user.name), user.name)) as runner,
        ):
            assert runner.run(["printf", "%s", "it's $(id) é\n"], timeout=5).text == "it's $(id) é\n"
            assert runner.run(["cat"], stdin=b"in", timeout=5).stdout == b"in"

    def test_a_shell_that_runs_nothing(self, sshd: Sshd, worker: str) -> None:
        with (
            unix_user(f"replctl-nologin-{worker}", shell="/usr/sbin/nologin") as user,
            closing(runner_over(ssh_host(sshd, user.name), user.name)) as runner,
            pytest.raises(UnreachableError, match=r"does not run commands: .*not available") as caught,
        ):
            runner.run(["true"], timeout=5)
        assert caught.value.code == "os-user"

    @pytest.mark.fault("14")
    def test_sudo_that_asks(self, sshd: Sshd, visitor: UnixUser) -> None:
        with closing(runner_over(ssh_host(sshd, visitor.name))) as runner:
            with pytest.raises(UnreachableError, match=f"{visitor.name} on db1 cannot act as {OS_USER}: ") as caught:
                runner.run(["true"], timeout=5)
            with pytest.raises(UnreachableError):
                runner.spawn(["true"])
            with pytest.raises(UnreachableError):
                runner.run(["cat"], stdin=Secret("x"), timeout=5)
        assert caught.value.code == "os-user"
        assert f"{visitor.name} ALL=({OS_USER}) NOPASSWD: ALL" in caught.value.hint

    def test_an_os_user_that_does_not_exist(self, sshd: Sshd) -> None:
        with (
            closing(runner_over(ssh_host(sshd, "root"), "replctl-nobody")) as runner,
            pytest.raises(UnreachableError, match="root on db1 cannot act as replctl-nobody") as caught,
        ):
            runner.run(["true"], timeout=5)
        assert caught.value.code == "os-user"

    def test_root_as_itself(self, sshd: Sshd) -> None:
        with closing(runner_over(ssh_host(sshd, "root"), "root")) as runner:
            assert runner.run(["id", "-un"], timeout=5).text == "root\n"


class TestLosses:
    @pytest.mark.fault("7a")
    def test_connection_lost_in_the_middle(self, sshd: Sshd, visitor: UnixUser, marker: str) -> None:
        with closing(runner_over(ssh_host(sshd, visitor.name), visitor.name)) as runner:
            runner.run(["true"], timeout=5)
            timer = threading.Timer(0.3, lambda: [os.kill(pid, signal.SIGKILL) for pid in sshd.sessions(visitor.name)])
            timer.start()
            started = time.monotonic()
            with pytest.raises(ConnectionLostError, match="the SSH connection to db1 broke"):
                runner.run(["sleep", marker], timeout=30)
            timer.join()
            assert time.monotonic() - started < 2
            for pid in running(marker):
                os.kill(pid, signal.SIGKILL)

    def test_a_lost_connection_is_opened_again(self, sshd: Sshd, visitor: UnixUser) -> None:
        with closing(runner_over(ssh_host(sshd, visitor.name), visitor.name)) as runner:
            runner.run(["true"], timeout=5)
            for pid in sshd.sessions(visitor.name):
                os.kill(pid, signal.SIGKILL)
            assert eventually(lambda: _works(lambda: runner.run(["echo", "again"], timeout=5).text == "again\n"))

    def test_a_process_notices_the_loss(self, sshd: Sshd, visitor: UnixUser) -> None:
        with closing(runner_over(ssh_host(sshd, visitor.name), visitor.name)) as runner:
            process = runner.spawn(["cat"])
            for pid in sshd.sessions(visitor.name):
                os.kill(pid, signal.SIGKILL)
            with pytest.raises(ConnectionLostError):
                process.read_line(5)
            with pytest.raises(ConnectionLostError):
                process.write(b"x")
            with pytest.raises(ConnectionLostError):
                process.wait(5)
            process.kill()

    @pytest.mark.fault("6d")
    def test_an_sshd_that_hangs_costs_a_bounded_time(self, sshd: Sshd, visitor: UnixUser) -> None:
        with closing(runner_over(ssh_host(sshd, visitor.name), visitor.name)) as runner:
            runner.run(["true"], timeout=5)
            stopped = sshd.sessions(visitor.name)
            for pid in stopped:
                os.kill(pid, signal.SIGSTOP)
            started = time.monotonic()
            with pytest.raises((UnreachableError, WaitTimeoutError)):
                runner.run(["true"], timeout=0.5)
            assert time.monotonic() - started < 2
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)


@pytest.fixture(scope="module")
def strict() -> Iterator[Sshd]:
    with serving("MaxSessions 1\nAllowTcpForwarding no\n") as sshd:
        yield sshd


class TestLimits:
    @pytest.mark.fault("16a")
    def test_commands_take_turns_when_sessions_are_few(self, strict: Sshd) -> None:
        with closing(runner_over(ssh_host(strict, OS_USER))) as runner:
            threads = [
                threading.Thread(target=lambda: runner.run(["sleep", "0.05"], timeout=10), daemon=True)
                for _ in range(4)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(10)
            assert runner.run(["echo", "after"], timeout=5).text == "after\n"

    @pytest.mark.fault("16a")
    def test_no_session_left(self, strict: Sshd) -> None:
        with closing(runner_over(ssh_host(strict, OS_USER))) as runner:
            process = runner.spawn(["cat"])
            with pytest.raises(UnreachableError, match="does not open another session") as caught:
                runner.run(["true"], timeout=0.5)
            assert caught.value.code == "max-sessions"
            assert "MaxSessions" in caught.value.hint
            process.kill()

    def test_a_time_out_ends_the_group_all_the_same(self, strict: Sshd, marker: str) -> None:
        with closing(runner_over(ssh_host(strict, OS_USER))) as runner:
            with pytest.raises(WaitTimeoutError):
                runner.run(["sleep", marker], timeout=0.3)
            assert running(marker) == []

    def test_forwarding_is_forbidden(self, strict: Sshd) -> None:
        host = ssh_host(strict, OS_USER)
        with pytest.raises(UnreachableError, match="does not forward") as caught:
            host.open_tcp("127.0.0.1", strict.port, 5)
        host.close()
        assert caught.value.code == "forwarding-forbidden"
        assert "postgres.connect: direct" in caught.value.hint

    def test_nothing_listens_at_the_far_end(self, sshd: Sshd) -> None:
        host = ssh_host(sshd, OS_USER)
        with pytest.raises(UnreachableError, match="nothing listens") as caught:
            host.open_tcp("127.0.0.1", free_port(), 5)
        host.close()
        assert caught.value.code == "connection-refused"


class TestDeadlines:
    @pytest.fixture
    def silent(self) -> Iterator[int]:
        """Accepts connections in the kernel and never says anything."""
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(16)
            yield listener.getsockname()[1]

    @pytest.fixture
    def blackhole(self) -> Iterator[int]:
        """Its queue is full: the kernel drops further connection attempts."""
        with socket.socket() as listener, contextlib.ExitStack() as queue:
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            for _ in range(3):
                waiting = queue.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex(listener.getsockname())
            yield listener.getsockname()[1]

    @pytest.mark.parametrize(
        "kind",
        [
            pytest.param("silent", marks=pytest.mark.fault("6b")),
            pytest.param("blackhole", marks=pytest.mark.fault("6a")),
        ],
    )
    def test_one_deadline_for_everything(self, sshd: Sshd, kind: str, request: pytest.FixtureRequest) -> None:
        port = request.getfixturevalue(kind)
        host = ssh_host(sshd, OS_USER, port=port, connect_timeout=0.6)
        started = time.monotonic()
        with pytest.raises(UnreachableError) as caught:
            host.connect(NeverCancelled())
        assert 0.5 < time.monotonic() - started < 1.4
        assert caught.value.code == "timeout"
        assert caught.value.node == "db1"

    @pytest.mark.fault("6c")
    def test_an_sshd_that_hangs_in_the_authentication(self) -> None:
        """It asks a program for the user's keys, which takes its time."""
        with serving("AuthorizedKeysCommand /usr/bin/sleep 8\nAuthorizedKeysCommandUser root\n") as slow:
            (slow.folder / "authorized_keys").write_text("")
            host = ssh_host(slow, OS_USER, connect_timeout=2.0)
            started = time.monotonic()
            with pytest.raises(UnreachableError) as caught:
                host.connect(NeverCancelled())
            assert 1.5 < time.monotonic() - started < 6
            assert caught.value.code == "timeout"

    def test_a_failure_is_shared_by_those_who_ask_soon(self, sshd: Sshd, silent: int) -> None:
        host = ssh_host(sshd, OS_USER, port=silent, connect_timeout=0.4)
        started = time.monotonic()
        for _ in range(5):
            with pytest.raises(UnreachableError):
                host.connect(NeverCancelled())
        assert time.monotonic() - started < 1

    def test_connecting_is_interruptible(self, sshd: Sshd, silent: int) -> None:
        interrupt = Interrupt()
        dialer = Dialer(SshConfig(str, Path("/dev/null")), SystemClock())
        threading.Timer(0.2, lambda: setattr(interrupt, "now", True)).start()
        started = time.monotonic()
        with pytest.raises(InterruptedByOperator):
            dialer.dial(ssh_node(sshd, OS_USER, port=silent, connect_timeout=2.0), interrupt)
        assert time.monotonic() - started < 1

    def test_nothing_listens(self, sshd: Sshd) -> None:
        with pytest.raises(UnreachableError, match="connection refused") as caught:
            ssh_host(sshd, OS_USER, port=free_port()).connect(NeverCancelled())
        assert caught.value.code == "connection-refused"


def test_no_local_port_is_opened(sshd: Sshd) -> None:
    """A forwarded connection ends in this process."""
    host = ssh_host(sshd, OS_USER)
    before = _listening()
    channel = host.open_tcp("127.0.0.1", sshd.port, 5)
    assert channel.recv(4) == b"SSH-"
    assert _listening() == before
    channel.close()
    host.close()


def test_a_connection_that_is_closed_does_not_wait_for_its_thread_to_look_up(
    sshd: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dial, "ATTENTION_SECONDS", 600.0)
    host = ssh_host(sshd, OS_USER)
    transport = host.connect(NeverCancelled()).transport
    time.sleep(0.3)  # Paramiko's own time-out of 0.1 s has passed: now its thread waits for a message
    host.close()
    transport.join(30)
    assert not transport.is_alive()


def _listening() -> set[str]:
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    inodes = {line.split()[9] for line in lines if line.split()[3] == "0A"}
    mine = set()
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(link.stat().st_mode):
                mine.add(str(link.readlink()).removeprefix("socket:[").removesuffix("]"))
    return inodes & mine


def _works(attempt: object) -> bool:
    try:
        return bool(attempt())  # type: ignore[operator]
    except ConnectionLostError:
        return False
