"""Every key of an inventory with texts that shells, programs and configuration files would take up.

The parser refuses such a text, or it reaches every host, program and file as the text that it is: no canary file ever
appears. Real servers that run with the accepted texts are in tests/real/test_hostile_names.py.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from replctl.envfile import managed_values, merge
from replctl.execution.lock import Holder, lock_nodes
from replctl.inventory import inventory_schema, parse_inventory
from replctl.model.errors import InventoryError, ReplctlError, SecretError, UnreachableError
from replctl.model.inventory import Inventory, Node
from replctl.model.secret import Passwords, Secret
from replctl.model.values import NodeName
from replctl.postgres import scripts
from replctl.postgres.conninfo import passfile_path, passfile_text
from replctl.postgres.hostprobe import host_probe_command, parse_host_probe
from replctl.postgres.paths import staging_dir, staging_marker
from replctl.postgres.render import render_config
from replctl.postgres.settings import socket_dir
from replctl.remote.local_files import read_template_dir, write_env_file
from replctl.remote.secrets import resolve_passwords
from replctl.remote.shell_runner import ShellRunner
from replctl.remote.ssh_config import SshConfig
from replctl.remote.waiting import NeverCancelled, SystemClock
from tests.contract.routes import OS_USER, Route, closing, runner_over, ssh_host
from tests.contract.sshd import Sshd
from tests.unit.config_inventories import shipped_templates

Where = tuple[str, ...]

TOUCH = "touch CANARY"
HOSTILE = [
    f"$({TOUCH})",
    f"`{TOUCH}`",
    f"; {TOUCH} ;",
    f"'; {TOUCH}; '",
    f'"; {TOUCH}; "',
    f"\n{TOUCH}\n",
    f"\r{TOUCH}\r",
    f"\0{TOUCH}",
    f"| {TOUCH}",
    f"&& {TOUCH} #",
    "${IFS}$HOME*?[a-z]~!!",
    "\\'\\\\",
    "%h %p %%",
    "{{ 7 * 7 }}{% raw %}",
    "[red]x[/red]\x1b[31m",
]
NOT_EVEN_ALONE = ("", "-", "--help", "-oProxyCommand=x")
SAFE_PARAMETERS = {"log_line_prefix": "%m ", "test.value": "x"}
"""Where hostile values go: a custom setting and one that the template writes itself."""

APP_HOST = {"host": "app1", "user": "deploy", "path": "/srv/chat.env"}

RECORDER = """#!/bin/sh
cat >/dev/null
printf '%s\\0' "$@"
"""


def leaves(schema: Any, root: Any, where: Where = ()) -> Iterator[Where]:
    """The places of single values: ``*`` is an item of a list or the value of any key, ``<key>`` that key itself."""
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    choices = schema.get("oneOf", schema.get("anyOf", []))
    for choice in choices:
        yield from leaves(choice, root, where)
    if schema.get("type") == "object":
        for name, inner in schema.get("properties", {}).items():
            yield from leaves(inner, root, (*where, name))
        for inner in (*schema.get("patternProperties", {}).values(), schema.get("additionalProperties")):
            if isinstance(inner, dict):
                yield (*where, "<key>")
                yield from leaves(inner, root, (*where, "*"))
    elif schema.get("type") == "array":
        yield from leaves(schema["items"], root, (*where, "*"))
    elif not choices:
        yield where


SCHEMA = inventory_schema()
LEAVES = tuple(dict.fromkeys(leaves(SCHEMA, SCHEMA)))


@dataclass(frozen=True)
class Scratch:
    """A folder that every user can write, for the canary and for what the inventory names."""

    folder: Path

    @property
    def canary(self) -> Path:
        return self.folder / "c"

    def text(self, hostile: str) -> str:
        return hostile.replace("CANARY", str(self.canary))

    def document(self) -> dict[str, Any]:
        return {
            "cluster": "chat",
            "ssh": {},
            "postgres": {"data_dir": f"{self.folder}/main", "os_user": OS_USER, "bin_dir": f"{self.folder}/bin"},
            "admin": {"user": "postgres", "password": "x"},
            "replication": {"user": "replicator", "password": "x"},
            "app": {"database": "chatdb", "user": "chat", "password": "x"},
            "nodes": {"db1": {"host": "127.0.0.1"}, "db2": {"host": "10.0.0.2"}},
        }

    def put(self, document: dict[str, Any], where: Where, value: object) -> None:
        """``value`` at a place of the schema."""
        block: Any = document
        if where[:3] == ("app", "publish", "*"):
            (block,) = block["app"].setdefault("publish", [dict(APP_HOST)])
            where = where[3:]
        *way, last = ("db1" if where[0] == "nodes" and key == "*" else key for key in where)
        for key in way:
            if not isinstance(block.get(key), dict):
                block[key] = {}
            block = block[key]
        if last == "<key>":
            block[value] = {"host": "10.0.0.3"} if where[0] == "nodes" and len(where) == 2 else "x"
        elif last == "*":
            raise AssertionError(where)
        else:
            block[last] = value

    def takes(self, where: Where, text: str) -> bool:
        try:
            self.inventory({where: text})
        except InventoryError:
            return False
        return True

    def inventory(self, changes: dict[Where, object]) -> Inventory:
        """Raises InventoryError."""
        document = self.document()
        for where, value in changes.items():
            if where[-1] != "*":
                self.put(document, where, value)
            elif where[-2] == "parameters":
                self.put(document, where[:-1], dict.fromkeys(SAFE_PARAMETERS, value))
            else:
                self.put(document, where[:-1], [value])
        return parse_inventory(json.dumps(document), self.folder / "inventory.yaml")


@pytest.fixture(scope="module")
def scratch() -> Iterator[Scratch]:
    folder = Path(tempfile.mkdtemp(prefix="rc", dir="/tmp"))
    folder.chmod(0o777)
    yield Scratch(folder)
    shutil.rmtree(folder)


@pytest.fixture(autouse=True)
def no_canary(scratch: Scratch) -> Iterator[None]:
    yield
    assert not scratch.canary.exists()


@pytest.fixture(scope="module")
def accepted(scratch: Scratch) -> dict[Where, list[str]]:
    """The hostile texts that the parser takes, as they are or else behind the beginning of a name or a path."""
    found: dict[Where, list[str]] = {}
    for where in LEAVES:
        for hostile in HOSTILE:
            for beginning in ("", "x", f"{scratch.folder}/x"):
                text = beginning + scratch.text(hostile)
                if scratch.takes(where, text):
                    found.setdefault(where, []).append(text)
                    break
    return found


@pytest.mark.parametrize("text", NOT_EVEN_ALONE)
@pytest.mark.parametrize("where", LEAVES, ids=".".join)
def test_nothing_looks_like_an_option_or_is_empty(scratch: Scratch, where: Where, text: str) -> None:
    """A setting's value and a password are no operands of any program, and may look as they like."""
    if where[-2:] in {("parameters", "*"), ("admin", "password"), ("replication", "password"), ("app", "password")}:
        scratch.inventory({where: text})
    else:
        with pytest.raises(InventoryError):
            scratch.inventory({where: text})


