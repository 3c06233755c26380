"""What is sent to a host's shell: scripts are made here, and this is the only place that quotes.

sshd hands the command string to the account's login shell, which may be fish or csh. So that string is a constant
which every shell reads alike, and the script itself comes on stdin, before the command's own stdin. That also keeps
it out of process lists and of sudo's log, and lets a shell be started before anybody knows what it will be asked to do.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# libpq's programs read these: a variable that a profile or sshd sets must not send pg_basebackup somewhere else.
_LIBPQ_VARIABLES = (
    "PGDATA PGHOST PGHOSTADDR PGPORT PGDATABASE PGUSER PGPASSWORD PGPASSFILE PGSERVICE PGSERVICEFILE PGSYSCONFDIR "
    "PGOPTIONS PGAPPNAME PGSSLMODE PGSSLCERT PGSSLKEY PGSSLROOTCERT PGSSLCRL PGSSLCRLDIR PGSSLNEGOTIATION "
    "PGREQUIREAUTH PGCHANNELBINDING PGREQUIREPEER PGGSSENCMODE PGTARGETSESSIONATTRS PGLOADBALANCEHOSTS "
    "PGCONNECT_TIMEOUT PGCLIENTENCODING PGTZ PGDATESTYLE PGCTLTIMEOUT"
)

WAIT_FOR_GO = ("/bin/sh", "-c", 'read -r go && exec "$@"', "sh")
"""Becomes the command that is appended once a line comes on stdin, which ``read`` takes byte by byte."""

END_GROUP = (
    "/bin/sh",
    "-c",
    'kill -s TERM -- "-$1" 2>/dev/null || exit 0; '
    "for pause in 0.02 0.03 0.05 0.1 0.2 0.2 0.2 0.2; do "
    'sleep "$pause"; kill -s 0 -- "-$1" 2>/dev/null || exit 0; done; '
    'kill -s KILL -- "-$1" 2>/dev/null; exit 0',
    "sh",
)
"""SIGTERM, one second, SIGKILL to the process group whose number is appended."""


def shell_words(argv: Sequence[str]) -> str:
    """Quote arguments for a POSIX shell. Raises ValueError on a NUL, which no argument can carry."""
    if any("\0" in argument for argument in argv):
        raise ValueError("an argument cannot contain a NUL character")
    return shlex.join(argv)


def encoded(script: str) -> bytes:
    return script.encode("utf-8", "surrogateescape")


LOADER = (
    f'PATH="{SYSTEM_PATH}:$PATH";export PATH;read -r n||exit;'
    's=$(dd bs="$n" count=1 iflag=fullblock 2>/dev/null||dd bs=1 count="$n" 2>/dev/null);eval "$s"'
)
"""The shell that reads what framed() made of a script, and not a byte more, from its stdin and runs it.

dd, since some versions of head -c read ahead and would swallow the command's own stdin; one that does not know
fullblock says so before it reads. A profile may have left us any PATH. When stdin ends before anything came, nothing
was asked for.
"""

LOGIN_COMMAND = f"exec /bin/sh -c '{LOADER}'"
"""For the login shell: no character in it means anything special inside single quotes."""


def framed(script: bytes) -> bytes:
    """A script as LOADER reads it: behind a line with its length in bytes."""
    return b"%d\n" % len(script) + script


def command_script(argv: Sequence[str], token: str) -> bytes:
    """Announce the process group on both streams, then become ``argv``.

    sshd and a local start make the shell lead a group of its own; under sudo it does not, and then takes a session.
    """
    return encoded(
        "read -r skip skip skip skip group skip </proc/$$/stat\n"
        '[ "$group" = "$$" ] || exec setsid /bin/sh -c "$s"\n'
        "cd / || exit\n"
        f"unset LANGUAGE {_LIBPQ_VARIABLES}\n"
        "LC_ALL=C\n"
        "export LC_ALL\n"
        f"printf '%s %s\\n' {token} \"$$\" || exit\n"  # nobody listens any more: nobody could end the command
        f"printf '%s\\n' {token} >&2 || exit\n"
        f"exec {shell_words(argv)}\n"
    )


def switching_script(switch: Sequence[str]) -> bytes:
    """Become another user by ``switch``, whose shell then reads another script from the same stdin."""
    return encoded(f"exec {shell_words((*switch, '/bin/sh', '-c', LOADER))}\n")
