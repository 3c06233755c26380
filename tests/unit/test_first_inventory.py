"""The first inventory: what the answers become, how they are asked for, and what is left of an interrupted dialogue."""

from __future__ import annotations

import io
import os
import pty
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from replctl.cli.app import app
from replctl.cli.first_inventory import BEFORE_NODES, BEHIND_NODES, Dialogue
from replctl.cli.streams import open_console
from replctl.inventory import parse_inventory
from replctl.inventory.first import PASSWORDS, Answers, first_inventory, problems_of
from replctl.model.secret import FileSecret

SECONDS = 60
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20) | st.sampled_from(
    [
        "yes",
        "null",
        "~",
        "12",
        "012",
        "a: b",
        "a #b",
        "- a",
        "{a}",
        "a, b",
        "'",
        '"',
        "\\",
        "&a",
        "*a",
        "!a",
        "|",
        "a\nb",
    ]
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("REPLCTL_INVENTORY", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*args: str) -> Result:
    return CliRunner().invoke(app, args)


def init(*args: str) -> Result:
    return run("inventory", "init", *args)


def left_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# What the answers become.


def test_the_defaults_and_two_nodes_are_an_inventory() -> None:
    answers = Answers().with_node("10.0.0.11").with_node("other 10.0.0.12").with_node("db3=10.0.0.13")
    assert problems_of(answers) == ()
    inventory = parse_inventory(first_inventory(answers), Path("/srv/chat/inventory.yaml"))
    assert {name: node.host for name, node in inventory.nodes.items()} == {
        "db1": "10.0.0.11",
        "other": "10.0.0.12",
        "db3": "10.0.0.13",
    }
    assert inventory.admin.password == FileSecret(Path("/srv/chat/secrets/admin"))
    assert inventory.replication.password == FileSecret(Path("/srv/chat/secrets/replication"))
    assert inventory.app.password == FileSecret(Path("/srv/chat/secrets/app"))
    assert inventory.app.env_file == Path("/srv/chat/app.env")


@pytest.mark.parametrize(
    ("service", "version", "directory"),
    [
        ("pg_ctl", "15", "/var/lib/postgresql/15/main"),
        ("pg_ctlcluster", "16", "/var/lib/postgresql/16/main"),
        ("systemd", "18", "/var/lib/pgsql/18/data"),
    ],
)
def test_the_data_directory_is_that_of_the_packages(service: str, version: str, directory: str) -> None:
    answers = Answers(service=service, version=version).with_node("10.0.0.11")
    inventory = parse_inventory(first_inventory(answers), Path("inventory.yaml"))
    (node,) = inventory.nodes.values()
    assert (node.postgres.data_dir, node.postgres.version, node.postgres.service) == (directory, int(version), service)


def test_a_name_that_is_taken_is_not_given_again() -> None:
    assert Answers().with_node("db2 10.0.0.11").with_node("10.0.0.12").with_node("10.0.0.13").names == (
        "db2",
        "db1",
        "db3",
    )


@pytest.mark.parametrize(
    ("answers", "problem"),
    [
        (Answers(cluster="Chat"), "cluster must be lower-case letters"),
        (Answers(version="14"), "postgres.version must be greater than or equal to 15"),
        (Answers(version="newest"), "postgres.version must be a whole number"),
        (Answers(service="runit"), "postgres.service must be 'pg_ctl', 'pg_ctlcluster' or 'systemd'"),
        (Answers(data_dir="main"), "postgres.data_dir must be an absolute path"),
        (Answers(ssh_user="-l"), "ssh.user must not start with -"),
        (Answers(database="template1"), "app.database is a name that PostgreSQL keeps for itself"),
        (Answers(app_user="replicator").with_node("10.0.0.1"), "app.user is the role of replication already"),
        (Answers(env_file="~ana/app.env"), "app.env_file must not name another user's home"),
        (
            Answers().with_node("db_1 10.0.0.1").with_node("db-1 10.0.0.2"),
            "nodes.db-1 has the replication slot of db_1",
        ),
        (Answers().with_node("10.0.0.1").with_node("10.0.0.1"), "nodes.db2.host is the same host"),
        (Answers().with_node("10.0.0.300"), "nodes.db1.host must be an IP address"),
    ],
)
def test_a_bad_answer_is_told_as_the_parser_tells_it(answers: Answers, problem: str) -> None:
    assert problems_of(answers)[0].startswith(problem)


@pytest.mark.parametrize("text", ["", "a b c", "db1 10.0.0.2"])
def test_what_is_no_node_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"a host, or a name and a host|another node already"):
        Answers().with_node("db1 10.0.0.1").with_node(text)


@settings(max_examples=50, deadline=None, database=None)
@given(TEXT, TEXT, TEXT)
def test_an_answer_means_itself_or_is_refused(env_file: str, database: str, data_dir: str) -> None:
    answers = Answers(env_file=env_file, database=database, data_dir=f"/{data_dir}").with_node("10.0.0.11")
    if not problems_of(answers):
        inventory = parse_inventory(first_inventory(answers), Path("/srv/inventory.yaml"))
        assert inventory.app.database == database
        assert inventory.nodes["db1"].postgres.data_dir == f"/{data_dir}"
        assert len(inventory.nodes) == 1


