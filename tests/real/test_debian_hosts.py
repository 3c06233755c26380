"""The Debian hosts of the real tier are what they claim to be."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import paramiko
import pytest

from tests.real.clusters import wait_until
from tests.real.debian import DEBIAN, RPM, DebianHost, DebianLan, base_image, image
from tests.real.debian.image import CACHE
from tests.real.debian.mounts import cgroup_roots
from tests.real.hosts import DEPLOY, MissingServerError, Operator, PowerError
from tests.real.hosts.claims import claim_network

SECONDS = 120.0
"""A machine that is busy with other things takes that long over what takes two seconds."""


@pytest.fixture(scope="module")
def hosts() -> Iterator[DebianLan]:
    """db1 has a cluster, db2 has none."""
    with DebianLan(("db1", "db2")) as lan:
        started(lan["db1"])
        yield lan


@pytest.fixture
def lan(hosts: DebianLan) -> DebianLan:
    """Both hosts are on, and db1's server is up: whatever a test does, it does not change disks for long."""
    hosts.boot()
    hosts["db1"].systemctl("start", DEBIAN.unit)
    return hosts


@pytest.fixture(scope="module")
def rpm() -> Iterator[DebianHost]:
    with DebianLan(("db1",), RPM) as lan:
        yield started(lan["db1"])


@contextmanager
def ssh(lan: DebianLan, host: DebianHost, user: str) -> Iterator[paramiko.SSHClient]:
    client = paramiko.SSHClient()
    known_hosts = lan.claim.folder / "known_hosts"
    known_hosts.write_text(lan.known_hosts)
    client.load_host_keys(str(known_hosts))
    options = {"key_filename": str(lan.identity_file), "allow_agent": False, "look_for_keys": False}
    with client:
        limits = {"timeout": SECONDS, "banner_timeout": SECONDS, "auth_timeout": SECONDS}
        client.connect(host.address, username=user, **limits, **options)
        yield client


def answer(client: paramiko.SSHClient, command: str) -> str:
    stdin, stdout, stderr = client.exec_command(command)
    with stdin, stdout, stderr:
        return stdout.read().decode().strip()


def started(host: DebianHost) -> DebianHost:
    """The host, with a cluster that its unit runs now and at every boot."""
    host.make_cluster()
    if host.layout == RPM:
        host.systemctl("enable", host.layout.unit)
    host.systemctl("start", host.layout.unit)
    return host


def answers(host: DebianHost) -> bool:
    """Whether the server takes connections on its socket."""
    query = [f"{host.layout.bin_dir}/psql", "-h", "/run/postgresql", "-Atc", "select 1"]
    return host.run(query, check=False).stdout == b"1\n"


def group_of(pid: int) -> str:
    """The version 2 cgroup of a process, by the machine's number."""
    return next(line for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines() if line.startswith("0::"))


class TestHosts:
    def test_systemd_runs_and_nothing_has_failed(self, lan: DebianLan) -> None:
        for host in lan:
            assert host.systemctl("is-system-running", "--wait") == "running"
            assert host.run(["hostname"]).stdout == f"{host.name}\n".encode()
            assert host.run(["stat", "-fc", "%T", "/sys/fs/cgroup"]).stdout == b"cgroup2fs\n"

    @pytest.mark.parametrize("user", ["postgres", "root", DEPLOY])
    def test_sshd_lets_each_user_in_and_logind_knows_of_it(self, lan: DebianLan, user: str) -> None:
        for host in lan:
            with ssh(lan, host, user) as client:
                assert answer(client, "id -un; hostname") == f"{user}\n{host.name}"
                assert "/session-" in answer(client, "cat /proc/self/cgroup")

    def test_deploy_may_do_to_the_unit_what_is_listed_and_nothing_else(self, lan: DebianLan) -> None:
        host = lan["db1"]
        with ssh(lan, host, DEPLOY) as client:
            assert answer(client, "sudo -n -u postgres id -un") == "postgres"
            assert answer(client, f"sudo -n systemctl stop {DEBIAN.unit} && echo done") == "done"
            assert not answers(host)
            for refused in ("id -un", "systemctl stop ssh", f"systemctl stop {DEBIAN.unit} ssh.service"):
                assert answer(client, f"sudo -n {refused} 2>/dev/null || echo refused") == "refused"

    def test_hosts_are_strangers_to_each_other(self, lan: DebianLan) -> None:
        first, second = lan["db1"], lan["db2"]
        assert first.read("/etc/machine-id") != second.read("/etc/machine-id")
        assert len({line.split()[2] for line in lan.known_hosts.splitlines()}) == 2
        assert {process.pid for process in first.processes()}.isdisjoint(second.pids())
        assert set(map(group_of, first.pids())).isdisjoint(map(group_of, second.pids()))

    def test_an_operator_is_at_home(self, lan: DebianLan, tmp_path: Path) -> None:
        operator = Operator.at(lan, tmp_path)
        operator.write_inventory(nodes=["db2"])
        run = operator.replctl("status", "-o", "json")
        operator.close()
        assert [row["state"] for row in run.document["nodes"]] == ["absent"]


