"""The tiers of the tests: which are collected, in what order, and how long each took.

A tier is a folder of this one. The quick ones come first, so that failures show early.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

from tests.faults import kinds_of
from tests.properties.tallied import Tallied

# A machine that does much else at the same time is no fault of the code.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

TESTS = Path(__file__).parent
REAL = TESTS / "real"
ORDER = ("unit", "properties", "golden", "packaging", "contract", "router", "real", "faults", "bench")


def tier_of(path: Path) -> str:
    """The folder below tests/ that a test lies in."""
    return path.relative_to(TESTS).parts[0]


def has_root() -> bool:
    return os.geteuid() == 0


def pytest_configure(config: pytest.Config) -> None:
    if not has_root() and os.environ.get("CI") == "true":
        raise pytest.UsageError("CI runs every tier: the hosts of tests/real need root")
    config.pluginmanager.register(TierTimes(), "tier-times")
    config.pluginmanager.register(Tallied(), "tallied")


@pytest.fixture(scope="session", autouse=True)
def _signals_are_heard() -> None:
    """Under nohup SIGHUP is ignored, in a shell's background SIGINT, and so by every process that a test starts."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    return True if collection_path == REAL and not has_root() else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    real = [item for item in items if item.path.is_relative_to(REAL)]
    for item in real:
        item.add_marker(pytest.mark.real)
    for item in items:
        item.user_properties += fault_properties(item)
    if real and not has_root():  # named on the command line, which pytest_ignore_collect is not asked about
        config.hook.pytest_deselected(items=real)
        items[:] = [item for item in items if item not in real]
    items.sort(key=lambda item: _rank(tier_of(item.path)))


def fault_properties(item: pytest.Item) -> list[tuple[str, object]]:
    """What tools/faults-doc reads in the results file: the test, and the faults that it shows."""
    keys = [key for mark in item.iter_markers("fault") for argument in mark.args for key in kinds_of(argument)]
    test = item.nodeid.split("[")[0].removeprefix(f"{TESTS.name}/")
    return [("test", test), *(("fault", key) for key in keys)] if keys else []


def _rank(tier: str) -> int:
    return ORDER.index(tier) if tier in ORDER else len(ORDER)


class TierTimes:
    """Adds up the tests and the seconds of each tier; under xdist several run at once."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.tests: dict[str, int] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        tier = Path(report.nodeid.split("::")[0]).parts[1]
        self.seconds[tier] = self.seconds.get(tier, 0.0) + report.duration
        self.tests[tier] = self.tests.get(tier, 0) + (report.when == "call")

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.section("tiers")
        for tier in sorted(self.seconds, key=_rank):
            terminalreporter.line(f"{tier:<12} {self.tests[tier]:>5} tests {self.seconds[tier]:>8.1f} s")
        if not has_root():
            names = " ".join(sorted(path.name for path in REAL.glob("test_*.py")))
            terminalreporter.line(f"not run, for want of root: {names}", yellow=True)
