"""One look at a host: the real script on this machine's own files, and what is made of its output."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from replctl.model.host import Aside, DebianCluster, DirectoryState, HostFacts, Postmaster, Staging
from replctl.model.inventory import Node
from replctl.model.values import Lsn
from replctl.postgres.hostprobe import host_probe_command, parse_control_data, parse_host_probe
from replctl.postgres.paths import aside_prefix, staging_dir, staging_marker
from tests.unit.builders import a_node

CONTROL = """\
pg_control version number:            1300
Catalog version number:               202209061
Database system identifier:           7277000000000000001
Database cluster state:               shut down
pg_control last modified:             Sun 12 Oct 2025 10:00:00 AM UTC
Latest checkpoint location:           0/3000028
Latest checkpoint's TimeLineID:       2
Minimum recovery ending location:     0/0
Min recovery ending loc's timeline:   0
wal_log_hints setting:                on
Data page checksum version:           1
"""


@pytest.fixture
def node(tmp_path: Path) -> Node:
    """A node whose PostgreSQL programs are two scripts."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, body in {
        "pg_ctl": "echo 'pg_ctl (PostgreSQL) 15.18 (Debian 15.18-1)'",
        "postgres": "exit 1",
        "pg_controldata": f"cat <<'END'\n{CONTROL}END",
    }.items():
        (programs / name).write_text(f"#!/bin/sh\n{body}\n")
        (programs / name).chmod(0o755)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = replace(
        a_node("db1", 1).postgres, data_dir=str(tmp_path / "pg" / "data"), bin_dir=str(programs), port=port
    )
    (tmp_path / "pg").mkdir()
    return a_node("db1", 1, postgres=settings)


def data_of(node: Node) -> Path:
    return Path(node.postgres.data_dir)


def look(node: Node) -> HostFacts:
    done = subprocess.run(host_probe_command(node), capture_output=True, check=True, env=os.environ | {"LC_ALL": "C"})
    assert done.stderr == b""
    return parse_host_probe(done.stdout.decode("utf-8", "surrogateescape"), node)


def a_cluster_in(data: Path) -> Path:
    (data / "global").mkdir(parents=True)
    (data / "PG_VERSION").write_text("15\n")
    (data / "global" / "pg_control").write_bytes(b"\0")
    return data


def test_nothing_is_there(node: Node) -> None:
    host = look(node)
    assert host.directory.state is DirectoryState.ABSENT
    assert (host.directory.parent_exists, host.directory.can_create) == (True, True)
    assert host.directory.free_bytes
    assert (host.bin_dir, host.major) == (node.postgres.bin_dir, 15)
    assert (host.control, host.postmaster, host.staging, host.asides, host.port_in_use) == (None, None, None, (), False)
    assert host.hostname


def test_missing_parents(node: Node) -> None:
    deep = replace(node.postgres, data_dir=f"{node.postgres.data_dir}/a/b/c")
    directory = look(replace(node, postgres=deep)).directory
    assert (directory.state, directory.parent_exists, directory.can_create) == (DirectoryState.ABSENT, False, True)
    assert directory.free_bytes


def test_an_empty_directory(node: Node) -> None:
    data_of(node).mkdir()
    assert look(node).directory.state is DirectoryState.EMPTY


def test_something_else(node: Node) -> None:
    data_of(node).mkdir()
    for number in range(9):
        (data_of(node) / f"file {number}").touch()
    directory = look(node).directory
    assert directory.state is DirectoryState.OTHER
    assert directory.content == tuple(f"file {number}" for number in range(5))


def test_a_file_in_its_place(node: Node) -> None:
    data_of(node).touch()
    assert look(node).directory.state is DirectoryState.OTHER


