"""replctl is killed after remote operations of every changing command, and the same command is run again."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.real.clusters import assert_cluster, assert_env, rows
from tests.real.disasters import await_sent, failover
from tests.real.hosts import Lan, Operator
from tests.real.standing import control, execute, forget, start
from tests.real.test_faults_killed_promote import assert_one_primary_at_most

KILLER = Path(__file__).with_name("killer.py")
SAMPLE = (0.1, 0.5, 0.8)
"""Where in a run the kills of the sample fall."""


@dataclass(frozen=True)
class Case:
    """A command, how its cluster came to be, and how it has to be afterwards."""

    command: tuple[str, ...]
    prepare: Callable[[Operator], None]
    check: Callable[[Operator], None]
    ends: int = 0
    """A failover ends with 6: the old primary has to rejoin."""
    meanwhile: Callable[[Operator], AbstractContextManager[Any]] = lambda _: nullcontext()
    """What goes on during each run that is killed, and looks at the cluster."""
    holds: Callable[[Operator], None] = lambda _: None
    """What is looked at after each kill, before anything is run again."""
    finish: Callable[[Operator, Case], None] | None = None
    """What brings a killed run to its end, where that is not the same command again."""


def nothing(operator: Operator) -> None:
    """The cluster as it stands."""


def without_db2(operator: Operator) -> None:
    forget(operator, "db2")


def crashed_primary(operator: Operator) -> None:
    control(operator.lan["db1"], "stop", "-m", "immediate")


def diverged_primary(operator: Operator) -> None:
    """db1 has a commit that nobody else has, and was replaced."""
    execute(operator, "db1", "create table if not exists kept (n int)")
    await_sent(operator, "db1")
    for name in ("db2", "db3"):
        control(operator.lan[name], "stop", "-m", "fast")
    execute(operator, "db1", "insert into kept values (1)")
    control(operator.lan["db1"], "stop", "-m", "immediate")
    for name in ("db2", "db3"):
        start(operator.lan[name])
    failover(operator, "db2", code=6)


def is_made(operator: Operator) -> None:
    assert rows(operator)["db1"]["state"] == "read-write"
    assert_env(operator, "db1", [])


def leads_without_db1(operator: Operator) -> None:
    seen = rows(operator)
    assert (seen["db2"]["role"], seen["db3"]["state"], seen["db1"]["state"]) == ("primary", "streaming", "stopped")
    assert_env(operator, "db2", ["db3"])


def is_gone(operator: Operator) -> None:
    assert rows(operator)["db3"]["state"] == "absent"
    assert_env(operator, "db1", ["db2"])


def streams(primary: str, *replicas: str) -> Callable[[Operator], None]:
    return lambda operator: assert_cluster(operator, primary, list(replicas))


CASES = {
    "add-replica": Case(("add-replica", "db2"), without_db2, streams("db1", "db2", "db3")),
    "promote": Case(("promote", "db2"), nothing, streams("db2", "db1", "db3")),
    "failover": Case(("promote", "db2", "--failover"), crashed_primary, leads_without_db1, ends=6),
    "rejoin": Case(("rejoin", "db1", "--discard-diverged"), diverged_primary, streams("db2", "db1", "db3")),
    "remove-replica": Case(("remove-replica", "db3"), nothing, is_gone),
}
INIT_PRIMARY = Case(("init-primary", "db1"), nothing, is_made)


def killed_after(operator: Operator, case: Case, number: int) -> tuple[int, int]:
    """How the run ended, and how many remote operations it had made."""
    count = operator.folder / "operations"
    count.write_text("0")
    argv = [sys.executable, str(KILLER), str(count), str(number), *case.command, "--yes"]
    done = subprocess.run(
        argv, env=operator.environ(), cwd=operator.folder, capture_output=True, check=False, timeout=120
    )
    return done.returncode, int(count.read_text())


def finish(operator: Operator, case: Case) -> None:
    """The same command again; of a rewind that was broken off a new clone, on consent."""
    run = operator.replctl(*case.command, "--yes", "-o", "json")
    if run.code == 3 and {refusal["code"] for refusal in run.document["refusals"]} == {"broken-rewind"}:
        run = operator.replctl(*case.command, "--reclone", "--yes", "-o", "json")
    assert run.code in (0, case.ends), run.out + run.err
    case.check(operator)
    again = operator.replctl(*case.command, "--yes", "-o", "json")
    assert (again.code, again.document["outcome"]) == (0, "unchanged"), again.out + again.err


def sweep(restore: Callable[[Path], Operator], case: Case, folder: Path, numbers: Callable[[int], list[int]]) -> None:
    """Every kill on a cluster of its own."""

    def begin(name: str) -> Operator:
        place = folder / name
        place.mkdir(mode=0o700)
        operator = restore(place)
        case.prepare(operator)
        return operator

    first = begin("whole")
    code, total = killed_after(first, case, 0)
    assert (code, total > 0) == (case.ends, True)
    case.check(first)
    first.close()
    for number in numbers(total):
        operator = begin(str(number))
        with case.meanwhile(operator):
            killed_after(operator, case, number)
        assert_one_primary_at_most(operator)
        case.holds(operator)
        (case.finish or finish)(operator, case)
        operator.close()


def stumble(restore: Callable[[Path], Operator], case: Case, folder: Path, number: int) -> None:
    """One cluster, and one kill upon the other: each run goes on from what the last one left, and is killed after
    ``number`` operations of its own unless it ends before. A third of a whole run spreads the three over it."""
    operator = restore(folder)
    case.prepare(operator)
    codes: list[int] = []
    for _ in SAMPLE:
        with case.meanwhile(operator):
            codes.append(killed_after(operator, case, number)[0])
        assert_one_primary_at_most(operator)
        case.holds(operator)
    assert codes[0] == -signal.SIGKILL, codes
    (case.finish or finish)(operator, case)
    operator.close()


def every(total: int) -> list[int]:
    return list(range(1, total + 1))


def some(total: int) -> list[int]:
    return sorted({max(1, round(total * share)) for share in SAMPLE})


def bare(lan: Lan) -> Callable[[Path], Operator]:
    """Hosts as if newly installed, each time."""

    def restore(folder: Path) -> Operator:
        lan.wipe()
        return Operator.at(lan, folder)

    return restore
