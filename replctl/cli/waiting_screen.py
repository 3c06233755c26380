"""One line on the terminal that names what is waited for, while a command looks, asks, plans and locks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.text import Text

from replctl.cli.text import escape, human_duration
from replctl.execution.session import Phase
from replctl.model.values import NodeName
from replctl.remote.ports import Clock

PATIENCE_SECONDS = 0.3
"""What takes less flickers by, and is not shown."""
REFRESH_SECONDS = 0.1
LONG_SECONDS = 3.0
"""From here on the line says how long it has been."""
NAMED = 3
"""Nodes; of more the rest are counted."""
FRAMES, PLAIN_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", "|/-\\"


class Waited:
    """What one phase waits for. Implements session.Awaited."""

    def __init__(self, phase: Phase, nodes: Iterable[NodeName]) -> None:
        self._phase = phase
        self._nodes = tuple(nodes)
        self._silent = list(self._nodes)
        self._said = ""
        self._turn = threading.Lock()

    def answered(self, name: NodeName) -> None:
        with self._turn:
            if name in self._silent:
                self._silent.remove(name)

    def says(self, text: str) -> None:
        with self._turn:
            self._said = text

    def words(self) -> str:
        """Empty while there is nothing to tell."""
        with self._turn:
            said, silent = self._said, tuple(self._silent)
        nodes = f"{len(self._nodes)} node{'' if len(self._nodes) == 1 else 's'}"
        match self._phase:
            case Phase.OBSERVE:
                return f"looking at {nodes}: {not_yet(silent, len(self._nodes))}"
            case Phase.LOCK:
                return f"locking {nodes}: {not_yet(silent, len(self._nodes))}"
            case Phase.INQUIRE:
                return f"asking the nodes: {said}" if said else ""
            case Phase.SECRETS:
                return f"waiting for {said}" if said else ""
            case Phase.PLAN:
                return "making the plan"


def not_yet(silent: Sequence[NodeName], all_of_them: int) -> str:
    """Who has not answered yet."""
    if not silent:
        return "all have answered" if all_of_them > 1 else "it has answered"
    if len(silent) == all_of_them > NAMED:
        return "none has answered yet"
    names = [str(name) for name in silent[:NAMED]]
    if len(silent) > NAMED:
        names.append(f"{len(silent) - NAMED} more")
    listed = " and ".join((", ".join(names[:-1]), names[-1])) if len(names) > 1 else names[0]
    return f"{listed} {'has' if len(silent) == 1 else 'have'} not answered yet"


class WaitingScreen:
    """Shows phases on a console. ``turn`` is the lock that everything else holds which prints there: Rich writes what
    it has composed outside of its own, and then lines get lost."""

    def __init__(self, console: Console, clock: Clock, turn: threading.RLock) -> None:
        self._console = console
        self._clock = clock
        self._turn = turn
        self._frames = FRAMES if console.encoding.lower().startswith("utf") else PLAIN_FRAMES

    @contextmanager
    def phase(self, phase: Phase, nodes: Iterable[NodeName] = ()) -> Generator[Waited]:
        """While it is open, longer than a moment, the line is there."""
        waited, over = Waited(phase, nodes), threading.Event()
        draw = self._say_once if phase is Phase.SECRETS else self._animate
        ticker = threading.Thread(target=self._after_a_moment, args=(draw, waited, over), daemon=True)
        ticker.start()
        try:
            yield waited
        finally:
            over.set()
            ticker.join()

    def _after_a_moment(
        self, draw: Callable[[Waited, threading.Event], None], waited: Waited, over: threading.Event
    ) -> None:
        if not over.wait(PATIENCE_SECONDS):
            draw(waited, over)

    def _say_once(self, waited: Waited, _: threading.Event) -> None:
        """A line that stays as it is: the program that is waited for may have the terminal, to ask for a passphrase."""
        if words := waited.words():
            with self._turn:
                self._console.print(Text(escape(words), style="dim"))

    def _animate(self, waited: Waited, over: threading.Event) -> None:
        from rich.live import Live  # noqa: PLC0415 - for a terminal alone, and for a wait that is longer than a moment

        began = self._clock.now() - PATIENCE_SECONDS
        live = Live(
            console=self._console, transient=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
        )
        with self._turn:
            live.start()
        while True:
            with self._turn:
                live.update(self._line(waited.words(), self._clock.now() - began), refresh=True)
            if over.wait(REFRESH_SECONDS):
                break
        with self._turn:
            live.stop()

    def _line(self, words: str, seconds: float) -> Text:
        frame = self._frames[int(seconds / REFRESH_SECONDS) % len(self._frames)]
        text = Text(no_wrap=True, overflow="ellipsis")
        if words:
            text.append(f"{frame} ", "green").append(escape(words))
            if seconds >= LONG_SECONDS:
                text.append(f" ({human_duration(seconds // 1 * 1000)})", "dim")
        return text
