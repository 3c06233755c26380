"""The env file's copy on a host of the application, over a real sshd."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from replctl.execution.context import Changed, Context, Effect, Stopwatch, Unchanged
from replctl.execution.handlers.app_hosts import push_env
from replctl.model.actions import PushEnv
from replctl.model.errors import ConnectionLostError, InterruptedByOperator, ReplctlError
from replctl.model.inventory import App, AppHost, SshSettings
from replctl.model.plan import Step
from replctl.model.secret import EnvSecret, Passwords, Secret
from replctl.remote.app_files import AppFile, ChangedMeanwhileError, read_app_file, write_app_file
from replctl.remote.dial import Dialer
from replctl.remote.links import Links
from replctl.remote.ports import CommandResult
from replctl.remote.shell_runner import ShellRunner
from replctl.remote.ssh import SshHost
from replctl.remote.ssh_config import SshConfig
from replctl.remote.waiting import NeverCancelled, SystemClock
from tests.contract.routes import Interrupt, eventually, running
from tests.contract.sshd import Sshd, UnixUser, free_port, unix_user
from tests.unit.builders import a_cluster
from tests.unit.runs import Interrupts, Ticking, Told, a_session

STRANGER = 54321
PASSWORDS = Passwords(Secret("a"), Secret("r"), Secret("top secret"))
NAMES = [
    ".env",
    "a b.env",
    "$(touch canary).env",
    "'; touch canary; '",
    '"`touch canary`"',
    "-rf",
    "*",
    "é.env",
    "a\\b",
]


@pytest.fixture(scope="module")
def user(worker: str) -> Iterator[UnixUser]:
    with unix_user(f"replctl-app-{worker}") as user:
        yield user


@dataclass
class Place:
    """A host of the application, the folder of its file, and the operator's own env file."""

    host: AppHost
    runner: ShellRunner
    folder: Path
    env_file: Path
    uid: int

    @property
    def file(self) -> Path:
        return Path(self.host.path)

    @property
    def previous(self) -> Path:
        return self.file.with_name(f"{self.file.name}.replctl-previous")

    @property
    def due(self) -> Path:
        return self.file.with_name(f"{self.file.name}.replctl-reload-due")

    def named(self, name: str, **changed: object) -> Place:
        return replace(self, host=replace(self.host, path=f"{self.folder}/{name}", **changed))

    def reloading(self, *argv: str) -> Place:
        return replace(self, host=replace(self.host, reload=argv))

    def put(self, text: str | bytes, mode: int = 0o600, uid: int | None = None) -> None:
        """What stands there before."""
        self.file.write_bytes(text.encode() if isinstance(text, str) else text)
        self.file.chmod(mode)
        os.chown(self.file, self.uid if uid is None else uid, self.uid if uid is None else uid)

    def push(self, cancellation: Interrupt | None = None) -> Effect:
        return push_env(self._context(cancellation), PushEnv(self.host.label))

    def _context(self, cancellation: Interrupt | None) -> Context:
        app = App("chatdb", "chat", EnvSecret("X"), self.env_file, publish=(self.host,))
        inventory, facts = a_cluster(inventory={"app": app}).primary("db1").replica("db2").build()
        runner = self.runner if cancellation is None else replace(self.runner, cancellation=cancellation)
        links = Links({}, {self.host.label: runner})
        session = replace(a_session(inventory, Told(), Interrupts(), Ticking()), fleet=links, passwords=PASSWORDS)
        return Context(session, facts, Step("push", None, PushEnv(self.host.label), "why"), Stopwatch())

    def refused(self) -> str:
        """Why the push was refused; nothing was changed."""
        before = self.seen()
        with pytest.raises(ReplctlError) as caught:
            self.push()
        assert caught.value.hint.endswith("Then run `replctl env --write`.")
        assert "top" not in str(caught.value)
        assert self.seen() == before
        return str(caught.value)

    def seen(self) -> Mapping[str, object]:
        return {
            path.name: (path.lstat().st_mode, path.lstat().st_uid, path.read_bytes() if path.is_file() else None)
            for path in self.folder.iterdir()
        }


