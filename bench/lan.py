"""Hosts for benchmarks: namespaces of this machine, each with a real sshd and PostgreSQL, and the installed replctl.

They are the tests' hosts (docs/testing.md), with settings of a server that keeps its data: fsync is on.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.real.hosts import Lan, Operator, Run, pg_bin
from tests.real.hosts.operator import DATABASES, ROLES

VERSION = 15
"""Of PostgreSQL: the oldest that replctl supports, whose promotion is the slowest."""
PARAMETERS: Mapping[str, Any] = {"shared_buffers": "256MB", "max_wal_size": "4GB", "checkpoint_timeout": "30min"}
"""Checkpoints come when a benchmark asks for them, on either side of a comparison."""


@dataclass(frozen=True)
class Took:
    """A run of a program: seconds of the clock, and the most memory that it had in bytes."""

    seconds: float
    peak_bytes: int
    run: Run


@contextmanager
def hosts(
    names: Sequence[str], *, version: int = VERSION, parameters: Mapping[str, Any] = PARAMETERS
) -> Iterator[Operator]:
    """Hosts with nothing on them but sshd and PostgreSQL's programs, and an operator with an inventory of them all.
    Needs root; afterwards nothing of them is left."""
    with TemporaryDirectory(prefix="replctl-bench-") as folder, Lan(names) as lan:
        operator = Operator.at(lan, Path(folder))
        operator.write_inventory(version=version, parameters=parameters)
        try:
            yield operator
        finally:
            operator.close()


def take(operator: Operator, *args: str, code: int = 0) -> Took:
    """Run replctl without a terminal. Raises SystemExit with its output when it does not end with ``code``."""
    out, err = operator.folder / "bench.out", operator.folder / "bench.err"
    began = time.perf_counter()
    with out.open("wb") as to_out, err.open("wb") as to_err:
        program = operator.start(*args, stdout=to_out, stderr=to_err)
        _, status, usage = os.wait4(program.pid, 0)
    seconds = time.perf_counter() - began
    program.returncode = os.waitstatus_to_exitcode(status)
    run = Run(program.returncode, out.read_text(), err.read_text())
    if run.code != code:
        raise SystemExit(f"replctl {' '.join(args)} ended with {run.code}:\n{run.out}{run.err}")
    return Took(seconds, usage.ru_maxrss * 1024, run)


def build(operator: Operator, primary: str, replicas: Sequence[str]) -> None:
    """A primary with its replicas."""
    take(operator, "init-primary", primary, "--yes")
    if replicas:
        take(operator, "add-replica", *replicas, "--yes")


def pgbench(operator: Operator, node: str, *args: str, version: int = VERSION) -> subprocess.Popen[bytes]:
    """pgbench against a node's application database as its owner; to be waited for or ended by the caller."""
    place = ["-h", operator.lan[node].address, "-p", "5432", "-U", ROLES["app"]]
    argv = [Path(pg_bin(version)) / "pgbench", *place, *args, DATABASES["app"]]
    environment = os.environ | {"PGPASSWORD": operator.passwords["app"]}
    return subprocess.Popen(argv, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def fill(operator: Operator, node: str, scale: int) -> None:
    """pgbench's tables, 15 MB for each unit of ``scale``."""
    program = pgbench(operator, node, "-i", "-q", "-s", str(scale))
    _, err = program.communicate()
    if program.returncode:
        raise SystemExit(err.decode())


def data_dir(version: int = VERSION) -> str:
    """Of every host."""
    return f"/var/lib/postgresql/{version}/main"


def server_version(operator: Operator, node: str) -> str:
    """PostgreSQL's, as a node tells it."""
    with operator.connect(node) as connection:
        row = connection.execute("show server_version").fetchone()
    return str(row[0]).split()[0] if row else ""
