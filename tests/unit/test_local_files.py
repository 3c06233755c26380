"""Files of the operator's own machine: who may write them, and how the env file is replaced."""

import errno
import fcntl
import os
import resource
import signal
import stat
from pathlib import Path

import pytest

from replctl.model.errors import ExitCode, InventoryError, RefusedError, ReplctlError
from replctl.model.secret import LiteralSecret
from replctl.remote.local_files import (
    WriteResult,
    check_env_file,
    check_private,
    load_inventory,
    read_inventory,
    read_optional_text,
    read_template_dir,
    write_env_file,
)
from tests.unit.inventories import SMALL


@pytest.fixture
def inventory_file(tmp_path):
    path = tmp_path / "inventory.yaml"
    path.write_text(SMALL)
    path.chmod(0o644)
    return path


@pytest.fixture
def env_file(tmp_path):
    path = tmp_path / "chat" / "app.env"
    path.parent.mkdir()
    return path


def belongs_to_another(path: Path, monkeypatch) -> None:
    if os.geteuid() == 0:
        os.chown(path, 54321, 54321)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_an_inventory_is_read_as_it_is(inventory_file):
    assert read_inventory(inventory_file) == SMALL
    assert load_inventory(inventory_file).path == inventory_file


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666, 0o777])
def test_an_inventory_that_others_can_write_is_refused(inventory_file, mode):
    inventory_file.chmod(mode)
    with pytest.raises(InventoryError, match="can be written by other users") as caught:
        read_inventory(inventory_file)
    assert caught.value.exit_code is ExitCode.USAGE
    assert "chmod go-w" in caught.value.hint


def test_an_inventory_of_another_user_is_refused(inventory_file, monkeypatch):
    belongs_to_another(inventory_file, monkeypatch)
    with pytest.raises(InventoryError, match="belongs to another user"):
        read_inventory(inventory_file)


def test_a_literal_password_needs_a_private_inventory(inventory_file):
    inventory_file.write_text(SMALL.replace("{file: secrets/admin}", "hunter2"))
    for mode in (0o644, 0o640, 0o604):
        inventory_file.chmod(mode)
        with pytest.raises(InventoryError, match="holds a password and can be read by other users") as caught:
            load_inventory(inventory_file)
        assert "chmod 600" in caught.value.hint
    inventory_file.chmod(0o600)
    check_private(inventory_file)
    assert isinstance(load_inventory(inventory_file).admin.password, LiteralSecret)


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["folder", "pipe"])
def test_only_regular_files_are_read(tmp_path, make):
    make(tmp_path / "x")
    with pytest.raises(InventoryError, match="is not a regular file"):
        read_inventory(tmp_path / "x")


def test_a_missing_inventory(tmp_path):
    with pytest.raises(InventoryError, match="cannot be read: no such file or directory"):
        read_inventory(tmp_path / "inventory.yaml")


def test_an_inventory_that_is_no_text(inventory_file):
    inventory_file.write_bytes(b"cluster: a\nssh: \xff\n")
    with pytest.raises(InventoryError, match=r"inventory.yaml:2: is not UTF-8 text"):
        read_inventory(inventory_file)


def test_a_huge_inventory(inventory_file):
    inventory_file.write_bytes(b"#" * (1024 * 1024 + 1))
    with pytest.raises(InventoryError, match="is larger than 1048576 bytes"):
        read_inventory(inventory_file)


@pytest.fixture
def template_dir(tmp_path):
    folder = tmp_path / "templates"
    folder.mkdir(mode=0o755)
    for name in ("postgresql.conf.j2", "pg_hba.conf.j2"):
        (folder / name).write_text(f"# {name}\n")
        (folder / name).chmod(0o644)
    return folder


def test_the_operators_own_templates(template_dir):
    templates = read_template_dir(template_dir)
    assert (templates.postgresql_conf, templates.pg_hba_conf) == ("# postgresql.conf.j2\n", "# pg_hba.conf.j2\n")


