"""Files of the operator's own machine: the inventory, the templates and the env file."""

from __future__ import annotations

import fcntl
import os
import shlex
import stat
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path

import replctl
from replctl.inventory import parse_inventory
from replctl.model.errors import InventoryError, RefusedError, ReplctlError
from replctl.model.inventory import Inventory
from replctl.model.secret import LiteralSecret
from replctl.postgres.templates import Templates

_MAX_BYTES = 1024 * 1024
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH
_OPEN_TO_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_OWNER_ONLY = 0o600
_LEFTOVER = ".replctl-new"
_FOLDER_HINT = "Create the folder and let this user write to it, or change app.env_file."
_TEMPLATE_NAMES = ("postgresql.conf.j2", "pg_hba.conf.j2")


class WriteResult(StrEnum):
    """Whether a file had to be changed."""

    WRITTEN = "written"
    UNCHANGED = "unchanged"


def load_inventory(path: Path) -> Inventory:
    """Read, check and parse one inventory file. Raises InventoryError."""
    inventory = parse_inventory(read_inventory(path), path)
    passwords = (inventory.admin.password, inventory.replication.password, inventory.app.password)
    if any(isinstance(password, LiteralSecret) for password in passwords):
        check_private(path)
    return inventory


def read_inventory(path: Path) -> str:
    """The text of an inventory. Raises InventoryError, also when another user could have written it."""
    try:
        return _text(path, read_trusted(path, _MAX_BYTES))
    except InventoryError as error:
        if os.path.lexists(path):
            raise
        hint = "`replctl inventory init` writes a first one; -i names one that is elsewhere."
        raise InventoryError(error.message, hint=hint) from None


def check_private(path: Path) -> None:
    """Raises InventoryError when other users can read the inventory: it holds a password."""
    with _opened(path) as file:
        mode = os.fstat(file).st_mode
    if mode & _OPEN_TO_OTHERS:
        raise InventoryError(
            f"{path}: holds a password and can be read by other users",
            hint=f"Run `chmod 600 {_quoted(path)}`, or refer to the password by env, file or command.",
        )


def read_template_dir(path: Path | None) -> Templates:
    """The operator's own templates, or without a path the shipped ones. Raises InventoryError."""
    if path is None:
        return Templates(*(_shipped_template(name) for name in _TEMPLATE_NAMES))
    with _opened(path) as folder:
        status = os.fstat(folder)
    if not stat.S_ISDIR(status.st_mode):
        raise InventoryError(f"{path}: is not a directory", hint="Let `templates` name a folder with both templates.")
    _check_writers(path, status)
    return Templates(*(_text(path / name, read_trusted(path / name, _MAX_BYTES)) for name in _TEMPLATE_NAMES))


def _shipped_template(name: str) -> str:
    """From the package, where a wheel has the templates, or else from the repository around it."""
    package = Path(replctl.__file__).parent
    places = (package / "templates" / name, package.parent / "templates" / name)
    path = next((place for place in places if place.is_file()), places[0])
    with _opened(path) as file:
        return _text(path, _content(path, file, _MAX_BYTES))


def read_trusted(path: Path, limit: int) -> bytes:
    """The content of a regular file of at most ``limit`` bytes that nobody but us and root can write.

    Raises InventoryError.
    """
    with _opened(path) as file:
        content = _content(path, file, limit)
        _check_writers(path, os.fstat(file))
    return content


