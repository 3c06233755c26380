"""What is written, renamed and deleted on a host, in a folder where every other user of it makes files too."""

from __future__ import annotations

import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from replctl.execution.lock import Holder, lock_file, lock_nodes
from replctl.model.errors import CommandFailedError, RefusedError
from replctl.model.inventory import Node, ServiceManager
from replctl.model.secret import Secret
from replctl.model.values import Lsn, NodeName, Timeline, WalRange
from replctl.postgres import repair_scripts, scripts
from replctl.postgres.hostprobe import host_probe_command, parse_host_probe
from replctl.postgres.layout import Layout
from replctl.postgres.paths import rewind_dir, rewind_marker
from replctl.postgres.starting import start
from replctl.remote.ports import CommandResult
from replctl.remote.shell_runner import ShellRunner
from replctl.remote.waiting import NeverCancelled, SystemClock
from tests.contract.routes import OS_USER, eventually
from tests.contract.shared_folder import STRANGER, Shared
from tests.unit.config_inventories import a_node, an_inventory

# What a file is like does not depend on the way to the host; two users, as one changes into the other, it does.
pytestmark = pytest.mark.parametrize("route", ["local", "ssh-sudo"], indirect=True)

SEGMENT = "000000010000000000000001"
MARKER = '{"run": "run-1", "system_identifier": "7277"}'


@pytest.fixture
def shared() -> Iterator[Shared]:
    """Open to all, and not sticky: kernels may guard sticky folders by themselves."""
    folder = Path(tempfile.mkdtemp(prefix="replctl-shared-"))
    folder.chmod(0o777)
    shared = Shared(folder)
    shared.ours(shared.victim, "victim\n")
    yield shared
    assert shared.victim.read_text() == "victim\n"
    shutil.rmtree(folder)


def run(runner: ShellRunner, command: tuple[str, ...], stdin: str = "") -> CommandResult:
    return runner.run(command, stdin=stdin.encode(), timeout=20, check=False)


def under_umask(umask: str, command: tuple[str, ...]) -> tuple[str, ...]:
    return ("sh", "-c", f'umask {umask}; exec "$@"', "sh", *command)


def assert_private(path: Path, text: str) -> None:
    status = path.lstat()
    assert (oct(status.st_mode), pwd.getpwuid(status.st_uid).pw_name) == (oct(0o100600), OS_USER)
    assert path.read_text() == text


class TestWriteFile:
    @pytest.mark.parametrize("umask", ["000", "0777"])
    def test_the_file_is_the_os_users_alone_whatever_the_umask(
        self, runner: ShellRunner, shared: Shared, umask: str
    ) -> None:
        path = shared.folder / "main.replctl-passfile"
        for text in ("secret\n", "another\n"):
            assert run(runner, under_umask(umask, scripts.write_file(str(path))), text).status == 0
            assert_private(path, text)
        assert shared.names() == {path.name, "victim"}

    def test_what_stands_there_is_replaced_and_not_followed(self, runner: ShellRunner, shared: Shared) -> None:
        path, folder = shared.folder / "file", shared.theirs(shared.folder / "folder")
        for make in (
            lambda: shared.link(path, shared.victim),
            lambda: shared.link(path, folder),
            lambda: shared.link(path, "nowhere"),
            lambda: shared.theirs(path, "theirs"),
            lambda: os.link(shared.victim, path),
        ):
            make()
            assert run(runner, scripts.write_file(str(path)), "secret\n").status == 0
            assert_private(path, "secret\n")
            path.unlink()
        assert list(folder.iterdir()) == []
        assert shared.names() == {"folder", "victim"}

    def test_a_directory_is_not_entered(self, runner: ShellRunner, shared: Shared) -> None:
        path = shared.theirs(shared.folder / "file")
        assert run(runner, scripts.write_file(str(path)), "secret\n").status != 0
        assert list(path.iterdir()) == []
        assert shared.names() == {"file", "victim"}

    def test_nobody_knows_the_new_files_name_beforehand(self, runner: ShellRunner, shared: Shared) -> None:
        path = shared.folder / "file"
        names: set[str] = set()
        for _ in range(2):
            process = runner.spawn(scripts.write_file(str(path)))
            assert eventually(lambda: len(shared.names() - names) == 2, 20)  # the victim, and the new file
            (name,) = shared.names() - names - {"victim"}
            assert_private(shared.folder / name, "")
            process.kill()
            names.add(name)
            (shared.folder / name).unlink(missing_ok=True)
        assert len(names) == 2

    def test_a_file_that_is_not_ours_does_not_hold_the_password_already(
        self, runner: ShellRunner, shared: Shared
    ) -> None:
        path, same = shared.folder / "file", scripts.same_content(str(shared.folder / "file"))
        shared.ours(path, "secret\n")
        assert run(runner, same, "secret\n").status == 0
        path.chmod(0o640)
        assert run(runner, same, "secret\n").status != 0
        path.rename(shared.folder / "real")
        (shared.folder / "real").chmod(0o600)
        shared.link(path, "real")
        assert run(runner, same, "secret\n").status != 0

    def test_a_rename_replaces_a_symlink_and_enters_no_folder(self, runner: ShellRunner, shared: Shared) -> None:
        old, new = shared.folder / "old", shared.folder / "new"
        folder = shared.theirs(shared.folder / "folder")
        shared.ours(old, "text")
        shared.link(new, folder)
        assert run(runner, scripts.rename(str(old), str(new))).status == 0
        assert_private(new, "text")
        assert run(runner, scripts.rename(str(new), str(folder))).status != 0
        assert list(folder.iterdir()) == []

    def test_removing_a_symlink_leaves_its_target(self, runner: ShellRunner, shared: Shared) -> None:
        path = shared.link(shared.folder / "link", shared.victim)
        assert run(runner, scripts.remove_file(str(path))).status == 0
        assert not path.is_symlink()


