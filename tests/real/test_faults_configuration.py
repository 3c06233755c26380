"""A primary that is not as the inventory says: a cluster of others, settings that wait, roles that were changed, a
standby that every commit waits for, no room, tablespaces, an admin role without rights."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.real.clusters import assert_cluster, ok, slots, status, wait_until
from tests.real.hosts import QUICK, Host, Operator, pg_bin
from tests.real.hosts.operator import REPLCTL
from tests.real.standing import MAIN, await_streaming, control, execute, forget, start, value
from tests.real.test_errors import assert_refused, fingerprint
from tests.real.test_faults_init_primary import TEMPLATES

PARENT = MAIN.rpartition("/")[0]
SPACE = "/var/lib/postgresql/space"
DISK = "/var/lib/postgresql/disk"
ROOM = 64 * 1024
"""Bytes that stay free on a disk that is otherwise full."""
LONG_MS = 25_000
"""Less than what a statement is given, which would be used up by a commit that waits for somebody who is gone."""
RESTART = "db1 needs a restart before these settings take effect: "
ABSENT = {**QUICK, "synchronous_standby_names": "nobody"}


def again(operator: Operator) -> None:
    """A further run changes nothing."""
    run = ok(operator.replctl("init-primary", "db1", "--yes", "-o", "json"))
    assert run.document["outcome"] == "unchanged", run.out


@pytest.mark.fault("20")
def test_a_cluster_that_replctl_did_not_make(operator: Operator) -> None:
    """Stopped, and running."""
    host = operator.lan["db1"]
    host.run([f"{pg_bin(15)}/initdb", "-D", MAIN, "--no-sync", "--auth=trust", "--locale=C.UTF-8"])
    says = ("db1: a PostgreSQL cluster that replctl did not make", "--adopt")
    whole = assert_refused(operator, 3, "init-primary", "db1", "--yes", says=says, seconds=60)
    assert (whole["code"], whole["node"]) == ("adopt", "db1")
    host.run([f"{pg_bin(15)}/pg_ctl", "start", "-w", "-D", MAIN, "-l", "/tmp/log", "-s", "-o", "-k /tmp"])
    running = host.postmaster(MAIN)
    assert_refused(operator, 3, "init-primary", "db1", "--yes", says=says, seconds=60)
    assert host.postmaster(MAIN) == running
    assert not operator.env_file.exists()


@pytest.mark.slow
@pytest.mark.fault("26")
def test_settings_that_wait_for_a_restart(cluster: Operator) -> None:
    """Written, and named until they are in force."""
    cluster.write_inventory(parameters={**QUICK, "shared_buffers": "24MB", "max_connections": 60, "work_mem": "8MB"})
    run = ok(cluster.replctl("init-primary", "db1", "--yes"))
    assert f"{RESTART}max_connections, shared_buffers; run `replctl restart db1`" in flat(run.err)
    assert "once its replicas have at least as much of max_connections" in flat(run.err)
    assert value(cluster, "db1", "show work_mem") == "8MB"
    assert value(cluster, "db1", "show shared_buffers") == "16MB"
    assert RESTART in flat(ok(cluster.replctl("init-primary", "db1", "--yes")).out)
    (finding,) = [found for found in status(cluster)["findings"] if found["code"] == "pending-restart"]
    assert (finding["node"], finding["severity"]) == ("db1", "info")

    cluster.write_inventory(parameters={**QUICK, "shared_buffers": "24MB"})
    run = ok(cluster.replctl("init-primary", "db1", "--yes"))
    assert f"{RESTART}shared_buffers; run `replctl restart db1` when it suits" in flat(run.err)
    ok(cluster.replctl("restart", "db1", "--yes"))
    assert value(cluster, "db1", "show shared_buffers") == "24MB"
    run = ok(cluster.replctl("init-primary", "db1", "--yes"))
    assert RESTART not in flat(run.out + run.err)
    assert_cluster(cluster, "db1", ["db2", "db3"])


def flat(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.slow
@pytest.mark.fault("29")
def test_roles_that_somebody_changed(cluster: Operator) -> None:
    """No REPLICATION, no LOGIN, another password, one that has expired: as the inventory says again, and no log of
    the server, which logs every statement, has a password or a verifier."""
    host = cluster.lan["db1"]
    execute(cluster, "db1", "alter system set log_statement = 'all'", "alter system set log_duration = on")
    execute(cluster, "db1", "select pg_reload_conf()")
    wait_until(lambda: value(cluster, "db1", "show log_statement") == "all")
    for changes in (
        ("alter role replicator noreplication", "alter role chat nologin"),
        ("alter role replicator password 'another'", "alter role chat valid until 'yesterday'"),
        ("alter role replicator nologin valid until 'yesterday'", "alter role chat password null"),
    ):
        execute(cluster, "db1", *changes)
        assert steps(cluster) == {"role-replication:db1": "done", "role-app:db1": "done"}
        with cluster.connect("db1", "app") as connection:
            connection.execute("create temporary table welcome (n int)")
    again(cluster)
    control(cluster.lan["db2"], "stop", "-m", "fast")
    start(cluster.lan["db2"])
    ok(cluster.replctl("add-replica", "db2", "--yes"))
    assert_cluster(cluster, "db1", ["db2", "db3"])
    logs = "".join(path.read_text() for path in host.path(f"{MAIN}/log").iterdir())
    assert "alter role chat nologin" in logs
    for secret in ("SCRAM-SHA-256$", *cluster.passwords.values()):
        assert secret not in logs


def steps(operator: Operator) -> dict[str, str]:
    """What init-primary did, and with what result."""
    run = ok(operator.replctl("init-primary", "db1", "--yes", "-o", "json"))
    return {step["id"]: step["outcome"] for step in run.document["steps"]}


@pytest.mark.fault("30")
def test_no_commit_waits_for_a_synchronous_standby_that_is_gone(operator: Operator) -> None:
    """Roles and the database of a new cluster; then changed ones."""
    operator.write_inventory(parameters=ABSENT)
    assert_prompt(operator, {"role-replication:db1", "role-app:db1", "database:db1", "grant-rewind:db1"})
    assert value(operator, "db1", "show synchronous_standby_names") == "nobody"
    execute(
        operator,
        "db1",
        "set synchronous_commit = local",
        "alter role replicator noreplication",
        "alter role chat nologin",
        "revoke execute on function pg_read_binary_file(text) from replicator",
        "alter database chatdb owner to postgres",
    )
    assert_prompt(operator, {"role-replication:db1", "role-app:db1", "database:db1", "grant-rewind:db1"})
    again(operator)


def assert_prompt(operator: Operator, names: set[str]) -> None:
    """init-primary does these steps, among others, and none of them waits."""
    run = ok(operator.replctl("init-primary", "db1", "--yes", "-o", "json"))
    done: dict[str, Any] = {step["id"]: step for step in run.document["steps"] if step["id"] in names}
    assert {name: step["outcome"] for name, step in done.items()} == dict.fromkeys(names, "done")
    assert max(step["ms"] for step in done.values()) < LONG_MS


@pytest.mark.slow
@pytest.mark.fault("31")
def test_no_room_for_the_configuration(cluster: Operator) -> None:
    """A template that has grown does not fit on the data directory's disk any more; then it does."""
    host = cluster.lan["db1"]
    with own_disk(cluster, host, 250):
        cluster.write_inventory(
            parameters={**QUICK, "work_mem": "8MB"}, extra={"templates": str(grown_templates(cluster))}
        )
        before = configuration(host)
        # The first session after a start writes the cache of the system catalogs, and is turned away if it cannot.
        assert value(cluster, "db1", "show work_mem") == "4MB"
        with filled(host):
            run = cluster.replctl("init-primary", "db1", "--yes")
            assert run.code == 5, run.out + run.err
            assert "No space left on device" in run.err
            assert "hint: Mend that on db1, and run the same command again." in run.err
            assert configuration(host) == before
        ok(cluster.replctl("init-primary", "db1", "--yes"))
        assert value(cluster, "db1", "show work_mem") == "8MB"
        assert_cluster(cluster, "db1", ["db2", "db3"])


