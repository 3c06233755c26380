"""A lab's folder, told by its marker: what belongs to the lab, so that nothing else is ever deleted."""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from replctl.model.errors import InventoryError, RefusedError, UsageError
from replctl.remote.local_files import read_optional_text, read_trusted, write_private

MARKER = "lab.json"
DEFAULT_FOLDER = Path("replctl-lab")

_SCHEMA = 1
_MARKER_BYTES = 64 * 1024
# What `lab down` deletes as a whole is never more than a folder that `lab up` named so.
_STORAGE = re.compile(r"/(var/)?tmp/replctl-lab-[0-9a-f]{12}")
# Neither a short path is certain below the operator's own folder (a Unix socket's has 107 bytes), nor that another OS
# user may go there. /var/tmp outlives a reboot.
_STORAGE_PARENTS = (Path("/var/tmp"), Path("/tmp"))  # noqa: S108 - a folder of our own is made in there, mode 0711


@dataclass(frozen=True, slots=True)
class Lab:
    """One lab as its marker says."""

    folder: Path
    id: str
    storage: Path
    """Where the servers live; another OS user than the operator's may have to go there."""
    os_user: str
    bin_dir: Path
    ports: Mapping[str, int]
    """By node name, in the inventory's order."""

    @property
    def inventory(self) -> Path:
        return self.folder / "inventory.yaml"

    @property
    def secrets(self) -> Path:
        return self.folder / "secrets"

    @property
    def env_file(self) -> Path:
        return self.folder / "app.env"

    @property
    def nodes(self) -> Path:
        """The folder of the data directories, which belongs to the OS user."""
        return self.storage / "nodes"

    @property
    def installation(self) -> Path:
        """Where the copy of PostgreSQL stands, if one had to be made."""
        return self.storage / "postgresql"


def lab_folder(named: Path | None) -> Path:
    """The folder that a lab command means: the named one, else this one if it is a lab's, else the default."""
    if named is not None:
        return named
    return Path() if Path(MARKER).is_file() else DEFAULT_FOLDER


def read_lab(folder: Path) -> Lab | None:
    """The lab in ``folder``, or None where there is no marker.

    Raises InventoryError for a marker that somebody else could have written, or that is none of this version.
    """
    path = folder / MARKER
    if read_optional_text(path) is None:
        return None
    content = read_trusted(path, _MARKER_BYTES)
    try:
        return _lab(folder, json.loads(content))
    except (ValueError, TypeError, LookupError):
        raise InventoryError(
            f"{path}: is no marker of a lab of this version",
            hint="Take the lab down with the version of replctl that made it.",
        ) from None


def need_lab(folder: Path) -> Lab:
    """The lab in ``folder``. Raises UsageError where there is none, InventoryError like read_lab."""
    lab = read_lab(folder)
    if lab is None:
        raise UsageError(
            f"there is no lab in {folder}",
            hint="Start one by `replctl lab up`, or name its folder by --dir.",
            code="no-lab",
        )
    return lab


def _lab(folder: Path, said: object) -> Lab:
    marker = cast("dict[str, object]", said)
    storage, ports = str(marker["storage"]), cast("dict[str, object]", marker["ports"])
    if marker["replctl_lab"] != _SCHEMA or _STORAGE.fullmatch(storage) is None:
        raise ValueError(storage)
    return Lab(
        folder=folder,
        id=str(marker["id"]),
        storage=Path(storage),
        os_user=str(marker["os_user"]),
        bin_dir=Path(str(marker["bin_dir"])),
        ports={name: int(str(port)) for name, port in ports.items()},
    )


def storage_for(lab_id: str) -> Path:
    """Where a new lab's servers will live; nothing is made yet. Raises RefusedError."""
    for parent in _STORAGE_PARENTS:
        if os.access(parent, os.W_OK | os.X_OK):
            return parent / f"replctl-lab-{lab_id}"
    raise RefusedError(
        "neither /var/tmp nor /tmp can be written", hint="A lab keeps its servers there: let this user write there."
    )


def write_markers(lab: Lab) -> None:
    """Make the storage, with one marker at either end. The folder's comes first: what follows can be taken down.

    Raises OSError.
    """
    said = {
        "replctl_lab": _SCHEMA,
        "id": lab.id,
        "storage": str(lab.storage),
        "os_user": lab.os_user,
        "bin_dir": str(lab.bin_dir),
        "ports": dict(lab.ports),
    }
    write_private(lab.folder / MARKER, json.dumps(said, indent=2) + "\n")
    lab.storage.mkdir(mode=0o711)
    lab.storage.chmod(0o711)  # whatever the umask: the OS user has to pass
    about = {"replctl_lab": _SCHEMA, "id": lab.id, "folder": str(lab.folder.resolve())}
    write_private(lab.storage / MARKER, json.dumps(about, indent=2) + "\n")


def claimed_ports() -> frozenset[int]:
    """Of this user's labs: one that starts just now does not listen yet, one that is stopped will want them again."""
    return frozenset(port for parent in _STORAGE_PARENTS for place in parent.glob("*") for port in _ports_of(place))


def _ports_of(storage: Path) -> Iterable[int]:
    if _STORAGE.fullmatch(str(storage)) is None:
        return ()
    try:
        said = json.loads(read_trusted(storage / MARKER, _MARKER_BYTES))
        lab = read_lab(Path(said["folder"]))
    except (OSError, InventoryError, ValueError, TypeError, LookupError):
        return ()  # another user's, or one that is being removed
    return lab.ports.values() if lab is not None and lab.storage == storage else ()


def owns_storage(lab: Lab) -> bool:
    """Whether the storage is there and says itself that it is this lab's. Raises InventoryError like read_lab."""
    path = lab.storage / MARKER
    if lab.storage.is_symlink() or read_optional_text(path) is None:
        return False
    try:
        said = json.loads(read_trusted(path, _MARKER_BYTES))
    except ValueError:
        return False
    return isinstance(said, dict) and cast("dict[str, object]", said).get("id") == lab.id


@contextmanager
def locked(folder: Path) -> Generator[None]:
    """One lab command at a time in one folder. Raises RefusedError when another one works there, or OSError."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RefusedError(
                f"another lab command is at work in {folder}", hint="Wait until it has ended.", code="locked"
            ) from None
        yield
    finally:
        os.close(file)
