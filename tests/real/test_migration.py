"""docs/migration.md on a Debian host under systemd: from one database in production to three nodes, with writers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.clusters import assert_cluster, ok, rows, wait_until
from tests.real.debian import DEBIAN, DebianHost, DebianLan
from tests.real.hosts import DEPLOY, Operator
from tests.real.ledger import Writer
from tests.real.standing import value
from tests.real.test_services import an_operator, in_unit

OWN_SETTINGS = "listen_addresses = '*'\nmax_connections = 66\nfsync = off\n"


@pytest.fixture(scope="module")
def debian() -> Iterator[DebianLan]:
    with DebianLan() as lan:
        yield lan


def in_production(operator: Operator, host: DebianHost) -> None:
    """As the package makes it, with a team's own settings, role, database and rule."""
    host.make_cluster()
    (host.path(DEBIAN.config_dir) / "conf.d/team.conf").write_text(OWN_SETTINGS)
    rules = host.path(DEBIAN.config_dir) / "pg_hba.conf"
    rules.write_text(rules.read_text() + f"host chatdb chat {operator.lan.network.cidr} scram-sha-256\n")
    host.systemctl("start", DEBIAN.unit)
    secret = operator.passwords["app"].replace("'", "''")
    for statement in (f"create role chat login password '{secret}'", "create database chatdb owner chat"):
        psql = ["psql", "-X", "-q", "-h", "/run/postgresql", "-d", "postgres", "-v", "ON_ERROR_STOP=1"]
        host.run([*psql, "-c", statement])


@pytest.mark.fault("32")
def test_from_one_database_to_three_nodes(debian: DebianLan, tmp_path: Path) -> None:
    operator = an_operator(debian, tmp_path, "systemd", DEPLOY)
    operator.write_inventory(
        ssh_user=DEPLOY, parameters={}, extra={"postgres": {"service": "systemd", "data_dir": DEBIAN.data_dir}}
    )
    host = debian["db1"]
    in_production(operator, host)
    before = (host.path(DEBIAN.config_dir) / "postgresql.conf").read_text()
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
    assert (host.path(DEBIAN.config_dir) / "postgresql.conf").read_text().startswith(before.rstrip())
    assert_cluster(operator, "db1", ["db2", "db3"])
    assert {value(operator, name, "show max_connections") for name in debian.names} == {"66"}
    assert all(in_unit(each) for each in debian)
    with Writer(operator, "later") as writer:
        ok(operator.replctl("promote", "db2", "--yes"))
        ok(operator.replctl("promote", "db1", "--yes"))
    assert writer.missing(operator, "db1") == []
    assert_cluster(operator, "db1", ["db2", "db3"])
    again = ok(operator.replctl("init-primary", "db1", "--adopt", "--yes", "-o", "json"))
    assert again.document["outcome"] == "unchanged"
    debian["db3"].reboot()
    wait_until(lambda: rows(operator)["db3"]["state"] == "streaming", 60)
