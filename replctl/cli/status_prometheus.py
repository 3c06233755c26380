"""``status -o prometheus``: the report as samples for the textfile collector of Prometheus' node_exporter.

What is unknown has no sample, so that no alert takes it for zero.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from replctl.model.drill import LastDrill
from replctl.model.report import Health, NodeReport, Severity, StatusReport

_HEALTH = {Health.HEALTHY: 0, Health.DEGRADED: 1, Health.CRITICAL: 2}
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


@dataclass(frozen=True, slots=True)
class _Metric:
    name: str
    help: str
    samples: tuple[tuple[dict[str, str], float | None], ...]


def status_metrics(report: StatusReport) -> str:
    """The text exposition format, version 0.0.4; all are gauges, in bytes and seconds."""
    lines: list[str] = []
    for metric in (*_of_cluster(report), *_of_nodes(report)):
        name = f"replctl_{metric.name}"
        lines += [f"# HELP {name} {metric.help}", f"# TYPE {name} gauge"]
        for labels, value in metric.samples:
            if value is not None:
                lines.append(f"{name}{{{_labels({'cluster': report.cluster} | labels)}}} {value}")
    return "".join(f"{line}\n" for line in lines)


def _labels(labels: dict[str, str]) -> str:
    return ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in labels.items())


def _of_cluster(report: StatusReport) -> Iterator[_Metric]:
    yield _Metric("health", "0 healthy, 1 degraded, 2 critical.", (({}, _HEALTH[report.health]),))
    counts = {severity: sum(found.severity is severity for found in report.findings) for severity in Severity}
    by_severity = tuple(({"severity": severity.value}, float(count)) for severity, count in counts.items())
    yield _Metric("findings", "Findings of the status, by severity.", by_severity)
    pace = "WAL that the primary writes a second, over the last minute or longer."
    yield _Metric("wal_bytes_per_second", pace, (({}, report.wal_bytes_per_s),))
    proof = "When the last drill went there and back, in seconds since 1970."
    yield _Metric("last_drill_timestamp_seconds", proof, (({}, _moment(report.last_drill)),))


def _of_nodes(report: StatusReport) -> Iterator[_Metric]:
    def each(name: str, text: str, *values: tuple[NodeReport, float | None]) -> _Metric:
        return _Metric(name, text, tuple(({"node": node.name}, value) for node, value in values))

    nodes = report.nodes
    roles = tuple(({"node": node.name, "role": node.role.value}, 1.0) for node in nodes)
    yield _Metric("node_role", "1 for the node's present role.", roles)
    states = tuple(({"node": node.name, "state": node.state.value}, 1.0) for node in nodes)
    yield _Metric("node_state", "1 for the node's present state.", states)
    yield each("timeline", "The node's timeline.", *((node, node.timeline) for node in nodes))
    yield each(
        "unreceived_bytes", "WAL not received, lost with the primary.", *((n, n.unreceived_bytes) for n in nodes)
    )
    yield each("unreplayed_bytes", "WAL that readers do not see yet.", *((n, n.unreplayed_bytes) for n in nodes))
    yield each("lag_seconds", "Age of what readers see.", *((n, _seconds(n.lag_ms)) for n in nodes))
    bounds = ((n, None if n.lag_ms is None else float(n.lag_is_lower_bound)) for n in nodes)
    yield each("lag_is_lower_bound", "1 while lag_seconds may be more.", *bounds)
    yield each("wal_free_bytes", "Free on the disk of pg_wal.", *((n, n.wal_free_bytes) for n in nodes))
    listed = ((n, None if n.in_env is None else float(n.in_env)) for n in nodes)
    yield each("in_env", "1 while the env file sends the application there.", *listed)
    slots = tuple((node, node.slot) for node in nodes if node.slot is not None)
    yield each("slot_active", "1 while the node's own slot is used.", *((n, float(slot.active)) for n, slot in slots))
    yield each("slot_retained_bytes", "WAL that the slot keeps.", *((n, slot.retained_bytes) for n, slot in slots))
    yield each("slot_limit_bytes", "max_slot_wal_keep_size.", *((n, slot.limit_bytes) for n, slot in slots))
    yield each("slot_full_seconds", "Until there is no room left for it.", *((n, slot.full_in_s) for n, slot in slots))


def _moment(drill: LastDrill | None) -> float | None:
    return None if drill is None else datetime.fromisoformat(drill.at).timestamp()


def _seconds(ms: float | None) -> float | None:
    return None if ms is None else ms / 1000
