"""Every finding: what leads to it, whom it names, what it costs, and that it is documented."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from replctl.cli.status_json import status_schema
from replctl.model.facts import EnvListing, Problem, ProblemKind, Setting
from replctl.model.host import Aside, DirectoryState, Postmaster, Staging, Unit
from replctl.model.inventory import ServiceManager
from replctl.model.report import Finding, NodeState, Severity
from replctl.model.values import NodeName
from tests.unit.builders import ClusterBuilder, a_cluster, a_slot, a_walsender, gib, mib, settings
from tests.unit.test_report import report_of

DOCS = Path(__file__).parents[2] / "docs"
INFO, WARNING, CRITICAL = Severity.INFO, Severity.WARNING, Severity.CRITICAL
NOBODY = settings(synchronous_standby_names="FIRST 2 (b, c)")
PENDING = {"max_connections": Setting("100", "configuration file", None, pending_restart=True)}


def pair(**replica: object) -> ClusterBuilder:
    return a_cluster().primary("a").replica("b", **replica)


RUNNING = Postmaster(812, 5432, "standby")


def by_systemd(cluster: ClusterBuilder) -> ClusterBuilder:
    postgres = replace(cluster.nodes[NodeName("b")].postgres, service=ServiceManager.SYSTEMD)
    return cluster.node("b", postgres=postgres)


CASES: dict[str, tuple[Severity, str | None, str, ClusterBuilder]] = {
    "no-primary": (CRITICAL, None, "replctl init-primary a", a_cluster().absent("a").absent("b")),
    "fence-debt": (WARNING, "a", "replctl rejoin a", a_cluster().unreachable("a").primary("b").owing("a", "b")),
    "multiple-primaries": (CRITICAL, None, "replctl rejoin a", a_cluster().primary("a").primary("b", timeline=9)),
    "identity-unknown": (WARNING, None, "system_identifier", a_cluster(identifier=None).primary("a").primary("b")),
    "unreachable": (WARNING, "b", "host is up", a_cluster().primary("a").unreachable("b")),
    "sql-only": (WARNING, "b", "host is up", pair().without_ssh("b")),
    "ssh-only": (WARNING, "b", "host is up", a_cluster().primary("a").silent("b", ProblemKind.SQL_AUTH)),
    "absent": (WARNING, "b", "Run `replctl add-replica b`", a_cluster().primary("a").absent("b")),
    "directory-not-empty": (
        *(WARNING, "b", "move it away"),
        a_cluster().primary("a").absent("b", DirectoryState.OTHER, ["photos"]),
    ),
    "directory-unreadable": (
        *(WARNING, "b", "pg_controldata"),
        a_cluster().primary("a").absent("b", DirectoryState.CLUSTER),
    ),
    "foreign": (WARNING, "b", "nodes.b", a_cluster().primary("a").foreign("b")),
    "stopped": (WARNING, "b", "replctl promote a", a_cluster().primary("a").stopped("b")),
    "later-timeline": (CRITICAL, "b", "promoted last", a_cluster().primary("a").stopped("b", timeline=9)),
    "starting": (WARNING, "b", "Wait", a_cluster().primary("a").silent("b", ProblemKind.SQL_STARTING)),
    "diverged": (CRITICAL, "b", "replctl rejoin b", pair(timeline=9, receiver=None)),
    "wrong-upstream": (
        WARNING,
        "b",
        "replctl add-replica b",
        a_cluster().primary("a").replica("c").replica("b", of="c"),
    ),
    "archive": (WARNING, "b", "replctl add-replica b", pair(receiver=None, setting={"restore_command": "cp"})),
    "not-receiving": (WARNING, "b", "replctl add-replica b", pair(receiver=None)),
    "parameter-paused": (
        WARNING,
        "b",
        "Have at least max_wal_senders: 10 under postgres.parameters",
        pair(paused="paused", setting={"max_wal_senders": "5"}),
    ),
    "paused": (WARNING, "b", "pg_wal_replay_resume", pair(paused="paused")),
    "delayed": (WARNING, "b", "recovery_min_apply_delay", pair(setting={"recovery_min_apply_delay": "5000"})),
    "catchup": (INFO, "b", "--watch", pair(walsender={"state": "catchup"})),
    "walsender-missing": (WARNING, "b", "replctl add-replica b", pair(walsender=None)),
    "lag-unknown": (INFO, "b", "Look again", pair(unreplayed=100, last_replay_age_ms=None)),
    "slot-missing": (WARNING, "b", "replctl_b", pair(slot=None, walsender={"slot": None})),
    "slot-inactive": (WARNING, "b", "replctl remove-replica b", pair(receiver=None)),
    "slot-filling": (WARNING, "b", "soon", pair(slot={"retained_bytes": gib(9), "safe_wal_bytes": gib(1)})),
    "slot-lost": (
        WARNING,
        "b",
        "Run `replctl rejoin b --reclone`",
        pair(receiver=None, slot={"wal_status": "lost"}),
    ),
    "slot-stale": (WARNING, "a", "pg_drop_replication_slot('replctl_a')", pair().idle_slot("a", "a")),
    "commits-wait": (
        WARNING,
        "a",
        "names = 'ANY 1 (b)';` and",
        a_cluster().primary("a", settings=NOBODY).replica("b"),
    ),
    "slot-unlisted": (WARNING, "a", "pg_drop_replication_slot", pair().slots("a", a_slot("x", active=False))),
    "walsender-unlisted": (INFO, "a", "inventory", pair().walsenders("a", a_walsender("pg_basebackup"))),
    "walsender-duplicate": (WARNING, "b", "name of its own", pair().walsenders("a", a_walsender("b"))),
    "env-drift": (WARNING, "b", "replctl env --write", pair().env("a")),
    "env-unreadable": (WARNING, None, "can read", pair()),
    "pending-restart": (INFO, "a", "Run `replctl restart a`", a_cluster().primary("a", settings=settings() | PENDING)),
    "hba-error": (
        WARNING,
        "a",
        "mend these lines there",
        a_cluster().primary("a", hba_errors=("line 3: invalid",)),
    ),
    "staging": (INFO, "b", "again", pair().host("b", staging=Staging("r1"))),
    "outside-unit": (
        *(WARNING, "b", "replctl restart b"),
        by_systemd(pair()).host("b", postmaster=RUNNING, unit=Unit("postgresql-15", "active", "enabled", None)),
    ),
    "service-differs": (
        *(WARNING, "b", "postgres.service"),
        pair().host("b", postmaster=RUNNING, unit_of_postmaster="postgresql@15-main"),
    ),
    "aside": (INFO, "b", "rm -rf -- '/x y'", pair().host("b", asides=(Aside("/x y", gib(3)),))),
}


def findings(cluster: ClusterBuilder, code: str) -> list[Finding]:
    problem = "permission denied" if code == "env-unreadable" else None
    return [finding for finding in report_of(cluster, problem).findings if finding.code == code]


@pytest.mark.parametrize("code", list(CASES))
def test_finding(code: str) -> None:
    severity, node, hint, cluster = CASES[code]
    [finding] = findings(cluster, code)
    assert (finding.severity, finding.node) == (severity, node)
    assert hint in finding.hint
    assert finding.hint.endswith(".")
    assert not finding.message.endswith(".")


def test_every_finding_and_every_state_is_documented() -> None:
    page = (DOCS / "status.md").read_text()
    assert set(re.findall(r"^\| `([a-z-]+)` \| (?:info|warning|critical)", page, re.MULTILINE)) == set(CASES)
    states = re.search(r"## States\n(.*?)\n## ", page, re.DOTALL)
    assert states is not None
    assert re.findall(r"^\| `([a-z-]+)` \|", states[1], re.MULTILINE) == [state.value for state in NodeState]


def test_the_published_schema_is_the_packages() -> None:
    published = DOCS / "status.schema.json"
    if os.environ.get("UPDATE_GOLDEN"):
        published.write_text(json.dumps(status_schema(), indent=2) + "\n")
    assert json.loads(published.read_text()) == status_schema()


def test_the_worst_come_first_and_then_the_inventorys_order() -> None:
    report = report_of(a_cluster().primary("a").stopped("b", timeline=9).absent("c").replica("d", slot=None))
    assert [(finding.severity, finding.node) for finding in report.findings] == sorted(
        ((finding.severity, finding.node) for finding in report.findings),
        key=lambda pair: ([CRITICAL, WARNING, INFO].index(pair[0]), pair[1] or ""),
    )


@pytest.mark.parametrize(
    ("hint", "cluster"),
    [
        ("Mend the access to a if", a_cluster().unreachable("a").replica("b", of="a", receiver=None)),
        ("Mend the access to a first", a_cluster().silent("a", ProblemKind.SQL_AUTH).replica("b", of="a")),
        ("replctl init-primary a", a_cluster().stopped("a").absent("b")),
        ("replctl promote b", a_cluster().stopped("a", standby=True).replica("b", of="a", receiver=None)),
        ("lists who could go on", a_cluster().stopped("a", "in production").replica("b", of="a", receiver=None)),
    ],
)
def test_the_way_to_a_primary(hint: str, cluster: ClusterBuilder) -> None:
    [finding] = findings(cluster, "no-primary")
    assert hint in finding.hint


def test_two_primaries_of_one_timeline_leave_the_choice_to_the_operator() -> None:
    [finding] = findings(a_cluster().primary("a").primary("b"), "multiple-primaries")
    assert "the application writes to" in finding.hint
    assert "a (timeline 8, at 4/20000000)" in finding.message


def test_an_old_primary_is_not_to_be_started_beside_a_later_timeline() -> None:
    cluster = a_cluster().stopped("a", timeline=1).replica("b", of="a", timeline=2, receiver=None)
    assert "init-primary" not in findings(cluster, "no-primary")[0].hint
    assert findings(cluster, "stopped")[0].hint.startswith("Once a primary runs, run `replctl rejoin a`")


def test_of_a_cluster_that_is_still_to_be_made_one_node_begins() -> None:
    hints = [finding.hint for finding in findings(a_cluster().absent("a").absent("b"), "absent")]
    assert hints == ["Run `replctl init-primary a`.", "Once a primary runs, run `replctl add-replica b`."]


@pytest.mark.parametrize(
    "cluster",
    [
        pair(timeline=9, receiver=None, slot={"active": False}),
        a_cluster().primary("a").stopped("b").idle_slot("b", "a"),
        a_cluster().primary("a").stopped("b", timeline=7, standby=True).idle_slot("b", "a"),
    ],
    ids=["diverged", "a primary once", "of another timeline"],
)
def test_an_idle_slot_asks_for_what_brings_its_node_back(cluster: ClusterBuilder) -> None:
    """The same command as the node's own finding, and nothing about a link that cannot stand."""
    [finding] = findings(cluster, "slot-inactive")
    assert finding.hint.startswith("Run `replctl rejoin b`, or give it up")
    assert not any("add-replica b" in one.hint for one in report_of(cluster).findings)
    assert findings(cluster, "not-receiving") == []


