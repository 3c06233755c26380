"""The env file's copy on a host of the application: read here, merged on this side, and put there as a whole."""

from __future__ import annotations

import hashlib
import posixpath
from dataclasses import dataclass
from typing import LiteralString

from replctl.model.errors import CommandFailedError, ConnectionLostError, RefusedError, ReplctlError
from replctl.model.inventory import AppHost
from replctl.model.secret import Secret
from replctl.postgres.scripts import script
from replctl.remote.ports import CommandResult, Runner
from replctl.remote.printable import one_line

FILE_SECONDS = 30.0
OWNER_ONLY = 0o600
_OPEN_TO_OTHERS = 0o077
_MAX_BYTES = 1024 * 1024

# What another user laid out in a folder where every user can make files would get the passwords.
_READ: LiteralString = r"""
cd -- "$1" || exit 10
file=./$2
[ ! -L "$file" ] || exit 11
[ -e "$file" ] || { echo "absent -"; exit 0; }
[ -f "$file" ] || exit 12
[ "$(stat -c %s -- "$file")" -le "$3" ] || exit 13
if [ ! -O "$file" ] && [ "$(stat -c %u -- "$file")" != 0 ]; then
    case $(stat -c %A .) in ????????w?) exit 14 ;; esac
fi
due=-
[ ! -e "$file.replctl-reload-due" ] || due=due
echo "$(stat -c %a -- "$file") $due"
cat -- "$file"
"""

# mktemp opens with O_EXCL and mode 0600, and the owner is right before any content is there. mv -T replaces what
# stands in a name's place and enters or follows nothing. When the sender is killed midway stdin ends as it does after
# the whole text: only a checksum tells. The lock keeps other runs away, where the host has flock; an editor knows no
# lock, so the file is compared once more just before it is replaced.
_WRITE: LiteralString = r"""
umask 077
cd -- "$1" || exit 10
file=./$2
IFS=' ' read -r expected wanted || exit 1
if command -v flock >/dev/null; then
    exec 9<.
    flock 9 2>/dev/null
    for left in ./."$2".replctl-new-*; do
        [ ! -O "$left" ] || rm -f -- "$left"
    done
fi
[ ! -L "$file" ] || exit 11
owner=
[ ! -e "$file" ] || owner=$(stat -c %u:%g -- "$file")
new= old= mark=
trap 'rm -f -- "$new" "$old" "$mark"' EXIT
make() {
    made=$(mktemp -- "./.$1.replctl-new-XXXXXXXX") || exit 17
    [ -z "$owner" ] || [ "$(stat -c %u:%g -- "$made")" = "$owner" ] || chown -- "$owner" "$made" 2>/dev/null || {
        rm -f -- "$made"
        exit 15
    }
}
make "$2"; new=$made
{ cat >"$new" && sync -- "$new"; } || exit 17
sum=$(sha256sum <"$new")
[ "${sum%% *}" = "$wanted" ] || exit 18
if [ -n "$owner" ]; then
    make "$2"; old=$made
    { cat -- "$file" >"$old" && sync -- "$old"; } || exit 17
fi
if [ -n "$3" ]; then
    make "$2"; mark=$made
fi
if [ -L "$file" ]; then now=link
elif [ -e "$file" ]; then now=$(sha256sum <"$file"); now=${now%% *}
else now=absent
fi
[ "$now" = "$expected" ] || exit 16
[ -z "$mark" ] || mv -fT -- "$mark" "$file.replctl-reload-due" || exit 17
[ -z "$old" ] || mv -fT -- "$old" "$file.replctl-previous" || exit 17
{ mv -fT -- "$new" "$file" && sync -- .; } || exit 17
"""

_CLOSE: LiteralString = 'cd -- "$1" && [ ! -L "./$2" ] && [ -f "./$2" ] && chmod 600 -- "./$2"'

_SETTLE: LiteralString = 'cd -- "$1" && rm -f -- "./$2.replctl-reload-due" && sync -- .'


class ChangedMeanwhileError(ReplctlError):
    """Somebody else changed the file since it was read; nothing was written."""

    code = "env-file"