def test_the_page_has_every_question_as_it_is_asked() -> None:
    page = (Path(__file__).parents[2] / "docs/commands/inventory.md").read_text()
    for question in (*BEFORE_NODES, *BEHIND_NODES):
        assert f"\n{question.text} [" in page


# Without questions.


def test_with_yes_it_is_written_and_can_be_checked(folder: Path) -> None:
    ended = init("--yes", "--node", "db1=10.0.0.11", "--node", "db2=10.0.0.12", "--cluster", "chat")
    assert (ended.exit_code, ended.stderr) == (0, "")
    assert ended.stdout.splitlines() == [
        "inventory.yaml: cluster chat, 2 nodes: db1, db2",
        "secrets: new passwords: admin, replication, app",
        "Next:",
        "  replctl inventory check",
        "  replctl init-primary db1 --dry-run",
    ]
    checked = run("inventory", "check")
    assert (checked.exit_code, checked.stdout) == (0, "inventory.yaml: cluster chat, 2 nodes: db1, db2\n")


def test_what_it_writes_is_for_its_owner_alone(folder: Path) -> None:
    assert init("new/chat.yaml", "--yes", "--node", "10.0.0.11").exit_code == 0
    modes = {path: (folder / "new" / path).stat().st_mode & 0o777 for path in left_in(folder / "new")}
    assert modes == {"chat.yaml": 0o600, "secrets": 0o700} | {f"secrets/{name}": 0o600 for name in PASSWORDS}
    passwords = {(folder / "new/secrets" / name).read_text() for name in PASSWORDS}
    assert len(passwords) == 3
    assert all(len(password.removesuffix("\n")) == 32 for password in passwords)
    assert not any(password.strip() in (folder / "new/chat.yaml").read_text() for password in passwords)


def test_passwords_that_are_there_are_kept(folder: Path) -> None:
    (folder / "secrets").mkdir(0o700)
    (folder / "secrets/app").write_text("as it was")
    ended = init("--yes", "--node", "10.0.0.11")
    assert "new passwords: admin, replication\nsecrets: passwords that were there: app\n" in ended.stdout
    assert (folder / "secrets/app").read_text() == "as it was"


@pytest.mark.parametrize("there", ["file", "symlink"])
def test_an_inventory_that_is_there_stays(folder: Path, there: str) -> None:
    path = folder / "inventory.yaml"
    if there == "file":
        path.write_text("mine")
    else:
        path.symlink_to("nowhere")
    ended = init("--yes", "--node", "10.0.0.11")
    assert (ended.exit_code, left_in(folder)) == (2, ["inventory.yaml"])
    assert "inventory.yaml: is there already" in ended.stderr


def test_another_file_than_the_default_is_named_in_what_comes_next(folder: Path) -> None:
    ended = init("new chat.yaml", "--yes", "--node", "10.0.0.11")
    assert "  replctl inventory check -i 'new chat.yaml'\n" in ended.stdout


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["--yes"], 2, "no node is named"),
        (["--yes", "--node", "a=b=c d"], 2, "--node a=b=c d: a node is a host, or a name and a host"),
        (["--yes", "--node", "10.0.0.1", "--version", "14"], 2, "postgres.version must be greater"),
        (["--cluster", "Chat"], 2, "cluster must be"),
        (["--node", "10.0.0.1"], 3, "there is no terminal"),
    ],
)
def test_without_enough_to_go_by_nothing_is_written(folder: Path, args: list[str], code: int, words: str) -> None:
    ended = init(*args)
    assert (ended.exit_code, left_in(folder)) == (code, [])
    assert words in ended.stderr


def test_a_kept_password_that_cannot_be_used_leaves_nothing_new(folder: Path) -> None:
    (folder / "secrets").mkdir(0o700)
    (folder / "secrets/app").write_text("")
    ended = init("--yes", "--node", "10.0.0.11")
    assert (ended.exit_code, left_in(folder)) == (2, ["secrets", "secrets/app"])
    assert "app.password" in ended.stderr


def test_a_folder_that_cannot_be_made_is_told(folder: Path) -> None:
    (folder / "taken").write_text("")
    ended = init("taken/inventory.yaml", "--yes", "--node", "10.0.0.11")
    assert (ended.exit_code, left_in(folder)) == (2, ["taken"])
    assert "cannot be written: not a directory" in ended.stderr


# The questions.


def asked(typed: str, given: Mapping[str, str]) -> tuple[Answers, str]:
    """What the lines that are typed come to, and what was shown."""
    shown = io.StringIO()
    dialogue = Dialogue(io.TextIOWrapper(io.BytesIO(typed.encode()), "utf-8"), open_console(shown))
    return dialogue.answers(replace(Answers(), **given), given), shown.getvalue()


