"""The configuration of every node beside the inventory's: told, written, reloaded, restarted in the right order."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from tests.real.clusters import assert_cluster, build, data_dir, ok, wait_until
from tests.real.hosts import QUICK, Operator
from tests.real.ledger import Writer
from tests.real.standing import control, execute, value
from tests.real.test_adopt import by_hand

NODES = ("db1", "db2", "db3")
RELOAD = "select pg_reload_conf()"
CONF = f"{data_dir()}/postgresql.conf"


def wants(operator: Operator, **parameters: Any) -> None:
    operator.write_inventory(parameters={**QUICK, **parameters})


def diff(operator: Operator, *args: str, code: int = 4) -> dict[str, Any]:
    """The nodes of the document, by name."""
    run = operator.replctl("config", "diff", *args, "-o", "json")
    assert run.code == code, run.out + run.err
    return {node["name"]: node for node in run.document["nodes"]}


def same(operator: Operator) -> bool:
    return not any(node["files"] or node["settings"] for node in diff(operator, code=0).values())


def apply(operator: Operator, *args: str) -> dict[str, Any]:
    run = ok(operator.replctl("config", "apply", *args, "--yes", "-o", "json"))
    assert "needs a restart" not in run.err  # the plan says it, and of what it restarts itself there is nothing to say
    return run.document


def ids(document: dict[str, Any]) -> list[str]:
    return [step["id"] for step in document["steps"]]


def everywhere(operator: Operator, setting: str) -> list[str]:
    return [value(operator, name, f"show {setting}") for name in NODES]


def started(operator: Operator) -> dict[str, datetime]:
    return {name: value(operator, name, "select pg_postmaster_start_time()") for name in NODES}


def refused(operator: Operator, *args: str, code: int = 3) -> set[tuple[str, str | None]]:
    run = operator.replctl("config", *args, "-o", "json")
    assert run.code == code, run.out + run.err
    assert all(refusal["hint"] for refusal in run.document["refusals"])
    return {(refusal["code"], refusal["node"]) for refusal in run.document["refusals"]}


def test_a_reload_is_enough(cluster: Operator) -> None:
    assert same(cluster)
    before = started(cluster)
    wants(cluster, work_mem="12MB")
    found = diff(cluster)
    assert set(found) == set(NODES)
    for node in found.values():
        (file,) = node["files"]
        assert file["name"] == CONF
        assert "+work_mem = '12MB'" in file["diff"].splitlines()
        (setting,) = node["settings"]
        assert (setting["name"], setting["wanted"], setting["live"]) == ("work_mem", "12MB", "4MB")
        assert setting["needs"] == "reload"
    plain = cluster.replctl("config", "diff", "db2")
    assert plain.code == 4
    assert "db2: 1 file and 1 setting differ" in plain.out
    assert "\x1b" not in plain.out
    assert "write-config" in ok(cluster.replctl("config", "apply", "--dry-run")).out
    assert ids(apply(cluster, "db3")) == ["write-config:db3", "reload:db3"]
    assert {name for name, node in diff(cluster).items() if node["files"]} == {"db1", "db2"}
    apply(cluster)
    assert everywhere(cluster, "work_mem") == ["12MB"] * 3
    assert same(cluster)
    assert apply(cluster)["outcome"] == "unchanged"
    wants(cluster)
    assert {node["settings"][0]["wanted"] for node in diff(cluster).values()} == {"4096"}
    apply(cluster)
    assert everywhere(cluster, "work_mem") == ["4MB"] * 3
    assert started(cluster) == before
    assert_cluster(cluster, "db1", ["db2", "db3"])


def test_colours_on_a_terminal(cluster: Operator) -> None:
    wants(cluster, work_mem="12MB")
    terminal = cluster.pty("config", "diff", "db2")
    terminal.read_until("\x1b[32m+work_mem")
    assert terminal.end() == 4


def test_what_overrides_is_named_with_file_and_line(cluster: Operator) -> None:
    wants(cluster, work_mem="12MB")
    apply(cluster)
    execute(cluster, "db2", "alter system set work_mem = '32MB'", RELOAD)
    wait_until(lambda: value(cluster, "db2", "show work_mem") == "32MB")
    found = diff(cluster)
    assert found["db1"]["settings"] == found["db3"]["settings"] == []
    (setting,) = found["db2"]["settings"]
    auto = f"{data_dir()}/postgresql.auto.conf"
    lines = (cluster.lan["db2"].path(auto)).read_text().splitlines()
    assert (setting["source"], setting["line"]) == (auto, lines.index("work_mem = '32MB'") + 1)
    assert (setting["wanted"], setting["live"], setting["needs"]) == ("12MB", "32MB", "override")
    assert f"{auto}:{setting['line']} overrides it" in cluster.replctl("config", "diff").out
    run = ok(cluster.replctl("config", "apply", "--yes"))
    assert "`ALTER SYSTEM RESET work_mem`" in run.out
    execute(cluster, "db2", "alter system reset work_mem")
    assert diff(cluster)["db2"]["settings"][0]["needs"] == "reload"
    assert ids(apply(cluster)) == ["reload:db2"]
    wait_until(lambda: value(cluster, "db2", "show work_mem") == "12MB")
    assert same(cluster)


def test_rules_edited_by_hand_are_shown_and_mended(cluster: Operator) -> None:
    rules = cluster.lan["db3"].path(f"{data_dir()}/pg_hba.conf")
    before = rules.read_text()
    rules.write_text(before + "host all all 0.0.0.0/0 scram-sha-256 # [red]by hand[/red]\n")
    found = diff(cluster)
    (file,) = found["db3"]["files"]
    assert file["diff"].splitlines()[-1] == "-host all all 0.0.0.0/0 scram-sha-256 # [red]by hand[/red]"
    assert "[red]by hand[/red]" in cluster.replctl("config", "diff").out
    apply(cluster)
    assert rules.read_text() == before
    assert same(cluster)


def test_a_raised_setting_goes_to_the_replicas_first(cluster: Operator) -> None:
    wants(cluster, max_connections=60)
    document = apply(cluster)
    assert len(ids(document)) == 6
    assert everywhere(cluster, "max_connections") == ["50"] * 3
    assert {node["settings"][0]["needs"] for node in diff(cluster).values()} == {"restart"}
    assert "waits for a restart, for max_connections" in ok(cluster.replctl("config", "apply", "--yes")).out
    assert refused(cluster, "apply", "--restart-primary", "--yes") == {
        ("ordered-setting", "db2"),
        ("ordered-setting", "db3"),
    }
    bounced = [f"{step}:{node}" for node in ("db2", "db3") for step in ("stop", "start", "caught-up")]
    assert ids(apply(cluster, "--restart")) == bounced
    assert everywhere(cluster, "max_connections") == ["50", "60", "60"]
    with Writer(cluster) as writer:
        document = apply(cluster, "--restart", "--restart-primary")
        writer.wait_for_rows(10)
    assert document["write_outage_ms"] > 0
    assert writer.missing(cluster, "db1") == []
    assert everywhere(cluster, "max_connections") == ["60"] * 3
    assert same(cluster)
    assert apply(cluster, "--restart", "--restart-primary")["outcome"] == "unchanged"
    assert_cluster(cluster, "db1", ["db2", "db3"])


def test_a_lowered_setting_goes_to_the_primary_first(cluster: Operator) -> None:
    wants(cluster, max_connections=40)
    assert "`replctl config apply --restart --restart-primary`" in ok(cluster.replctl("config", "apply", "--yes")).out
    assert apply(cluster, "--restart")["outcome"] == "unchanged"
    assert refused(cluster, "apply", "--switchover", "--yes") == {("ordered-setting", "db1")}
    done = ids(apply(cluster, "--restart", "--restart-primary"))
    assert done.index("probe-write:db1") < done.index("replayed:db2") < done.index("stop:db2")
    assert done.index("caught-up:db2") < done.index("stop:db3")
    assert everywhere(cluster, "max_connections") == ["40"] * 3
    assert same(cluster)
    assert_cluster(cluster, "db1", ["db2", "db3"])


def test_by_a_switchover(cluster: Operator) -> None:
    """Files, replicas and the role in one run."""
    wants(cluster, max_connections=60)
    with Writer(cluster) as writer:
        document = apply(cluster, "--restart", "--switchover")
        writer.wait_for_rows(10)
    assert document["outcome"] == "done"
    assert writer.missing(cluster, "db2") == []
    assert everywhere(cluster, "max_connections") == ["60"] * 3
    assert same(cluster)
    assert_cluster(cluster, "db2", ["db1", "db3"])


def test_a_setting_that_no_server_starts_with_is_taken_back(cluster: Operator) -> None:
    """PostgreSQL's own check of the file does not ask for the memory; the start does."""
    wants(cluster, shared_buffers="2000GB")
    run = cluster.replctl("config", "apply", "--restart", "--yes", "-o", "json")
    assert run.code == 5, run.out
    assert run.document["outcome"] == "undone"
    assert_cluster(cluster, "db1", ["db2", "db3"])
    wants(cluster)
    assert same(cluster)


