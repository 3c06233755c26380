"""The ways to a host that the one suite runs over, and what it looks at on the host."""

from __future__ import annotations

import contextlib
import getpass
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from replctl.model.errors import InterruptedByOperator
from replctl.model.inventory import Connection, Node, PostgresSettings, SshSettings
from replctl.model.values import NodeName
from replctl.remote.dial import Dialer
from replctl.remote.local import LocalShells
from replctl.remote.ports import Cancellation
from replctl.remote.shell_runner import ShellRunner
from replctl.remote.ssh import SshHost
from replctl.remote.ssh_config import SshConfig
from replctl.remote.waiting import NeverCancelled, SystemClock
from tests.contract.sshd import Sshd

ROOT = os.geteuid() == 0
OS_USER = "postgres" if ROOT else getpass.getuser()
SUDO = ["{name} ALL=(postgres) NOPASSWD: ALL"]
SUDO_PTY = ["Defaults:{name} use_pty", "Defaults:{name} lecture=always", *SUDO]
ROUTES = ["local", "ssh-same", "ssh-root", "ssh-sudo", "ssh-sudo-pty"] if ROOT else ["local"]


class Interrupt:
    """A Cancellation that a test sets off."""

    def __init__(self) -> None:
        self.now = False

    def raise_if_cancelled(self) -> None:
        if self.now:
            raise InterruptedByOperator("interrupted", hint="Run the same command again.")


@dataclass
class Route:
    """One way to this machine: makes runners, which a test owns."""

    name: str
    sshd: Sshd | None = None
    user: str = ""

    def open(self, cancellation: Cancellation | None = None) -> ShellRunner:
        shells = LocalShells(NodeName("db1")) if self.sshd is None else ssh_host(self.sshd, self.user)
        return ShellRunner(shells, OS_USER, SystemClock(), cancellation or NeverCancelled())


def ssh_node(sshd: Sshd, user: str | None, *, ssh_host: str = "127.0.0.1", **changed: object) -> Node:
    settings = {
        "user": user,
        "port": sshd.port,
        "identity_file": sshd.key,
        "known_hosts_file": sshd.known_hosts,
        "connect_timeout": 5.0,
    }
    return Node(
        NodeName("db1"),
        "127.0.0.1",
        ssh_host,
        Connection.SSH,
        SshSettings(**(settings | changed)),
        PostgresSettings("/var/lib/x", os_user=OS_USER),
    )


def ssh_host(sshd: Sshd, user: str | None, config: Path = Path("/dev/null"), **changed: object) -> SshHost:
    warnings: list[str] = []
    return SshHost(ssh_node(sshd, user, **changed), Dialer(SshConfig(warnings.append, config), SystemClock()))


def runner_over(host: SshHost, os_user: str = OS_USER) -> ShellRunner:
    return ShellRunner(host, os_user, SystemClock(), NeverCancelled())


@contextlib.contextmanager
def closing(runner: ShellRunner) -> Iterator[ShellRunner]:
    try:
        yield runner
    finally:
        runner.close()


def running(marker: str) -> list[int]:
    """The processes with ``marker`` in their arguments, zombies left out: those have none."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if marker.encode() in file.read_bytes():
                found.append(int(file.parent.name))
    return found


def eventually(holds: Callable[[], object], seconds: float = 3.0) -> bool:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
