"""The status report: state and role of a node, its figures, and the cluster's health."""

from __future__ import annotations

import json
from functools import cache

import pytest
from jsonschema import Draft202012Validator

from replctl.cli.status_json import status_document, status_schema
from replctl.model.facts import ProblemKind
from replctl.model.host import DirectoryState
from replctl.model.report import Health, NodeReport, NodeRole, NodeState, Severity, StatusReport
from replctl.model.values import Lsn, Timeline
from replctl.planning.report import status_report
from tests.unit.builders import CURRENT, ClusterBuilder, a_cluster, a_slot, a_walsender, mib


def report_of(cluster: ClusterBuilder, env_problem: str | None = None) -> StatusReport:
    """The report, after checks that hold for every report."""
    report = status_report(*cluster.build(), env_problem)
    assert_valid(report)
    assert_no_null_without_reason(report)
    return report


def row_of(cluster: ClusterBuilder, name: str = "b") -> NodeReport:
    return next(node for node in report_of(cluster).nodes if node.name == name)


@cache
def validator() -> Draft202012Validator:
    Draft202012Validator.check_schema(status_schema())
    return Draft202012Validator(status_schema())


def assert_valid(report: StatusReport) -> None:
    document = json.loads(json.dumps(status_document(report)))
    assert [error.message for error in validator().iter_errors(document)] == []
    assert all(finding.hint and finding.message for finding in report.findings)


def assert_no_null_without_reason(report: StatusReport) -> None:
    """What is unknown has a finding that says why: the node's own, or the cluster's."""
    explained = {finding.node for finding in report.findings}
    for row in report.nodes:
        if row.role in (NodeRole.PRIMARY, NodeRole.NONE):
            continue
        figures = (row.timeline, row.upstream, row.unreceived_bytes, row.unreplayed_bytes, row.lag_ms, row.sync_state)
        assert None not in figures or row.name in explained or None in explained, row


STATES = {
    NodeState.UNREACHABLE: (
        NodeRole.UNKNOWN,
        a_cluster().primary("a").unreachable("b").walsenders("a", a_walsender("b")),
    ),
    NodeState.SQL_ONLY: (NodeRole.REPLICA, a_cluster().primary("a").replica("b").without_ssh("b")),
    NodeState.SSH_ONLY: (NodeRole.UNKNOWN, a_cluster().primary("a").silent("b", ProblemKind.SQL_AUTH)),
    NodeState.ABSENT: (NodeRole.NONE, a_cluster().primary("a").absent("b")),
    NodeState.FOREIGN: (NodeRole.FOREIGN, a_cluster().primary("a").foreign("b")),
    NodeState.STOPPED: (NodeRole.REPLICA, a_cluster().primary("a").stopped("b", "shut down in recovery", standby=True)),
    NodeState.STARTING: (
        NodeRole.REPLICA,
        a_cluster().primary("a").silent("b", ProblemKind.SQL_STARTING, standby=True, state="in archive recovery"),
    ),
    NodeState.READ_WRITE: (NodeRole.PRIMARY, a_cluster().primary("b")),
    NodeState.DIVERGED: (NodeRole.REPLICA, a_cluster().primary("a").replica("b", timeline=9, receiver=None)),
    NodeState.SLOT_LOST: (
        NodeRole.REPLICA,
        a_cluster().primary("a").replica("b", receiver=None, slot={"wal_status": "lost", "restart_lsn": None}),
    ),
    NodeState.WRONG_UPSTREAM: (NodeRole.REPLICA, a_cluster().primary("a").replica("c").replica("b", of="c")),
    NodeState.ARCHIVE: (
        NodeRole.REPLICA,
        a_cluster().primary("a").replica("b", receiver=None, setting={"restore_command": "cp /archive/%f %p"}),
    ),
    NodeState.NOT_RECEIVING: (NodeRole.REPLICA, a_cluster().primary("a").replica("b", receiver=None)),
    NodeState.PARAMETER_PAUSED: (
        NodeRole.REPLICA,
        a_cluster().primary("a").replica("b", paused="paused", setting={"max_connections": "50"}),
    ),
    NodeState.PAUSED: (NodeRole.REPLICA, a_cluster().primary("a").replica("b", paused="pause requested")),
    NodeState.DELAYED: (
        NodeRole.REPLICA,
        a_cluster().primary("a").replica("b", setting={"recovery_min_apply_delay": "60000"}),
    ),
    NodeState.CATCHUP: (NodeRole.REPLICA, a_cluster().primary("a").replica("b", walsender={"state": "catchup"})),
    NodeState.STREAMING: (NodeRole.REPLICA, a_cluster().primary("a").replica("b")),
}


