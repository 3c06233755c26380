"""A scratch PostgreSQL that the tests of SQL talk to."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.contract.routes import OS_USER, eventually
from tests.contract.sshd import free_port, run
from tests.real.hosts.servers import pg_install

ADMIN_PASSWORD = "admin-canary $1 '\\ @:/"
REPLICATION_PASSWORD = "replication-canary é"
BIN = pg_install(15) / "bin"

CONF = """
port = {port}
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
fsync = off
ssl = on
log_statement = 'all'
shared_buffers = 16MB
"""


def as_os_user(*argv: str) -> None:
    run("setpriv", f"--reuid={OS_USER}", f"--regid={OS_USER}", "--init-groups", *argv)


@dataclass(frozen=True)
class Scratch:
    folder: Path
    port: int

    @property
    def data_dir(self) -> Path:
        return self.folder / "data"

    def pg_ctl(self, *argv: str) -> None:
        as_os_user(str(BIN / "pg_ctl"), "-D", str(self.data_dir), "-l", str(self.folder / "log"), *argv)

    def start(self, *argv: str) -> None:
        self.pg_ctl("start", *argv)


@contextlib.contextmanager
def scratch() -> Iterator[Scratch]:
    server = Scratch(Path(tempfile.mkdtemp(prefix="replctl-sql-")), free_port())
    shutil.chown(server.folder, OS_USER)
    server.folder.chmod(0o755)
    password = server.folder / "pwfile"
    password.write_text(ADMIN_PASSWORD)
    shutil.chown(password, OS_USER)
    options = ("-A", "scram-sha-256", "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "-N")
    try:
        as_os_user(str(BIN / "initdb"), "-D", str(server.data_dir), f"--pwfile={password}", *options)
        make_certificate(server.data_dir)
        with (server.data_dir / "postgresql.conf").open("a") as conf:
            conf.write(CONF.format(port=server.port))
        server.start("-w")
        yield server
    finally:
        with contextlib.suppress(AssertionError):
            server.pg_ctl("stop", "-m", "immediate")
        shutil.rmtree(server.folder)


@contextlib.contextmanager
def not_accepting(original: Scratch) -> Iterator[Scratch]:
    """A standby without hot_standby answers like a server that still starts up: 57P03."""
    server = Scratch(Path(tempfile.mkdtemp(prefix="replctl-sql-")), free_port())
    shutil.chown(server.folder, OS_USER)
    original.pg_ctl("stop", "-m", "fast")
    subprocess.run(("cp", "-a", str(original.data_dir), str(server.folder)), check=True)
    original.start("-w")
    (server.data_dir / "standby.signal").touch()
    with (server.data_dir / "postgresql.conf").open("a") as conf:
        conf.write(f"\nport = {server.port}\nhot_standby = off\n")
    try:
        server.start("-W")
        assert eventually(lambda: _listens(server.port))
        yield server
    finally:
        server.pg_ctl("stop", "-m", "immediate")
        shutil.rmtree(server.folder)


def make_certificate(folder: Path) -> None:
    files = ("-keyout", str(folder / "server.key"), "-out", str(folder / "server.crt"))
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", *files,
        "-days", "2", "-subj", "/CN=scratch")  # fmt: skip
    for name in ("server.key", "server.crt"):
        shutil.chown(folder / name, OS_USER)
        (folder / name).chmod(0o600)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
