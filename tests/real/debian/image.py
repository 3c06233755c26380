"""The disk that every Debian host starts from: made once on a machine, then kept."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.real.hosts import MissingServerError

CACHE = Path("/var/cache/replctl-tests")
SUITE = "bookworm"
PACKAGES = (
    "dbus",
    "iproute2",
    # Without it no SSH login would have a session of its own, as it has on a host that Debian's installer made.
    "libpam-systemd",
    "openssh-server",
    "postgresql-15",
    "sudo",
    "systemd",
    "systemd-sysv",
)
PROGRAMS = ("debootstrap", "systemd-nspawn", "unshare", "setpriv")
MAKE_IMAGE = Path(__file__).with_name("make-image.sh")
MAKE_SECONDS = 1800.0


def base_image(cache: Path = CACHE) -> Path:
    """The folder of the disk, which nobody may change. The first run on a machine makes it, within minutes.

    Raises MissingServerError when a program that makes it or runs it is missing, or it cannot be made.
    """
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        raise MissingServerError(f"missing programs: {', '.join(missing)}: run tools/install-test-servers")
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    image = cache / f"{SUITE}-{_fingerprint()}"
    with _locked(cache / "lock"):
        if not image.exists():
            _make(cache, image)
    return image


def apt_mirror(suite: str = SUITE) -> str:
    """Where this machine's apt has a Debian release from. Raises MissingServerError."""
    argv = ["apt-get", "indextargets", "--format", "$(SITE) $(RELEASE) $(COMPONENT)", "Created-By: Packages"]
    listed = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    for site, release, component in (line.split() for line in listed.splitlines()):
        if (release, component) == (suite, "main"):
            return site
    raise MissingServerError(f"apt has no source of {suite}: add one to /etc/apt")


def _make(cache: Path, image: Path) -> None:
    """Under the lock: what is half made is of a run that was broken off. Finished disks of other packages stay, since
    hosts of another checkout may run from them."""
    for leftover in cache.glob("*.building"):
        shutil.rmtree(leftover)
    building = image.with_name(f"{image.name}.building")
    building.mkdir()
    # The namespaces end what debootstrap has mounted and started below the folder, however it ends.
    apart = ("setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
    done = subprocess.run(
        [*apart, "sh", MAKE_IMAGE, building, SUITE, apt_mirror(), *PACKAGES],
        capture_output=True,
        text=True,
        env=_environment(),
        timeout=MAKE_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise MissingServerError(f"the disk of the Debian hosts was not made: {done.stdout[-2000:]}{done.stderr}")
    building.rename(image)


def _fingerprint() -> str:
    parts = [SUITE, *PACKAGES, MAKE_IMAGE.read_text()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _environment() -> Mapping[str, str]:
    """debootstrap loads with wget, which hears of a proxy by its environment alone."""
    argv = ["apt-config", "dump", "--format", "%v%n", "Acquire::http::Proxy"]
    proxy = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()
    configured = {"http_proxy": proxy} if proxy else {}
    return {**configured, **os.environ, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
