"""The env file is followed; one that cannot be used changes nothing."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from replctl.router import DatabaseConfig
from replctl.router.env_watch import EnvWatch

FIRST, SECOND = "postgresql://app:s3cret@db1/chat", "postgresql://app:s3cret@db2/chat"


class Follower:
    def __init__(self, config: DatabaseConfig) -> None:
        self.config = config
        self.applied: list[str] = []

    def apply(self, config: DatabaseConfig) -> None:
        self.config = config
        self.applied.append(config.primary.host)


def publish(file: Path, url: str) -> None:
    """As replctl does it: another file takes its place."""
    new = file.with_suffix(".new")
    new.write_text(f"DB_PRIMARY_URL={url}\n")
    new.rename(file)


@pytest.fixture
def watched(tmp_path: Path) -> tuple[Path, Follower, EnvWatch]:
    file = tmp_path / "app.env"
    publish(file, FIRST)
    follower = Follower(DatabaseConfig.from_env_file(file))
    watch = EnvWatch(file, follower)
    watch.look()
    return file, follower, watch


def test_another_file_is_applied_once(watched: tuple[Path, Follower, EnvWatch]) -> None:
    file, follower, watch = watched
    publish(file, SECOND)
    for _ in range(3):
        watch.look()
    assert follower.applied == ["db1", "db2"]


@pytest.mark.parametrize("text", ["", "DB_PRIMARY_URL=\n", "DB_PRIMARY_URL=postgresql://app:s3cret@\n"])
def test_one_that_cannot_be_used_is_told_once_and_changes_nothing(
    watched: tuple[Path, Follower, EnvWatch], text: str, caplog: pytest.LogCaptureFixture
) -> None:
    file, follower, watch = watched
    file.write_text(text)
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            watch.look()
    assert follower.applied == ["db1"]
    assert len(caplog.records) == 1
    assert "s3cret" not in caplog.text
    publish(file, SECOND)
    watch.look()
    assert follower.applied == ["db1", "db2"]


def test_nor_does_one_that_is_gone(watched: tuple[Path, Follower, EnvWatch]) -> None:
    file, follower, watch = watched
    file.unlink()
    watch.look()
    assert follower.applied == ["db1"]
    publish(file, SECOND)
    watch.look()
    assert follower.applied == ["db1", "db2"]
