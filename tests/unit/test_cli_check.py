"""check on the screen, as JSON and as a monitoring plugin."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from replctl.cli.check import Plugin, check_document, plugin_code, plugin_line, print_check
from replctl.model.checkup import Cause, Check, CheckReport, CheckStatus
from replctl.model.report import Health
from replctl.model.values import NodeName

DB2 = NodeName("db2")
COMMAND = "ssh postgres@10.0.0.2 'psql -c '\"'\"'SELECT pg_wal_replay_resume()'\"'\"''" + " -h /run/postgresql" * 5
OK = Check("ssh", DB2, CheckStatus.OK, "10.0.0.2 answers")
RISK = Check("slot", DB2, CheckStatus.WARNING, "keeps 9 GiB", "Bring it back.")
FAULT = Check("replay", DB2, CheckStatus.FAILED, "paused | stale", COMMAND, COMMAND, Cause.PAUSED)
ENV = Check("env-file", None, CheckStatus.OK, "lists all")
PRIMARY = Check("primary", None, CheckStatus.OK, "db1")


def report(*checks: Check, health: Health = Health.DEGRADED) -> CheckReport:
    return CheckReport("chat", health, checks)


def shown(report: CheckReport, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None, markup=False)
    print_check(report, console)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [40, 80, 160])
def test_a_command_stays_in_one_piece(width: int) -> None:
    lines = shown(report(PRIMARY, OK, FAULT), width).splitlines()
    assert COMMAND in lines
    assert lines[lines.index(COMMAND) - 1].endswith("Fix:")


@pytest.mark.parametrize("width", [40, 80, 160])
def test_words_are_not_broken_and_what_goes_on_stands_deeper(width: int) -> None:
    fix = "Bring it back by `replctl add-replica db2` soon."
    long = Check("slot", DB2, CheckStatus.FAILED, "it keeps  much " * 8, fix)
    heading, *lines = shown(report(long), width).split("\n\n", 1)[0].splitlines()
    assert heading == "db2"
    assert all(len(line) <= width for line in lines)
    assert all(line.startswith("    ") for line in lines[1:])
    assert "`replctl add-replica db2`" in "\n".join(lines)
    assert " ".join(line.strip() for line in lines) == (
        f"slot: FAILED ({'it keeps much ' * 7}it keeps much). Fix: {fix}"
    )


def test_a_short_command_stays_on_its_line() -> None:
    text = shown(report(Check("slot", DB2, CheckStatus.FAILED, "it is lost", "replctl x", "replctl x")), 80)
    assert "  slot: FAILED (it is lost). Fix: replctl x\n" in text


def test_what_is_no_terminal_gets_one_line_a_check() -> None:
    console = Console(file=io.StringIO(), width=40, markup=False)
    print_check(report(PRIMARY, OK, FAULT), console)
    assert f"  replay: FAILED (paused | stale). Fix: {COMMAND}\n" in console.file.getvalue()


def test_grouped_by_node_with_the_application_at_the_end() -> None:
    text = shown(report(PRIMARY, OK, RISK, FAULT, ENV), 240)
    headings = [line for line in text.splitlines() if line and not line.startswith(" ")]
    assert headings == ["cluster chat", "db2", "application", "5 checks: 1 failed, 1 warning"]


def test_a_sentence_where_no_command_would_do() -> None:
    assert "  slot: WARNING (keeps 9 GiB). Fix: Bring it back.\n" in shown(report(RISK), 80)


def test_what_a_server_says_cannot_move_the_cursor() -> None:
    text = shown(report(Check("slot", DB2, CheckStatus.OK, "a\x1b[2Jb")), 80)
    assert "\x1b[2J" not in text


def test_the_document() -> None:
    found = check_document(report(FAULT))
    assert found["checks"] == [
        {
            "name": "replay",
            "node": "db2",
            "status": "failed",
            "detail": "paused | stale",
            "cause": "paused",
            "fix": COMMAND,
            "command": COMMAND,
        }
    ]


@pytest.mark.parametrize(
    ("checks", "health", "code"),
    [
        ((OK,), Health.HEALTHY, Plugin.OK),
        ((OK, RISK), Health.DEGRADED, Plugin.WARNING),
        ((OK, RISK, FAULT), Health.DEGRADED, Plugin.CRITICAL),
        ((OK,), Health.CRITICAL, Plugin.CRITICAL),
    ],
)
def test_as_a_plugin(checks: tuple[Check, ...], health: Health, code: Plugin) -> None:
    found = report(*checks, health=health)
    assert plugin_code(found) is code
    line = plugin_line(found)
    assert line.startswith(f"REPLCTL {code.name} - ")
    assert line.count("|") == 1
    assert "\n" not in line