def runner_of(host: AppHost, cancellation: object = None) -> ShellRunner:
    dialer = Dialer(SshConfig(lambda _: None, Path("/dev/null")), SystemClock())
    return ShellRunner(SshHost(host, dialer), "", SystemClock(), cancellation or NeverCancelled()).as_login_user()


@pytest.fixture
def place(sshd: Sshd, user: UnixUser, tmp_path: Path) -> Iterator[Place]:
    """The folder is the user's own."""
    folder = Path(tempfile.mkdtemp(prefix="replctl-app-"))
    folder.chmod(0o755)
    account = pwd.getpwnam(user.name)
    os.chown(folder, account.pw_uid, account.pw_gid)
    settings = SshSettings(user.name, sshd.port, sshd.key, sshd.known_hosts, 5.0)
    host = AppHost("127.0.0.1", settings, f"{folder}/.env")
    env_file = tmp_path / "app.env"
    env_file.write_text(
        "DB_PRIMARY_URL=postgresql://chat:old@10.0.0.1:5432/chatdb\n"
        "DB_READ_REPLICA_URLS=postgresql://chat:old@10.0.0.2:5432/chatdb\n"
    )
    runner = runner_of(host)
    yield Place(host, runner, folder, env_file, account.pw_uid)
    runner.close()
    shutil.rmtree(folder)


URLS = (
    "DB_READ_REPLICAS_ENABLED=true\n"
    "DB_PRIMARY_URL=postgresql://chat:top%20secret@10.0.0.1:5432/chatdb\n"
    "DB_READ_REPLICA_URLS=postgresql://chat:top%20secret@10.0.0.2:5432/chatdb\n"
)


def test_a_new_file_is_the_users_own(place: Place) -> None:
    assert place.push() == Changed("written")
    status = place.file.stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid) == (0o600, place.uid)
    assert place.file.read_text() == URLS
    assert set(place.seen()) == {".env"}
    assert place.push() == Unchanged("it says so already")


def test_other_lines_stay_and_the_previous_file_is_kept(place: Place) -> None:
    text = "# ours\nSECRET_KEY='a\nb'\nDB_PRIMARY_URL=postgresql://x\nDEBUG=0"
    place.put(text, 0o644)
    assert place.push() == Changed("written")
    found = place.file.read_text()
    assert found.startswith("# ours\nSECRET_KEY='a\nb'\nDB_PRIMARY_URL=postgresql://chat:")
    assert "\nDEBUG=0\n" in found
    assert place.previous.read_text() == text
    assert [stat.S_IMODE(path.stat().st_mode) for path in (place.file, place.previous)] == [0o600, 0o600]
    assert set(place.seen()) == {".env", ".env.replctl-previous"}


def test_what_is_right_and_open_to_others_is_closed(place: Place) -> None:
    place.put(URLS, 0o640)
    inode = place.file.stat().st_ino
    assert place.push() == Changed("written")
    assert (stat.S_IMODE(place.file.stat().st_mode), place.file.stat().st_ino) == (0o600, inode)
    assert place.push() == Unchanged("it says so already")


@pytest.mark.parametrize("name", NAMES)
def test_hostile_names(place: Place, name: str) -> None:
    there = place.named(name)
    there.put("A=1\n")
    assert there.push() == Changed("written")
    assert there.push() == Unchanged("it says so already")
    assert set(there.seen()) == {name, f"{name}.replctl-previous"}
    assert there.file.read_text() == f"A=1\n{URLS}"
    assert not Path("/canary").exists()


def test_hostile_content_stays_as_it_is(place: Place) -> None:
    text = "A=$(touch /canary)\nB='`x`'\r\nC=\\\n\n# é \x01\x00 end\n" + "D=" + "x" * 500_000 + "\n"
    place.put(text)
    place.push()
    assert place.file.read_bytes() == (text + URLS).encode()
    assert place.previous.read_bytes() == text.encode()
    assert not Path("/canary").exists()


