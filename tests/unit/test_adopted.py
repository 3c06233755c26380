"""The configuration of a cluster that somebody else made: what is theirs stays, what is ours is found again."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replctl.model.inventory import SqlRoute
from replctl.postgres.adopted import (
    BEGIN,
    CONF,
    END,
    adopted_config,
    adopted_settings,
    inheritable,
    inherited_settings,
    is_adopted,
    said_later,
    with_block,
    with_include,
    without_block,
)
from replctl.postgres.conf_syntax import parse_conf
from replctl.postgres.hba_syntax import rule_lines
from tests.unit.builders import a_cluster, a_node

RULES = "# ours\nhost replication replicator 10.0.0.1/32 scram-sha-256\n"
HBA = "# theirs\n\nlocal all all peer\nhost all all 0.0.0.0/0 reject\n"
LINES = st.text(alphabet=st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=12)
COMMON = [
    "local all all peer",
    "# host",
    "",
    "host all all all md5",
    "# off: \\",
    '"host" all \\',
    BEGIN,
    END,
    f"{END}\r",
]
THEIRS = st.lists(LINES | st.sampled_from(COMMON))


def settings(live: dict[str, str], **parameters: str) -> dict[str, str]:
    node = a_node("db1", 1)
    node = replace(node, postgres=replace(node.postgres, parameters=parameters))
    return adopted_settings(a_cluster(nodes={"db1": node}).build()[0], node, live, checksums=True)


def test_the_block_comes_ahead_of_every_rule_and_behind_the_words_before() -> None:
    lines = with_block(HBA, RULES).splitlines()
    assert lines[:2] == ["# theirs", ""]
    assert lines[2:6] == [BEGIN, "# ours", "host replication replicator 10.0.0.1/32 scram-sha-256", END]
    assert lines[-2:] == ["local all all peer", "host all all 0.0.0.0/0 reject"]


def test_a_rule_that_somebody_put_before_the_block_comes_behind_it_again() -> None:
    moved = "host all all all reject\n" + with_block(HBA, RULES)
    again = with_block(moved, RULES)
    assert again.index(BEGIN) < again.index("host all all all reject")
    assert again.count(BEGIN) == 1


@given(st.builds("\n".join, THEIRS))
def test_nothing_of_theirs_is_lost_and_the_second_time_changes_nothing(theirs: str) -> None:
    once = with_block(theirs, RULES)
    assert with_block(once, RULES) == once
    assert without_block(once) == without_block(theirs)
    assert active(once) == [*active(RULES), *active(without_block(theirs))]


def active(text: str) -> list[str]:
    """The rules that PostgreSQL would see."""
    return [line for _, line in rule_lines(text.split("\n"))]


def test_a_comment_that_goes_on_is_not_cut_in_two() -> None:
    """What stood behind its backslash would be a rule."""
    theirs = "# off: \\\nhost all all 0.0.0.0/0 trust\nlocal all all peer\n"
    assert active(with_block(theirs, RULES)) == [*active(RULES), "local all all peer"]


def test_a_quoted_word_begins_a_rule_too() -> None:
    assert with_block('"host" all all all reject\n', RULES).startswith(BEGIN)


def test_a_block_whose_end_is_gone_takes_nothing_along() -> None:
    damaged = with_block(HBA, RULES).replace(f"{END}\n", "")
    again = with_block(damaged, RULES)
    assert [line for line in HBA.splitlines() if line not in again.splitlines()] == []
    assert with_block(again, RULES) == again


def test_a_file_that_an_editor_wrote_with_other_line_ends() -> None:
    once = with_block(HBA, RULES).replace("\n", "\r\n")
    assert with_block(once, RULES).count(BEGIN) == 1


@pytest.mark.parametrize("theirs", ["port = 1", "port = 1\r\n", "port = 1 \n\n\n", ""])
def test_their_last_line_stays_as_it_is(theirs: str) -> None:
    assert with_include(theirs).startswith(theirs)


def test_what_is_read_after_our_settings() -> None:
    theirs = "a = 1\ninclude_if_exists 'replctl.conf'\n# b = 2\nB = 3\n"
    found = said_later({"postgresql.conf": theirs, "postgresql.auto.conf": "# x\nc = 'x''y'\n"})
    assert {name: (said.file, said.number, said.value) for name, said in found.items()} == {
        "b": ("postgresql.conf", 4, "3"),
        "c": ("postgresql.auto.conf", 2, "x'y"),
    }
    assert said_later({"postgresql.conf": "a = 1\n"}) == {}


@pytest.mark.parametrize(
    ("live", "route", "wanted"),
    [
        ("10.0.0.1", SqlRoute.TUNNEL, "10.0.0.1,localhost"),
        ("10.0.0.1, 127.0.0.1", SqlRoute.TUNNEL, "10.0.0.1,127.0.0.1"),
        ("10.0.0.1", SqlRoute.DIRECT, "10.0.0.1"),
        ("*", SqlRoute.TUNNEL, "*"),
        ("", SqlRoute.TUNNEL, "*"),
    ],
)
def test_it_listens_where_replctl_comes_from(live: str, route: SqlRoute, wanted: str) -> None:
    node = a_node("db1", 1)
    node = replace(node, postgres=replace(node.postgres, connect=route))
    inventory = a_cluster(nodes={"db1": node}).build()[0]
    found = adopted_settings(inventory, node, {"listen_addresses": live}, checksums=True)["listen_addresses"]
    assert found == wanted
    assert adopted_settings(inventory, node, {"listen_addresses": found}, checksums=True)["listen_addresses"] == found


@given(st.builds("\n".join, THEIRS))
def test_the_include_is_the_last_that_is_read(theirs: str) -> None:
    once = with_include(theirs)
    assert with_include(once) == once
    assert once.rstrip().endswith(f"include_if_exists '{CONF}'")
    assert once.startswith(theirs.rstrip())


@pytest.mark.parametrize("line", ["include 'replctl.conf'", "  include_if_exists='replctl.conf'  # ours"])
def test_an_include_that_is_there_is_found(line: str) -> None:
    assert with_include(f"port = 5432\n{line}\n").count("replctl.conf") == 1


def test_it_is_known_again() -> None:
    files = {file.name: file.text for file in adopted_config({"postgresql.conf": "port = 1\n"}, {"a": "b"}, RULES)}
    assert is_adopted(files)
    assert not is_adopted({"postgresql.conf": files["postgresql.conf"]})
    assert not is_adopted({"postgresql.conf": "port = 1\n", CONF: files[CONF]})
    assert parse_conf(files[CONF]) == {"a": "b"}


def test_what_is_more_than_enough_stays() -> None:
    live = {
        "max_wal_senders": "32",
        "max_replication_slots": "5",
        "wal_level": "logical",
        "listen_addresses": "0.0.0.0",
    }
    found = settings(live)
    assert (found["max_wal_senders"], found["max_replication_slots"]) == ("32", "10")
    assert (found["wal_level"], found["listen_addresses"]) == ("logical", "0.0.0.0")


def test_what_clients_know_stays_and_a_restart_is_not_caused_without_need() -> None:
    found = settings({"listen_addresses": "localhost"})
    assert found["listen_addresses"] == "*"
    assert not found.keys() & {"port", "unix_socket_directories", "wal_log_hints"}


def test_the_inventorys_parameters_are_ours() -> None:
    assert settings({}, work_mem="9MB")["work_mem"] == "9MB"


def test_what_a_replica_takes_over() -> None:
    theirs = {"max_connections": "77", "port": "5432", "data_directory": "/x", "log_filename": "own.log", "ssl": "on"}
    assert inheritable(theirs, a_cluster().build()[0]) == {"max_connections": "77", "ssl": "on"}


def test_it_is_read_back_from_the_nodes_own_file() -> None:
    taken = "# --- Taken over from the primary when it was made\n\nb = '2'\n"
    text = f"a = 1\n\n{taken}\n# --- parameters\n\nc = 3\n"
    assert inherited_settings(text) == {"b": "2"}
    assert inherited_settings("a = 1\n") == {}
