"""Every mistake gets one clear message with a hint, its exit code, in time, and nothing is changed."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.real.clusters import assert_cluster, data_dir, ok, slots
from tests.real.hosts import DEPLOY, Host, Operator, Run, pg_bin
from tests.real.hosts.disk import make_key
from tests.real.standing import forget
from tests.real.watched import Watched, slow_copies, until_copying

KEYS = ["schema", "command", "cluster", "outcome", "exit_code", "steps", "refusals", "next", "write_outage_ms"]
OUTCOMES = {2: "error", 3: "refused", 7: "unreachable", 130: "undone"}
MAIN = data_dir()
TAKES_A_PORT = "import socket, time; s = socket.create_server(('127.0.0.1', 5432)); print(flush=True); time.sleep(60)"


def assert_clear(run: Run, code: int, *words: str) -> None:
    """One message, one hint, no traceback, nothing on stdout."""
    assert run.code == code, f"exit {run.code}\n{run.out}\n{run.err}"
    assert "Traceback" not in run.err
    assert run.err.count("hint:") == 1, run.err
    assert run.out == ""
    for word in words:
        assert word in run.err, run.err


def assert_document(run: Run, code: int, *words: str) -> Any:
    assert run.code == code, f"exit {run.code}\n{run.out}\n{run.err}"
    document = run.document
    assert list(document) == KEYS
    assert (document["exit_code"], document["outcome"]) == (code, OUTCOMES[code])
    (refusal,) = document["refusals"]
    assert list(refusal) == ["code", "node", "message", "hint"]
    assert refusal["hint"]
    assert not refusal["message"].endswith(".")
    for word in words:
        assert word in refusal["message"] + refusal["hint"]
    return refusal


def assert_refused(operator: Operator, code: int, *args: str, says: tuple[str, ...], seconds: float = 15.0) -> Any:
    """The command as a table and as JSON, side by side: both are refused, in time, and change nothing."""
    before, began = fingerprint(operator), time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        table = pool.submit(operator.replctl, *args)
        document = pool.submit(operator.replctl, *args, "-o", "json")
    assert time.monotonic() - began < seconds
    assert_clear(table.result(), code, *says)
    refusal = assert_document(document.result(), code, *says)
    assert fingerprint(operator) == before
    return refusal


def fingerprint(operator: Operator) -> dict[str, str]:
    """What the run could have changed: the operator's folder, and the hosts' files but those that a running server
    writes by itself."""
    found = {str(path): digest(path) for path in operator.folder.rglob("*") if path.is_file()}
    for host in operator.lan:
        running = host.path(f"{MAIN}/postmaster.pid").exists()
        for path in sorted(host.path("/var/lib/postgresql").rglob("*")):
            inside = path.is_relative_to(host.path(MAIN))
            if not (running and inside) or path.suffix in {".conf", ".signal"}:
                found[str(path)] = digest(path) if path.is_file() else "folder"
    return found


def without_journal(operator: Operator) -> dict[str, str]:
    return {path: seen for path, seen in fingerprint(operator).items() if ".replctl/" not in path}


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


class TestBeforeAnythingIsContacted:
    """Exit code 2. The hosts' sshd never hears of these runs."""

    @pytest.fixture
    def quiet(self, operator: Operator) -> Iterator[Operator]:
        logs = [host.sshd_log() for host in operator.lan]
        yield operator
        assert [host.sshd_log() for host in operator.lan] == logs

    def test_inventory_and_secrets(self, quiet: Operator) -> None:
        quiet.write_inventory(extra={"postgres": {"data_directory": "/srv"}})
        assert_refused(quiet, 2, "init-primary", "db1", "--yes", says=("inventory.yaml", "postgres.data_directory"))
        quiet.write_inventory(extra={"tls": {"mode": "verify-full"}})
        assert_refused(quiet, 2, "init-primary", "db1", "--yes", says=("tls", "not supported by this version"))
        quiet.write_inventory(extra={"admin": {"password": {"file": "secrets/nothing"}}})
        assert_refused(quiet, 2, "init-primary", "db1", "--yes", says=("admin.password", "secrets/nothing"))

    def test_names_and_flags(self, quiet: Operator) -> None:
        assert_refused(quiet, 2, "add-replica", "db2", "db9", "--yes", says=("db9", "db1, db2, db3"))
        assert_refused(quiet, 2, "init-primary", "db1", "--restart", "--yes", says=("--restart", "--adopt"))
        assert_refused(quiet, 2, "promote", "db2", "--accept-data-loss", "--yes", says=("--failover",))
        assert_refused(quiet, 2, "promote", "--failover", "--yes", says=("NODE",))

    @pytest.mark.parametrize(
        ("args", "word"),
        [
            (("promot", "db2"), "promot"),
            (("promote", "db2", "--yess"), "--yess"),
            (("status", "-o", "xml"), "xml"),
            (("init-primary",), "NODE"),
        ],
    )
    def test_typing_mistakes(self, quiet: Operator, args: tuple[str, ...], word: str) -> None:
        run = quiet.replctl(*args)
        assert run.code == 2
        assert word in run.err
        assert run.out == ""
        assert "Traceback" not in run.err


