"""Follows the env file: what ``replctl`` publishes is in use a moment later."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path
from typing import Protocol

from replctl.router.config import DatabaseConfig
from replctl.router.errors import ConfigurationError

LOOK_SECONDS = 0.1
_log = logging.getLogger("replctl.router")

Stamp = tuple[int, int, int]


class Follower(Protocol):
    """Who goes over to what the file says."""

    config: DatabaseConfig

    def apply(self, config: DatabaseConfig) -> None: ...


class EnvWatch:
    """A file that cannot be used leaves everything as it is, and is told once."""

    def __init__(self, path: Path, follower: Follower) -> None:
        self._path = path
        self._follower = follower
        self._stopped = threading.Event()
        self._seen: Stamp | None = None
        self._told = ""
        self._thread = threading.Thread(target=self._run, name=f"replctl-router {path.name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.wait(LOOK_SECONDS):
            self.look()

    def look(self) -> None:
        """Reads the file if it is another one than before. A published one replaces the old one in one step."""
        try:
            state = os.stat(self._path)  # noqa: PTH116  (asked for ten times a second)
            stamp = (state.st_ino, state.st_mtime_ns, state.st_size)
            if stamp != self._seen:
                self._follower.apply(DatabaseConfig.from_env_file(self._path, os.environ))
                self._seen, self._told = stamp, ""
        except (OSError, ConfigurationError) as error:
            problem = f"{self._path} cannot be used, and its hosts stay as they are: {error}"
            if problem != self._told:
                self._told = problem
                _log.error("%s", problem)
