"""More of what goes wrong on a primary: other nodes and versions, configuration that PostgreSQL does not take, folders
that are gone."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.real.clusters import assert_cluster, ok, rows
from tests.real.hosts import QUICK, Operator, pg_bin
from tests.real.hosts.disk import remove_tree
from tests.real.standing import MAIN, control, execute, value

TEMPLATES = Path(__file__).parents[2] / "templates"
NONSENSE = {**QUICK, "work_mem": "plenty"}
SOCKETS = "/run/postgresql"
PARENT = MAIN.rpartition("/")[0]


def refused(operator: Operator, node: str, code: int = 3) -> list[dict[str, Any]]:
    run = operator.replctl("init-primary", node, "--yes", "-o", "json")
    assert run.code == code, run.out + run.err
    assert all(refusal["hint"] for refusal in run.document["refusals"])
    return run.document["refusals"]


@pytest.mark.fault("21a", "21b", "23")
def test_nodes_that_cannot_be_the_primary(cluster: Operator) -> None:
    """A running replica beside the primary, and without one; programs of another version."""
    before = {name: value(cluster, name, "select pg_postmaster_start_time()") for name in ("db1", "db2")}
    (other,) = refused(cluster, "db2")
    assert (other["code"], other["node"]) == ("other-primary", "db1")
    assert "replctl promote db2" in other["hint"]
    assert {name: value(cluster, name, "select pg_postmaster_start_time()") for name in before} == before

    control(cluster.lan["db1"], "stop", "-m", "fast")
    (replica,) = refused(cluster, "db2")
    assert (replica["code"], replica["node"]) == ("is-replica", "db2")
    assert value(cluster, "db2", "select pg_is_in_recovery()")

    for host in cluster.lan:
        if host.name != "db1":
            control(host, "stop", "-m", "fast")
        for path in host.path(PARENT).iterdir():
            remove_tree(path)
    cluster.env_file.unlink()
    cluster.write_inventory(version=16, extra={"postgres": {"bin_dir": pg_bin(15)}})
    (version,) = refused(cluster, "db1")
    assert (version["code"], version["node"]) == ("version", "db1")
    for word in ("15", "16", pg_bin(15)):
        assert word in version["message"]
    assert not list(cluster.lan["db1"].path("/var/lib/postgresql/16").glob("*"))


@pytest.mark.slow
@pytest.mark.fault("25a")
def test_a_setting_that_a_new_cluster_does_not_take(operator: Operator) -> None:
    operator.write_inventory(parameters=NONSENSE)
    run = operator.replctl("init-primary", "db1", "--yes")
    assert run.code == 5, run.err
    assert "work_mem" in run.err
    assert "hint:" in run.err
    assert not list(operator.lan["db1"].path(PARENT).glob("*"))
    assert not operator.env_file.exists()
    operator.write_inventory()
    ok(operator.replctl("init-primary", "db1", "--yes"))


@pytest.mark.fault("25b", "25c")
def test_configuration_that_a_running_primary_does_not_take(cluster: Operator) -> None:
    """The old files stand, and a reload by hand finds nothing wrong in them."""
    host = cluster.lan["db1"]
    files = [host.path(f"{MAIN}/{name}") for name in ("postgresql.conf", "pg_hba.conf")]
    before = [path.read_text() for path in files]
    cluster.write_inventory(parameters=NONSENSE)
    bad_setting = cluster.replctl("init-primary", "db1", "--yes")
    cluster.write_inventory(extra={"templates": str(broken_templates(cluster))})
    bad_rule = cluster.replctl("init-primary", "db1", "--yes")
    for run, word in ((bad_setting, "work_mem"), (bad_rule, "pg_hba.conf")):
        assert run.code == 5, run.err
        assert word in run.err
        assert "hint:" in run.err
    assert [path.read_text() for path in files] == before
    assert not list(host.path(MAIN).glob("*.replctl*"))
    execute(cluster, "db1", "select pg_reload_conf()")
    assert value(cluster, "db1", "select count(*) from pg_hba_file_rules where error is not null") == 0
    cluster.write_inventory()
    ok(cluster.replctl("init-primary", "db1", "--yes"))
    assert_cluster(cluster, "db1", ["db2", "db3"])


def broken_templates(operator: Operator) -> Path:
    templates = operator.folder / "templates"
    shutil.copytree(TEMPLATES, templates)
    with (templates / "pg_hba.conf.j2").open("a") as rules:
        rules.write("host all all nowhere-at-all/99 scram-sha-256\n")
    return templates


@pytest.mark.slow
@pytest.mark.fault("27")
def test_what_alter_system_overrides_is_told(cluster: Operator) -> None:
    cluster.write_inventory(parameters={**QUICK, "work_mem": "8MB"})
    ok(cluster.replctl("init-primary", "db1", "--yes"))
    execute(cluster, "db1", "alter system set work_mem = '5MB'", "select pg_reload_conf()")
    run = ok(cluster.replctl("init-primary", "db1", "--yes"))
    assert "ALTER SYSTEM on db1 overrides the inventory: work_mem;" in run.err + run.out
    assert value(cluster, "db1", "show work_mem") == "5MB"


@pytest.mark.fault("33a", "33b")
def test_folders_that_are_gone(cluster: Operator) -> None:
    """A log that somebody cleared away, and a /run that a reboot emptied."""
    host = cluster.lan["db1"]
    assert value(cluster, "db1", "show unix_socket_directories") == SOCKETS
    control(host, "stop", "-m", "fast")
    host.run(["rm", "-r", f"{MAIN}/log", SOCKETS], "root")
    (sockets,) = refused(cluster, "db1")
    assert (sockets["code"], sockets["node"]) == ("socket-directory", "db1")
    assert f"-m 2775 {SOCKETS}" in sockets["hint"]
    host.run(["install", "-d", "-o", "postgres", "-g", "postgres", "-m", "2775", SOCKETS], "root")
    ok(cluster.replctl("init-primary", "db1", "--yes"))
    assert rows(cluster)["db1"]["state"] == "read-write"
    assert_cluster(cluster, "db1", ["db2", "db3"])