def test_the_shipped_templates():
    shipped = Path(__file__).parents[2] / "templates"
    templates = read_template_dir(None)
    assert templates.postgresql_conf == (shipped / "postgresql.conf.j2").read_text()
    assert templates.pg_hba_conf == (shipped / "pg_hba.conf.j2").read_text()


@pytest.mark.parametrize("name", [".", "postgresql.conf.j2", "pg_hba.conf.j2"])
def test_templates_that_others_can_write_are_refused(template_dir, name):
    (template_dir / name).chmod(0o777)
    with pytest.raises(InventoryError, match="can be written by other users"):
        read_template_dir(template_dir)


def test_missing_templates(template_dir):
    (template_dir / "pg_hba.conf.j2").unlink()
    with pytest.raises(InventoryError, match=r"pg_hba.conf.j2: cannot be read: no such file"):
        read_template_dir(template_dir)
    with pytest.raises(InventoryError, match=r"postgresql.conf.j2: is not a directory"):
        read_template_dir(template_dir / "postgresql.conf.j2")


def test_optional_text(env_file):
    assert read_optional_text(env_file) is None
    assert read_optional_text(env_file / "below") is None
    assert read_optional_text(Path("/nonexistent/app.env")) is None
    env_file.write_bytes("A=é\r\nB=2".encode())
    assert read_optional_text(env_file) == "A=é\r\nB=2"
    assert read_optional_text(env_file / "below") is None
    env_file.write_bytes(b"A=\xff")
    with pytest.raises(InventoryError, match="is not UTF-8 text"):
        read_optional_text(env_file)


def test_a_new_env_file_is_private_whatever_the_umask(env_file):
    before = os.umask(0)
    try:
        assert write_env_file(env_file, "A=1\n") is WriteResult.WRITTEN
    finally:
        os.umask(before)
    assert (env_file.read_text(), mode_of(env_file)) == ("A=1\n", 0o600)
    assert list(env_file.parent.iterdir()) == [env_file]


def test_identical_content_is_not_written_again(env_file):
    write_env_file(env_file, "A=1\n")
    before = env_file.stat()
    assert write_env_file(env_file, "A=1\n") is WriteResult.UNCHANGED
    after = env_file.stat()
    assert (after.st_ino, after.st_mtime_ns, after.st_ctime_ns) == (
        before.st_ino,
        before.st_mtime_ns,
        before.st_ctime_ns,
    )


@pytest.mark.parametrize("text", ["A=1\n", "A=2\n"], ids=["same-text", "new-text"])
def test_an_open_env_file_is_closed_to_others(env_file, text):
    env_file.write_text("A=1\n")
    env_file.chmod(0o644)
    assert write_env_file(env_file, text) is WriteResult.WRITTEN
    assert (env_file.read_text(), mode_of(env_file)) == (text, 0o600)


@pytest.mark.fault("84g")
def test_a_reader_keeps_the_old_text_or_gets_the_new_one(env_file):
    write_env_file(env_file, "A=old\n")
    with env_file.open() as reader:
        write_env_file(env_file, "A=new\n")
        assert reader.read() == "A=old\n"
    assert env_file.read_text() == "A=new\n"


@pytest.mark.fault("84g")
def test_content_is_written_only_to_a_private_file(env_file, monkeypatch):
    modes = []
    real_fsync = os.fsync

    def fsync(descriptor):
        status = os.fstat(descriptor)
        modes.append((stat.S_ISDIR(status.st_mode), stat.S_IMODE(status.st_mode) & 0o077))
        real_fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    write_env_file(env_file, "A=1\n")
    assert modes[0] == (False, 0)
    assert modes[1][0]


@pytest.mark.fault("84h")
def test_owner_and_group_are_kept_or_the_write_is_refused(env_file, monkeypatch):
    env_file.write_text("A=1\n")
    belongs_to_another(env_file, monkeypatch)
    if os.geteuid() == 0:
        assert write_env_file(env_file, "A=2\n") is WriteResult.WRITTEN
        assert (env_file.stat().st_uid, env_file.stat().st_gid) == (54321, 54321)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(RefusedError, match="could not be kept"):
        write_env_file(env_file, "A=3\n")
    assert list(env_file.parent.iterdir()) == [env_file]


