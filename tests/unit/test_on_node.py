"""Commands to copy: as the right user, over SSH as the inventory has it, quoted for two shells."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from replctl.model.host import Postmaster
from replctl.model.inventory import Connection, SshSettings
from replctl.planning.on_node import as_os_user, as_root, by_psql
from tests.unit.builders import a_cluster, a_host, a_node

ARGV = ("echo", "it's $HOME")


def node(**ssh):
    return a_node("db2", 2, ssh=SshSettings(**ssh))


@pytest.mark.parametrize(
    ("user", "before"),
    [
        ("postgres", []),
        ("root", ["runuser", "-u", "postgres", "--"]),
        ("deploy", ["sudo", "-n", "-u", "postgres"]),
        (None, ["sudo", "-n", "-u", "postgres"]),
    ],
)
def test_as_the_user_that_postgresql_runs_as(user: str | None, before: list[str]) -> None:
    command = shlex.split(as_os_user(node(user=user), ARGV))
    assert command[:-1] == ["ssh", f"{user}@10.0.0.2" if user else "10.0.0.2"]
    assert shlex.split(command[-1]) == [*before, *ARGV]


def test_as_root() -> None:
    assert shlex.split(shlex.split(as_root(node(user="root"), ARGV))[-1]) == list(ARGV)
    assert shlex.split(shlex.split(as_root(node(user="deploy"), ARGV))[-1]) == ["sudo", "-n", *ARGV]


def test_ssh_as_the_inventory_has_it() -> None:
    ssh = {"user": "postgres", "port": 2222, "identity_file": Path("/k/id"), "known_hosts_file": Path("/k/known")}
    command = shlex.split(as_os_user(node(**ssh), ARGV))
    assert command[1:-1] == ["-p", "2222", "-i", "/k/id", "-o", "UserKnownHostsFile=/k/known", "postgres@10.0.0.2"]


def test_on_this_machine_without_ssh() -> None:
    here = replace(a_node("db2", 2), connection=Connection.LOCAL)
    assert shlex.split(as_os_user(here, ARGV)) == ["sudo", "-n", "-u", "postgres", *ARGV]


def test_sql_by_the_socket_of_the_server() -> None:
    host = a_host(postmaster=Postmaster(812, 5433, "ready", "/run/postgresql"))
    inventory, _ = a_cluster().primary("db1").build()
    command = by_psql(node(user="postgres"), host, inventory.admin, "select 'a'", "select 2")
    argv = shlex.split(shlex.split(command)[-1])
    assert argv[0] == "/usr/lib/postgresql/15/bin/psql"
    assert argv[argv.index("-h") + 1] == "/run/postgresql"
    assert [argv[place + 1] for place, word in enumerate(argv) if word == "-c"] == ["select 'a'", "select 2"]