def test_every_key_is_tried() -> None:
    assert len(LEAVES) > 60
    assert {("nodes", "*", "postgres", "data_dir"), ("nodes", "<key>"), ("admin", "allow", "*")} <= set(LEAVES)


def test_hostile_text_is_taken_where_any_text_is_allowed_and_nowhere_else(accepted: dict[Where, list[str]]) -> None:
    """Paths, roles, the database, values of settings, passwords and commands. All else has a narrow form."""
    assert {where[-1] if where[-1] != "*" else where[-2] for where in accepted} == {
        "bin_dir",
        "command",
        "data_dir",
        "database",
        "env_file",
        "file",
        "identity_file",
        "known_hosts_file",
        "parameters",
        "password",
        "path",
        "reload",
        "templates",
        "user",
    }
    assert {where for where in accepted if where[-1] == "user"} == {
        (role, "user") for role in ("admin", "replication", "app")
    }
    refused_everywhere = ("\0", "\n", "\r", "\x1b")
    for texts in accepted.values():
        assert not any(any(char in text for char in refused_everywhere) for text in texts)
    for where, texts in accepted.items():
        if where[-1] in {"data_dir", "bin_dir"}:  # pg_ctl hands them to a shell between double quotes
            assert not any(char in text for char in '$`"\\' for text in texts)
            assert any("; touch" in text for text in texts)


