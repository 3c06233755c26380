"""What runs on a host when a node fell out of the cluster: fencing, a look at its WAL, pg_rewind."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg.conninfo import make_conninfo

from replctl.model.inventory import Inventory, Node
from replctl.model.values import WalRange
from replctl.postgres.conninfo import primary_conninfo
from replctl.postgres.layout import Layout
from replctl.postgres.paths import aside_prefix, rewind_dir, rewind_marker
from replctl.postgres.scripts import ALIVE_FUNCTIONS, OWN_FUNCTIONS, script

MISSING = 6
"""Exit status: there is no directory to work on."""


def fence(data_dir: str, *, seconds: float) -> tuple[str, ...]:
    """standby.signal first, durably; then a fast stop; after ``seconds`` an immediate one.

    Clients are gone, and no write is accepted any more, as soon as the fast stop begins. Status 3: the postmaster
    outlives both.
    """
    return script(
        "data=$1"
        + ALIVE_FUNCTIONS
        + r"""
        [ -e "$data/standby.signal" ] || { : >"$data/standby.signal" && sync -- "$data"; } || exit 1
        alive || { echo stopped; exit 0; }
        gone() { deadline=$(($(date +%s) + $1)); while alive; do late "$deadline" && return 1; sleep 0.02; done; }
        kill -s INT "$pid"
        gone "$2" || { alive && kill -s QUIT "$pid"; gone 10 || exit 3; }
        """,
        data_dir,
        str(max(1, round(seconds))),
    )


def wal_tail(data_dir: str, bin_dir: str, ranges: Sequence[WalRange], segment_bytes: int) -> tuple[str, ...]:
    """What a node's own WAL holds from a position on, timeline after timeline.

    Prints ``commits N``, ``last LSN BYTES`` of the last record, and ``problem TEXT`` where segments are gone. At the
    end of WAL pg_waldump always complains: only a missing segment with later ones behind it is a problem.
    """
    return script(
        r"""
        data=$1 bin=$2; shift 2
        [ -x "$bin/pg_waldump" ] || { echo "problem there is no pg_waldump in $bin"; exit 0; }
        while [ $# -ge 3 ]; do
            if [ ! -e "$data/pg_wal/$3" ]; then
                for file in "$data/pg_wal/$(printf %s "$3" | cut -c 1-8)"*; do
                    name=${file##*/}
                    [ "${#name}" = 24 ] && [ "$(printf '%s\n' "$name" "$3" | sort | head -n 1)" = "$3" ] &&
                        { echo "problem WAL segment $3 is gone"; break; }
                done
            else
                "$bin/pg_waldump" -p "$data/pg_wal" -t "$1" -s "$2" 2>/dev/null | awk '
                    /^rmgr:/ {
                        match($0, /lsn: [0-9A-F]+\/[0-9A-F]+/); lsn = substr($0, RSTART + 5, RLENGTH - 5)
                        match($0, /\/ *[0-9]+, tx:/); size = substr($0, RSTART + 1, RLENGTH - 6)
                        if ($0 ~ /desc: COMMIT/) commits++
                    }
                    END { print "commits " commits + 0; if (lsn) print "last " lsn " " size + 0 }'
            fi
            shift 3
        done
        """,
        data_dir,
        bin_dir,
        *(text for one in ranges for text in (str(one.timeline), str(one.start), segment_name(one, segment_bytes))),
    )


def segment_name(position: WalRange, segment_bytes: int) -> str:
    """The file in pg_wal that holds a position (PostgreSQL docs, 30.6)."""
    number, per_id = position.start.position // segment_bytes, 2**32 // segment_bytes
    return f"{position.timeline:08X}{number // per_id:08X}{number % per_id:08X}"


def keep_wal(node: Node, bin_dir: str, ranges: Sequence[WalRange], segment_bytes: int) -> tuple[str, ...]:
    """Copy WAL from these positions on to a directory that is moved-aside by name; prints its path.

    A copy that an earlier run finished for the same positions is as good. The file ``positions`` comes last.
    """
    return script(
        OWN_FUNCTIONS
        + r"""
        set -e; umask 077
        data=$1 prefix=$2 bin=$3; shift 3
        for dir in "$prefix"*; do
            own_folder "$dir" && [ "$(cat "$dir/positions" 2>/dev/null)" = "$*" ] && { echo "$dir"; exit 0; }
        done
        dir=$prefix$(date -u +%Y%m%dT%H%M%SZ)
        while ! mkdir -- "$dir" 2>/dev/null; do
            [ -e "$dir" ] || exit 1
            sleep 1
            dir=$prefix$(date -u +%Y%m%dT%H%M%SZ)
        done
        mkdir -- "$dir/pg_wal"
        positions="$*"
        while [ $# -ge 3 ]; do
            timeline=$(printf %s "$3" | cut -c 1-8)
            for file in "$data/pg_wal/$timeline"*; do
                name=${file##*/}
                case $name in *.history|*.backup) continue;; esac
                [ "$(printf '%s\n' "$3" "${name%.partial}" | sort | head -n 1)" = "$3" ] || continue
                cp -p -- "$file" "$dir/pg_wal/"
            done
            "$bin/pg_waldump" -p "$data/pg_wal" -t "$1" -s "$2" -r Transaction \
                >>"$dir/transactions.txt" 2>/dev/null || :
            shift 3
        done
        cp -p -- "$data"/pg_wal/*.history "$dir/pg_wal/" 2>/dev/null || :
        cp -p -- "$data/global/pg_control" "$dir/"
        sync -- "$dir"/pg_wal/* "$dir/pg_wal"
        printf '%s\n' "$positions" >"$dir/positions"
        sync -- "$dir/positions" "$dir" "$(dirname -- "$dir")"
        echo "$dir"
        """,
        node.postgres.data_dir,
        aside_prefix(node),
        bin_dir,
        *(text for one in ranges for text in (str(one.timeline), str(one.start), segment_name(one, segment_bytes))),
    )


def start_alone(layout: Layout, bin_dir: str, socket_dir: str, *, seconds: float) -> tuple[str, ...]:
    """Start a crashed server as a standby of nobody: it replays its own WAL, and only that.

    A later timeline whose history file it was sent must not be aimed at. Status 4: it does not start; the end of
    its log on stdout.
    """
    return script(
        "data=$1 bin=$2 sockets=$3"
        + ALIVE_FUNCTIONS
        + OWN_FUNCTIONS
        + r"""
        [ -e "$data/standby.signal" ] || { : >"$data/standby.signal" && sync -- "$data"; } || exit 1
        make_sockets "$sockets"
        log=$data/log/start.log; mkdir -p -- "$data/log"
        "$bin/pg_ctl" start -D "$data" -l "$log" -s -w -t "$4" -o "$5 -c listen_addresses=127.0.0.1 \
            -c primary_conninfo= -c primary_slot_name= -c restore_command= -c recovery_target_timeline=current \
            -c archive_mode=off -c hot_standby=on" </dev/null >/dev/null 2>&1 && alive && exit 0
        newest=$(ls -t -- "$data"/log/postgresql-*.log 2>/dev/null | head -n 1)
        for file in "$log" "$newest"; do [ -z "$file" ] || tail -n 12 -- "$file"; done
        exit 4
        """,
        layout.data_dir,
        bin_dir,
        socket_dir,
        str(max(1, round(seconds))),
        layout.server_options,
    )


def _rewind_command(inventory: Inventory, node: Node, source: Node, bin_dir: str, directory: str) -> tuple[str, ...]:
    conninfo = make_conninfo(primary_conninfo(inventory, node, source), dbname="postgres")
    return (f"{bin_dir}/pg_rewind", f"--target-pgdata={directory}", f"--source-server={conninfo}")


def check_rewind(inventory: Inventory, node: Node, source: Node, bin_dir: str) -> tuple[str, ...]:
    """pg_rewind that reads everything and writes nothing; the password comes from the passfile."""
    return (*_rewind_command(inventory, node, source, bin_dir, node.postgres.data_dir), "--dry-run")


_REWIND = r"""
set -e; umask 077
# Other users may make files beside a data directory: none of them is opened.
mark() {
    new=$(mktemp -- "$marker.XXXXXXXX"); echo "$1" >"$new"; sync -- "$new"; mv -fT -- "$new" "$marker"
}
[ -d "$data" ] && [ ! -e "$rewind" ] || exit 6
alive && exit 3
mkdir -p -- "$own" "$own.wal"
for file in "$data"/*; do
    case ${file##*/} in
        base|global|PG_VERSION|postmaster.*|backup_label*|backup_manifest|tablespace_map*|current_logfiles) ;;
        *.signal) ;;
        pg_*) [ -d "$file" ] || cp -a -- "$file" "$own/" ;;
        *) cp -a -- "$file" "$own/" ;;
    esac