@dataclass(frozen=True, slots=True)
class AppFile:
    """What stands in a copy's place."""

    text: Secret | None
    """None where there is no file."""
    mode: int = OWNER_ONLY
    reload_due: bool = False
    """An earlier run replaced it, and its reload command has not succeeded since."""

    @property
    def is_open(self) -> bool:
        """Others than its owner may read or write it."""
        return bool(self.mode & _OPEN_TO_OTHERS)


def read_app_file(runner: Runner, host: AppHost) -> AppFile:
    """Raises RefusedError (code ``env-file``) for what must not be replaced, and what Runner.run raises."""
    result = runner.run(script(_READ, *_place(host), str(_MAX_BYTES)), timeout=FILE_SECONDS, check=False)
    if result.status != 0:
        raise _failure(host, result)
    head, _, content = result.stdout.partition(b"\n")
    mode, due = head.decode("ascii", "replace").split()
    if mode == "absent":
        return AppFile(None)
    try:
        return AppFile(Secret(content.decode("utf-8")), int(mode, 8), due == "due")
    except UnicodeDecodeError:
        raise _refused(host, "is not UTF-8 text", "Save the file as UTF-8.") from None


def write_app_file(runner: Runner, host: AppHost, text: Secret, seen: AppFile) -> None:
    """Put ``text`` in the file's place, readable by its owner alone; its owner and group stay, and what stood there is
    kept beside it. A reload, if there is one, is due from then on.

    Raises ChangedMeanwhileError when the file is not as it was ``seen``; else like read_app_file.
    """
    expected = "absent" if seen.text is None else _checksum(seen.text)
    command = script(_WRITE, *_place(host), "due" if host.reload else "")
    stdin = Secret(f"{expected} {_checksum(text)}\n{text.reveal()}")
    result = runner.run(command, stdin=stdin, timeout=FILE_SECONDS, check=False)
    if result.status != 0:
        raise _failure(host, result)


def _checksum(text: Secret) -> str:
    return hashlib.sha256(text.reveal().encode()).hexdigest()


def close_app_file(runner: Runner, host: AppHost) -> None:
    """It holds passwords: what is open to others is closed even where the text may stay."""
    runner.run(script(_CLOSE, *_place(host)), timeout=FILE_SECONDS)


def settle_reload(runner: Runner, host: AppHost) -> None:
    """The reload command has succeeded."""
    runner.run(script(_SETTLE, *_place(host)), timeout=FILE_SECONDS)


def _place(host: AppHost) -> tuple[str, str]:
    return posixpath.dirname(host.path), posixpath.basename(host.path)


def _failure(host: AppHost, result: CommandResult) -> ReplctlError:
    """What the exit status of a script says."""
    user = host.ssh.user
    refusals = {
        10: (
            f"{user} cannot get into the folder {posixpath.dirname(host.path)}",
            f"Make it on {host.ssh_host}, or change the path in app.publish.",
        ),
        11: ("is a symlink", "Let app.publish name the file itself."),
        12: ("is not a regular file", "Let app.publish name a regular file."),
        13: (f"is larger than {_MAX_BYTES} bytes", "Check that this is the file you meant."),
        14: (
            "belongs to another user, in a folder where every user can make files",
            "Name a file in a folder that others cannot write, or remove the file.",
        ),
        15: (
            f"has an owner and group that {user} could not keep",
            f"Log in as the file's owner, or give the file to {user} and its group.",
        ),
    }
    if result.status in refusals:
        return _refused(host, *refusals[result.status])
    if result.status == 18:
        return ConnectionLostError(
            f"{host.label}: what was sent did not arrive as a whole, and was thrown away",
            hint=f"Mend the way to {host.ssh_host}.",
            node=None,
        )
    if result.status == 16:
        return ChangedMeanwhileError(
            f"{host.label}: somebody else changed it just now", hint="See who writes to that file."
        )
    return CommandFailedError(
        f"{host.label}: cannot be read or written: {one_line(result.error_text) or f'status {result.status}'}",
        hint=f"Let {user} read that file, and make files in its folder.",
        node=None,
        status=result.status,
        stderr=result.error_text,
    )


def _refused(host: AppHost, words: str, hint: str) -> RefusedError:
    return RefusedError(f"{host.label}: {words}", hint=hint, code="env-file")
