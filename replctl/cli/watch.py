"""``status --watch``: the status as a live screen, and the keys that steer it."""

from __future__ import annotations

import os
import select
import sys
import termios
import tty
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime

from rich.console import Console, RenderableType
from rich.control import Control
from rich.segment import ControlType
from rich.text import Text

from replctl.cli.render_status import Layout, findings_renderable, status_renderable
from replctl.cli.text import escape, human_bytes
from replctl.cli.trends import BARS, PLAIN_BARS, Trends, direction, sparkline
from replctl.model.facts import ClusterFacts
from replctl.model.report import Finding, StatusReport
from replctl.remote.ports import Clock

INTERVALS = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
"""Seconds between two looks, for + and -."""
NARROW = (Layout.FOLDED, Layout.BLOCKS)
PAUSE_SECONDS = 3600.0
"""Between two looks at the keyboard while nothing else goes on."""
FIGURE_WIDTH = len("1020 KiB/s")
EVENTS_SHOWN = 6
"""The newest; as many more as the screen has room for."""
HOME, ERASE_LINE = str(Control.home()), str(Control((ControlType.ERASE_IN_LINE, 0)))


@dataclass(frozen=True, slots=True)
class View:
    """What the keys have made of the screen."""

    interval: float = 1.0
    paused: bool = False
    narrow: bool = False
    ended: bool = False

    def press(self, key: str) -> View:
        """The view after a key; one that means nothing changes nothing."""
        place = INTERVALS.index(self.interval)
        match key:
            case "q" | "Q":
                return replace(self, ended=True)
            case " ":
                return replace(self, paused=not self.paused)
            case "n" | "N":
                return replace(self, narrow=not self.narrow)
            case "+":
                return replace(self, interval=INTERVALS[max(0, place - 1)])
            case "-":
                return replace(self, interval=INTERVALS[min(len(INTERVALS) - 1, place + 1)])
            case _:
                return self


class Keyboard:
    """Single keys of the terminal on stdin, while its context is open; where stdin is no terminal there are none."""

    @contextmanager
    def open(self) -> Generator[Keyboard]:
        if not sys.stdin.isatty():
            yield self
            return
        before = termios.tcgetattr(sys.stdin)
        try:
            tty.setcbreak(sys.stdin)
            yield self
        finally:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)

    def wait(self, seconds: float) -> str:
        """The keys that are pressed within so many seconds; as soon as there are some."""
        sources = [sys.stdin] if sys.stdin.isatty() else []
        ready, _, _ = select.select(sources, [], [], max(0.0, seconds))
        return os.read(sys.stdin.fileno(), 64).decode(errors="replace") if ready else ""


Look = Callable[[float], tuple[ClusterFacts, StatusReport]]
"""One look, and the seconds that it may wait for slow nodes."""


def watch(look: Look, console: Console, clock: Clock) -> StatusReport:
    """Draw until the operator ends it; the report that was drawn last. Raises InterruptedByOperator."""
    with Keyboard().open() as keys, console.screen():
        console.print("looking at every node")
        return _Watch(look, clock, keys, Screen(console)).run()


@dataclass(slots=True)
class _Watch:
    look: Look
    clock: Clock
    keys: Keyboard
    screen: Screen
    view: View = View()
    trends: Trends = field(default_factory=Trends)

    def run(self) -> StatusReport:
        while True:
            began = self.clock.now()
            facts, report = self.look(self.view.interval / 2)
            now = datetime.now().astimezone()
            self.trends.add(facts, report, at=began, time_of_day=f"{now:%H:%M:%S}")
            self._show(report, began)
            if self.view.ended:
                return report

    def _show(self, report: StatusReport, began: float) -> None:
        """Until the next look is due. Keys are obeyed at once; while it is paused no look is due."""
        while not self.view.ended:
            self.screen.draw(report, self.trends, self.view)
            left = PAUSE_SECONDS if self.view.paused else began + self.view.interval - self.clock.now()
            pressed = self.keys.wait(left)
            for key in pressed:
                self.view = self.view.press(key)
            if not pressed and not self.view.paused:
                return


