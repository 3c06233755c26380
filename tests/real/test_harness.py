"""The hosts that the real tier runs on are what they claim to be."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import paramiko
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.real.hosts import DEPLOY, MAJORS, Host, Lan, Operator, PowerError, Terminal, pg_bin
from tests.real.hosts.claims import BASE, NAMESPACES, claim_network

DATA = "/var/lib/postgresql/main"
LISTEN = "import socket; s = socket.create_server(('', 7000)); print(1, flush=True); s.accept()[0].sendall(b'hello')"


@pytest.fixture
def fresh(lan: Lan) -> Lan:
    lan.wipe()
    return lan


def ssh(lan: Lan, host: Host, user: str) -> paramiko.SSHClient:
    client = paramiko.SSHClient()
    known_hosts = lan.claim.folder / "known_hosts"
    known_hosts.write_text(lan.known_hosts)
    client.load_host_keys(str(known_hosts))
    client.connect(
        host.address, username=user, key_filename=str(lan.identity_file), allow_agent=False, look_for_keys=False
    )
    return client


def answer(client: paramiko.SSHClient, command: str) -> str:
    stdin, stdout, stderr = client.exec_command(command)
    with stdin, stdout, stderr:
        return stdout.read().decode().strip()


def eventually(look: Callable[[], object], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@contextmanager
def listening(host: Host) -> Iterator[None]:
    """A small server on port 7000 of a host."""
    with subprocess.Popen(host.command(["/usr/bin/python3", "-c", LISTEN]), stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout.readline() == b"1\n"
            yield
        finally:
            for pid in host.pids("create_server") if host.powered else ():
                os.kill(pid, signal.SIGKILL)


def initialise(host: Host, major: int) -> None:
    host.run(
        [f"{pg_bin(major)}/initdb", "-D", DATA, "--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8"]
    )
    with host.path(f"{DATA}/postgresql.conf").open("a") as file:
        file.write("listen_addresses = '*'\nfsync = off\nunix_socket_directories = '/run/postgresql'\n")
    with host.path(f"{DATA}/pg_hba.conf").open("a") as file:
        file.write("host all all 198.18.0.0/15 trust\nhost replication all 198.18.0.0/15 trust\n")


def start(host: Host, major: int) -> None:
    host.run([f"{pg_bin(major)}/pg_ctl", "start", "-w", "-D", DATA, "-l", "/var/log/postgresql/server.log"])


def connect(host: Host) -> psycopg.Connection:
    return psycopg.connect(make_conninfo(host=host.address, user="postgres", connect_timeout=5), autocommit=True)


def value(host: Host, query: str) -> object:
    with connect(host) as connection:
        return connection.execute(query).fetchone()[0]


def execute(host: Host, statement: str) -> None:
    with connect(host) as connection:
        connection.execute(statement)


def clone(source: Host, target: Host, major: int) -> None:
    conninfo = make_conninfo(host=source.address, user="postgres", application_name=target.name)
    target.run([f"{pg_bin(major)}/pg_basebackup", "-d", conninfo, "-D", DATA, "-R", "-c", "fast", "--no-sync"])


class TestHosts:
    def test_three_hosts_start_quickly(self) -> None:
        before = time.monotonic()
        with Lan(("a", "b", "c")) as lan:
            took = time.monotonic() - before
            assert [host.run(["hostname"]).stdout for host in lan] == [b"a\n", b"b\n", b"c\n"]
        assert took < 60  # 0.4 s on idle cores; a busy machine says nothing of the hosts

    @pytest.mark.parametrize("user", ["postgres", "root", DEPLOY])
    def test_sshd_lets_each_user_in(self, fresh: Lan, user: str) -> None:
        for host in fresh:
            with ssh(fresh, host, user) as client:
                assert answer(client, "id -un; hostname") == f"{user}\n{host.name}"

    def test_deploy_may_become_postgres_and_nobody_else(self, fresh: Lan) -> None:
        with ssh(fresh, fresh["db1"], DEPLOY) as client:
            assert answer(client, "sudo -n -u postgres id -un") == "postgres"
            assert answer(client, "sudo -n id -un || echo refused") == "refused"

    def test_the_machine_knows_nothing_of_the_hosts_accounts(self, fresh: Lan) -> None:
        assert DEPLOY in fresh["db1"].read("/etc/passwd")
        assert f"{DEPLOY}:" not in Path("/etc/passwd").read_text()

    def test_hosts_reach_each_other(self, fresh: Lan) -> None:
        first, second = fresh["db1"], fresh["db2"]
        with listening(second):
            script = f"import socket; print(socket.create_connection(({second.address!r}, 7000)).recv(9))"
            assert first.run(["/usr/bin/python3", "-c", script]).stdout == b"b'hello'\n"

    def test_processes_of_one_host_are_invisible_to_another(self, fresh: Lan) -> None:
        with listening(fresh["db2"]):
            assert fresh["db2"].pids("create_server")
            assert not fresh["db1"].pids("create_server")
            seen = fresh["db1"].run(["sh", "-c", "cat /proc/[0-9]*/cmdline"], "root", check=False).stdout
            assert b"sshd" in seen
            assert b"create_server" not in seen

    def test_run_reports_failure(self, fresh: Lan) -> None:
        with pytest.raises(AssertionError, match=r"db1: .* ended with 3: oops"):
            fresh["db1"].run(["sh", "-c", "echo oops; exit 3"])


class TestPower:
    def test_disk_survives_and_run_does_not(self, fresh: Lan) -> None:
        host = fresh["db1"]
        host.run(["sh", "-c", "echo kept >/var/lib/postgresql/kept; echo gone >/run/postgresql/gone"])
        host.power_cut()
        assert host.path("/var/lib/postgresql/kept").read_text() == "kept\n"
        with pytest.raises(PowerError, match="db1 is off"):
            host.run(["true"])
        host.power_on()
        assert host.read("/var/lib/postgresql/kept") == "kept\n"
        assert host.run(["ls", "/run/postgresql"]).stdout == b""
        with ssh(fresh, host, "postgres") as client:
            assert answer(client, "hostname") == "db1"

    def test_peers_are_not_told(self, fresh: Lan) -> None:
        host = fresh["db1"]
        with socket.create_connection((host.address, 22), 5) as connection:
            connection.recv(100)
            host.power_cut()
            connection.settimeout(0.3)
            with pytest.raises(TimeoutError):
                connection.recv(100)

    def test_frozen_processes_die_with_the_host(self, fresh: Lan) -> None:
        host = fresh["db1"]
        with listening(host):
            (pid,) = host.pids("create_server")
            host.freeze(pid)
            host.power_cut()
            assert not Path(f"/proc/{pid}").exists()


class TestCable:
    def test_unplugged_host_is_silent_and_comes_back(self, fresh: Lan) -> None:
        host = fresh["db1"]
        with socket.create_connection((host.address, 22), 5) as connection:
            connection.recv(100)
            host.unplug()
            connection.sendall(b"SSH-2.0-test\r\n")
            connection.settimeout(0.3)
            with pytest.raises(TimeoutError):
                connection.recv(100)
            host.plug()
            connection.settimeout(10)
            assert connection.recv(100)

    def test_blocked_peers_are_reached_from_elsewhere(self, fresh: Lan) -> None:
        first, second = fresh["db1"], fresh["db2"]
        probe = f"import socket; socket.create_connection(({second.address!r}, 22), 0.5)"
        first.block(second)
        assert first.run(["/usr/bin/python3", "-c", probe], check=False).returncode == 1
        with ssh(fresh, first, "postgres") as client:
            assert answer(client, "hostname") == "db1"
        first.unblock(second)
        first.run(["/usr/bin/python3", "-c", probe])


class TestSshd:
    def test_stopped_sshd_refuses_and_keeps_open_sessions(self, fresh: Lan) -> None:
        host = fresh["db1"]
        with ssh(fresh, host, "postgres") as client:
            host.stop_sshd()
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((host.address, 22), 5)
            assert answer(client, "hostname") == "db1"
        host.start_sshd()
        with ssh(fresh, host, "postgres") as client:
            assert answer(client, "hostname") == "db1"


class TestPostgres:
    @pytest.mark.parametrize("major", MAJORS)
    def test_replica_by_hand(self, fresh: Lan, major: int) -> None:
        primary, replica = fresh["db1"], fresh["db2"]
        initialise(primary, major)
        start(primary, major)
        clone(primary, replica, major)
        start(replica, major)
        assert value(primary, "show server_version_num").startswith(str(major))
        eventually(lambda: value(primary, "select count(*) from pg_stat_replication where state = 'streaming'"))
        execute(primary, "create table t as select 1 as a")
        eventually(lambda: value(replica, "select to_regclass('t')"))
        assert Path(f"/proc/{replica.postmaster(DATA)}").exists()

    def test_server_stopped_in_good_order_leaves_no_zombie(self, fresh: Lan) -> None:
        host = fresh["db1"]
        initialise(host, 15)
        start(host, 15)
        host.run([f"{pg_bin(15)}/pg_ctl", "stop", "-w", "-m", "fast", "-D", DATA])
        eventually(lambda: not host.pids("postgres"), 1.0)

    def test_crashed_server_recovers_after_a_power_cut(self, fresh: Lan) -> None:
        host = fresh["db1"]
        initialise(host, 15)
        start(host, 15)
        execute(host, "create table t as select 42 as a")
        host.power_cut()
        host.power_on()
        start(host, 15)
        assert value(host, "select a from t") == 42

    def test_wipe_leaves_nothing(self, fresh: Lan) -> None:
        host = fresh["db1"]
        initialise(host, 15)
        start(host, 15)
        fresh.wipe()
        assert host.run(["ls", "-A", "/var/lib/postgresql", "/tmp"]).stdout == b"/tmp:\n\n/var/lib/postgresql:\n"
        assert not host.pids("postgres")


class TestTeardown:
    def test_nothing_is_left(self) -> None:
        with Lan(("a",)) as lan:
            number, machine = lan.claim.number, lan["a"].command(["true"])[2]
            assert namespaces(number)
        assert not namespaces(number)
        assert not Path(f"/proc/{machine}").exists()
        assert not (BASE / str(number)).exists()

    def test_killed_run_is_cleared_away_by_the_next(self) -> None:
        script = "import sys, tests.real.hosts as h\nwith h.Lan(('a',)) as lan:\n print(lan.claim.number, flush=True)\n"
        script += " sys.stdin.read()"
        program = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        with program:
            number = int(program.stdout.readline())
            program.kill()
        assert (BASE / str(number)).exists()
        claim = claim_network()
        try:
            assert not (BASE / str(number)).exists() or claim.number == number
            assert not namespaces(number)
        finally:
            claim.release()


class TestOperator:
    def test_programs_run_without_a_terminal(self, operator: Operator) -> None:
        program = operator.start("--version")
        assert program.wait(30) in {0, 1, 2}

    def test_files_are_private(self, operator: Operator) -> None:
        files = [path for path in operator.folder.rglob("*") if path.is_file()]
        assert len(files) == 6
        assert {path.stat().st_mode & 0o777 for path in files} == {0o600}

    def test_inventory_takes_extra_keys(self, operator: Operator) -> None:
        operator.write_inventory(version=17, nodes=["db2"], extra={"ssh": {"connect_timeout": 2, "user": None}})
        text = operator.inventory_file.read_text()
        assert "connect_timeout: 2" in text
        assert "/usr/lib/postgresql/17/bin" in text
        assert "db1" not in text

    def test_terminal_shows_and_takes_input(self, tmp_path: Path) -> None:
        script = "import os, json; print(json.dumps(os.get_terminal_size())); print('got', input('name? '))"
        terminal = Terminal([sys.executable, "-c", script], {"PATH": "/usr/bin"}, tmp_path, rows=30, columns=90)
        seen = terminal.read_until("name? ")
        assert json.loads(seen.splitlines()[0]) == [90, 30]
        terminal.type("db2\r")
        assert terminal.end() == 0
        assert "got db2" in terminal.seen
        terminal.close()

    def test_terminal_hang_up_is_a_signal(self, tmp_path: Path) -> None:
        terminal = Terminal(["sleep", "60"], {"PATH": "/usr/bin:/bin"}, tmp_path)
        eventually(lambda: Path(f"/proc/{terminal.program.pid}/comm").read_text() == "sleep\n")
        terminal.hang_up()
        assert terminal.program.wait(10) == -1
        terminal.close()


def namespaces(number: int) -> list[Path]:
    return list(NAMESPACES.glob(f"replctl-{number}-*"))
