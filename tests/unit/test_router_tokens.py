"""What a client has seen, as a text that nobody else can make."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replctl.router import InvalidTokenError, Token

KEY = b"k" * 32
TOKEN = Token(7711394830204756296, 3, 0x5_0000_1234)
tokens = st.builds(Token, st.integers(0, 2**63), st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1))


@given(tokens, st.binary(min_size=1, max_size=64))
def test_there_and_back(token: Token, key: bytes) -> None:
    text = token.encode(key)
    assert Token.decode(text, key) == token
    assert text.replace("-", "").replace("_", "").isalnum(), "it is a cookie's value as it is"


@given(st.integers(0, 300), st.integers(1, 255))
def test_a_changed_one_is_refused(place: int, change: int) -> None:
    text = bytearray(TOKEN.encode(KEY).encode())
    text[place % len(text)] ^= change
    with suppress(InvalidTokenError):
        assert Token.decode(text.decode("latin-1"), KEY) == TOKEN, "base64 has bits that say nothing"


@pytest.mark.parametrize(
    "text", ["", "=", "abc", "ä", "AAAA" * 20, TOKEN.encode(b"another key"), TOKEN.encode(KEY)[:-4]]
)
def test_what_was_not_made_here_is_refused(text: str) -> None:
    with pytest.raises(InvalidTokenError):
        Token.decode(text, KEY)


@pytest.mark.parametrize(
    ("inserted", "replayed"),
    [
        (0x3000000 + 24, 0x3000000),  # behind a page's header nothing was written yet
        (0x3000000 + 40, 0x3000000),  # the first page of a segment
        (0x3002000 + 24, 0x3002000),
        (0x3000000 + 25, 0x3000000 + 25),
        (0x3000000, 0x3000000),
    ],
)
def test_a_page_header_is_nothing_to_wait_for(inserted: int, replayed: int) -> None:
    assert Token.at(1, 1, inserted).lsn == replayed


def test_the_later_one_counts() -> None:
    later, newer = Token(1, 3, 200), Token(1, 4, 100)
    assert Token(1, 3, 100).latest(later) == later.latest(Token(1, 3, 100)) == later
    assert later.latest(newer) == newer, "a later timeline has seen the end of the earlier one"
    assert later.latest(None) == later
    assert later.latest(Token(2, 9, 900)) == later, "another cluster's says nothing"
