"""The question before a change, on a real pseudo-terminal."""

from __future__ import annotations

import io
import os
import pty
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TextIO

import pytest

from replctl.cli.prompts import Answer, Expects, Question, confirm
from replctl.cli.streams import open_console
from replctl.model.errors import RefusedError
from replctl.model.values import NodeName

QUESTION = Question("chat", NodeName("db2"), "promote db2", ("db1 becomes its replica \x1b[31m",))
BY_NAME = Question("chat", None, "practise a failover to db2, and go back", expects=Expects.CLUSTER)


@dataclass
class Terminal:
    master: int
    stdin: TextIO
    stderr: TextIO

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def shown_until(self, text: str) -> str:
        shown = ""
        while text not in shown:
            shown += os.read(self.master, 10_000).decode()
        return shown


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    master, slave = pty.openpty()
    with os.fdopen(os.dup(slave)) as stdin, os.fdopen(slave, "w") as stderr:
        yield Terminal(master, stdin, stderr)
    os.close(master)


@pytest.mark.parametrize("typed", ["y\n", "Y\n", " yes \n"])
def test_yes_goes_on(terminal: Terminal, typed: str) -> None:
    terminal.type(typed)
    confirm(QUESTION, Answer.ASK, stdin=terminal.stdin, console=open_console(terminal.stderr))
    shown = terminal.shown_until("[y/N]")
    for part in ("cluster chat, node db2", "promote db2?", "db1 becomes its replica \\x1b[31m"):
        assert part in shown


@pytest.mark.parametrize("typed", ["\n", "n\n", "yep\n", "\x04"])
def test_anything_else_is_no(terminal: Terminal, typed: str) -> None:
    terminal.type(typed)
    with pytest.raises(RefusedError, match="nothing was changed") as caught:
        confirm(QUESTION, Answer.ASK, stdin=terminal.stdin, console=open_console(terminal.stderr))
    assert (caught.value.code, caught.value.exit_code) == ("declined", 3)


@pytest.mark.parametrize("stdin", [None, io.StringIO("y\n")])
def test_without_a_terminal_it_is_refused(stdin: TextIO | None) -> None:
    with pytest.raises(RefusedError, match=r"would ask whether to promote db2 \(cluster chat\)") as caught:
        confirm(QUESTION, Answer.ASK, stdin=stdin, console=open_console(io.StringIO()))
    assert caught.value.code == "no-terminal"
    assert "--yes" in caught.value.hint


def test_a_prompt_that_nobody_sees_is_not_asked(terminal: Terminal) -> None:
    with pytest.raises(RefusedError, match="no terminal"):
        confirm(QUESTION, Answer.ASK, stdin=terminal.stdin, console=open_console(io.StringIO()))


def test_yes_on_the_command_line_asks_nobody() -> None:
    out = io.StringIO()
    confirm(QUESTION, Answer.YES, stdin=None, console=open_console(out))
    assert out.getvalue() == ""


def test_the_clusters_name_goes_on(terminal: Terminal) -> None:
    terminal.type("chat\n")
    confirm(BY_NAME, Answer.ASK, stdin=terminal.stdin, console=open_console(terminal.stderr))
    shown = " ".join(terminal.shown_until("name: ").split())
    assert shown.endswith("practise a failover to db2, and go back? Type the cluster's name:")


@pytest.mark.parametrize("typed", ["y\n", "yes\n", "\n", "chatter\n"])
def test_where_the_name_is_wanted_nothing_else_goes_on(terminal: Terminal, typed: str) -> None:
    terminal.type(typed)
    with pytest.raises(RefusedError, match="nothing was changed") as caught:
        confirm(BY_NAME, Answer.ASK, stdin=terminal.stdin, console=open_console(terminal.stderr))
    assert caught.value.code == "declined"
    assert "chat" in caught.value.hint


def test_a_name_too_is_asked_for_at_a_terminal_alone() -> None:
    with pytest.raises(RefusedError, match="there is no terminal"):
        confirm(BY_NAME, Answer.ASK, stdin=io.StringIO("chat\n"), console=open_console(io.StringIO()))
    confirm(BY_NAME, Answer.YES, stdin=None, console=open_console(io.StringIO()))
