"""Starting a server by what a node's packaging starts it with, and the wait until it accepts connections."""

from __future__ import annotations

from replctl.model.inventory import ServiceManager
from replctl.postgres.layout import Layout
from replctl.postgres.scripts import ALIVE_FUNCTIONS, OWN_FUNCTIONS, script

ALIVE = "alive"
"""What is printed of a server that was running already."""

_FUNCTIONS = (
    "data=$1 log=$2 sockets=$3 stop=$4 start=$5 unit=$6; shift 6"
    + ALIVE_FUNCTIONS
    + OWN_FUNCTIONS
    + r"""
    ready() { case $(status) in ready|standby) alive;; *) false;; esac; }
    give_up() {
        tail -n 12 -- "$log" 2>/dev/null
        ls -t -- "$data"/log/postgresql-*.log 2>/dev/null | head -n 1 | while IFS= read -r file; do
            tail -n 12 -- "$file"
        done
        exit "$1"
    }
    """
)

_BEFORE = r"""
    ready && { echo alive; exit 0; }
    deadline=$(($(date +%s) + stop))
    while alive && [ "$(status)" = stopping ]; do
        late "$deadline" && { echo "the old postmaster, pid $pid, is still stopping"; exit 3; }
        sleep 0.01
    done
    unit_ends() {
        case $(systemctl show --property=ActiveState "$unit" 2>/dev/null) in *=active|*=deactivating) ;; *) false;; esac
    }
    while [ -n "$unit" ] && ! alive && unit_ends; do
        late "$deadline" && break
        sleep 0.05
    done
    make_sockets "$sockets"
    """

# pg_ctlcluster itself looks only every half second whether the server runs: nobody waits for it.
_START = r"""
    if ! alive; then
        mkdir -p -- "$(dirname -- "$log")"
        "$@" </dev/null >/dev/null 2>&1 &
    fi
    """

_AFTER = r"""
    appear=$(($(date +%s) + 5))
    until alive; do late "$appear" && give_up 4; sleep 0.01; done
    deadline=$(($(date +%s) + start))
    until ready; do
        alive || give_up 4
        late "$deadline" && give_up 3
        sleep 0.01
    done
    echo started
    """


def start(
    layout: Layout, bin_dir: str, socket_dir: str, *, stop_seconds: float, start_seconds: float
) -> tuple[str, ...]:
    """Start a server and wait until its pid file says that it accepts connections.

    What is on its way out is waited for first, for ``stop_seconds``: the postmaster, and Debian's unit, whose own stop
    command would stop the next server just as well. Prints ``alive`` when one was running already, else ``started``.
    Status 3: not ready within ``start_seconds``; 4: it ended; both with the end of the server's logs on stdout. The
    starting program's own status is not asked: pg_ctl says 0 of a standby that dies right after its start.
    """
    text = _FUNCTIONS + _BEFORE + _START + _AFTER
    return script(text, *_arguments(layout, socket_dir, stop_seconds, start_seconds), *_starter(layout, bin_dir))


def before_start(layout: Layout, socket_dir: str, *, stop_seconds: float) -> tuple[str, ...]:
    """The part of ``start`` before the start itself, for a server that the OS user does not start."""
    return script(_FUNCTIONS + _BEFORE, *_arguments(layout, socket_dir, stop_seconds, 1))


def after_start(layout: Layout, socket_dir: str, *, start_seconds: float) -> tuple[str, ...]:
    """The part of ``start`` after the start itself."""
    return script(_FUNCTIONS + _AFTER, *_arguments(layout, socket_dir, 1, start_seconds))


def _arguments(layout: Layout, socket_dir: str, stop_seconds: float, start_seconds: float) -> tuple[str, ...]:
    seconds = (str(max(1, round(some))) for some in (stop_seconds, start_seconds))
    return (layout.data_dir, layout.start_log, socket_dir, *seconds, _unit_beside(layout))


def _unit_beside(layout: Layout) -> str:
    """Debian's unit of a cluster that something else starts: systemd itself has a start wait for the stop before it."""
    if layout.service is ServiceManager.SYSTEMD or layout.debian is None:
        return ""
    return f"postgresql@{layout.debian.version}-{layout.debian.name}.service"


def _starter(layout: Layout, bin_dir: str) -> tuple[str, ...]:
    if layout.service is ServiceManager.PG_CTLCLUSTER and layout.debian is not None:
        return (
            "pg_ctlcluster",
            "--skip-systemctl-redirect",
            layout.debian.version,
            layout.debian.name,
            "start",
        )
    options = ("-o", layout.server_options) if layout.server_options else ()
    return (f"{bin_dir}/pg_ctl", "start", "-D", layout.data_dir, "-l", layout.start_log, "-W", "-s", *options)


def systemctl(verb: str, unit: str) -> tuple[str, ...]:
    """systemctl as root, or by sudo's leave for this very line: ``systemctl start postgresql@15-main.service``."""
    text = '[ "$(id -u)" != 0 ] || exec systemctl "$1" "$2"; exec sudo -n systemctl "$1" "$2"'
    return script(text, verb, f"{unit}.service")


def may_systemctl(verb: str, unit: str) -> tuple[str, ...]:
    """Status 0 when ``systemctl`` above would be let through."""
    text = '[ "$(id -u)" = 0 ] || exec sudo -n -l systemctl "$1" "$2" >/dev/null 2>&1'
    return script(text, verb, f"{unit}.service")


def write_start_conf(config_dir: str, word: str) -> tuple[str, ...]:
    """Replace the one word in start.conf by which postgresql-common starts a cluster with the host, or does not."""
    return script(
        """
        set -e; umask 022; cd -- "$1"
        { grep -s '^ *#' start.conf || :; printf '%s\\n' "$2"; } >start.conf.replctl-tmp
        sync -- start.conf.replctl-tmp; mv -fT -- start.conf.replctl-tmp start.conf; sync -- .
        """,
        config_dir,
        word,
    )
