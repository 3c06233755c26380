"""Killed after every remote operation, and run again: what changes a cluster that stands. A sample runs with the other
tests, three kills on one cluster; the whole sweep is slow, and has a cluster of its own for each kill."""

from __future__ import annotations

import json
import shlex
import stat
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from replctl.postgres.adopted import INCLUDE, without_block
from replctl.postgres.conf_syntax import parse_conf
from tests.real.clusters import assert_env, slots, wait_until
from tests.real.hosts import DEPLOY, QUICK, Host, Lan, Operator, pg_bin
from tests.real.ledger import Writer
from tests.real.standing import (
    MAIN,
    STATE,
    Standing,
    await_streaming,
    control,
    copy,
    execute,
    in_recovery,
    restart,
    start,
    value,
)
from tests.real.sweeps import Case, every, nothing, stumble, sweep
from tests.real.test_adopt import by_hand
from tests.real.test_rotate_password import (
    assert_useless,
    by_env_file,
    by_password,
    clients,
    logs_in_by_passfile,
    renew,
)

REPLICAS = ("db2", "db3")
OLD = "old-password"
RAISED, LOWERED = 60, 40
"""max_connections, from 50."""
ROLES = """
select role, setconfig from pg_authid as role left join pg_db_role_setting on setrole = oid
where rolname in ('chat', 'team') order by rolname
"""
TEAM = (
    "create role team login password 'their own'",
    "alter role team set work_mem = '5MB'",
    "create table teams (name text)",
    "insert into teams values ('blue')",
    "grant select on teams to team",
)
FILES = ("postgresql.conf", "pg_hba.conf", "team.conf")
THEIRS = "# the application's own\n" * 2000
"""More than one packet of SSH's."""
COPY = f"/home/{DEPLOY}/chat.env"
RELOADS = f"/home/{DEPLOY}/reloads"
WANTED, BEHIND = "wanted.env", "behind.env"


def is_whole(operator: Operator, primary: str) -> None:
    """Everybody else streams from it by a slot, and the env file says so."""
    replicas = [name for name in operator.lan.names if name != primary]
    await_streaming(operator, primary, replicas)
    assert_env(operator, primary, replicas)
    assert slots(operator, primary) == {f"replctl_{name}" for name in replicas}


# --- init-primary --adopt


def psql(host: Host, query: str) -> str:
    """As the OS user at the local socket: the way of the team that set the server up."""
    argv = [f"{pg_bin(15)}/psql", "-X", "-q", "-t", "-A", "-h", "/run/postgresql", "-d", "postgres", "-c", query]
    return host.run(argv).stdout.decode()


def set_up_by_hand(lan: Lan, folder: Path) -> Callable[[Path], Operator]:
    """A primary of a team's own, which runs again as it was then for each operator in a new folder."""
    kept, disk = folder / "operator", folder / "disk"
    kept.mkdir(mode=0o700)
    lan.wipe()
    operator, host = Operator.at(lan, kept), lan["db1"]
    operator.write_inventory(parameters={})
    by_hand(operator, host)
    for statement in TEAM:
        psql(host, statement)
    (kept / "roles").write_text(psql(host, ROLES))
    for name in FILES:
        (kept / name).write_text(host.path(f"{MAIN}/{name}").read_text())
    control(host, "stop", "-m", "fast")
    copy(host.disk / STATE, disk)

    def restore(place: Path) -> Operator:
        lan.wipe()
        copy(disk, host.disk / STATE)
        copy(kept, place)
        start(host)
        return Operator(lan, place, operator.passwords)

    return restore


def nothing_of_theirs_is_lost(operator: Operator) -> None:
    """Their files are as they were, but for what refers to ours; their roles and rows are as they were."""
    host, before = operator.lan["db1"], {name: (operator.folder / name).read_text() for name in FILES}
    now = {name: host.path(f"{MAIN}/{name}").read_text() for name in FILES}
    added = now["postgresql.conf"].removeprefix(before["postgresql.conf"].rstrip())
    assert added.strip() in ("", f"# Settings that replctl manages\n{INCLUDE}")
    assert without_block(now["pg_hba.conf"]) == before["pg_hba.conf"]
    assert now["team.conf"] == before["team.conf"]
    if runs(host):
        assert psql(host, ROLES) == (operator.folder / "roles").read_text()
        assert psql(host, "select * from teams") == "blue\n"


def is_adopted(operator: Operator) -> None:
    nothing_of_theirs_is_lost(operator)
    assert_env(operator, "db1", [])
    assert value(operator, "db1", "show max_connections") == "77"


ADOPT = Case(("init-primary", "db1", "--adopt", "--restart"), nothing, is_adopted, holds=nothing_of_theirs_is_lost)


# --- rotate-password


def new_password(role: str, operator: Operator) -> None:
    operator.write_private(OLD, renew(operator, role))


