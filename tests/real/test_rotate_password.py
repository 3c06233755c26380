"""Passwords are changed while clients log in all the time, and while what is open stays open."""

from __future__ import annotations

import secrets
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import psycopg
import pytest

from tests.real.clusters import assert_cluster, ok, wait_until
from tests.real.hosts import Host, Operator, pg_bin
from tests.real.standing import MAIN, await_streaming, control, execute, held_replay, start, value
from tests.real.test_secrets import TALKATIVE, VERIFIER, canaries, sampled
from tests.real.watched import Watched

ROLES = ("replication", "app", "admin")
WALSENDERS = "select array_agg(pid order by pid) from pg_stat_replication where application_name like 'db_'"
REFUSED = "password authentication failed"


def renew(operator: Operator, role: str) -> str:
    """The operator puts a new password where the inventory says. Returns the old one."""
    old = operator.passwords[role]
    new = f"{role} b\\:/?#[]@!$&'()*+,;=%41 \" `x` ü\U0001f40b {secrets.token_hex(8)}"
    operator.passwords = {**operator.passwords, role: new}
    operator.write_private(f"secrets/{role}", new + "\n")
    return old


def rotate(operator: Operator, role: str) -> None:
    ok(operator.replctl("rotate-password", role, "--yes"))


def assert_rotated(operator: Operator, role: str) -> None:
    """Every place has the new password, and a second run finds nothing to do."""
    again = ok(operator.replctl("rotate-password", role, "--yes", "-o", "json")).document
    assert (again["outcome"], again["steps"]) == ("unchanged", [])
    assert_cluster(operator, "db1", ["db2", "db3"])
    ok(operator.replctl("env", "--check"))
    for name in operator.lan.names:
        for kind in ("admin", "app"):
            operator.connect(name, kind).close()
        assert logs_in_by_passfile(operator, operator.lan[name])


def assert_useless(operator: Operator, role: str, password: str) -> None:
    """Nobody takes the old password any more."""
    for name in operator.lan.names:
        with pytest.raises(psycopg.OperationalError, match=REFUSED):
            operator.connect(name, role, password=password)


def logs_in_by_passfile(operator: Operator, host: Host) -> bool:
    """A replication login from a host at another one, with the password that stands in its passfile."""
    peer = operator.lan["db2" if host.name == "db1" else "db1"]
    login = f"host={peer.address} user=replicator replication=true passfile={MAIN}.replctl-passfile"
    return psql(host, login).returncode == 0


def psql(host: Host, login: str) -> subprocess.CompletedProcess[bytes]:
    argv = [f"{pg_bin(15)}/psql", "--no-password", "--no-psqlrc", "-c", "IDENTIFY_SYSTEM", login]
    return subprocess.run(host.command(argv), capture_output=True, check=False)


@dataclass(eq=False)
class Client(threading.Thread):
    """Logs in again and again, and remembers when it was let in and when not."""

    log_in: Callable[[], bool]
    let_in: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(daemon=True)
        self._ending = threading.Event()

    def run(self) -> None:
        while not self._ending.is_set():
            begun = time.monotonic()
            (self.let_in if self.log_in() else self.refused).append(begun)

    def end(self) -> None:
        self._ending.set()
        self.join(60)
        assert not self.is_alive()

    @property
    def window_ms(self) -> float:
        """From the first login that was refused to the first one after the last of them."""
        if not self.refused:
            return 0.0
        return (min(at for at in self.let_in if at > self.refused[-1]) - self.refused[0]) * 1000


@contextmanager
def clients(*log_ins: Callable[[], bool]) -> Iterator[list[Client]]:
    """At least two logins of each before and after what is done meanwhile."""
    found = [Client(log_in) for log_in in log_ins]
    for client in found:
        client.start()
    try:
        wait_until(lambda: all(len(client.let_in) > 1 for client in found))
        yield found
        seen = {client: len(client.let_in) for client in found}
        wait_until(lambda: all(len(client.let_in) > seen[client] + 1 for client in found))
    finally:
        for client in found:
            client.end()