def test_a_symlink_is_refused(place: Place) -> None:
    victim = place.folder / "victim"
    victim.write_text("victim\n")
    place.file.symlink_to(victim)
    assert "is a symlink" in place.refused()
    place.file.unlink()
    place.file.symlink_to(place.folder / "nowhere")
    assert "is a symlink" in place.refused()


def test_what_is_no_file_is_refused(place: Place) -> None:
    place.file.mkdir()
    assert "is not a regular file" in place.refused()
    place.file.rmdir()
    os.mkfifo(place.file)
    assert "is not a regular file" in place.refused()
    place.file.unlink()
    place.put(b"A=\xff\n")
    assert "is not UTF-8 text" in place.refused()
    place.put(b"x" * (1024 * 1024 + 1))
    assert "is larger than 1048576 bytes" in place.refused()


def test_a_missing_folder_is_refused(place: Place) -> None:
    assert "cannot get into the folder" in place.named("none/.env").refused()


def test_an_owner_that_cannot_be_kept_is_refused(place: Place) -> None:
    place.put("A=1\n", 0o644, STRANGER)
    assert "has an owner and group that" in place.refused()
    place.put("A=1\n", 0o600, STRANGER)
    assert "cannot be read or written" in place.refused()


def test_a_folder_that_cannot_be_written_is_told(place: Place) -> None:
    place.put("A=1\n")
    os.chown(place.folder, 0, 0)
    assert "cannot be read or written" in place.refused()


def test_a_file_that_another_user_laid_out_in_an_open_folder_gets_no_passwords(place: Place) -> None:
    place.folder.chmod(0o1777)
    place.put("A=1\n", 0o644, STRANGER)
    assert "in a folder where every user can make files" in place.refused()


def test_root_keeps_the_owner(place: Place) -> None:
    host = replace(place.host, ssh=replace(place.host.ssh, user="root"))
    place.put("A=1\n", 0o600, STRANGER)
    runner = runner_of(host)
    try:
        assert replace(place, host=host, runner=runner).push() == Changed("written")
    finally:
        runner.close()
    assert {(path.stat().st_uid, path.stat().st_gid) for path in place.folder.iterdir()} == {(STRANGER, STRANGER)}


def test_a_change_in_between_is_not_lost(place: Place) -> None:
    place.put("A=1\n")
    seen = read_app_file(place.runner, place.host)
    place.put("A=2\n")
    with pytest.raises(ChangedMeanwhileError):
        write_app_file(place.runner, place.host, Secret("A=1\nB=1\n"), seen)
    assert place.file.read_text() == "A=2\n"
    assert set(place.seen()) == {".env"}
    place.file.unlink()
    with pytest.raises(ChangedMeanwhileError):
        write_app_file(place.runner, place.host, Secret("A=1\nB=1\n"), seen)
    assert set(place.seen()) == set()


def test_a_text_that_arrives_in_part_replaces_nothing(place: Place) -> None:
    """As when the sender is killed: the host sees stdin end, and nothing else."""
    place.put(URLS)
    before = place.seen()
    with pytest.raises(ConnectionLostError, match="did not arrive as a whole"):
        write_app_file(CutShort(place.runner), place.host, Secret("A=1\n" * 50_000), AppFile(Secret(URLS)))
    assert place.seen() == before


