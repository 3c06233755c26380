"""What Prometheus is told, over servers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest
from fastapi import FastAPI
from prometheus_client import CollectorRegistry, generate_latest
from sqlalchemy import text

from replctl.router import DatabaseConfig, ReadReplicaManager
from replctl.router.fastapi_metrics import metrics_router
from replctl.router.metrics import register
from replctl.router.tally import Tally
from replctl.router.urls import parse_url
from tests.router.labs import Lab, wait_until
from tests.router.web_app import PATIENT, browsing, dead_url

LAG = "db_replica_lag_seconds"
HEALTH = "db_replica_health"
QUERIES = "db_replica_queries_total"


@pytest.fixture(scope="module", autouse=True)
def _restored(lab: Lab) -> None:
    """Once: these tests leave the servers as they found them."""
    lab.restore()


@pytest.fixture
def config(lab: Lab) -> DatabaseConfig:
    config = DatabaseConfig.from_env_file(lab.env_file)
    return replace(config, read_replica_health_check_interval=0.2, lag_check_enabled=False, env_file=None)


@pytest.fixture
def manager(config: DatabaseConfig) -> Iterator[ReadReplicaManager]:
    made = ReadReplicaManager.from_config(config, PATIENT)
    made.start()
    yield made
    made.dispose()


@pytest.fixture
def registry(manager: ReadReplicaManager) -> CollectorRegistry:
    made = CollectorRegistry(auto_describe=True)
    register(manager, made)
    return made


def told(registry: CollectorRegistry, name: str, label: str = "replica") -> dict[str, float]:
    """By host."""
    samples = [sample for metric in registry.collect() for sample in metric.samples]
    return {sample.labels[label]: sample.value for sample in samples if sample.name == name}


def read(manager: ReadReplicaManager, times: int) -> None:
    for _ in range(times):
        with manager.get_read_session() as session:
            session.execute(text("select 1"))


def test_each_replica_has_its_series(manager: ReadReplicaManager, registry: CollectorRegistry) -> None:
    """Fails when a name, a label or a figure is another one."""
    read(manager, 10)
    ids = set(manager.get_replica_status())
    assert told(registry, HEALTH) == dict.fromkeys(ids, 1.0)
    assert told(registry, QUERIES) == dict.fromkeys(ids, 5.0)
    wait_until(lambda: set(told(registry, LAG)) == ids)
    text_format = generate_latest(registry).decode()
    for host in ids:
        assert f'{QUERIES}{{replica="{host}"}} 5.0' in text_format.splitlines()
    assert "# TYPE db_replica_queries_total counter" in text_format.splitlines()


def test_the_primary_has_series_of_its_own(manager: ReadReplicaManager, registry: CollectorRegistry) -> None:
    """Fails when writes count as reads."""
    with manager.get_write_session() as session:
        session.execute(text("select 1"))
        assert list(told(registry, "db_primary_connections", "primary").values()) == [1.0]
    host = manager.get_primary_status()["id"]
    assert told(registry, "db_primary_health", "primary") == {host: 1.0}
    assert told(registry, "db_primary_queries_total", "primary") == {host: 1.0}
    assert told(registry, "db_primary_reads_total", "primary") == {host: 0.0}


def test_lag_grows_while_replay_is_paused(lab: Lab, manager: ReadReplicaManager, registry: CollectorRegistry) -> None:
    """Fails when lag is told in another unit, or as 0."""
    host = lab.id("db3")
    with lab.paused("db3"):
        lab.sql("db1", "create table if not exists written (at timestamptz)")
        lab.sql("db1", "insert into written values (now())")
        wait_until(lambda: told(registry, LAG).get(host, 0) > 0.5, 60)
        assert told(registry, LAG)[host] < 60
    wait_until(lambda: told(registry, LAG).get(host) == 0, 60)


def test_unknown_lag_has_no_sample(config: DatabaseConfig) -> None:
    """Fails when a replica that never answered has a lag of 0."""
    registry = CollectorRegistry(auto_describe=True)
    with dead_url() as dead:
        manager = ReadReplicaManager.from_config(
            replace(config, replicas=(*config.replicas[:1], parse_url(dead, "url")))
        )
        try:
            register(manager, registry)
            manager.start()
            up, down = manager.get_replica_status()
            assert told(registry, HEALTH) == {up: 1.0, down: 0.0}
            wait_until(lambda: set(told(registry, LAG)) == {up})
        finally:
            manager.dispose()


def test_series_vanish_with_their_replica(
    manager: ReadReplicaManager, registry: CollectorRegistry, config: DatabaseConfig
) -> None:
    """Fails when the exposition remembers a replica that is listed no more; the one that stays keeps its count."""
    read(manager, 10)
    stays, goes = manager.get_replica_status()
    assert goes in generate_latest(registry).decode()
    manager.apply(replace(config, replicas=config.replicas[:1]))
    assert goes not in generate_latest(registry).decode()
    assert told(registry, QUERIES) == {stays: 5.0}


def test_the_count_of_a_replica_that_stays_goes_on(
    manager: ReadReplicaManager, registry: CollectorRegistry, config: DatabaseConfig
) -> None:
    """Its URL has got other options, as after a rotated password. Fails when the new connections count from 0."""
    read(manager, 10)
    before = told(registry, QUERIES)
    urls = tuple(parse_url(f"{url.text}?application_name=another", "url") for url in config.replicas)
    manager.apply(replace(config, replicas=urls, primary=replace(config.primary, options=urls[0].options)))
    assert told(registry, QUERIES) == before
    read(manager, 2)
    assert told(registry, QUERIES) == {host: count + 1 for host, count in before.items()}


def test_reads_that_fall_back_are_counted(lab: Lab) -> None:
    """Fails when a fallback is told as a read of a replica, or not at all."""
    registry = CollectorRegistry(auto_describe=True)
    with dead_url() as dead:
        manager = ReadReplicaManager(lab.url("db1"), [dead], lag_check_enabled=False, options=PATIENT)
        try:
            register(manager, registry)
            read(manager, 3)
            assert list(told(registry, "db_primary_reads_total", "primary").values()) == [3.0]
            assert list(told(registry, QUERIES).values()) == [0.0]
        finally:
            manager.dispose()


def test_nothing_is_told_before_the_first_use_and_after_the_end(config: DatabaseConfig) -> None:
    """Fails when a scrape starts a manager, or holds on to one."""
    registry = CollectorRegistry(auto_describe=True)
    manager = ReadReplicaManager.from_config(config, PATIENT)
    collector = register(manager, registry)
    assert manager.live is None
    assert told(registry, HEALTH) == {}
    manager.start()
    assert len(told(registry, HEALTH)) == 2
    manager.dispose()
    assert told(registry, HEALTH) == {}
    with pytest.raises(ValueError, match="db_replica_lag_seconds"):
        register(manager, registry)
    registry.unregister(collector)
    assert list(registry.collect()) == []


def test_no_password_is_told(lab: Lab, registry: CollectorRegistry) -> None:
    """Fails when a label holds a URL."""
    password = lab.password("app")
    assert len(password) > 5
    assert password not in generate_latest(registry).decode()


@pytest.mark.parametrize(
    ("accept", "kind"), [("", "text/plain"), ("application/openmetrics-text; version=1.0.0", "application/openmetrics")]
)
def test_the_route_speaks_the_scrapers_format(
    config: DatabaseConfig, registry: CollectorRegistry, accept: str, kind: str
) -> None:
    """Fails when the format does not fit its content type."""
    app = FastAPI()
    app.include_router(metrics_router(registry))
    with browsing(app) as client:
        response = client.get("/metrics", headers={"accept": accept})
    assert response.status_code == 200
    assert response.headers["content-type"].startswith(kind)
    assert QUERIES in response.text
    assert response.text.endswith("# EOF\n") == kind.startswith("application")


def test_a_tally_never_goes_back() -> None:
    """Fails when two threads that count at once take each other's step back, or a look counts."""
    tally, looks = Tally(), list[int]()
    threads = [threading.Thread(target=lambda: [tally.add() for _ in range(20_000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        looks.append(tally.total)
    assert looks == sorted(looks)
    assert tally.total == 80_000
