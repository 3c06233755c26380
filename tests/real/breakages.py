"""Ten ways in which somebody breaks db1 with its replicas db2 and db3 by hand, and how an operator follows advice.

A breakage returns once it shows. Those that change more than a server's own files take that back when they are left;
the rest goes with the hosts' disks.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.real.clusters import data_dir, wait_until
from tests.real.disasters import commit, failover, lose, make_table
from tests.real.hosts import Host, Operator, Run, Terminal
from tests.real.hosts.operator import REPLCTL
from tests.real.standing import ACTIVE, MAIN, await_streaming, control, execute, in_recovery, lose_slot, start, value
from tests.real.test_faults_configuration import own_disk

QUESTION = "[y/N]"
BY_HAND = "changed by hand"
ASIDE = f"{MAIN}.replctl-aside-20250101T000000Z"
SUDOERS = "/etc/sudoers.d/postgres"


@dataclass(frozen=True)
class Site:
    """db1 with the replicas db2 and db3 of one major version, and their operator."""

    operator: Operator
    version: int = 15

    def host(self, name: str) -> Host:
        return self.operator.lan[name]

    def path(self, name: str, beside: str = "") -> Path:
        """A node's data directory on this machine, or what stands ``beside`` it with its name in front."""
        return self.host(name).path(data_dir(self.version) + beside)

    def stop(self, name: str) -> None:
        control(self.host(name), "stop", "-m", "fast", version=self.version)

    def start(self, name: str) -> None:
        start(self.host(name), self.version)

    def restart(self, name: str) -> None:
        self.stop(name)
        self.start(name)

    def reload(self, name: str) -> None:
        """Until new sessions find the files in force."""
        before = value(self.operator, name, "select pg_conf_load_time()")
        control(self.host(name), "reload", version=self.version)
        wait_until(lambda: value(self.operator, name, "select pg_conf_load_time()") > before)

    def streams(self, name: str) -> bool:
        query = f"select count(*) from pg_stat_replication where state = 'streaming' and application_name = '{name}'"
        return bool(value(self.operator, "db1", query))

    def cut_off(self, *names: str) -> None:
        """Connections that stood end, and replicas that cannot make another one are gone from the primary's list."""
        for name in names:
            query = f"select pg_terminate_backend(pid) from pg_stat_replication where application_name = '{name}'"
            execute(self.operator, "db1", query)
        wait_until(lambda: not any(self.streams(name) for name in names))


def change_password(site: Site) -> None:
    """Somebody gives the replication role another password."""
    execute(site.operator, "db1", f"alter role replicator password '{BY_HAND}'")
    site.cut_off("db2", "db3")


def overwrite_passfile(site: Site) -> None:
    """Somebody puts another password into the file that db2 reads."""
    site.path("db2", ".replctl-passfile").write_text(f"*:*:*:*:{BY_HAND}\n")
    site.cut_off("db2")


def remove_hba_lines(site: Site) -> None:
    """Somebody tidies up the primary's pg_hba.conf."""
    rules = site.path("db1") / "pg_hba.conf"
    lines = rules.read_text().splitlines(keepends=True)
    rules.write_text("".join(line for line in lines if "replicator" not in line))
    site.reload("db1")
    site.cut_off("db2", "db3")


def drop_slot(site: Site) -> None:
    """Somebody drops db2's slot while db2 is stopped."""
    site.stop("db2")
    with site.operator.connect("db1") as connection:
        wait_until(lambda: not connection.execute(ACTIVE, ["replctl_db2"]).fetchall())
        connection.execute("select pg_drop_replication_slot('replctl_db2')")
    site.start("db2")


def pause_replay(site: Site) -> None:
    """Somebody holds up db2's replay, and the primary writes on."""
    execute(site.operator, "db2", "select pg_wal_replay_pause()")
    execute(site.operator, "db1", "create table behind as select generate_series(1, 1000)")
    wait_until(lambda: value(site.operator, "db2", "select pg_get_wal_replay_pause_state()") == "paused")


@contextmanager
def full_disk(site: Site) -> Iterator[None]:
    """What an earlier run moved aside leaves no room for another WAL segment on db2's disk."""
    operator, host = site.operator, site.host("db2")
    with own_disk(operator, host, 250):
        # Without its cache of the system catalogs, which the first session writes, a server lets nobody in.
        assert in_recovery(operator, "db2")
        host.run(["mkdir", ASIDE])
        host.run(["dd", "if=/dev/zero", f"of={ASIDE}/base", "bs=64k"], check=False)
        wait_until(lambda: _has_no_room(site))
        yield


