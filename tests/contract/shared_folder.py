"""A folder in which every user of a host may make files."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from pathlib import Path

from tests.contract.routes import OS_USER

STRANGER = 54321


@dataclass(frozen=True)
class Shared:
    """A folder like /tmp, with a data directory's place in it."""

    folder: Path

    @property
    def data(self) -> Path:
        return self.folder / "main"

    @property
    def staging(self) -> Path:
        return self.folder / "main.replctl-new"

    @property
    def marker(self) -> Path:
        return self.folder / "main.replctl-new.json"

    @property
    def victim(self) -> Path:
        """A file of the OS user that no command names."""
        return self.folder / "victim"

    def ours(self, path: Path, text: str | None = None, mode: int = 0o600) -> Path:
        """A file of the OS user's, or without a text a directory."""
        return self._made(path, text, mode, pwd.getpwnam(OS_USER).pw_uid)

    def theirs(self, path: Path, text: str | None = None, mode: int = 0o777) -> Path:
        """The same of another user of the host."""
        return self._made(path, text, mode, STRANGER)

    def _made(self, path: Path, text: str | None, mode: int, owner: int) -> Path:
        path.mkdir() if text is None else path.write_text(text)
        path.chmod(mode)
        os.chown(path, owner, owner)
        return path

    def link(self, path: Path, target: Path | str) -> Path:
        """A symlink that another user has laid out."""
        path.symlink_to(target)
        os.lchown(path, STRANGER, STRANGER)
        return path

    def names(self) -> set[str]:
        return {path.name for path in self.folder.iterdir()}
