"""What a command imports before it does anything, which is most of the time that the quick ones take. Told by modules,
not by the clock: bench/start_up.py has the times."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from replctl.model.errors import ExitCode

PYDANTIC = ("pydantic",)
"""Takes longer than Typer itself, which imports it to turn the values of parameters into their types."""
JINJA = ("jinja2",)
"""Nearly as long as Typer; for the commands that render templates."""
NETWORK = ("paramiko", "psycopg")
"""Twice as long as Typer, each of the two."""
OPTIONAL = ("invoke.collection",)
"""As long as all the rest of Paramiko, which imports it for what it never does here."""
MOVING = ("rich.live", "rich.progress")
"""For what moves on a terminal."""
HELP = ("rich.markdown", "rich.traceback", "pygments")
"""What Typer shows its help with if it may; longer than Typer."""
SCREENS = ("rich.console", "rich.table", *MOVING, *HELP)
"""Half as long as Typer without HELP; for tables, and for errors."""
PLANS = ("replctl.model.actions", "replctl.model.facts")
"""Many dataclasses, each of which is compiled when it is imported."""
QUICK = (*PYDANTIC, *JINJA, *NETWORK, *SCREENS, *PLANS)

INVENTORY = """\
cluster: chat
ssh: {port: 1, connect_timeout: 1}
postgres: {data_dir: /var/lib/postgresql/15/main}
admin: {password: {file: admin}}
replication: {password: {file: admin}}
app: {database: chatdb, user: chat, password: {file: admin}}
nodes: {db1: {host: 127.0.0.1}, db2: {host: 127.0.0.2}}
"""
SCRIPT = """
import json, sys
from replctl.__main__ import main
sys.argv[0] = "replctl"
code = main()
print(json.dumps([code, sorted(sys.modules)]), file=sys.stderr)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With an inventory whose nodes have no sshd."""
    (tmp_path / "inventory.yaml").write_text(INVENTORY)
    (tmp_path / "admin").write_text("secret\n")
    for path in tmp_path.iterdir():
        path.chmod(0o600)
    return tmp_path


def imported(folder: Path, words: str) -> tuple[int, set[str]]:
    """The exit code of a command, run in ``folder`` without a terminal, and the modules that it has imported."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("REPLCTL_")}
    argv = [sys.executable, "-c", SCRIPT, *words.split()]
    ended = subprocess.run(argv, cwd=folder, env=environ, capture_output=True, text=True, timeout=120, check=True)
    code, modules = json.loads(ended.stderr.splitlines()[-1])
    return code, set(modules)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("--version", ExitCode.DONE),
        ("--help", ExitCode.DONE),
        ("promote --help", ExitCode.DONE),
        ("inventory", ExitCode.USAGE),
    ],
)
def test_what_asks_for_the_command_line_alone_reads_no_inventory(folder: Path, words: str, code: ExitCode) -> None:
    ended, modules = imported(folder, words)
    assert ended == code
    assert modules.isdisjoint((*QUICK, "yaml", "replctl.inventory", "replctl.model.inventory"))


@pytest.mark.parametrize("words", ["inventory check", "inventory check -i inventory.yaml", "inventory schema"])
def test_what_contacts_nothing_imports_nothing_that_is_for_contacts(folder: Path, words: str) -> None:
    ended, modules = imported(folder, words)
    assert ended == ExitCode.DONE
    assert modules.isdisjoint(QUICK)


def test_an_error_needs_no_more_than_a_table(folder: Path) -> None:
    ended, modules = imported(folder, "inventory check -i nowhere.yaml")
    assert ended == ExitCode.USAGE
    assert "rich.table" in modules
    assert modules.isdisjoint((*PYDANTIC, *JINJA, *NETWORK, *MOVING, *HELP, *PLANS))


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("status", ExitCode.CRITICAL),
        ("status -o json -i inventory.yaml", ExitCode.CRITICAL),
        ("promote db2 --yes", ExitCode.UNREACHABLE),
        ("promote db2 --dry-run -o json", ExitCode.UNREACHABLE),
        ("add-replica db1 db2 --from db1 --yes", ExitCode.UNREACHABLE),
    ],
)
def test_without_a_terminal_and_a_template_nothing_is_imported_for_them(
    folder: Path, words: str, code: ExitCode
) -> None:
    ended, modules = imported(folder, words)
    assert ended == code
    assert modules.isdisjoint((*PYDANTIC, *JINJA, *OPTIONAL, *MOVING, *HELP))