def by_password(operator: Operator, name: str, role: str, *passwords: str) -> Callable[[], bool]:
    """A client that knows several passwords."""

    def log_in() -> bool:
        return any(not refused(partial(operator.connect, name, role, password=password)) for password in passwords)

    return log_in


def refused(connect: Callable[[], psycopg.Connection[Any]]) -> bool:
    """Whether the password is not taken. What fails for want of time is no refusal."""
    try:
        connect().close()
    except psycopg.OperationalError as error:
        return REFUSED in str(error)
    return False


def by_env_file(operator: Operator, key: str, number: int = 0) -> Callable[[], bool]:
    """An application that reads its env file before each login."""

    def log_in() -> bool:
        url = operator.read_env()[key].split(",")[number]
        return not refused(partial(psycopg.connect, url, connect_timeout=20))

    return log_in


def log_of(host: Host) -> str:
    return "".join(path.read_text(errors="replace") for path in host.path("/var/lib/postgresql").rglob("*.log"))


def test_replication(cluster: Operator) -> None:
    """The links stay as they are; a new one is let in as soon as its passfile is written."""
    old = renew(cluster, "replication")
    before = value(cluster, "db1", WALSENDERS)
    with clients(lambda: logs_in_by_passfile(cluster, cluster.lan["db2"])) as (client,):
        rotate(cluster, "replication")
    print(f"window: {client.window_ms:.0f} ms, {len(client.refused)} of {len(client.let_in)} refused")
    assert value(cluster, "db1", WALSENDERS) == before
    assert_rotated(cluster, "replication")
    login = f"host={cluster.lan['db1'].address} user=replicator replication=true password='{quoted(old)}'"
    assert REFUSED in psql(cluster.lan["db2"], login).stderr.decode()
    for name in ("db2", "db3"):
        control(cluster.lan[name], "stop", "-m", "fast")
        start(cluster.lan[name])
    await_streaming(cluster, "db1", ("db2", "db3"))
    assert_cluster(cluster, "db1", ["db2", "db3"])


def quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'")


def test_app(cluster: Operator) -> None:
    """Sessions stay; who reads the env file for each login is refused for a moment at most."""
    keys = (("DB_PRIMARY_URL", 0), ("DB_READ_REPLICA_URLS", 0), ("DB_READ_REPLICA_URLS", 1))
    with cluster.connect("db1", "app") as open_session:
        open_session.execute("create table messages (id int)")
        old = renew(cluster, "app")
        log_ins = [by_env_file(cluster, key, number) for key, number in keys]
        either = by_password(cluster, "db1", "app", old, cluster.passwords["app"])
        with clients(*log_ins, either) as found:
            rotate(cluster, "app")
        for client in found:
            print(f"window: {client.window_ms:.0f} ms, {len(client.refused)} of {len(client.let_in)} refused")
        open_session.execute("insert into messages values (1)")
    assert found[-1].refused == []
    assert_rotated(cluster, "app")
    assert_useless(cluster, "app", old)


def test_admin(cluster: Operator) -> None:
    """The old password is not needed: the host lets the OS user in."""
    old = renew(cluster, "admin")
    log_ins = [by_password(cluster, name, "admin", old, cluster.passwords["admin"]) for name in cluster.lan.names]
    with clients(*log_ins) as found:
        rotate(cluster, "admin")
    assert [client.refused for client in found] == [[], [], []]
    assert_rotated(cluster, "admin")
    assert_useless(cluster, "admin", old)