done
# Up to 16 pg_rewind removes WAL that the source has recycled, though the replay after it begins there.
common='length($0) == 24 && !/[^0-9A-F]/ && ($0 "") < (fork "")'
for name in $(ls -- "$data/pg_wal" | awk -v fork="$fork" "$common"); do
    [ -e "$own.wal/$name" ] || ln -- "$data/pg_wal/$name" "$own.wal/" 2>/dev/null ||
        cp -p -- "$data/pg_wal/$name" "$own.wal/"
done
mark "begun $$"
mv -T -- "$data" "$rewind"; sync -- "$(dirname -- "$data")"
# Into a file: pg_rewind must not end because the run that reads its output is gone.
"$@" >"$own.log" 2>&1 || { status=$?; cat -- "$own.log" >&2; exit "$status"; }
for file in "$own.wal"/*; do
    [ ! -e "$file" ] || [ -e "$rewind/pg_wal/${file##*/}" ] || cp -p -- "$file" "$rewind/pg_wal/"
done
rm -f -- "$own.wal"/*; rmdir -- "$own.wal"
# Of a node that was promoted by hand pg_rewind leaves the segment in which it parted: a timeline that nobody is on.
now=$("$(dirname -- "$1")/pg_controldata" -D "$rewind" | sed -n "s/^Latest checkpoint's TimeLineID: *//p")
later='length($0) == 24 && !/[^0-9A-F]/ && substr($0, 1, 8) > (now "")'
for name in $([ -z "$now" ] || ls -- "$rewind/pg_wal" | awk -v now="$(printf %08X "$now")" "$later"); do
    rm -f -- "$rewind/pg_wal/$name"