def make(runner: ShellRunner, shared: Shared) -> int:
    return run(runner, scripts.make_staging(str(shared.staging), str(shared.marker)), MARKER + "\n").status


def clear(runner: ShellRunner, shared: Shared, text: str = MARKER) -> int:
    return run(runner, scripts.clear_staging(str(shared.marker), text), f"{shared.staging}\n").status


class TestStaging:
    def test_it_is_made_empty_and_private_with_its_marker(self, runner: ShellRunner, shared: Shared) -> None:
        make_staging = scripts.make_staging(str(shared.staging), str(shared.marker))
        assert run(runner, under_umask("000", make_staging), MARKER + "\n").status == 0
        assert_private(shared.marker, MARKER + "\n")
        assert (oct(shared.staging.lstat().st_mode), shared.staging.owner()) == (oct(0o040700), OS_USER)
        assert clear(runner, shared) == 0
        assert shared.names() == {"victim"}

    @pytest.mark.parametrize("kind", ["directory", "file", "symlink", "dangling"])
    def test_what_stands_there_already_gets_no_marker(self, runner: ShellRunner, shared: Shared, kind: str) -> None:
        if kind in {"directory", "file"}:
            shared.ours(shared.staging, None if kind == "directory" else "text", 0o700)
        else:
            shared.link(shared.staging, shared.theirs(shared.folder / "there") if kind == "symlink" else "nowhere")
        assert make(runner, shared) == scripts.NOT_OURS
        assert not shared.marker.exists()
        assert os.path.lexists(shared.staging)

    @pytest.mark.parametrize(
        "kind",
        ["no-marker", "another-run", "marker-symlink", "marker-stranger", "symlink", "file", "stranger", "started"],
    )
    def test_what_is_not_ours_stays_whole(self, runner: ShellRunner, shared: Shared, kind: str) -> None:
        """Whatever its name, and whoever wants it to be deleted."""
        there = shared.ours(shared.folder / "there", mode=0o700)
        shared.ours(there / "base", "rows")
        if kind == "symlink":
            shared.link(shared.staging, there)
        elif kind == "file":
            there = shared.ours(shared.staging, "rows")
        else:
            there = there.rename(shared.staging)
        if kind == "stranger":
            os.chown(there, STRANGER, STRANGER)
        if kind == "started":
            shared.ours(there / "postmaster.opts", "")
        if kind == "marker-symlink":
            shared.link(shared.marker, shared.ours(shared.folder / "elsewhere", MARKER))
        elif kind == "marker-stranger":
            shared.theirs(shared.marker, MARKER, 0o644)
        elif kind != "no-marker":
            shared.ours(shared.marker, MARKER.replace("run-1", "run-2") if kind == "another-run" else MARKER)
        before = shared.names()
        assert clear(runner, shared) == scripts.NOT_OURS
        assert shared.names() == before
        assert there.is_file() or (there / "base").read_text() == "rows"

    def test_nothing_beyond_it_is_deleted(self, runner: ShellRunner, shared: Shared) -> None:
        """Symlinks out of it, to a folder and to itself, and a second name of a file that stays."""
        make(runner, shared)
        outside = shared.ours(shared.folder / "outside", mode=0o777)
        shared.ours(outside / "base", "rows")
        shared.ours(shared.staging / "pg_wal", mode=0o700)
        for name, target in (("out", outside), ("up", ".."), ("root", "/"), ("pg_wal/self", shared.staging)):
            shared.link(shared.staging / name, target)
        os.link(shared.victim, shared.staging / "second-name")
        assert clear(runner, shared) == 0
        assert (outside / "base").read_text() == "rows"
        assert shared.names() == {"victim", "outside"}

    def test_only_a_directory_of_ours_is_put_in_place(self, runner: ShellRunner, shared: Shared) -> None:
        install = scripts.install_staging(str(shared.staging), str(shared.marker), str(shared.data))
        there = shared.theirs(shared.folder / "there")
        shared.link(shared.staging, there)
        assert run(runner, install).status != 0
        shared.staging.unlink()
        make(runner, shared)
        shared.link(shared.data, there)
        assert run(runner, install).status != 0
        assert list(there.iterdir()) == []
        shared.data.unlink()
        assert run(runner, install).status == 0
        assert (shared.data.owner(), shared.names()) == (OS_USER, {"main", "there", "victim"})

    @pytest.mark.parametrize("kind", ["ours", "marker-symlink", "marker-stranger", "symlink", "pipe"])
    def test_the_look_at_a_host_believes_our_own_marker_alone(
        self, runner: ShellRunner, shared: Shared, kind: str
    ) -> None:
        node = a_node("db1", "127.0.0.1", data_dir=str(shared.data), os_user=OS_USER)
        make(runner, shared)
        if kind == "marker-symlink":
            shared.link(shared.marker, shared.marker.rename(shared.folder / "elsewhere"))
            shared.marker.unlink()
            shared.link(shared.marker, "elsewhere")
        elif kind == "marker-stranger":
            os.chown(shared.marker, STRANGER, STRANGER)
            shared.marker.chmod(0o644)
        elif kind == "symlink":
            shared.link(shared.staging, shared.staging.rename(shared.folder / "there"))
        elif kind == "pipe":
            shared.marker.unlink()
            os.mkfifo(shared.marker)
            os.chown(shared.marker, pwd.getpwnam(OS_USER).pw_uid, -1)
        (shared.folder / 'main.replctl-aside-\nstaging\t{"run": "x"}').mkdir()
        staging = parse_host_probe(run(runner, host_probe_command(node)).text, node).staging
        assert staging is not None
        assert staging.run == ("run-1" if kind == "ours" else None)


