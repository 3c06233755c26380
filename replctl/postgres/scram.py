"""Whether a stored SCRAM verifier fits a password, computed without a server."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import stringprep
import unicodedata
from functools import lru_cache

from replctl.model.secret import Secret

# An iteration count of more than seven digits would keep us computing for minutes on a server's word.
_VERIFIER = re.compile(
    r"SCRAM-SHA-256\$(?P<iterations>[1-9][0-9]{0,6}):(?P<salt>[A-Za-z0-9+/]+={0,2})"
    r"\$(?P<stored>[A-Za-z0-9+/]{43}=):(?P<server>[A-Za-z0-9+/]{43}=)"
)

_PROHIBITED = (
    stringprep.in_table_a1,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


@lru_cache(maxsize=64)
def verifier_matches(verifier: str, password: Secret) -> bool:
    """Whether ``verifier``, as pg_authid.rolpassword has it, was made from ``password``.

    False for anything that is no SCRAM-SHA-256 verifier (an md5 hash, say). Answers are kept: one takes milliseconds,
    and all nodes of a cluster have the same verifiers, look after look.
    """
    match = _VERIFIER.fullmatch(verifier)
    if match is None or len(match["salt"]) % 4:
        return False
    salt, iterations = base64.b64decode(match["salt"]), int(match["iterations"])
    salted = hashlib.pbkdf2_hmac("sha256", prepared(password.reveal()), salt, iterations)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    return hmac.compare_digest(stored + server, base64.b64decode(match["stored"]) + base64.b64decode(match["server"]))


def prepared(password: str) -> bytes:
    """The bytes that SCRAM hashes, as libpq's pg_saslprep makes them.

    RFC 4013, but an ASCII password is taken as it is, and so is one that RFC 4013 does not allow: PostgreSQL cannot
    tell whether such a password is UTF-8 at all.
    """
    raw = password.encode("utf-8", "surrogateescape")
    if password.isascii():
        return raw
    mapped = "".join(
        " " if stringprep.in_table_c12(char) else char
        for char in password
        if stringprep.in_table_c12(char) or not stringprep.in_table_b1(char)
    )
    # The tables are asked about the text before normalisation, as pg_saslprep does.
    if not _allowed(mapped):
        return raw
    return unicodedata.normalize("NFKC", mapped).encode()


def _allowed(text: str) -> bool:
    if not text or any(prohibits(char) for char in text for prohibits in _PROHIBITED):
        return False
    if not any(stringprep.in_table_d1(char) for char in text):
        return True
    # RFC 3454, section 6: right-to-left text begins and ends with such a character and holds no left-to-right one.
    ends = stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])
    return ends and not any(stringprep.in_table_d2(char) for char in text)