class TestUnit:
    def test_cluster_runs_under_systemd_and_comes_back_after_a_reboot(self, lan: DebianLan) -> None:
        host = lan["db1"]
        assert answers(host)
        assert group_of(host.postmaster(DEBIAN.data_dir)).endswith("/postgresql@15-main.service")
        assert Path(f"{host.path(DEBIAN.config_dir)}/start.conf").read_text().endswith("\nauto\n")
        host.reboot()
        wait_until(lambda: host.unit_state() == "active", SECONDS)
        wait_until(lambda: answers(host), SECONDS)

    def test_shutdown_stops_the_server_in_good_order(self, lan: DebianLan) -> None:
        host = lan["db1"]
        host.shutdown()
        log = host.path("/var/log/postgresql/postgresql-15-main.log").read_text()
        assert log.splitlines()[-1].endswith("LOG:  database system is shut down")
        with pytest.raises(PowerError, match="db1 is off"):
            host.run(["true"])
        host.power_on()
        wait_until(lambda: answers(host), SECONDS)

    def test_power_cut_ends_everything_and_the_server_recovers(self, lan: DebianLan) -> None:
        host = lan["db1"]
        assert populated(host)
        host.power_cut()
        assert not populated(host)
        host.power_on()
        wait_until(lambda: answers(host), SECONDS)
        assert "not properly shut down" in host.path("/var/log/postgresql/postgresql-15-main.log").read_text()


class TestCable:
    def test_unplugged_host_is_silent_and_comes_back(self, lan: DebianLan) -> None:
        host = lan["db1"]
        with socket.create_connection((host.address, 22), SECONDS) as connection:
            connection.recv(100)
            host.unplug()
            connection.sendall(b"SSH-2.0-test\r\n")
            connection.settimeout(0.5)
            with pytest.raises(TimeoutError):
                connection.recv(100)
            host.plug()
            connection.settimeout(SECONDS)
            assert connection.recv(100)

    def test_stopped_sshd_refuses_and_keeps_open_sessions(self, lan: DebianLan) -> None:
        host = lan["db1"]
        with ssh(lan, host, "postgres") as client:
            host.stop_sshd()
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((host.address, 22), SECONDS)
            assert answer(client, "hostname") == "db1"
        host.start_sshd()
        with ssh(lan, host, "postgres") as client:
            assert answer(client, "hostname") == "db1"


class TestRpm:
    def test_server_runs_under_its_unit_and_comes_back_after_a_reboot(self, rpm: DebianHost) -> None:
        assert answers(rpm)
        assert group_of(rpm.postmaster(RPM.data_dir)).endswith("/postgresql-16.service")
        main = rpm.systemctl("show", "--property=MainPID", "--value", RPM.unit)
        assert rpm.read(f"{RPM.data_dir}/postmaster.pid").splitlines()[0] == main
        rpm.reboot()
        wait_until(lambda: rpm.unit_state() == "active", SECONDS)
        assert answers(rpm)

    def test_nothing_of_debians_postgresql_is_there(self, rpm: DebianHost) -> None:
        look = "ls -d /usr/lib/postgresql /etc/postgresql /var/lib/postgresql; command -v pg_lsclusters"
        assert rpm.run(["sh", "-c", look], check=False).stdout == b""
        assert (
            rpm.run(["sh", "-c", "psql --version; echo ~postgres"]).stdout
            == b"psql (PostgreSQL) 16.2\n/var/lib/pgsql\n"
        )


class TestDisks:
    def test_kept_state_comes_back_and_wiped_hosts_are_new(self) -> None:
        with DebianLan(("a",)) as lan:
            host = lan["a"]
            identifier, kept = host.read("/etc/machine-id"), host.path("/var/lib/postgresql/kept")
            kept.mkdir()
            lan.keep()
            for back in (lan.restore, lan.restore, lan.wipe):
                host.path(f"/etc/sudoers.d/{DEPLOY}").unlink()
                kept.rename(host.path("/var/lib/postgresql/stray"))
                back()
                assert host.read(f"/etc/sudoers.d/{DEPLOY}")
                assert host.read("/etc/machine-id") == identifier
                assert not host.path("/var/lib/postgresql/stray").exists()
                assert kept.exists() == (back == lan.restore)


class TestEnds:
    def test_nothing_is_left(self) -> None:
        with DebianLan(("a",)) as lan:
            number = lan.claim.number
            assert populated(lan["a"])
            assert f"{lan.claim.folder}/a" not in Path("/proc/self/mounts").read_text()
        assert not groups(number)

    def test_killed_run_ends_its_hosts_at_once(self) -> None:
        script = (
            "import sys, tests.real.debian as d\n"
            "with d.DebianLan(('a',)) as lan:\n"
            " print(lan.claim.number, flush=True)\n"
            " sys.stdin.read()"
        )
        program = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        with program:
            number = int(program.stdout.readline())
            assert groups(number)
            os.kill(program.pid, signal.SIGKILL)
        # A cgroup is only removed once the last process of it is gone.
        wait_until(lambda: not groups(number), SECONDS)
        claim_network().release()


class TestImage:
    def test_it_is_made_once(self) -> None:
        made = base_image()
        assert made.parent == CACHE
        assert base_image().stat().st_ino == made.stat().st_ino
        assert not [*made.glob("etc/ssh/ssh_host_*"), *made.glob("var/lib/postgresql/*/*")]

    def test_half_made_one_is_made_anew(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        script = tmp_path / "make-image.sh"
        monkeypatch.setattr(image, "MAKE_IMAGE", script)
        script.write_text('touch "$1/stray"; echo "no such mirror: $3" >&2; exit 1\n')
        with pytest.raises(MissingServerError, match=r"no such mirror: \w+:/"):
            base_image(tmp_path)
        assert list(tmp_path.glob("*.building/stray"))
        script.write_text('touch "$1/made"\n')
        made = base_image(tmp_path)
        assert [path.name for path in made.iterdir()] == ["made"]
        assert not list(tmp_path.glob("*.building"))


def populated(host: DebianHost) -> bool:
    """Whether any process of the host's is left."""
    events = [path for group in host.mounts.groups(host.name) if (path := group / "cgroup.events").exists()]
    return "populated 1\n" in events[0].read_text()


def groups(number: int) -> list[Path]:
    return [group for root in cgroup_roots() if (group := root / f"replctl-tests-{number}").exists()]