class TestLockFile:
    @pytest.mark.parametrize("kind", ["symlink", "dangling", "pipe", "directory"])
    def test_only_a_plain_file_is_locked(self, runner: ShellRunner, shared: Shared, kind: str) -> None:
        node = a_node("db1", "127.0.0.1", data_dir=str(shared.data), os_user=OS_USER)
        path = Path(lock_file(node))
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "directory":
            shared.theirs(path)
        else:
            shared.link(path, shared.victim if kind == "symlink" else shared.folder / "nowhere")
        before = shared.names()
        with pytest.raises(RefusedError, match="is no plain file") as caught:
            lock_nodes(
                [Link(node.name, runner)],
                an_inventory(node),
                Holder("alice", "ops1", "2026-07-01 10:00:00 UTC", "replctl promote db2"),
                clock=SystemClock(),
                cancellation=NeverCancelled(),
            )
        assert caught.value.code == "lock-failed"
        assert shared.names() == before


@dataclass(frozen=True)
class Link:
    name: NodeName
    runner: ShellRunner


@pytest.mark.parametrize("kind", ["symlink", "stranger"])
def test_no_socket_in_a_folder_of_another_user(runner: ShellRunner, shared: Shared, kind: str) -> None:
    sockets = shared.folder / "main.replctl-run"
    if kind == "symlink":
        shared.link(sockets, shared.ours(shared.folder / "there"))
    else:
        shared.theirs(sockets)
    shared.ours(shared.data, mode=0o700)
    layout = Layout(ServiceManager.PG_CTL, str(shared.data), str(shared.data))
    result = run(runner, start(layout, "/nonexistent", str(sockets), stop_seconds=1, start_seconds=1))
    assert result.status == scripts.GONE
    assert f"FATAL: {sockets} is not a directory of {OS_USER}" in result.text