def test_admin_with_the_old_password(cluster: Operator) -> None:
    """Where the host does not let the OS user in, the old password is asked for."""
    for host in cluster.lan:
        hba = host.path(f"{MAIN}/pg_hba.conf")
        hba.write_text(hba.read_text().replace("peer", "scram-sha-256"))
        host.run([f"{pg_bin(15)}/pg_ctl", "reload", "-s", "-D", MAIN])
    old = renew(cluster, "admin")
    refused = cluster.replctl("rotate-password", "admin", "--yes")
    assert refused.code == 3
    assert "--old-password-file" in refused.err
    cluster.write_private("old", old + "\n")
    ok(cluster.replctl("rotate-password", "admin", "--yes", "--old-password-file", "old"))
    assert_rotated(cluster, "admin")
    assert_useless(cluster, "admin", old)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("role", "moment"),
    [
        ("replication", ("db1", "password", "done")),
        ("replication", ("db2", "passfile", "done")),
        ("app", ("db1", "password", "done")),
        ("admin", ("db1", "password", "done")),
    ],
    ids=lambda part: part if isinstance(part, str) else "-".join(part[:2]),
)
def test_killed(cluster: Operator, role: str, moment: tuple[str, ...]) -> None:
    """The same command goes on from what is there."""
    renew(cluster, role)
    run = Watched(cluster, "rotate-password", role, "--yes")
    run.until(*moment)
    run.kill()
    rotate(cluster, role)
    assert_rotated(cluster, role)


def test_what_cannot_be_finished_is_taken_back(cluster: Operator) -> None:
    """Where a standby does not come to know the new password, the old one is put back, though nobody tells it."""
    old, env = renew(cluster, "app"), cluster.read_env()
    cluster.write_inventory(extra={"timeouts": {"catchup": 2}})
    with held_replay(cluster.lan["db2"]):
        run = cluster.replctl("rotate-password", "app", "--yes", "-o", "json")
    assert run.code == 5, run.err
    outcomes = {step["id"]: step["outcome"] for step in run.document["steps"]}
    assert (outcomes["password:db1"], outcomes["env"]) == ("undone", "not-run")
    assert cluster.read_env() == env
    cluster.connect("db1", "app", password=old).close()
    cluster.write_inventory()
    rotate(cluster, "app")
    assert_rotated(cluster, "app")
    assert_useless(cluster, "app", old)


def test_interrupted(cluster: Operator) -> None:
    old = renew(cluster, "app")
    with held_replay(cluster.lan["db2"]):
        run = Watched(cluster, "rotate-password", "app", "--yes")
        run.until("db2", "known", "waiting")
        run.signal(signal.SIGINT)
        ended = run.end()
    assert ended.code == 130, ended.err
    cluster.connect("db1", "app", password=old).close()
    rotate(cluster, "app")
    assert_rotated(cluster, "app")


def test_no_password_leaves_its_place(cluster: Operator) -> None:
    for name in cluster.lan.names:
        execute(cluster, name, *(f"alter system set {key} = '{v}'" for key, v in TALKATIVE.items() if "log" in key))
        execute(cluster, name, "select pg_reload_conf()")
    said = ""
    for role in ROLES:
        renew(cluster, role)
    with sampled(cluster) as sampler:
        for role in ("admin", "replication", "app"):
            run = ok(cluster.replctl("rotate-password", role, "--yes", "-v"))
            said += run.out + run.err
    assert sampler.found == set()
    assert [canary for canary in canaries(cluster) if canary in said.encode()] == []
    assert "SCRAM" not in said
    for host in cluster.lan:
        log = log_of(host).encode()
        assert not VERIFIER.search(log)
        assert [canary for canary in canaries(cluster) if canary in log] == []
    assert_rotated(cluster, "app")


def test_a_node_that_is_away_is_told(cluster: Operator) -> None:
    """Its passfile is written by the next run that reaches it."""
    host = cluster.lan["db3"]
    renew(cluster, "replication")
    control(host, "stop", "-m", "fast")
    host.stop_sshd()
    run = cluster.replctl("rotate-password", "replication", "--yes", "-o", "json")
    assert run.code == 6
    assert "db3" in run.document["next"]
    host.start_sshd()
    start(host)
    ok(cluster.replctl("rotate-password", "replication", "--yes"))
    await_streaming(cluster, "db1", ("db2", "db3"))
    assert_rotated(cluster, "replication")
