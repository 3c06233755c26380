"""What the report says of WAL: the primary's pace, how long slots last, room on disks, where a node diverged."""

from __future__ import annotations

import pytest

from replctl.model.host import History, Switch
from replctl.model.report import NodeState, SlotReport
from replctl.model.values import Lsn, Timeline
from tests.unit.builders import ClusterBuilder, a_cluster, gib, mib, settings
from tests.unit.test_report import report_of, row_of


def slot_of(cluster: ClusterBuilder) -> SlotReport:
    slot = row_of(cluster).slot
    assert slot is not None
    return slot


def idle(**slot: object) -> ClusterBuilder:
    return a_cluster().primary("a", pace=mib(1)).replica("b", receiver=None, slot=slot)


def test_the_pace_is_the_one_primary_s() -> None:
    assert report_of(a_cluster().primary("a", pace=5000).replica("b")).wal_bytes_per_s == 5000
    assert report_of(a_cluster().primary("a", pace=None).replica("b")).wal_bytes_per_s is None
    assert report_of(a_cluster().unreachable("a").replica("b")).wal_bytes_per_s is None


def test_a_slot_lasts_until_its_limit() -> None:
    slot = slot_of(idle(retained_bytes=gib(9), safe_wal_bytes=gib(1)))
    assert (slot.limit_bytes, slot.full_in_s) == (gib(10), 1024)


def test_the_disk_may_be_full_first() -> None:
    cluster = idle(retained_bytes=gib(1), safe_wal_bytes=gib(9)).host("a", wal_free_bytes=mib(600))
    assert slot_of(cluster).full_in_s == 600


def test_without_a_limit_there_is_still_the_disk() -> None:
    cluster = a_cluster().primary("a", settings=settings(max_slot_wal_keep_size="-1"))
    slot = slot_of(cluster.replica("b", slot={"safe_wal_bytes": None}))
    assert (slot.limit_bytes, slot.full_in_s) == (None, 40 * 1024)


@pytest.mark.parametrize("pace", [None, 0])
def test_nobody_knows_when_while_nothing_is_written(pace: int | None) -> None:
    slot = slot_of(a_cluster().primary("a", pace=pace).replica("b"))
    assert (slot.limit_bytes, slot.full_in_s) == (gib(10), None)


def test_a_lost_slot_has_no_time_left_to_tell() -> None:
    assert slot_of(idle(wal_status="lost", restart_lsn=None, safe_wal_bytes=None)).full_in_s is None


def test_past_its_limit_it_may_go_at_any_moment() -> None:
    assert slot_of(idle(wal_status="unreserved", safe_wal_bytes=-mib(3))).full_in_s == 0


def test_room_is_told_of_every_host_that_answers() -> None:
    cluster = a_cluster().primary("a").replica("b").unreachable("c").absent("d")
    rooms = {row.name: row.wal_free_bytes for row in report_of(cluster).nodes}
    assert rooms == {"a": gib(40), "b": gib(40), "c": None, "d": None}


def test_where_a_node_diverged() -> None:
    fork = Lsn.parse("4/10000000")
    histories = (History(Timeline(9), (Switch(Timeline(8), fork),)),)
    cluster = a_cluster().primary("a", timeline=9).replica("b", timeline=8, receiver=None)
    row = row_of(cluster.host("a", histories=histories).host("b", histories=(History(Timeline(8)),)))
    assert (row.state, row.fork_lsn) == (NodeState.DIVERGED, fork)
    assert row_of(a_cluster().primary("a").replica("b")).fork_lsn is None
