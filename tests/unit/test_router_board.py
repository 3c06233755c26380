"""The board: what probes and units of work report, made into the snapshot that they read."""

from __future__ import annotations

import logging
import time

import pytest

from replctl.router.board import Board, Snapshot
from replctl.router.circuit import Condition
from replctl.router.hosts import Host, Use
from replctl.router.snapshot import Policy
from tests.unit.router_looks import host, primary, replica

VALID = 5.0


def board_of(*replicas: Host, max_lag: float | None = 1.0) -> Board:
    return Board(host(1, Use.WRITE), replicas, Policy(max_lag))


def usable(snapshot: Snapshot) -> list[int]:
    return [member.host.url.port for member in snapshot.replicas if member.state.usable]


def healthy() -> Board:
    board = board_of(host(2), host(3))
    board.probed(board.primary, primary(), VALID)
    for replica_host in board.replicas:
        board.probed(replica_host, replica(), VALID)
    return board


def test_nothing_is_usable_before_it_was_probed() -> None:
    board = board_of(host(2), host(3))
    assert (usable(board.snapshot), board.snapshot.turns) == ([], ())
    assert not board.snapshot.primary.state.usable
    assert not board.snapshot.probed


def test_probed_hosts_are_usable() -> None:
    assert usable(healthy().snapshot) == [2, 3]


def test_a_replicas_lag_is_unknown_until_the_primary_was_probed() -> None:
    board = board_of(host(2))
    board.probed(board.replicas[0], replica(), VALID)
    (member,) = board.snapshot.replicas
    assert (member.lag_ms, member.state.reason) == (None, "its lag is not known yet")


def test_a_position_that_is_null_is_an_unknown_lag() -> None:
    board = healthy()
    board.probed(board.replicas[0], replica(lsn=None), VALID)
    assert board.snapshot.replicas[0].lag_ms is None
    assert usable(board.snapshot) == [3]


def test_a_promoted_replica_is_out_with_the_probe_that_shows_it() -> None:
    board = healthy()
    board.probed(board.replicas[0], primary(timeline=4), VALID)
    assert usable(board.snapshot) == [3]


def test_a_snapshot_never_changes() -> None:
    board = healthy()
    before = board.snapshot
    board.broke(board.replicas[0], "reset by peer")
    assert usable(before) == [2, 3]
    assert usable(board.snapshot) == [3]


def test_a_broken_host_takes_two_probes_to_come_back() -> None:
    board = healthy()
    board.broke(board.replicas[0], "reset by peer")
    board.probed(board.replicas[0], replica(), VALID)
    assert usable(board.snapshot) == [3]
    board.probed(board.replicas[0], replica(), VALID)
    assert usable(board.snapshot) == [2, 3]


def test_the_age_of_a_replica_that_stands_still_grows_with_the_primarys_writes() -> None:
    board = healthy()
    ages: list[float] = []
    for lsn in (1100, 1200, 1300):
        board.probed(board.primary, primary(lsn=lsn), VALID)
        time.sleep(0.002)
        board.probed(board.replicas[0], replica(), VALID)
        ages.append(board.snapshot.replicas[0].lag_ms or 0.0)
    assert 0 < ages[0] < ages[1] < ages[2]


def test_a_limit_takes_the_late_one_out_and_leaves_the_other() -> None:
    board = Board(host(1, Use.WRITE), (host(2), host(3)), Policy(max_lag=0.0))
    board.probed(board.primary, primary(lsn=1000), VALID)
    board.probed(board.primary, primary(lsn=2000), VALID)
    board.probed(board.replicas[0], replica(lsn=1000), VALID)
    board.probed(board.replicas[1], replica(lsn=2000), VALID)
    assert usable(board.snapshot) == [3]


def test_a_former_primary_that_comes_back_takes_no_writes() -> None:
    board = healthy()
    board.probed(board.primary, primary(timeline=4), VALID)
    board.probed(board.primary, primary(timeline=3), VALID)
    assert board.snapshot.primary.state.reason == "is a former primary: on timeline 3, and the cluster has been on 4"


def test_a_former_primarys_position_is_no_sample() -> None:
    board = healthy()
    board.probed(board.primary, primary(timeline=4, lsn=2000), VALID)
    board.probed(board.primary, primary(timeline=3, lsn=9000), VALID)
    board.probed(board.replicas[0], replica(timeline=4, lsn=2000), VALID)
    assert board.snapshot.replicas[0].lag_ms == 0.0


def test_which_cluster_it_is_the_first_look_at_the_primary_decides() -> None:
    board = healthy()
    board.probed(board.primary, primary(system_identifier=8), VALID)
    assert board.snapshot.primary.state.reason == "is of another cluster"
    assert usable(board.snapshot) == [2, 3]


def test_a_primary_in_recovery_says_nothing_of_the_cluster() -> None:
    board = board_of(host(2))
    board.probed(board.primary, replica(system_identifier=9), VALID)
    assert board.cluster is None
    assert not board.snapshot.primary.state.usable


def test_what_is_known_goes_on_to_the_board_that_follows() -> None:
    before = healthy()
    stays, goes = before.replicas
    after = Board(host(9, Use.WRITE), (stays, host(4)), Policy(1.0), before.cluster, before.seen)
    assert [member.state.seen.circuit.condition for member in after.snapshot.replicas] == [
        Condition.UP,
        Condition.UNKNOWN,
    ]
    after.broke(goes, "is nobody's business any more")
    assert after.cluster == before.cluster


def test_a_change_is_logged_once_and_with_its_reason(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "replctl.router")
    board = healthy()
    caplog.clear()
    for _ in range(3):
        board.broke(board.replicas[0], "reset by peer")
    board.broke(board.replicas[1], "refused")
    assert caplog.messages == [
        "replica 127.0.0.1:2/appdb: reset by peer",
        "replica 127.0.0.1:3/appdb: refused",
        "no replica is left to read from",
    ]