def test_a_failure_does_not_repeat_the_secret(runner: ShellRunner) -> None:
    """initdb prints the whole statement that failed, with the password in it."""
    secret = Secret("first line\nsecond\n")
    with pytest.raises(CommandFailedError) as caught:
        runner.run(["sh", "-c", "cat >&2; exit 1"], stdin=secret, timeout=10)
    assert caught.value.stderr == "********\n********\n"
    assert not [word for word in ("first", "second") if word in caught.value.message + caught.value.hint]


class TestRewind:
    """pg_rewind works in a directory of its own, with a mark beside it."""

    @pytest.fixture
    def nodes(self, shared: Shared) -> list[Node]:
        nodes = [
            a_node("db1", "127.0.0.1", data_dir=str(shared.data), os_user=OS_USER),
            a_node("db2", "10.0.0.2", data_dir=str(shared.data), os_user=OS_USER),
        ]
        shared.ours(shared.data, mode=0o700)
        shared.ours(shared.data / "postgresql.conf", "port = 1\n")
        for folder in ("global", "pg_wal"):
            shared.ours(shared.data / folder, mode=0o700)
        shared.ours(shared.data / "global/pg_control", "x")
        shared.ours(shared.data / "pg_wal" / SEGMENT, "x")
        return nodes

    def test_nothing_that_others_laid_out_is_opened_or_put_in_place(
        self, runner: ShellRunner, shared: Shared, nodes: list[Node]
    ) -> None:
        node, source = nodes
        mark, place = Path(rewind_marker(node)), Path(rewind_dir(node))
        programs = shared.ours(shared.folder / "bin", mode=0o755)
        shared.ours(programs / "pg_rewind", "#!/bin/sh\n", 0o755)
        own = f"{shared.ours(shared.folder / 'kept', mode=0o700)}/own"
        shared.link(mark, shared.victim)
        command = repair_scripts.rewind(an_inventory(*nodes), node, source, str(programs), own=own, fork="0" * 24)
        assert run(runner, command).status == 0
        assert_private(mark, "done\n")
        install = repair_scripts.install_rewound(node)
        for path in (place, mark):
            os.chown(path, STRANGER, STRANGER)
            path.chmod(0o755)
            assert run(runner, install).status == repair_scripts.MISSING
            os.chown(path, pwd.getpwnam(OS_USER).pw_uid, -1)
        shared.data.symlink_to("nowhere")
        assert run(runner, install).status != 0
        shared.data.unlink()
        assert run(runner, install).status == 0
        assert (shared.data / "standby.signal").exists()
        assert shared.names() == {"main", "bin", "kept", "victim"}

    def test_a_copy_of_wal_that_another_user_made_up_is_none(
        self, runner: ShellRunner, shared: Shared, nodes: list[Node]
    ) -> None:
        ranges = [WalRange(Timeline(1), Lsn.parse("0/1000028"))]
        keep = repair_scripts.keep_wal(nodes[0], "/nonexistent", ranges, 16 * 1024 * 1024)
        made_up = shared.theirs(shared.folder / "main.replctl-aside-20260101T000000Z")
        shared.theirs(made_up / "positions", f"1 0/1000028 {SEGMENT}\n")
        kept = run(runner, keep).text.strip()
        assert kept.startswith(f"{shared.data}.replctl-aside-")
        assert kept != str(made_up)
        assert (Path(kept) / "pg_wal" / SEGMENT).exists()
        assert run(runner, keep).text.strip() == kept