done
[ ! -d "$rewind/log" ] || find "$rewind/log" -mindepth 1 -delete
cp -a -- "$own/." "$rewind/"
: >"$rewind/standby.signal"
sync -- "$rewind"/*.conf "$rewind/standby.signal" "$rewind"/pg_wal/* "$rewind/pg_wal" "$rewind"
mark done
"""


def rewind(inventory: Inventory, node: Node, source: Node, bin_dir: str, *, own: str, fork: str) -> tuple[str, ...]:
    """Move the directory out of its place and rewind it there; then give the node back what is its own.

    Its own are the files and directories of the top level that are not PostgreSQL's, the configuration files and the
    server's log; they are kept in ``own`` meanwhile. WAL before the segment ``fork`` stays too. The marker says
    ``begun`` and this shell's pid before the first change, and ``done`` after the last one. Status 6: there is no
    directory; 3: a server runs in it.
    """
    return script(
        "data=$1 rewind=$2 marker=$3 own=$4 fork=$5; shift 5" + ALIVE_FUNCTIONS + _REWIND,
        node.postgres.data_dir,
        rewind_dir(node),
        rewind_marker(node),
        own,
        fork,
        *_rewind_command(inventory, node, source, bin_dir, rewind_dir(node)),
    )


def install_rewound(node: Node) -> tuple[str, ...]:
    """Rename a finished rewind back to its place, durably. Prints ``there`` when that was done before."""
    return script(
        OWN_FUNCTIONS
        + r"""
        set -e
        [ -e "$2" ] || { [ -d "$1" ] && { rm -f -- "$3"; echo there; exit 0; }; exit 6; }
        own_folder "$2" && own "$3" && [ "$(cat "$3")" = done ] && [ ! -e "$1" ] || exit 6
        mv -T -- "$2" "$1"; sync -- "$(dirname -- "$1")"; rm -f -- "$3"
        """,
        node.postgres.data_dir,
        rewind_dir(node),
        rewind_marker(node),
    )