@pytest.fixture(scope="module")
def inventories(scratch: Scratch, accepted: dict[Where, list[str]]) -> list[Inventory]:
    """Each accepted text in one of them at least: the first of every key together, then the second of every key."""
    made: list[Inventory] = []
    for number in range(max(map(len, accepted.values()))):
        texts = {
            where: texts[(number + place) % len(texts)]  # the three roles must differ
            for place, (where, texts) in enumerate(accepted.items())
            if where[-1] not in {"password", "command"}
        }
        made.append(scratch.inventory(texts))
    return made


@pytest.mark.parametrize("route", ["local", "ssh-sudo"], indirect=True)
def test_what_is_accepted_reaches_a_host_as_it_is(
    runner: ShellRunner, route: Route, scratch: Scratch, inventories: list[Inventory]
) -> None:
    """SSH and sudo carry what quoting has made: a few texts, with every kind of sign among them, are enough there."""
    half = len(inventories) // 2
    for number in range(0, len(inventories), 1 if route.name == "local" else 3):
        inventory = inventories[number]
        node = inventory.nodes[NodeName("db1" if number < half else "db2")]  # with its own paths, and with the common
        exercise(runner, scratch, inventory, node)
        assert not scratch.canary.exists(), node
    assert list(scratch.folder.rglob("*.replctl-*")) == []


def exercise(runner: ShellRunner, scratch: Scratch, inventory: Inventory, node: Node) -> None:
    """The life of a node's files, and every program that is called with its names."""
    data_dir, bin_dir = Path(node.postgres.data_dir), node.postgres.bin_dir or ""
    make_parents(scratch, data_dir)
    make_programs(scratch, Path(bin_dir))

    def run(command: tuple[str, ...], stdin: bytes = b"", status: int = 0) -> bytes:
        result = runner.run(command, stdin=stdin, timeout=30, check=False)
        assert (result.status, result.stderr) == (status, b""), command
        return result.stdout

    look(run(host_probe_command(node)).decode(), node, "absent")
    holder = Holder("alice; touch", "$(ops1)", "2026-07-01 10:00:00 UTC", "replctl 'promote' `db2`")
    with lock_nodes([Link(node.name, runner)], inventory, holder, clock=SystemClock(), cancellation=NeverCancelled()):
        pass
    marker = json.dumps({"run": data_dir.name}).encode()
    run(scripts.make_staging(staging_dir(node), staging_marker(node)), marker)
    run(scripts.clear_staging(staging_marker(node), marker.decode()), staging_dir(node).encode() + b"\n")
    run(scripts.make_staging(staging_dir(node), staging_marker(node)), marker)
    files = render_config(inventory, node, shipped_templates(), major=15, socket_dir=socket_dir(node, can_link=True))
    for file in files:
        path = f"{staging_dir(node)}/{file.name}"
        run(scripts.write_file(f"{path}.replctl-new"), file.text.encode())
        run(scripts.rename(f"{path}.replctl-new", path))
        assert run(scripts.read_file(path)).decode() == file.text
    run(scripts.make_standby(staging_dir(node), (), {"primary_slot_name": "x"}))
    run(scripts.clear_logs(staging_dir(node)))
    run(scripts.install_staging(staging_dir(node), staging_marker(node), node.postgres.data_dir))
    assert (data_dir / "standby.signal").exists()
    assert run(scripts.make_standby(node.postgres.data_dir, (), {"primary_slot_name": "x"})) == b"unchanged\n"
    look(run(host_probe_command(node)).decode(), node, "other")
    run(scripts.last_complaints(node.postgres.data_dir, f"{node.postgres.data_dir}/log/start.log"))
    passfile = passfile_text(inventory, node, Secret("p'a:s\\s $(touch)"))
    run(scripts.write_file(passfile_path(node)), passfile.reveal().encode())
    run(scripts.same_content(passfile_path(node)), passfile.reveal().encode())
    run(scripts.remove_file(passfile_path(node)))
    other = next(peer for peer in inventory.nodes.values() if peer is not node)
    backup = scripts.base_backup(inventory, node, other, bin_dir=bin_dir, directory=staging_dir(node), slot=node.slot)
    for command in (
        scripts.initdb(node, 17, bin_dir, staging_dir(node), inventory.admin.user),
        backup,
        scripts.check_settings(bin_dir, staging_dir(node), f"{staging_dir(node)}/postgresql.conf"),
        scripts.control_data(node.postgres.data_dir, bin_dir),
        scripts.promote(node.postgres.data_dir, bin_dir),
    ):
        program = command.index(next(word for word in command if word.startswith(f"{bin_dir}/")))
        assert run(command).split(b"\0")[:-1] == [word.encode() for word in command[program + 1 :]]
    shutil.rmtree(data_dir)
    shutil.rmtree(bin_dir)


