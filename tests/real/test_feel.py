"""How the commands feel: waiting that names what it waits for, a log of every call, timings, and what comes next."""

from __future__ import annotations

import json
import re
import stat
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from tests.real.clusters import assert_cluster, ok, wait_until
from tests.real.hosts import Host, Operator
from tests.real.hosts.operator import REPLCTL
from tests.real.hosts.terminal import Terminal
from tests.real.standing import execute, value
from tests.real.test_rotate_password import renew
from tests.real.test_secrets import canaries

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (\S+) (\d+\.\d ms|unfinished) ([$>@=]) (.*)")
AT_SERVER = re.compile(r" replctl LOG:  (?:statement|execute [^:]*):\s+(\S+)")
CLEAR_LINE = "\x1b[2K"


def logged(path: Path) -> list[tuple[str, str, str]]:
    """Node, sign and text of each call of a log."""
    found = []
    for line in path.read_text().splitlines():
        if match := LINE.fullmatch(line):
            found.append((match[1], match[3], match[4]))
        else:
            assert re.match(r"\d{4}-\S+Z replctl \w.* \(replctl \S+, process \d+\)$", line), line
    return found


def server_log(host: Host) -> str:
    logs = sorted(host.path("/var/lib/postgresql").rglob("postgresql-*.log"))
    return "".join(path.read_text(errors="replace") for path in logs)


def first_word(statement: str) -> str:
    return statement.split(maxsplit=1)[0].lower().rstrip(";")


class TestLogFile:
    def test_it_has_every_statement_that_the_server_saw(self, cluster: Operator) -> None:
        execute(cluster, "db2", "alter system set log_statement = 'all'", "select pg_reload_conf()")
        wait_until(lambda: value(cluster, "db2", "show log_statement") == "all")
        before = len(server_log(cluster.lan["db2"]))
        ok(cluster.replctl("status", "--log-file", "run.log"))
        calls = logged(cluster.folder / "run.log")
        told = sorted(first_word(text) for node, sign, text in calls if (node, sign) == ("db2", ">"))

        def seen() -> list[str]:
            return sorted(map(first_word, AT_SERVER.findall(server_log(cluster.lan["db2"])[before:])))

        with suppress(AssertionError):
            wait_until(lambda: len(seen()) >= len(told))  # the collector writes a little later
        assert seen() == told
        assert len(told) > 3
        assert {(node, sign) for node, sign, _ in calls} == {
            (node, sign) for node in cluster.lan.names for sign in "$>@="
        }

    def test_changing_commands_append_to_it_and_no_secret_is_in_it(self, cluster: Operator) -> None:
        log = cluster.folder / "run.log"
        renew(cluster, "app")
        ok(cluster.replctl("rotate-password", "app", "--yes", "--log-file", "run.log"))
        rotated = log.read_text()
        assert 'alter role "chat" ' in rotated.lower()
        ok(cluster.replctl("promote", "db2", "--yes", "-v", "--log-file", "run.log"))
        text = log.read_text()
        assert text.startswith(rotated)
        assert [canary for canary in canaries(cluster) if canary in text.encode()] == []
        assert "SCRAM" not in text
        assert stat.S_IMODE(log.stat().st_mode) == 0o600
        calls = logged(log)
        for node, sign, word in (
            ("db1", "$", "replctl-lock"),
            ("db1", "$", "pg_ctl"),
            ("db2", ">", "pg_logical_emit_message"),
            ("db3", ">", "pg_stat_wal_receiver"),
        ):
            assert any(call[:2] == (node, sign) and word in call[2] for call in calls), (node, sign, word)
        assert "unfinished" not in text
        assert_cluster(cluster, "db2", ["db1", "db3"])

    def test_one_that_cannot_be_written_to_is_found_before_anything_is_contacted(self, cluster: Operator) -> None:
        before = [host.sshd_log() for host in cluster.lan]
        for command in (("status",), ("promote", "db2", "--yes"), ("env",), ("config", "diff"), ("check",)):
            run = cluster.replctl(*command, "--log-file", "nowhere/run.log")
            assert run.code == 2, run.err
            assert "error: --log-file nowhere/run.log: no such file or directory\n" in run.err
            assert run.out == ""
        assert [host.sshd_log() for host in cluster.lan] == before


