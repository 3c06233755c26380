"""Which lines of a pg_hba.conf are rules, and which of somebody else's lose their say to ours."""

from __future__ import annotations

import pytest

from replctl.postgres.hba_syntax import displaced, parse_rules, rule_lines

OURS = """\
host  replication  "replicator"  10.0.0.2/32  scram-sha-256
local  all  "postgres"  peer
host  all  "postgres"  127.0.0.1/32  scram-sha-256
local  "chatdb"  "chat"  scram-sha-256
host  "chatdb"  "chat"  10.0.0.0/24  scram-sha-256
"""


def lost(theirs: str) -> list[tuple[int, tuple[str, ...]]]:
    return [(one.line, one.users) for one in displaced(OURS, theirs)]


def test_a_line_goes_on_behind_a_backslash_and_a_comment_does_too() -> None:
    text = '# off: \\\nhost all all all trust\n\n  # x\nlocal all \\\r\n all peer\r\n"host" all all \\\nall\\'
    assert list(rule_lines(text.split("\n"))) == [(4, "local all  all peer"), (6, '"host" all all all')]


def test_words_lists_and_masks() -> None:
    (rule,) = parse_rules('host "a ""b""",all,  @file Bob 10.1.2.3  255.255.0.0 ldap ldapserver="x y" # why\n')
    assert [(word.text, word.quoted) for word in rule.databases] == [('a "b"', True), ("all", False), ("@file", False)]
    assert (rule.users[0].text, str(rule.address), rule.method) == ("Bob", "10.1.0.0/16", "ldap")


@pytest.mark.parametrize(
    "line", ["host all all", "include 'x'", "include_dir x", "hosts all all all md5", "host all all 10.0.0.1"]
)
def test_what_is_no_rule(line: str) -> None:
    assert parse_rules(f"{line}\n") == ()


@pytest.mark.parametrize(
    ("theirs", "users"),
    [
        ("local all all peer", ("chat",)),
        ("local all all trust", ("chat", "postgres")),
        ("local all postgres peer", ()),
        ('local all "all" trust', ()),
        ("local sameuser +staff ident", ("chat", "postgres")),
        ("local replication all trust", ()),
        ("host all all 0.0.0.0/0 reject", ("chat", "postgres")),
        ("host all,replication all 0.0.0.0/0 reject", ("chat", "postgres", "replicator")),
        ("host replication all samenet trust", ("replicator",)),
        ("host all all 0.0.0.0/0 md5", ()),
        ("host all all ::/0 trust", ()),
        ("host all all .example.org ldap", ("chat", "postgres")),
        ("host chatdb chat 10.0.0.77/32 cert", ("chat",)),
        ("host other chat 10.0.0.77/32 cert", ()),
        ("hostssl all all 10.0.0.0/8 scram-sha-256", ("chat",)),
        ("hostnossl all all all reject", ("chat", "postgres")),
    ],
)
def test_rules_that_decide_no_more(theirs: str, users: tuple[str, ...]) -> None:
    assert lost(f"\n{theirs}\n") == ([(2, users)] if users else [])


def test_what_never_decided_does_not_lose_anything() -> None:
    assert lost("host all all 0.0.0.0/0 scram-sha-256\nhost all all all trust\nlocal all postgres peer\n") == []
    assert lost("host all all 10.0.0.7/32 reject\nhost all all 10.0.0.0/8 trust\n") == [(1, ("chat",)), (2, ("chat",))]