@dataclass(frozen=True)
class Link:
    name: NodeName
    runner: ShellRunner


def look(answer: str, node: Node, state: str) -> None:
    facts = parse_host_probe(answer, node)
    assert (facts.directory.state, facts.bin_dir, facts.major) == (state, node.postgres.bin_dir, None)


def make_parents(scratch: Scratch, path: Path) -> None:
    """Folders of the OS user's down to where the path's own directory will stand."""
    missing = [parent for parent in path.parents if parent.is_relative_to(scratch.folder) and not parent.exists()]
    for parent in reversed(missing):
        parent.mkdir()
        os.chown(parent, pwd.getpwnam(OS_USER).pw_uid, -1)


def make_programs(scratch: Scratch, folder: Path) -> None:
    make_parents(scratch, folder / "program")
    for name in ("initdb", "pg_basebackup", "postgres", "pg_ctl", "pg_controldata"):
        (folder / name).write_text(RECORDER)
        (folder / name).chmod(0o755)


def test_what_is_accepted_does_no_harm_on_the_operators_machine(scratch: Scratch, inventories: list[Inventory]) -> None:
    """The SSH settings of a node, passwords, templates and the env file."""
    warnings: list[str] = []
    for inventory in inventories:
        for node in inventory.nodes.values():
            assert SshConfig(warnings.append, Path("/dev/null")).target(node).host == node.ssh_host
        with suppress(SecretError):
            resolve_passwords(inventory)
        with suppress(InventoryError):
            read_template_dir(inventory.templates)
        make_parents(scratch, inventory.app.env_file)
        passwords = Passwords(Secret("x"), Secret("x"), Secret("p w;$(x)'\"`"))
        values = managed_values(inventory, passwords, NodeName("db1"), (NodeName("db2"),))
        write_env_file(inventory.app.env_file, merge(None, values).reveal())
        shell = '. "$1" && printf %s "$DB_PRIMARY_URL"'
        url = subprocess.run(
            ("/bin/sh", "-c", shell, "sh", inventory.app.env_file), capture_output=True, text=True, check=True
        )
        assert (url.stdout, url.stderr) == (values["DB_PRIMARY_URL"].reveal(), "")


def test_a_command_is_words_and_no_shell_line(scratch: Scratch, accepted: dict[Where, list[str]]) -> None:
    """That a text is code by nature makes it a program with its arguments, and nothing more."""
    where = ("app", "password", "command")
    tried = 0
    for hostile in HOSTILE:
        with suppress(InventoryError):
            inventory = scratch.inventory({where: f"printf %s-%s-%s-%s-%s-%s word{scratch.text(hostile)}"})
            assert "word" in resolve_passwords(inventory).app.reveal()
            tried += 1
    assert tried > 8
    assert where in accepted


@pytest.mark.parametrize("key", ["identity_file", "known_hosts_file"])
def test_local_paths_of_ssh_are_paths(sshd: Sshd, scratch: Scratch, accepted: dict[Where, list[str]], key: str) -> None:
    for text in accepted["nodes", "*", "ssh", key]:
        path = scratch.folder / text
        with (
            closing(runner_over(ssh_host(sshd, OS_USER, **{key: path}))) as runner,
            pytest.raises(UnreachableError) as caught,
        ):
            runner.run(["true"], timeout=10)
        assert caught.value.code == {"identity_file": "authentication", "known_hosts_file": "host-key"}[key]


def test_the_hint_of_an_unknown_host_can_be_pasted(sshd: Sshd, scratch: Scratch) -> None:
    """It holds the path as one word, whatever is in it."""
    path = scratch.folder / scratch.text(f"known '$({TOUCH})' ; {TOUCH} #").replace("/", "_")
    with closing(runner_over(ssh_host(sshd, OS_USER, known_hosts_file=path))) as runner:
        with pytest.raises(ReplctlError) as caught:
            runner.run(["true"], timeout=10)
        command = caught.value.hint.rpartition(": `")[2].removesuffix("`")
        subprocess.run(command, shell=True, check=True, cwd=scratch.folder)
    with closing(runner_over(ssh_host(sshd, OS_USER, known_hosts_file=path))) as runner:
        assert runner.run(["echo", "in"], timeout=10).text == "in\n"
