"""The status table as text: golden at two widths, complete at every width, harmless whatever hosts say."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from replctl.cli.render_status import print_status, status_renderable, status_text
from replctl.cli.text import escape, human_bytes, human_duration, wrapped
from replctl.model.facts import Problem, ProblemKind
from replctl.model.host import Aside
from replctl.model.report import StatusReport
from replctl.planning.report import status_report
from tests.unit.builders import ClusterBuilder, a_cluster, a_slot, a_walsender, gib, kib, mib

GOLDEN = Path(__file__).parents[1] / "golden" / "status"


def healthy() -> ClusterBuilder:
    late = {"lag": mib(3), "unreplayed": mib(7), "walsender": {"replay_lag_ms": 1530.2, "sync_state": "quorum"}}
    return a_cluster().primary("db1").replica("db2").replica("db3", **late)


def degraded() -> ClusterBuilder:
    cluster = a_cluster().primary("db1").replica("db2").unreachable("db4")
    cluster.replica("db3", lag=mib(30), receiver=None, slot={"retained_bytes": mib(300), "safe_wal_bytes": gib(9.7)})
    cluster.replica("db5", paused="paused", unreplayed=mib(16), setting={"max_connections": "50"})
    cluster.stopped("db6", "shut down in recovery", standby=True).absent("db7").foreign("db8")
    cluster.walsenders("db1", a_walsender("pg_basebackup")).slots("db1", a_slot("old", active=False))
    aside = "/var/lib/postgresql/15/main.replctl-aside-20260101T101010Z"
    return cluster.host("db2", asides=(Aside(aside, gib(3.2)),)).env("db1", "db2", "db3")


def failed() -> ClusterBuilder:
    cluster = a_cluster().unreachable("db1").replica("db2", of="db1", receiver=None)
    return cluster.replica("db3", of="db1", receiver=None, lag=kib(100)).env("db1", "db2", "db3")


def split() -> ClusterBuilder:
    return a_cluster().primary("db1").primary("db2", timeline=9).replica("db3", of="db2", timeline=9)


CLUSTERS = {"healthy": healthy, "degraded": degraded, "failed": failed, "split": split}


def report_of(cluster: ClusterBuilder) -> StatusReport:
    return status_report(*cluster.build())


@pytest.mark.parametrize("width", [80, 160])
@pytest.mark.parametrize("name", list(CLUSTERS))
def test_golden(name: str, width: int) -> None:
    text = status_text(report_of(CLUSTERS[name]()), width=width)
    golden = GOLDEN / f"{name}-{width}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text)
    assert text == golden.read_text()


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 160, 200])
@pytest.mark.parametrize("name", list(CLUSTERS))
def test_nothing_is_cut_off(name: str, width: int) -> None:
    report = report_of(CLUSTERS[name]())
    text = status_text(report, width=width)
    # A command or a path is left to the terminal to break.
    assert all(cell_len(line) <= width or line.startswith(("`", "/")) for line in text.splitlines())
    assert "…" not in text
    words = set(text.split()) | {word.strip(",;") for word in text.split()}
    for row in report.nodes:
        assert {row.state.value, row.role.value} <= words


def test_long_names_turn_rows_into_blocks() -> None:
    long = "a" + "-very-long-name" * 2
    text = status_text(report_of(a_cluster().primary(long).replica(f"{long}-too")), width=80)
    assert f"{long}-too: replica, streaming\n" in text
    assert "unreceived 0 B" in text


def test_what_is_no_terminal_gets_one_line_a_node_and_plain_text() -> None:
    buffer = io.StringIO()
    print_status(report_of(degraded()), Console(file=buffer, width=80))
    lines = buffer.getvalue().splitlines()
    assert buffer.getvalue() == status_text(report_of(degraded()))
    assert lines[2].split() == [
        *("NODE", "ROLE", "STATE", "TL", "UPSTREAM", "UNRECEIVED", "UNREPLAYED", "AGE", "SYNC", "SLOT"),
        *("FREE", "ENV"),
        "PROMOTE?",
    ]
    assert buffer.getvalue().isascii()
    assert "\x1b" not in buffer.getvalue()


@pytest.mark.parametrize(("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colour_on_a_terminal_unless_the_operator_wants_none(environment: dict, coloured: bool) -> None:
    buffer = io.StringIO()
    console = Console(
        file=buffer, width=120, force_terminal=True, color_system="standard", _environ={"TERM": "xterm"} | environment
    )
    print_status(report_of(degraded()), console)
    assert ("\x1b[33m" in buffer.getvalue()) == coloured


def test_remote_text_neither_moves_the_cursor_nor_marks_up() -> None:
    evil = "[red]x[/red]\x1b[2J\r\n\x07\u202eevil"
    cluster = a_cluster().primary("db1").replica("db2", walsender={"sync_state": evil})
    cluster.walsenders("db1", a_walsender(evil)).unreachable("db3")
    cluster.change("db3", ssh=Problem(ProblemKind.TIMEOUT, evil, evil))
    text = status_text(report_of(cluster))
    assert "[red]x[/red]\\x1b[2J\\r\\n\\x07\\u202eevil" in text
    assert all(character.isprintable() for line in text.split("\n") for character in line)


def test_the_renderable_goes_into_a_live_display_of_any_width() -> None:
    console = Console(file=io.StringIO(), width=100)
    console.print(status_renderable(report_of(degraded()), width=100))
    assert console.file.getvalue()


# Words


@pytest.mark.parametrize(
    ("n", "text"),
    [
        *((0, "0 B"), (999, "999 B"), (1000, "1 KiB"), (1024, "1 KiB"), (1536, "1.5 KiB"), (mib(3), "3 MiB")),
        *((gib(1.44), "1.4 GiB"), (mib(1023), "1 GiB"), (gib(10), "10 GiB"), (2**63, "8 EiB"), (-2048, "-2 KiB")),
    ],
)
def test_human_bytes(n: int, text: str) -> None:
    assert human_bytes(n) == text


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        *((0.0, "0 ms"), (0.4, "0 ms"), (85.3, "85 ms"), (999.6, "1 s"), (1530, "1.5 s"), (59_960, "1m")),
        *((200_000, "3m 20s"), (7_500_000, "2h 5m"), (187_200_000, "2d 4h"), (86_400_000, "1d")),
    ],
)
def test_human_duration(ms: float, text: str) -> None:
    assert human_duration(ms) == text


@given(st.text())
def test_escaped_text_is_one_printable_line(text: str) -> None:
    shown = escape(text)
    assert shown.splitlines() in ([], [shown])
    assert not any(ord(character) < 32 or 0x7F <= ord(character) < 0xA0 for character in shown)
    shown.encode()


@given(st.text(alphabet="ab `", max_size=60), st.integers(5, 40))
def test_wrapping_loses_no_word(text: str, width: int) -> None:
    assert wrapped(text, width).split() == text.split()


def test_a_command_is_not_broken() -> None:
    text = "See the log, then run `replctl rejoin db3`."
    assert wrapped(text, 30) == "See the log, then run\n`replctl rejoin db3`."
    assert wrapped(text, 12).splitlines()[-2:] == ["then run", "`replctl rejoin db3`."]
