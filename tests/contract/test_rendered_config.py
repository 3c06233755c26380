"""What is rendered, quoted and computed here, as real servers see it: the oldest and the newest supported one."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from replctl.model.inventory import Inventory, Node
from replctl.model.secret import Secret
from replctl.model.values import NodeName
from replctl.postgres.conf_syntax import edit_auto_conf, parse_conf
from replctl.postgres.conninfo import passfile_path, passfile_text, primary_conninfo
from replctl.postgres.render import render_config
from replctl.postgres.scram import verifier_matches
from replctl.postgres.settings import managed_settings
from tests.real.hosts.servers import PACKAGES, package_folder, pg_install
from tests.unit.config_inventories import a_node, an_inventory, shipped_templates, three_nodes

HOSTILE_PASSWORD = "a/p?p@:,#%&'$ x`\\:é"
HOSTILE_VALUES = ["it's", r"back\slash \n \101", "# no comment", " ", '"$user", é', "tab\there", "%m [%p] "]
ADMIN_PASSWORD = "admin"


@dataclass(frozen=True)
class Server:
    """A scratch cluster that the OS user owns, with the rendered files in it."""

    major: int
    bin_dir: Path
    inventory: Inventory
    node: Node

    @property
    def directory(self) -> Path:
        return Path(self.node.postgres.data_dir)

    @property
    def socket_dir(self) -> str:
        return str(self.directory.parent)

    def run(self, program: str, *argv: str) -> str:
        command = [*as_os_user(), str(self.bin_dir / program), "-D", str(self.directory), *argv]
        done = subprocess.run(
            command, capture_output=True, check=False, text=True, cwd="/", env={"LC_ALL": "C"}, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.removesuffix("\n")

    def write(self, inventory: Inventory, node: Node) -> None:
        for file in render_config(inventory, node, shipped_templates(), major=self.major, socket_dir=self.socket_dir):
            (self.directory / file.name).write_text(file.text)

    def login(self, **options: str) -> psycopg.Connection:
        given = {
            "host": "127.0.0.1",
            "user": self.inventory.admin.user,
            "password": ADMIN_PASSWORD,
            "dbname": "postgres",
        }
        return psycopg.connect(port=self.node.postgres.port, autocommit=True, **(given | options))


def as_os_user() -> Sequence[str]:
    """PostgreSQL does not run as root."""
    return ("setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups") if os.geteuid() == 0 else ()


def programs(major: int, folder: Path) -> Path:
    """The programs of a major version at a place that the OS user can reach: not every virtual environment is one."""
    if major not in PACKAGES:
        return pg_install(major) / "bin"
    package = package_folder(PACKAGES[major])
    for source in (package, package.with_name(f"{package.name}.libs")):
        if source.exists():
            shutil.copytree(source, folder / source.name, symlinks=True)
    return folder / package.name / "pginstall" / "bin"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


@pytest.fixture(scope="module", params=[15, 18])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="replctl-") as name:
        folder = Path(name)
        port, parameters = free_port(), {"fsync": "off", "shared_buffers": "16MB"}
        nodes = [
            a_node(f"db{n}", "127.0.0.1", port=port, data_dir=f"{folder}/data{n}", parameters=parameters)
            for n in (1, 2)
        ]
        # Names that would mean something else to pg_hba.conf without their quotes.
        inventory = an_inventory(*nodes, admin="+ops, # 1", replication='re"pl', app="all", database="@samerole")
        server = Server(request.param, programs(request.param, folder / "programs"), inventory, nodes[0])
        (folder / "password").write_text(ADMIN_PASSWORD)
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres")
        options = ("--no-sync", "--encoding=UTF8", "--locale=C.UTF-8", "--auth=scram-sha-256")
        server.run("initdb", *options, f"--username={inventory.admin.user}", f"--pwfile={folder}/password")
        server.write(inventory, server.node)
        yield server


@pytest.fixture(scope="module")
def running(server: Server) -> Iterator[Server]:
    server.write(server.inventory, server.node)
    (server.directory / "log").mkdir()
    if os.geteuid() == 0:
        shutil.chown(server.directory / "log", "postgres")
    server.run("pg_ctl", "start", "-w", "-l", str(server.directory / "log" / "start.log"))
    yield server
    server.run("pg_ctl", "stop", "-m", "immediate")


def test_postgres_reads_every_managed_setting_as_it_was_meant(server: Server) -> None:
    inventory = three_nodes()
    node = inventory.nodes[NodeName("db1")]
    server.write(inventory, node)
    managed = managed_settings(inventory, node, socket_dir=server.socket_dir)
    # postgres -C shows the base unit, which is MB for this one.
    for name, value in (managed | {"max_slot_wal_keep_size": "10240"}).items():
        assert server.run("postgres", "-C", name) == value
    assert server.run("postgres", "-C", "log_directory") == "/var/log/it's here"


def test_values_survive_the_file(server: Server) -> None:
    parameters = {f"test.v{n}": value for n, value in enumerate(HOSTILE_VALUES)}
    node = a_node("db1", "127.0.0.1", parameters=parameters)
    server.write(an_inventory(node), node)
    written = parse_conf((server.directory / "postgresql.conf").read_text())
    for name, value in parameters.items():
        assert server.run("postgres", "-C", name) == written[name] == value


def test_parse_conf_reads_what_postgres_reads(server: Server) -> None:
    lines = [
        r"test.a = 'it\'s \\ \t\x \303\251 \101'",
        "Test.B=on # comment",
        "test.c'x''y'",
        "test.d\t12kB\r",
        "test.e = '\u2028'",
        "test.e = last",
    ]
    text = "\n".join(lines)
    (server.directory / "postgresql.conf").write_text(text)
    for name, value in parse_conf(text).items():
        assert server.run("postgres", "-C", name) == value


def test_the_files_are_accepted_and_take_effect(running: Server) -> None:
    with running.login() as session:
        problems = session.execute(
            "SELECT sourcefile, name, error FROM pg_file_settings WHERE error IS NOT NULL"
            " UNION ALL SELECT 'pg_hba.conf', line_number::text, error FROM pg_hba_file_rules WHERE error IS NOT NULL"
        ).fetchall()
        assert problems == []
        rules = session.execute("SELECT database, user_name, address FROM pg_hba_file_rules").fetchall()
        collecting = session.execute("SHOW logging_collector").fetchone()
    # PostgreSQL shows a quoted name with its quotes exactly where it would be a keyword without them.
    assert (["@samerole"], ["all"], "127.0.0.1") in [(d, [u.strip('"') for u in users], a) for d, users, a in rules]
    assert (["replication"], ['re"pl'], "127.0.0.1") in rules
    assert collecting == ("on",)
    assert list((running.directory / "log").glob("postgresql-*.log"))


def test_quoted_names_admit_their_bearers_and_nobody_else(running: Server) -> None:
    app = running.inventory.app
    with running.login() as session:
        for role in (app.user, "intruder"):
            session.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'pw'").format(sql.Identifier(role)))
        session.execute(
            sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(app.database), sql.Identifier(app.user))
        )
    with running.login(user=app.user, password="pw", dbname=app.database) as session:
        assert session.execute("SELECT current_user::text, current_database()::text").fetchone() == ("all", "@samerole")
    for user, database in (("intruder", app.database), ("intruder", "postgres"), (app.user, "postgres")):
        with pytest.raises(psycopg.OperationalError, match=r"no pg_hba\.conf entry"):
            running.login(user=user, password="pw", dbname=database)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        running.login(password="wrong")


def test_the_passfile_logs_the_standby_in(running: Server) -> None:
    inventory, (db1, db2) = running.inventory, running.inventory.nodes.values()
    with running.login() as session:
        statement = sql.SQL("CREATE ROLE {} REPLICATION LOGIN PASSWORD {}")
        session.execute(statement.format(sql.Identifier(inventory.replication.user), sql.Literal(HOSTILE_PASSWORD)))
    passfile = Path(passfile_path(db2))
    passfile.touch(0o600)
    passfile.write_text(passfile_text(inventory, db2, Secret(HOSTILE_PASSWORD)).reveal())
    conninfo = primary_conninfo(inventory, db2, db1)
    # A walreceiver's login, and the one that pg_rewind makes.
    with psycopg.connect(conninfo, replication="true", dbname="replication", autocommit=True) as session:
        assert session.execute("IDENTIFY_SYSTEM").fetchone()
    with psycopg.connect(conninfo, dbname="postgres") as session:
        assert session.execute("SELECT current_user::text").fetchone() == (inventory.replication.user,)


@pytest.mark.parametrize("value", [*HOSTILE_VALUES, "host=a password='x'"])
def test_auto_conf_is_edited_as_alter_system_does_it(running: Server, value: str) -> None:
    file = running.directory / "postgresql.auto.conf"
    before = file.read_text()
    with running.login() as session:
        session.execute(sql.SQL("ALTER SYSTEM SET primary_slot_name = 'replctl_db1'"))
        session.execute(sql.SQL("ALTER SYSTEM SET cluster_name = {}").format(sql.Literal(value)))
        changed = file.read_text()
        assert edit_auto_conf(before, {"primary_slot_name": "replctl_db1", "cluster_name": value}) == changed
        session.execute("ALTER SYSTEM RESET cluster_name")
    assert edit_auto_conf(changed, {"cluster_name": None}) == file.read_text()


@pytest.mark.parametrize(
    "password", [HOSTILE_PASSWORD, "é", "ﬁ", "ª", "soft\u00adhyphen", "no\u00a0break", "\u06271", "\u0378é"], ids=ascii
)
def test_verifiers_of_the_server_match(running: Server, password: str) -> None:
    with running.login() as session:
        session.execute("DROP ROLE IF EXISTS verified")
        session.execute(sql.SQL("CREATE ROLE verified PASSWORD {}").format(sql.Literal(password)))
        (verifier,) = session.execute("SELECT rolpassword FROM pg_authid WHERE rolname = 'verified'").fetchone()
    assert verifier_matches(verifier, Secret(password))
    assert not verifier_matches(verifier, Secret(password + "x"))
