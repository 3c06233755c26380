"""Names of nodes and roles at the shell's Tab: from the YAML alone, quickly, and without a word when it is broken."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from replctl.cli.completion import MAX_BYTES, complete_role, node_names
from replctl.model.actions import RoleKind

INVENTORY = """
cluster: chat
nodes:
  db1: {host: 10.0.0.1}
  db2: {host: 10.0.0.2}
  web-1: {host: 10.0.0.3}
  "bad name": {host: 10.0.0.4}
  7: {host: 10.0.0.5}
"""
HEAVY = ("rich.console", "pydantic", "psycopg", "paramiko", "jinja2", "replctl.inventory", "replctl.model.inventory")
SCRIPT = """
import contextlib, io, json, os, sys
from replctl.__main__ import main
sys.argv[0] = "replctl"
os.environ["_REPLCTL_COMPLETE"] = "complete_bash"
for words, inventory in json.loads(sys.argv[1]):
    os.environ |= {"COMP_WORDS": " ".join(("replctl", *words)), "COMP_CWORD": str(len(words))}
    os.environ.pop("REPLCTL_INVENTORY", None)
    if inventory:
        os.environ["REPLCTL_INVENTORY"] = inventory
    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.suppress(SystemExit):
        main()
    print(json.dumps(said.getvalue().split()))
print(json.dumps(sorted(sys.modules)))
"""
NODES = ["db1", "db2", "web-1"]
OFFERED = [
    (("promote", ""), None, NODES),
    (("promote", "w"), None, ["web-1"]),
    (("init-primary", "db"), None, ["db1", "db2"]),
    (("add-replica", "db2", ""), None, ["db1", "web-1"]),
    (("add-replica", "--from", ""), None, NODES),
    (("rejoin", ""), None, NODES),
    (("remove-replica", ""), None, NODES),
    (("restart", ""), None, NODES),
    (("config", "diff", "db1", "d"), None, ["db2"]),
    (("config", "apply", ""), None, NODES),
    (("rotate-password", ""), None, ["replication", "app", "admin"]),
    (("rotate-password", "ap"), None, ["app"]),
    (("promote", ""), "other.yaml", ["pg1", "pg2"]),
    (("promote", "-i", "other.yaml", ""), None, ["pg1", "pg2"]),
    (("promote", "-i", "inventory.yaml", ""), "other.yaml", NODES),
    (("promote", ""), "nowhere.yaml", []),
]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[list[str]], list[str], str]:
    """What bash is offered behind each of the words, the modules that were loaded in the end, and what was printed."""
    folder = tmp_path_factory.mktemp("completion")
    (folder / "inventory.yaml").write_text(INVENTORY)
    (folder / "other.yaml").write_text("nodes: {pg1: {}, pg2: {}}\n")
    asked = json.dumps([(words, inventory) for words, inventory, _ in OFFERED])
    command = [sys.executable, "-c", SCRIPT, asked]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=True)
    *offered, modules = map(json.loads, ended.stdout.splitlines())
    return offered, modules, ended.stderr


@pytest.mark.parametrize("case", range(len(OFFERED)), ids=lambda case: " ".join(OFFERED[case][0]))
def test_what_is_offered(answers: tuple[list[list[str]], list[str], str], case: int) -> None:
    assert answers[0][case] == OFFERED[case][2]


def test_nothing_heavy_is_loaded_and_nothing_else_is_said(answers: tuple[list[list[str]], list[str], str]) -> None:
    _, modules, said = answers
    assert said == ""
    assert [name for name in HEAVY if name in modules] == []


@pytest.mark.parametrize(
    "text", ["", "nodes", "nodes: [db1]", "[", "- a", "a: &a [*a]", "\0", "nodes: {? {a: b} : c}", "[" * 2_000]
)
def test_of_a_broken_inventory_nothing_is_offered(tmp_path: Path, text: str) -> None:
    path = tmp_path / "inventory.yaml"
    path.write_text(text)
    assert node_names(path) == []


def test_of_an_inventory_that_cannot_be_read_nothing_is_offered(tmp_path: Path) -> None:
    path = tmp_path / "inventory.yaml"
    assert node_names(path) == []
    assert node_names(tmp_path) == []
    path.write_bytes(b"nodes: {db1: \xff}")
    assert node_names(path) == []
    path.write_text("nodes: {db1: {}}\n" + "\n" * MAX_BYTES + "]")
    assert node_names(path) == ["db1"]


def test_roles_are_those_of_the_command() -> None:
    assert set(complete_role("")) == {kind.value for kind in RoleKind}