@dataclass(slots=True)
class Screen:
    """Lines of the terminal with its colours, written as they are: Rich's live display lays out every cell of the
    screen again, whatever changed."""

    console: Console
    _findings: tuple[Finding, ...] = ()
    """Those of the last look. They are dear to lay out, and seldom new."""
    _findings_width: int = 0
    _findings_lines: Sequence[str] = ()

    def draw(self, report: StatusReport, trends: Trends, view: View) -> None:
        """Every line over what stands there: a resized window, or what somebody wrote into it, lasts for one look."""
        # Erased before it is written: after a line as wide as the terminal the cursor still stands on its last column.
        frame = "\n".join(f"{ERASE_LINE}{line}" for line in self.lines(report, trends, view))
        self.console.out(HOME + frame, end="", highlight=False)

    def lines(self, report: StatusReport, trends: Trends, view: View) -> list[str]:
        """The whole screen, cut to the terminal's height from below: what is worst stands on top."""
        width, room = self.console.width, self.console.height - 1
        layouts = NARROW if view.narrow else tuple(Layout)
        status = status_renderable(replace(report, findings=()), width=width, layouts=layouts)
        lines = [
            *self._drawn(status, Text(), *_sparklines(trends, self.console)),
            *self._drawn_findings(report.findings, width),
        ]
        lines += self._drawn(*_events(trends, max(EVENTS_SHOWN, room - len(lines) - 1)))
        if len(lines) > room:
            hidden = len(lines) - room + 1
            note = f"{hidden} more lines: a higher window, or `replctl status`"
            lines = [*lines[: room - 1], *self._drawn(Text(note[:width], style="dim"))]
        return [*lines, *[""] * (room - len(lines)), *self._drawn(_keys(view, width))]

    def _drawn_findings(self, findings: tuple[Finding, ...], width: int) -> Sequence[str]:
        if (findings, width) != (self._findings, self._findings_width):
            self._findings, self._findings_width = findings, width
            shown = (Text(), findings_renderable(findings, width)) if findings else ()
            self._findings_lines = self._drawn(*shown)
        return self._findings_lines

    def _drawn(self, *parts: RenderableType) -> list[str]:
        with self.console.capture() as capture:
            for part in parts:
                self.console.print(part)
        return capture.get().split("\n")[:-1]


def _sparklines(trends: Trends, console: Console) -> Iterator[Text]:
    plain = not console.encoding.lower().startswith("utf")
    series: dict[str, Sequence[int | None]] = {name: tuple(lag) for name, lag in trends.lag.items()}
    series["WAL"] = tuple(trends.wal)
    yield Text("unreplayed by each replica, and WAL written by the primary; one bar a look", style="dim")
    for name, values in series.items():
        last = next((value for value in reversed(values) if value is not None), None)
        figure = "?" if last is None else human_bytes(last) + ("/s" if name == "WAL" else "")
        arrow = direction(values)[1 if plain else 0]
        head = f"{escape(name).ljust(max(map(len, series)))}  {arrow} {figure.rjust(FIGURE_WIDTH)}  "
        bars = sparkline(values, max(8, console.width - len(head)), PLAIN_BARS if plain else BARS)
        yield Text(head + bars)


def _events(trends: Trends, shown: int) -> Iterator[Text]:
    if trends.events:
        yield Text()
    for time_of_day, event in list(trends.events)[-shown:][::-1]:
        yield Text(f"{time_of_day}  {escape(event)}", style="dim")


def _keys(view: View, width: int) -> Text:
    pace = "paused" if view.paused else f"every {view.interval:g} s"
    shape = "as wide as it fits" if view.narrow else "narrow"
    text = f"{pace}   q quit   space {'go on' if view.paused else 'pause'}   + - interval   n {shape}"
    return Text(text[:width], style="reverse")
