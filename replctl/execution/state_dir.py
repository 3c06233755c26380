"""The folder ``.replctl`` beside the inventory: this cluster's journal and notes, for its owner alone."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def writable_state_dir(path: Path) -> Generator[int]:
    """Make the folder where it is missing, lock it against other runs, and yield its descriptor.

    Raises OSError, also when ``path`` is a symlink or no folder.
    """
    path.mkdir(mode=0o700, exist_ok=True)
    with readable_state_dir(path, fcntl.LOCK_EX) as folder:
        if os.fstat(folder).st_mode & 0o077:
            os.fchmod(folder, 0o700)
        yield folder


@contextmanager
def readable_state_dir(path: Path, lock: int = fcntl.LOCK_SH) -> Generator[int]:
    """Yield the descriptor of a folder that is there, while no other run writes.

    Raises OSError, also for the folder of a user who is neither this one nor root.
    """
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if os.fstat(folder).st_uid not in {0, os.geteuid()}:
            raise PermissionError(errno.EPERM, "it belongs to another user", str(path))
        fcntl.flock(folder, lock)
        yield folder
    finally:
        os.close(folder)


def open_private(folder: int, name: str, flags: int) -> int:
    """Open a file in an open folder; a new one gets mode 0600. Raises OSError, also for a symlink."""
    return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)
