"""Servers made by hand, as an expert would script it for the hosts of one machine, without SSH.

What is made is the same as replctl makes, and as durable: checksums, locale, settings, roles and their passwords,
slots. What is left out is what a script for one machine needs not: looks beforehand, a staging directory, the env file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from bench.by_hand import until, write_durably
from bench.lan import data_dir
from tests.real.hosts import Operator, pg_bin
from tests.real.hosts.disk import remove_tree
from tests.real.hosts.operator import DATABASES, ROLES

HOME = "/var/lib/postgresql"
PASSFILE = f"{HOME}/by-hand.pgpass"
START_LOG = f"{HOME}/by-hand.log"
CONFIG_FILES = ("postgresql.conf", "pg_hba.conf")
LOCALE = "C.UTF-8"
REWIND_FUNCTIONS = (
    "pg_ls_dir(text, boolean, boolean)",
    "pg_stat_file(text, boolean)",
    "pg_read_binary_file(text)",
    "pg_read_binary_file(text, bigint, bigint, boolean)",
)
"""What pg_rewind's documentation lets its role execute."""
STREAMS = "select count(*) from pg_stat_replication where state = 'streaming' and application_name = %s"
DROP_SLOT = "select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = %s and not active"
SLOT_LEFT = "select count(*) from pg_replication_slots where slot_name = %s"


def config_of(operator: Operator, name: str, version: int) -> Mapping[str, str]:
    """The configuration files of a node as they are now."""
    directory = operator.lan[name].path(data_dir(version))
    return {file: (directory / file).read_text() for file in CONFIG_FILES}


def init_primary(operator: Operator, name: str, version: int, config: Mapping[str, str]) -> None:
    """A new primary with its roles and the application's database."""
    host, password = operator.lan[name], operator.passwords["admin"]
    initdb = [
        f"{pg_bin(version)}/initdb",
        f"--pgdata={data_dir(version)}",
        "--encoding=UTF8",
        f"--locale={LOCALE}",
        "--data-checksums",
        "--auth=scram-sha-256",
        f"--username={ROLES['admin']}",
        "--pwfile=/dev/stdin",
    ]
    host.run(["sh", "-c", 'cat | "$@"', "sh", *initdb], stdin=f"{password}\n".encode())
    for file, text in config.items():
        write_durably(host.path(data_dir(version)) / file, text)
    start(operator, name, version)
    with until(lambda: login(operator, name)) as connection:
        fill(operator, connection)


def fill(operator: Operator, connection: psycopg.Connection[Any]) -> None:
    """Roles with verifiers, the database and the rights of pg_rewind."""
    names = {role: sql.Identifier(name) for role, name in ROLES.items()}
    for role, attributes in (("replication", "login replication"), ("app", "login")):
        password, user = operator.passwords[role].encode(), ROLES[role].encode()
        verifier = connection.pgconn.encrypt_password(password, user, b"scram-sha-256").decode()
        statement = sql.SQL(f"create role {{}} {attributes} password {{}}")
        connection.execute(statement.format(names[role], sql.Literal(verifier)))
    database = sql.Identifier(DATABASES["app"])
    connection.execute(sql.SQL("create database {} owner {}").format(database, names["app"]))
    functions = sql.SQL(", ".join(REWIND_FUNCTIONS))
    connection.execute(sql.SQL("grant execute on function {} to {}").format(functions, names["replication"]))


def start(operator: Operator, name: str, version: int) -> None:
    """Without waiting: pg_ctl itself looks ten times a second."""
    operator.lan[name].run(pg_ctl(version, "start", "-l", START_LOG, "-W"))


def login(operator: Operator, name: str) -> psycopg.Connection[Any] | None:
    """A session, or None from a server that takes none yet."""
    try:
        return operator.connect(name)
    except psycopg.OperationalError:
        return None


def write_passfiles(operator: Operator, names: Sequence[str]) -> None:
    """The replication password, where a standby made by hand looks for it."""
    password = operator.passwords["replication"].replace("\\", "\\\\").replace(":", "\\:")
    for name in names:
        write_durably(operator.lan[name].path(PASSFILE), f"*:*:*:{ROLES['replication']}:{password}\n")


def add_replicas(operator: Operator, primary: str, names: Sequence[str], version: int) -> None:
    """All of them at once, until every one streams."""
    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(lambda name: add_replica(operator, primary, name, version), names))


def add_replica(operator: Operator, primary: str, name: str, version: int) -> None:
    """A copy with a slot of its own, started, until the primary lists it as streaming."""
    conninfo = make_conninfo(
        host=operator.lan[primary].address,
        port=5432,
        user=ROLES["replication"],
        application_name=name,
        passfile=PASSFILE,
    )
    copy = ["-D", data_dir(version), "-X", "stream", "-c", "fast", "-C", "-S", slot(name), "-R", "-d", conninfo]
    operator.lan[name].run([f"{pg_bin(version)}/pg_basebackup", *copy])
    start(operator, name, version)
    with operator.connect(primary) as connection:
        until(lambda: one(connection, STREAMS, name))


def take_away(operator: Operator, primary: str, names: Sequence[str], version: int) -> None:
    """What a replica was, whoever made it: its server, its directory and its slot."""
    for name in names:
        host = operator.lan[name]
        host.run(pg_ctl(version, "stop", "-m", "immediate"))
        for path in host.path(data_dir(version)).parent.iterdir():
            remove_tree(path)
        drop_slot(operator, primary, slot(name))


def drop_slot(operator: Operator, primary: str, name: str) -> None:
    """The walsender of a server that was killed may hold it a moment longer."""
    with operator.connect(primary) as connection:

        def gone() -> bool:
            connection.execute(DROP_SLOT, [name])
            return not one(connection, SLOT_LEFT, name)

        until(gone)


def one(connection: psycopg.Connection[Any], query: str, name: str) -> int:
    row = connection.execute(query, [name]).fetchone()
    assert row is not None
    return int(row[0])


def slot(name: str) -> str:
    return f"replctl_{name}"


def pg_ctl(version: int, mode: str, *options: str) -> list[str]:
    return [f"{pg_bin(version)}/pg_ctl", mode, "-D", data_dir(version), "-s", *options]