def test_a_symbolic_link(node: Node, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    data_of(node).symlink_to(tmp_path / "elsewhere")
    directory = look(node).directory
    assert (directory.state, directory.is_symlink) == (DirectoryState.EMPTY, True)


def test_a_stopped_cluster(node: Node) -> None:
    data = a_cluster_in(data_of(node))
    (data / "standby.signal").touch()
    (data / "postgresql.conf").write_text("port = 1\n# tab\there\n\nlast = 'line'\n")
    host = look(node)
    assert host.directory.state is DirectoryState.CLUSTER
    assert host.standby_signal
    assert host.postmaster is None
    assert host.files == {"postgresql.conf": "port = 1\n# tab\there\n\nlast = 'line'\n"}
    assert host.control is not None
    assert (host.control.state, host.control.timeline, host.control.checkpoint) == ("shut down", 2, Lsn(0x3000028))
    assert host.control.cleanly_shut_down_primary


def test_files_that_end_without_a_newline_and_bytes_of_another_encoding(node: Node) -> None:
    """The next file would begin on the last line, and a comment in Latin-1 would come back as something else."""
    data = a_cluster_in(data_of(node))
    for name in ("postgresql.conf", "pg_hba.conf", "postgresql.auto.conf"):
        (data / name).write_bytes(f"{name} é\r\nlast".encode("latin-1"))
    seen = {name: text.encode("utf-8", "surrogateescape") for name, text in look(node).files.items()}
    assert seen == {name: (data / name).read_bytes() + b"\n" for name in seen}
    assert len(seen) == 3


def test_files_that_the_os_user_cannot_replace_as_they_are(node: Node, tmp_path: Path) -> None:
    data = a_cluster_in(data_of(node))
    (data / "postgresql.conf").touch()
    assert look(node).fixed_files == ()
    (tmp_path / "theirs").touch()
    os.chown(tmp_path / "theirs", 54321, 54322)
    (data / "pg_hba.conf").symlink_to(tmp_path / "theirs")
    os.chown(data / "postgresql.conf", -1, 54322)
    first, second = look(node).fixed_files
    assert "postgresql.conf belongs to the group" in first
    assert "pg_hba.conf belongs to" in second


@pytest.mark.parametrize("line", ["ready   ", "standby "])
def test_a_running_postmaster(node: Node, line: str) -> None:
    """The one whose working directory is the data directory."""
    data = a_cluster_in(data_of(node))
    with subprocess.Popen(("sleep", "30"), cwd=data) as process:
        (data / "postmaster.pid").write_text(f"{process.pid}\n{data}\n1\n5433\n/run\n*\n1 2\n{line}\n")
        host = look(node)
        process.kill()
    assert host.postmaster == Postmaster(process.pid, 5433, line.strip(), "/run")


def test_a_stale_pid_file_of_another_process(node: Node) -> None:
    data = a_cluster_in(data_of(node))
    (data / "postmaster.pid").write_text(f"{os.getpid()}\n{data}\n1\n5433\n/run\n*\n1 2\nready\n")
    assert look(node).postmaster is None


def test_the_programs_are_found_by_the_running_postmaster(node: Node) -> None:
    data = a_cluster_in(data_of(node))
    programs = Path(node.postgres.bin_dir or "")
    with subprocess.Popen(("sleep", "30"), cwd=data) as process:
        (data / "postmaster.pid").write_text(f"{process.pid}\n{data}\n1\n5433\n/run\n*\n1 2\nready\n")
        host = look(replace(node, postgres=replace(node.postgres, bin_dir=None)))
        process.kill()
    assert host.postmaster is not None
    assert host.bin_dir != str(programs)


def test_no_programs_where_the_inventory_says(node: Node, tmp_path: Path) -> None:
    host = look(replace(node, postgres=replace(node.postgres, bin_dir=str(tmp_path))))
    assert (host.bin_dir, host.major) == (None, None)


def test_a_port_in_use(node: Node) -> None:
    with socket.create_server(("127.0.0.1", node.postgres.port)):
        assert look(node).port_in_use
    assert not look(node).port_in_use


@pytest.mark.parametrize(
    ("marker", "expected"),
    [
        (json.dumps({"run": "r1", "system_identifier": "7277"}), Staging("r1", "7277")),
        (json.dumps({"run": "r1", "system_identifier": None}, indent=1), Staging("r1")),
        (json.dumps(["r1"]), Staging(None)),
        (json.dumps({"run": 7}), Staging(None)),
        ("{torn", Staging(None)),
        (None, Staging(None)),
    ],
)
def test_staging_is_ours_by_its_marker_alone(node: Node, marker: str | None, expected: Staging) -> None:
    Path(staging_dir(node)).mkdir()
    if marker is not None:
        Path(staging_marker(node)).write_text(marker)
    assert look(node).staging == expected


def test_a_marker_without_a_directory_is_nothing(node: Node) -> None:
    Path(staging_marker(node)).write_text(json.dumps({"run": "r1"}))
    assert look(node).staging is None


def test_what_was_moved_aside(node: Node) -> None:
    aside = Path(f"{aside_prefix(node)}20260701T120000Z")
    aside.mkdir()
    (aside / "file").write_bytes(b"x" * 100_000)
    (found,) = look(node).asides
    assert found.path == str(aside)
    assert found.size_bytes
    assert found.size_bytes >= 100_000


# What the output says, without a host.


def test_output_that_was_cut_short(node: Node) -> None:
    with pytest.raises(ValueError, match="cut short"):
        parse_host_probe("hostname\tdb1\n", node)


def test_noise_around_it(node: Node) -> None:
    text = "Welcome!\nhostname\tdb1\ndirectory\tabsent\nmajor\t15\nend\t1\nbye\n"
    host = parse_host_probe(text, node)
    assert (host.hostname, host.major, host.bin_dir, host.glibc) == ("db1", 15, None, None)


def test_other_programs_and_the_distributions_clusters(node: Node) -> None:
    text = (
        "bin\t/a/15/bin\ninstalled\t/a/15/bin\ninstalled\t/a/16/bin\ndirectory\tabsent\nfree\tunknown\n"
        "debian\t15 main 5432 auto /var/lib/pg 15/main\naside\t /pg.replctl-aside-1\nsocket-dir\tyes\nend\t1\n"
    )
    host = parse_host_probe(text, node)
    assert host.other_majors == ("/a/16/bin",)
    assert host.debian_clusters == (DebianCluster("15", "main", 5432, "/var/lib/pg 15/main", "auto"),)
    assert host.debian_clusters[0].config_dir == "/etc/postgresql/15/main"
    assert host.asides == (Aside("/pg.replctl-aside-1", None),)
    assert host.can_link_socket_dir
    assert host.directory.free_bytes is None


def test_a_directory_that_the_os_user_cannot_write(node: Node) -> None:
    assert not parse_host_probe("directory\tcluster\nread-only\tyes\nend\t1\n", node).directory.can_write
    assert parse_host_probe("directory\tcluster\nend\t1\n", node).directory.can_write


def test_a_postmaster_that_is_only_starting(node: Node) -> None:
    host = parse_host_probe("directory\tabsent\npostmaster\t77  \nend\t1\n", node)
    assert host.postmaster == Postmaster(77, None, "")


def test_control_data() -> None:
    found = parse_control_data(CONTROL)
    assert found is not None
    assert (found.system_identifier, found.checksums, found.wal_log_hints) == ("7277000000000000001", True, True)
    assert found.min_recovery_end == Lsn(0)


@pytest.mark.parametrize("text", ["", "pg_controldata: error: could not open file\n"])
def test_control_data_that_is_not_there(text: str) -> None:
    assert parse_control_data(text) is None


def test_control_data_that_is_torn() -> None:
    with pytest.raises(KeyError):
        parse_control_data("pg_control version number: 1300\n")
