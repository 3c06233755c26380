"""Names, paths and words that come from others: what they cannot be, and what they cannot do."""

from __future__ import annotations

import inspect
import io
import json
import os
import re
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replctl.cli.exits import keep_traceback
from replctl.cli.render_error import error_renderable
from replctl.cli.streams import open_console, show
from replctl.cli.text import SHOWN, escape
from replctl.execution.journal import Journal, read_journal
from replctl.model.errors import RefusedError, SqlError
from replctl.model.facts import NoInstance
from replctl.model.host import Staging
from replctl.model.values import NAME_PATTERN, NodeName, SystemIdentifier, slot_name
from replctl.planning.clone_target import check_target
from replctl.postgres import scripts
from replctl.remote.local_files import write_env_file
from replctl.remote.printable import one_line
from tests.unit.builders import a_cluster
from tests.unit.inventories import changed, complaint
from tests.unit.plans import DB2

STRANGER = 54321
OPERANDS = re.compile(r"\b(?:rm|mv|rmdir|mkdir|mktemp|dirname|stat|sync|cat|cmp|readlink)\b([^|;&()\n]*?)\"\$[0-9a-z]")


@given(st.from_regex(NAME_PATTERN, fullmatch=True))
@settings(max_examples=200, database=None)
def test_a_slots_name_is_one_that_postgresql_takes(name: str) -> None:
    assert re.fullmatch("[a-z0-9_]{1,63}", slot_name(NodeName(name)))


@pytest.mark.parametrize("key", ["data_dir", "bin_dir"])
@pytest.mark.parametrize("text", ["/srv/$(id)", "/srv/`id`", '/srv/"; id; "', "/srv/a\\b", "/srv/$HOME"])
def test_no_path_holds_what_pg_ctl_would_have_a_shell_carry_out(key: str, text: str) -> None:
    assert "which pg_ctl would hand to a shell" in complaint(changed("postgres", key, to=text))


@pytest.mark.parametrize("text", ["/srv/main.replctl-new", "/srv/main.replctl-aside-x", "/srv/a.replctl-run/main"])
def test_no_data_directory_stands_where_replctl_keeps_things_of_its_own(text: str) -> None:
    """The staging directory of one node must not be the data directory of another."""
    assert "replctl keeps for itself" in complaint(changed("postgres", "data_dir", to=text))


@pytest.mark.parametrize("text", ['ad"min', "ad$min", "ad'min", "ad\\min"])
def test_the_superuser_has_a_name_that_initdb_takes(text: str) -> None:
    assert "initdb does not take" in complaint(changed("admin", "user", to=text))


@pytest.mark.parametrize("where", [("admin", "user"), ("replication", "user"), ("app", "user"), ("app", "database")])
def test_no_name_is_a_regular_expression_of_pg_hba(where: tuple[str, str]) -> None:
    assert "regular expression" in complaint(changed(*where, to="/.*"))


def test_operands_of_scripts_come_behind_two_dashes() -> None:
    source = inspect.getsource(scripts)
    found = OPERANDS.findall(source)
    assert len(found) > 20
    assert [options for options in found if not re.search(r"(?:^|\s)--\s|[<>]\s*$", options)] == []


@pytest.mark.parametrize("kind", ["symlink", "dangling", "file"])
def test_the_state_folder_is_a_folder(tmp_path: Path, kind: str) -> None:
    there, state = tmp_path / "there", tmp_path / ".replctl"
    if kind == "file":
        state.write_text("x")
    else:
        state.symlink_to(there)
    if kind == "symlink":
        there.mkdir()
    assert write_journal(state) == 1
    with pytest.raises(RefusedError):
        read_journal(state, "chat", None)
    assert keep_traceback(ValueError("x"), state).parent != state
    assert kind != "symlink" or list(there.iterdir()) == []


