"""The strict reading of YAML."""

import pytest

from replctl.inventory.yaml_text import MAX_BYTES, read_document


def root_of(text):
    document = read_document(text)
    assert document.problems == ()
    return document.root


def problems_of(text):
    return [(problem.line, problem.text) for problem in read_document(text).problems]


@pytest.mark.parametrize(
    ("scalar", "value"),
    [
        ("022", "022"),
        ("12:30", "12:30"),
        ("yes", "yes"),
        ("on", "on"),
        ("No", "No"),
        ("True", "True"),
        ("0x1F", "0x1F"),
        ("0o17", "0o17"),
        ("1_000", "1_000"),
        ("1e3", "1e3"),
        (".5", ".5"),
        (".inf", ".inf"),
        ("2001-01-01", "2001-01-01"),
        ("=", "="),
        ("1.2.3.4", "1.2.3.4"),
        ("7", 7),
        ("-7", -7),
        ("0", 0),
        ("0.90", 0.9),
        ("true", True),
        ("false", False),
        ("'7'", "7"),
        ('"true"', "true"),
        ("'null'", "null"),
    ],
)
def test_scalars_are_what_they_look_like(scalar, value):
    read = root_of(f"a: {scalar}")["a"]
    assert (read, type(read)) == (value, type(value))


@pytest.mark.parametrize("empty", ["", "~", "null"])
def test_a_key_needs_a_value(empty):
    assert problems_of(f"a: {empty}") == [(1, "has no value; give it one or remove the key")]


def test_lines_of_keys_and_items():
    document = read_document("a:\n  b: 1\n  c:\n    - x\n    - y\n")
    assert document.lines[("a", "b")] == 2
    assert document.lines[("a", "c", 1)] == 5


def test_duplicate_keys_name_the_first_one():
    (problem,) = read_document("a:\n  b: 1\n  c: 2\n  b: 3\n").problems
    assert (problem.where, problem.line) == (("a", "b"), 4)
    assert problem.text == "duplicate key; it stands on line 2 already"


def test_alias_bombs_are_not_expanded():
    pairs = zip("abcdefgh", "bcdefghi", strict=True)
    lines = ["a: &a [x, x]", *(f"{name}: &{name} [*{before}, *{before}]" for before, name in pairs)]
    assert {text for _, text in problems_of("\n".join(lines))} == {
        "anchors and aliases are not read; write the value out"
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: !!python/object/apply:os.system [id]", "tags are not read"),
        ("a: !!int '3'", "tags are not read"),
        ("? [a, b]\n: c", "a key is not plain text"),
        ("*a : b", "a key is not plain text"),
        ("a: 1\n---\nb: 2", "holds a second YAML document"),
        ("a: [1", "is not valid YAML"),
        ("a: b: c", "is not valid YAML: mapping values are not allowed here"),
        ("\ta: 1", "is not valid YAML"),
        ('a: "\\UFFFFFFFF"', "is not valid YAML: a number is out of range"),
        ("%YAML 1." + "9" * 5000 + "\n---\na: 1", "is not valid YAML: a number is out of range"),
        ('a: "\\0"', "holds a line break or a control character"),
        ('a: "\\ud800"', "holds a line break or a control character"),
        ("a: |\n  x\n  y\n", "holds a line break or a control character"),
        ('"a\\n": 1', "a key holds a line break or a control character"),
        ("a: \x07", "holds the control character U+0007"),
        ("a: \ud800", "holds the control character U+D800"),
        ("[" * 100_000, "is nested too deeply"),
        ("{a: " * 100_000, "is nested too deeply"),
        ("- " * 100_000, "is nested too deeply"),
        ("#" * (MAX_BYTES + 1), f"is larger than {MAX_BYTES} bytes"),
        ("é" * (MAX_BYTES // 2 + 1), f"is larger than {MAX_BYTES} bytes"),
    ],
)
def test_what_is_not_read(text, expected):
    assert any(shown.startswith(expected) for _, shown in problems_of(text))


def test_the_line_of_a_syntax_error():
    assert problems_of("a: 1\nb: [\nc: 2\n")[0][0] >= 2
    assert problems_of("a: 1\nb: \x07\n")[0][0] == 2


@pytest.mark.parametrize("empty", ["", "# nothing\n", "---\n...\n"])
def test_an_empty_document(empty):
    assert read_document(empty).root is None


def test_a_byte_order_mark_and_crlf_are_read():
    assert root_of("\ufeffa: 1\r\nb: x\r\n") == {"a": 1, "b": "x"}
