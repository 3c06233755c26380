"""Somebody breaks the cluster in ten ways, and does what ``check`` says: it names the cause, and its commands mend."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from replctl.model.checkup import Cause
from tests.real.breakages import (
    Site,
    alter_system,
    block_port,
    bring_back_old_primary,
    by_hand,
    change_password,
    drop_slot,
    edit_configuration,
    full_disk,
    go_astray,
    lower_connections,
    overwrite_passfile,
    pause_replay,
    remove_hba_lines,
    remove_wal,
    restart_with_too_few_connections,
    stop_replica,
)
from tests.real.clusters import assert_cluster, build, ok
from tests.real.gallery import breakage_pictured
from tests.real.hosts import QUICK, Operator

ROUNDS = 3
PATIENCE = 60.0
"""Seconds in which a mended link has to stand again; a walreceiver tries every five, for up to ten seconds each."""
LINE = re.compile(r"  (?P<name>[a-z-]+): (?P<status>OK|WARNING|FAILED)(?: \((?P<detail>.*)\))?(?:\. Fix: (?P<fix>.+))?")
COMMAND = re.compile(r"(replctl|ssh|sudo) ")
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
DEGRADED = 10


@pytest.fixture
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    """db1 with the replicas db2 and db3: of PostgreSQL 15, or of the version that the test is given."""
    version: int = getattr(request, "param", 15)
    if version == 15:
        yield Site(request.getfixturevalue("cluster"))
        return
    operator: Operator = request.getfixturevalue("operator")
    operator.write_inventory(version=version)
    build(operator)
    yield Site(operator, version)


@pytest.mark.parametrize("site", [15, 18], indirect=True)
def test_a_wrong_password(site: Site) -> None:
    change_password(site)
    breakage_pictured(site.operator, "wrong-password")
    for name in ("db2", "db3"):
        told(site, name, "password", cause=Cause.AUTHENTICATION)
    told(site, "db1", "replicator")
    first, *others = mended(site)
    assert first == "replctl init-primary db1"
    # Whoever had not reconnected by then was left out of the env file.
    assert others in ([], ["replctl env --write"])


def test_a_wrong_passfile(site: Site) -> None:
    overwrite_passfile(site)
    breakage_pictured(site.operator, "wrong-passfile")
    told(site, "db2", "passfile", cause=Cause.AUTHENTICATION)
    assert mended(site) == ["replctl add-replica db2"]


def test_rules_that_are_gone(site: Site) -> None:
    remove_hba_lines(site)
    breakage_pictured(site.operator, "no-rules")
    for name in ("db2", "db3"):
        told(site, name, "pg_hba.conf", cause=Cause.AUTHENTICATION)
    told(site, "db1", "pg_hba.conf")
    assert mended(site) == ["replctl config apply db1"]


@pytest.mark.parametrize("site", [15, 18], indirect=True)
def test_a_dropped_slot(site: Site) -> None:
    drop_slot(site)
    breakage_pictured(site.operator, "dropped-slot")
    told(site, "db2", "slot")
    assert mended(site) == ["replctl add-replica db2"]


def test_paused_replay(site: Site) -> None:
    pause_replay(site)
    breakage_pictured(site.operator, "paused-replay")
    line = told(site, "db2", "paused", cause=Cause.PAUSED)
    assert "pg_wal_replay_resume()" in line["command"]
    # Not broken into lines: what is copied from a narrow screen has to run as well.
    terminal = site.operator.pty("check", columns=80)
    assert terminal.end() == DEGRADED
    assert line["command"] in ESCAPES.sub("", terminal.seen)
    assert mended(site) == [line["command"]]


def test_a_full_disk(site: Site) -> None:
    site.operator.write_inventory(parameters={**QUICK, "max_wal_size": "64MB"})
    ok(site.operator.replctl("config", "apply", "--yes"))
    with full_disk(site):
        breakage_pictured(site.operator, "full-disk")
        told(site, "db2", "receives no WAL", cause=Cause.DISK_FULL)
        line = told(site, "db2", "aside", name="disk")
        assert "rm -rf" in line["command"]
        assert mended(site) == [line["command"]]


def test_a_stopped_replica(site: Site) -> None:
    stop_replica(site)
    breakage_pictured(site.operator, "stopped-replica")
    told(site, "db2", "stopped")
    assert mended(site) == ["replctl add-replica db2"]


def test_a_blocked_port(site: Site) -> None:
    with block_port(site):
        breakage_pictured(site.operator, "blocked-port")
        line = told(site, "db2", f"{site.host('db1').address}:5432", cause=Cause.NETWORK)
        assert "iptables" in line["command"]
        assert mended(site) == [line["command"]]


@pytest.mark.parametrize("site", [15, 18], indirect=True)
def test_removed_wal(site: Site) -> None:
    remove_wal(site)
    breakage_pictured(site.operator, "removed-wal")
    told(site, "db2", "WAL", cause=Cause.WAL_REMOVED)
    assert mended(site) == ["replctl rejoin db2 --reclone"]


def test_a_replica_that_went_its_own_way(site: Site) -> None:
    go_astray(site)
    breakage_pictured(site.operator, "astray")
    told(site, "db2", "timeline", cause=Cause.DIVERGED)
    assert mended(site) == ["replctl rejoin db2 --discard-diverged"]


def test_an_old_primary_that_came_back(site: Site) -> None:
    """Its slots are nobody's any more as well; once it is back, it has none."""
    bring_back_old_primary(site)
    breakage_pictured(site.operator, "old-primary")
    told(site, "db1", "timeline 1", "that db2 never had", cause=Cause.DIVERGED)
    assert mended(site, "db2", "db1", "db3") == ["replctl rejoin db1 --discard-diverged"]


