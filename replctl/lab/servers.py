"""Ends a lab's servers: those of its own pid files, and what an interrupted run left writing into its storage."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from replctl.lab.folder import Lab
from replctl.lab.installation import PROGRAMS
from replctl.model.errors import ReplctlError
from replctl.postgres.settings import RUN_DIRECTORY
from replctl.remote.waiting import NeverCancelled, SystemClock, Waiting

FAST_SECONDS = 10.0
"""For a fast stop; the lab goes away, so that what takes longer is stopped without a checkpoint."""
HARD_SECONDS = 5.0
_POLL = 0.02
_SHM_LINE = 6


@dataclass(frozen=True, slots=True)
class Server:
    """A data directory with a pid file in it."""

    data_dir: Path
    pid: int
    shared_memory: str
    """Key and id of the System V segment, by which PostgreSQL keeps a second server away."""

    @property
    def alive(self) -> bool:
        """A postmaster's working directory is its data directory: a reused pid, or a zombie, has another or none."""
        return _working_directory(self.pid) == self.data_dir.resolve()


def stop_servers(lab: Lab) -> int:
    """Stop every server of the lab, and end every process of PostgreSQL that works in its storage.

    Returns how many servers ran. Raises ReplctlError when something does not end.
    """
    servers = list(servers_of(lab))
    running = [server for server in servers if server.alive]
    _signal(running, signal.SIGINT)
    if not _gone(lambda: any(server.alive for server in running), FAST_SECONDS):
        # One that the operator froze sees no signal but SIGKILL until it is continued.
        for number in (signal.SIGQUIT, signal.SIGCONT):
            _signal((server for server in running if server.alive), number)
        _gone(lambda: any(server.alive for server in running), HARD_SECONDS)
    _end_the_rest(lab)
    for server in servers:
        _remove_shared_memory(server)
        _remove_socket(server)
    return len(running)


def servers_of(lab: Lab) -> Iterator[Server]:
    """The lab's servers by their pid files, running or not."""
    for path in sorted(lab.nodes.glob("*/postmaster.pid")):
        lines = path.read_text(errors="replace").splitlines()
        if lines and lines[0].strip().isdigit():
            shared_memory = lines[_SHM_LINE] if len(lines) > _SHM_LINE else ""
            yield Server(path.parent, int(lines[0]), shared_memory)


def _signal(servers: Iterable[Server], number: signal.Signals) -> None:
    for server in servers:
        with suppress(ProcessLookupError):
            os.kill(server.pid, number)


def _gone(there: Callable[[], bool], seconds: float) -> bool:
    waiting = Waiting(SystemClock(), NeverCancelled(), seconds, _POLL)
    return waiting.until(lambda: None if there() else True) is not None


def _end_the_rest(lab: Lab) -> None:
    """An initdb or pg_basebackup of a run that was killed ends by itself when its server goes; if not, it is ended."""
    if _gone(lambda: bool(processes_in(lab)), 1.0):
        return
    for pid in processes_in(lab):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    if not _gone(lambda: bool(processes_in(lab)), HARD_SECONDS):
        left = ", ".join(map(str, processes_in(lab)))
        raise ReplctlError(
            f"processes of the lab do not end: {left}",
            hint="Look at them with ps, end them, and run `replctl lab down` again.",
        )


def processes_in(lab: Lab) -> list[int]:
    """Processes of PostgreSQL's programs that have a directory of the lab's storage as theirs, or as an argument."""
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and _works_in(entry, lab)]


def _works_in(entry: Path, lab: Lab) -> bool:
    try:
        program = Path(str(entry.joinpath("exe").readlink()).removesuffix(" (deleted)"))
        words = entry.joinpath("cmdline").read_bytes().split(b"\0")
        folder = entry.joinpath("cwd").readlink()
    except OSError:  # it has ended, or belongs to another user
        return False
    named = any(os.fsencode(lab.nodes) in word for word in words)
    return program.name in PROGRAMS and (named or folder.is_relative_to(lab.nodes))


def _working_directory(pid: int) -> Path | None:
    try:
        return Path(f"/proc/{pid}/cwd").readlink()
    except OSError:
        return None


def _remove_shared_memory(server: Server) -> None:
    """A killed server leaves its segment, which only its next start would remove."""
    key, _, number = server.shared_memory.strip().partition(" ")
    number = number.strip()
    for row in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]:
        # key shmid perms size cpid lpid nattch uid ...
        words = row.split()
        if words[:2] == [key, number] and words[6] == "0":
            subprocess.run(("ipcrm", "-m", number), check=False, stderr=subprocess.DEVNULL)


def _remove_socket(server: Server) -> None:
    """A killed server leaves its socket and the lock beside it, which names the data directory."""
    for lock in Path(RUN_DIRECTORY).glob(".s.PGSQL.*.lock"):
        with suppress(OSError):
            if server.data_dir.as_posix() in lock.read_text().splitlines()[:2]:
                lock.with_suffix("").unlink(missing_ok=True)
                lock.unlink()
