"""known_hosts files as sshd(8) describes them: patterns, hashed names, ports, @revoked."""

from __future__ import annotations

import base64
import fnmatch
import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

_DEFAULT_PORT = 22


class Verdict(Enum):
    KNOWN = "known"
    UNKNOWN = "unknown"
    CHANGED = "changed"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class HostKey:
    """A public host key as the server shows it."""

    type: str
    blob: bytes

    @property
    def fingerprint(self) -> str:
        """As ``ssh-keygen -l`` prints it."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")

    @property
    def line(self) -> str:
        """Type and key as a known_hosts line has them after the names."""
        return f"{self.type} {base64.b64encode(self.blob).decode()}"


@dataclass(frozen=True, slots=True)
class _Line:
    marker: str
    names: str
    key: HostKey


@dataclass(frozen=True, slots=True)
class KnownHosts:
    """What the operator's files say about one server."""

    trusted: tuple[HostKey, ...]
    revoked: tuple[HostKey, ...]

    @classmethod
    def read(cls, files: Iterable[Path], name: str) -> KnownHosts:
        """``name`` as known_name() makes it. A file that is missing or unreadable counts as empty, as for ssh.

        As ssh does, a name with a port falls back to the lines without one.
        """
        lines = [line for file in files for line in _lines(file)]
        with_port = re.fullmatch(r"\[(.+)\]:\d+", name)
        bare = with_port[1] if with_port else name
        trusted = _keys(lines, "", {name}) or _keys(lines, "", {bare})
        return cls(trusted, _keys(lines, "@revoked", {name, bare}))

    def judge(self, key: HostKey) -> Verdict:
        if key in self.revoked:
            return Verdict.REVOKED
        if key in self.trusted:
            return Verdict.KNOWN
        return Verdict.CHANGED if self.trusted else Verdict.UNKNOWN

    def prefer(self, algorithms: Iterable[str]) -> tuple[str, ...]:
        """``algorithms`` with those first for which a key is known: the server then shows a key we can compare."""
        types = {key.type for key in self.trusted}
        return tuple(sorted(algorithms, key=lambda name: _key_type(name) not in types))


def known_name(host: str, port: int, alias: str | None) -> str:
    """The name under which known_hosts keeps a server."""
    if alias:
        return alias.lower()
    return host.lower() if port == _DEFAULT_PORT else f"[{host.lower()}]:{port}"


def _key_type(algorithm: str) -> str:
    return "ssh-rsa" if algorithm.startswith("rsa-sha2-") else algorithm


def _keys(lines: Iterable[_Line], marker: str, names: set[str]) -> tuple[HostKey, ...]:
    return tuple(
        line.key for line in lines if line.marker == marker and any(_matches(line.names, name) for name in names)
    )


def _lines(file: Path) -> Iterator[_Line]:
    """A @cert-authority line names a key that signs host keys and is never one itself: its marker keeps it out."""
    try:
        text = file.expanduser().read_text("utf-8", "replace")
    except OSError:
        return
    for raw in text.splitlines():
        fields = raw.split()
        marker = fields.pop(0) if fields and fields[0].startswith("@") else ""
        if len(fields) < 3 or fields[0].startswith("#"):
            continue
        try:
            yield _Line(marker, fields[0], HostKey(fields[1], base64.b64decode(fields[2], validate=True)))
        except ValueError:  # no base64
            continue


def _matches(names: str, name: str) -> bool:
    """A pattern with ``!`` that matches excludes the name, whatever the others say."""
    if names.startswith("|1|"):
        return _matches_hash(names, name)
    patterns = names.lower().split(",")
    if any(_matches_pattern(pattern[1:], name) for pattern in patterns if pattern.startswith("!")):
        return False
    return any(_matches_pattern(pattern, name) for pattern in patterns)


def _matches_pattern(pattern: str, name: str) -> bool:
    """``*`` and ``?`` alone are special; the brackets belong to ``[host]:port``."""
    return fnmatch.fnmatchcase(name, pattern.replace("[", "[[]"))


def _matches_hash(names: str, name: str) -> bool:
    salt, _, digest = names.removeprefix("|1|").partition("|")
    try:
        wanted = base64.b64decode(digest, validate=True)
        # HMAC-SHA1 is what HashKnownHosts writes.
        return hmac.compare_digest(hmac.digest(base64.b64decode(salt, validate=True), name.encode(), "sha1"), wanted)
    except ValueError:  # no base64
        return False