@pytest.mark.parametrize(("pace", "told"), [(mib(1), True), (1, False)])
def test_when_a_slot_is_full_is_said_while_it_is_near(pace: int, told: bool) -> None:
    cluster = pair(receiver=None, slot={"active": False, "safe_wal_bytes": gib(9)})
    [finding] = findings(cluster.change("a", wal_bytes_per_s=pace), "slot-inactive")
    assert ("there is room for" in finding.message) == told


def test_the_slot_of_a_replica_elsewhere_is_what_will_mend_it() -> None:
    cluster = a_cluster().primary("a").replica("b").replica("c", of="b").idle_slot("c", "a")
    [finding] = findings(cluster, "slot-stale")
    assert finding.hint == (
        "`replctl add-replica c` has c stream by it. To leave c as it is, run "
        "`SELECT pg_drop_replication_slot('replctl_c');` on a."
    )


def test_a_problem_does_not_name_its_node_again() -> None:
    cluster = a_cluster().primary("a").unreachable("b")
    cluster.change("b", ssh=Problem(ProblemKind.TIMEOUT, "b: no connection to 10.0.0.2:22: timed out", "See to it."))
    [finding] = findings(cluster, "unreachable")
    assert finding.message == "b is unreachable: no connection to 10.0.0.2:22: timed out"


