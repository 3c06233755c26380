"""What runs on a host, as argument tuples: PostgreSQL's own programs, and POSIX scripts where a round trip would cost.

Every script takes its values as arguments or on stdin; nothing is ever spliced into its text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from psycopg.conninfo import make_conninfo

from replctl.model.inventory import Inventory, Node
from replctl.model.transfer import UNHINDERED, Transfer
from replctl.postgres.conf_syntax import quote_setting
from replctl.postgres.conninfo import primary_conninfo

TIMED_OUT, GONE, UNCLEAN, RUNS = 3, 4, 5, 6
"""Exit statuses of the scripts below: the deadline passed, there is none, it ended uncleanly, it runs."""
NOT_OURS = 3
"""Exit status of the scripts for staging directories: what stands there is none that this run may touch."""

BUILTIN_PROVIDER_SINCE = 17
BUILTIN_LOCALES = ("C", "C.UTF-8")

# A zombie, or another program that got the number, has no such working directory.
ALIVE_FUNCTIONS = r"""
alive() {
    pid=; { read -r pid <"$data/postmaster.pid"; } 2>/dev/null
    [ -n "$pid" ] && [ "/proc/$pid/cwd" -ef "$data" ]
}
status() { sed -n '8{s/ *$//;p;}' -- "$data/postmaster.pid" 2>/dev/null; }
late() { [ "$(date +%s)" -ge "$1" ]; }
"""


def script(text: str, *arguments: str) -> tuple[str, ...]:
    """A POSIX shell script with its arguments as $1, $2, ..."""
    return ("sh", "-c", text, "sh", *arguments)


# mktemp opens with O_EXCL and mode 0600, under a name that nobody can take beforehand: the folder beside a data
# directory may be one in which other users make files too. -T: what stands there is replaced, never entered.
_REPLACE = r"""
umask 077
replace() {
    new=$(mktemp -- "$1.replctl-tmp-XXXXXXXX") && trap 'rm -f -- "$new"' EXIT && cat >"$new" && sync -- "$new" &&
        mv -fT -- "$new" "$1" && sync -- "$(dirname -- "$1")"
}
"""


def write_file(path: str) -> tuple[str, ...]:
    """Replace a file by what comes on stdin: mode 0600, durable, never half written."""
    return script(_REPLACE + 'replace "$1"', path)


def make_config_dir(path: str) -> tuple[str, ...]:
    """A cluster's folder below /etc/postgresql, with the pg_ident.conf that its postgresql.conf names."""
    return script('mkdir -p -- "$1" && { [ -e "$1/pg_ident.conf" ] || (umask 077; : >"$1/pg_ident.conf"); }', path)


def remove_config(directory: str) -> tuple[str, ...]:
    """What initdb or a copy left in a data directory whose configuration is elsewhere: only people would read it."""
    return script('cd -- "$1" && rm -f -- postgresql.conf pg_hba.conf pg_ident.conf', directory)


def unmake_config_dir(path: str, mark: str) -> tuple[str, ...]:
    """Undo of ``make_config_dir`` and of the files in it: only what carries our mark goes."""
    return script(
        """
        [ -d "$1" ] || exit 0
        cd -- "$1" || exit
        for file in postgresql.conf pg_hba.conf; do
            [ ! -f "$file" ] || ! grep -qF -e "$2" -- "$file" || rm -f -- "$file"
        done
        [ -e postgresql.conf ] || [ -s pg_ident.conf ] || rm -f -- pg_ident.conf start.conf
        rmdir --ignore-fail-on-non-empty -- "$1"
        """,
        path,
        mark,
    )


def read_file(path: str) -> tuple[str, ...]:
    """Print a file, or nothing where there is none."""
    return script('[ ! -e "$1" ] || cat -- "$1"', path)


def make_standby(directory: str, dropped: Iterable[str], settings: Mapping[str, str]) -> tuple[str, ...]:
    """Have a directory follow another node, durably: the settings come last in postgresql.auto.conf, where those of
    the names ``dropped`` go, and only then standby.signal is made. Prints ``unchanged`` where nothing had to be done.

    The name of the new file may be known beforehand: PostgreSQL takes no data directory that others can write.
    """
    return script(
        r"""
        set -e; umask 077; cd -- "$1"; names=$2 file=postgresql.auto.conf new=postgresql.auto.conf.replctl-tmp
        shift 2
        {
            [ ! -e "$file" ] || sed -E "/^[[:blank:]]*($names)[[:blank:]=']/Id" -- "$file"
            printf '%s\n' "$@"
        } >"$new"
        if [ -e standby.signal ] && cmp -s -- "$new" "$file"; then rm -f -- "$new"; echo unchanged; exit; fi
        sync -- "$new"; mv -fT -- "$new" "$file"; : >standby.signal; sync -- standby.signal .
        """,
        directory,
        "|".join((*dropped, *settings)),
        *(f"{name} = {quote_setting(value)}" for name, value in settings.items()),
    )