def old_password(operator: Operator) -> str:
    return (operator.folder / OLD).read_text()


@contextmanager
def one_of_both_lets_in(role: str, operator: Operator) -> Iterator[None]:
    """Who knows the old password and the new one is let in, everywhere and all the time."""
    known = (old_password(operator), operator.passwords[role])
    log_ins = [by_password(operator, name, role, *known) for name in operator.lan.names]

    def log_in_everywhere() -> bool:
        time.sleep(0.01)
        return all(log_in() for log_in in log_ins)

    with clients(log_in_everywhere) as (client,):
        yield
    assert client.refused == []


def still_streams(operator: Operator) -> None:
    """Asked without a password."""
    query = "select count(*) from pg_stat_replication where state = 'streaming'"
    wait_until(lambda: psql(operator.lan["db1"], query) == "2\n", 60)


def is_rotated(role: str, operator: Operator) -> None:
    """Every place has the new password, and whoever has to log in again can."""
    for host in operator.lan:
        operator.connect(host.name, "admin").close()
        operator.connect(host.name, "app").close()
        assert logs_in_by_passfile(operator, host)
    assert by_env_file(operator, "DB_PRIMARY_URL")()
    if role != "replication":
        assert_useless(operator, role, old_password(operator))
    execute(operator, "db1", "select pg_terminate_backend(pid) from pg_stat_replication")
    is_whole(operator, "db1")


def rotation(role: str) -> Case:
    command, begin, check = ("rotate-password", role), partial(new_password, role), partial(is_rotated, role)
    if role == "replication":
        return Case(command, begin, check, holds=still_streams)
    return Case(command, begin, check, holds=still_streams, meanwhile=partial(one_of_both_lets_in, role))


# --- config apply


def wants_connections(number: int, operator: Operator) -> None:
    operator.write_inventory(parameters={**QUICK, "max_connections": number})


def demanded(host: Host) -> int:
    """The max_connections that a standby with this directory has to have, or it does not start."""
    text = host.run([f"{pg_bin(15)}/pg_controldata", "-D", MAIN]).stdout.decode()
    (line,) = [line for line in text.splitlines() if line.startswith("max_connections setting:")]
    return int(line.split()[-1])


def written(host: Host) -> int:
    """The max_connections that it will start with."""
    return int(parse_conf(host.path(f"{MAIN}/postgresql.conf").read_text())["max_connections"])


def runs(host: Host) -> bool:
    return host.path(f"{MAIN}/postmaster.pid").exists()


def fits(operator: Operator) -> None:
    """Whichever host fails and boots now: each standby can start, and goes on replaying under its primary."""
    primary = operator.lan["db1"]
    for name in REPLICAS:
        standby = operator.lan[name]
        has = int(psql(standby, "show max_connections")) if runs(standby) else written(standby)
        seen = (name, has, written(standby), demanded(standby), written(primary), demanded(primary))
        assert written(standby) >= max(demanded(standby), demanded(primary)), seen
        assert has >= max(written(primary), demanded(primary)), seen


def has_connections(number: int, operator: Operator) -> None:
    assert [value(operator, name, "show max_connections") for name in operator.lan.names] == [str(number)] * 3
    is_whole(operator, "db1")


def comes_back(operator: Operator) -> None:
    """Every server that runs restarts, the standbys first, and they stream and replay as before."""
    running = [host for host in operator.lan if runs(host)]
    for host in sorted(running, key=lambda host: host.name == "db1"):
        restart(host)
    if operator.lan["db1"] in running:
        standbys = [host.name for host in running if host.name != "db1"]
        for name in standbys:  # a reload ends the pause between two attempts to connect
            control(operator.lan[name], "reload")
        await_streaming(operator, "db1", standbys)
        for name in standbys:
            assert value(operator, name, "select pg_get_wal_replay_pause_state()") == "not paused"


IN_PLACE = ("config", "apply", "--restart", "--restart-primary")


def configured(number: int, holds: Callable[[Operator], None]) -> Case:
    begin, check = partial(wants_connections, number), partial(has_connections, number)
    return Case(IN_PLACE, begin, check, holds=holds, finish=configure_on)


def configure_on(operator: Operator, case: Case) -> None:
    go_on(operator, case)
    again = operator.replctl(*case.command, "--yes", "-o", "json")
    assert (again.code, again.document["outcome"]) == (0, "unchanged"), again.out + again.err


def go_on(operator: Operator, case: Case) -> None:
    """A run that only starts or finishes what another one had begun says that it has to be run again."""
    run = operator.replctl(*case.command, "--yes", "-o", "json")
    if run.code == 6:
        assert " again" in run.document["next"]
        run = operator.replctl(*case.command, "--yes", "-o", "json")
    assert run.code == 0, run.out + run.err
    case.check(operator)


# --- restart --rolling


