"""For Prometheus: what is known of the hosts, and how much went to each, at the moment of the scrape.

Nothing is kept here: a series is there as long as its replica is, and what is unknown has no sample. Each process has
its own manager and tells of itself alone; prometheus_client's multi-process mode leaves such collectors out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from replctl.router.board import Member
from replctl.router.health import is_taken
from replctl.router.live import Live
from replctl.router.manager import ReadReplicaManager

Family: TypeAlias = type[GaugeMetricFamily] | type[CounterMetricFamily]


@dataclass(frozen=True, slots=True)
class _Figure:
    """``value`` is told of a host at a moment (monotonic seconds); None: it is unknown, and there is no sample."""

    family: Family
    name: str
    documentation: str
    value: Callable[[Member, float], float | None]


def _lag(member: Member, now: float) -> float | None:
    milliseconds = member.lag_ms
    return milliseconds / 1000 if milliseconds is not None and member.state.seen.valid_until > now else None


def _health(member: Member, now: float) -> float:
    return float(is_taken(member.state, now))


def _connections(member: Member, _: float) -> float:
    return float(member.host.in_use)


def _units(member: Member, _: float) -> float:
    return float(member.host.units)


_OF_REPLICAS = (
    _Figure(
        GaugeMetricFamily,
        "db_replica_lag_seconds",
        "How old its content is, at most; or at least, when it is further behind than is remembered.",
        _lag,
    ),
    _Figure(GaugeMetricFamily, "db_replica_health", "1: units of work read from it; 0: none does.", _health),
    _Figure(GaugeMetricFamily, "db_replica_connections", "Connections in use.", _connections),
    _Figure(CounterMetricFamily, "db_replica_queries", "Units of work that it was chosen for.", _units),
)
_OF_THE_PRIMARY = (
    _Figure(GaugeMetricFamily, "db_primary_health", "1: it can be written to; 0: it can not.", _health),
    _Figure(
        GaugeMetricFamily, "db_primary_connections", "Connections in use by units of work that write.", _connections
    ),
    _Figure(CounterMetricFamily, "db_primary_queries", "Units of work that write.", _units),
)
_FALLBACK = "db_primary_reads"
_FALLBACK_TOLD = "Units of work that read from the primary, since no replica could serve them or there is none."


class ReplicaCollector(Collector):
    """Of one manager. Asks no server; before the manager's first use there are no samples."""

    def __init__(self, manager: ReadReplicaManager) -> None:
        self._manager = manager

    def describe(self) -> Iterable[Metric]:
        """The names, for the registry."""
        return self._metrics(None)

    def collect(self) -> Iterator[Metric]:
        """What is known now."""
        return self._metrics(self._manager.live)

    @staticmethod
    def _metrics(live: Live | None) -> Iterator[Metric]:
        snapshot, now = live.board.snapshot if live is not None else None, time.monotonic()
        for figure in _OF_REPLICAS:
            yield _metric(figure, "replica", snapshot.replicas if snapshot is not None else (), now)
        for figure in _OF_THE_PRIMARY:
            yield _metric(figure, "primary", (snapshot.primary,) if snapshot is not None else (), now)
        reads = CounterMetricFamily(_FALLBACK, _FALLBACK_TOLD, labels=["primary"])
        if live is not None:
            reads.add_metric([live.reader.id], live.reader.units)
        yield reads


def register(manager: ReadReplicaManager, registry: CollectorRegistry = REGISTRY) -> ReplicaCollector:
    """Has the registry tell of the manager; ``registry.unregister`` of what is returned ends that.

    Raises prometheus_client's ValueError when the registry tells of a manager already.
    """
    collector = ReplicaCollector(manager)
    registry.register(collector)
    return collector


def _metric(figure: _Figure, label: str, members: Sequence[Member], now: float) -> Metric:
    metric = figure.family(figure.name, figure.documentation, labels=[label])
    for member in members:
        value = figure.value(member, now)
        if value is not None:
            metric.add_metric([member.host.id], value)
    return metric