def test_every_state_is_reached() -> None:
    assert list(STATES) == list(NodeState)


@pytest.mark.parametrize("state", list(STATES))
def test_state_and_role(state: NodeState) -> None:
    role, cluster = STATES[state]
    row = row_of(cluster)
    assert (row.state, row.role) == (state, role)


@pytest.mark.parametrize(
    ("role", "state", "cluster"),
    [
        (NodeRole.PRIMARY, NodeState.SQL_ONLY, a_cluster().primary("b").without_ssh("b")),
        (NodeRole.FOREIGN, NodeState.SQL_ONLY, a_cluster().primary("a").foreign("b").change("b", host=None)),
        (NodeRole.UNKNOWN, NodeState.STOPPED, a_cluster().primary("a").stopped("b", "shut down")),
        (NodeRole.UNKNOWN, NodeState.ABSENT, a_cluster().primary("a").absent("b", DirectoryState.OTHER, ["photos"])),
        (NodeRole.NONE, NodeState.ABSENT, a_cluster().primary("a").absent("b", DirectoryState.EMPTY)),
        (
            # standby.signal was put beside a primary that still runs
            NodeRole.UNKNOWN,
            NodeState.SSH_ONLY,
            a_cluster().primary("a").silent("b", ProblemKind.SQL, standby=True, state="in production"),
        ),
        (NodeRole.REPLICA, NodeState.NOT_RECEIVING, a_cluster().primary("a").replica("b", receiver="waiting")),
    ],
)
def test_other_roles(role: NodeRole, state: NodeState, cluster: ClusterBuilder) -> None:
    row = row_of(cluster)
    assert (row.role, row.state) == (role, state)


def test_earlier_states_win() -> None:
    everything = {"wal_status": "lost"}
    cluster = a_cluster().primary("a").replica("c")
    cluster.replica("b", of="c", slot=everything, paused="paused", timeline=9, walsender=None)
    assert row_of(cluster).state is NodeState.DIVERGED
    cluster.change("b", server=cluster.facts["c"].server)
    assert row_of(cluster).state is NodeState.SLOT_LOST


def test_an_older_timeline_alone_is_no_divergence() -> None:
    """A sibling that has not followed the new primary yet lies before the fork, for all that is known."""
    behind = a_cluster().primary("a", timeline=9).replica("b", timeline=8, receiver=None, lag=mib(1))
    assert row_of(behind).state is NodeState.NOT_RECEIVING
    past = a_cluster().primary("a", timeline=9, current=Lsn(CURRENT.position - 1)).replica("b", receiver=None)
    assert row_of(past).state is NodeState.DIVERGED


def test_positions_of_the_same_timeline_may_be_ahead_by_a_moment() -> None:
    row = row_of(a_cluster().primary("a", current=Lsn(CURRENT.position - 500)).replica("b"))
    assert (row.state, row.unreceived_bytes, row.unreplayed_bytes, row.lag_ms) == (NodeState.STREAMING, 0, 0, 0.0)


def test_mutual_upstreams_are_told_as_they_are() -> None:
    cluster = a_cluster().replica("a", of="10.0.0.2:5432").replica("b", of="a")
    report = report_of(cluster)
    assert [(row.name, row.upstream) for row in report.nodes] == [("a", "b"), ("b", "a")]
    assert report.health is Health.CRITICAL


# Figures


def test_bytes_come_from_the_primarys_snapshot() -> None:
    """The replica was asked a moment later and had more by then."""
    cluster = a_cluster().primary("a").replica("b", walsender={"flushed": Lsn(CURRENT.position - mib(2))})
    assert row_of(cluster).unreceived_bytes == mib(2)


