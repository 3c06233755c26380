"""A real sshd of our own on a loopback port, and accounts to log in to it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

SERVER = "/usr/sbin/sshd"

CONFIG = """
ListenAddress 127.0.0.1:{port}
HostKey {folder}/host_key
PidFile {folder}/pid
AuthorizedKeysFile {folder}/authorized_keys
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
UsePAM yes
PrintMotd no
MaxStartups 50
LogLevel VERBOSE
"""


def run(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, (argv, done.stderr)
    return done.stdout


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def make_key(path: Path, *options: str) -> Path:
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", *options, "-f", str(path))
    return path


@dataclass
class Sshd:
    """One server in a folder that every account can read."""

    extra: str = ""
    port: int = field(default_factory=free_port)
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="replctl-sshd-")))
    server: subprocess.Popen[bytes] | None = None

    @property
    def key(self) -> Path:
        """The private half of the key that every account accepts."""
        return self.folder / "user_key"

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def known_line(self, name: str | None = None) -> str:
        kind, blob = (self.folder / "host_key.pub").read_text().split()[:2]
        return f"{name or f'[127.0.0.1]:{self.port}'} {kind} {blob}\n"

    def start(self) -> None:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        self.folder.chmod(0o755)
        make_key(self.folder / "host_key")
        make_key(self.key)
        shutil.copy(f"{self.key}.pub", self.folder / "authorized_keys")
        (self.folder / "authorized_keys").chmod(0o644)
        self.known_hosts.write_text(self.known_line())
        (self.folder / "config").write_text(CONFIG.format(port=self.port, folder=self.folder) + self.extra)
        self.server = subprocess.Popen(
            (SERVER, "-D", "-f", str(self.folder / "config"), "-E", str(self.folder / "log")),
            env={"PATH": os.defpath},
        )
        self._await_port()

    def _await_port(self) -> None:
        for _ in range(200):
            with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", self.port)):
                return
            assert self.server is not None
            assert self.server.poll() is None, self.log
            time.sleep(0.02)
        raise AssertionError(self.log)

    def sessions(self, user: str = "") -> list[int]:
        """The processes that serve connections: one of root's for each, and one of the user's, which has the socket."""
        assert self.server is not None
        own = _children(self.server.pid)
        return [pid for pid in (*own, *(p for child in own for p in _children(child))) if _serves(pid, user)]

    def stop(self) -> None:
        if self.server is not None:
            for pid in self.sessions():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, 9)
            self.server.terminate()
            self.server.wait(5)
        shutil.rmtree(self.folder)


def _children(parent: int) -> list[int]:
    found: list[int] = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if stat.read_text().rpartition(")")[2].split()[1] == str(parent):
                found.append(int(stat.parent.name))
    return found


def _serves(pid: int, user: str) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(f"sshd: {user}".encode())
    return False


@contextlib.contextmanager
def serving(extra: str = "") -> Iterator[Sshd]:
    sshd = Sshd(extra)
    try:
        sshd.start()
        yield sshd
    finally:
        sshd.stop()


@dataclass(frozen=True)
class UnixUser:
    name: str

    @property
    def home(self) -> Path:
        return Path(pwd.getpwnam(self.name).pw_dir)


@contextlib.contextmanager
def unix_user(name: str, *, sudoers: Sequence[str] = (), shell: str = "/bin/bash") -> Iterator[UnixUser]:
    """An account for as long as the tests run. Several test processes may do this at once."""
    rules = Path("/etc/sudoers.d") / name
    with _password_file():
        if name in {user.pw_name for user in pwd.getpwall()}:
            run("userdel", "-r", "-f", name)
        run("useradd", "--create-home", "--shell", shell, name)
    try:
        if sudoers:
            rules.write_text("".join(f"{line.format(name=name)}\n" for line in sudoers))
            rules.chmod(0o440)
        yield UnixUser(name)
    finally:
        rules.unlink(missing_ok=True)
        _end_processes(pwd.getpwnam(name).pw_uid)
        with _password_file():
            subprocess.run(("userdel", "-r", "-f", name), capture_output=True, check=False)


def _end_processes(uid: int) -> None:
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if folder.stat().st_uid == uid:
                os.kill(int(folder.name), 9)


@contextlib.contextmanager
def _password_file() -> Iterator[None]:
    """useradd gives up when another one holds /etc/passwd."""
    with (Path(tempfile.gettempdir()) / "replctl-test-passwd.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
