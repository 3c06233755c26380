"""Taking over a primary that somebody set up by hand: nothing of theirs is lost, and nothing is refused meanwhile."""

from __future__ import annotations

import pytest

from tests.real.clusters import assert_cluster, data_dir, ok, rows, slots, status
from tests.real.hosts import Host, Operator, pg_bin
from tests.real.ledger import Writer
from tests.real.standing import control, start, value

OWN_CONF = """
# the team's own
max_connections = 77
work_mem = 6MB
include 'team.conf'
"""
OWN_HBA = """\
# the team's own rules
local all postgres peer
host  all all 127.0.0.1/32 scram-sha-256
host  all all 10.66.0.0/16 reject
host  chatdb chat {network} scram-sha-256
"""


def by_hand(operator: Operator, host: Host, *, more: str = "") -> None:
    """A server as a team sets it up: its own files, roles and data; the admin has no password at all."""
    bin_dir, data = pg_bin(15), data_dir()
    host.run(["mkdir", "-p", data])
    host.run([f"{bin_dir}/initdb", "-D", data, "-E", "UTF8", "--locale=C.UTF-8", "-A", "peer", "-U", "postgres", "-k"])
    place = host.path(data)
    with (place / "postgresql.conf").open("a") as file:
        file.write(f"{OWN_CONF}unix_socket_directories = '/run/postgresql'\nfsync = off\n{more}")
    (place / "team.conf").write_text("maintenance_work_mem = 33MB\n")
    (place / "pg_hba.conf").write_text(OWN_HBA.format(network=operator.lan.network.cidr))
    host.run(["chown", "-R", "postgres:", data], user="root")
    host.run(["mkdir", "-p", f"{data}/log"])
    start(host)
    psql = [f"{bin_dir}/psql", "-X", "-q", "-h", "/run/postgresql", "-d", "postgres", "-v", "ON_ERROR_STOP=1"]
    secret = operator.passwords["app"].replace("'", "''")
    for statement in (f"create role chat login password '{secret}'", "create database chatdb owner chat"):
        host.run([*psql, "-c", statement])


@pytest.fixture
def made(operator: Operator) -> Operator:
    operator.write_inventory(parameters={})
    by_hand(operator, operator.lan["db1"], more="listen_addresses = '*'\n")
    return operator


@pytest.mark.fault("28")
def test_taken_over_under_a_writer_and_replicated(made: Operator) -> None:
    host, place = made.lan["db1"], made.lan["db1"].path(data_dir())
    before = {name: (place / name).read_text() for name in ("postgresql.conf", "pg_hba.conf", "team.conf")}
    refused = made.replctl("init-primary", "db1", "--yes", "-o", "json")
    assert refused.code == 3, refused.err
    assert {name: (place / name).read_text() for name in before} == before

    plan = ok(made.replctl("init-primary", "db1", "--adopt", "--dry-run")).out
    assert "include_if_exists 'replctl.conf'" in plan
    with Writer(made) as writer, Writer(made, "logins", anew=True) as logins:
        ok(made.replctl("init-primary", "db1", "--adopt", "--yes"))
        logins.wait_for_rows(5)
        text = (place / "postgresql.conf").read_text()
        assert text.startswith(before["postgresql.conf"].rstrip())
        hba = (place / "pg_hba.conf").read_text()
        assert all(line in hba.splitlines() for line in before["pg_hba.conf"].splitlines())
        assert hba.index("replicator") < hba.index("reject")
        assert (
            ok(made.replctl("init-primary", "db1", "--adopt", "--yes", "-o", "json")).document["outcome"] == "unchanged"
        )
        ok(made.replctl("add-replica", "db2", "db3", "--yes"))
        writer.wait_for_rows(5)
    assert (writer.errors, logins.errors) == ([], [])
    assert_cluster(made, "db1", ["db2", "db3"])
    assert value(made, "db2", "show max_connections") == "77"
    assert value(made, "db2", "show maintenance_work_mem") == "33MB"
    ok(made.replctl("promote", "db2", "--yes"))
    assert_cluster(made, "db2", ["db1", "db3"])
    assert ok(made.replctl("init-primary", "db2", "--yes", "-o", "json")).document["outcome"] == "unchanged"
    assert value(made, "db2", "show max_connections") == "77"
    assert value(made, "db1", "show work_mem") == "6MB"
    assert host.path(data_dir()).exists()


def test_replicas_that_stream_already_are_taken_over_too(made: Operator) -> None:
    """A team's own standby with a slot of its own: it gets ours, and theirs is left to them."""
    primary, standby = made.lan["db1"], made.lan["db2"]
    network = made.lan.network.cidr
    rules = primary.path(data_dir()) / "pg_hba.conf"
    rules.write_text(rules.read_text() + f"host replication standby {network} trust\n")
    for statement in ("create role standby login replication", "select pg_create_physical_replication_slot('own')"):
        primary.run([f"{pg_bin(15)}/psql", "-X", "-q", "-h", "/run/postgresql", "-d", "postgres", "-c", statement])
    control(primary, "reload")
    source = f"host={primary.address} user=standby"
    standby.run([f"{pg_bin(15)}/pg_basebackup", "-D", data_dir(), "-R", "-S", "own", "-c", "fast", "-d", source])
    start(standby)
    ok(made.replctl("init-primary", "db1", "--adopt", "--yes"))
    seen = rows(made)
    assert (seen["db2"]["state"], seen["db2"]["in_env"]) == ("streaming", True)
    assert value(made, "db2", "show primary_slot_name") == "replctl_db2"
    assert slots(made, "db1") == {"own", "replctl_db2"}
    assert "own" in {row["name"] for row in status(made)["unlisted"]}
    ok(made.replctl("promote", "db2", "--yes"))
    assert rows(made)["db1"]["state"] == "streaming"
