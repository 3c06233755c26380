"""The operator's side of a test: a folder with an inventory, secrets and keys, and the installed replctl."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import psycopg
import yaml

from tests.real.hosts.lan import Lan
from tests.real.hosts.servers import pg_bin
from tests.real.hosts.terminal import Terminal

QUICK: Mapping[str, Any] = {"fsync": False, "shared_buffers": "16MB", "max_connections": 50}
"""Settings that make short-lived servers quick. A power cut ends processes and keeps the machine's page cache, so
what was written without fsync is still there."""

REPLCTL = Path(sys.executable).with_name("replctl")
ROLES = {"admin": "postgres", "replication": "replicator", "app": "chat"}
DATABASES = {"admin": "postgres", "app": "chatdb"}


@dataclass(frozen=True)
class Run:
    """How a run of replctl ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The JSON document of a run with ``-o json``."""
        return json.loads(self.out)


@dataclass(eq=False)
class Operator:
    """An operator of the hosts of ``lan`` at work in ``folder``."""

    lan: Lan
    folder: Path
    passwords: Mapping[str, str]
    _started: list[subprocess.Popen[bytes]] = field(default_factory=list, repr=False)
    _terminals: list[Terminal] = field(default_factory=list, repr=False)

    @classmethod
    def at(cls, lan: Lan, folder: Path) -> Operator:
        """A new operator with passwords that no quoting mistake survives, and an inventory of all hosts."""
        passwords = {role: f"{role} a/p?p@:,#%&'\"$ x`\\é {secrets.token_hex(8)}" for role in ROLES}
        operator = cls(lan, folder, passwords)
        operator.write_private("known_hosts", lan.known_hosts)
        operator.write_private("id_ed25519", lan.identity_file.read_text())
        (folder / "secrets").mkdir(mode=0o700)
        for role, password in passwords.items():
            operator.write_private(f"secrets/{role}", password + "\n")
        operator.write_inventory()
        return operator

    @property
    def inventory_file(self) -> Path:
        return self.folder / "inventory.yaml"

    @property
    def env_file(self) -> Path:
        return self.folder / "app.env"

    def write_private(self, name: str, text: str) -> Path:
        """A file of the operator's folder that no other user can read."""
        path = self.folder / name
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        path.write_text(text)
        return path

    def write_inventory(
        self,
        *,
        version: int = 15,
        ssh_user: str = "postgres",
        nodes: Iterable[str] | None = None,
        parameters: Mapping[str, Any] = QUICK,
        extra: Mapping[str, Any] | None = None,
    ) -> Path:
        """Write inventory.yaml. ``nodes`` are names of hosts, all by default; ``extra`` is merged into the document,
        a key with the value None is taken out of it."""
        document = self.inventory(version, ssh_user, self.lan.names if nodes is None else nodes, parameters)
        text = yaml.safe_dump(merged(document, extra or {}), sort_keys=False, allow_unicode=True)
        return self.write_private("inventory.yaml", text)

    def inventory(
        self, version: int, ssh_user: str, nodes: Iterable[str], parameters: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The inventory document. The machine of the test is let in as the admin and as the app."""
        network = self.lan.network
        return {
            "cluster": "chat",
            "ssh": {"user": ssh_user, "identity_file": "id_ed25519", "known_hosts_file": "known_hosts"},
            "postgres": {
                "version": version,
                "bin_dir": pg_bin(version),
                "data_dir": f"/var/lib/postgresql/{version}/main",
                "parameters": dict(parameters),
                "allow": [network.cidr],
            },
            "admin": {
                "user": ROLES["admin"],
                "password": {"file": "secrets/admin"},
                "allow": [f"{network.operator_address}/32"],
            },
            "replication": {"user": ROLES["replication"], "password": {"file": "secrets/replication"}},
            "app": {
                "database": DATABASES["app"],
                "user": ROLES["app"],
                "password": {"file": "secrets/app"},
                "env_file": "app.env",
            },
            "nodes": {name: {"host": self.lan[name].address} for name in nodes},
        }

    def replctl(
        self,
        *args: str,
        input: str | None = None,  # noqa: A002 - subprocess's own name
        env: Mapping[str, str] | None = None,
        timeout: float = 120,
    ) -> Run:
        """Run replctl to its end without a terminal. Raises AssertionError with its output after ``timeout`` s."""
        program = self.start(*args, env=env)
        try:
            out, err = program.communicate((input or "").encode(), timeout)
        except subprocess.TimeoutExpired:
            os.killpg(program.pid, signal.SIGKILL)
            out, err = program.communicate()
            raise AssertionError(f"replctl {args} ran over {timeout} s: {out.decode()}{err.decode()}") from None
        return Run(program.returncode, out.decode(), err.decode())

    def start(
        self,
        *args: str,
        env: Mapping[str, str] | None = None,
        stdout: int | IO[bytes] = subprocess.PIPE,
        stderr: int | IO[bytes] = subprocess.PIPE,
    ) -> subprocess.Popen[bytes]:
        """Start replctl in a session of its own (no terminal can be asked), its streams being pipes unless told
        otherwise."""
        program = subprocess.Popen(
            [REPLCTL, *args],
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=stderr,
            env=self.environ(env),
            cwd=self.folder,
            start_new_session=True,
        )
        self._started.append(program)
        return program

    def pty(self, *args: str, env: Mapping[str, str] | None = None, rows: int = 40, columns: int = 120) -> Terminal:
        """Start replctl on a terminal."""
        terminal = Terminal([REPLCTL, *args], self.environ(env), self.folder, rows=rows, columns=columns)
        self._terminals.append(terminal)
        return terminal

    def environ(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment of replctl: nothing of the machine's user but the path."""
        own = {"HOME": str(self.folder), "PATH": os.environ["PATH"], "LANG": "C.UTF-8", "TERM": "xterm-256color"}
        return own | dict(extra or {})

    def connect(self, name: str, role: str = "admin", **options: Any) -> psycopg.Connection[Any]:
        """A session straight to a node's PostgreSQL, as ``admin`` or ``app``; autocommit, to be closed by the test."""
        defaults = {
            "host": self.lan[name].address,
            "port": 5432,
            "user": ROLES[role],
            "password": self.passwords[role],
            "dbname": DATABASES[role],
            "connect_timeout": 5,
            "autocommit": True,
        }
        return psycopg.connect(**(defaults | options))

    def read_env(self) -> dict[str, str]:
        """The env file's variables. Raises FileNotFoundError."""
        lines = self.env_file.read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))

    def close(self) -> None:
        """End what the test started and left running."""
        for terminal in self._terminals:
            terminal.close()
        for program in self._started:
            if program.poll() is None:
                os.killpg(program.pid, signal.SIGKILL)
                program.wait(10)
            for stream in filter(None, (program.stdin, program.stdout, program.stderr)):
                stream.close()


def merged(document: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """``extra`` over ``document``, mapping by mapping; None takes a key away."""
    result = dict(document)
    for key, value in extra.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
            result[key] = merged(result[key], value)
        else:
            result[key] = value
    return result
