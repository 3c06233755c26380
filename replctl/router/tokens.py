"""What a client has seen, as a small text: for reading one's own writes, and never going back in time.

A token is taken on the connection that wrote, after its COMMIT; or on the one that was read from, after the read. A
server that has replayed the token's position shows at least what its owner has seen.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import struct
from dataclasses import dataclass

from replctl.router.errors import InvalidTokenError

_FORMAT = struct.Struct(">QIQ")
_MAC_BYTES = 16

POSITION_SQL = """\
select (pg_control_system()).system_identifier as system_identifier,
       case when pg_is_in_recovery() then 0
            else ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int8 end as timeline,
       case when pg_is_in_recovery() then pg_last_wal_replay_lsn()
            when current_setting('synchronous_commit') = 'off' then pg_current_wal_insert_lsn()
            else pg_current_wal_flush_lsn() end - '0/0' as lsn
"""
"""Where a server stands. With synchronous_commit = off a commit is only inserted when it returns; otherwise it is
flushed, and what others have inserted and not flushed must not be waited for."""

_PAGE = 8192
_PAGE_HEADERS = (24, 40)
"""Bytes of the header of a WAL page, and of a segment's first one (access/xlog_internal.h)."""


@dataclass(frozen=True, slots=True)
class Token:
    """A position (bytes) in the WAL of a timeline of a cluster."""

    system_identifier: int
    timeline: int
    lsn: int

    @classmethod
    def at(cls, system_identifier: int, timeline: int, lsn: int) -> Token:
        """An insert position behind a page's header is that page's begin: replay ends there when nothing follows."""
        inside = lsn % _PAGE
        return cls(system_identifier, timeline, lsn - inside if inside in _PAGE_HEADERS else lsn)

    def latest(self, other: Token | None) -> Token:
        """The one that has seen more; of another cluster, this one."""
        if other is None or other.system_identifier != self.system_identifier:
            return self
        return max(self, other, key=lambda token: (token.timeline, token.lsn))

    def encode(self, key: bytes) -> str:
        """As text for a cookie or a header, signed."""
        body = _FORMAT.pack(self.system_identifier, self.timeline, self.lsn)
        return base64.urlsafe_b64encode(body + _mac(body, key)).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str, key: bytes) -> Token:
        """Raises InvalidTokenError for what ``encode`` did not make with the same key."""
        try:
            whole = base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
        except (UnicodeEncodeError, binascii.Error):
            raise InvalidTokenError("it is no base64") from None
        body, mac = whole[: _FORMAT.size], whole[_FORMAT.size :]
        if len(body) != _FORMAT.size or not hmac.compare_digest(mac, _mac(body, key)):
            raise InvalidTokenError("its signature does not fit")
        return cls(*_FORMAT.unpack(body))


def _mac(body: bytes, key: bytes) -> bytes:
    return hmac.new(key, body, hashlib.sha256).digest()[:_MAC_BYTES]