@pytest.fixture(autouse=True)
def elsewhere(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a traceback goes that has no state folder."""
    monkeypatch.chdir(tmp_path_factory.mktemp("working"))


def write_journal(state: Path) -> int:
    """How many warnings came of it."""
    warnings: list[str] = []
    journal = Journal(
        state, run="1", cluster="chat", command="replctl test", now=lambda: datetime.now(UTC), warn=warnings.append
    )
    journal.begin("alice", None)
    return len(warnings)


def test_a_state_folder_of_another_user_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = tmp_path / ".replctl"
    state.mkdir(mode=0o700)
    assert write_journal(state) == 0
    if os.geteuid() == 0:
        os.chown(state, STRANGER, STRANGER)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: STRANGER)
    before = (state / "journal.jsonl").read_bytes()
    assert write_journal(state) == 1
    assert (state / "journal.jsonl").read_bytes() == before
    with pytest.raises(RefusedError):
        read_journal(state, "chat", None)


@pytest.mark.parametrize("target", ["victim", "nowhere"])
def test_the_journal_is_no_symlink(tmp_path: Path, target: str) -> None:
    state, victim = tmp_path / ".replctl", tmp_path / "victim"
    state.mkdir(mode=0o700)
    victim.write_text("x")
    (state / "journal.jsonl").symlink_to(tmp_path / target)
    assert write_journal(state) == 1
    assert (victim.read_text(), (tmp_path / "nowhere").exists()) == ("x", False)


def test_a_state_folder_that_was_open_is_closed(tmp_path: Path) -> None:
    state = tmp_path / ".replctl"
    state.mkdir()
    state.chmod(0o777)
    assert write_journal(state) == 0
    assert stat.S_IMODE(state.stat().st_mode) == 0o700


def test_an_env_file_that_another_user_laid_out_gets_no_passwords(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its owner is kept where that is an account that runs the app; in a folder like /tmp it may be anyone."""
    path = tmp_path / "app.env"
    path.write_text("A=1\n")
    tmp_path.chmod(0o1777)
    if os.geteuid() == 0:
        os.chown(path, STRANGER, STRANGER)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: STRANGER)
    with pytest.raises(RefusedError):
        write_env_file(path, "DB_PRIMARY_URL=secret\n")
    assert path.read_text() == "A=1\n"
    assert list(tmp_path.iterdir()) == [path]


HARMFUL = "\x1b[2J\x1b]0;t\x07\r\x08\x00\x7f\x9b31m\u202e\u2028\u2066\ud800[red]:boom:[/red]"


def test_words_of_others_are_shown_harmless_and_not_at_any_length() -> None:
    error = SqlError(
        f"db1: {HARMFUL}\n{'x' * 10_000_000}", hint=HARMFUL + "y" * 100_000, node=NodeName("db1"), sqlstate=None
    )
    out = io.StringIO()
    show(open_console(out), error_renderable(error))
    text = out.getvalue()
    assert [char for char in text if not char.isprintable() and char != "\n"] == []
    assert "[red]:boom:[/red]" in text
    assert len(text) < 3 * SHOWN
    assert re.search(r"\.\.\. \(99\d\d\d\d\d more characters\)", text)
    json.dumps(error.message).encode("ascii")


@given(st.text())
@settings(max_examples=200, database=None)
def test_no_character_of_others_moves_the_cursor(text: str) -> None:
    for shown in (escape(text), one_line(text)):
        assert not any(char in shown for char in "\x00\x07\x08\x1b\r\n\x7f\x9b\u202e\u2028")
        shown.encode()


def test_one_line_is_bounded() -> None:
    assert len(one_line("x" * 1_000_000)) < 520


def test_a_staging_directory_of_another_cluster_is_refused() -> None:
    built = a_cluster().primary("db1").absent("db2")
    ours = built.situation().facts.system_identifier
    assert ours is not None
    for marker, codes in (
        (Staging("cut-short", ours), []),
        (Staging("cut-short", SystemIdentifier("1")), ["staging-foreign"]),
        (Staging(None), ["staging-foreign"]),
    ):
        situation = built.host("db2", staging=marker).situation()
        facts = situation.facts.nodes[DB2]
        assert isinstance(facts, NoInstance)
        assert [refusal.code for refusal in check_target(situation, situation.node(DB2), facts.host)] == codes
