"""The syntax of pg_hba.conf: which lines are rules, and which rules decide about the same logins.

As PostgreSQL reads it (hba.c): a line that ends in a backslash goes on in the next one, a comment too; words are
separated by blanks, those of a list by commas; quotes take the meaning away from keywords.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network

_TOKEN = re.compile(r'[\s,]*(?P<word>(?:"(?:[^"]|"")*"?|[^\s,"#])+)(?P<more>,?)')
_PIECE = re.compile(r'"(?:[^"]|"")*"?|[^"]+')
_FIELDS = {"local": 4, "host": 5, "hostssl": 5, "hostnossl": 5, "hostgssenc": 5, "hostnogssenc": 5}
"""Kinds of rules, and how many fields each has at least."""
_PASSWORDS = frozenset({"md5", "password", "scram-sha-256"})
"""Methods by which a password lets in that is stored as a SCRAM verifier."""
_PATTERNS = ("+", "@", "/")
"""A role's members, a file with names, a regular expression: what they stand for is not in the rule."""
_OWN_NAMES = frozenset({"sameuser", "samerole", "samegroup"})

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a rule. A quoted one is no keyword."""

    text: str
    quoted: bool = False

    def is_keyword(self, keyword: str) -> bool:
        return not self.quoted and self.text == keyword


@dataclass(frozen=True, slots=True)
class Rule:
    """A line that decides about logins."""

    line: int
    """Number of its first line, from 1."""
    text: str
    kind: str
    databases: tuple[Word, ...]
    users: tuple[Word, ...]
    address: Network | Word | None
    """A name or a keyword is kept as it is; None for ``local``."""
    method: str


@dataclass(frozen=True, slots=True)
class Displaced:
    """A rule that decides no more about logins of these users, because another one comes first."""

    line: int
    text: str
    users: tuple[str, ...]


def rule_lines(lines: Sequence[str]) -> Iterator[tuple[int, str]]:
    """What is neither blank nor a comment: the place of its first line among ``lines``, and all of it on one line."""
    begun: int | None = None
    text = ""
    for place, line in enumerate(lines):
        begun = place if begun is None else begun
        bare = line.rstrip("\r")
        if bare.endswith("\\"):
            text += bare[:-1]
            continue
        text += bare
        if _TOKEN.match(text):
            yield begun, text
        begun, text = None, ""
    if begun is not None and _TOKEN.match(text):
        yield begun, text


def parse_rules(text: str) -> tuple[Rule, ...]:
    """The rules of a file. Includes, and lines that PostgreSQL would not accept, are left out."""
    found = (_parse(place + 1, line) for place, line in rule_lines(text.split("\n")))
    return tuple(rule for rule in found if rule is not None)


def displaced(ours: str, theirs: str) -> tuple[Displaced, ...]:
    """Of ``theirs``, the rules that decide otherwise about a login than ``ours``, which come first from now on."""
    lost: dict[Rule, set[str]] = {}
    rules = parse_rules(theirs)
    for own in parse_rules(ours):
        for rule in _deciding(rules, own):
            if _differs(rule, own):
                lost.setdefault(rule, set()).update(word.text for word in own.users)
    return tuple(Displaced(rule.line, rule.text, tuple(sorted(lost[rule]))) for rule in rules if rule in lost)


def _deciding(rules: Sequence[Rule], own: Rule) -> Iterator[Rule]:
    """Those that decided about some of the logins that ``own`` fits, up to the first that fits all of them."""
    for rule in rules:
        if _meets(rule, own):
            yield rule
        if _covers(rule, own):
            return


def _differs(rule: Rule, own: Rule) -> bool:
    asked_for_tls = own.kind == "host" and rule.kind in ("hostssl", "hostgssenc") and rule.method != "reject"
    return asked_for_tls or (rule.method != own.method and not {rule.method, own.method} <= _PASSWORDS)


def _meets(rule: Rule, own: Rule) -> bool:
    """Whether ``rule`` may fit a login that ``own`` fits."""
    return (
        (rule.kind == "local") == (own.kind == "local")
        and any(_user_meets(word, wanted) for word in rule.users for wanted in own.users)
        and any(_database_meets(word, wanted) for word in rule.databases for wanted in own.databases)
        and _address_meets(rule.address, own.address)
    )


def _covers(rule: Rule, own: Rule) -> bool:
    """Whether ``rule`` fits every login that ``own`` fits."""
    return (
        rule.kind in ("local" if own.kind == "local" else "host", own.kind)
        and all(any(_name_covers(word, wanted) for word in rule.users) for wanted in own.users)
        and all(any(_database_covers(word, wanted) for word in rule.databases) for wanted in own.databases)
        and _address_covers(rule.address, own.address)
    )


def _user_meets(word: Word, wanted: Word) -> bool:
    return _name_covers(word, wanted) or word.text.startswith(_PATTERNS)


def _name_covers(word: Word, wanted: Word) -> bool:
    return word.is_keyword("all") or (word.text == wanted.text and not wanted.is_keyword("all"))


def _database_meets(word: Word, wanted: Word) -> bool:
    """``all`` does not include ``replication``."""
    if word.is_keyword("replication") or wanted.is_keyword("replication"):
        return _database_covers(word, wanted)
    several = word.text.startswith(_PATTERNS) or (not word.quoted and word.text in _OWN_NAMES)
    return several or wanted.is_keyword("all") or _name_covers(word, wanted)


def _database_covers(word: Word, wanted: Word) -> bool:
    if word.is_keyword("replication") or wanted.is_keyword("replication"):
        return word.is_keyword("replication") and wanted.is_keyword("replication")
    return _name_covers(word, wanted)


def _address_meets(found: Network | Word | None, wanted: Network | Word | None) -> bool:
    if not isinstance(found, Network) or not isinstance(wanted, Network):
        return True
    return found.version == wanted.version and (_within(wanted, found) or _within(found, wanted))


def _address_covers(found: Network | Word | None, wanted: Network | Word | None) -> bool:
    if isinstance(found, Network):
        return isinstance(wanted, Network) and _within(wanted, found)
    return found is None or found.is_keyword("all") or found == wanted


def _within(inner: Network, outer: Network) -> bool:
    if isinstance(inner, IPv4Network):
        return isinstance(outer, IPv4Network) and inner.subnet_of(outer)
    return isinstance(outer, IPv6Network) and inner.subnet_of(outer)


def _parse(line: int, text: str) -> Rule | None:
    fields = tuple(_fields(text))
    kind = fields[0][0].text
    if len(fields) < _FIELDS.get(kind, len(fields) + 1):
        return None
    shown = " ".join(text.split())
    if kind == "local":
        return Rule(line, shown, kind, fields[1], fields[2], None, fields[3][0].text)
    address, rest = _address(fields[3][0], fields[4:])
    return Rule(line, shown, kind, fields[1], fields[2], address, rest[0][0].text) if rest else None


def _fields(text: str) -> Iterator[tuple[Word, ...]]:
    """Each a list of words: a comma right behind a word means that the list goes on."""
    words: list[Word] = []
    place = 0
    while (match := _TOKEN.match(text, place)) is not None:
        place = match.end()
        words.append(_word(match["word"]))
        if not match["more"]:
            yield tuple(words)
            words = []
    if words:
        yield tuple(words)


def _word(token: str) -> Word:
    pieces: list[str] = _PIECE.findall(token)
    bare = (piece[1:].removesuffix('"').replace('""', '"') if piece.startswith('"') else piece for piece in pieces)
    return Word("".join(bare), quoted=token.startswith('"'))


def _address(word: Word, rest: Sequence[tuple[Word, ...]]) -> tuple[Network | Word, Sequence[tuple[Word, ...]]]:
    """An address with its length, or with a mask in the next field, and the fields behind it."""
    if "/" not in word.text and rest and (masked := _network(f"{word.text}/{rest[0][0].text}")) is not None:
        return masked, rest[1:]
    return _network(word.text) or word, rest


def _network(text: str) -> Network | None:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None
