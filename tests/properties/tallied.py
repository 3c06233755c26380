"""What all workers of a run of the tests came across together: printed at its end; with the profile ci a run that came
across too little fails."""

from __future__ import annotations

import json
import os
from collections import Counter

import pytest

from tests.properties.schedules import Tally, missing

PROFILE = os.environ.get("REPLCTL_PROPERTIES", "quick")


class Tallied:
    """A plugin of the whole run: workers of pytest-xdist hand their counts to the process that started them."""

    def __init__(self) -> None:
        self.tally = Tally()

    @property
    def _missing(self) -> list[str]:
        return missing(self.tally) if PROFILE == "ci" and self.tally.counts else []

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        output = getattr(session.config, "workeroutput", None)
        if output is not None:
            output["tally"] = json.dumps(self.tally.counts)
        elif self._missing and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: object) -> None:
        output = getattr(node, "workeroutput", {})
        self.tally.counts.update(Counter(json.loads(output.get("tally", "{}"))))

    @pytest.hookimpl(tryfirst=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        counts = self.tally.counts
        if not counts:
            return
        terminalreporter.section("simulated schedules")
        for kind in sorted({key.split(":")[0] for key in counts}):
            found = {key.split(":")[1]: count for key, count in sorted(counts.items()) if key.startswith(f"{kind}:")}
            terminalreporter.line(f"{kind}: {', '.join(f'{name} {count}' for name, count in found.items())}")
        for line in self._missing:
            terminalreporter.line(line, red=True)
