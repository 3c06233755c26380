"""Passwords that no quoting mistake survives are seen where they have to be, and nowhere else."""

from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from tests.real.clusters import assert_cluster, ok
from tests.real.hosts import QUICK, Operator

TALKATIVE = {
    **QUICK,
    "log_statement": "all",
    "log_min_duration_statement": 0,
    "log_replication_commands": True,
    "log_connections": True,
}
VERIFIER = re.compile(rb"SCRAM-SHA-256\$\d+:")


class Sampler(threading.Thread):
    """Looks at the command line and the environment of every process of the machine, which has the hosts' own too,
    again and again."""

    def __init__(self, canaries: list[bytes]) -> None:
        super().__init__(daemon=True)
        self._canaries = canaries
        self._ending = threading.Event()
        self.found: set[str] = set()
        self.programs: set[str] = set()
        self.rounds = 0

    def run(self) -> None:
        while not self._ending.is_set():
            for process in Path("/proc").iterdir():
                if process.name.isdigit():
                    self._look(process)
            self.rounds += 1

    def _look(self, process: Path) -> None:
        for name in ("cmdline", "environ"):
            try:
                text = (process / name).read_bytes()
            except OSError:  # it has ended, or is none that anybody may look at
                return
            if name == "cmdline":
                self.programs.add(text.split(b"\0")[0].decode("utf-8", "replace").rsplit("/", 1)[-1])
            if any(canary in text for canary in self._canaries):
                self.found.add(f"{name} of {text[:300]!r}")

    def end(self) -> None:
        self._ending.set()
        self.join(30)


@contextmanager
def sampled(operator: Operator) -> Iterator[Sampler]:
    sampler = Sampler(canaries(operator))
    sampler.start()
    try:
        yield sampler
    finally:
        sampler.end()


def canaries(operator: Operator) -> list[bytes]:
    """The part of each password that looks the same in every encoding."""
    return [password.rsplit(" ", 1)[1].encode() for password in operator.passwords.values()]


@pytest.fixture
def talkative(operator: Operator) -> Operator:
    operator.write_inventory(parameters=TALKATIVE)
    return operator


@pytest.mark.fault("84f")
def test_no_password_leaves_its_place(talkative: Operator) -> None:
    operator, said = talkative, ""
    with sampled(operator) as sampler:
        for command in (
            ("init-primary", "db1", "--yes", "-v"),
            ("add-replica", "db2", "db3", "--yes", "-v"),
            ("promote", "db2", "--yes", "-v"),
            ("status", "-v"),
            ("env", "-v"),
            ("env", "--check", "-v"),
        ):
            run = ok(operator.replctl(*command))
            said += run.out + run.err
        assert_cluster(operator, "db2", ["db1", "db3"])
    assert sampler.rounds > 20
    assert {"initdb", "pg_basebackup", "pg_ctl"} <= sampler.programs
    assert sampler.found == set()
    assert [canary for canary in canaries(operator) if canary in said.encode()] == []
    assert "SCRAM" not in said
    assert files_with_canaries(operator, operator.folder) == {
        "app.env",
        *(f"secrets/{role}" for role in operator.passwords),
    }
    for host in operator.lan:
        at = host.path("/")
        assert files_with_canaries(operator, at) == {"var/lib/postgresql/15/main.replctl-passfile"}
        logs = [path for path in at.rglob("*.log") if path.is_file()]
        assert len(logs) > 2
        assert [path for path in logs if VERIFIER.search(path.read_bytes())] == []
        assert any(b"connection authorized: user=postgres" in path.read_bytes() for path in logs)
    assert_usable(operator)


def files_with_canaries(operator: Operator, folder: Path) -> set[str]:
    """Names, below ``folder``, of the files that hold a password."""
    wanted = canaries(operator)
    found: set[str] = set()
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            content = path.read_bytes()
            if any(canary in content for canary in wanted):
                found.add(str(path.relative_to(folder)))
    return found


def assert_usable(operator: Operator) -> None:
    """The URLs as a program and as a shell read them."""
    env = operator.read_env()
    script = '. ./app.env && printf "%s\\n%s" "$DB_PRIMARY_URL" "$DB_READ_REPLICA_URLS"'
    shell = subprocess.run(["sh", "-c", script], cwd=operator.folder, capture_output=True, text=True, check=True)
    assert shell.stdout.split("\n") == [env["DB_PRIMARY_URL"], env["DB_READ_REPLICA_URLS"]]
    assert shell.stderr == ""
    for url in (env["DB_PRIMARY_URL"], *env["DB_READ_REPLICA_URLS"].split(",")):
        with psycopg.connect(url) as connection:
            assert connection.info.password == operator.passwords["app"]
            assert connection.execute("select current_user").fetchone() == ("chat",)


def test_a_failing_role_statement_keeps_its_verifier(talkative: Operator) -> None:
    """The server writes a statement that failed into its log, unless it is told not to."""
    operator = talkative
    ok(operator.replctl("init-primary", "db1", "--yes"))
    with operator.connect("db1") as connection:
        connection.execute("alter role chat password null")
        connection.execute(
            "create function refuse() returns event_trigger language plpgsql as $$ begin raise 'no'; end $$"
        )
        connection.execute("alter system set default_transaction_read_only = on")
        connection.execute("select pg_reload_conf()")
    run = operator.replctl("init-primary", "db1", "--yes", "-v")
    assert run.code not in {0, 70}, run.err
    assert "read-only transaction" in run.err
    assert "SCRAM" not in run.err
    logs = b"".join(path.read_bytes() for path in operator.lan["db1"].path("/var/lib/postgresql").rglob("*.log"))
    assert not VERIFIER.search(logs)
