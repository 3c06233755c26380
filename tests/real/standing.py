"""A cluster that stands again within a second: built once by the commands under test, then copied from disk."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.real.clusters import build, data_dir, wait_until
from tests.real.hosts import Host, Lan, Operator, pg_bin
from tests.real.hosts.disk import empty_disk, remove_tree

STATE = "var/lib/postgresql"
MAIN = data_dir()
ACTIVE = "select from pg_replication_slots where slot_name = %s and active"


@dataclass(frozen=True)
class Standing:
    """What the disks of the hosts and the operator's folder looked like once db1 had its replicas."""

    operator: Operator
    saved: Path

    @classmethod
    def build(cls, lan: Lan, folder: Path) -> Standing:
        """Build db1 with its replicas, stop them in good order and keep a copy."""
        lan.wipe()
        work = folder / "operator"
        work.mkdir(mode=0o700, parents=True)
        operator = Operator.at(lan, work)
        build(operator)
        for host in lan:
            control(host, "stop", "-m", "fast")
        for host in lan:
            copy(host.disk / STATE, folder / host.name)
        operator.close()
        return cls(operator, folder)

    def restore(self, folder: Path) -> Operator:
        """The cluster runs and streams, as after its building, for an operator in ``folder``."""
        lan = self.operator.lan
        lan.power_off()
        at_once(self._bring_back, lan)
        lan.boot()
        copy(self.operator.folder, folder)
        operator = Operator(lan, folder, self.operator.passwords)
        start(lan["db1"])
        at_once(start, (lan["db2"], lan["db3"]))
        await_streaming(operator, "db1", ("db2", "db3"))
        return operator

    def _bring_back(self, host: Host) -> None:
        empty_disk(host.disk)
        copy(self.saved / host.name, host.disk / STATE)


def at_once(act: Callable[[Host], None], hosts: Iterable[Host]) -> None:
    """The same on several hosts, side by side."""
    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(act, host) for host in hosts]:
            done.result()


def copy(source: Path, target: Path) -> None:
    """With owners, modes and links; the unused rest of a WAL segment takes no room."""
    target.mkdir(exist_ok=True)
    subprocess.run(["cp", "--archive", "--sparse=always", f"{source}/.", target], check=True)


def control(host: Host, *args: str, version: int = 15) -> None:
    """pg_ctl of a host's server, by hand."""
    host.run([f"{pg_bin(version)}/pg_ctl", *args, "-D", data_dir(version), "-s"])


def start(host: Host, version: int = 15) -> None:
    """Start a host's server by hand."""
    control(host, "start", "-l", f"{data_dir(version)}/log/start.log", version=version)


def restart(host: Host) -> None:
    """Restart a host's server by hand."""
    control(host, "stop", "-m", "fast")
    start(host)


def background(host: Host, argv: list[str]) -> subprocess.Popen[bytes]:
    """A program on a host, to be ended by the test."""
    return subprocess.Popen(host.command(argv), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def await_streaming(operator: Operator, primary: str, replicas: Iterable[str]) -> None:
    """Until every replica is listed as streaming by the primary."""
    query = "select application_name from pg_stat_replication where state = 'streaming'"
    with operator.connect(primary) as connection:
        wait_until(lambda: {row[0] for row in connection.execute(query)} >= set(replicas))


def forget(operator: Operator, name: str, primary: str = "db1") -> None:
    """Take a replica away by hand, as if it had never been added."""
    host = operator.lan[name]
    control(host, "stop", "-m", "immediate")
    for path in host.path(data_dir()).parent.iterdir():
        remove_tree(path)
    with operator.connect(primary) as connection:
        wait_until(lambda: not connection.execute(ACTIVE, [f"replctl_{name}"]).fetchall())
        connection.execute("select pg_drop_replication_slot(%s)", [f"replctl_{name}"])
    key, urls = "DB_READ_REPLICA_URLS", operator.read_env()["DB_READ_REPLICA_URLS"]
    kept = ",".join(url for url in urls.split(",") if f"@{host.address}:" not in url)
    operator.env_file.write_text(operator.env_file.read_text().replace(f"{key}={urls}", f"{key}={kept}"))


def server_process(host: Host, kind: str) -> int:
    """A process of the host's server by what it calls itself: ``startup``, ``walreceiver``, ``checkpointer``."""
    (pid,) = host.pids(f"postgres: {kind}")
    return pid


@contextmanager
def held_replay(host: Host) -> Iterator[None]:
    """A standby that goes on receiving and replays nothing."""
    with frozen(host, "startup"):
        yield


@contextmanager
def frozen(host: Host, *kinds: str) -> Iterator[None]:
    """Processes of the host's server stand still."""
    pids = [server_process(host, kind) for kind in kinds]
    freeze(pids)
    try:
        yield
    finally:
        thaw(pids)


def freeze(pids: Iterable[int]) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)


def thaw(pids: Iterable[int]) -> None:
    """One that was killed meanwhile, or ends as it goes on, is well."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def in_recovery(operator: Operator, name: str) -> bool:
    return bool(value(operator, name, "select pg_is_in_recovery()"))


def role(operator: Operator, name: str) -> str:
    return "replica" if in_recovery(operator, name) else "primary"


def value(operator: Operator, name: str, query: str) -> Any:
    """The one value that a query on a node answers."""
    with operator.connect(name) as connection:
        row = connection.execute(query).fetchone()
    return row[0] if row else None


def execute(operator: Operator, name: str, *statements: str) -> None:
    """Statements as the admin."""
    with operator.connect(name) as connection:
        for statement in statements:
            connection.execute(statement)


def lose_slot(operator: Operator, slot: str) -> None:
    """The WAL that an idle slot on db1 kept is gone: whoever had it can never stream from it."""
    for _ in range(3):
        execute(operator, "db1", "select pg_logical_emit_message(false, 'test', 'x')", "select pg_switch_wal()")
    # The replicas that stream must have it all first: their slots would be lost as well.
    near = "select count(*) = 0 from pg_replication_slots where active and pg_current_wal_lsn() - restart_lsn >= 1000"
    wait_until(lambda: value(operator, "db1", near))
    execute(operator, "db1", "alter system set max_slot_wal_keep_size = '1MB'", "select pg_reload_conf()")

    def lost() -> bool:
        execute(operator, "db1", "checkpoint")  # the first may come before the checkpointer has read the setting
        return (
            value(operator, "db1", f"select wal_status from pg_replication_slots where slot_name = '{slot}'") == "lost"
        )

    wait_until(lost)
    execute(operator, "db1", "alter system reset max_slot_wal_keep_size", "select pg_reload_conf()")
