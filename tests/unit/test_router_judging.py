"""What a host may be used for, from what was seen of it: every reason, and no more reasons than there are."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from replctl.router.circuit import Circuit
from replctl.router.lag import Staleness
from replctl.router.snapshot import (
    Cluster,
    HostState,
    Policy,
    PrimarySilent,
    Seen,
    judge_primary,
    judge_replica,
)
from replctl.router.tokens import Token
from tests.unit.router_looks import CLUSTER, PRIMARY, REPLICA, UP, seen

BROKEN = UP.broke("reset by peer")
ANSWERS = seen(PRIMARY)
SILENT = seen(PRIMARY, BROKEN)
ONE_SECOND = Policy(max_lag=1.0)


def judged(
    own: Seen, *, cluster: Cluster | None = CLUSTER, primary: Seen = ANSWERS, policy: Policy = ONE_SECOND
) -> HostState:
    return judge_replica("db2", own, cluster, primary, policy)


def test_a_primary_that_answers_takes_writes() -> None:
    assert judge_primary("db1", ANSWERS, CLUSTER).reason is None
    assert judge_primary("db1", ANSWERS, None).usable


@pytest.mark.parametrize(
    ("own", "reason"),
    [
        (Seen(), "it has not been asked yet"),
        (SILENT, "reset by peer"),
        (seen(replace(PRIMARY, in_recovery=True)), "is in recovery: another host is the primary, or none is"),
        (seen(replace(PRIMARY, read_only=True)), "takes no writes: default_transaction_read_only is on"),
        (seen(replace(PRIMARY, system_identifier=8)), "is of another cluster"),
        (seen(replace(PRIMARY, timeline=2)), "is a former primary: on timeline 2, and the cluster has been on 3"),
    ],
)
def test_a_primary_that_takes_no_writes_is_told_why(own: Seen, reason: str) -> None:
    assert judge_primary("db1", own, CLUSTER).reason == reason


def test_a_primary_on_a_later_timeline_is_the_new_one() -> None:
    assert judge_primary("db1", seen(replace(PRIMARY, timeline=4)), CLUSTER).usable


def test_a_replica_that_follows_is_read_from() -> None:
    assert judged(seen(REPLICA)).reason is None


@pytest.mark.parametrize(
    ("own", "reason"),
    [
        (Seen(), "it has not been asked yet"),
        (seen(REPLICA, BROKEN), "reset by peer"),
        (seen(replace(REPLICA, in_recovery=False)), "is in no recovery: a replica no more"),
        (seen(replace(REPLICA, system_identifier=8)), "is of another cluster"),
        (seen(replace(REPLICA, timeline=2)), "is on timeline 2, and the primary on 3"),
        (seen(replace(REPLICA, timeline=4)), "is on timeline 4, and the primary on 3"),
        (seen(REPLICA, staleness=None), "its lag is not known yet"),
        (seen(REPLICA, staleness=1.26), "1.3 s behind, and 1 s are allowed"),
        (
            replace(seen(REPLICA), staleness=Staleness(90.0, is_lower_bound=True)),
            ">= 90.0 s behind, and 1 s are allowed",
        ),
    ],
)
def test_a_replica_that_is_not_read_from_is_told_why(own: Seen, reason: str) -> None:
    assert judged(own).reason == reason


def test_a_replica_that_does_not_tell_its_timeline_is_on_its_primarys_while_it_receives() -> None:
    shy = replace(REPLICA, timeline=2, timeline_is_exact=False)
    assert (judged(seen(shy)).reason, judged(seen(shy)).timeline) == (None, 3)
    assert judged(seen(replace(shy, has_receiver=False))).timeline == 2


def test_a_lag_at_the_limit_is_allowed() -> None:
    assert judged(seen(REPLICA, staleness=1.0)).usable


def test_without_a_limit_any_lag_will_do_and_the_role_is_checked_all_the_same() -> None:
    anything = Policy(max_lag=None)
    assert judged(seen(REPLICA, staleness=None), policy=anything).usable
    assert not judged(seen(PRIMARY), policy=anything).usable
    assert not judged(seen(replace(REPLICA, system_identifier=8)), policy=anything).usable


def test_while_the_primary_is_silent_reads_go_on_or_have_a_limit_as_is_declared() -> None:
    old = seen(REPLICA, staleness=30.0)
    assert judged(old, primary=SILENT).usable
    limited = Policy(1.0, PrimarySilent.LIMIT)
    assert judged(old, primary=SILENT, policy=limited).reason == "30.0 s behind, and 1 s are allowed"
    assert judged(seen(REPLICA, staleness=0.5), primary=SILENT, policy=limited).usable


def test_the_heir_of_a_silent_primary_is_read_from() -> None:
    heir = seen(replace(REPLICA, timeline=4))
    assert judged(heir, primary=SILENT).usable
    assert not judged(heir, primary=ANSWERS).usable


def test_an_unknown_lag_is_none_and_never_0() -> None:
    assert judged(seen(REPLICA, staleness=None)).lag_ms is None
    assert judged(seen(REPLICA, BROKEN)).lag_ms is None
    assert judged(seen(REPLICA, staleness=0.25)).lag_ms == 250.0


@pytest.mark.parametrize(
    ("token", "covered"),
    [
        (Token(7, 3, 1000), True),
        (Token(7, 3, 999), True),
        (Token(7, 2, 1000), True),
        (Token(7, 3, 1001), False),
        (Token(7, 4, 10), False),
        (Token(8, 3, 10), False),
    ],
)
def test_a_token_is_covered_on_its_cluster_and_timeline_from_its_position_on(token: Token, covered: bool) -> None:
    assert judged(seen(REPLICA)).covers(token) is covered


def test_nothing_is_covered_by_a_host_whose_position_is_not_known() -> None:
    assert not judged(seen(replace(REPLICA, lsn=None))).covers(Token(7, 1, 0))
    assert not judged(Seen()).covers(Token(7, 1, 0))


def test_its_document_is_json_and_says_why() -> None:
    document = judged(seen(replace(REPLICA, paused=True), staleness=5.0)).document
    assert json.loads(json.dumps(document)) == document
    assert document["healthy"] is False
    assert document["lag_ms"] == 5000.0
    assert document["paused"] is True
    assert document["reason"] == "5.0 s behind, and 1 s are allowed"
    assert judged(Seen()).document["lag_ms"] is None


def test_the_first_circuit_is_usable_for_nothing() -> None:
    assert not judge_primary("db1", Seen(Circuit(), PRIMARY), CLUSTER).usable
    assert not judged(Seen(Circuit(), REPLICA)).usable
