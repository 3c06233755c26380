"""Servers that were set up in odd ways: taken over with nothing lost, or refused before anything was changed."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from tests.real.clusters import data_dir, ok, rows, wait_until
from tests.real.hosts import Host, Operator, pg_bin
from tests.real.standing import start, value

SOCKETS = "/run/postgresql"
PEER = "local all all peer\n"
METHODS = "select type, auth_method from pg_hba_file_rules order by line_number desc limit %s"


def initialise(host: Host, conf: str = "", hba: str = PEER, *, data: str = data_dir(), encoding: str = "UTF8") -> Path:
    """A cluster that listens everywhere, unless ``conf`` says otherwise, and does not run yet."""
    bin_dir = pg_bin(int(Path(data).parent.name))
    locale = "C.UTF-8" if encoding == "UTF8" else "C"
    host.run(["mkdir", "-p", data])
    host.run([f"{bin_dir}/initdb", "-D", data, "-E", encoding, f"--locale={locale}", "-U", "postgres", "-k", "-N"])
    place = host.path(data)
    with (place / "postgresql.conf").open("a") as file:
        file.write(f"unix_socket_directories = '{SOCKETS}'\nlisten_addresses = '*'\nfsync = off\n{conf}")
    (place / "pg_hba.conf").write_text(hba)
    host.run(["mkdir", "-p", f"{data}/log"])
    return place


def psql(host: Host, *statements: str, port: int = 5432) -> str:
    """What the last of them prints."""
    command = [f"{pg_bin(15)}/psql", "-XAtq", "-h", SOCKETS, "-p", str(port), "-d", "postgres", "-v", "ON_ERROR_STOP=1"]
    said = [host.run([*command, "-c", statement]).stdout.decode() for statement in statements]
    return said[-1].strip()


def as_it_is(host: Host, place: Path, port: int = 5432) -> tuple[str, ...]:
    """Configuration files and roles, to be compared with what they are later."""
    files = [f"{path.name} {path.lstat()} {path.read_bytes()}" for path in sorted(place.glob("*.conf"))]
    return (*files, psql(host, "select string_agg(a::text, ';' order by rolname) from pg_authid a", port=port))


def adopt(operator: Operator, *args: str) -> str:
    """The plan. The second run finds nothing to do."""
    plan = ok(operator.replctl("init-primary", "db1", "--adopt", "--yes", *args)).err
    again = ok(operator.replctl("init-primary", "db1", "--adopt", "--yes", "-o", "json"))
    assert again.document["outcome"] == "unchanged"
    return plan


def refused(operator: Operator, *args: str) -> dict[str, str]:
    """Messages by code."""
    run = operator.replctl("init-primary", "db1", "--adopt", "--yes", *args, "-o", "json")
    assert run.code == 3, run.out + run.err
    assert all(refusal["hint"] for refusal in run.document["refusals"])
    return {refusal["code"]: refusal["message"] for refusal in run.document["refusals"]}


def methods(operator: Operator, number: int) -> list[tuple[str, str]]:
    """The last rules as the server has them, the very last first."""
    with operator.connect("db1") as connection:
        return connection.execute(METHODS, [number]).fetchall()


@pytest.fixture
def alone(operator: Operator) -> Operator:
    operator.write_inventory(parameters={}, nodes=["db1"])
    return operator


def test_rules_and_settings_stay_what_they_were(alone: Operator) -> None:
    """A comment that goes on behind a backslash stays one: what follows in it may be a rule that was switched off."""
    host = alone.lan["db1"]
    hba = '# off: \\\nhost all all 0.0.0.0/0 trust\n"local" all \\\n  all peer\nhost all all 0.0.0.0/0 reject\n'
    place = initialise(host, "include 'a/one.conf'\n", hba)
    host.run(["mkdir", "-p", f"{data_dir()}/a/b/c.d"])
    for name, text in {
        "a/one.conf": "include_if_exists 'b/two.conf'\n",
        "a/b/two.conf": "include_dir = 'c.d'\n",
        "a/b/c.d/three.conf": "WORK_MEM 7MB\n",
    }.items():
        (place / name).write_text(text)
    start(host)
    psql(host, "alter system set max_slot_wal_keep_size = '1GB'", "select pg_reload_conf()")
    plan = adopt(alone)
    assert "pg_hba.conf:5 of db1, `host all all 0.0.0.0/0 reject`, no longer decides about chat, postgres" in plan
    assert "postgresql.auto.conf:3 overrides max_slot_wal_keep_size = 10GB; `ALTER SYSTEM RESET" in plan
    assert methods(alone, 3) == [("host", "reject"), ("local", "peer"), ("host", "scram-sha-256")]
    assert value(alone, "db1", "show work_mem") == "7MB"

    file = place / "pg_hba.conf"
    file.write_text(file.read_text().replace("# --- replctl: end\n", ""))
    ok(alone.replctl("config", "apply", "--yes"))
    assert [line for line in hba.splitlines() if line not in file.read_text().splitlines()] == []
    assert methods(alone, 2) == [("host", "reject"), ("local", "peer")]


def test_what_would_go_wrong_is_refused_at_once(alone: Operator) -> None:
    host = alone.lan["db1"]
    place = initialise(host, f"hba_file = '{data_dir()}/access.conf'\ndefault_transaction_read_only = on\n")
    (place / "pg_hba.conf").rename(place / "access.conf")
    with (place / "postgresql.conf").open("a") as file:
        file.write(f"listen_addresses = '{host.address}'\n")
    log = f"{data_dir()}/log/start.log"
    host.run([f"{pg_bin(15)}/pg_ctl", "start", "-D", data_dir(), "-s", "-l", log, "-o", "-c max_connections=44"])
    before = as_it_is(host, place)
    found = refused(alone)
    assert set(found) == {"config-elsewhere", "read-only", "listen-addresses"}
    assert "access.conf" in found["config-elsewhere"]
    found = refused(alone, "--restart")
    assert set(found) == {"config-elsewhere", "read-only", "command-line"}
    assert "max_connections = 44" in found["command-line"]
    assert as_it_is(host, place) == before


def test_another_server_that_has_the_port(alone: Operator) -> None:
    """The socket leads to it, the data directory does not."""
    host = alone.lan["db1"]
    ours, other = initialise(host, "port = 6543\n"), initialise(host, data="/var/lib/postgresql/15/other")
    for data in (data_dir(), "/var/lib/postgresql/15/other"):
        host.run([f"{pg_bin(15)}/pg_ctl", "start", "-D", data, "-s", "-l", f"{data}/log/start.log"])
    before = as_it_is(host, ours, 6543), as_it_is(host, other)
    assert "listens on port 6543" in refused(alone)["other-instance"]
    assert (as_it_is(host, ours, 6543), as_it_is(host, other)) == before


def test_names_come_through_in_the_encoding_of_the_cluster(operator: Operator) -> None:
    host = operator.lan["db1"]
    app = {"app": {"user": "rémy", "database": "été"}}
    operator.write_inventory(version=16, parameters={}, nodes=["db1"], extra=app)
    place = initialise(
        host, "listen_addresses = 'localhost'\n", f'include "own.conf"\n{PEER}', data=data_dir(16), encoding="LATIN1"
    )
    (place / "own.conf").write_text("host all all 0.0.0.0/0 reject\n")
    host.run(["chown", "postgres:", f"{data_dir(16)}/own.conf"], user="root")
    start(host, 16)
    psql(host, 'create database U&"\\00E9t\\00E9"')
    adopt(operator, "--restart")
    assert rows(operator)["db1"]["state"] == "read-write"
    with operator.connect("db1") as connection:
        names = connection.execute("select rolname from pg_roles where rolname !~ '^pg_' order by 1").fetchall()
        owner = connection.execute("select pg_get_userbyid(datdba) from pg_database where datname = 'été'").fetchone()
    assert [name for (name,) in names] == ["postgres", "replicator", "rémy"]
    assert owner == ("rémy",)
    wait_until(lambda: methods(operator, 1) == [("local", "peer")])


def test_files_are_replaced_as_they_are(alone: Operator) -> None:
    """Other line ends, another encoding, no end at all, a link, a mode: what is theirs is the same bytes afterwards."""
    host, repository = alone.lan["db1"], alone.lan["db1"].path("/var/lib/postgresql/repository")
    place = initialise(host)
    before = {
        "postgresql.conf": (place / "postgresql.conf").read_bytes()
        + b"work_mem\t7MB # caf\xe9\r\ncluster_name='it''s'",
        "pg_hba.conf": b"# r\xe8gles\r\nlocal\tall\tall\tpeer\r\nhost all all 0.0.0.0/0 reject # \xff",
    }
    host.run(["mkdir", "/var/lib/postgresql/repository"])
    for name, content in before.items():
        (place / name).write_bytes(content)
        (place / name).chmod(0o640)
        host.run(["mv", f"{data_dir()}/{name}", f"/var/lib/postgresql/repository/{name}"])
        host.run(["ln", "-s", f"/var/lib/postgresql/repository/{name}", f"{data_dir()}/{name}"])
    start(host)
    host.run(["chown", "root", "/var/lib/postgresql/repository/pg_hba.conf"], user="root")
    host.run(["chmod", "644", "/var/lib/postgresql/repository/pg_hba.conf"], user="root")
    assert "pg_hba.conf belongs to root" in refused(alone)["config-not-writable"]
    host.run(["chown", "postgres", "/var/lib/postgresql/repository/pg_hba.conf"], user="root")
    host.run(["chmod", "640", "/var/lib/postgresql/repository/pg_hba.conf"])

    adopt(alone)
    for name, content in before.items():
        assert (place / name).is_symlink()
        found = repository / name
        assert stat.S_IMODE(found.stat().st_mode) == 0o640
        assert [line for line in content.split(b"\n") if line not in found.read_bytes().split(b"\n")] == []
    assert value(alone, "db1", "show cluster_name") == "it's"
    assert methods(alone, 2) == [("host", "reject"), ("local", "peer")]

    ours = (place / "replctl.conf").read_text()
    alone.write_inventory(parameters={"work_mem": "banana"}, nodes=["db1"])
    run = alone.replctl("config", "apply", "--yes", "-o", "json")
    assert "replctl.conf" in run.document["refusals"][0]["message"]
    assert (run.code, (place / "replctl.conf").read_text()) == (5, ours)


def test_roles_and_rules_that_let_nobody_in(alone: Operator) -> None:
    """A rule that needs TLS is no error where there is none, a limit of no connections is as good as no login."""
    host = alone.lan["db1"]
    initialise(host, hba=f"{PEER}hostssl all all 10.0.0.0/8 cert\n")
    start(host)
    psql(
        host,
        "create role chat login connection limit 0 valid until '2001-01-01'",
        "create database chatdb owner chat allow_connections false",
    )
    assert "chatdb takes no connections" in refused(alone)["database-closed"]
    psql(host, "alter database chatdb allow_connections true", "alter database chatdb is_template true")
    assert "chat on db1 lets nobody in today" in adopt(alone)
    with alone.connect("db1", "app") as connection:
        assert connection.execute("select current_user").fetchone() == ("chat",)