def same_content(path: str) -> tuple[str, ...]:
    """Status 0 when the file is as stdin has it, and is no symlink and the OS user's alone."""
    return script('[ "$(stat -c "%a %u" -- "$1" 2>/dev/null)" = "600 $(id -u)" ] && cmp -s -- "$1" -', path)


def rename(old: str, new: str) -> tuple[str, ...]:
    """Rename within one directory, durably."""
    return script('mv -fT -- "$1" "$2" && sync -- "$(dirname -- "$2")"', old, new)


def install_config(data_dir: str, paths: Sequence[str], suffix: str) -> tuple[str, ...]:
    """Put each file's successor, which has ``suffix``, in its place, durably; then have a live postmaster read them.

    A file keeps its mode, group and the symbolic links to it; a new one has those of postgresql.conf. One of another
    user is left alone, since it would change hands.
    """
    return script(
        "data=$1 suffix=$2\nshift 2"
        + ALIVE_FUNCTIONS
        + r"""
        put() {
            held=$(readlink -f -- "$1") && like=$held || return
            [ -e "$like" ] || like=$(dirname -- "$1")/postgresql.conf
            [ ! -e "$held" ] || [ -O "$held" ] || { echo "$1 belongs to $(stat -c %U -- "$held")" >&2; return 1; }
            new=$(mktemp -- "$held.replctl-tmp-XXXXXXXX") && cat -- "$1$suffix" >"$new" || return
            [ ! -e "$like" ] || cp --attributes-only --preserve=mode,ownership -- "$like" "$new" || return
            sync -- "$new" && mv -fT -- "$new" "$held" && rm -f -- "$1$suffix" && sync -- "$(dirname -- "$held")"
        }
        for file; do
            put "$file" || { status=$?; rm -f -- "$new"; exit "$status"; }
        done
        ! alive || kill -s HUP "$pid"
        """,
        data_dir,
        suffix,
        *paths,
    )


def remove_file(path: str) -> tuple[str, ...]:
    """Delete one file, durably; none there is as good."""
    return script('rm -f -- "$1" && sync -- "$(dirname -- "$1")"', path)


def initdb(node: Node, major: int, bin_dir: str, directory: str, admin: str) -> tuple[str, ...]:
    """initdb with the verifier of the admin's password on stdin: it shows the statement with it when that fails.

    /dev/stdin of a process of another user cannot be opened, so cat hands the password on through a pipe of its own.
    """
    locale = node.postgres.locale
    provider: tuple[str, ...] = ()
    if major >= BUILTIN_PROVIDER_SINCE and locale in BUILTIN_LOCALES:
        provider = ("--locale-provider=builtin", f"--builtin-locale={locale}")
    return (
        *script('cat | "$@"'),
        f"{bin_dir}/initdb",
        f"--pgdata={directory}",
        "--encoding=UTF8",
        f"--locale={locale}",
        *provider,
        "--data-checksums",
        "--auth=scram-sha-256",
        f"--username={admin}",
        "--pwfile=/dev/stdin",
    )


def check_settings(bin_dir: str, directory: str, config_file: str) -> tuple[str, ...]:
    """Have PostgreSQL itself read a configuration file; status 0 when it accepts every setting.

    The file may name a data directory that is not there yet.
    """
    given = (f"config_file={config_file}", f"data_directory={directory}")
    return (
        f"{bin_dir}/postgres",
        "-D",
        directory,
        "-C",
        "max_connections",
        *(text for one in given for text in ("-c", one)),
    )


def base_backup(
    inventory: Inventory,
    node: Node,
    source: Node,
    *,
    bin_dir: str,
    directory: str,
    slot: str | None,
    transfer: Transfer = UNHINDERED,
) -> tuple[str, ...]:
    """pg_basebackup over the replication protocol; the password comes from the passfile."""
    conninfo = make_conninfo(primary_conninfo(inventory, node, source), application_name=clone_name(node))
    return (
        f"{bin_dir}/pg_basebackup",
        f"--pgdata={directory}",
        f"--dbname={conninfo}",
        "--wal-method=stream",
        "--checkpoint=fast",
        "--progress",
        "--no-password",
        *((f"--slot={slot}",) if slot else ()),
        *((f"--max-rate={transfer.max_rate}",) if transfer.max_rate else ()),
        *((f"--compress={transfer.compress}",) if transfer.compress else ()),
    )


def clone_name(node: Node) -> str:
    """application_name of a running copy, by which the source's progress view is read."""
    return f"{node.name}-clone"


def clear_logs(directory: str) -> tuple[str, ...]:
    """The source's server log came with the copy and says nothing of this node."""
    return script('[ ! -d "$1/log" ] || find "$1/log" -mindepth 1 -delete', directory)


