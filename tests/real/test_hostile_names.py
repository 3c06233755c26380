"""Servers that live with names which shells, programs and terminals would take up."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.real.clusters import ok, status, wait_until
from tests.real.hosts import QUICK, Host, Operator, pg_bin
from tests.real.standing import MAIN, background, value

HOME = "/var/lib/postgresql"
CANARY = Path("/tmp/canary")
TOUCH = f"touch {CANARY}"
# What pg_ctl would hand to a shell between double quotes is refused; all else may stand in a path.
DATA_DIR = f"{HOME}/-a b'; {TOUCH} ;' && {TOUCH} | {TOUCH} # *?[x] é%h/main, 1"
BIN_DIR = f"{HOME}/it's; {TOUCH} #/bin"
ADMIN = f"ad min; `{TOUCH}` | {TOUCH} & é #, +"
REPLICATION = f're:pl\\\'s "$({TOUCH})" `{TOUCH}`;'
APP = f"@app'\"; $({TOUCH}) `{TOUCH}` \\ :/?#"
DATABASE = f"all'\"; $({TOUCH}) `{TOUCH}` \\ :/?%20"
SETTING = f"'; $({TOUCH}) `{TOUCH}` \\ \" # {{{{ 7 * 7 }}}} é"

OUR_ESCAPES = re.compile(r"\x1b\[[0-9;]*m|\x1b\[\?25[lh]|\r?\x1b\[(?:2K|1A)|\r(?=\x1b\[)")
"""Colours, and the line that says what is waited for: it is drawn over itself, with the cursor hidden."""
FORGED = "[red]\x1b[2J\x1b]0;title\x07\u202egpj[b]"


@pytest.fixture
def hostile(operator: Operator) -> Iterator[Operator]:
    operator.write_inventory(
        nodes=("db1", "db2"),
        parameters={**QUICK, "cluster_name": "it's; $(x) `x` \\ \"", "test.value": SETTING},
        extra={
            "postgres": {"data_dir": DATA_DIR, "bin_dir": BIN_DIR},
            "admin": {"user": ADMIN},
            "replication": {"user": REPLICATION},
            "app": {"user": APP, "database": DATABASE, "env_file": f"it's; $({TOUCH}) #.env".replace("/", "_")},
        },
    )
    for host in operator.lan:
        host.run(["mkdir", "-p", "--", BIN_DIR.removesuffix("/bin")])
        host.run(["ln", "-s", "--", pg_bin(15), BIN_DIR])
    yield operator
    assert not CANARY.exists()
    for host in operator.lan:
        assert not host.path(CANARY).exists()
        assert [path for path in host.path(HOME).rglob("canary") if path.is_file()] == []


def test_a_cluster_lives_with_names_that_shells_would_take_up(hostile: Operator) -> None:
    operator = hostile
    ok(operator.replctl("init-primary", "db1", "--yes", "-v"))
    ok(operator.replctl("add-replica", "db2", "--yes", "-v"))
    ok(operator.replctl("promote", "db2", "--yes", "-v"))
    ok(operator.replctl("env", "--check"))
    seen = status(operator)
    assert (seen["health"], seen["primary"]) == ("healthy", "db2"), seen["findings"]
    assert [row["state"] for row in seen["nodes"]] == ["streaming", "read-write"]
    with operator.connect("db2", user=ADMIN) as connection:
        shown = {name: connection.execute(f"show {name}").fetchone() for name in ("test.value", "data_directory")}
        roles = {row[0] for row in connection.execute("select rolname from pg_roles where not rolname ~ '^pg_'")}
        assert shown == {"test.value": (SETTING,), "data_directory": (DATA_DIR,)}
        assert roles == {ADMIN, REPLICATION, APP}
    env = next(path for path in operator.folder.iterdir() if path.suffix == ".env")
    urls = dict(line.split("=", 1) for line in env.read_text().splitlines())
    for url in (urls["DB_PRIMARY_URL"], urls["DB_READ_REPLICA_URLS"]):
        with psycopg.connect(url) as connection:
            assert connection.execute("select current_user, current_database()").fetchone() == (APP, DATABASE)


def test_initdb_is_not_told_the_password(operator: Operator) -> None:
    """It prints a statement that fails, with what it was told in it."""
    host, folder = operator.lan["db1"], f"{HOME}/programs"
    operator.write_inventory(nodes=["db1"], extra={"postgres": {"bin_dir": folder}})
    host.run(["mkdir", folder])
    host.run(["sh", "-c", f"ln -s {pg_bin(15)}/* {folder} && rm {folder}/initdb"])
    host.run(["tee", f"{folder}/initdb"], stdin=f'#!/bin/sh\ntee /tmp/told | {pg_bin(15)}/initdb "$@"\n'.encode())
    host.run(["chmod", "700", f"{folder}/initdb"])
    ok(operator.replctl("init-primary", "db1", "--yes"))
    assert re.fullmatch(r"SCRAM-SHA-256\$\d+:[\w+/=$:]+\n?", host.path("/tmp/told").read_text())
    host.path(f"{folder}/initdb").write_text("#!/bin/sh\ncat >&2\nexit 1\n")
    host.run(["sh", "-c", f"{folder}/pg_ctl stop -D {MAIN} -m immediate && rm -r {MAIN}"])
    operator.env_file.unlink()
    run = operator.replctl("init-primary", "db1", "--yes", "-v")
    assert run.code == 5
    assert "********" in run.err
    assert "SCRAM" not in run.err


def test_nothing_from_a_host_reaches_the_screen_as_it_is(cluster: Operator) -> None:
    """Login shells, names of files and of walsenders, and the words of a server's refusal."""
    operator, first, second = cluster, cluster.lan["db1"], cluster.lan["db2"]
    for host in (first, second):
        host.path(f"{HOME}/.bashrc").write_text(f"printf '%b' '\\033[2J{FORGED}'\nprintf '%b' '\\033[31m' >&2\n")
    second.path(f"{MAIN}.replctl-aside-{FORGED}").mkdir()
    second.path(f"{MAIN}.replctl-aside-\nend\t1").mkdir()
    second.path(f"{MAIN}.replctl-new").symlink_to("/")
    receiver = background(operator.lan["db3"], receive_wal(first))
    wait_until(lambda: value(operator, "db1", "select count(*) from pg_stat_replication") == 3)
    plain = operator.replctl("status")
    screen = operator.pty("status", columns=200)
    assert screen.end() == 0
    document = status(operator)
    receiver.kill()
    receiver.wait(10)

    assert plain.code == 0, plain.out
    assert_harmless(plain.out + plain.err)
    assert_harmless(OUR_ESCAPES.sub("", screen.seen).replace("\r\n", "\n"))
    assert "[red]" in plain.out
    assert "[red]" in screen.seen
    # Up to 15 a server replaces what is not printable ASCII in such a name itself; markup it leaves as it is.
    assert any("[red]" in row["name"] + row["detail"] for row in document["unlisted"])
    asides = [finding for finding in document["findings"] if finding["code"] == "aside"]
    assert any(FORGED in finding["message"] for finding in asides)
    assert {finding["code"] for finding in document["findings"]} <= {"aside", "staging", "walsender-unlisted"}
    assert "\x1b" not in operator.replctl("status", "-o", "json").out

    refused = operator.replctl("add-replica", "db2", "--yes")
    assert_harmless(refused.out + refused.err)
    for aside in asides:  # the command that removes it is of one path alone, whatever is in its name
        second.run(["sh", "-c", aside["hint"].partition("`")[2].rpartition("`")[0]])
    assert not second.path(f"{MAIN}.replctl-aside-{FORGED}").exists()
    assert second.path(MAIN).exists()


