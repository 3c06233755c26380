"""Managers for the tests, and what is asked of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from replctl.router import DatabaseConfig, ReadReplicaManager, RouterOptions
from tests.router.labs import Lab

PATIENT = RouterOptions(first_probe_wait=20.0, token_wait=0.2, probe_timeout=2.0)
"""A loaded machine takes long to start."""


@contextmanager
def manager_of(
    lab: Lab,
    *,
    options: RouterOptions = PATIENT,
    ports: dict[str, int] | None = None,
    primary: str = "db1",
    replicas: tuple[str, ...] = ("db2", "db3"),
    **settings: Any,
) -> Iterator[ReadReplicaManager]:
    """Of fixed hosts, over relays where ``ports`` has them; probed, and disposed of."""
    lines = ports or {}
    manager = ReadReplicaManager(
        lab.url(primary, lines.get(primary)),
        [lab.url(node, lines.get(node)) for node in replicas],
        **{"health_check_interval": 0.2, "max_lag_ms": 1000, **settings},
        options=options,
    )
    try:
        manager.start()
        yield manager
    finally:
        manager.dispose(1.0)


@contextmanager
def following(lab: Lab, options: RouterOptions = PATIENT, **settings: Any) -> Iterator[ReadReplicaManager]:
    """Of what the lab's env file says."""
    config = replace(
        DatabaseConfig.from_env_file(lab.env_file), **{"read_replica_health_check_interval": 0.2, **settings}
    )
    manager = ReadReplicaManager.from_config(config, options)
    try:
        manager.start()
        yield manager
    finally:
        manager.dispose(1.0)


def healthy(manager: ReadReplicaManager) -> set[str]:
    """The replicas that are read from."""
    return {host for host, status in manager.get_replica_status().items() if status["healthy"]}


def lag_ms(manager: ReadReplicaManager, host: str) -> float | None:
    lag: float | None = manager.get_replica_status()[host]["lag_ms"]
    return lag


def read_from(manager: ReadReplicaManager) -> str | None:
    """Where one unit of work goes."""
    with manager.get_read_session() as session:
        session.execute(text("select 1"))
        return session.host


def pid(session: Session) -> int:
    return int(session.scalar(text("select pg_backend_pid()")) or 0)