def test_what_cannot_be_looked_at(cluster: Operator) -> None:
    control(cluster.lan["db3"], "stop", "-m", "fast")
    assert set(diff(cluster, code=0)) == {"db1", "db2"}
    assert "db3 is stopped: it was not compared" in cluster.replctl("config", "diff").err
    assert refused(cluster, "diff", "db2", "db3") == {("stopped", "db3")}
    assert refused(cluster, "apply", "db3", "--yes") == {("stopped", "db3")}
    assert cluster.replctl("config", "diff", "db9").code == 2
    assert cluster.replctl("config", "apply", "--restart-primary", "--switchover").code == 2
    cluster.lan["db3"].stop_sshd()
    assert "db3" in str(refused(cluster, "diff", "db3", code=7))
    assert set(diff(cluster, code=0)) == {"db1", "db2"}


def test_another_version(operator: Operator) -> None:
    """What a newer server says of itself is no difference either."""
    operator.write_inventory(version=18)
    build(operator)
    assert same(operator)
    operator.write_inventory(version=18, parameters={**QUICK, "work_mem": "12MB", "max_connections": 60})
    apply(operator, "--restart", "--restart-primary")
    assert everywhere(operator, "work_mem") == ["12MB"] * 3
    assert everywhere(operator, "max_connections") == ["60"] * 3
    assert same(operator)


