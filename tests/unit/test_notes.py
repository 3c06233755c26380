"""Fence debts on disk: they outlive the run that made them, and never stand in its way."""

from __future__ import annotations

import json
import stat
from pathlib import Path

from replctl.execution.notes import DEBTS, note_debt, read_debts, settle_debt
from replctl.model.facts import FenceDebt
from replctl.model.values import NodeName, SystemIdentifier

OURS, OTHER = SystemIdentifier("7277"), SystemIdentifier("9999")
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
