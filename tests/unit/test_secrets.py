"""Passwords from the environment, files, commands and the inventory itself."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from replctl.model.errors import ExitCode, SecretError
from replctl.model.secret import CommandSecret, EnvSecret, FileSecret, LiteralSecret, Secret, SecretSource
from replctl.remote.secrets import resolve_passwords
from tests.unit.inventories import SMALL, parse

FINE = LiteralSecret(Secret("fine"))


@pytest.fixture
def inventory(tmp_path):
    parsed = parse(SMALL)
    return replace(
        parsed,
        path=tmp_path / "inventory.yaml",
        admin=replace(parsed.admin, password=FINE),
        replication=replace(parsed.replication, password=FINE),
        app=replace(parsed.app, password=FINE),
    )


def of_app(inventory, source: SecretSource):
    return replace(inventory, app=replace(inventory.app, password=source))


def password(inventory, source: SecretSource) -> str:
    return resolve_passwords(of_app(inventory, source)).app.reveal()


def failure(inventory, source: SecretSource) -> str:
    with pytest.raises(SecretError) as caught:
        resolve_passwords(of_app(inventory, source))
    assert caught.value.exit_code is ExitCode.USAGE
    assert caught.value.hint.endswith(".")
    return caught.value.message


def python(code: str) -> CommandSecret:
    return CommandSecret((sys.executable, "-S", "-c", code))


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"x", "x"), (b"x\n", "x"), (b" x \t\n", " x \t"), ("é£\n".encode(), "é£"), (b"a:b\\c'\"#$%\n", "a:b\\c'\"#$%")],
)
def test_one_newline_at_the_end_is_dropped_and_nothing_else(inventory, tmp_path, content, expected):
    path = tmp_path / "secret"
    path.write_bytes(content)
    path.chmod(0o600)
    assert password(inventory, FileSecret(path)) == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"hunter2\n\n", "holds a line break"),
        (b"hunter2\r\n", "holds a line break"),
        (b"hunter2\nx", "holds a line break"),
        (b"hunter2\0", "holds a NUL character"),
        (b"hunter2\xff", "is not UTF-8 text"),
        (b"hunter2" * 10_000, "is larger than 65536 bytes"),
    ],
)
def test_unusable_files_are_named_and_not_shown(inventory, tmp_path, content, expected):
    path = tmp_path / "secret"
    path.write_bytes(content)
    path.chmod(0o600)
    message = failure(inventory, FileSecret(path))
    assert message.startswith("app.password: ")
    assert str(path) in message
    assert expected in message
    assert "hunter2" not in message


@pytest.mark.parametrize(("mode", "allowed"), [(0o600, True), (0o644, True), (0o660, False), (0o602, False)])
def test_a_file_that_others_can_write_is_refused(inventory, tmp_path, mode, allowed):
    path = tmp_path / "secret"
    path.write_text("hunter2")
    path.chmod(mode)
    if allowed:
        assert password(inventory, FileSecret(path)) == "hunter2"
    else:
        assert "can be written by other users (Run `chmod go-w" in failure(inventory, FileSecret(path))


def test_a_missing_file(inventory, tmp_path):
    message = failure(inventory, FileSecret(tmp_path / "none"))
    assert message.startswith(f"app.password: {tmp_path}/none: cannot be read: no such file or directory")


def test_environment_variables(inventory, monkeypatch):
    source = EnvSecret("REPLCTL_TEST_PASSWORD")
    monkeypatch.delenv("REPLCTL_TEST_PASSWORD", raising=False)
    assert failure(inventory, source) == "app.password: the environment variable REPLCTL_TEST_PASSWORD is not set"
    monkeypatch.setenv("REPLCTL_TEST_PASSWORD", "")
    assert failure(inventory, source) == "app.password: the environment variable REPLCTL_TEST_PASSWORD is empty"
    monkeypatch.setenv("REPLCTL_TEST_PASSWORD", "hunter2\n")
    assert "holds a line break" in failure(inventory, source)
    monkeypatch.setitem(os.environ, "REPLCTL_TEST_PASSWORD", os.fsdecode(b"hunter2\xff"))
    assert "is not UTF-8 text" in failure(inventory, source)
    monkeypatch.setenv("REPLCTL_TEST_PASSWORD", " x ")
    assert password(inventory, source) == " x "


def test_a_command_prints_the_password(inventory):
    assert password(inventory, CommandSecret(("printf", "%s\\n", "$(id) ;x"))) == "$(id) ;x"


def test_a_command_runs_in_the_inventorys_folder_without_stdin(inventory, tmp_path):
    script = tmp_path / "get-password"
    script.write_text("#!/bin/sh\nread line && exit 9\necho x; echo noise >&2\n")
    script.chmod(0o700)
    assert password(inventory, CommandSecret(("./get-password",))) == "x"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (python("print('hunter2'); raise SystemExit(3)"), "ended with status 3"),
        (python("import sys; print('hunter2'); sys.exit('no\\n\\x1b[31mkey')"), "ended with status 1: no ?[31mkey"),
        (python("import sys; sys.exit('e' * 9999)"), f": {'e' * 400}..."),
        (python("import os; print('hunter2', flush=True); os.kill(os.getpid(), 9)"), "ended with status -9"),
        (python("print('hunter2\\nsecond')"), "holds a line break"),
        (python("pass"), "is empty"),
        (CommandSecret(("/nonexistent/pass",)), "cannot be run: no such file or directory"),
        (CommandSecret(("/",)), "cannot be run: permission denied"),
    ],
)
def test_failing_commands_say_why_and_never_what_they_printed(inventory, source, expected):
    message = failure(inventory, source)
    assert message.startswith("app.password: ")
    assert source.argv[0] in message
    assert expected in message
    assert "hunter2" not in message
    assert len(message) < 600


def test_a_command_has_thirty_seconds(inventory, monkeypatch):
    given = []

    def run(argv, **options):
        given.append(options["timeout"])
        raise subprocess.TimeoutExpired(argv, options["timeout"], output=b"hunter2")

    monkeypatch.setattr(subprocess, "run", run)
    message = failure(inventory, CommandSecret(("pass", "show", "x")))
    assert message == "app.password: the command pass took more than 30 s"
    assert given == [30.0]


def test_an_empty_literal(inventory):
    message = failure(inventory, LiteralSecret(Secret("")))
    assert message == "app.password: the text in the inventory is empty"


def test_all_failures_come_together(inventory, tmp_path):
    broken = replace(
        inventory,
        admin=replace(inventory.admin, password=FileSecret(tmp_path / "none")),
        replication=replace(inventory.replication, password=EnvSecret("REPLCTL_NOT_SET")),
    )
    lines = failure(broken, LiteralSecret(Secret(""))).splitlines()
    assert [line.partition(":")[0] for line in lines] == ["admin.password", "replication.password", "app.password"]


def test_each_role_gets_its_own(inventory):
    passwords = resolve_passwords(
        replace(
            of_app(inventory, LiteralSecret(Secret("c"))),
            admin=replace(inventory.admin, password=LiteralSecret(Secret("a"))),
        )
    )
    assert (passwords.admin.reveal(), passwords.replication.reveal(), passwords.app.reveal()) == ("a", "fine", "c")
