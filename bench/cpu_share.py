"""Limits processes to a share of one core: a cgroup of the CPU controller, of either version.

Needs root. A group's processes are held up for the rest of each period in which they have used their quota. The period
is PERIOD, and not the kernel's 100 ms: with 20 % of those a server would answer all it can in 20 ms, and nothing in
the next 80. Groups weigh more than other processes of the machine, so that each gets its share on a loaded one too.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
PERIOD = 10_000
"""Microseconds."""
WEIGHT = 100
"""Times that of other processes."""
UNLIMITED = 1000.0
"""Cores."""


@dataclass(frozen=True)
class Controller:
    """Where groups are made, and what is written to limit one."""

    root: Path
    settings: Mapping[str, str]
    """By file; ``{quota}`` and ``{period}`` are in microseconds."""

    @classmethod
    def of_machine(cls) -> Controller:
        """Raises SystemExit without root, or without a controller."""
        if os.geteuid() != 0:
            raise SystemExit("limiting servers to a share of the CPU needs root")
        return cls.found(CGROUPS)

    @classmethod
    def found(cls, cgroups: Path) -> Controller:
        """Version 1's where the CPU controller is mounted so, else version 2's. Raises SystemExit without either."""
        if (cgroups / "cpu/cgroup.procs").exists():
            settings = {
                "cpu.cfs_period_us": "{period}",
                "cpu.cfs_quota_us": "{quota}",
                "cpu.shares": str(1024 * WEIGHT),
            }
            return cls(cgroups / "cpu", settings)
        enabled = cgroups / "cgroup.subtree_control"
        if enabled.exists() and "cpu" in (cgroups / "cgroup.controllers").read_text(encoding="ascii").split():
            enabled.write_text("+cpu", encoding="ascii")
            return cls(cgroups, {"cpu.max": "{quota} {period}", "cpu.weight": str(100 * WEIGHT)})
        raise SystemExit("limiting servers needs the CPU controller of cgroups, which is not mounted on this machine")


@dataclass(frozen=True)
class Throttling:
    """Periods in which a group's processes had something to do, and those in which its quota was used up."""

    periods: int
    used_up: int

    @classmethod
    def of(cls, group: Path) -> Throttling:
        lines = (group / "cpu.stat").read_text(encoding="ascii").splitlines()
        stat = {name: int(figure) for name, figure in (line.split() for line in lines)}
        return cls(stat["nr_periods"], stat["nr_throttled"])

    def since(self, before: Throttling) -> float:
        """The part of the periods in which the quota was used up: near 1 for a server that is never idle."""
        return (self.used_up - before.used_up) / max(1, self.periods - before.periods)


@contextmanager
def limited(controller: Controller, postmasters: Mapping[str, int], share: float) -> Iterator[dict[str, Path]]:
    """Each server in a group of its own with ``share`` of one core; its processes leave it in the end, in any case."""
    with ExitStack() as groups:
        yield {name: groups.enter_context(_group(controller, pid, share)) for name, pid in postmasters.items()}


def preferred(controller: Controller) -> AbstractContextManager[Path]:
    """This process in a group that weighs as much as a server's, and has no limit."""
    return _group(controller, os.getpid(), UNLIMITED)


@contextmanager
def _group(controller: Controller, pid: int, share: float) -> Iterator[Path]:
    # A name that no other run can have: that of its first process.
    group = controller.root / f"replctl-bench-{pid}"
    group.mkdir()
    try:
        limit(controller, group, share)
        # Its present children first: those that it forks later are born where it is.
        _move((pid, *_children(pid)), group)
        yield group
    finally:
        while members := (group / "cgroup.procs").read_text(encoding="ascii").split():
            _move(map(int, members), controller.root)
        group.rmdir()


def limit(controller: Controller, group: Path, share: float) -> None:
    """To ``share`` of one core. A share of all the cores and more is a limit that never holds."""
    for file, template in controller.settings.items():
        text = template.format(period=PERIOD, quota=round(PERIOD * share))
        (group / file).write_text(text, encoding="ascii")


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]


def _move(pids: Iterable[int], group: Path) -> None:
    for pid in pids:
        try:
            (group / "cgroup.procs").write_text(str(pid), encoding="ascii")
        except ProcessLookupError:
            continue  # it has ended meanwhile
