"""How many examples are tried, and what they came across."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, settings

from tests.properties.schedules import Tally
from tests.properties.tallied import PROFILE, Tallied

settings.register_profile(
    "quick", max_examples=30, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
settings.register_profile("ci", parent=settings.get_profile("quick"), max_examples=800)
settings.register_profile(
    "search",
    parent=settings.get_profile("ci"),
    derandomize=False,
    phases=(Phase.generate,),
    report_multiple_bugs=False,
    print_blob=True,
)
settings.load_profile(PROFILE)


@pytest.fixture(scope="session")
def tally(pytestconfig: pytest.Config) -> Tally:
    """Counts schedules and actions over the whole run."""
    plugin = pytestconfig.pluginmanager.get_plugin("tallied")
    assert isinstance(plugin, Tallied)
    return plugin.tally
