"""Numbers of networks: each is held by one running LAN through a lock, which tells living runs from dead ones."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

BASE = Path("/var/lib/replctl-tests")
NAMESPACES = Path("/run/netns")
NUMBERS = range(1, 255)


@dataclass(frozen=True)
class Claim:
    """The right to network ``198.18.number.0/24``, to all names with that number, and to a folder."""

    number: int
    descriptor: int

    @property
    def folder(self) -> Path:
        return BASE / str(self.number)

    def namespace(self, name: str) -> str:
        """The network namespace called ``name`` of this claim."""
        return f"{_prefix(self.number)}{name}"

    def release(self) -> None:
        """Remove everything of this claim, then let others have its number."""
        remove_leftovers(self.number)
        _lock_path(self.number).unlink()
        os.close(self.descriptor)


def claim_network() -> Claim:
    """A free number, after clearing away what dead runs left. Raises RuntimeError when all are taken."""
    BASE.mkdir(mode=0o700, parents=True, exist_ok=True)
    free = [claim for number in _known_numbers() if (claim := _try_claim(number))]
    for claim in free:
        claim.release()
    for number in NUMBERS:
        if claim := _try_claim(number):
            _make_folder(claim.folder)
            return claim
    raise RuntimeError(f"all networks of the test hosts are taken: look into {BASE}")


def remove_leftovers(number: int) -> None:
    """End every process in the namespaces of a network, delete them and the hosts' folders."""
    # By name: a deleted namespace takes its cables away some time later, and the next network needs the name now.
    if interface_name(number) in {name for _, name in socket.if_nameindex()}:
        subprocess.run(["ip", "link", "delete", "dev", interface_name(number)], check=True)
    for namespace in _namespaces(number):
        pids = subprocess.run(["ip", "netns", "pids", namespace], capture_output=True, text=True, check=True).stdout
        for pid in pids.split():
            with contextlib.suppress(ProcessLookupError):  # the first process of a host takes the others along
                os.kill(int(pid), signal.SIGKILL)
        subprocess.run(["ip", "netns", "delete", namespace], check=True)
    _remove_folder(BASE / str(number))


def _make_folder(folder: Path) -> None:
    """In memory: making a file takes a tenth of what it takes on a disk, and the hosts make thousands a test."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "replctl-tests", folder], check=True)


def _remove_folder(folder: Path) -> None:
    """Its files first: the mount namespaces of other hosts may hold the file system for as long as they run."""
    shutil.rmtree(folder, ignore_errors=True)
    if folder.is_mount():
        subprocess.run(["umount", "--lazy", folder], check=True)
        folder.rmdir()


def interface_name(number: int) -> str:
    """The machine's own interface on a network."""
    return f"replctl{number}"


def _prefix(number: int) -> str:
    return f"replctl-{number}-"


def _lock_path(number: int) -> Path:
    return BASE / f"{number}.lock"


def _known_numbers() -> list[int]:
    return sorted(int(path.stem) for path in BASE.glob("*.lock"))


def _namespaces(number: int) -> Iterator[str]:
    if NAMESPACES.exists():
        yield from (path.name for path in NAMESPACES.glob(f"{_prefix(number)}*"))


def _try_claim(number: int) -> Claim | None:
    descriptor = os.open(_lock_path(number), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    if os.fstat(descriptor).st_nlink == 0:  # its holder released it between our open and our lock
        os.close(descriptor)
        return _try_claim(number)
    return Claim(number, descriptor)