class TestSsh:
    """Exit code 7, with what the operator can do about it."""

    @pytest.mark.fault("15a", "15b")
    def test_host_keys(self, operator: Operator) -> None:
        host = operator.lan["db1"]
        (operator.folder / "known_hosts").write_text("")
        assert_refused(operator, 7, "init-primary", "db1", "--yes", says=("db1", "host key", "SHA256:"))
        other = make_key(operator.folder / "other")
        (operator.folder / "known_hosts").write_text(f"{host.address} {other}")
        assert_refused(operator, 7, "init-primary", "db1", "--yes", says=("db1", "changed", "SHA256:"))
        # sshd writes "authenticating user" of a client that leaves once it has named a user.
        assert "preauth" in host.sshd_log()
        assert "authenticating" not in host.sshd_log()
        assert "Accepted" not in host.sshd_log()

    def test_refused_key(self, operator: Operator) -> None:
        (operator.folder / "id_ed25519").unlink()
        make_key(operator.folder / "id_ed25519")
        assert_refused(operator, 7, "init-primary", "db1", "--yes", says=("db1", "postgres", "authorized_keys"))

    @pytest.mark.fault("6a")
    def test_unreachable_host(self, operator: Operator) -> None:
        operator.write_inventory(extra={"ssh": {"connect_timeout": 2}})
        operator.lan["db1"].unplug()
        assert_refused(operator, 7, "init-primary", "db1", "--yes", says=("db1", "timed out"), seconds=8)

    def test_stopped_sshd(self, operator: Operator) -> None:
        operator.lan["db1"].stop_sshd()
        assert_refused(operator, 7, "init-primary", "db1", "--yes", says=("db1", "refused"), seconds=6)

    @pytest.mark.fault("14")
    def test_sudo_that_asks(self, operator: Operator) -> None:
        rule = operator.lan["db1"].path(f"/etc/sudoers.d/{DEPLOY}")
        operator.write_inventory(ssh_user=DEPLOY)
        before = rule.read_text()
        rule.write_text(before.replace("NOPASSWD:", ""))
        try:
            refusal = assert_refused(operator, 7, "init-primary", "db1", "--yes", says=("db1", DEPLOY, "postgres"))
        finally:
            rule.write_text(before)
        assert f"{DEPLOY} ALL=(postgres) NOPASSWD: ALL" in refusal["hint"]


class TestTarget:
    """Exit code 3: the place where the data directory is to be."""

    def test_programs(self, operator: Operator) -> None:
        operator.write_inventory(extra={"postgres": {"bin_dir": "/opt/pgsql/bin"}})
        assert_refused(operator, 3, "init-primary", "db1", "--yes", says=("db1", "/opt/pgsql/bin", pg_bin(15)))

    @pytest.mark.fault("24")
    def test_port(self, operator: Operator) -> None:
        host = operator.lan["db1"]
        with taken_port(host):
            refusal = assert_refused(operator, 3, "init-primary", "db1", "--yes", says=("db1", "5432"))
            assert "pg_dropcluster" not in refusal["hint"]
            theirs = host.path("/etc/postgresql/15/main")
            theirs.mkdir(parents=True)
            (theirs / "postgresql.conf").write_text("port = 5432\n")
            hint = ("pg_dropcluster --stop 15 main",)
            assert_refused(operator, 3, "init-primary", "db1", "--yes", says=hint)

    @pytest.mark.fault("19")
    def test_occupied_directory(self, operator: Operator) -> None:
        operator.lan["db1"].run(["sh", "-c", f"mkdir -p {MAIN} && echo precious >{MAIN}/letters"])
        assert_refused(operator, 3, "init-primary", "db1", "--yes", says=("db1", MAIN, "letters"))

    @pytest.mark.fault("45a")
    def test_symlink(self, operator: Operator) -> None:
        operator.lan["db1"].run(["sh", "-c", f"mkdir -p /var/lib/postgresql/15/other && ln -s other {MAIN}"])
        assert_refused(operator, 3, "init-primary", "db1", "--yes", says=("symbolic link", f"{MAIN}/data"))

    @pytest.mark.fault("45b")
    def test_mount_point(self, operator: Operator) -> None:
        host = operator.lan["db1"]
        host.run(["mkdir", "-p", MAIN])
        host.run(["mount", "-t", "tmpfs", "-o", "mode=700,uid=postgres,gid=postgres", "disk", MAIN], "root")
        assert_refused(operator, 3, "init-primary", "db1", "--yes", says=("mount point", f"{MAIN}/data"))


