"""What the end of a server log says about a link that does not stand, in the words of PostgreSQL 15 to 18."""

from __future__ import annotations

import pytest

from replctl.model.checkup import Cause
from replctl.postgres.server_log import last_complaint, reason_in

REFUSED = "FATAL:  could not connect to the primary server: connection failed: FATAL:  no password supplied"
AT = "2026-01-01 10:00:00.000 UTC [812] "


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        (
            "FATAL:  could not receive data from WAL stream: ERROR:  requested WAL segment 000000010000000000000003 "
            "has already been removed",
            Cause.WAL_REMOVED,
        ),
        (
            "FATAL:  could not start WAL streaming: ERROR:  requested starting point 0/5000000 on timeline 1 is not in "
            "this server's history",
            Cause.DIVERGED,
        ),
        ("FATAL:  highest timeline 1 of the primary is behind recovery timeline 2", Cause.DIVERGED),
        (
            'FATAL:  could not connect to the primary server: connection to server at "10.0.0.1", port 5432 failed: '
            'FATAL:  no pg_hba.conf entry for replication connection from host "10.0.0.2", user "replicator"',
            Cause.AUTHENTICATION,
        ),
        (
            'FATAL:  streaming replication receiver "db2" could not connect to the primary server: connection to '
            'server at "10.0.0.1", port 5432 failed: FATAL:  password authentication failed for user "replicator"',
            Cause.AUTHENTICATION,
        ),
        (
            'FATAL:  could not connect to the primary server: connection to server at "10.0.0.1", port 5432 failed: '
            "Connection refused",
            Cause.NETWORK,
        ),
        ("FATAL:  terminating walreceiver due to timeout", Cause.NETWORK),
        ('PANIC:  could not write to file "pg_wal/xlogtemp.7": No space left on device', Cause.DISK_FULL),
    ],
)
def test_a_reason(line: str, cause: Cause) -> None:
    found = reason_in([f"{AT}LOG:  redo starts at 0/3000028", f"{AT}{line}", f"{AT}LOG:  waiting for WAL"])
    assert found is not None
    assert found.cause is cause
    assert found.words in line


def test_the_latest_counts() -> None:
    lines = [
        f"{AT}FATAL:  terminating walreceiver due to timeout",
        f"{AT}{REFUSED}",
    ]
    found = reason_in(lines)
    assert found is not None
    assert found.cause is Cause.AUTHENTICATION


def test_what_a_client_was_told_is_no_reason() -> None:
    assert reason_in([f'{AT}FATAL:  password authentication failed for user "chat"']) is None
    assert reason_in([f"{AT}LOG:  statement: select 'requested WAL segment 1 has already been removed'"]) is None


def test_what_nobody_knows_is_quoted() -> None:
    lines = [f"{AT}FATAL:  something about the walreceiver", f"{AT}ERROR:  relation x does not exist"]
    assert reason_in(lines) is None
    assert last_complaint(lines) == lines[0]