def receive_wal(primary: Host) -> list[str]:
    """A walsender with a forged name."""
    name = "'[red]x\x1b[2J[/red]'"
    conninfo = f"host={primary.address} user=replicator passfile={MAIN}.replctl-passfile application_name={name}"
    return [f"{pg_bin(15)}/pg_receivewal", "-d", conninfo, "-D", "/tmp", "--no-sync"]


def assert_harmless(text: str) -> None:
    assert [character for character in text if not character.isprintable() and character != "\n"] == []


def test_a_mount_inside_the_staging_directory_is_not_emptied(operator: Operator) -> None:
    """Someone may have put a disk of their own there since the run that was cut short."""
    host = operator.lan["db1"]
    staging = f"{MAIN}.replctl-new"
    host.run(["mkdir", "-p", "-m", "700", f"{staging}/pg_wal"])
    host.run(["sh", "-c", f"""printf %s '{{"run": "cut-short", "system_identifier": null}}' >{staging}.json"""])
    host.run(["mount", "-t", "tmpfs", "-o", "mode=777", "disk", f"{staging}/pg_wal"], "root")
    host.run(["touch", f"{staging}/pg_wal/precious"])
    run = operator.replctl("init-primary", "db1", "--yes")
    assert run.code == 5, run.err
    assert "different device" in run.err
    assert host.run(["ls", f"{staging}/pg_wal"]).stdout == b"precious\n"
    host.run(["umount", f"{staging}/pg_wal"], "root")
    ok(operator.replctl("init-primary", "db1", "--yes"))