@pytest.mark.parametrize(
    ("typed", "reason"),
    [
        ("My Cluster\n\n\n10.0.0.1\n", "cluster must be lower-case letters"),
        ("\n9.6\n\n10.0.0.1\n", "postgres.version must be a whole number"),
        ("\n\n\n10.0.0.1\n", "a node is a host, or a name and a host"),
        ("\n\nlocal host 1\n10.0.0.1\n", "a node is a host, or a name and a host"),
        ("\n\n10.0.0.1\n10.0.0.1\n", "nodes.db2.host is the same host"),
        ("\n\n10.0.0.1\ndb1 10.0.0.2\n", "db1 is another node already"),
        ("\n\n10.0.0.1\n\n\n\n\n\npostgres\n", "app.user is the role of admin already"),
    ],
)
def test_a_bad_answer_is_asked_for_again_with_the_reason(typed: str, reason: str) -> None:
    answers, shown = asked(typed + "\n" * 8, {})
    assert first_inventory(answers) == first_inventory(Answers().with_node("10.0.0.1"))
    assert shown.count(f"  {reason}") == 1


def test_what_options_say_is_not_asked_for() -> None:
    given = {"cluster": "chat", "version": "16", "ssh_user": "deploy", "service": "pg_ctl", "database": "chat"}
    answers, shown = asked("10.0.0.1\n\n/data/pg\n\n\n", given)
    assert answers == replace(Answers(**given), data_dir="/data/pg").with_node("10.0.0.1")
    assert "Name of the cluster" not in shown
    assert "SSH user" not in shown


# On a terminal.


class Terminal:
    """A run of ``inventory init`` on a pseudo-terminal."""

    def __init__(self, folder: Path, *args: str) -> None:
        self.master, slave = pty.openpty()
        self.program = subprocess.Popen(
            [sys.executable, "-m", "replctl", "inventory", "init", *args],
            cwd=folder,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            env={**os.environ, "PYTHONIOENCODING": "utf-8:strict"},
        )
        os.close(slave)
        self.shown = ""

    def until(self, words: str) -> None:
        """Read on until ``words`` are shown, and take all before their end for read."""
        while words not in self.shown:
            assert select.select([self.master], [], [], SECONDS)[0], self.shown
            self.shown += os.read(self.master, 10_000).decode(errors="replace")
        self.shown = self.shown.partition(words)[2]

    def answer(self, question: str, text: str | bytes) -> None:
        self.until(question)
        self.until("]: ")
        os.write(self.master, (text if isinstance(text, bytes) else text.encode()) + b"\n")

    def end(self) -> int:
        """The exit code; what is shown until then goes to ``shown``."""
        with suppress(OSError):  # EIO: the other end is closed
            while select.select([self.master], [], [], SECONDS)[0] and (
                more := os.read(self.master, 10_000).decode(errors="replace")
            ):
                self.shown += more
        return self.program.wait(SECONDS)

    def close(self) -> None:
        self.program.kill()
        self.program.wait(SECONDS)
        os.close(self.master)


@pytest.fixture
def dialogue(folder: Path) -> Iterator[Terminal]:
    running = Terminal(folder)
    yield running
    running.close()


def test_the_questions_lead_to_an_inventory(folder: Path, dialogue: Terminal) -> None:
    dialogue.answer("Name of the cluster", b"\xe9")
    dialogue.until("cluster must be lower-case letters")
    dialogue.answer("Name of the cluster", "chat")
    dialogue.answer("Major version", "16")
    dialogue.answer("Node 1", "10.0.0.11")
    dialogue.answer("Node 2", "standby 10.0.0.12")
    dialogue.answer("Node 3", "")
    dialogue.answer("SSH user", "deploy")
    dialogue.answer("What starts", "systemd")
    dialogue.until("Data directory, the same on every node [/var/lib/pgsql/16/data]")
    os.write(dialogue.master, b"\n")
    dialogue.answer("application's database", "")
    dialogue.answer("application's user", "chat")
    dialogue.answer("Env file", "")
    assert dialogue.end() == 0
    assert "replctl init-primary db1 --dry-run" in dialogue.shown
    inventory = parse_inventory((folder / "inventory.yaml").read_text(), folder / "inventory.yaml")
    assert (inventory.cluster, list(inventory.nodes), inventory.app.user) == ("chat", ["db1", "standby"], "chat")
    assert run("inventory", "check").exit_code == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_in_the_dialogue_leaves_nothing(folder: Path, dialogue: Terminal, number: signal.Signals) -> None:
    dialogue.answer("Name of the cluster", "chat")
    dialogue.until("Major version")
    os.kill(dialogue.program.pid, number)
    assert (dialogue.end(), left_in(folder)) == (130, [])


def test_the_end_of_the_input_leaves_nothing(folder: Path, dialogue: Terminal) -> None:
    dialogue.until("]: ")
    os.write(dialogue.master, b"\x04")
    assert (dialogue.end(), left_in(folder)) == (3, [])
    assert "nothing was written" in dialogue.shown
