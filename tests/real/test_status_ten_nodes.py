"""Ten nodes: one that hangs costs its own row alone, and a screen that is watched all day costs next to nothing."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.real.clusters import build, wait_until
from tests.real.hosts import Host, Lan, Operator
from tests.real.standing import freeze, thaw

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/status.schema.json").read_text())
NAMES = tuple(f"db{number}" for number in range(1, 11))
HUNG = "db7"
SECONDS = 3
"""connect_timeout in these tests."""
STARTING = 2.0
"""Seconds for the interpreter on a machine that is busy with ten servers."""
WATCHED_SECONDS = 20.0
LIMIT = 0.05
"""The share of one core that a watched screen of ten nodes may take. That is processor time, which other programs
lengthen by cold caches alone: 2.8 % on an idle machine, 3.1 % with two more programs on each core."""


@pytest.fixture(scope="module")
def ten(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """db1 with nine replicas, each on a host of its own."""
    with Lan(NAMES) as lan:
        operator = Operator.at(lan, tmp_path_factory.mktemp("ten", numbered=False))
        build(operator, "db1", NAMES[1:])
        operator.write_inventory(extra={"ssh": {"connect_timeout": SECONDS}})
        yield operator
        operator.close()


def look(operator: Operator) -> tuple[float, dict[str, Any]]:
    """Seconds, and what was seen."""
    began = time.monotonic()
    run = operator.replctl("status", "-o", "json")
    took = time.monotonic() - began
    jsonschema.validate(run.document, SCHEMA)
    assert run.code == {"healthy": 0, "degraded": 10}[run.document["health"]]
    return took, run.document


def states(document: dict[str, Any]) -> list[str]:
    return [row["state"] for row in document["nodes"]]


def is_healthy(operator: Operator) -> bool:
    return look(operator)[1]["health"] == "healthy"


def hang(host: Host) -> Callable[[], None]:
    """sshd takes the connection, as the kernel does for it, and says nothing."""
    pids = [process.pid for process in host.processes()]
    freeze(pids)
    return lambda: thaw(pids)


def vanish(host: Host) -> Callable[[], None]:
    """Packets get lost."""
    host.unplug()
    return host.plug


@pytest.mark.parametrize("disturb", [hang, vanish])
def test_a_hung_node_costs_its_own_row(
    ten: Operator, disturb: Callable[[Host], Callable[[], None]], record_property: Callable[[str, object], None]
) -> None:
    wait_until(lambda: is_healthy(ten), 60)
    undo = disturb(ten.lan[HUNG])
    try:
        took, document = look(ten)
    finally:
        undo()
    record_property("seconds", round(took, 2))
    assert took < SECONDS + 3 + STARTING
    expected = ["read-write", *("streaming" for _ in NAMES[1:])]
    expected[NAMES.index(HUNG)] = "unreachable"
    assert states(document) == expected
    wrong = [finding for finding in document["findings"] if finding["severity"] != "info"]
    assert {finding["node"] for finding in wrong} == {HUNG}
    assert [finding["node"] for finding in wrong if finding["code"] == "unreachable"] == [HUNG]


def test_a_watched_screen_is_cheap(ten: Operator, record_property: Callable[[str, object], None]) -> None:
    wait_until(lambda: is_healthy(ten), 60)
    terminal = ten.pty("status", "--watch", rows=50, columns=160)
    terminal.read_until("one bar a look")
    reader = threading.Thread(target=terminal.end, args=(WATCHED_SECONDS * 5,), daemon=True)
    reader.start()
    seen, began, before = len(terminal.seen), time.monotonic(), cpu_seconds(terminal.program.pid)
    time.sleep(WATCHED_SECONDS)
    share = (cpu_seconds(terminal.program.pid) - before) / (time.monotonic() - began)
    terminal.type("q")
    reader.join(20)
    assert len(terminal.seen) > seen, "it went on"
    assert terminal.program.poll() == 0
    record_property("core_share", round(share, 4))
    print(f"status --watch of ten nodes: {share:.1%} of a core (under {LIMIT:.0%})")
    assert share < LIMIT


def cpu_seconds(pid: int) -> float:
    """User and system time of a process (proc_pid_stat(5): fields 14 and 15; its name may hold spaces)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