def configuration(host: Host) -> bytes:
    """The configuration files and what was left beside them, as the host sees them."""
    return host.run(["sh", "-c", f"sha256sum {MAIN}/*.conf* {MAIN}.* && ls -A {MAIN}"]).stdout


def grown_templates(operator: Operator) -> Path:
    """With more comments than ``filled`` leaves room for."""
    templates = operator.folder / "templates"
    shutil.copytree(TEMPLATES, templates)
    with (templates / "postgresql.conf.j2").open("a") as settings:
        settings.write("# a remark\n" * (4 * ROOM // len("# a remark\n")))
    return templates


@contextmanager
def own_disk(operator: Operator, host: Host, megabytes: int) -> Iterator[None]:
    """The host's cluster lies on a small file system, on which no file has holes: WAL finds its segments allocated."""
    control(host, "stop", "-m", "fast")
    options = f"size={megabytes}m,mode=700,uid=postgres,gid=postgres"
    host.run(["mkdir", DISK])
    host.run(["mount", "-t", "tmpfs", "-o", options, "disk", DISK], "root")
    host.run(["cp", "-a", "--sparse=never", f"{PARENT}/.", DISK])
    host.run(["mount", "--move", DISK, PARENT], "root")
    start(host)
    await_streaming(operator, "db1", ["db2", "db3"])
    yield
    control(host, "stop", "-m", "immediate")
    host.run(["umount", PARENT], "root")


@contextmanager
def filled(host: Host) -> Iterator[None]:
    """The disk has room for the lock's file and a few lines of the server's log."""
    fill = f"{PARENT}/fill"
    room = f"head -c {ROOM} /dev/zero >{fill}-room"
    host.run(["sh", "-c", f"{room}; dd if=/dev/zero of={fill} bs=4k 2>/dev/null; rm {fill}-room"])
    yield
    host.run(["rm", fill])


@pytest.mark.fault("84d")
def test_a_folder_that_cannot_be_written(cluster: Operator) -> None:
    """Root may write anywhere but on a file system that is mounted read-only."""
    folder = cluster.folder / "published"
    folder.mkdir()
    cluster.write_inventory(extra={"app": {"env_file": "published/app.env"}})
    before = fingerprint(cluster)
    for command in (("init-primary", "db1"), ("promote", "db2")):
        code, said = read_only(cluster, folder, *command, "--yes")
        assert code == 3, said
        assert f"{folder}/app.env: no file can be created in its folder" in flat(said)
        assert "hint: Create the folder and let this user write to it, or change app.env_file." in said
    assert fingerprint(cluster) == before
    assert value(cluster, "db1", "select timeline_id from pg_control_checkpoint()") == 1
    ok(cluster.replctl("init-primary", "db1", "--yes"))
    assert (folder / "app.env").exists()


def read_only(operator: Operator, folder: Path, *args: str) -> tuple[int, str]:
    """A run of replctl for which a folder is read-only: mounted so in a mount namespace of its own."""
    mount = 'mount -t tmpfs -o ro none "$1" && shift && exec "$@"'
    command = ["unshare", "--mount", "sh", "-c", mount, "sh", folder, REPLCTL, *args]
    run = subprocess.run(
        command, env=operator.environ(), cwd=operator.folder, capture_output=True, timeout=120, check=False
    )
    return run.returncode, run.stderr.decode()


@pytest.mark.fault("46")
def test_a_primary_with_tablespaces(cluster: Operator) -> None:
    forget(cluster, "db2")
    for name in ("db1", "db3"):
        cluster.lan[name].run(["mkdir", SPACE])
    execute(cluster, "db1", f"create tablespace archive location '{SPACE}'")
    held = slots(cluster, "db1")
    says = ("db1 has tablespaces", "archive", "DROP TABLESPACE")
    refusal = assert_refused(cluster, 3, "add-replica", "db2", "--yes", says=says, seconds=60)
    assert (refusal["code"], refusal["node"]) == ("tablespaces", "db1")
    assert slots(cluster, "db1") == held
    execute(cluster, "db1", "drop tablespace archive")
    ok(cluster.replctl("add-replica", "db2", "--yes"))
    assert_cluster(cluster, "db1", ["db2", "db3"])


@pytest.mark.slow
@pytest.mark.fault("83h")
def test_an_admin_role_that_may_not_look(cluster: Operator) -> None:
    """Neither a superuser nor a member of pg_monitor, and then the latter: nothing is made up."""
    execute(cluster, "db1", "create role watcher login password 'seen'")
    cluster.write_private("secrets/watcher", "seen")
    for host in cluster.lan:
        admit(cluster, host, "watcher")
    cluster.write_inventory(extra={"admin": {"user": "watcher", "password": {"file": "secrets/watcher"}}})
    for grant in ((), ("grant pg_monitor to watcher",)):
        execute(cluster, "db1", *grant)
        run = cluster.replctl("status", "-o", "json")
        assert run.code == 11, run.out + run.err
        assert_nothing_made_up(run.document)
    denied = cluster.replctl("promote", "db2", "--yes", "-o", "json")
    assert denied.code == 3, denied.out + denied.err
    assert any("watcher" in refusal["message"] for refusal in denied.document["refusals"])


def admit(operator: Operator, host: Host, role: str) -> None:
    """The host's server knows the role, and lets it in from the host itself."""
    wait_until(lambda: value(operator, host.name, f"select count(*) from pg_roles where rolname = '{role}'") == 1)
    loaded = value(operator, host.name, "select pg_conf_load_time()")
    rules = host.path(f"{MAIN}/pg_hba.conf")
    rules.write_text(f"host all {role} 127.0.0.1/32 scram-sha-256\n{rules.read_text()}")
    control(host, "reload")
    wait_until(lambda: value(operator, host.name, "select pg_conf_load_time()") > loaded)


def assert_nothing_made_up(document: dict[str, Any]) -> None:
    """A server whose figures nobody may read: null, with a finding that says why."""
    assert document["primary"] is None
    for row in document["nodes"]:
        assert row["state"] == "ssh-only"
        assert {row[key] for key in ("unreceived_bytes", "unreplayed_bytes", "lag_ms", "slot")} == {None}
        (why,) = [found for found in document["findings"] if found["node"] == row["name"]]
        assert why["code"] == "ssh-only"
        assert "watcher" in why["message"]
        assert "superuser" in why["hint"].lower()
