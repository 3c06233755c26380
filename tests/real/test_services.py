"""Every command on whole Debian hosts, where postgresql-common or systemd starts the server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.clusters import assert_cluster, assert_env, ok, rows, status, wait_until
from tests.real.debian import DEBIAN, RPM, DebianLan
from tests.real.debian.standing import in_unit
from tests.real.disasters import commit, end_server, failover, make_table, rejoin
from tests.real.hosts import DEPLOY, Operator
from tests.real.ledger import Writer

SERVICES = ("pg_ctlcluster", "systemd")


@pytest.fixture(scope="module")
def debian() -> Iterator[DebianLan]:
    with DebianLan() as lan:
        yield lan


@pytest.fixture(scope="module")
def rpm() -> Iterator[DebianLan]:
    with DebianLan(layout=RPM) as lan:
        yield lan


def an_operator(lan: DebianLan, folder: Path, service: str, user: str) -> Operator:
    """The inventory names the service, and leaves the programs to be found on the host."""
    lan.wipe()
    operator = Operator.at(lan, folder)
    layout = lan.layout
    postgres = {"service": service, "data_dir": layout.data_dir, "bin_dir": layout.bin_dir}
    operator.write_inventory(version=layout.major, ssh_user=user, extra={"postgres": postgres})
    return operator


def replica_again(operator: Operator, name: str) -> bool:
    return rows(operator)[name]["state"] == "streaming"


@pytest.mark.parametrize(("service", "user"), [("systemd", DEPLOY), ("pg_ctlcluster", "postgres")])
def test_the_main_job(debian: DebianLan, service: str, user: str, tmp_path: Path) -> None:
    """Made, replicated, promoted under a writer, killed, failed over, brought back; and it comes back by itself."""
    operator = an_operator(debian, tmp_path, service, user)
    ok(operator.replctl("init-primary", "db1", "--yes"))
    ok(operator.replctl("add-replica", "db2", "db3", "--yes"))
    assert_cluster(operator, "db1", ["db2", "db3"])
    for host in debian:
        assert host.path(f"{DEBIAN.config_dir}/postgresql.conf").exists()
        assert not host.path(f"{DEBIAN.data_dir}/postgresql.conf").exists()
        assert "15  main    5432 online" in host.run(["pg_lsclusters"]).stdout.decode()
    if service == "systemd":
        assert all(in_unit(host) for host in debian)
        assert {host.unit_state() for host in debian} == {"active"}
    with Writer(operator) as writer:
        ok(operator.replctl("promote", "db2", "--yes"))
        writer.wait_for_rows(20)
    assert writer.missing(operator, "db2") == []
    assert_cluster(operator, "db2", ["db1", "db3"])
    for command in (("init-primary", "db2"), ("add-replica", "db1", "db3"), ("promote", "db2")):
        assert ok(operator.replctl(*command, "--yes", "-o", "json")).document["outcome"] == "unchanged"

    debian["db1"].reboot()
    wait_until(lambda: replica_again(operator, "db1"), 60)

    make_table(operator, "db2")
    commit(operator, "db2", range(5))
    end_server(debian["db2"])
    failover(operator, "db1", code=6)
    start_conf = debian["db2"].path(f"{DEBIAN.config_dir}/start.conf")
    assert start_conf.read_text().splitlines()[-1] == "manual"
    debian["db2"].reboot()
    assert rows(operator)["db2"]["state"] == "stopped"
    rejoin(operator, "db2", "--discard-diverged")
    assert start_conf.read_text().splitlines()[-1] == "auto"
    assert_cluster(operator, "db1", ["db2", "db3"])
    ok(operator.replctl("restart", "--rolling", "--yes"))
    assert status(operator)["health"] == "healthy"
    ok(operator.replctl("remove-replica", "db3", "--yes"))


def test_the_layout_of_the_rpms(rpm: DebianLan, tmp_path: Path) -> None:
    operator = an_operator(rpm, tmp_path, "systemd", DEPLOY)
    ok(operator.replctl("init-primary", "db1", "--yes"))
    ok(operator.replctl("add-replica", "db2", "db3", "--yes"))
    assert_cluster(operator, "db1", ["db2", "db3"])
    assert all(in_unit(host) for host in rpm)
    with Writer(operator) as writer:
        ok(operator.replctl("promote", "db2", "--yes"))
        writer.wait_for_rows(20)
    assert writer.missing(operator, "db2") == []
    rpm["db1"].reboot()
    wait_until(lambda: replica_again(operator, "db1"), 60)
    end_server(rpm["db2"])
    failover(operator, "db1", code=6)
    assert rpm["db2"].systemctl("is-enabled", RPM.unit, check=False) == "disabled"
    rejoin(operator, "db2", "--discard-diverged")
    assert rpm["db2"].systemctl("is-enabled", RPM.unit) == "enabled"
    assert_env(operator, "db1", ["db2", "db3"])
