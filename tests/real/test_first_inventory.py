"""A new user's way: an inventory by questions, then the cluster by the commands that it names."""

from __future__ import annotations

import shutil

from tests.real.clusters import ok, status
from tests.real.hosts import Operator

KEYS = "ssh:\n  identity_file: id_ed25519\n  known_hosts_file: known_hosts\n"
"""What stands in the OpenSSH configuration of anybody else."""


def test_from_no_inventory_to_three_nodes(operator: Operator) -> None:
    operator.inventory_file.unlink()
    shutil.rmtree(operator.folder / "secrets")
    hosts = [operator.lan[name].address for name in ("db1", "db2", "db3")]
    terminal = operator.pty("inventory", "init")
    for question, answer in (
        ("Name of the cluster", "chat"),
        ("Major version", "15"),
        ("Node 1", hosts[0]),
        ("Node 2", hosts[1]),
        ("Node 3", f"db3 {hosts[2]}"),
        ("Node 4", ""),
        ("SSH user", "postgres"),
        ("What starts PostgreSQL", ""),
        ("Data directory", ""),
        ("application's database", "chatdb"),
        ("application's user", "chat"),
        ("Env file", ""),
    ):
        terminal.read_until(question)
        terminal.type(f"{answer}\r")
    assert terminal.end() == 0, terminal.seen
    text = operator.inventory_file.read_text()
    operator.write_private("inventory.yaml", text.replace("ssh:\n", KEYS))
    ok(operator.replctl("inventory", "check"))
    ok(operator.replctl("init-primary", "db1", "--dry-run"))
    ok(operator.replctl("init-primary", "db1", "--yes"))
    ok(operator.replctl("add-replica", "--all", "--yes"))
    seen = status(operator)
    assert (seen["cluster"], seen["health"], seen["primary"]) == ("chat", "healthy", "db1"), seen["findings"]
    assert operator.read_env()["DB_READ_REPLICA_URLS"].count("@") == 2
