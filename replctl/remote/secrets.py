"""The passwords themselves, read from where the inventory says they are."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from replctl.model.errors import InventoryError, SecretError
from replctl.model.inventory import Inventory
from replctl.model.secret import CommandSecret, EnvSecret, FileSecret, LiteralSecret, Passwords, Secret, SecretSource
from replctl.remote.local_files import read_trusted

if TYPE_CHECKING:
    from replctl.remote.ports import Progress

_COMMAND_TIMEOUT = 30.0
_MAX_BYTES = 64 * 1024
_SHOWN_STDERR = 400


class _UnusableError(Exception):
    """Why one password could not be had: words for the operator, without the value."""


def resolve_passwords(
    inventory: Inventory, old_admin: Path | None = None, says: Progress = lambda _: None
) -> Passwords:
    """Read the three passwords. Commands run in the inventory's folder, for at most 30 seconds each.

    ``old_admin`` is a file with the admin's password until now; ``says`` is told which program is asked.

    Raises SecretError, whose message has one line for each password that could not be had.
    """
    sources = [inventory.admin.password, inventory.replication.password, inventory.app.password]
    owners = ["admin.password", "replication.password", "app.password"]
    if old_admin is not None:
        sources.append(FileSecret(old_admin))
        owners.append("--old-password-file")
    found: list[Secret] = []
    failed: list[str] = []
    for owner, source in zip(owners, sources, strict=True):
        if isinstance(source, CommandSecret):
            says(f"{owner}, which {source.argv[0]} is to print")
        try:
            found.append(_checked(_read(source, inventory.path.parent), source))
        except _UnusableError as error:
            failed.append(f"{owner}: {error}")
    if failed:
        raise SecretError(
            "\n".join(failed), hint="Put each password where the inventory says it is, or change the inventory."
        )
    admin, replication, app, *old = found
    return Passwords(admin=admin, replication=replication, app=app, old_admin=old[0] if old else None)


def _read(source: SecretSource, folder: Path) -> Secret:
    match source:
        case EnvSecret(variable):
            return _from_environment(variable)
        case FileSecret(path):
            return _from_file(path)
        case CommandSecret(argv):
            return _from_command(argv, folder)
        case LiteralSecret(secret):
            return secret


def _from_environment(variable: str) -> Secret:
    value = os.environ.get(variable)
    if value is None:
        raise _UnusableError(f"the environment variable {variable} is not set")
    return Secret(value)


def _from_file(path: Path) -> Secret:
    try:
        content = read_trusted(path, _MAX_BYTES)
    except InventoryError as error:
        raise _UnusableError(f"{error.message} ({error.hint})") from None
    return _one_line(content, f"the file {path}")


def _from_command(argv: tuple[str, ...], folder: Path) -> Secret:
    try:
        ended = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=_COMMAND_TIMEOUT, cwd=folder, check=False
        )
    except subprocess.TimeoutExpired:
        raise _UnusableError(f"the command {argv[0]} took more than {_COMMAND_TIMEOUT:.0f} s") from None
    except OSError as error:
        reason = (error.strerror or "unknown reason").lower()
        raise _UnusableError(f"the command {argv[0]} cannot be run: {reason}") from None
    if ended.returncode != 0:
        raise _UnusableError(f"the command {argv[0]} ended with status {ended.returncode}{_shown_stderr(ended.stderr)}")
    return _one_line(ended.stdout, f"the output of {argv[0]}")


def _one_line(content: bytes, what: str) -> Secret:
    """Drops one newline at the end, which editors and programs add, and nothing else: spaces may be meant."""
    try:
        return Secret(content.removesuffix(b"\n").decode("utf-8"))
    except UnicodeDecodeError:
        raise _UnusableError(f"{what} is not UTF-8 text") from None


def _checked(secret: Secret, source: SecretSource) -> Secret:
    value, what = secret.reveal(), _described(source)
    if not value:
        raise _UnusableError(f"{what} is empty")
    if "\0" in value:
        raise _UnusableError(f"{what} holds a NUL character")
    if "\n" in value or "\r" in value:
        raise _UnusableError(f"{what} holds a line break; a password is one line")
    if any("\ud800" <= char <= "\udfff" for char in value):
        raise _UnusableError(f"{what} is not UTF-8 text")
    return secret


def _described(source: SecretSource) -> str:
    match source:
        case EnvSecret(variable):
            return f"the environment variable {variable}"
        case FileSecret(path):
            return f"the file {path}"
        case CommandSecret(argv):
            return f"the output of {argv[0]}"
        case LiteralSecret():
            return "the text in the inventory"


def _shown_stderr(stderr: bytes) -> str:
    """What the program says about its failure, on one line and without control characters."""
    text = " ".join(stderr.decode("utf-8", "replace").split())
    shown = "".join(char if char.isprintable() else "?" for char in text)
    if not shown:
        return ""
    return f": {shown[:_SHOWN_STDERR]}..." if len(shown) > _SHOWN_STDERR else f": {shown}"
