"""Hosts whose clocks are an hour apart: libfaketime tells another time to all that a login starts there, the server
and the commands of replctl alike."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.real.clusters import assert_cluster, build, ok, rows
from tests.real.hosts import Operator
from tests.real.hosts.servers import MissingServerError
from tests.real.ledger import Writer
from tests.real.standing import held_replay, value

VERSION = 17
"""A postmaster before 16 starts its walreceiver from inside a signal handler; libfaketime tells such a process, which
begins in the middle of a call of its own, the true time for ever."""

HOUR = 3600.0
AHEAD = {"db1": 0.0, "db2": HOUR, "db3": -HOUR}
CLOCK = "select extract(epoch from clock_timestamp())::float8"
BY_THE_CLOCK_OF_OTHERS = """
select application_name, extract(epoch from reply_time - clock_timestamp())::float8 from pg_stat_replication
"""


def library() -> str:
    """What the program faketime has its children load. Raises MissingServerError."""
    if shutil.which("faketime") is None:
        raise MissingServerError("missing programs: faketime: run tools/install-test-servers")
    command = ["faketime", "-f", "+0", "printenv", "LD_PRELOAD"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def apart(operator: Operator) -> Iterator[Operator]:
    """Every login sets the host's clock, by PAM; sshd itself keeps the machine's time, since its sandbox would end
    it."""
    files = {name: operator.lan[name].path("/etc/environment") for name in AHEAD}
    before = {name: path.read_text() for name, path in files.items()}
    for name, path in files.items():
        if AHEAD[name]:
            path.write_text(before[name] + environment(AHEAD[name]))
    yield operator
    for name, path in files.items():
        path.write_text(before[name])


def environment(ahead: float) -> str:
    variables = {
        "LD_PRELOAD": library(),
        "FAKETIME": f"{ahead:+.0f}",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DISABLE_SHM": "1",
    }
    return "".join(f"{name}={text}\n" for name, text in variables.items())


def assert_apart(operator: Operator, primary: str) -> None:
    """Servers as SQL has it, and what standbys say of the moment in which they answered."""
    here = value(operator, primary, CLOCK)
    for name, ahead in AHEAD.items():
        assert value(operator, name, CLOCK) - here == pytest.approx(ahead - AHEAD[primary], abs=600)
    with operator.connect(primary) as connection:
        seen: dict[str, Any] = dict(connection.execute(BY_THE_CLOCK_OF_OTHERS).fetchall())
    for name, ahead in seen.items():
        assert ahead == pytest.approx(AHEAD[name] - AHEAD[primary], abs=600)


@pytest.mark.slow
@pytest.mark.fault("18")
def test_clocks_an_hour_apart(apart: Operator) -> None:
    """A standby that is well is taken for well, before and after its clock is the one that counts."""
    operator = apart
    operator.write_inventory(version=VERSION)
    build(operator)
    assert_cluster(operator, "db1", ["db2", "db3"])
    assert_apart(operator, "db1")
    with Writer(operator) as writer:
        for new in ("db2", "db3", "db1"):
            ok(operator.replctl("promote", new, "--yes"))
            writer.wait_for_rows(20)
            assert_apart(operator, new)
            other = "db2" if new == "db3" else "db3"
            with held_replay(operator.lan[other]):
                writer.wait_for_rows(20)
                row = rows(operator)[other]
                assert row["unreplayed_bytes"] > 0
                assert 0 < row["lag_ms"] < 600_000
    assert writer.missing(operator, "db1") == []
    assert_cluster(operator, "db1", ["db2", "db3"])
