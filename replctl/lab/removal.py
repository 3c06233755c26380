"""Removes a lab: its servers, its storage, and from its folder what the lab and the commands in it made."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from replctl.lab.folder import MARKER, Lab, owns_storage
from replctl.lab.servers import stop_servers
from replctl.model.errors import ReplctlError


def remove_lab(lab: Lab) -> int:
    """Take everything down but the folder itself; the marker goes last, so that a second run finishes the first.

    Returns how many servers were stopped. Raises ReplctlError.
    """
    stopped = stop_servers(lab) if owns_storage(lab) else 0
    try:
        if owns_storage(lab):
            shutil.rmtree(lab.storage)
        elif lab.storage.is_dir():
            _remove_beginning(lab.storage)
        for path in _made(lab):
            _remove(path)
        (lab.folder / MARKER).unlink()
    except OSError as error:
        raise ReplctlError(
            f"cannot remove {error.filename}: {(error.strerror or 'unknown reason').lower()}",
            hint="Mend that, and run `replctl lab down` again.",
            code="lab-removal",
        ) from error
    return stopped


def _remove_beginning(storage: Path) -> None:
    """A storage whose making ended before its marker was complete holds nothing else. Raises OSError if it does."""
    if [path.name for path in storage.iterdir()] == [MARKER]:
        (storage / MARKER).unlink()
    storage.rmdir()


def remove_folder(folder: Path) -> tuple[str, ...]:
    """Remove the lab's folder where it is empty; the names of what is not the lab's and stays there otherwise."""
    kept = tuple(sorted(path.name for path in folder.iterdir()))
    if not kept:
        with suppress(OSError):  # "." is removed by its real name below
            folder.resolve().rmdir()
    return kept


def _made(lab: Lab) -> Iterator[Path]:
    yield lab.inventory
    yield lab.secrets
    yield lab.env_file
    yield lab.folder / ".replctl"
    # What a killed run left of an env file that it was about to put in place.
    yield from lab.folder.glob(f".{lab.env_file.name}.*.replctl-new")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
