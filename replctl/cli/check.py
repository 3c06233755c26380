"""``check``: every check, one line each, with what mends it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from enum import IntEnum
from itertools import groupby
from pathlib import Path

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from replctl.cli.exits import run_command
from replctl.cli.options import Output, Tracing
from replctl.cli.reading import EXITS, Reading, read_cluster
from replctl.cli.render_status import UNBOUNDED
from replctl.cli.streams import open_console, print_json
from replctl.cli.text import escape, wrapped
from replctl.execution.session import Phase
from replctl.model.checkup import Check, CheckReport, CheckStatus
from replctl.model.errors import ExitCode, ReplctlError, UsageError
from replctl.model.report import Health
from replctl.observe_checkup import look_closer, observe_checkup
from replctl.planning.checks import ENV_FILE, check_report
from replctl.planning.report import status_report
from replctl.planning.situation import Situation
from replctl.remote.local_files import read_template_dir

_STYLES = {CheckStatus.OK: "green", CheckStatus.WARNING: "yellow", CheckStatus.FAILED: "bold red"}
_WORDS = {CheckStatus.OK: "OK", CheckStatus.WARNING: "WARNING", CheckStatus.FAILED: "FAILED"}


INDENT, DEEPER = 2, 4
"""Blanks before a check, and before what goes on below it."""


class Plugin(IntEnum):
    """Exit codes of the plugin convention (Monitoring Plugins, development guidelines)."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


def check(path: Path, output: Output, max_lag_s: float, tracing: Tracing) -> int:
    """``check``; its exit code is that of status."""

    def body(reading: Reading) -> ExitCode:
        report = observed(reading, max_lag_s)
        if output is Output.JSON:
            print_json(reading.telling.timed(check_document(report)))
        else:
            print_check(report, open_console(sys.stdout))
        return EXITS[report.health]

    return read_cluster(path, tracing, body, output=output)


def check_as_plugin(path: Path, output: Output, max_lag_s: float, tracing: Tracing) -> int:
    """``check --nagios``: one line, and a plugin's exit code."""
    codes = [Plugin.UNKNOWN]

    def body(reading: Reading) -> ExitCode:
        report = observed(reading, max_lag_s)
        codes.append(plugin_code(report))
        sys.stdout.write(plugin_line(report) + "\n")
        return EXITS[report.health]

    def told(error: ReplctlError) -> None:
        sys.stdout.write(f"REPLCTL UNKNOWN - {escape(error.message)}\n")

    if output is Output.JSON:
        return run_command(_exclusive)
    read_cluster(path, tracing, body, on_error=told)
    return codes[-1]


def _exclusive() -> ExitCode:
    raise UsageError("--nagios and -o json exclude each other", hint="Say one of them.")


def observed(reading: Reading, max_lag_s: float) -> CheckReport:
    """One observation, with everything that ``check`` asks beyond it. Raises InventoryError for the templates."""
    fleet, inventory = reading.fleet, reading.inventory
    templates = read_template_dir(inventory.templates)
    seen = reading.observed()
    with reading.told.phase(Phase.INQUIRE) as awaited:
        awaited.says("logins, settings, disks and logs")
        facts = look_closer(seen, fleet, inventory, reading.passwords)
        checkup = observe_checkup(facts, fleet, inventory, max_lag_ms=max_lag_s * 1000)
    facts, problem = reading.with_env(facts)
    return check_report(Situation(inventory, facts, templates), checkup, status_report(inventory, facts, problem))


def check_document(report: CheckReport) -> dict[str, object]:
    """The JSON form, as docs/contract.md has it."""
    return {
        "schema": 1,
        "cluster": report.cluster,
        "health": report.health.value,
        "checks": [
            {
                "name": one.name,
                "node": one.node,
                "status": one.status.value,
                "detail": one.detail,
                "cause": one.cause.value if one.cause else None,
                "fix": one.fix,
                "command": one.command,
            }
            for one in report.checks
        ],
    }


def print_check(report: CheckReport, console: Console) -> None:
    """Grouped by node, one line a check where that fits; a command comes last, in one piece to be copied, however wide
    the screen."""
    width = console.width if console.is_terminal else UNBOUNDED
    for heading, group in groupby(report.checks, key=lambda one: _heading(report, one)):
        console.print(Text(heading, style="bold"))
        for one in group:
            for line in _lines(one, width):
                console.print(line, soft_wrap=True)
        console.print()
    console.print(_summary(report))


def _heading(report: CheckReport, one: Check) -> str:
    if one.node is not None:
        return escape(one.node)
    return "application" if one.name == ENV_FILE else f"cluster {escape(report.cluster)}"


def _lines(one: Check, width: int) -> Iterator[Text]:
    """The terminal breaks what is left longer than it is wide, and copies it in one piece."""
    words = _words(one)
    shown: list[Text] = []
    for line in wrapped(words.plain, width - DEEPER).split("\n"):
        shown.append(Text(" " * (DEEPER if shown else INDENT)) + words[: len(line)])
        words = words[len(line) + 1 :]
    if one.command:
        command = Text(escape(one.command), "bold cyan")
        if len(shown[-1]) + 1 + cell_len(command.plain) <= width:
            shown[-1] = Text(" ").join((shown[-1], command))
        else:
            room = DEEPER + cell_len(command.plain) <= width
            shown.append(Text(" " * DEEPER * room) + command)
    yield from shown


def _words(one: Check) -> Text:
    """With single blanks, so that a line's end takes the place of one."""
    text = Text.assemble(f"{one.name}: ", (_WORDS[one.status], _STYLES[one.status]))
    if one.detail:
        detail = " ".join(escape(one.detail).split())
        text.append(f" ({detail})", "" if one.status is not CheckStatus.OK else "dim")
    if one.fix:
        text.append(". Fix:" if one.command else f". Fix: {' '.join(escape(one.fix).split())}")
    return text


def _count(report: CheckReport, status: CheckStatus) -> int:
    return sum(one.status is status for one in report.checks)


def _summary(report: CheckReport) -> Text:
    failed, warnings = _count(report, CheckStatus.FAILED), _count(report, CheckStatus.WARNING)
    text = Text.assemble(f"{len(report.checks)} checks: ")
    text.append(f"{failed} failed", "bold red" if failed else "")
    return text.append(f", {warnings} warning{'' if warnings == 1 else 's'}", "yellow" if warnings else "")


def plugin_code(report: CheckReport) -> Plugin:
    if report.health is Health.CRITICAL or _count(report, CheckStatus.FAILED):
        return Plugin.CRITICAL
    return Plugin.WARNING if _count(report, CheckStatus.WARNING) else Plugin.OK


def plugin_line(report: CheckReport) -> str:
    """``REPLCTL CRITICAL - db2 replay: ... | failed=1 warnings=0``; the one bar is the one before the figures."""
    bad = [one for one in report.checks if one.status is not CheckStatus.OK]
    told = "; ".join(f"{one.node or report.cluster} {one.name}: {one.detail}" for one in bad)
    text = escape(told or f"{len(report.checks)} checks of cluster {report.cluster}").replace("|", "/")
    failed, warnings = _count(report, CheckStatus.FAILED), _count(report, CheckStatus.WARNING)
    return f"REPLCTL {plugin_code(report).name} - {text} | failed={failed} warnings={warnings}"
