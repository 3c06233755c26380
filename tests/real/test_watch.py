"""``status --watch`` on real hosts: as a screen with keys, and as lines while a node hangs."""

from __future__ import annotations

import json
import threading
import time
from itertools import pairwise
from typing import Any

from tests.real.clusters import ok, wait_until
from tests.real.hosts import Host, Operator
from tests.real.standing import control, execute, freeze, thaw

SECONDS = 2
"""connect_timeout in these tests."""


class Lines:
    """The documents of a running ``status --watch -o json``, as they come."""

    def __init__(self, operator: Operator) -> None:
        self.program = operator.start("status", "--watch", "-o", "json")
        self.documents: list[tuple[float, dict[str, Any]]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.program.stdout is not None
        for line in self.program.stdout:
            self.documents.append((time.monotonic(), json.loads(line)))

    def states(self) -> list[str]:
        return [row["state"] for row in self.documents[-1][1]["nodes"]] if self.documents else []

    def end(self) -> int:
        self.program.terminate()
        code = self.program.wait(20)
        self._reader.join(10)
        return code


def everything_of(host: Host) -> list[int]:
    return [process.pid for process in host.processes()]


def test_a_node_that_hangs_costs_its_own_row_alone(cluster: Operator) -> None:
    cluster.write_inventory(extra={"ssh": {"connect_timeout": SECONDS}})
    execute(cluster, "db1", "create table ticks (n int)")
    lines = Lines(cluster)
    wait_until(lambda: lines.states() == ["read-write", "streaming", "streaming"])
    hung = everything_of(cluster.lan["db3"])
    freeze(hung)
    try:
        since, began = len(lines.documents), time.monotonic()
        wait_until(lambda: lines.states() == ["read-write", "streaming", "unreachable"], 40)
        lasted = time.monotonic() - began
        execute(cluster, "db1", "insert into ticks values (1)")
        count = len(lines.documents)
        wait_until(lambda: len(lines.documents) >= count + 3)
    finally:
        thaw(hung)
    looks = lines.documents[since:]
    assert all([row["state"] for row in seen["nodes"][:2]] == ["read-write", "streaming"] for _, seen in looks)
    gaps = [later[0] - earlier[0] for earlier, later in pairwise(looks)]
    assert sorted(gaps)[len(gaps) // 2] < lasted, "the others were looked at again and again meanwhile"
    wait_until(lambda: lines.states() == ["read-write", "streaming", "streaming"], 60)
    assert lines.end() == 130


def test_the_screen_and_its_keys(cluster: Operator) -> None:
    terminal = cluster.pty("status", "--watch", rows=30, columns=100)
    terminal.read_until("every 1 s")
    terminal.read_until("one bar a look")
    assert "\x1b[?1049h" in terminal.seen, "on a screen of its own, so that the shell's is untouched"
    terminal.type("+")
    terminal.read_until("every 0.5 s")
    control(cluster.lan["db3"], "stop", "-m", "fast")
    terminal.read_until("db3: streaming -> ")
    terminal.read_until("replctl add-replica db3")
    terminal.type("n")
    terminal.read_until("n as wide as it fits")
    terminal.type(" ")
    terminal.read_until("space go on")
    terminal.type(" q")
    assert terminal.end() == 10
    assert "\x1b[?1049l" in terminal.seen
    assert "\x1b[?25h" in terminal.seen, "the cursor is back"


def test_interrupted_it_leaves_the_terminal_as_it_was(cluster: Operator) -> None:
    terminal = cluster.pty("status", "--watch")
    terminal.read_until("one bar a look")
    terminal.type("\x03")
    assert terminal.end() == 130
    assert terminal.seen.rstrip().endswith("\x1b[?25h") or "\x1b[?1049l" in terminal.seen
    assert "Traceback" not in terminal.seen


def test_a_switchover_as_it_is_seen(cluster: Operator) -> None:
    """A light look at a server whose role is another one by now becomes a whole one."""
    terminal = cluster.pty("status", "--watch", rows=50)
    terminal.read_until("one bar a look")
    ok(cluster.replctl("promote", "db2", "--yes"))
    terminal.read_until("-> db2")
    terminal.read_until("db2: replica -> primary")
    terminal.read_until("primary db2, timeline 2")
    terminal.type("q")
    assert terminal.end() in {0, 10}