def test_an_edited_file(site: Site) -> None:
    edit_configuration(site)
    breakage_pictured(site.operator, "edited-file")
    told(site, "db2", "work_mem", "1GB", "/postgresql.conf:", name="settings")
    assert mended(site) == ["replctl config apply db2"]


@pytest.mark.parametrize(
    ("breakage", "setting", "now"),
    [(alter_system, "max_slot_wal_keep_size", "1GB"), (lower_connections, "max_connections", "20")],
)
def test_a_setting_that_wins_over_the_file(
    site: Site, breakage: Callable[[Site], None], setting: str, now: str
) -> None:
    breakage(site)
    breakage_pictured(site.operator, setting)
    line = told(site, "db2", setting, now, "/postgresql.auto.conf:", name="settings")
    assert f"alter system reset {setting}" in line["command"]
    assert mended(site) == [line["command"]]


def test_a_setting_with_which_a_standby_does_not_start(site: Site) -> None:
    restart_with_too_few_connections(site)
    breakage_pictured(site.operator, "too-low-to-start")
    line = told(site, "db2", "max_connections = 20", "would not start")
    assert mended(site) == [line["command"], "replctl add-replica db2"]


def told(site: Site, node: str, *words: str, name: str = "", cause: Cause | None = None) -> dict[str, Any]:
    """The first line about a node that is not well and has the words and the cause, and perhaps the check's name; a
    walreceiver that tries again and again has its moments in which it streams."""
    deadline = time.monotonic() + PATIENCE
    while True:
        run = site.operator.replctl("check", "-o", "json")
        bad = [line for line in run.document["checks"] if line["status"] != "ok"]
        for line in bad:
            fits = line["node"] == node and line["name"].startswith(name) and line["cause"] == cause
            if fits and all(word in line["detail"] for word in words):
                assert run.code == DEGRADED, run.out + run.err
                return line
        assert time.monotonic() < deadline, f"nothing of {node} has {words} and {cause} in {bad}"


def mended(site: Site, primary: str = "db1", *replicas: str) -> list[str]:
    """Run what ``check`` prints first, until it is content; the commands that this took."""
    operator, commands = site.operator, []
    for _ in range(ROUNDS):
        command = first_command(operator)
        commands.append(command)
        run = by_hand(operator, command)
        print(f"$ {command}\n{run.out}")
        if is_well(operator):
            break
    last = operator.replctl("check")
    assert last.code == 0, f"after {commands}:\n{last.out}{last.err}"
    assert_cluster(operator, primary, sorted(replicas or ("db2", "db3")))
    return commands


def first_command(operator: Operator) -> str:
    """The first command on the screen of somebody without a terminal, as they would copy it."""
    screen = operator.replctl("check").out
    found = [LINE.fullmatch(line) for line in screen.splitlines()]
    fixes = [line["fix"] for line in found if line and line["fix"] and COMMAND.match(line["fix"])]
    assert fixes, screen
    return fixes[0]


def is_well(operator: Operator) -> bool:
    """Whether ``check`` becomes content within the time that links need."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if operator.replctl("check").code == 0:
            return True
    return False
