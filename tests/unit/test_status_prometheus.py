"""``status -o prometheus``: what a textfile collector reads."""

from __future__ import annotations

import re
from dataclasses import replace

from replctl.cli.status_prometheus import status_metrics
from tests.unit.builders import ClusterBuilder, a_cluster, gib, mib
from tests.unit.test_render_status import CLUSTERS, report_of

SAMPLE = re.compile(r'replctl_([a-z_]+)\{((?:[a-z]+="(?:[^"\\\n]|\\["\\n])*",?)+)\} (-?[0-9.]+(?:e[+-]?[0-9]+)?)')


def samples(cluster: ClusterBuilder) -> dict[tuple[str, str], float]:
    """(name, labels beside the cluster) to the value, after checks that hold for every text."""
    found, typed = dict[tuple[str, str], float](), ""
    for line in status_metrics(report_of(cluster)).splitlines():
        if line.startswith("# TYPE replctl_"):
            typed = line.split()[2].removeprefix("replctl_")
            assert line.endswith(" gauge")
            continue
        if line.startswith("# HELP "):
            continue
        match = SAMPLE.fullmatch(line)
        assert match, line
        assert match[1] == typed, "samples of one metric stand together, below its type"
        key = (match[1], match[2].removeprefix('cluster="chat"').removeprefix(","))
        assert key not in found
        found[key] = float(match[3])
    return found


def test_a_healthy_cluster() -> None:
    late = {"lag": mib(3), "unreplayed": mib(7), "walsender": {"replay_lag_ms": 1500.0}}
    found = samples(a_cluster().primary("db1", pace=4096).replica("db2", **late, slot={"retained_bytes": mib(3)}))
    assert found["health", ""] == 0
    assert found["wal_bytes_per_second", ""] == 4096
    assert found["node_role", 'node="db1",role="primary"'] == 1
    assert found["node_state", 'node="db2",state="streaming"'] == 1
    assert found["unreceived_bytes", 'node="db2"'] == mib(3)
    assert found["unreplayed_bytes", 'node="db2"'] == mib(7)
    assert found["lag_seconds", 'node="db2"'] == 1.5
    assert found["lag_is_lower_bound", 'node="db2"'] == 0
    assert found["slot_active", 'node="db2"'] == 1
    assert found["slot_retained_bytes", 'node="db2"'] == mib(3)
    assert found["slot_limit_bytes", 'node="db2"'] == gib(10)
    assert found["slot_full_seconds", 'node="db2"'] == gib(10) / 4096
    assert found["wal_free_bytes", 'node="db1"'] == gib(40)
    assert found["in_env", 'node="db2"'] == 1
    assert found["timeline", 'node="db1"'] == 8
    assert found["findings", 'severity="warning"'] == 0


def test_what_is_unknown_has_no_sample() -> None:
    found = samples(a_cluster().primary("db1", pace=None).unreachable("db2"))
    assert found["health", ""] == 1
    assert found["findings", 'severity="warning"'] >= 1
    assert found["node_state", 'node="db2",state="unreachable"'] == 1
    names = {name for name, labels in found if labels == 'node="db2"'}
    assert names == {"in_env"}
    assert ("wal_bytes_per_second", "") not in found
    assert ("unreceived_bytes", 'node="db1"') not in found


def test_every_cluster_gives_samples_that_can_be_read() -> None:
    for build in CLUSTERS.values():
        assert samples(build())


def test_names_are_quoted() -> None:
    assert samples(a_cluster().primary("db1").replica("a-b"))["node_role", 'node="a-b",role="replica"'] == 1
    assert 'quo\\"te' in status_metrics(replace(report_of(a_cluster().primary("db1")), cluster='quo"te'))
