"""Bytes of others, read without a host."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replctl.remote.framing import Frame
from replctl.remote.known_hosts import HostKey, KnownHosts, Verdict, known_name
from replctl.remote.printable import one_line
from replctl.remote.script import LOGIN_COMMAND, shell_words
from replctl.remote.sql_errors import ServerWords, server_words

TOKEN = b"0123456789abcdef"
KEY = HostKey("ssh-ed25519", b"blob")


@given(
    st.binary(max_size=60).filter(lambda noise: TOKEN not in noise),
    st.binary(max_size=60),
    st.lists(st.integers(1, 9), max_size=40),
)
def test_a_frame_drops_noise_wherever_the_stream_is_cut(noise: bytes, body: bytes, cuts: list[int]) -> None:
    frame = Frame(TOKEN)
    stream = noise + TOKEN + b" 4711\n" + body
    for cut in cuts:
        frame.feed(stream[:cut])
        stream = stream[cut:]
    frame.feed(stream)
    assert (frame.started, frame.group, frame.take_rest()) == (True, 4711, body)


def test_a_frame_keeps_little_noise() -> None:
    frame = Frame(TOKEN)
    for _ in range(100):
        frame.feed(b"x" * 10_000)
    assert len(frame.noise) <= 4096
    frame.feed(TOKEN[:5])
    frame.feed(TOKEN[5:] + b"\n")
    assert frame.started


@given(st.text(max_size=300))
def test_one_line_has_no_control_characters(text: str) -> None:
    assert one_line(text).isprintable()


def test_one_line_keeps_the_end() -> None:
    assert one_line("x" * 1000 + " the reason", limit=20) == "... xxxxxxxxx the reason"


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20), max_size=4))
def test_words_survive_a_shell(argv: list[str]) -> None:
    script = shell_words(["printf", "%s\\0", "first", *argv])
    done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, check=True)
    assert done.stdout.decode().split("\0")[:-1] == ["first", *argv]


def test_the_login_command_is_harmless_to_any_shell() -> None:
    """One word of single quotes: csh, fish and the POSIX shells agree on all that is in it."""
    head, quoted, tail = LOGIN_COMMAND.split("'")
    assert (head, tail) == ("exec /bin/sh -c ", "")
    assert not set(quoted) & set("!\\\n")


class TestServerWords:
    def test_refusal(self) -> None:
        body = b"SFATAL\0VFATAL\0C28P01\0Mno entry\0Dmore\0\0"
        message = b"E" + (len(body) + 4).to_bytes(4) + body
        assert server_words(message) == ServerWords("28P01", "no entry", "more")
        notice = b"N" + (4 + 3).to_bytes(4) + b"abc"
        assert server_words(notice + message) == ServerWords("28P01", "no entry", "more")

    @given(st.binary(max_size=80))
    def test_anything(self, received: bytes) -> None:
        found = server_words(b"E" + received)
        assert found is None or len(found.sqlstate) == 5

    @pytest.mark.parametrize("received", [b"", b"E", b"Efork failed\n", b"R\0\0\0\0E", b"HTTP/1.1 400 Bad Request"])
    def test_no_refusal(self, received: bytes) -> None:
        assert server_words(received) is None


class TestKnownHosts:
    @pytest.mark.parametrize(
        ("host", "port", "alias", "name"),
        [
            ("Db1", 22, None, "db1"),
            ("db1", 2222, None, "[db1]:2222"),
            ("::1", 2222, None, "[::1]:2222"),
            ("db1", 2222, "Alias", "alias"),
        ],
    )
    def test_name(self, host: str, port: int, alias: str | None, name: str) -> None:
        assert known_name(host, port, alias) == name

    @pytest.mark.parametrize(
        ("names", "name", "verdict"),
        [
            ("db1", "db1", Verdict.KNOWN),
            ("DB1", "db1", Verdict.KNOWN),
            ("db?", "db1", Verdict.KNOWN),
            ("db*,!db1", "db1", Verdict.UNKNOWN),
            ("[db1]:2222", "[db1]:2222", Verdict.KNOWN),
            ("[db1]:2222", "db1", Verdict.UNKNOWN),
            ("db[12]", "db1", Verdict.UNKNOWN),
            ("::1", "[::1]:2222", Verdict.KNOWN),
            ("|1|not base64|x", "db1", Verdict.UNKNOWN),
            ("|1|x", "db1", Verdict.UNKNOWN),
            ("|2|x|y", "db1", Verdict.UNKNOWN),
        ],
    )
    def test_patterns(self, tmp_path: Path, names: str, name: str, verdict: Verdict) -> None:
        (tmp_path / "known").write_text(f"{names} {KEY.line} a comment\n")
        assert KnownHosts.read([tmp_path / "known", tmp_path / "missing"], name).judge(KEY) is verdict

    def test_the_line_with_the_port_outweighs_the_one_without(self, tmp_path: Path) -> None:
        other = HostKey("ssh-ed25519", b"other")
        (tmp_path / "known").write_text(f"db1 {KEY.line}\n[db1]:2222 {other.line}\n")
        known = KnownHosts.read([tmp_path / "known"], "[db1]:2222")
        assert (known.judge(KEY), known.judge(other)) == (Verdict.CHANGED, Verdict.KNOWN)

    def test_the_known_type_comes_first(self) -> None:
        known = KnownHosts((HostKey("ssh-rsa", b"x"),), ())
        assert known.prefer(["ssh-ed25519", "rsa-sha2-512", "rsa-sha2-256"]) == (
            "rsa-sha2-512",
            "rsa-sha2-256",
            "ssh-ed25519",
        )

    @given(st.binary(max_size=200))
    def test_any_file(self, tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
        file = tmp_path_factory.getbasetemp() / "fuzzed"
        file.write_bytes(content)
        assert KnownHosts.read([file], "db1").judge(KEY) is not Verdict.REVOKED
