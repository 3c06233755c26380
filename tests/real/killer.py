"""replctl that counts its remote operations while it changes a cluster, and may kill itself right after one of them.

    python killer.py COUNT_FILE KILL_AFTER replctl's own arguments

A remote operation is a command on a host or an SQL statement. With KILL_AFTER 0 it runs to its end. The count is
written after every operation, so that it is there after a kill too.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from replctl.__main__ import app
from replctl.execution.executor import Execution
from replctl.remote.shell_runner import ShellRunner
from replctl.remote.sql import SqlDatabase


class Counter:
    """Counts from the first step on, over all threads."""

    def __init__(self, file: Path, kill_after: int) -> None:
        self._file, self._kill_after = file, kill_after
        self._turn = threading.Lock()
        self._changing, self._count = False, 0

    def begin(self, run: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            self._changing = True
            return run(*args, **kwargs)

        return wrapped

    def counted(self, operation: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            try:
                return operation(*args, **kwargs)
            finally:
                self._one_more()

        return wrapped

    def _one_more(self) -> None:
        with self._turn:
            if self._changing:
                self._count += 1
                self._file.write_text(str(self._count))
                if self._count == self._kill_after:
                    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    counter = Counter(Path(sys.argv[1]), int(sys.argv[2]))
    sys.argv[:] = ["replctl", *sys.argv[3:]]
    Execution.run = counter.begin(Execution.run)
    for kind, name in ((ShellRunner, "run"), (ShellRunner, "spawn"), (SqlDatabase, "fetch"), (SqlDatabase, "execute")):
        setattr(kind, name, counter.counted(getattr(kind, name)))
    app()


if __name__ == "__main__":
    main()
