"""Hosts for the real tier."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.hosts import Host, Lan, Operator
from tests.real.standing import Standing

LOG_LINES = 40
HERE = Path(__file__).parent
LONG_FILES = (
    "kill_sweep",
    "kill_sweep_repairs",
    "failover",
    "rejoin",
    "main_job",
    "restart",
    "config",
    "fencing",
    "simulator",
    "debian_hosts",
    "services_commands",
    "services_hosts",
    "check_ten_ways",
    "drill",
    "status_ten_nodes",
    "status_findings",
    "kill_sweep_changes",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long files first: one that begins last keeps its worker busy long after the others are done."""
    first = {f"test_{name}.py": place for place, name in enumerate(LONG_FILES)}
    items.sort(key=lambda item: first.get(item.path.name, len(first)) if item.path.parent == HERE else len(first))


@pytest.fixture(scope="session")
def hosts() -> Iterator[Lan]:
    """The three hosts of a worker, as a test before left them: tests take ``lan``."""
    with Lan() as lan:
        yield lan


@pytest.fixture(scope="module")
def lan(hosts: Lan) -> Lan:
    """Three hosts, db1 to db3, for the tests of a module."""
    hosts.renew()
    return hosts


@pytest.fixture
def operator(lan: Lan, tmp_path: Path) -> Iterator[Operator]:
    """An operator in a folder of their own, over hosts as if newly installed."""
    lan.wipe()
    operator = Operator.at(lan, tmp_path)
    yield operator
    operator.close()


@pytest.fixture(scope="session")
def built(hosts: Lan) -> Standing:
    """db1 with the replicas db2 and db3, built once a worker: tests take ``standing`` or ``cluster``."""
    return Standing.build(hosts, hosts.claim.folder / "standing")


@pytest.fixture(scope="module")
def standing(lan: Lan, built: Standing) -> Standing:
    """db1 with the replicas db2 and db3, to be brought back to that state by each test of a module."""
    return built


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