@pytest.mark.fault("83b")
def test_a_dead_receiver_counts_its_own_positions() -> None:
    """A walsender outlasts a pulled cable: what it says is no longer of this replica."""
    cluster = a_cluster().primary("a").replica("b", lag=mib(5), receiver=None).walsenders("a", a_walsender("b"))
    row = row_of(cluster)
    assert (row.unreceived_bytes, row.unreplayed_bytes, row.sync_state) == (mib(5), mib(5), None)


@pytest.mark.fault("83d")
def test_a_cascading_replica_is_measured_against_the_primary() -> None:
    row = row_of(a_cluster().primary("a").replica("c").replica("b", of="c", lag=mib(4)))
    assert (row.unreceived_bytes, row.upstream, row.sync_state) == (mib(4), "c", "async")
    assert row.slot is not None
    assert row.slot.active


@pytest.mark.fault("83a")
@pytest.mark.parametrize(
    ("replica", "expected"),
    [
        ({}, (0.0, False)),
        ({"walsender": {"replay_lag_ms": 12.5}}, (0.0, False)),
        ({"unreplayed": 100, "walsender": {"replay_lag_ms": 12.5}}, (12.5, False)),
        ({"unreplayed": 100}, (60_000.0, True)),
        ({"unreplayed": 100, "receiver": None}, (60_000.0, True)),
        ({"unreplayed": 100, "last_replay_age_ms": None}, (None, False)),
        ({"unreplayed": 0, "last_replay_age_ms": 3_600_000.0, "receiver": None}, (0.0, False)),
    ],
)
def test_lag_in_milliseconds(replica: dict, expected: tuple) -> None:
    row = row_of(a_cluster().primary("a").replica("b", **replica))
    assert (row.lag_ms, row.lag_is_lower_bound) == expected


def test_no_figures_without_one_primary() -> None:
    for cluster in (a_cluster().replica("b"), a_cluster().primary("a").primary("c").replica("b")):
        report = report_of(cluster)
        row = next(row for row in report.nodes if row.name == "b")
        assert (row.unreceived_bytes, row.unreplayed_bytes, row.lag_ms) == (None, None, None)
        assert (report.primary, report.timeline, report.health) == (None, None, Health.CRITICAL)


@pytest.mark.fault("83i")
def test_an_unreachable_node_has_no_figures_whatever_the_primary_lists() -> None:
    cluster = a_cluster().primary("a").unreachable("b").walsenders("a", a_walsender("b")).idle_slot("b", "a")
    row = row_of(cluster)
    assert (row.timeline, row.upstream, row.unreceived_bytes, row.lag_ms, row.sync_state) == (None,) * 5
    assert row.slot is not None
    assert row.slot.retained_bytes == mib(48)


def test_a_primary_has_no_lag_and_no_slot() -> None:
    row = row_of(a_cluster().primary("b"))
    assert (row.upstream, row.unreceived_bytes, row.lag_ms, row.sync_state, row.slot, row.promote) == (*[None] * 5, "")
    assert (row.timeline, row.in_env) == (Timeline(8), True)


# Upstreams


@pytest.mark.parametrize(
    ("change", "upstream", "state"),
    [
        ({"upstream_host": "10.0.0.1", "receiver": None}, "a", NodeState.NOT_RECEIVING),
        ({"upstream_host": "10.9.9.9", "receiver": None}, "10.9.9.9:5432", NodeState.WRONG_UPSTREAM),
        ({"upstream_host": None, "receiver": None}, None, NodeState.NOT_RECEIVING),
        ({"upstream_port": 5433, "receiver": None}, "10.0.0.1:5433", NodeState.WRONG_UPSTREAM),
        ({"upstream_port": None, "receiver": None}, "a", NodeState.NOT_RECEIVING),
        ({"upstream_host": "fe80::1", "receiver": None}, "[fe80::1]:5432", NodeState.WRONG_UPSTREAM),
    ],
)
def test_upstream_as_configured(change: dict, upstream: str | None, state: NodeState) -> None:
    row = row_of(a_cluster().primary("a").replica("b").change("b", **change))
    assert (row.upstream, row.state) == (upstream, state)


def test_ipv6_addresses_are_compared_as_addresses() -> None:
    cluster = a_cluster().primary("a").node("a", host="FE80:0::1")
    cluster.replica("b").change("b", upstream_host="fe80::1", receiver=None)
    assert row_of(cluster).upstream == "a"