def test_unreachable_says_what_the_primary_still_lists() -> None:
    cluster = a_cluster().primary("a").unreachable("b").walsenders("a", a_walsender("b"))
    assert findings(cluster, "unreachable")[0].message.endswith("the primary still lists its walsender")


def test_a_replica_by_sql_alone_is_still_looked_at() -> None:
    cluster = pair(receiver=None).without_ssh("b")
    assert findings(cluster, "sql-only")
    assert findings(cluster, "not-receiving")


def test_wrong_upstream_and_no_receiver_are_both_told() -> None:
    cluster = a_cluster().primary("a").stopped("c").replica("b", of="c", receiver=None)
    assert findings(cluster, "wrong-upstream")
    assert findings(cluster, "not-receiving")


def test_a_slot_prepared_for_a_role_change_is_not_stale_without_a_primary() -> None:
    cluster = a_cluster().stopped("a", standby=True).replica("b", of="a", receiver=None).idle_slot("a", "b")
    assert findings(cluster, "slot-stale") == []
    assert findings(pair().idle_slot("a", "b"), "slot-stale")


def test_an_active_slot_of_a_stranger_is_no_trouble() -> None:
    [finding] = findings(pair().slots("a", a_slot("x")), "slot-unlisted")
    assert finding.severity is INFO


