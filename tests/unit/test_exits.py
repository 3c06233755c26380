"""Errors, bugs and closed pipes become exit codes."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest

from replctl.__main__ import main
from replctl.cli.exits import keep_traceback, run_command
from replctl.cli.render_error import error_renderable
from replctl.cli.streams import open_console, show
from replctl.model.errors import (
    CommandFailedError,
    ExitCode,
    InterruptedByOperator,
    InventoryError,
    RefusedError,
    ReplctlError,
    UnreachableError,
)
from replctl.model.values import NodeName


def raising(error: BaseException):
    def body() -> ExitCode:
        raise error

    return body


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InventoryError("a: b", hint="Mend it."), 2),
        (RefusedError("no", hint="Do."), 3),
        (ReplctlError("failed", hint="Do."), 5),
        (UnreachableError("away", hint="Do."), 7),
        (InterruptedByOperator("stop", hint="Do."), 130),
        (KeyboardInterrupt(), 130),
    ],
)
def test_every_error_has_its_exit_code_and_one_look(error: BaseException, code: int, capsys) -> None:
    assert run_command(raising(error)) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert "\n hint: " in err


def test_an_error_says_what_where_and_what_to_do(capsys) -> None:
    error = CommandFailedError(
        "initdb on db2 ended with status 1",
        hint="Look at [bold]it[/bold].",
        node=NodeName("db2"),
        status=1,
        stderr="first\nsecond \x1b[31m\n",
    )
    run_command(raising(error))
    assert capsys.readouterr().err == (
        "error: initdb on db2 ended with status 1\n"
        " node: db2\n"
        " said: first\n"
        "       second \\x1b[31m\n"
        " hint: Look at [bold]it[/bold].\n"
    )


def test_every_line_of_a_message_stands_beside_its_label() -> None:
    out = io.StringIO()
    show(open_console(out), error_renderable(InventoryError("one\ntwo", hint="Mend them.")))
    assert out.getvalue() == "error: one\n       two\n hint: Mend them.\n"


def test_the_result_is_the_bodys(capsys) -> None:
    def body() -> ExitCode:
        print("result")
        return ExitCode.DEGRADED

    assert run_command(body) == 10
    assert capsys.readouterr() == ("result\n", "")


def test_json_is_told_of_the_error(capsys) -> None:
    told: list[ReplctlError] = []
    error = RefusedError("no", hint="Do.")
    assert run_command(raising(error), on_error=told.append) == 3
    assert told == [error]


def test_a_bug_leaves_a_private_traceback_without_variables(tmp_path: Path, capsys) -> None:
    def body() -> ExitCode:
        password = "hunter" + "2"
        assert password
        raise ZeroDivisionError("by zero")

    assert run_command(body, state_dir=tmp_path / ".replctl") == 70
    [kept] = (tmp_path / ".replctl").iterdir()
    assert kept.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / ".replctl").stat().st_mode & 0o777 == 0o700
    text = kept.read_text()
    assert "ZeroDivisionError: by zero" in text
    assert "hunter2" not in text
    out, err = capsys.readouterr()
    assert out == ""
    assert str(kept) in err
    assert "Traceback" not in err


def test_a_bug_while_an_error_is_told_is_a_bug(tmp_path: Path) -> None:
    def tell(_: ReplctlError) -> None:
        raise ValueError("in the renderer")

    assert run_command(raising(RefusedError("no", hint="Do.")), on_error=tell, state_dir=tmp_path / "s") == 70


def test_the_traceback_goes_elsewhere_when_its_folder_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "file").write_text("")
    assert keep_traceback(ValueError(), tmp_path / "file" / ".replctl").parent == tmp_path / ".replctl"
    (tmp_path / ".replctl").rename(tmp_path / "before")
    (tmp_path / ".replctl").write_text("")
    last = keep_traceback(ValueError(), None)
    assert last.parent.name.startswith("replctl-")
    assert last.exists()


SCRIPT = """
import sys
from replctl.cli.exits import run_command
from replctl.model.errors import ExitCode
def body():
    for _ in range(20000):
        print("a line of output")
    return ExitCode.DEGRADED
sys.exit(run_command(body))
"""


def test_a_reader_that_left_changes_no_exit_code() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(10) == 10


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("promot", "db2"), ("error: no such command 'promot'\n", " hint: Did you mean 'promote'? `replctl --help`")),
        (("promote", "--yess"), ("error: no such option: --yess", " hint: `replctl promote --help` shows")),
        (("status", "-o", "xml"), ("error: invalid value for '--output' / '-o': 'xml' is not", " hint: `replctl st")),
        (("init-primary",), ("error: missing argument 'NODE'\n", " hint: `replctl init-primary --help` shows")),
    ],
)
def test_a_command_line_that_is_not_understood_looks_like_any_other_error(
    words: tuple[str, ...], said: tuple[str, ...], capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["replctl", *words])
    assert main() == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert all(text in err for text in said), err
    assert err.count("\n") == 2


def test_a_group_alone_prints_its_help(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["replctl", "config"])
    assert main() == 2
    out, err = capsys.readouterr()
    assert "Usage: replctl config" in out + err
    assert "error:" not in err
