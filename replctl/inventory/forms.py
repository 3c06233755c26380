"""What single values of the inventory have to look like: each check raises ValueError with words for the operator."""

from __future__ import annotations

import ipaddress
import posixpath
import re
import shlex
from dataclasses import dataclass

from replctl.inventory.yaml_text import Tree

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
# What `ssh` takes as its destination: a host name, an address, or an alias of the operator's SSH configuration.
_SSH_HOST = re.compile(r"[A-Za-z0-9_:][A-Za-z0-9_.:%-]*")
# PostgreSQL cuts longer names off (NAMEDATALEN is 64, with the terminating zero byte).
_MAX_NAME_BYTES = 63
# What a shell takes up between double quotes.
_SHELL_SPECIAL = frozenset('$`"\\')
_NO_EXTENSION_OWNER = frozenset("\"$'\\")
_OUR_SUFFIX = ".replctl-"
_RESERVED_ROLES = frozenset({"public", "none"})
_RESERVED_DATABASES = frozenset({"template0", "template1"})


@dataclass(frozen=True, slots=True)
class Form:
    """Text that ``pattern`` matches as a whole; ``wanted`` ends the sentence "must be"."""

    pattern: str
    wanted: str

    @property
    def json_pattern(self) -> str:
        return f"^(?:{self.pattern})$"

    def __call__(self, text: str) -> str:
        if re.fullmatch(self.pattern, text) is None:
            raise ValueError(f"must be {self.wanted}")
        return text


def no_option(text: str) -> str:
    """A program that gets the text as an operand must not take it for an option."""
    if not text:
        raise ValueError("must not be empty")
    if text.startswith("-"):
        raise ValueError("must not start with -")
    return text


def host(text: str) -> str:
    """An address or an RFC 1123 name: it also ends up in URLs and in pg_hba.conf."""
    address = _address(text)
    if address is not None:
        if address.is_unspecified or address.is_multicast or "%" in text:
            raise ValueError("must be an address that other hosts can connect to")
        return text
    if len(text) > 253 or _HOST_NAME.fullmatch(text) is None or text.rpartition(".")[2].isdigit():
        raise ValueError("must be an IP address (without brackets) or a host name")
    return text


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def ssh_host(text: str) -> str:
    if len(text) > 253 or _SSH_HOST.fullmatch(text) is None:
        raise ValueError("must be a host name, an address or an alias of the SSH configuration")
    return text


def network(text: str) -> str:
    """The network in CIDR notation, a single address as a network of its own."""
    try:
        interface = ipaddress.ip_interface(text)
    except ValueError:
        raise ValueError("must be a network such as 10.0.5.0/24, or an address") from None
    if "%" in text:
        raise ValueError("must be a network without a zone")
    if interface.ip != interface.network.network_address:
        raise ValueError(f"has bits set beyond its prefix; did you mean {interface.network}?")
    return str(interface.network)


def remote_dir(text: str) -> str:
    """An absolute directory of a host, spelled in the one way that compares equal to itself.

    pg_ctl puts its data directory, and initdb the path of its programs, between double quotes into a command for
    /bin/sh: what is special there would be carried out.
    """
    if not text.startswith("/"):
        raise ValueError("must be an absolute path")
    if ".." in text.split("/"):
        raise ValueError("must not contain ..")
    if not _SHELL_SPECIAL.isdisjoint(text):
        raise ValueError('must not contain $, `, " or \\, which pg_ctl would hand to a shell')
    if _OUR_SUFFIX in text:
        raise ValueError(f"must not contain {_OUR_SUFFIX}, which begins the names that replctl keeps for itself")
    normal = "/" + posixpath.normpath(text).lstrip("/")
    if normal == "/":
        raise ValueError("must be a directory below /")
    if normal != text:
        raise ValueError(f"must be written as {normal}")
    return text


def remote_file(text: str) -> str:
    """An absolute path of a file on an application's host, spelled in the one way that compares equal to itself."""
    if not text.startswith("/"):
        raise ValueError("must be an absolute path")
    if ".." in text.split("/"):
        raise ValueError("must not contain ..")
    if _OUR_SUFFIX in text:
        raise ValueError(f"must not contain {_OUR_SUFFIX}, which begins the names that replctl keeps for itself")
    normal = "/" + posixpath.normpath(text).lstrip("/")
    if normal == "/" or text.endswith("/"):
        raise ValueError("must be a file")
    if normal != text:
        raise ValueError(f"must be written as {normal}")
    return text


def local_path(text: str) -> str:
    if text.startswith("~") and text != "~" and not text.startswith("~/"):
        raise ValueError("must not name another user's home; write the whole path")
    return text


def role(text: str) -> str:
    _check_name(text)
    if text in _RESERVED_ROLES:
        raise ValueError("is a name that PostgreSQL keeps for itself")
    return text


def superuser(text: str) -> str:
    """initdb puts the name between double quotes into a statement, as it is, and then lets it own an extension."""
    if not _NO_EXTENSION_OWNER.isdisjoint(text):
        raise ValueError("must not contain \", $, ' or \\, which initdb does not take in the name of a superuser")
    return role(text)


def database(text: str) -> str:
    _check_name(text)
    if text in _RESERVED_DATABASES:
        raise ValueError("is a name that PostgreSQL keeps for itself")
    return text


def _check_name(text: str) -> None:
    if not text.isprintable():
        raise ValueError("must be printable text")
    if text.startswith("pg_"):
        raise ValueError("must not start with pg_, which PostgreSQL keeps for itself")
    if text.startswith("/"):
        raise ValueError("must not start with /, which makes it a regular expression in pg_hba.conf")
    if len(text.encode()) > _MAX_NAME_BYTES:
        raise ValueError(f"must not be longer than {_MAX_NAME_BYTES} bytes")


def words(text: str) -> str:
    """A command line that can be split into its words."""
    try:
        argv = shlex.split(text)
    except ValueError as error:
        raise ValueError(f"cannot be split into words: {str(error).lower()}") from None
    if not argv or not argv[0]:
        raise ValueError("must name a program")
    return text


def system_identifier(value: Tree) -> Tree:
    """The identifier as text, with or without quotes in the file: as a number it is past what JSON readers keep."""
    return str(value) if type(value) is int else value
