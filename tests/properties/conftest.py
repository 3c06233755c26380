"""How many examples are tried, and what they came across."""

from __future__ import annotations

import json
import os

import pytest
from hypothesis import HealthCheck, Phase, settings

from tests.properties.schedules import Tally, missing

TALLY = pytest.StashKey[Tally]()

settings.register_profile(
    "quick", max_examples=30, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
settings.register_profile("ci", parent=settings.get_profile("quick"), max_examples=700)
settings.register_profile(
    "search",
    parent=settings.get_profile("ci"),
    derandomize=False,
    phases=(Phase.generate,),
    report_multiple_bugs=False,
    print_blob=True,
)
PROFILE = os.environ.get("REPLCTL_PROPERTIES", "quick")
settings.load_profile(PROFILE)


@pytest.fixture(scope="session")
def tally(pytestconfig: pytest.Config) -> Tally:
    """Counts schedules and actions over the whole run."""
    return pytestconfig.stash.setdefault(TALLY, Tally())


def pytest_sessionfinish(session: pytest.Session) -> None:
    found = session.config.stash.get(TALLY, Tally())
    output = getattr(session.config, "workeroutput", None)
    if output is not None:  # a worker of pytest-xdist
        output["tally"] = json.dumps(found.counts)
    elif PROFILE == "ci" and not session.config.option.keyword and not session.exitstatus and found.counts:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED if missing(found) else session.exitstatus


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: object) -> None:
    output, config = getattr(node, "workeroutput", {}), getattr(node, "config")  # noqa: B009
    config.stash.setdefault(TALLY, Tally()).counts.update(json.loads(output.get("tally", "{}")))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    found = config.stash.get(TALLY, Tally()).counts
    if not found:
        return
    terminalreporter.section("simulated schedules")
    for kind in sorted({key.split(":")[0] for key in found}):
        counts = {key.split(":")[1]: count for key, count in sorted(found.items()) if key.startswith(f"{kind}:")}
        text = ", ".join(f"{name} {count}" for name, count in counts.items())
        terminalreporter.line(f"{kind}: {text}")
    for line in missing(config.stash[TALLY]) if PROFILE == "ci" else ():
        terminalreporter.line(line, red=True)
