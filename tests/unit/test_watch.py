"""The screen of ``status --watch``: what its keys do, and that it fits every terminal."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.cells import cell_len
from rich.console import Console

from replctl.cli.trends import Trends
from replctl.cli.watch import INTERVALS, Screen, View
from replctl.planning.report import status_report
from tests.unit.builders import ClusterBuilder, a_cluster, mib
from tests.unit.test_render_status import CLUSTERS, healthy

FIRST = View()


def pressed(keys: str, view: View = FIRST) -> View:
    for key in keys:
        view = view.press(key)
    return view


def drawn(cluster: ClusterBuilder, view: View = FIRST, *, columns: int = 80, lines: int = 24, looks: int = 30) -> str:
    trends = Trends()
    inventory, facts = cluster.build()
    report = status_report(inventory, facts)
    for second in range(looks):
        trends.add(facts, report, at=float(second), time_of_day="03:00:00")
    file = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    console = Console(file=file, width=columns, height=lines, color_system=None, legacy_windows=False)
    return "\n".join(line.rstrip() for line in Screen(console).lines(report, trends, view))


def test_every_line_is_written_over_what_stood_there() -> None:
    inventory, facts = healthy().build()
    report, trends = status_report(inventory, facts), Trends()
    console = Console(file=io.StringIO(), width=80, height=24, force_terminal=True, color_system=None)
    screen = Screen(console)
    with console.capture() as capture:
        screen.draw(report, trends, FIRST)
    home, *drawn = capture.get().split("\x1b[0K")
    assert home == "\x1b[H"
    assert [line.removesuffix("\n") for line in drawn] == screen.lines(report, trends, FIRST)
    assert len(drawn) == console.height
    assert not drawn[-1].endswith("\n"), "the terminal would scroll"


def test_findings_that_changed_are_drawn_anew() -> None:
    screen = Screen(Console(file=io.StringIO(), width=80, height=200, color_system=None))
    broken = status_report(*CLUSTERS["degraded"]().build())
    seen = [
        sum("fix:" in line for line in screen.lines(report, Trends(), FIRST))
        for report in (broken, replace(broken, findings=broken.findings[:1]), broken, replace(broken, findings=()))
    ]
    assert seen == [len(broken.findings), 1, len(broken.findings), 0]
    assert len(broken.findings) > 1


def test_the_keys() -> None:
    assert pressed("q").ended
    assert pressed(" ").paused
    assert not pressed("  ").paused
    assert pressed("n").narrow
    assert not pressed("nn").narrow
    assert pressed("+").interval == 0.5
    assert pressed("-").interval == 2.0
    assert pressed("+" * 20).interval == INTERVALS[0]
    assert pressed("-" * 20).interval == INTERVALS[-1]
    assert pressed("x\x1b[A\r") == View()


@pytest.mark.parametrize("lines", [8, 24, 60])
@pytest.mark.parametrize("columns", [40, 80, 160])
@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize("name", list(CLUSTERS))
def test_it_fills_the_terminal_and_no_more(name: str, narrow: bool, columns: int, lines: int) -> None:
    text = drawn(CLUSTERS[name](), View(narrow=narrow), columns=columns, lines=lines).split("\n")
    assert len(text) == lines
    assert all(cell_len(line) <= columns for line in text)
    assert text[0].startswith("cluster chat:")
    assert text[-1].startswith("every 1 s   q quit")


def test_what_does_not_fit_is_said() -> None:
    text = drawn(CLUSTERS["degraded"](), columns=80, lines=20)
    assert "more lines: a higher window, or `replctl status`" in text.split("\n")[-2]
    assert "more lines" not in drawn(healthy(), lines=40)


def test_the_newest_events_stand_first_and_as_many_as_fit() -> None:
    trends = Trends()
    trends.events.extend(("12:00:00", f"event {number}") for number in range(20))

    def shown(lines: int) -> list[str]:
        console = Console(file=io.StringIO(), width=80, height=lines, force_terminal=True, color_system=None)
        text = Screen(console).lines(status_report(*healthy().build()), trends, FIRST)
        return [line.split()[2] for line in text if "event" in line]

    assert shown(50) == [str(number) for number in reversed(range(20))]
    assert shown(24)[:3] == ["19", "18", "17"]
    assert len(shown(24)) < len(shown(28)) < 20


def test_a_figure_and_a_bar_for_every_look() -> None:
    cluster = a_cluster().primary("db1").replica("db2", lag=mib(2))
    (line,) = [line for line in drawn(cluster, looks=30).split("\n") if line.endswith("█" * 30)]
    assert line.split()[:4] == ["db2", "→", "2", "MiB"]


def test_narrow_takes_two_lines_a_node_where_one_would_fit() -> None:
    assert "\nROLE     UPSTREAM" in drawn(healthy(), View(narrow=True), columns=160)
    assert "NODE  ROLE     STATE" in drawn(healthy(), columns=160)


def test_the_last_line_says_how_it_stands() -> None:
    assert drawn(healthy(), View(paused=True)).split("\n")[-1].startswith("paused   q quit   space go on")
    assert drawn(healthy(), View(interval=0.2)).split("\n")[-1].startswith("every 0.2 s")
