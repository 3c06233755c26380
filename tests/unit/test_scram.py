"""SCRAM verifiers, compared with those that libpq makes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import pq

from replctl.model.secret import Secret
from replctl.postgres.scram import verifier_matches

HOSTILE = "a/p?p@:,#%&'$ x`"

RFC_7677 = (
    "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ=="
    "$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
)


@pytest.fixture(scope="module")
def libpq() -> Iterator[pq.PGconn]:
    """A connection object without a server: enough for libpq to make a verifier."""
    connection = pq.PGconn.connect_start(b"host=/nowhere")
    yield connection
    connection.finish()


def verifier(libpq: pq.PGconn, password: bytes) -> str:
    return libpq.encrypt_password(password, b"chat", b"scram-sha-256").decode()


def test_the_example_of_rfc_7677() -> None:
    assert verifier_matches(RFC_7677, Secret("pencil"))
    assert not verifier_matches(RFC_7677, Secret("Pencil"))


@pytest.mark.parametrize(
    "password",
    [
        "x",
        HOSTILE,
        "tab\there",
        "é",
        "e\u0301",
        "ﬁ",
        "ª",
        "soft\u00adhyphen",
        "no\u00a0break",
        "\u200b",
        "\u00ad",
        "\u0627\u0628",
        "\u0627b",
        "\u06271",
        "\u0378",
        "\U0001f600",
        "\ue000é",
        "é\x07",
        "\u2163",
        "\ufb50",
        "\udce9",
        "é\udc80",
    ],
    ids=ascii,
)
def test_verifiers_of_libpq_match(libpq: pq.PGconn, password: str) -> None:
    assert verifier_matches(verifier(libpq, password.encode("utf-8", "surrogateescape")), Secret(password))


def test_passwords_that_are_the_same_to_saslprep_match(libpq: pq.PGconn) -> None:
    assert verifier_matches(verifier(libpq, "ﬁ\u00adª".encode()), Secret("fia"))
    assert not verifier_matches(verifier(libpq, b"fib"), Secret("fia"))


@given(password=st.text(st.characters(blacklist_characters="\0", blacklist_categories=("Cs",)), min_size=1, max_size=6))
def test_any_password_matches_what_libpq_made_of_it(libpq: pq.PGconn, password: str) -> None:
    assert verifier_matches(verifier(libpq, password.encode()), Secret(password))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "md5c0ffee",
        "pencil",
        RFC_7677 + "\n",
        RFC_7677[:-2],
        RFC_7677.replace("4096", "0"),
        RFC_7677.replace("4096", "99999999"),
        RFC_7677.replace("W22ZaJ0SNY7soEsUEjb6gQ==", "W22ZaJ0SNY7soEsUEjb6gQ="),
        RFC_7677.replace("256$", "1$"),
    ],
)
def test_what_is_no_verifier_does_not_match(text: str) -> None:
    assert not verifier_matches(text, Secret("pencil"))