def read_optional_text(path: Path) -> str | None:
    """The text of a file as it is, line ends included, or None where there is no such file.

    Raises InventoryError.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _unreadable(path, error) from None
    with _opened(path) as file:
        return _text(path, _content(path, file, _MAX_BYTES))


@contextmanager
def _opened(path: Path, flags: int = 0) -> Generator[int]:
    try:
        # Without O_NONBLOCK a named pipe would hold us until somebody writes to it.
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | flags)
    except OSError as error:
        raise _unreadable(path, error) from None
    try:
        yield file
    finally:
        os.close(file)


def _content(path: Path, file: int, limit: int) -> bytes:
    if not stat.S_ISREG(os.fstat(file).st_mode):
        raise InventoryError(f"{path}: is not a regular file", hint="Name a regular file.")
    try:
        with os.fdopen(file, "rb", closefd=False) as reader:
            content = reader.read(limit + 1)
    except OSError as error:
        raise _unreadable(path, error) from None
    if len(content) > limit:
        raise InventoryError(f"{path}: is larger than {limit} bytes", hint="Check that this is the file you meant.")
    return content


def _text(path: Path, content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InventoryError(f"{path}:{line}: is not UTF-8 text", hint="Save the file as UTF-8.") from None


def _check_writers(path: Path, status: os.stat_result) -> None:
    if status.st_mode & _WRITABLE_BY_OTHERS:
        raise InventoryError(f"{path}: can be written by other users", hint=f"Run `chmod go-w {_quoted(path)}`.")
    if status.st_uid not in {0, os.geteuid()}:
        raise InventoryError(
            f"{path}: belongs to another user (uid {status.st_uid})",
            hint=f"Run replctl as that user, or `chown {os.geteuid()} {_quoted(path)}`.",
        )


def _unreadable(path: Path, error: OSError) -> InventoryError:
    return InventoryError(
        f"{path}: cannot be read: {_reason(error)}", hint="Check the path, and that this user may read it."
    )


def _reason(error: OSError) -> str:
    return (error.strerror or "unknown reason").lower()


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))


def write_private(path: Path, text: str) -> None:
    """A new file of mode 0600. Raises OSError, also when something stands there."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, _OWNER_ONLY)
    with os.fdopen(file, "w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())


def check_env_file(path: Path) -> None:
    """Whether write_env_file would be allowed to write. Raises RefusedError; changes nothing."""
    _env_target(path)


def write_env_file(path: Path, text: str) -> WriteResult:
    """Put ``text`` in place of the file as a whole, readable by its owner alone; its owner and group stay.

    A reader sees the old text or the new one. Raises RefusedError when the file must not be replaced (nothing was
    changed), ReplctlError with code ``env-file`` when writing fails.
    """
    content = text.encode()
    existing = _env_target(path)
    try:
        if existing is not None and _holds(path, content):
            return _unchanged(path, existing)
        _remove_leftovers(path)
        _replace(path, content, existing)
    except OSError as error:
        raise ReplctlError(
            f"cannot write {path}: {_reason(error)}",
            hint="Mend what keeps the file from being written, then run the same command again.",
            code="env-file",
        ) from None
    return WriteResult.WRITTEN


def _env_target(path: Path) -> os.stat_result | None:
    """What stands at ``path``, if anything, once it is sure that we may replace it."""
    try:
        path.parent.stat()
        existing = path.lstat()
    except FileNotFoundError as error:
        if error.filename == str(path.parent):
            raise _refused(f"{path}: there is no folder {path.parent}", _FOLDER_HINT) from None
        existing = None
    except OSError as error:
        raise _refused(f"{path}: cannot be looked at: {_reason(error)}", _FOLDER_HINT) from None
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise _refused(f"{path}: no file can be created in its folder", _FOLDER_HINT)
    if existing is not None:
        _check_replaceable(path, existing)
    return existing


def _check_replaceable(path: Path, existing: os.stat_result) -> None:
    if stat.S_ISLNK(existing.st_mode):
        raise _refused(f"{path}: is a symlink", "Let app.env_file name the file itself.")
    if not stat.S_ISREG(existing.st_mode):
        raise _refused(f"{path}: is not a regular file", "Let app.env_file name a regular file.")
    if not _can_keep_owner(existing):
        raise _cannot_keep_owner(path, existing)
    if existing.st_uid not in {0, os.geteuid()} and path.parent.stat().st_mode & stat.S_IWOTH:
        # Whoever laid it out there would be given the passwords.
        raise _refused(
            f"{path}: belongs to uid {existing.st_uid}, in a folder where every user can make files",
            "Let app.env_file name a file in a folder that others cannot write, or remove the file.",
        )


def _can_keep_owner(existing: os.stat_result) -> bool:
    ours = {os.getegid(), *os.getgroups()}
    return os.geteuid() == 0 or (existing.st_uid == os.geteuid() and existing.st_gid in ours)


def _cannot_keep_owner(path: Path, existing: os.stat_result) -> RefusedError:
    return _refused(
        f"{path}: belongs to uid {existing.st_uid} and gid {existing.st_gid}, which could not be kept",
        "Run replctl as the owner of the file, or change its owner and group to those of this user.",
    )


def _refused(message: str, hint: str) -> RefusedError:
    return RefusedError(message, hint=hint, code="env-file")


def _holds(path: Path, content: bytes) -> bool:
    with _opened(path, os.O_NOFOLLOW) as file, os.fdopen(file, "rb", closefd=False) as reader:
        return reader.read(len(content) + 1) == content


def _unchanged(path: Path, existing: os.stat_result) -> WriteResult:
    """The file holds passwords: what is open to others is closed even where the text may stay."""
    if not existing.st_mode & _OPEN_TO_OTHERS:
        return WriteResult.UNCHANGED
    path.chmod(_OWNER_ONLY)
    return WriteResult.WRITTEN


def _replace(path: Path, content: bytes, existing: os.stat_result | None) -> None:
    # mkstemp creates with O_EXCL and mode 0600, so that no other user ever opens the passwords.
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=_LEFTOVER)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            # Some network file systems have no locks: then leftovers stay as well, which take the lock first.
            with suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX)
            _keep_owner(file.fileno(), path, existing)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _keep_owner(file: int, path: Path, existing: os.stat_result | None) -> None:
    made = os.fstat(file)
    if existing is None or (made.st_uid, made.st_gid) == (existing.st_uid, existing.st_gid):
        return
    try:
        os.fchown(file, existing.st_uid, existing.st_gid)
    except PermissionError:
        raise _cannot_keep_owner(path, existing) from None


def _sync_folder(folder: Path) -> None:
    # The rename is durable only once the folder itself is on disk.
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _remove_leftovers(path: Path) -> None:
    """Delete what a killed run left beside the file; a living run holds the lock on its own."""
    for entry in path.parent.iterdir():
        if entry.name.startswith(f".{path.name}.") and entry.name.endswith(_LEFTOVER):
            with suppress(OSError, InventoryError), _opened(entry, os.O_NOFOLLOW) as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                entry.unlink()
