"""What becomes of hosts, servers and runs on Debian: reboots, deaths, servers that somebody started by hand, and runs
that are killed."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.real.clusters import ok, rows, slots, status, wait_until
from tests.real.debian import DEBIAN, DebianLan
from tests.real.debian.standing import (
    EACH_SERVICE,
    NODES,
    SECONDS,
    StandingDebian,
    answers,
    assert_in_units,
    assert_members,
    await_members,
    done,
    findings,
    in_unit,
    roles,
    start_by_hand,
    stop_by_hand,
    streaming,
    write_inventory,
)
from tests.real.disasters import command, commit, end_server, entries, make_table, refusal
from tests.real.gallery import pictured
from tests.real.hosts import DEPLOY, Operator
from tests.real.ledger import Writer
from tests.real.test_config import apply, ids
from tests.real.watched import Watched

LATE_STOP = """\
[Service]
ExecStop=
ExecStop=/bin/sh -c 'sleep 3; exec /usr/bin/pg_ctlcluster --skip-systemctl-redirect -m fast %i stop'
"""


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandingDebian]:
    with DebianLan() as lan:
        standing = StandingDebian(lan, tmp_path_factory.mktemp("standing"))
        yield standing
        standing.close()


@pytest.fixture(scope="module", params=EACH_SERVICE)
def service(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def cluster(standing: StandingDebian, service: str) -> Operator:
    return standing.operate(service)


def test_a_new_clone_and_a_removed_node(cluster: Operator, service: str) -> None:
    """Both have the configuration outside of the data directory; whom replctl removed stays down with its host."""
    primary, other, node = roles(cluster)
    host = cluster.lan[node]
    stop_by_hand(host)
    assert {f"clone:{node}", f"aside:{node}"} <= set(ids(done(cluster, "rejoin", node, "--reclone")))
    assert_members(cluster, primary)
    assert_in_units(cluster, service)
    assert not host.path(f"{DEBIAN.data_dir}/postgresql.conf").exists()

    done(cluster, "remove-replica", node)
    host.reboot()
    host.systemctl("is-system-running", "--wait", check=False)
    assert not host.pids("postgres: ")
    assert rows(cluster)[node]["state"] == "absent"
    assert slots(cluster, primary) == {f"replctl_{other}"}
    done(cluster, "add-replica", node)
    host.reboot()
    await_members(cluster, primary)
    assert_in_units(cluster, service)


def test_the_primary_dies_and_its_host_boots(cluster: Operator, service: str) -> None:
    """Its unit starts it as the primary that it was, whoever had started it before."""
    primary, replica, _ = roles(cluster)
    host = cluster.lan[primary]
    make_table(cluster, primary)
    commit(cluster, primary, range(20))
    end_server(host)
    assert status(cluster)["health"] == "critical"
    host.reboot()
    await_members(cluster, primary)
    assert in_unit(host)
    assert entries(cluster, primary) == set(range(20))
    done(cluster, "promote", replica)
    assert_members(cluster, replica)
    assert_in_units(cluster, service)
    with cluster.connect(replica, "app") as connection:
        connection.execute("drop table entries")


def by_hand(operator: Operator, *names: str) -> None:
    for name in names:
        stop_by_hand(operator.lan[name])
        start_by_hand(operator.lan[name])
        assert not in_unit(operator.lan[name])


@pytest.mark.parametrize("service", ["systemd"], indirect=True)
def test_servers_that_somebody_started_by_hand(cluster: Operator, service: str) -> None:
    """They are promoted as they are; what is stopped by any command comes back as the inventory has it."""
    _, replica, other = roles(cluster)
    by_hand(cluster, *NODES)
    wait_until(lambda: streaming(cluster) == {replica, other}, SECONDS)
    assert findings(cluster, "outside-unit") == set(NODES)
    pictured(cluster, "outside-unit")
    with Writer(cluster, "by_hand") as writer:
        done(cluster, "promote", replica)
        writer.wait_for_rows(5)
        assert findings(cluster, "outside-unit") == {replica, other}
        done(cluster, "restart", replica)
        write_inventory(cluster, service, shared_buffers="24MB")
        assert f"start:{other}" in ids(apply(cluster, "--restart"))
        writer.wait_for_rows(5)
    assert writer.missing(cluster, replica) == []
    assert_in_units(cluster, service)
    write_inventory(cluster, "pg_ctl", shared_buffers="24MB")
    assert findings(cluster, "service-differs") == set(NODES)
    pictured(cluster, "service-differs")
    write_inventory(cluster, service, shared_buffers="24MB")
    by_hand(cluster, other)
    stop_by_hand(cluster.lan[other])
    done(cluster, "rejoin", other)
    assert_in_units(cluster, service)
    assert_members(cluster, replica)


def test_a_promotion_that_is_killed_and_a_host_that_boots_meanwhile(cluster: Operator, service: str) -> None:
    """The unit starts the old primary as what it is by then: the same command goes on from there."""
    primary, replica, _ = roles(cluster)
    with Writer(cluster, f"killed_{service}") as writer:
        run = Watched(cluster, "promote", replica, "--yes")
        run.until(primary, "stop", "done", seconds=60)
        run.kill()
        done(cluster, "promote", replica)
        writer.wait_for_rows(5)
        run = Watched(cluster, "promote", primary, "--yes")
        run.until(replica, "demote", "done", seconds=60)
        run.kill()
        cluster.lan[replica].reboot()
        wait_until(lambda: answers(cluster.lan[replica]), SECONDS)
        ok(cluster.replctl("promote", primary, "--yes"))
        writer.wait_for_rows(5)
    assert writer.missing(cluster, primary) == []
    assert_members(cluster, primary)
    assert_in_units(cluster, service)
    assert command(cluster, "promote", primary)["outcome"] == "unchanged"


def test_a_clone_that_is_killed(cluster: Operator, service: str) -> None:
    """With its files in /etc already, and with its directory in place."""
    primary, _, node = roles(cluster)
    done(cluster, "remove-replica", node)
    for moment in (("standby", "done"), ("install", "done")):
        run = Watched(cluster, "add-replica", node, "--yes")
        run.until(node, *moment, seconds=60)
        run.kill()
    done(cluster, "add-replica", node)
    assert_members(cluster, primary)
    assert_in_units(cluster, service)
    start_conf = cluster.lan[node].path(f"{DEBIAN.config_dir}/start.conf")
    assert start_conf.read_text().splitlines()[-1] == "auto"


@pytest.mark.parametrize("service", ["systemd"], indirect=True)
def test_no_server_is_stopped_that_sudo_would_not_let_start(cluster: Operator) -> None:
    """Found before anything is changed, and the hint's line is what it takes."""
    primary, replica, other = roles(cluster)
    host = cluster.lan[primary]
    sudoers = host.path(f"/etc/sudoers.d/{DEPLOY}")
    before = sudoers.read_text()
    sudoers.write_text(f"{DEPLOY} ALL=(postgres) NOPASSWD: ALL\n")
    pid = host.postmaster(DEBIAN.data_dir)
    for args in (("restart", primary), ("restart", "--rolling"), ("promote", replica)):
        refused = refusal(command(cluster, *args, code=3), "service")
        assert refused["node"] == primary
    assert host.postmaster(DEBIAN.data_dir) == pid
    assert_members(cluster, primary)
    done(cluster, "restart", other)
    line = re.search("`(.*)`", refused["hint"])
    sudoers.write_text(f"{DEPLOY} ALL=(postgres) NOPASSWD: ALL\n{DEPLOY} ALL=(root) {line[1]}\n")
    done(cluster, "restart", primary)
    sudoers.write_text(before)
    assert_members(cluster, primary)
    assert_in_units(cluster, "systemd")


def test_a_unit_that_is_still_stopping_does_not_stop_the_next_server(standing: StandingDebian) -> None:
    """Debian's unit runs its stop command after a server that somebody else has stopped, here rather late."""
    cluster = standing.operate("pg_ctlcluster")
    primary, replica, _ = roles(cluster)
    host = cluster.lan[replica]
    late = host.path("/etc/systemd/system/postgresql@.service.d/late.conf")
    late.parent.mkdir()
    stop_by_hand(host)
    late.write_text(LATE_STOP)
    host.systemctl("daemon-reload")
    host.systemctl("start", DEBIAN.unit)
    await_members(cluster, primary)
    done(cluster, "restart", replica)
    wait_until(lambda: host.unit_state() == "failed", SECONDS)
    assert_members(cluster, primary)
    late.unlink()
    host.systemctl("daemon-reload")