@contextmanager
def writing(operator: Operator) -> Iterator[None]:
    with Writer(operator) as writer:
        yield
    (operator.folder / "acknowledged").write_text(json.dumps(writer.acknowledged))


def nothing_is_lost(operator: Operator) -> None:
    """Whoever is the primary in the end: all stream from it, and it has every row."""
    primary = next(name for name in operator.lan.names if not in_recovery(operator, name))
    is_whole(operator, primary)
    acknowledged = operator.folder / "acknowledged"
    if acknowledged.exists():
        with operator.connect(primary, "app") as connection:
            there = {row[0] for row in connection.execute("select n from ledger")}
        assert set(json.loads(acknowledged.read_text())) <= there


ROLL = Case(("restart", "--rolling"), nothing, nothing_is_lost, meanwhile=writing, finish=go_on)


# --- env --write to hosts of the application


def copies(operator: Operator) -> list[Path]:
    return [operator.lan[name].path(COPY) for name in REPLICAS]


def outdated(operator: Operator) -> None:
    """Two hosts of the application, and an env file that is behind there as here."""
    reload = shlex.join(["sh", "-c", f"echo again >>{RELOADS}"])
    hosts = [{"host": operator.lan[name].address, "user": DEPLOY, "path": COPY, "reload": reload} for name in REPLICAS]
    operator.write_inventory(extra={"app": {"publish": hosts}})
    wanted = operator.env_file.read_text()
    key, urls = "DB_READ_REPLICA_URLS", operator.read_env()["DB_READ_REPLICA_URLS"]
    behind = wanted.replace(f"{key}={urls}", f"{key}=")
    operator.write_private(WANTED, wanted)
    operator.write_private(BEHIND, behind)
    operator.env_file.write_text(behind)
    for name in REPLICAS:
        write = ["sh", "-c", 'umask 077; cat >"$1"', "sh", COPY]
        operator.lan[name].run(write, DEPLOY, (THEIRS + behind).encode())


def whole(operator: Operator) -> None:
    """The file here and its copies are the old ones or the new ones, to the last line."""
    known = {(operator.folder / name).read_text() for name in (WANTED, BEHIND)}
    assert operator.env_file.read_text() in known
    for path in copies(operator):
        assert path.read_text().removeprefix(THEIRS) in known


@contextmanager
def read_all_the_time(operator: Operator) -> Iterator[None]:
    """The application may read its file at any moment."""
    reading, ending = ThreadPoolExecutor(1), threading.Event()

    def read() -> None:
        while not ending.wait(0.005):
            whole(operator)

    with reading:
        reader = reading.submit(read)
        try:
            yield
        finally:
            ending.set()
            reader.result()


def is_published(operator: Operator) -> None:
    """The new file everywhere, each application told, and nothing left beside it."""
    wanted = (operator.folder / WANTED).read_text()
    assert operator.env_file.read_text() == wanted
    for path in copies(operator):
        assert path.read_text() == THEIRS + wanted
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        beside = {other.name for other in path.parent.iterdir()}
        assert beside == {"chat.env", "chat.env.replctl-previous", "reloads"}


PUBLISH = Case(("env", "--write"), outdated, is_published, holds=whole, meanwhile=read_all_the_time)


# --- the sweeps

CASES = {
    "replication": rotation("replication"),
    "app": rotation("app"),
    "admin": rotation("admin"),
    "raised": configured(RAISED, fits),
    "lowered": configured(LOWERED, fits),
    "rolling": ROLL,
    "publish": PUBLISH,
}
SAMPLES = {
    "replication": (CASES["replication"], 6),
    "app": (CASES["app"], 3),
    "raised": (CASES["raised"], 25),
    "lowered": (configured(LOWERED, comes_back), 25),
    "publish": (CASES["publish"], 6),
}
"""After how many operations each of three runs is killed: a third of what the whole takes. The admin's password goes
the way of the application's, and test_restart.py kills a rolling restart at three of its moments."""


@pytest.mark.parametrize("name", list(SAMPLES))
def test_a_sample(standing: Standing, name: str, tmp_path: Path) -> None:
    case, number = SAMPLES[name]
    stumble(standing.restore, case, tmp_path, number)


def test_a_sample_of_adopting(lan: Lan, tmp_path: Path) -> None:
    """The later kills find a server that is stopped, or files that nobody has told it of."""
    restore, place = set_up_by_hand(lan, tmp_path), tmp_path / "sample"
    place.mkdir(mode=0o700)
    stumble(restore, ADOPT, place, 8)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(CASES))
def test_every_operation(standing: Standing, name: str, tmp_path: Path) -> None:
    sweep(standing.restore, CASES[name], tmp_path, every)


@pytest.mark.slow
def test_every_operation_of_adopting(lan: Lan, tmp_path: Path) -> None:
    sweep(set_up_by_hand(lan, tmp_path), ADOPT, tmp_path, every)
