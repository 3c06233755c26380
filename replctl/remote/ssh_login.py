"""Which keys are offered to a server, in which order, and what it said to them."""

from __future__ import annotations

import base64
import itertools
import socket
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import paramiko
from cryptography.exceptions import UnsupportedAlgorithm
from paramiko.agent import AgentSSH
from paramiko.pkey import UnknownKeyType

from replctl.model.errors import UnreachableError
from replctl.remote.known_hosts import HostKey
from replctl.remote.printable import one_line
from replctl.remote.ssh_config import Target

_AGENT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Candidate:
    """A key to offer; ``origin`` tells the operator which one it is."""

    key: paramiko.PKey
    origin: str

    @property
    def blob(self) -> bytes:
        return self.key.asbytes()

    def __str__(self) -> str:
        return f"{self.origin} ({HostKey(self.key.get_name(), self.blob).fingerprint})"


class _Agent(AgentSSH):
    """The agent at a given socket; Paramiko's own looks at SSH_AUTH_SOCK alone and not at IdentityAgent."""

    def __init__(self, path: str) -> None:
        super().__init__()
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(_AGENT_SECONDS)
        try:
            connection.connect(path)
            self._connect(connection)  # pyright: ignore[reportUnknownMemberType, reportAttributeAccessIssue]
            connection.settimeout(None)  # a key on a token waits for a touch; the login's deadline bounds it
        except (OSError, paramiko.SSHException):
            connection.close()

    def close(self) -> None:
        self._close()  # pyright: ignore[reportUnknownMemberType, reportAttributeAccessIssue]


def log_in(transport: paramiko.Transport, target: Target, late: Callable[[], bool]) -> None:
    """Authenticate with the operator's keys, until it is ``late``.

    Raises UnreachableError (code ``authentication``); TimeoutError; SSHException, OSError or EOFError when the
    connection breaks.
    """
    agent = _Agent(target.agent) if target.agent else None
    try:
        _offer_keys(transport, target, agent, late)
    finally:
        if agent is not None:
            agent.close()


def _offer_keys(transport: paramiko.Transport, target: Target, agent: _Agent | None, late: Callable[[], bool]) -> None:
    unusable: list[str] = []
    offered: list[str] = []
    for candidate in _candidates(target, agent, unusable):
        offered.append(str(candidate))
        try:
            more = transport.auth_publickey(target.user, candidate.key)
        except paramiko.AuthenticationException as error:
            if late():  # no answer came in time, which Paramiko tells by the same type as a key that was refused
                raise TimeoutError from error
            if transport.is_active():
                continue
            break  # MaxAuthTries: the server has hung up
        if not more:
            return
        unusable.append(f"{candidate} was accepted, but the server also wants {' or '.join(more)}")
    raise _refused(target, offered, unusable)


def _candidates(target: Target, agent: _Agent | None, unusable: list[str]) -> Iterator[Candidate]:
    """The inventory's key, then the agent's keys that the configuration names, then its others, then files.

    sshd hangs up after MaxAuthTries (6) keys: those that were asked for come first, and none comes twice.
    """
    named = tuple(file for file in (target.identity_file, *target.identity_files) if file)
    held = {key.asbytes(): Candidate(key, f"{key.comment or 'a key'} of the agent") for key in _keys(agent)}
    seen: set[bytes] = set()
    asked_for = [blob for file in named if (blob := _public_blob(file)) in held]
    others = () if target.identities_only else held
    first = () if target.identity_file is None else (target.identity_file,)
    sources = (
        _loaded(first, unusable),
        (held[blob] for blob in asked_for),
        (held[blob] for blob in others),
        _loaded(target.identity_files, unusable),
    )
    for candidate in itertools.chain.from_iterable(sources):
        if candidate.blob not in seen:
            seen.add(candidate.blob)
            yield candidate


def _keys(agent: _Agent | None) -> tuple[paramiko.AgentKey, ...]:
    return () if agent is None else tuple(agent.get_keys())


def _public_blob(file: Path) -> bytes:
    """The public half beside an identity file; it may be the only half on this machine."""
    try:
        fields = Path(f"{file}.pub").read_text("utf-8", "replace").split()
        return base64.b64decode(fields[1], validate=True)
    except (OSError, IndexError, ValueError):
        return b""


def _loaded(files: Iterable[Path], unusable: list[str]) -> Iterator[Candidate]:
    for file in files:
        if not file.exists():
            continue
        try:
            yield Candidate(paramiko.PKey.from_path(file), str(file))
        except TypeError:
            unusable.append(f"{file} is protected by a passphrase and not in the agent")
        except (OSError, ValueError, UnsupportedAlgorithm, UnknownKeyType, paramiko.SSHException) as error:
            unusable.append(f"{file} cannot be used ({type(error).__name__})")


def _refused(target: Target, offered: list[str], unusable: list[str]) -> UnreachableError:
    missing = target.identity_file
    if missing is not None and not missing.exists():
        unusable.insert(0, f"{missing} does not exist")
    tried = ", ".join(offered) or "no key to offer"
    left_out = f"; {'; '.join(unusable)}" if unusable else ""
    return UnreachableError(
        one_line(f"{target.node} does not let {target.user} in at {target.address}: {tried}{left_out}", 2000),
        hint=f"Put the public half of your key into ~{target.user}/.ssh/authorized_keys on {target.node}; name the key "
        "with ssh.identity_file, or add it to the agent with ssh-add.",
        node=target.node,
        code="authentication",
    )
