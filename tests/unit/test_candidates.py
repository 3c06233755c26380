"""Which replica would make a good primary."""

from __future__ import annotations

import pytest

from replctl.model.facts import ProblemKind
from replctl.model.values import SystemIdentifier
from replctl.planning.candidates import Verdict, assess_candidates
from tests.unit.builders import ClusterBuilder, a_cluster, kib, mib


def verdicts(cluster: ClusterBuilder) -> list[tuple[str, str]]:
    return [(candidate.node, candidate.text) for candidate in assess_candidates(*cluster.build())]


def test_with_a_live_primary_the_one_that_received_most_comes_first() -> None:
    cluster = a_cluster().primary("a").replica("b", lag=mib(3)).replica("c", lag=kib(1)).replica("d", paused="paused")
    assert verdicts(cluster) == [("c", "yes"), ("b", "yes"), ("d", "no: paused")]


@pytest.mark.parametrize(
    ("reason", "cluster"),
    [
        ("catchup", a_cluster().primary("a").replica("b", walsender={"state": "catchup"})),
        ("sql-only", a_cluster().primary("a").replica("b").without_ssh("b")),
        ("delayed", a_cluster().primary("a").replica("b", setting={"recovery_min_apply_delay": "10"})),
        ("wrong-upstream", a_cluster().primary("a").stopped("c").replica("b", of="c")),
        ("not-receiving", a_cluster().primary("a").replica("b", receiver=None)),
        ("timeline 7, not 8", a_cluster().primary("a").replica("b", timeline=7)),
        ("no walsender on a", a_cluster().primary("a").replica("b", walsender=None)),
        ("unreachable", a_cluster().primary("a").unreachable("b")),
        ("stopped", a_cluster().primary("a").stopped("b", standby=True)),
        ("starting", a_cluster().primary("a").silent("b", ProblemKind.SQL_STARTING)),
        ("absent", a_cluster().primary("a").absent("b")),
        ("more than one primary", a_cluster().primary("a").primary("c").replica("b")),
    ],
)
def test_reasons_against(reason: str, cluster: ClusterBuilder) -> None:
    assert dict(verdicts(cluster))["b"] == f"no: {reason}"


def test_a_primary_is_no_candidate() -> None:
    assert verdicts(a_cluster().primary("a").primary("b")) == []


def gone(cluster: ClusterBuilder, *, b: dict | None = None, c: dict | None = None) -> ClusterBuilder:
    return cluster.replica("b", of="a", receiver=None, **(b or {})).replica("c", of="a", receiver=None, **(c or {}))


def test_with_the_primary_unreachable_the_loss_is_what_is_known() -> None:
    cluster = gone(a_cluster().unreachable("a"), b={"lag": mib(16)})
    assert verdicts(cluster) == [("c", "loses unknown"), ("b", "loses 16 MiB"), ("a", "no: unreachable")]


def test_a_crashed_primary_may_have_had_more_than_anyone_received() -> None:
    assert verdicts(gone(a_cluster().stopped("a", "in production")))[0] == ("b", "loses unknown")


def test_past_the_shutdown_checkpoint_nothing_is_lost() -> None:
    cluster = gone(a_cluster().stopped("a", standby=True), c={"lag": mib(1)})
    assert verdicts(cluster)[0] == ("b", "yes")
    assert dict(verdicts(cluster))["c"] == "loses 1 MiB"


def test_received_and_not_replayed_is_no_proof() -> None:
    """Replay moves at record ends, receiving does not: the record may have arrived in part."""
    assert verdicts(gone(a_cluster().stopped("a"), b={"unreplayed": 400}, c={"lag": 400}))[0] == ("b", "loses unknown")


def test_behind_the_shutdown_checkpoint_by_the_old_primarys_own_word() -> None:
    cluster = gone(a_cluster().stopped("a"), b={"lag": mib(1) + 200}, c={"lag": mib(2) + 200})
    assert verdicts(cluster)[:2] == [("b", "loses 1 MiB"), ("c", "loses 2 MiB")]


def test_an_older_timeline_is_no_candidate_while_a_later_one_is_there() -> None:
    cluster = gone(a_cluster().unreachable("a"), b={"timeline": 9, "lag": mib(1)})
    assert dict(verdicts(cluster))["b"] == "loses unknown"
    assert dict(verdicts(cluster))["c"] == "no: timeline 8, not 9"


def test_a_paused_replica_is_no_candidate_either_way() -> None:
    assert dict(verdicts(gone(a_cluster().unreachable("a"), b={"paused": "paused"})))["b"] == "no: paused"


def test_a_replica_that_received_nothing() -> None:
    cluster = gone(a_cluster().unreachable("a")).change("b", received=None)
    assert dict(verdicts(cluster))["b"] == "no: received nothing"


def test_the_pinned_identity_is_the_observers_matter() -> None:
    cluster = a_cluster(identifier=SystemIdentifier("1")).primary("a").foreign("b")
    assert [candidate.verdict for candidate in assess_candidates(*cluster.build())] == [Verdict.NO]
