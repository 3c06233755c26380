"""A client that writes: one row after the other, each committed, into whichever server accepts writes.

A program of its own, so that nothing that its parent does keeps it waiting. Its first line on stdin is libpq's
connection string; each further line has it tell on stdout what it saw since the one before, as JSON.
"""

from __future__ import annotations

import json
import sys
import threading
import time

import psycopg

RETRY_SECONDS = 0.002
TABLE = "replctl_bench_writes"


class Writer:
    """Row after row until the process ends; what was acknowledged is never taken back."""

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._lock = threading.Lock()
        self.row = 0
        self.acknowledged = 0
        self._last = time.perf_counter()
        self._longest = 0.0
        self._back_at = self._last

    def run(self) -> None:
        while True:
            try:
                with psycopg.connect(self._conninfo, autocommit=True, prepare_threshold=0) as connection:
                    while True:
                        self.row += 1
                        connection.execute(f"insert into {TABLE} values (%s)", [self.row])
                        self._count()
            except psycopg.Error:
                time.sleep(RETRY_SECONDS)

    def _count(self) -> None:
        now = time.perf_counter()
        with self._lock:
            if now - self._last > self._longest:
                self._longest, self._back_at = now - self._last, now
            self._last = now
            self.acknowledged += 1

    def tell(self) -> dict[str, float]:
        """Since the last time: the longest gap between two acknowledged commits and when it ended, in seconds."""
        with self._lock:
            told = {"gap": self._longest, "back_at": self._back_at, "acknowledged": self.acknowledged}
            self._longest = 0.0
        return told


def main() -> None:
    """Reads orders until stdin ends."""
    writer = Writer(sys.stdin.readline().rstrip("\n"))
    threading.Thread(target=writer.run, daemon=True).start()
    for _ in sys.stdin:
        sys.stdout.write(json.dumps(writer.tell()) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
