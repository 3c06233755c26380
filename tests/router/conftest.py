"""A running cluster for the router's tests."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.router.labs import Lab


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """db1 with the replicas db2 and db3: built once a worker, and brought back to that before each test."""
    with tempfile.TemporaryDirectory(prefix="replctl-router-") as folder:
        lab = Lab(Path(folder))
        try:
            lab.up()
            yield lab
        finally:
            lab.down()


@pytest.fixture(autouse=True)
def _restored(request: pytest.FixtureRequest) -> None:
    if "lab" in request.fixturenames:
        request.getfixturevalue("lab").restore()