def _has_no_room(site: Site) -> bool:
    """Whether db2 has broken off; a segment more is sent once it has all others."""
    behind = "select flush_lsn < pg_current_wal_lsn() from pg_stat_replication where application_name = 'db2'"
    if value(site.operator, "db1", behind) is False:
        # A message extends no table: a standby that cannot extend one while it replays would end.
        execute(site.operator, "db1", "select pg_logical_emit_message(false, 'test', 'x')", "select pg_switch_wal()")
    return not site.streams("db2")


def stop_replica(site: Site) -> None:
    """Somebody stops db2."""
    site.stop("db2")


@contextmanager
def block_port(site: Site) -> Iterator[None]:
    """A firewall on db1 lets nothing from db2 get to PostgreSQL's port; SSH is open. The operator may become root."""
    host, address = site.host("db1"), site.host("db2").address
    sudoers = host.path(SUDOERS)
    sudoers.write_text("postgres ALL=(root) NOPASSWD: ALL\n")
    sudoers.chmod(0o440)
    rule = ("-p", "tcp", "-s", address, "--dport", "5432", "-j", "DROP")
    host.run(["iptables", "-A", "INPUT", *rule], "root")
    try:
        site.cut_off("db2")
        yield
    finally:
        host.run(["iptables", "-F"], "root")
        sudoers.unlink()


def remove_wal(site: Site) -> None:
    """db2 was away for so long that the primary gave up its slot."""
    site.stop("db2")
    lose_slot(site.operator, "replctl_db2")
    site.start("db2")


def go_astray(site: Site) -> None:
    """Somebody promotes db2 by hand, writes to it, and makes it a standby again."""
    control(site.host("db2"), "promote", version=site.version)
    execute(site.operator, "db2", "create table astray as select generate_series(1, 1000)")
    signal = site.path("db2") / "standby.signal"
    site.host("db2").run(["touch", f"{data_dir(site.version)}/{signal.name}"])
    site.restart("db2")
    assert in_recovery(site.operator, "db2")


def bring_back_old_primary(site: Site) -> None:
    """db1 died with commits that nobody else has, db2 took over, and somebody starts db1 again: as a standby, since
    the failover saw to that."""
    make_table(site.operator)
    commit(site.operator, "db1", range(10))
    lose(site.operator, range(100, 120))
    failover(site.operator, "db2", code=6)
    await_streaming(site.operator, "db2", ["db3"])
    site.start("db1")
    assert in_recovery(site.operator, "db1")


def edit_configuration(site: Site) -> None:
    """Somebody edits postgresql.conf on db2."""
    settings = site.path("db2") / "postgresql.conf"
    settings.write_text(settings.read_text() + "work_mem = '1GB'\n")
    site.reload("db2")
    assert value(site.operator, "db2", "show work_mem") == "1GB"


def alter_system(site: Site) -> None:
    """Somebody sets on db2 what wins over every file."""
    execute(site.operator, "db2", "alter system set max_slot_wal_keep_size = '1GB'")
    site.reload("db2")
    assert value(site.operator, "db2", "show max_slot_wal_keep_size") == "1GB"


def lower_connections(site: Site) -> None:
    """Somebody gives db2 fewer connections than a standby of db1 needs to start with."""
    execute(site.operator, "db2", "alter system set max_connections = 20")
    site.reload("db2")
    assert value(site.operator, "db2", "select pending_restart from pg_settings where name = 'max_connections'")


def restart_with_too_few_connections(site: Site) -> None:
    """Somebody restarts db2 with fewer connections than its primary has: it does not start."""
    lower_connections(site)
    site.stop("db2")
    with pytest.raises(AssertionError):
        site.start("db2")


def tools(operator: Operator) -> dict[str, str]:
    """The environment of an operator's shell: replctl, and an ssh that knows key and hosts as by ~/.ssh/config."""
    folder = operator.folder / "bin"
    folder.mkdir(exist_ok=True)
    config = operator.write_private(
        "ssh_config",
        f"IdentityFile {operator.folder}/id_ed25519\n"
        "IdentitiesOnly yes\n"
        f"UserKnownHostsFile {operator.folder}/known_hosts\n"
        "StrictHostKeyChecking yes\n",
    )
    ssh = folder / "ssh"
    ssh.write_text(f'#!/bin/sh\nexec /usr/bin/ssh -F {shlex.quote(str(config))} "$@"\n')
    ssh.chmod(0o755)
    return operator.environ({"PATH": f"{folder}:{REPLCTL.parent}:{os.environ['PATH']}"})


def by_hand(operator: Operator, command: str) -> Run:
    """What an operator who copies a command into a shell sees: everything on one terminal. They agree if asked."""
    terminal = Terminal(["sh", "-c", command], tools(operator), operator.folder)
    try:
        with suppress(AssertionError):  # it ends without a question
            terminal.read_until(QUESTION)
            terminal.type("y\r")
        return Run(terminal.end(120), terminal.seen, "")
    finally:
        terminal.close()
