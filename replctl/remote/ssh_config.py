"""The effective SSH settings of a node: the inventory's, then the operator's own OpenSSH configuration."""

from __future__ import annotations

import getpass
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, cast

import paramiko

from replctl.model.errors import UnreachableError
from replctl.model.inventory import SshSettings
from replctl.model.values import NodeName
from replctl.remote.known_hosts import known_name
from replctl.remote.printable import one_line

_ASK_SECONDS = 5.0
_DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")
Options = Mapping[str, Sequence[str]]


class SshServer(Protocol):
    """What the inventory says of something to log in to: a node, or a host of the application."""

    @property
    def name(self) -> NodeName: ...

    @property
    def ssh_host(self) -> str: ...

    @property
    def ssh(self) -> SshSettings: ...


@dataclass(frozen=True, slots=True)
class Target:
    """A server to log in to, with everything that decides how."""

    node: NodeName
    name: str
    """As the inventory or a ProxyJump spells it; error messages and ProxyCommand's %n use it."""
    host: str
    port: int
    user: str
    identity_file: Path | None
    """The inventory's own: offered first."""
    identity_files: tuple[Path, ...]
    identities_only: bool
    agent: str | None
    """The agent's socket."""
    known_hosts: tuple[Path, ...]
    host_key_alias: str | None
    proxy_command: str | None
    proxy_jump: str | None
    connect_timeout: float
    """Seconds."""

    @property
    def known_name(self) -> str:
        return known_name(self.host, self.port, self.host_key_alias)

    @property
    def address(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class SshConfig:
    """The operator's configuration: OpenSSH's usual files, or one file in their place."""

    warn: Callable[[str], None]
    file: Path | None = None

    def target(self, server: SshServer) -> Target:
        """Raises UnreachableError when ssh finds a mistake in the configuration."""
        return self._resolve(server.name, server.ssh_host, server.ssh)

    def jump(self, behind: Target, spec: str) -> Target:
        """The server that ``[user@]host[:port]`` in a ProxyJump names."""
        user, _, address = spec.removeprefix("ssh://").rpartition("@")
        host, colon, port = address.rpartition(":") if not address.endswith("]") else (address, "", "")
        settings = SshSettings(
            user=user or None, port=int(port) if colon else None, connect_timeout=behind.connect_timeout
        )
        return self._resolve(behind.node, (host if colon else address).strip("[]"), settings)

    def _resolve(self, node: NodeName, host: str, settings: SshSettings) -> Target:
        options = self._ask_openssh(node, host, settings) if shutil.which("ssh") else self._parse(host)
        target = _target(node, host, settings.connect_timeout, options)
        files = settings.known_hosts_file
        return replace(
            target,
            user=settings.user or target.user,
            port=settings.port or target.port,
            identity_file=settings.identity_file,
            known_hosts=target.known_hosts
            if files is None
            else (files, *_paths(options, "globalknownhostsfile", _GLOBAL_KNOWN_HOSTS)),
        )

    def _ask_openssh(self, node: NodeName, host: str, settings: SshSettings) -> Options:
        given = [*(["-F", str(self.file)] if self.file else []), *(["-l", settings.user] if settings.user else [])]
        argv = ["ssh", "-G", *given, *(["-p", str(settings.port)] if settings.port else []), "--", host]
        try:
            answer = subprocess.run(
                argv, check=False, capture_output=True, stdin=subprocess.DEVNULL, timeout=_ASK_SECONDS
            )
        except subprocess.TimeoutExpired:
            raise _unusable(node, f"did not answer within {_ASK_SECONDS:g} s", argv) from None
        if answer.returncode != 0:
            raise _unusable(node, f"failed: {one_line(answer.stderr.decode('utf-8', 'replace'))}", argv)
        return _options(answer.stdout.decode("utf-8", "replace"))

    def _parse(self, host: str) -> Options:
        file = self.file or Path("~/.ssh/config").expanduser()
        try:
            text = file.read_text("utf-8")
        except FileNotFoundError:
            return {}
        words = {line.split(maxsplit=1)[0].lower() for line in text.splitlines() if line.strip()}
        if left_out := sorted(words & {"include", "match"}):
            self.warn(
                f"{file} uses {' and '.join(left_out)}, which are honoured only where the ssh client is installed"
            )
        config = paramiko.SSHConfig.from_text("".join(_without_match(text)))
        found = cast("Mapping[str, str | list[str] | None]", config.lookup(host))
        return {name: value if isinstance(value, list) else [value or "none"] for name, value in found.items()}


def _without_match(text: str) -> list[str]:
    """A Match block decides by running commands and asking for names: left out as a whole, as the warning says."""
    kept: list[str] = []
    skipping = False
    for line in text.splitlines(keepends=True):
        word = line.split(maxsplit=1)[0].lower() if line.strip() else ""
        skipping = word == "match" or (skipping and word != "host")
        if not skipping and word != "include":
            kept.append(line)
    return kept


def _options(text: str) -> Options:
    """``name value`` lines; identityfile comes once a file."""
    options: dict[str, list[str]] = {}
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        options.setdefault(name, []).append(value)
    return options


_USER_KNOWN_HOSTS = ("~/.ssh/known_hosts", "~/.ssh/known_hosts2")
_GLOBAL_KNOWN_HOSTS = ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")


def _target(node: NodeName, host: str, connect_timeout: float, options: Options) -> Target:
    files = tuple(Path(file).expanduser() for file in options.get("identityfile", ()))
    return Target(
        node=node,
        name=host,
        host=_one(options, "hostname") or host,
        port=int(_one(options, "port") or 22),
        user=_one(options, "user") or getpass.getuser(),
        identity_file=None,
        identity_files=files or tuple(Path("~/.ssh", name).expanduser() for name in _DEFAULT_KEYS),
        identities_only=_one(options, "identitiesonly") == "yes",
        agent=_agent(next(iter(options.get("identityagent", ())), "SSH_AUTH_SOCK")),
        known_hosts=_paths(options, "userknownhostsfile", _USER_KNOWN_HOSTS)
        + _paths(options, "globalknownhostsfile", _GLOBAL_KNOWN_HOSTS),
        host_key_alias=_one(options, "hostkeyalias"),
        proxy_command=_one(options, "proxycommand"),
        proxy_jump=_one(options, "proxyjump"),
        connect_timeout=connect_timeout,
    )


def _one(options: Options, name: str) -> str | None:
    """The first value, as everywhere in OpenSSH's configuration; ``none`` switches an option off."""
    value = next(iter(options.get(name, ())), "")
    return None if value.lower() in {"", "none"} else value


def _paths(options: Options, name: str, default: Sequence[str]) -> tuple[Path, ...]:
    values = options.get(name)
    names = default if values is None else [path for value in values for path in shlex.split(value)]
    return tuple(Path(path).expanduser() for path in names if path != "none")


def _agent(setting: str) -> str | None:
    """``SSH_AUTH_SOCK`` and ``$NAME`` name variables that hold the socket's path."""
    if setting == "none":
        return None
    if setting == "SSH_AUTH_SOCK":
        return os.environ.get(setting)
    if setting.startswith("$"):
        return os.environ.get(setting.strip("${}"))
    return str(Path(setting).expanduser())


def _unusable(node: NodeName, what: str, argv: Sequence[str]) -> UnreachableError:
    return UnreachableError(
        f"the SSH settings of {node} cannot be found out: ssh -G {what}",
        hint=f"Run `{shlex.join(argv)}` and mend what it complains about.",
        node=node,
        code="ssh-config",
    )
