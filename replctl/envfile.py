"""The app's env file as text: what belongs in it, merging that into an existing file, and reading it back."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from replctl.model.inventory import App, Inventory, Node
from replctl.model.secret import REDACTED, Passwords, Secret
from replctl.model.values import NodeName

ENABLED = "DB_READ_REPLICAS_ENABLED"
PRIMARY_URL = "DB_PRIMARY_URL"
REPLICA_URLS = "DB_READ_REPLICA_URLS"

EnvValues = Mapping[str, Secret | str]
"""The managed keys and their values, in the order in which they are written."""

DEFAULT_PORT = 5432

# A password in a URL. Those that others wrote may hold a raw "@", "/" or space: all up to the last "@" before the
# line's next URL is masked.
_URL_PASSWORD = re.compile(
    r"(?P<login>[A-Za-z][\w+.-]*://[^\s:@/]*:)(?:(?![A-Za-z][\w+.-]*://).)*(?P<end>@)"
    r"|(?P<option>[?&]password=)[^&\s,'\"]+"
)

_URL_COMMA = re.compile(r",\s*(?=[A-Za-z][\w+.-]*://)")

# A value that begins with a quote goes on over line ends until that quote is closed, in sh, python-dotenv and systemd
# alike. A quote that is never closed belongs to its own line, as python-dotenv has it.
_QUOTED = re.compile(r"""[ \t]*(?:export[ \t]+)?\w+[ \t]*=[ \t]*(?:'[^']*'|"(?:[^"\\]|\\.)*")""", re.DOTALL)

# An odd number of backslashes before the line end: sh and systemd go on with the next line.
_JOINS_NEXT = re.compile(r"(?<!\\)(?:\\\\)*\\\r?\n\Z")