def test_an_adopted_cluster(operator: Operator) -> None:
    """Its own files are compared where they are ours, its replicas have what they took over."""
    operator.write_inventory(parameters={})
    host = operator.lan["db1"]
    by_hand(operator, host, more="listen_addresses = '*'\n")
    ok(operator.replctl("init-primary", "db1", "--adopt", "--yes"))
    ok(operator.replctl("add-replica", "db2", "db3", "--yes"))
    assert same(operator)
    theirs = host.path(f"{data_dir()}/postgresql.conf")
    with theirs.open("a") as file:
        file.write("wal_keep_size = 32MB\nwork_mem = 5MB\n")
    operator.write_inventory(parameters={"work_mem": "12MB"})
    (setting,) = diff(operator)["db1"]["settings"]
    lines = theirs.read_text().splitlines()
    assert (setting["name"], setting["line"], setting["needs"]) == ("work_mem", len(lines), "override")
    theirs.write_text(theirs.read_text().replace("work_mem = 5MB\n", ""))
    apply(operator)
    assert everywhere(operator, "work_mem") == ["12MB"] * 3
    assert same(operator)
    assert "wal_keep_size = 32MB" in theirs.read_text()


def test_what_has_restarted_stays_when_another_one_cannot(cluster: Operator) -> None:
    """The one that does not start runs again with what it had; mended, the same command goes on."""
    wanted = {**QUICK, "max_connections": 60}
    too_much = {"nodes": {"db3": {"postgres": {"parameters": {"shared_buffers": "2000GB"}}}}}
    cluster.write_inventory(parameters=wanted, extra=too_much)
    run = cluster.replctl("config", "apply", "--restart", "--restart-primary", "--yes", "-o", "json")
    assert run.code == 6, run.out
    assert run.document["next"]
    assert everywhere(cluster, "max_connections") == ["50", "60", "50"]
    assert_cluster(cluster, "db1", ["db2", "db3"])
    cluster.write_inventory(parameters=wanted)
    apply(cluster, "--restart", "--restart-primary")
    assert everywhere(cluster, "max_connections") == ["60"] * 3
    assert same(cluster)