@pytest.mark.fault("83f")
def test_a_lost_slot_of_a_node_that_is_away() -> None:
    for cluster, hint in (
        (a_cluster().primary("a").unreachable("b"), "Run `replctl rejoin b --reclone`"),
        (a_cluster().primary("a").absent("b"), "add-replica b"),
    ):
        [finding] = findings(cluster.idle_slot("b", "a", wal_status="lost"), "slot-lost")
        assert hint in finding.hint


def test_staging_without_a_marker_is_left_alone() -> None:
    [finding] = findings(pair().host("b", staging=Staging(None)), "staging")
    assert "leaves it alone" in finding.hint
    assert "/var/lib/postgresql/15/main.replctl-new" in finding.message


# The env file


def drift(cluster: ClusterBuilder) -> list[tuple[str | None, str]]:
    return [(finding.node, finding.message) for finding in findings(cluster, "env-drift")]


def test_env_lists_the_right_nodes() -> None:
    assert drift(pair().replica("c", paused="paused", setting={"recovery_min_apply_delay": "10"})) == []


@pytest.mark.parametrize(
    ("node", "words", "cluster"),
    [
        (None, "does not exist", pair().env()),
        ("a", "has b as DB_PRIMARY_URL", pair().env("b", "b")),
        ("a", "has no node of the inventory as DB_PRIMARY_URL", pair().env(None, "b")),
        ("b", "does not list b, a proven replica", pair().env("a")),
        ("b", "lists b as a replica, which is not proven", pair(receiver=None).env("a", "b")),
        ("b", "not proven to be a replica now", pair(receiver=None).env("a")),
        ("b", "not proven to be a replica now", a_cluster().primary("a").unreachable("b").env("a")),
        ("b", "not proven to be a replica now", a_cluster().primary("a").stopped("b", standby=True).env("a")),
        (None, "lists the right nodes", pair().env("a", "b", current=False)),
    ],
)
def test_env_drift(node: str | None, words: str, cluster: ClusterBuilder) -> None:
    [(found, message)] = drift(cluster)
    assert found == node
    assert words in message


def test_nobody_can_say_what_the_env_file_should_list_without_one_primary() -> None:
    assert drift(a_cluster().replica("b").env("b")) == []


def test_an_old_primary_that_is_stopped_need_not_be_listed() -> None:
    assert drift(a_cluster().primary("a").stopped("b").env("a")) == []


def test_in_env_is_unknown_when_the_file_cannot_be_read() -> None:
    assert [row.in_env for row in report_of(pair(), "permission denied").nodes] == [None, None]
    assert [row.in_env for row in report_of(pair().env("a")).nodes] == [True, False]


def test_the_builders_listing_is_the_models() -> None:
    _, facts = pair().env("a", "b").build()
    assert facts.env == EnvListing(NodeName("a"), (NodeName("b"),), current=True)


def test_slot_that_fills_names_what_is_left() -> None:
    [finding] = findings(pair(slot={"wal_status": "unreserved", "safe_wal_bytes": mib(5)}), "slot-filling")
    assert "5 MiB short of its limit" in finding.message
