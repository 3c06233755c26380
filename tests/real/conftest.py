"""Hosts for the real tier."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.hosts import Host, Lan, Operator
from tests.real.standing import Standing

LOG_LINES = 40


@pytest.fixture(scope="module")
def lan() -> Iterator[Lan]:
    """Three hosts, db1 to db3, for the tests of a module."""
    with Lan() as lan:
        yield lan


@pytest.fixture
def operator(lan: Lan, tmp_path: Path) -> Iterator[Operator]:
    """An operator in a folder of their own, over hosts as if newly installed."""
    lan.wipe()
    operator = Operator.at(lan, tmp_path)
    yield operator
    operator.close()


@pytest.fixture(scope="module")
def standing(lan: Lan, tmp_path_factory: pytest.TempPathFactory) -> Standing:
    """db1 with the replicas db2 and db3, to be brought back to that state by each test of a module."""
    return Standing.build(lan, tmp_path_factory.mktemp("standing"))


@pytest.fixture
def cluster(standing: Standing, tmp_path: Path) -> Iterator[Operator]:
    """An operator over db1 with its two replicas, streaming."""
    operator = standing.restore(tmp_path)
    yield operator
    operator.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """A failure shows the end of every server's log: the hosts are gone when someone reads it."""
    report = yield
    lan = getattr(item, "funcargs", {}).get("lan")
    if report.failed and isinstance(lan, Lan):
        for host in lan:
            report.sections += [(f"{host.name}: {name}", text) for name, text in _logs(host)]
    return report


def _logs(host: Host) -> Iterator[tuple[str, str]]:
    yield "sshd", _end(host.sshd_log())
    data = host.path("/var/lib/postgresql")
    for path in sorted({*data.rglob("*.log"), *host.path("/var/log/postgresql").rglob("*.log")}):
        yield str(path.relative_to(host.disk)), _end(path.read_text(errors="replace"))


def _end(text: str) -> str:
    return "\n".join(text.splitlines()[-LOG_LINES:])
