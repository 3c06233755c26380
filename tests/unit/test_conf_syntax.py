"""Quoting, reading and editing PostgreSQL's configuration files."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replctl.model.errors import InventoryError
from replctl.postgres.conf_syntax import AUTO_CONF_HEADER, edit_auto_conf, parse_conf, quote_setting

values = st.text(st.characters(blacklist_characters="\n\r\0", blacklist_categories=("Cs",)))
names = st.from_regex(r"[a-z_][a-z0-9_]{0,8}(\.[a-z_][a-z0-9_]{0,8})?", fullmatch=True).filter(
    lambda name: not name.startswith("include")
)


@pytest.mark.parametrize(
    ("value", "quoted"), [("", "''"), ("it's", "'it''s'"), ("a\\b", r"'a\\b'"), ("%m [%p] # é", "'%m [%p] # é'")]
)
def test_quote_setting(value: str, quoted: str) -> None:
    assert quote_setting(value) == quoted


@pytest.mark.parametrize("value", ["a\nb", "a\rb", "a\0b"])
def test_line_breaks_are_refused(value: str) -> None:
    with pytest.raises(InventoryError, match="line break"):
        quote_setting(value)


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("port = 5432", {"port": "5432"}),
        ("port=5432 # comment", {"port": "5432"}),
        ("port 5432\r\n", {"port": "5432"}),
        ("port'5432'", {"port": "5432"}),
        ("PORT = 1\nport = 2", {"port": "2"}),
        ("# port = 1\n  \n", {}),
        ("port5432", {}),
        ("port = ", {}),
        ("port = 1 2", {}),
        ("a = 'x' 'y'", {}),
        ("a = 'it''s'", {"a": "it's"}),
        (r"a = 'it\'s \\ \n \t \x'", {"a": "it's \\ \n \t x"}),
        (r"a = '\303\251 é \101'", {"a": "é é A"}),
        ("a = '# no comment' # one", {"a": "# no comment"}),
        ("a = 'unfinished", {}),
        ("app.x = on", {"app.x": "on"}),
        ("work_mem = -1.5e3kB", {"work_mem": "-1.5e3kB"}),
        ("include 'other.conf'\ninclude_dir = 'conf.d'\ninclude_if_exists 'x'", {}),
        ("a = 'x\x0by\u2028z'", {"a": "x\x0by\u2028z"}),
    ],
)
def test_parse_conf(text: str, settings: dict[str, str]) -> None:
    assert parse_conf(text) == settings


@given(st.dictionaries(names, values))
def test_what_is_quoted_is_read_back(settings: dict[str, str]) -> None:
    assert parse_conf("".join(f"{name} = {quote_setting(value)}\n" for name, value in settings.items())) == settings


AUTO = AUTO_CONF_HEADER + "work_mem = '8MB'\nprimary_conninfo = 'host=a'\nPrimary_Conninfo = 'host=b'\n# kept\nodd line"


def test_a_changed_setting_comes_last_and_all_other_lines_stay() -> None:
    edited = edit_auto_conf(AUTO, {"primary_conninfo": "host=c password='x'"})
    kept = AUTO_CONF_HEADER + "work_mem = '8MB'\n# kept\nodd line\n"
    assert edited == kept + "primary_conninfo = 'host=c password=''x'''\n"


def test_settings_are_removed() -> None:
    edited = edit_auto_conf(AUTO, {"primary_conninfo": None, "primary_slot_name": None})
    assert edited == AUTO_CONF_HEADER + "work_mem = '8MB'\n# kept\nodd line\n"


def test_a_setting_that_has_its_value_stays_where_it_is() -> None:
    assert edit_auto_conf(AUTO + "\n", {"work_mem": "8MB", "primary_conninfo": "host=b"}) == AUTO + "\n"


def test_an_empty_file_gets_the_header_of_alter_system() -> None:
    assert edit_auto_conf("", {"work_mem": "1MB"}) == AUTO_CONF_HEADER + "work_mem = '1MB'\n"


@given(st.text(), st.dictionaries(names, st.none() | values))
def test_editing_takes_effect_and_twice_is_once(text: str, changes: dict[str, str | None]) -> None:
    edited = edit_auto_conf(text, changes)
    assert edit_auto_conf(edited, changes) == edited
    present = parse_conf(edited)
    assert {name: present.get(name) for name in changes} == changes