@dataclass(frozen=True)
class CutShort:
    """A way to the host on which the end of what is sent gets lost."""

    runner: ShellRunner

    def run(self, argv: Sequence[str], *, stdin: Secret, timeout: float, check: bool) -> CommandResult:
        half = Secret(stdin.reveal()[: len(stdin.reveal()) // 2])
        return self.runner.run(argv, stdin=half, timeout=timeout, check=check)


def test_one_that_appears_in_between_is_not_lost(place: Place) -> None:
    seen = read_app_file(place.runner, place.host)
    place.put("A=2\n")
    with pytest.raises(ChangedMeanwhileError):
        write_app_file(place.runner, place.host, Secret("B=1\n"), seen)
    assert place.file.read_text() == "A=2\n"


def test_of_several_runs_at_once_one_writes(place: Place) -> None:
    """All of them have read the same file."""
    place.put("A=1\n")
    seen = read_app_file(place.runner, place.host)

    def write(number: int) -> bool:
        try:
            write_app_file(place.runner, place.host, Secret(f"A=1\nB={number}\n"), seen)
        except ChangedMeanwhileError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        wrote = list(pool.map(write, range(4)))
    assert wrote.count(True) == 1
    assert place.file.read_text() == f"A=1\nB={wrote.index(True)}\n"
    assert place.previous.read_text() == "A=1\n"


def test_no_password_is_logged(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    place.put("SECRET_KEY=theirs\n")
    place.push()
    assert "mktemp" not in caplog.text
    assert str(place.folder) in caplog.text
    assert not [word for word in ("secret", "theirs", "postgresql://") if word in caplog.text]


def test_what_a_killed_run_left_goes(place: Place) -> None:
    left = place.folder / "..env.replctl-new-abcdefgh"
    left.write_text("password")
    os.chown(left, place.uid, place.uid)
    place.push()
    assert set(place.seen()) == {".env"}


def test_the_reload_command_runs_without_a_shell_when_the_file_is_new(place: Place) -> None:
    told = place.folder / "told"
    there = place.reloading("sh", "-c", 'printf "%s|" "$(id -un)" "$@" >>"$0"', str(told), "$HOME; touch canary", "*")
    assert there.push() == Changed("written, reloaded")
    assert told.read_text() == f"{there.host.ssh.user}|$HOME; touch canary|*|"
    assert there.push() == Unchanged("it says so already")
    assert told.read_text().count("canary") == 1
    assert set(there.seen()) == {".env", "told"}


def test_a_reload_that_fails_is_told_and_tried_again(place: Place) -> None:
    there = place.reloading("sh", "-c", "echo postgresql://chat:pw@h says no >&2; exit 3")
    with pytest.raises(ReplctlError) as caught:
        there.push()
    assert caught.value.code == "reload-failed"
    assert str(caught.value) == (
        f"{there.host.label}: is written, and its reload command failed: postgresql://chat:********@h says no"
    )
    assert place.file.read_text() == URLS
    assert there.due.exists()
    assert place.reloading("true").push() == Changed("reloaded")
    assert set(place.seen()) == {".env"}


def test_a_reload_that_hangs_is_ended(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("replctl.execution.handlers.app_hosts.RELOAD_SECONDS", 1.0)
    with pytest.raises(ReplctlError, match="did not end within 1 s") as caught:
        place.reloading("sleep", "4711.5").push()
    assert caught.value.code == "timeout"
    assert eventually(lambda: not running("sleep\0004711.5"))
    assert place.due.exists()


def test_an_interrupt_is_no_failure_of_the_host(place: Place) -> None:
    interrupt = Interrupt()
    interrupt.now = True
    with pytest.raises(InterruptedByOperator):
        place.push(interrupt)
    assert set(place.seen()) == set()


def test_a_host_that_does_not_answer_is_named(place: Place) -> None:
    host = replace(place.host, ssh=replace(place.host.ssh, port=free_port()))
    runner = runner_of(host)
    with pytest.raises(ReplctlError, match="connection refused") as caught:
        replace(place, host=host, runner=runner).push()
    assert str(caught.value).startswith(f"{host.label}: 127.0.0.1: no connection")
    assert (caught.value.code, caught.value.node) == ("connection-refused", None)
    runner.close()


def test_an_env_file_without_a_primary_is_not_pushed(place: Place) -> None:
    place.env_file.write_text("A=1\n")
    assert "names no primary" in place.refused()
