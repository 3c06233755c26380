"""Whatever the text, the parser answers with an inventory or with InventoryError."""

from contextlib import suppress

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from replctl.model.errors import InventoryError
from tests.unit.inventories import SMALL, parse, tree

KEYS = st.sampled_from(
    ["cluster", "ssh", "postgres", "admin", "app", "nodes", "password", "user", "port", "host", "allow", "parameters"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["10.0.0.1", "/a"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(max_size=3), inner, max_size=4),
    max_leaves=6,
)


def read_or_refused(text: str) -> None:
    with suppress(InventoryError):
        parse(text)


@settings(max_examples=50, deadline=None, database=None)
@given(st.text(st.characters() | st.sampled_from("{}[]:,&*!|>'\"%@`#-?\n \t\\"), max_size=60))
def test_no_text_makes_the_parser_fail(text):
    read_or_refused(text)


@settings(max_examples=40, deadline=None, database=None)
@given(
    start=st.integers(0, len(SMALL)),
    length=st.integers(0, 12),
    piece=st.text(st.sampled_from("{}[]:,&*!|>'\"%\n -x0~\0\\"), max_size=6),
)
def test_no_damage_makes_the_parser_fail(start, length, piece):
    read_or_refused(SMALL[:start] + piece + SMALL[start + length :])


@settings(max_examples=25, deadline=None, database=None)
@given(st.sampled_from(list(tree())), VALUES)
def test_no_value_makes_the_parser_fail(key, value):
    read_or_refused(yaml.safe_dump(tree() | {key: value}, allow_unicode=True))
