"""Notes on disk: they outlive the run that made them, and never stand in its way."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from replctl.execution.notes import DEBTS, DRILLS, note_debt, note_drill, read_debts, read_drill, settle_debt
from replctl.model.drill import LastDrill
from replctl.model.facts import FenceDebt
from replctl.model.values import NodeName, SystemIdentifier

OURS, OTHER = SystemIdentifier("7277"), SystemIdentifier("9999")
DRILL = LastDrill("2026-11-22T03:00:00+00:00", NodeName("db2"), (96.4, 103.0), None, 1234, 0)
DEBT = FenceDebt(NodeName("db1"), NodeName("db2"), "2026-11-22T03:00:00+00:00")


def test_written_read_and_taken_away(tmp_path: Path) -> None:
    folder = tmp_path / ".replctl"
    assert note_debt(folder, OURS, DEBT)
    assert not note_debt(folder, OURS, DEBT)
    assert read_debts(folder, OURS) == (DEBT,)
    assert stat.S_IMODE((folder / DEBTS).stat().st_mode) == 0o600
    assert settle_debt(folder, OURS, DEBT.node)
    assert not settle_debt(folder, OURS, DEBT.node)
    assert read_debts(folder, OURS) == ()


def test_another_clusters_note_is_ignored_and_stays(tmp_path: Path) -> None:
    note_debt(tmp_path, OTHER, DEBT)
    assert read_debts(tmp_path, OURS) == ()
    assert read_debts(tmp_path, None) == ()
    assert not settle_debt(tmp_path, OURS, DEBT.node)
    assert read_debts(tmp_path, OTHER) == (DEBT,)


def test_what_is_not_there_or_torn_is_no_debt(tmp_path: Path) -> None:
    assert read_debts(tmp_path / "none", OURS) == ()
    for text in ("", "[{", '{"a": 1}', '[1, {"node": "db1"}]'):
        (tmp_path / DEBTS).write_text(text)
        assert read_debts(tmp_path, OURS) == ()
    assert note_debt(tmp_path, OURS, DEBT)
    assert [note["node"] for note in json.loads((tmp_path / DEBTS).read_text())] == ["db1"]


def test_a_symlink_is_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    note_debt(elsewhere, OURS, DEBT)
    (tmp_path / ".replctl").symlink_to(elsewhere)
    assert read_debts(tmp_path / ".replctl", OURS) == ()


def test_the_last_drill_of_each_cluster(tmp_path: Path) -> None:
    folder = tmp_path / ".replctl"
    assert read_drill(folder, OURS) is None
    note_drill(folder, OURS, DRILL)
    newer = replace(DRILL, at="2026-11-23T03:00:00+00:00", read_outage_ms=12.5, lost=1)
    note_drill(folder, OTHER, newer)
    assert read_drill(folder, OURS) == DRILL
    note_drill(folder, OURS, newer)
    assert (read_drill(folder, OURS), read_drill(folder, OTHER)) == (newer, newer)
    assert read_drill(folder, None) is None
    assert len(json.loads((folder / DRILLS).read_text())) == 2
    assert stat.S_IMODE((folder / DRILLS).stat().st_mode) == 0o600
    assert read_debts(folder, OURS) == ()


@pytest.mark.parametrize(
    "changed",
    [{"at": "yesterday"}, {"at": "2026-11-22T03:00:00"}, {"write_outage_ms": [1]}, {"rows": "many"}, {"lost": None}],
)
def test_a_note_of_a_drill_that_makes_no_sense_is_none(tmp_path: Path, changed: dict[str, object]) -> None:
    note_drill(tmp_path, OURS, DRILL)
    (note,) = json.loads((tmp_path / DRILLS).read_text())
    (tmp_path / DRILLS).write_text(json.dumps([note | changed]))
    assert read_drill(tmp_path, OURS) is None
    (tmp_path / DRILLS).write_text("[{")
    assert read_drill(tmp_path, OURS) is None
