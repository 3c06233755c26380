"""synchronous_standby_names, in every way that PostgreSQL takes it."""

from __future__ import annotations

import pytest

from replctl.postgres.standby_names import StandbyNames, parse_standby_names


@pytest.mark.parametrize(
    ("text", "number", "names"),
    [
        ("", 0, ()),
        ("  ", 0, ()),
        ("db2", 1, ("db2",)),
        ("db2, db3", 1, ("db2", "db3")),
        ("*", 1, ("*",)),
        ("2 (db2,db3)", 2, ("db2", "db3")),
        ("FIRST 1 (db2, db3)", 1, ("db2", "db3")),
        ("any 2(db2, db3 ,db4)", 2, ("db2", "db3", "db4")),
        ('ANY 1 ("a, b", "say ""x""", db-4)', 1, ("a, b", 'say "x"', "db-4")),
        ("first", 1, ("first",)),
    ],
)
def test_what_it_says(text: str, number: int, names: tuple[str, ...]) -> None:
    assert parse_standby_names(text) == StandbyNames(number, names)


@pytest.mark.parametrize(
    ("text", "standbys", "lacking"),
    [
        ("", [], False),
        ("db2", [], True),
        ("db2", ["DB2"], False),
        ("db2", ["db3"], True),
        ("*", ["anybody"], False),
        ("ANY 2 (*)", ["db2"], True),
        ("ANY 2 (*)", ["db2", "db2"], False),
        ("FIRST 2 (db2, db3)", ["db3", "db2"], False),
    ],
)
def test_whether_commits_wait(text: str, standbys: list[str], lacking: bool) -> None:
    assert parse_standby_names(text).lacking(standbys) is lacking