# A symlink, or what belongs to another user, is none of ours, whatever it is called.
OWN_FUNCTIONS = r"""
absent() { [ ! -e "$1" ] && [ ! -L "$1" ]; }
own() { [ ! -L "$1" ] && [ -O "$1" ]; }
own_folder() { own "$1" && [ -d "$1" ]; }
make_sockets() {
    [ "$1" = /run/postgresql ] || mkdir -m 700 -- "$1" 2>/dev/null || own_folder "$1" && return
    echo "FATAL: $1 is not a directory of $(id -un)"
    exit 4
}
"""


def make_staging(staging: str, marker: str) -> tuple[str, ...]:
    """Make the staging directory, empty and for the OS user alone, once the marker beside it holds what is on stdin.

    Status 3: something stands there that no marker of ours vouches for; it stays as it is, without a marker.
    """
    return script(
        OWN_FUNCTIONS
        + _REPLACE
        + r"""
        absent "$1" || exit 3
        replace "$2" || exit
        mkdir -m 700 -- "$1" && exit
        rm -f -- "$2"
        exit 3
        """,
        staging,
        marker,
    )


def clear_staging(marker: str, text: str) -> tuple[str, ...]:
    """End what still writes into a staging directory of ours, and delete it. Its path comes on stdin.

    The path is not among the arguments, so that the search for holders does not find this script itself. The WAL
    child of an interrupted pg_basebackup has its parent's command line and outlives it. Status 3: the marker does not
    hold ``text``, or is not ours, or the directory is not, or it was started once: it is not ours to delete.
    """
    return script(
        OWN_FUNCTIONS
        + r"""
        IFS= read -r staging
        marker=$1
        own "$marker" && [ -f "$marker" ] && [ "$(cat -- "$marker")" = "$2" ] || exit 3
        absent "$staging" || own_folder "$staging" || exit 3
        holders() {
            for proc in /proc/[0-9]*; do
                tr '\0' '\n' 2>/dev/null <"$proc/cmdline" | grep -qxF -e "--pgdata=$staging" -e "$staging" &&
                    echo "${proc#/proc/}"
            done
        }
        [ -e "$staging/postmaster.opts" ] && exit 3
        found=$(holders); [ -z "$found" ] || kill -TERM $found 2>/dev/null
        for pause in 0.05 0.1 0.2 0.3 0.5 0.5 0.5; do
            found=$(holders); [ -n "$found" ] || break
            sleep "$pause"
        done
        [ -z "$found" ] || kill -KILL $found 2>/dev/null
        rm -rf --one-file-system -- "$staging" && rm -f -- "$marker"
        """,
        marker,
        text,
    )


def install_staging(staging: str, marker: str, data_dir: str) -> tuple[str, ...]:
    """Rename a finished staging directory into place, durably."""
    return script(
        OWN_FUNCTIONS + 'set -e; own_folder "$1"; [ ! -d "$3" ] || rmdir -- "$3"; mv -T -- "$1" "$3"; rm -f -- "$2"; '
        'sync -- "$(dirname -- "$3")"',
        staging,
        marker,
        data_dir,
    )


def set_aside(data_dir: str, rewind_dir: str, prefix: str) -> tuple[str, ...]:
    """Rename a data directory, or in its absence what a broken rewind left, to ``prefix`` and the UTC time; durably.

    Prints the new path. Status 3: it is none of the OS user's own; 4: there is neither; 6: a postmaster runs in it.
    """
    return script(
        "data=$1 prefix=$3"
        + ALIVE_FUNCTIONS
        + OWN_FUNCTIONS
        + r"""
        from=$data; ! absent "$data" || from=$2
        absent "$from" && exit 4
        own_folder "$from" || exit 3
        alive && exit 6
        aside=$prefix$(date -u +%Y%m%dT%H%M%SZ) number=1
        to=$aside
        until absent "$to"; do number=$((number + 1)) to=$aside-$number; done
        mv -T -- "$from" "$to" && { [ "$from" = "$data" ] || rm -f -- "$2.state"; } &&
            sync -- "$(dirname -- "$to")" && printf '%s\n' "$to"
        """,
        data_dir,
        rewind_dir,
        prefix,
    )


def control_data(data_dir: str, bin_dir: str) -> tuple[str, ...]:
    """pg_controldata of a data directory."""
    return (f"{bin_dir}/pg_controldata", "-D", data_dir)


def promote(data_dir: str, bin_dir: str) -> tuple[str, ...]:
    """Send the promote request and do not wait: pg_ctl's own waiting polls at 100 ms."""
    return (f"{bin_dir}/pg_ctl", "promote", "-D", data_dir, "-W", "-s")


def last_complaints(data_dir: str, start_log: str) -> tuple[str, ...]:
    """The newest lines of the server's log that say what is wrong."""
    return script(
        'ls -t -- "$1"/log/postgresql-*.log "$2" 2>/dev/null | head -n 1 | while IFS= read -r file; do '
        'tail -n 200 -- "$file" | grep -E " (FATAL|ERROR|PANIC): " | tail -n 3; done',
        data_dir,
        start_log,
    )