@contextmanager
def taken_port(host: Host) -> Iterator[None]:
    with subprocess.Popen(host.command(["/usr/bin/python3", "-c", TAKES_A_PORT]), stdout=subprocess.PIPE) as program:
        assert program.stdout.readline() == b"\n"
        yield
        for pid in host.pids("create_server"):
            if pid != program.pid:
                os.kill(pid, signal.SIGKILL)


class TestPasswords:
    def test_wrong_admin_password(self, cluster: Operator) -> None:
        cluster.write_private("secrets/admin", "not the one\n")
        refusal = assert_refused(cluster, 3, "init-primary", "db1", "--yes", says=("db1", "password", "inventory"))
        assert refusal["code"] == "sql-authentication"

    @pytest.mark.fault("42")
    def test_wrong_replication_password(self, cluster: Operator) -> None:
        forget(cluster, "db2")
        cluster.write_private("secrets/replication", "not the one\n")
        refusal = assert_refused(cluster, 3, "add-replica", "db2", "--yes", says=("db2", "db1", "replicator"))
        assert "password" in refusal["message"] + refusal["hint"]


class TestPrompt:
    """The one question: only y, at a terminal, goes on."""

    def test_no_terminal(self, operator: Operator) -> None:
        before = fingerprint(operator)
        run = operator.replctl("init-primary", "db1")
        assert run.code == 3
        assert "no terminal" in run.err
        assert "--yes" in run.err
        assert_document(operator.replctl("init-primary", "db1", "-o", "json"), 3, "no terminal")
        assert fingerprint(operator) == before

    def test_at_the_terminal(self, operator: Operator) -> None:
        before = fingerprint(operator)
        for typed, code, word in (("\r", 3, "declined"), ("n\r", 3, "declined"), ("\x03", 130, "interrupted")):
            terminal = operator.pty("init-primary", "db1")
            terminal.read_until("[y/N]")
            terminal.type(typed)
            assert terminal.end(20) == code, terminal.seen
            assert word in terminal.seen
            assert "hint:" in terminal.seen
            assert "Traceback" not in terminal.seen
        assert fingerprint(operator) == before

    def test_hang_up(self, operator: Operator) -> None:
        terminal = operator.pty("init-primary", "db1")
        terminal.read_until("[y/N]")
        terminal.hang_up()
        assert terminal.program.wait(20) in {130, 3}
        assert not operator.lan["db1"].path(MAIN).exists()


class TestInterrupts:
    """A signal during a copy: 130, and nothing of the run is left anywhere."""

    @pytest.mark.fault("2a", "2b", "2c")
    def test_during_a_copy(self, cluster: Operator) -> None:
        host = cluster.lan["db2"]
        forget(cluster, "db2")
        before = without_journal(cluster)
        for number, output in ((signal.SIGINT, "table"), (signal.SIGTERM, "json"), (signal.SIGHUP, "table")):
            with slow_copies(host):
                run = Watched(cluster, "add-replica", "db2", "--yes", "-o", output)
                until_copying(host)
            run.signal(number)
            ended = run.end(30)
            assert ended.code == 130, ended.err
            assert "Traceback" not in ended.err
            if output == "json":
                assert (ended.document["exit_code"], ended.document["outcome"]) == (130, "undone")
            assert slots(cluster, "db1") == {"replctl_db3"}
            assert not host.pids("pg_basebackup")
            assert not host.pids("postgres -D")
            with cluster.connect("db1") as connection:
                assert connection.execute("select application_name from pg_stat_replication").fetchall() == [("db3",)]
            assert without_journal(cluster) == before
        ok(cluster.replctl("add-replica", "db2", "--yes"))
        assert_cluster(cluster, "db1", ["db2", "db3"])
