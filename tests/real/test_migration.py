"""docs/migration.md with writers: from one database in production to three nodes, on a Debian host under systemd, and
under pg_ctl alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.real.clusters import assert_cluster, ok, rows, wait_until
from tests.real.debian import DEBIAN, DebianLan
from tests.real.debian.standing import assert_in_units, start_by_hand
from tests.real.hosts import DEPLOY, Host, Operator, pg_bin
from tests.real.ledger import Writer
from tests.real.standing import MAIN, start, value
from tests.real.test_services import an_operator

OWN_SETTINGS = "listen_addresses = '*'\nmax_connections = 66\nfsync = off\n"


@pytest.fixture(scope="module")
def debian() -> Iterator[DebianLan]:
    with DebianLan() as lan:
        yield lan


def own_files(operator: Operator, host: Host, config_dir: str) -> None:
    """A team's own settings, and the rule that lets its application in."""
    folder = host.path(config_dir)
    (folder / "conf.d/team.conf").write_text(OWN_SETTINGS)
    with (folder / "pg_hba.conf").open("a") as rules:
        rules.write(f"host chatdb chat {operator.lan.network.cidr} scram-sha-256\n")


def own_database(operator: Operator, host: Host) -> None:
    secret = operator.passwords["app"].replace("'", "''")
    for statement in (f"create role chat login password '{secret}'", "create database chatdb owner chat"):
        psql = [f"{pg_bin(15)}/psql", "-X", "-q", "-h", "/run/postgresql", "-d", "postgres", "-v", "ON_ERROR_STOP=1"]
        host.run([*psql, "-c", statement])


def migrate(operator: Operator, config_dir: str) -> None:
    """The steps of the document, while one client writes on and on, and another logs in for each row."""
    conf = operator.lan["db1"].path(config_dir) / "postgresql.conf"
    before = conf.read_text()
    assert rows(operator)["db1"]["state"] == "ssh-only"
    with Writer(operator) as writer, Writer(operator, "logins", anew=True) as logins:
        adopted = ok(operator.replctl("init-primary", "db1", "--adopt", "--yes"))
        assert "no data checksums" in adopted.err
        logins.wait_for_rows(5)
        assert (writer.errors, logins.errors) == ([], [])
        ok(operator.replctl("restart", "db1", "--yes"))  # announced: without checksums wal_log_hints needs it
        writer.wait_for_rows(5)
        logins.wait_for_rows(5)
        told = len(writer.errors), len(logins.errors)
        ok(operator.replctl("add-replica", "db2", "db3", "--yes"))
        logins.wait_for_rows(5)
        assert (len(writer.errors), len(logins.errors)) == told
    assert conf.read_text().startswith(before.rstrip())
    assert_cluster(operator, "db1", ["db2", "db3"])
    assert {value(operator, name, "show max_connections") for name in operator.lan.names} == {"66"}
    with Writer(operator, "later") as writer:
        ok(operator.replctl("promote", "db2", "--yes"))
        ok(operator.replctl("promote", "db1", "--yes"))
    assert writer.missing(operator, "db1") == []
    assert_cluster(operator, "db1", ["db2", "db3"])
    again = ok(operator.replctl("init-primary", "db1", "--adopt", "--yes", "-o", "json"))
    assert again.document["outcome"] == "unchanged"


@pytest.mark.fault("32")
def test_from_one_database_to_three_nodes(debian: DebianLan, tmp_path: Path) -> None:
    operator = an_operator(debian, tmp_path, "systemd", DEPLOY)
    operator.write_inventory(
        ssh_user=DEPLOY, parameters={}, extra={"postgres": {"service": "systemd", "data_dir": DEBIAN.data_dir}}
    )
    host = debian["db1"]
    host.make_cluster()
    own_files(operator, host, DEBIAN.config_dir)
    host.systemctl("start", DEBIAN.unit)
    own_database(operator, host)
    migrate(operator, DEBIAN.config_dir)
    assert_in_units(operator, "systemd")
    debian["db3"].reboot()
    wait_until(lambda: rows(operator)["db3"]["state"] == "streaming", 60)


def by_initdb(host: Host) -> str:
    """Everything in the data directory."""
    host.run(["mkdir", "-p", MAIN])
    host.run([f"{pg_bin(15)}/initdb", "-D", MAIN, "-E", "UTF8", "--locale=C.UTF-8", "-A", "peer", "-U", "postgres"])
    host.run(["mkdir", f"{MAIN}/log", f"{MAIN}/conf.d"])
    with host.path(f"{MAIN}/postgresql.conf").open("a") as conf:
        conf.write("unix_socket_directories = '/run/postgresql'\ninclude_dir 'conf.d'\n")
    return MAIN


def by_pg_createcluster(host: Host) -> str:
    """Debian's layout, and nothing of Debian's to start it."""
    host.run(["pg_createcluster", "--encoding=UTF8", "--locale=C.UTF-8", "15", "main"], "root")
    return DEBIAN.config_dir


@pytest.mark.parametrize(
    ("make", "begin"),
    [(by_initdb, start), pytest.param(by_pg_createcluster, start_by_hand, marks=pytest.mark.slow)],
)
def test_the_same_under_pg_ctl(operator: Operator, make: Callable[[Host], str], begin: Callable[[Host], None]) -> None:
    """After a boot nothing starts a server but the operator."""
    operator.write_inventory(ssh_user=DEPLOY, parameters={})
    host = operator.lan["db1"]
    config_dir = make(host)
    own_files(operator, host, config_dir)
    begin(host)
    own_database(operator, host)
    migrate(operator, config_dir)
    operator.lan["db3"].power_cut()
    operator.lan["db3"].power_on()
    assert rows(operator)["db3"]["state"] == "stopped"
    ok(operator.replctl("add-replica", "db3", "--yes"))
    assert_cluster(operator, "db1", ["db2", "db3"])
