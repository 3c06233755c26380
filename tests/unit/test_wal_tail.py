"""What the look at a node's own WAL says."""

from __future__ import annotations

import pytest

from replctl.model.facts import WalTail
from replctl.model.values import Lsn, NodeName, Timeline, WalRange
from replctl.postgres.repair_scripts import segment_name
from replctl.postgres.wal_tail import parse_wal_tail

DB1, START = NodeName("db1"), Lsn(0x3000060)


def test_the_end_is_behind_the_last_record() -> None:
    reading = parse_wal_tail("commits 2\nlast 0/3000100 46\n", DB1, START)
    assert reading.tail == WalTail(DB1, START, Lsn(0x3000130), commits=2)
    assert reading.last == Lsn(0x3000100)


def test_commits_of_several_timelines_are_added_up() -> None:
    assert parse_wal_tail("commits 2\nlast 0/3000100 46\ncommits 3\nlast 0/4000100 8\n", DB1, START).tail.commits == 5


def test_nothing_there_and_nothing_readable() -> None:
    assert parse_wal_tail("commits 0\n", DB1, START).tail == WalTail(DB1, START, None)
    gone = parse_wal_tail("problem WAL segment 000000010000000000000003 is gone\n", DB1, START)
    assert gone.problem == "WAL segment 000000010000000000000003 is gone"


@pytest.mark.parametrize(
    ("lsn", "segment_bytes", "name"),
    [
        ("0/3000060", 16 * 2**20, "000000010000000000000003"),
        ("2/FF000000", 16 * 2**20, "0000000100000002000000FF"),
        ("1/40000000", 2**30, "000000010000000100000001"),
    ],
)
def test_segment_names(lsn: str, segment_bytes: int, name: str) -> None:
    assert segment_name(WalRange(Timeline(1), Lsn.parse(lsn)), segment_bytes) == name
