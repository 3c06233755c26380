"""A lab's servers for the router's benchmarks: a primary and its replicas, made for one run and removed with it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import text

from replctl.lab.folder import Lab, read_lab
from replctl.router import DatabaseConfig, ReadReplicaManager

NODES = 4
ATTEMPTS = 5


@contextmanager
def router_lab(folder: Path) -> Iterator[Lab]:
    """One primary and three replicas. What an earlier run left in ``folder`` is taken down first."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder.mkdir(parents=True, exist_ok=True)
    _down(folder)
    try:
        yield _up(folder)
    finally:
        _down(folder)


def _up(folder: Path) -> Lab:
    """Another lab that is made at the same moment may take a port first: then with others."""
    for _ in range(ATTEMPTS):
        run = _run("up", folder, "--nodes", str(NODES))
        lab = read_lab(folder)
        if run.returncode == 0 and lab is not None:
            return lab
        _down(folder)
        folder.mkdir(exist_ok=True)
    raise SystemExit(f"replctl lab up ended with {run.returncode}:\n{run.stdout}{run.stderr}")


def _down(folder: Path) -> None:
    run = _run("down", folder)
    if run.returncode:
        raise SystemExit(f"replctl lab down ended with {run.returncode}:\n{run.stdout}{run.stderr}")


def _run(command: str, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "replctl", "lab", command, "--dir", str(folder), *options]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def urls(lab: Lab) -> DatabaseConfig:
    """Where the servers are."""
    return DatabaseConfig.from_env_file(lab.env_file)


def server_version(manager: ReadReplicaManager) -> str:
    """PostgreSQL's."""
    with manager.get_read_session() as session:
        return str(session.scalar(text("show server_version"))).split()[0]


def socket_folder(lab: Lab) -> str:
    """Of the servers' Unix sockets. The fifth line of postmaster.pid names it (storage.sgml)."""
    return _postmaster_file(lab, next(iter(lab.ports)))[4]


def postmaster(lab: Lab, node: str) -> int:
    """Its process."""
    return int(_postmaster_file(lab, node)[0])


def _postmaster_file(lab: Lab, node: str) -> list[str]:
    return (lab.nodes / node / "postmaster.pid").read_text(encoding="utf-8").splitlines()
