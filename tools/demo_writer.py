"""The demo's application: commits one row after the other to DB_PRIMARY_URL until SIGTERM, then counts them.

Like an application it knows the cluster by its env file alone, which it reads again whenever a write fails.
Ends with status 1 if a row whose COMMIT was acknowledged is not there.
"""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from types import FrameType

import psycopg

RETRY_SECONDS = 0.01
TABLE = "create table if not exists demo (id bigint primary key, at timestamptz not null default clock_timestamp())"


class Writer:
    """Writes until it is told to stop; remembers what was acknowledged, and the longest wait between two rows."""

    def __init__(self, env_file: Path) -> None:
        self.env_file = env_file
        self.going_on = True
        self.acknowledged: list[int] = []
        self.next_id = 1
        self.longest_wait = 0.0
        self.last = time.monotonic()

    def stop(self, _number: int, _frame: FrameType | None) -> None:
        self.going_on = False

    def primary_url(self) -> str:
        lines = self.env_file.read_text().splitlines()
        return next(line.partition("=")[2] for line in lines if line.startswith("DB_PRIMARY_URL="))

    def connect(self) -> psycopg.Connection:
        return psycopg.connect(self.primary_url(), autocommit=True, connect_timeout=2)

    def run(self) -> None:
        while self.going_on:
            try:
                with self.connect() as connection:
                    connection.execute(TABLE)
                    self.write_on(connection)
            except psycopg.Error:
                time.sleep(RETRY_SECONDS)

    def write_on(self, connection: psycopg.Connection) -> None:
        while self.going_on:
            number, self.next_id = self.next_id, self.next_id + 1  # one whose outcome is unknown is not used again
            connection.execute("insert into demo (id) values (%s)", [number])
            now = time.monotonic()
            self.longest_wait, self.last = max(self.longest_wait, now - self.last), now
            self.acknowledged.append(number)

    def verify(self) -> int:
        with self.connect() as connection:
            found = {row[0] for row in connection.execute("select id from demo")}
            where = connection.info.port
        lost = len(set(self.acknowledged) - found)
        sys.stdout.write(
            f"{len(self.acknowledged)} rows acknowledged, {lost} of them missing on the primary at port {where}\n"
            f"longest wait between two rows: {self.longest_wait * 1000:.0f} ms\n"
        )
        return 1 if lost or not self.acknowledged else 0


def main() -> int:
    writer = Writer(Path(sys.argv[1]))
    signal.signal(signal.SIGTERM, writer.stop)
    writer.run()
    return writer.verify()


if __name__ == "__main__":
    sys.exit(main())