class TestTimings:
    def test_a_table_on_stderr(self, cluster: Operator) -> None:
        run = ok(cluster.replctl("promote", "db2", "--yes", "--timings"))
        _, _, table = run.err.partition("timings\n")
        rows = {line.split()[0]: line for line in table.splitlines()}
        assert {"connect", "observe", "inquire", "plan", "lock", "slot:db1", "promote", "env", "total"} <= set(rows)
        assert "(2 times)" in rows["observe"]
        assert sum("longest" in line for line in rows.values()) == 1
        commands, statements = map(int, rows["total"].split()[-2:])
        assert commands > 10
        assert statements > 20
        assert "timings" not in run.out

    def test_a_field_of_the_document(self, cluster: Operator) -> None:
        for command in (("status",), ("config", "diff"), ("promote", "db2", "--dry-run")):
            run = ok(cluster.replctl(*command, "-o", "json", "--timings"))
            timings = run.document["timings"]
            assert run.err == ""
            parts = {part["name"]: part for part in timings["parts"]}
            assert parts["observe"]["commands"] >= 3
            assert parts["observe"]["ms"] <= timings["total_ms"]
            assert parts["connect"]["node"] in cluster.lan.names
            assert "timings" not in ok(cluster.replctl(*command, "-o", "json")).document


class TestWaiting:
    @pytest.mark.parametrize("command", [("status",), ("promote", "db2", "--dry-run")])
    def test_the_node_that_hangs_is_named(self, cluster: Operator, command: tuple[str, ...]) -> None:
        cluster.lan["db3"].unplug()
        terminal = cluster.pty(*command)
        terminal.read_until("looking at 3 nodes: db3 has not answered yet")
        cluster.lan["db3"].plug()
        assert terminal.end(60) in {0, 4, 10}, terminal.seen
        _, _, result = terminal.seen.rpartition(CLEAR_LINE)
        assert "not answered yet" not in result
        assert "\x1b[?25h" in terminal.seen

    def test_json_for_a_program_has_no_such_line(self, cluster: Operator) -> None:
        host = cluster.lan["db3"]
        host.unplug()
        plugged = threading.Timer(1.5, host.plug)
        plugged.start()
        command = ["sh", "-c", f"{REPLCTL} status -o json >status.json"]
        terminal = Terminal(command, cluster.environ(), cluster.folder)
        try:
            assert terminal.end() in {0, 10}
        finally:
            terminal.close()
            plugged.join()
        assert json.loads((cluster.folder / "status.json").read_text())["primary"] == "db1"
        assert terminal.seen == ""

    def test_a_lock_that_is_not_answered_is_named(self, cluster: Operator) -> None:
        host = cluster.lan["db3"]
        terminal = cluster.pty("promote", "db2")
        terminal.read_until("[y/N]")
        host.unplug()
        plugged = threading.Timer(1, host.plug)
        terminal.type("y\r")
        terminal.read_until("locking 3 nodes: db3 has not answered yet")
        plugged.start()
        assert terminal.end(120) == 0, terminal.seen
        plugged.join()
        assert_cluster(cluster, "db2", ["db1", "db3"])

    def test_a_program_that_prints_a_password_slowly_is_named(self, cluster: Operator) -> None:
        slow = cluster.write_private("slow", "#!/bin/sh\nsleep 1\ncat secrets/app\n")
        slow.chmod(0o700)
        cluster.write_inventory(extra={"app": {"password": {"file": None, "command": "./slow"}}})
        terminal = cluster.pty("status")
        terminal.read_until("waiting for app.password, which ./slow is to print")
        assert terminal.end(60) == 0, terminal.seen

    def test_with_verbose_the_calls_are_lines(self, cluster: Operator) -> None:
        terminal = cluster.pty("status", "-v")
        assert terminal.end(60) == 0
        assert "db3$ " in terminal.seen
        assert "looking at" not in terminal.seen


class TestWords:
    def test_the_question_names_the_nodes_and_what_ends(self, cluster: Operator) -> None:
        terminal = cluster.pty("promote", "db2")
        terminal.read_until("[y/N]")
        for words in (
            "changes db1, db2 and db3",
            "every session on db1 ends",
            "writes are refused until db2 takes them",
            "cluster chat\x1b[0m: promote db2?",
        ):
            assert words in terminal.seen
        terminal.type("n\r")
        assert terminal.end(20) == 3

    def test_what_comes_next(self, cluster: Operator) -> None:
        planned = ok(cluster.replctl("restart", "db3", "--dry-run"))
        assert planned.out.rstrip().endswith("next: replctl restart db3")
        assert ok(cluster.replctl("restart", "db3", "--yes")).out.rstrip().endswith("next: replctl status")
        moved = ok(cluster.replctl("promote", "db2", "--yes"))
        assert moved.out.rstrip().endswith("next: have the application read app.env again, then: replctl status")
        document = ok(cluster.replctl("restart", "db3", "--yes", "-o", "json")).document
        assert document["next"] is None
        assert "next:" not in ok(cluster.replctl("promote", "db2", "--yes")).out