_KEY = re.compile(r"[ \t]*(?:export[ \t]+)?(?P<key>\w+)[ \t]*(?:=(?P<value>.*)|\Z)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ListedNodes:
    """Which nodes an env file names."""

    primary: NodeName | None
    """The node of DB_PRIMARY_URL; None when there is none or it is in ``unknown``."""
    replicas: tuple[NodeName, ...]
    """The nodes of DB_READ_REPLICA_URLS, in the file's order."""
    unknown: tuple[str, ...] = ()
    """URLs, with their passwords masked, of hosts and ports that no node has."""


def managed_values(
    inventory: Inventory,
    passwords: Passwords,
    primary: NodeName,
    replicas: Sequence[NodeName],
    region: str | None = None,
) -> EnvValues:
    """What the env file says of a cluster with this primary and these replicas, to an application in ``region``."""
    listed = inventory.reading_order(primary, replicas, region)
    urls = [_url(inventory.app, passwords, inventory.nodes[name]) for name in listed]
    return {
        ENABLED: "true" if urls else "false",
        PRIMARY_URL: Secret(_url(inventory.app, passwords, inventory.nodes[primary])),
        REPLICA_URLS: Secret(",".join(urls)),
        **inventory.app.settings,
    }


def merge(existing: str | None, values: EnvValues) -> Secret:
    """The text of an env file with ``values`` in it. A Secret, for it holds passwords.

    A managed key keeps its first line's place; further lines of it go. New keys come last. Everything else, line ends
    included, stays as it is. Our own lines end in LF: to ``sh`` the CR of a CRLF would belong to the value.
    """
    pending = dict(values)
    text = ""
    for line in _logical_lines(existing or ""):
        key = _key_of(line)
        if key not in values:
            text += line
        else:
            wanted = _line(key, pending.pop(key)) if key in pending else ""
            text = _ended(text) + (line if line == wanted.rstrip("\n") else wanted)
    for key, value in pending.items():
        text = _ended(text) + _line(key, value)
    return Secret(text)


def differences(existing: str | None, values: EnvValues) -> list[str]:
    """How the managed lines of a file differ from ``values``, a sentence each, passwords masked.

    Empty exactly when merging would change nothing.
    """
    lines = _managed_lines(existing, values)
    found = [text for key, value in values.items() if (text := _difference(key, lines.get(key, []), value))]
    if not found and merge(existing, values).reveal() != (existing or ""):
        found.append("a managed line is joined to the line above it by a backslash")
    return found


def masked(text: str) -> str:
    """``text`` with the password of every URL in it replaced."""
    return _URL_PASSWORD.sub(lambda match: f"{match['login'] or match['option']}{REDACTED}{match['end'] or ''}", text)


def listed_nodes(existing: str | None, inventory: Inventory) -> ListedNodes:
    """Which nodes of the inventory a file names, told by host and port."""
    nodes = {(node.host.lower(), node.postgres.port): name for name, node in inventory.nodes.items()}
    lines = _managed_lines(existing, (PRIMARY_URL, REPLICA_URLS))
    primary_url = _effective(lines.get(PRIMARY_URL, []))
    replica_urls = [url for url in _URL_COMMA.split(_effective(lines.get(REPLICA_URLS, [])) or "") if url]
    known = {url: nodes[place] for url in [primary_url or "", *replica_urls] if (place := _place(url)) in nodes}
    urls = [primary_url, *replica_urls] if primary_url else replica_urls
    return ListedNodes(
        primary=known.get(primary_url or ""),
        replicas=tuple(known[url] for url in replica_urls if url in known),
        unknown=tuple(masked(url) for url in urls if url not in known),
    )


def _url(app: App, passwords: Passwords, node: Node) -> str:
    host = f"[{node.host}]" if ":" in node.host else node.host
    login = f"{_encoded(app.user)}:{_encoded(passwords.app.reveal())}"
    return f"postgresql://{login}@{host}:{node.postgres.port}/{_encoded(app.database)}"


def _encoded(text: str) -> str:
    """Percent-encoded but for ``A-Za-z0-9-._~``: nothing remains that sh, python-dotenv or systemd would take up."""
    return quote(text.encode("utf-8", "surrogateescape"), safe="")


def _place(url: str) -> tuple[str, int] | None:
    try:
        parts = urlsplit(url)
        return (parts.hostname or "", parts.port or DEFAULT_PORT)
    except ValueError:
        return None


def _logical_lines(text: str) -> list[str]:
    """Lines with their line ends; one of them is several of the text's where a quoted value goes on."""
    lines: list[str] = []
    start = 0
    while start < len(text):
        quoted = _QUOTED.match(text, start)
        end = _line_end(text, quoted.end() if quoted else start)
        lines.append(text[start:end])
        start = end
    return lines


def _line_end(text: str, start: int) -> int:
    found = text.find("\n", start)
    return len(text) if found < 0 else found + 1


def _ended(text: str) -> str:
    """``text`` with its last line ended, and not by a backslash that would join what follows to it.

    sh and systemd join lines so, systemd before 254 even after a comment; python-dotenv does not. An empty line makes
    all of them see the same.
    """
    if text and not text.endswith("\n"):
        text += "\n"
    return text + "\n" if _JOINS_NEXT.search(text) else text


def _line(key: str, value: Secret | str) -> str:
    return f"{key}={_text(value)}\n"


def _text(value: Secret | str) -> str:
    return value.reveal() if isinstance(value, Secret) else value


def _key_of(line: str) -> str:
    match = _KEY.match(line.rstrip("\r\n"))
    return match["key"] if match else ""


def _managed_lines(existing: str | None, keys: Mapping[str, object] | Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in _logical_lines(existing or ""):
        if (key := _key_of(line)) in keys:
            found.setdefault(key, []).append(line.removesuffix("\n"))
    return found


def _effective(lines: Sequence[str]) -> str | None:
    """The value that readers of these lines of one key get: the last one, without its quotes."""
    match = _KEY.match(lines[-1].rstrip("\r")) if lines else None
    if match is None or match["value"] is None:
        return None
    value = match["value"].strip()
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" else value


def _difference(key: str, lines: Sequence[str], value: Secret | str) -> str | None:
    wanted = _text(value)
    if list(lines) == [f"{key}={wanted}"]:
        return None
    present = _effective(lines)
    if present is None:
        return f"{key} is missing, it should be {masked(wanted) or 'empty'}"
    if present == wanted:
        return f"{key} has the right value, but not on one plain line"
    if masked(present) == masked(wanted):
        return f"{key} has another password"
    return f"{key} is {masked(present) or 'empty'}, it should be {masked(wanted) or 'empty'}"
