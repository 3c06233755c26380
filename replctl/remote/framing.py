"""Telling a command's own output from what login shells, banners and sudo print before it."""

from __future__ import annotations

import re

_NOISE_KEPT_BYTES = 4096


class Frame:
    """One output stream: everything up to the line that starts with the token is noise."""

    def __init__(self, token: bytes) -> None:
        self._marker = re.compile(re.escape(token) + rb"(?: (\d+))?\n")
        self.noise = b""
        """The end of what came before the token."""
        self.started = False
        self.group: int | None = None
        """The process group, announced on stdout alone."""
        self.body = bytearray()

    def feed(self, chunk: bytes) -> None:
        if self.started:
            self.body += chunk
            return
        self.noise += chunk
        if found := self._marker.search(self.noise):
            self.started = True
            self.group = int(found[1]) if found[1] else None
            self.body += self.noise[found.end() :]
            self.noise = self.noise[: found.start()]
        self.noise = self.noise[-_NOISE_KEPT_BYTES:]

    def take_line(self) -> bytes | None:
        """The first complete line, ended by LF or CR (progress reports end theirs with CR)."""
        found = re.search(rb"[\r\n]", self.body)
        if found is None:
            return None
        line = bytes(self.body[: found.start()])
        del self.body[: found.end()]
        return line

    def take_rest(self) -> bytes:
        rest = bytes(self.body)
        self.body.clear()
        return rest