@pytest.mark.fault("84h")
def test_an_owner_that_the_kernel_does_not_let_us_keep(env_file, monkeypatch):
    env_file.write_text("A=1\n")
    foreign = os.stat_result((0o100600, 0, 0, 1, 54321, 54321, 4, 0, 0, 0))

    def fchown(*_):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "fchown", fchown)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(Path, "lstat", lambda _: foreign)
    with pytest.raises(RefusedError, match="belongs to uid 54321 and gid 54321"):
        write_env_file(env_file, "A=3\n")
    assert [entry.name for entry in env_file.parent.iterdir()] == ["app.env"]
    assert env_file.read_text() == "A=1\n"


@pytest.mark.fault("84c")
@pytest.mark.parametrize("write", [check_env_file, lambda path: write_env_file(path, "A=1\n")], ids=["check", "write"])
@pytest.mark.parametrize("kind", ["symlink", "dangling", "folder", "pipe", "no-folder", "file-as-folder"])
def test_what_is_no_env_file_is_refused(env_file, kind, write):
    if kind == "symlink":
        (env_file.parent / "real").write_text("A=0\n")
        env_file.symlink_to("real")
    elif kind == "dangling":
        env_file.symlink_to("nowhere")
    elif kind == "folder":
        env_file.mkdir()
    elif kind == "pipe":
        os.mkfifo(env_file)
    else:
        env_file.parent.rmdir()
    if kind == "file-as-folder":
        env_file.parent.write_text("")
    with pytest.raises(RefusedError) as caught:
        write(env_file)
    assert caught.value.exit_code is ExitCode.REFUSED
    assert str(env_file) in caught.value.message
    assert "app.env_file" in caught.value.hint
    assert kind != "symlink" or (env_file.is_symlink() and env_file.read_text() == "A=0\n")


def test_checking_changes_nothing(env_file):
    check_env_file(env_file)
    assert list(env_file.parent.iterdir()) == []


def failing(code):
    def fail(*_, **__):
        raise OSError(code, os.strerror(code))

    return fail


@pytest.mark.fault("84a")
@pytest.mark.parametrize(
    ("where", "code"),
    [
        ("os.fsync", errno.ENOSPC),
        ("os.fsync", errno.EIO),
        ("pathlib.Path.replace", errno.EROFS),
        ("tempfile.mkstemp", errno.EDQUOT),
    ],
)
def test_a_failed_write_leaves_the_old_text_and_nothing_else(env_file, monkeypatch, where, code):
    write_env_file(env_file, "A=old\n")
    monkeypatch.setattr(where, failing(code))
    with pytest.raises(ReplctlError, match=os.strerror(code).lower()) as caught:
        write_env_file(env_file, "A=new\n")
    assert caught.value.code == "env-file"
    assert caught.value.hint.endswith(".")
    assert [(entry, entry.read_text()) for entry in env_file.parent.iterdir()] == [(env_file, "A=old\n")]


@pytest.mark.fault("84a")
def test_a_real_size_limit_leaves_the_old_text(env_file):
    write_env_file(env_file, "A=old\n")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard))
    try:
        with pytest.raises(ReplctlError, match="file too large"):
            write_env_file(env_file, "A=" + "x" * 20000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert [(entry, entry.read_text()) for entry in env_file.parent.iterdir()] == [(env_file, "A=old\n")]


def test_an_interrupt_leaves_no_temporary_file(env_file, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_env_file(env_file, "A=1\n")
    assert list(env_file.parent.iterdir()) == []


@pytest.mark.fault("84b")
def test_the_next_write_removes_what_a_killed_run_left(env_file):
    dead, living, foreign = (
        env_file.parent / name for name in (".app.env.1.replctl-new", ".app.env.2.replctl-new", "x")
    )
    for path in (dead, living, foreign):
        path.write_text("DB_PRIMARY_URL=...\n")
    with living.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        write_env_file(env_file, "A=1\n")
    assert sorted(entry.name for entry in env_file.parent.iterdir()) == [living.name, "app.env", "x"]