def test_an_adopted_replica_may_know_the_primary_by_another_name() -> None:
    """Both ends agree on the link, whatever name is written in primary_conninfo."""
    row = row_of(a_cluster().primary("a").replica("c").replica("b", of="db-one.internal:5432", slot=None))
    assert row.upstream == "db-one.internal:5432"
    cluster = a_cluster().primary("a").replica("b", of="db-one.internal:5432").walsenders("a", a_walsender("b"))
    assert (row_of(cluster).upstream, row_of(cluster).state) == ("a", NodeState.STREAMING)


def test_the_slot_tells_whose_walsender_it_is() -> None:
    """Without an application_name of its own a standby is ``walreceiver``."""
    cluster = a_cluster().primary("a").replica("b", walsender={"application_name": "walreceiver"})
    report = report_of(cluster)
    assert report.unlisted == ()
    assert report.nodes[1].sync_state == "async"


# The whole


def test_what_no_node_owns_is_unlisted() -> None:
    cluster = a_cluster().primary("a").replica("b")
    cluster.walsenders("a", a_walsender("pg_receivewal", slot="archive")).slots("a", a_slot("archive", kind="physical"))
    report = report_of(cluster)
    assert [(unlisted.kind, unlisted.name) for unlisted in report.unlisted] == [
        ("walsender", "pg_receivewal"),
        ("slot", "archive"),
    ]
    assert report.unlisted[0].detail.startswith("on a: streaming")


@pytest.mark.parametrize(
    ("health", "cluster"),
    [
        (Health.HEALTHY, a_cluster().primary("a")),
        (Health.HEALTHY, a_cluster().primary("a").replica("b").replica("c", lag=mib(100))),
        (Health.HEALTHY, a_cluster().primary("a").replica("b", walsender={"state": "catchup"})),
        (Health.DEGRADED, a_cluster().primary("a").absent("b")),
        (Health.DEGRADED, a_cluster().primary("a").unreachable("b")),
        (Health.DEGRADED, a_cluster().primary("a").stopped("b", standby=True)),
        (Health.DEGRADED, a_cluster().primary("a").replica("b", timeline=9, receiver=None)),
        (Health.DEGRADED, a_cluster().primary("a").without_ssh("a")),
        (Health.CRITICAL, a_cluster().absent("a").absent("b")),
        (Health.CRITICAL, a_cluster().unreachable("a").replica("b", of="a", receiver=None)),
        (Health.CRITICAL, a_cluster().primary("a").primary("b", timeline=9)),
        (Health.CRITICAL, a_cluster().silent("a", ProblemKind.SQL_AUTH).replica("b", of="a")),
    ],
)
def test_health(health: Health, cluster: ClusterBuilder) -> None:
    report = report_of(cluster)
    assert report.health is health
    assert (report.health is Health.HEALTHY) == all(f.severity is Severity.INFO for f in report.findings)


def test_what_is_healthy_has_nothing_to_say() -> None:
    assert report_of(a_cluster().primary("a").replica("b").replica("c")).findings == ()


def test_keys_of_the_document_stand_in_the_contracts_order() -> None:
    document = status_document(report_of(a_cluster().primary("a").replica("b").slots("a", a_slot("x")).absent("c")))
    assert list(document) == [
        *("schema", "cluster", "health", "primary", "system_identifier", "timeline", "nodes", "unlisted", "findings"),
        "wal_bytes_per_s",
        "last_drill",
    ]
    assert list(document["nodes"][1]) == [
        *("name", "host", "port", "role", "state", "timeline", "upstream", "unreceived_bytes", "unreplayed_bytes"),
        *("lag_ms", "lag_is_lower_bound", "sync_state", "slot", "in_env"),
        *("wal_free_bytes", "fork_lsn"),
    ]
    assert list(document["nodes"][1]["slot"]) == [
        *("name", "active", "retained_bytes", "wal_status"),
        *("limit_bytes", "full_in_s"),
    ]
    assert list(document["unlisted"][0]) == ["kind", "name", "detail"]
    assert list(document["findings"][0]) == ["severity", "code", "node", "message", "hint"]
