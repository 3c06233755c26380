"""The disks of the hosts of a LAN: one overlay each, over the image that all share.

They are mounted in a mount namespace that a process of ours holds, and which nobody else sees. It ends with the test
run, however that ends, and the mounts with it.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.real.hosts import MissingServerError
from tests.real.hosts.claims import Claim
from tests.real.hosts.disk import remove_tree

KEEP = Path(__file__).with_name("keep.sh")


class Mounts:
    """The holder of the mounts, and of the cgroups of all hosts of a claim."""

    def __init__(self, claim: Claim, image: Path) -> None:
        self.folder, self.image = claim.folder, image
        self._groups = [root / f"replctl-tests-{claim.number}" for root in cgroup_roots()]
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "slave", "sh", KEEP, *self._groups],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._holder.stdout.readline() == b"ready\n"

    @property
    def enter(self) -> tuple[str, ...]:
        """What comes before a command that is to see the mounts."""
        return ("nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt")

    def groups(self, name: str) -> list[Path]:
        """The cgroups of a host."""
        return [group / name for group in self._groups]

    def disk(self, name: str) -> Path:
        """The root of a host's disk, as this machine sees it."""
        return Path(f"/proc/{self._holder.pid}/root{self.root(name)}")

    def root(self, name: str) -> Path:
        """The root of a host's disk in the mount namespace."""
        return self.folder / name / "root"

    def install(self, name: str) -> None:
        """Mount a disk on which everything that is written now, up to ``renew``, belongs to the new host."""
        self.root(name).mkdir(parents=True)
        self._mount(name, "installed")

    def renew(self, name: str) -> None:
        """Throw away what was written since the host was new, kept or not. The host is off."""
        remove_tree(self.folder / name / "kept")
        self.restore(name)

    def keep(self, name: str) -> None:
        """Have ``restore`` bring back the disk as it is now. The host is off, and nothing was kept since ``renew``."""
        self._run("umount", self.root(name))
        folder = self.folder / name
        (folder / "written").rename(folder / "kept")
        self._mount(name, "written")

    def restore(self, name: str) -> None:
        """Throw away what was written since ``keep``, else since the host was new. The host is off."""
        self._run("umount", self.root(name))
        self._mount(name, "written")

    def close(self) -> None:
        """End every host and every mount."""
        self._holder.communicate(timeout=60)

    def _mount(self, name: str, upper: str) -> None:
        """Layers lie above each other as they were written; ``upper`` begins empty."""
        folder = self.folder / name
        for part in (upper, "work"):
            remove_tree(folder / part)
            (folder / part).mkdir()
        layers = [layer for part in ("kept", "installed") if (layer := folder / part).exists() and part != upper]
        lower = ":".join(map(str, (*layers, self.image)))
        # volatile: nothing of a host's is ever synced, it has no disk that could lose it. redirect_dir: a directory of
        # a lower layer can be renamed, as on any disk. index=off: a layer may still be in use by a mount that ends.
        options = f"volatile,redirect_dir=on,index=off,lowerdir={lower}"
        places = f"upperdir={folder / upper},workdir={folder / 'work'}"
        self._run("mount", "-t", "overlay", f"replctl-{name}", "-o", f"{options},{places}", self.root(name))

    def _run(self, *argv: str | Path) -> None:
        subprocess.run([*self.enter, *argv], check=True)


def cgroup_roots() -> list[Path]:
    """Where cgroups are made that tell processes apart: version 2, and version 1's for systemd where it is mounted.

    Raises MissingServerError without version 2.
    """
    found = {}
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, target, kind, options, *_ = line.split()
        if kind == "cgroup2" or (kind == "cgroup" and "name=systemd" in options.split(",")):
            found.setdefault(kind, Path(target))
    if "cgroup2" not in found:
        raise MissingServerError("the Debian hosts need cgroups of version 2, which are not mounted on this machine")
    return [*found.values()]
