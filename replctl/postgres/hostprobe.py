"""One look at a host as the OS user, without SQL: a POSIX script, and the facts in what it prints.

Every line of output is ``key<TAB>value``; a file's lines each come as ``file:NAME<TAB>line``. What has no tab is
pg_controldata's. A program costs a host more than all that the shell does itself: the script starts six.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Sequence
from typing import cast

from replctl.model.host import (
    Aside,
    ControlData,
    DataDirectory,
    DebianCluster,
    DirectoryState,
    History,
    HostFacts,
    Postmaster,
    Staging,
    Switch,
    Unit,
)
from replctl.model.inventory import Node
from replctl.model.values import Lsn, SystemIdentifier, Timeline
from replctl.postgres.paths import aside_prefix, rewind_dir, staging_dir, staging_marker

CONFIG_FILES = ("postgresql.conf", "replctl.conf", "pg_hba.conf", "postgresql.auto.conf")

_SCRIPT = r"""
data=$1 bin=$2 port=$3 version=$4 staging=$5 marker=$6 aside=$7 rewind=$8 service=$9; shift 9; unit=$1
set --
tab='	' line_end='
' told= conf= own_unit= live=
# Kept for the end: each write would be a packet of its own, to be decrypted and waited for on our side.
say() { told=$told$1$tab$2$line_end; }
is_in() { case " $(id -G) " in *" $1 "*) ;; *) return 1 ;; esac; }
folder_of() { folder=${1%/}; folder=${folder%/*}; folder=${folder:-/}; }

read -r name </proc/sys/kernel/hostname
say hostname "$name"
say glibc "$(getconf GNU_LIBC_VERSION 2>/dev/null)"

# Words are lines, and no patterns: of paths, which may hold any of both.
IFS=$line_end; set -f
# The postmaster changes into its data directory: a reused pid, or a zombie, has another one or none.
pid=
{
    read -r pid; read -r skip; read -r skip; read -r listens
    IFS= read -r socket; read -r skip; read -r skip; read -r state
} 2>/dev/null <"$data/postmaster.pid"
if [ -n "$pid" ] && [ "/proc/$pid/cwd" -ef "$data" ]; then
    say postmaster "$pid $listens $state"; live=yes
    say socket "$socket"
    if [ -z "$bin" ]; then folder_of "$(readlink "/proc/$pid/exe")"; bin=$folder; fi
    for word in $(tr '\0' '\n' <"/proc/$pid/cmdline"); do
        case $word in config_file=*) conf=${word#*=} ;; esac
    done
    while read -r group; do
        case $group in *.service) group=${group##*/}; own_unit=${group%.service} ;; esac
    done <"/proc/$pid/cgroup"
    say postmaster-unit "$own_unit"
fi
unset IFS; set +f
for file in /etc/postgresql/*/*/postgresql.conf; do
    [ -f "$file" ] || continue
    dir=${file%/postgresql.conf} above=${dir%/*}
    theirs=$(sed -n 's/^port *= *\([0-9]*\).*/\1/p' "$file" | tail -n 1)
    place=$(sed -n "s/^data_directory *= *'\([^']*\)'.*/\1/p" "$file" | tail -n 1)
    word=$(sed -n 's/^ *\([a-z]*\).*/\1/p' "$dir/start.conf" 2>/dev/null | head -n 1)
    say debian "${above##*/} ${dir##*/} ${theirs:-5432} ${word:-auto} $place"
    [ "$place" != "$data" ] || cluster=${above##*/}-${dir##*/}
    [ -n "$conf" ] || [ -e "$data/postgresql.conf" ] || [ "$place" != "$data" ] || conf=$file
done
[ -n "$conf" ] || conf=$data/postgresql.conf
[ -f "$conf" ] && say config-file "$conf"
[ -n "$version" ] || { read -r version <"$data/PG_VERSION"; } 2>/dev/null
for dir in /usr/lib/postgresql/*/bin /usr/pgsql-*/bin; do
    [ -x "$dir/postgres" ] && say installed "$dir"
done
if [ -z "$bin" ] && [ -n "$version" ]; then
    for dir in "/usr/lib/postgresql/$version/bin" "/usr/pgsql-$version/bin"; do
        [ -x "$dir/postgres" ] && bin=$dir
    done
fi
if [ -z "$bin" ]; then
    for dir in "$(dirname "$(readlink -f "$(command -v postgres || echo /)")")" \
        /usr/lib/postgresql/*/bin /usr/pgsql-*/bin; do
        [ -x "$dir/postgres" ] && bin=$dir
    done
fi
if [ -x "$bin/postgres" ] && [ -x "$bin/pg_ctl" ]; then
    major=$("$bin/pg_ctl" --version 2>/dev/null)  # pg_ctl (PostgreSQL) 15.18 (Debian ...); a small program
    major=${major#*) } major=${major%%[!0-9]*}
    say bin "$bin"; say major "$major"
fi
command -v pg_ctlcluster >/dev/null && say pg_ctlcluster yes
if [ "$service" = systemd ]; then
    if [ -z "$unit" ] && command -v pg_ctlcluster >/dev/null; then
        unit=postgresql@${cluster:-$(basename "$(dirname "$data")")-$(basename "$data")}
    fi
    unit=${unit:-postgresql-$major}
    systemctl show --property=ActiveState,UnitFileState,MainPID "$unit.service" 2>/dev/null | sed "s/^/unit\t$unit /"
fi

folder_of "$data"
[ -d "$folder" ] && say parent yes
while [ ! -e "$folder" ] && [ "$folder" != / ]; do folder_of "$folder"; done
[ -d "$folder" ] && [ -w "$folder" ] && say can-create yes
where=$data; [ -d "$where" ] || where=$folder
# Of pg_wal too, which may be a symlink to another disk.
disks=$(df -PB1 -- "$where" "$data/pg_wal/." 2>/dev/null)
IFS=$line_end; set -f
for disk in $disks; do say disk "$disk"; done
unset IFS; set +f
[ -L "$data" ] && say symlink yes
cd -P -- "$where" 2>/dev/null && say where "$PWD"
cd /
if [ -d "$data" ] && [ ! -r "$data" ]; then
    say directory other; say content "(not readable by $(id -un))"
elif [ -f "$data/PG_VERSION" ] && [ -f "$data/global/pg_control" ]; then
    say directory cluster
    [ -w "$data" ] || say read-only yes
    [ -e "$data/standby.signal" ] && say standby yes
    "$bin/pg_controldata" -D "$data" 2>/dev/null
    folder_of "$conf"
    beside=$folder
    for file in "$conf" "$beside/replctl.conf" "$beside/pg_hba.conf"; do
        [ -r "$file" ] && set -- "$@" "$file"
        held=$file
        [ ! -L "$file" ] || held=$(readlink -f -- "$file") || continue
        folder_of "$held"
        if [ -e "$held" ] && [ ! -O "$held" ]; then say fixed "$file belongs to $(stat -c %U -- "$held")"
        elif [ -e "$held" ] && [ ! -G "$held" ] && ! is_in "$(stat -c %g -- "$held")"; then
            say fixed "$file belongs to the group $(stat -c %G -- "$held"), which $(id -un) is not in"
        elif [ ! -w "$folder" ]; then say fixed "$(id -un) cannot make files in $folder"
        fi
    done
    [ -r "$data/postgresql.auto.conf" ] && set -- "$@" "$data/postgresql.auto.conf"
    hex='[0-9A-F]' eight=; for each in 1 2 3 4 5 6 7 8; do eight=$eight$hex; done
    newest= last=
    # A pattern's names come sorted, and the first eight digits are the timeline.
    for file in "$data"/pg_wal/$eight$eight$eight; do newest=${file##*/} newest=${newest%%????????????????}; done
    for file in "$data"/pg_wal/$eight.history; do last=${file##*/}; done
    case $newest in *\[*) newest= ;; esac
    say wal-timeline "$newest"
    for dir in "$data"/pg_replslot/*; do [ -d "$dir" ] && say slot "${dir##*/}"; done
    [ "$last" = "$newest.history" ] && last=
    for name in "$newest.history" "$last"; do
        [ -n "$name" ] && [ -r "$data/pg_wal/$name" ] &&
            awk -v f="$name" '$1 ~ /^[0-9]+$/ { print "history\t" f " " $1 " " $2 }' "$data/pg_wal/$name"
    done
elif [ -d "$data" ] && [ -z "$(ls -A -- "$data")" ]; then say directory empty
elif [ -e "$data" ]; then
    say directory other
    ls -A -- "$data" 2>/dev/null | head -n 5 | sed 's/^/content\t/'
else say directory absent
fi

# awk, unlike sed, ends a last line that has no newline: the next file would begin on it.
[ "$#" = 0 ] || awk 'FNR == 1 { key = FILENAME; sub(".*/", "file:", key) } { print key "\t" $0 }' "$@"
# To list who listens, the kernel walks a table that is large on any host: not where the answer is known.
if [ -n "$live" ] && [ "$listens" = "$port" ]; then say port-in-use yes
else
    awk -v port="$port" '
        BEGIN { p = sprintf(":%04X", port) }
        FNR > 1 && $4 == "0A" && substr($2, length($2) - 4) == p { found = 1 }
        END { exit !found }' \
        /proc/net/tcp /proc/net/tcp6 2>/dev/null && say port-in-use yes
fi
[ -w /run/postgresql ] && say socket-dir yes
if [ ! -e "$data" ] && [ -e "$rewind" ]; then
    state= pid=
    read -r state pid 2>/dev/null <"$rewind.state"
    case $(tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline") in *"$rewind"*) state=running;; esac
    say rewind "$state"
fi
# A marker vouches for a directory only if the OS user made both: a symlink may lead anywhere.
own() { [ ! -L "$1" ] && [ -O "$1" ]; }
if [ -e "$staging" ] || [ -L "$staging" ]; then
    text=
    own "$staging" && own "$marker" && [ -f "$marker" ] && text=$(head -c 4096 -- "$marker" | tr '\n' ' ')
    say staging "$text"
fi
for dir in "$aside"*; do
    [ -d "$dir" ] && say aside "$(timeout 1 du -sk -- "$dir" 2>/dev/null | cut -f 1) $(printf %s "$dir" | tr '\n' '?')"
done
say end "$$"
printf %s "$told"
"""


def host_probe_command(node: Node) -> tuple[str, ...]:
    """The command that prints what ``parse_host_probe`` reads."""
    settings = node.postgres
    return (
        "sh",
        "-c",
        _SCRIPT,
        "sh",
        settings.data_dir,
        settings.bin_dir or "",
        str(settings.port),
        str(settings.version or ""),
        staging_dir(node),
        staging_marker(node),
        aside_prefix(node),
        rewind_dir(node),
        settings.service.value,
        settings.unit or "",
    )


def parse_host_probe(text: str, node: Node) -> HostFacts:
    """Read the probe's output. Raises ValueError when it is cut short or not ours."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for line in text.split("\n"):
        key, tab, value = line.partition("\t")
        if tab:
            found[key].append(value)
        else:
            found["control"].append(line)
    if "end" not in found:
        raise ValueError("the host probe was cut short")

    def one(key: str) -> str | None:
        return found[key][0] or None if found[key] else None

    bin_dir = one("bin")
    disks = [row.split(None, 5) for row in found["disk"][1:]]  # the first is df's heading
    return HostFacts(
        hostname=one("hostname") or "",
        bin_dir=bin_dir,
        major=int(major) if (major := one("major")) else None,
        glibc=one("glibc"),
        directory=_directory(found, disks[0] if disks else [], node.postgres.data_dir),
        port_in_use=bool(found["port-in-use"]),
        control=parse_control_data("\n".join(found["control"])),
        standby_signal=bool(found["standby"]),
        postmaster=_postmaster(one("postmaster"), one("socket")),
        staging=_staging(found["staging"]),
        asides=tuple(_aside(row) for row in found["aside"]),
        files={
            name: "".join(f"{line}\n" for line in found[f"file:{name}"])
            for name in CONFIG_FILES
            if f"file:{name}" in found
        },
        other_majors=tuple(dir_ for dir_ in found["installed"] if dir_ != bin_dir),
        config_file=one("config-file"),
        fixed_files=tuple(dict.fromkeys(found["fixed"])),
        debian_clusters=tuple(_debian_cluster(row) for row in found["debian"]),
        has_pg_ctlcluster=bool(found["pg_ctlcluster"]),
        unit=_unit(found["unit"]),
        unit_of_postmaster=one("postmaster-unit"),
        can_link_socket_dir=bool(found["socket-dir"]),
        histories=_histories(found["history"]),
        wal_timeline=Timeline(int(newest, 16)) if (newest := one("wal-timeline")) else None,
        slot_names=tuple(found["slot"]),
        broken_rewind=bool(found["rewind"]) and found["rewind"] not in (["done"], ["running"]),
        finished_rewind=found["rewind"] == ["done"],
        live_rewind=found["rewind"] == ["running"],
        wal_free_bytes=int(disks[1][3]) if len(disks) > 1 else None,
    )


def _directory(found: defaultdict[str, list[str]], disk: Sequence[str], path: str) -> DataDirectory:
    """``disk`` is df's line: source, size, used, free, share, where it is mounted."""
    free, mounted = (disk[3], disk[5]) if len(disk) > 5 else ("", None)
    state = DirectoryState(found["directory"][0])
    return DataDirectory(
        path=path,
        state=state,
        is_symlink=bool(found["symlink"]),
        is_mount_point=state is not DirectoryState.ABSENT and found["where"] == [mounted],
        parent_exists=bool(found["parent"]),
        can_create=bool(found["can-create"]),
        can_write=not found["read-only"],
        free_bytes=int(free) if free.isdigit() else None,
        content=tuple(found["content"]),
    )


def _postmaster(row: str | None, socket_dir: str | None) -> Postmaster | None:
    if row is None:
        return None
    pid, port, status = (*row.split(), "", "", "")[:3]
    return Postmaster(int(pid), int(port) if port.isdigit() else None, status, socket_dir)


def _staging(rows: Sequence[str]) -> Staging | None:
    if not rows:
        return None
    try:
        marker = json.loads(rows[0])
    except ValueError:
        return Staging(run=None)
    if not isinstance(marker, dict):
        return Staging(run=None)
    values = cast("dict[str, object]", marker)
    run, identifier = values.get("run"), values.get("system_identifier")
    return Staging(
        run=run if isinstance(run, str) else None,
        system_identifier=SystemIdentifier(identifier) if isinstance(identifier, str) else None,
    )


def _debian_cluster(row: str) -> DebianCluster:
    version, name, port, start, data_dir = (*row.split(" ", 4), "", "", "", "", "")[:5]
    return DebianCluster(version, name, int(port) if port.isdigit() else None, data_dir, start or "auto")


def _unit(rows: Sequence[str]) -> Unit | None:
    """Each row is ``postgresql-16 ActiveState=active``."""
    if not rows:
        return None
    name = rows[0].partition(" ")[0]
    told = {key: value for row in rows for key, _, value in [row.partition(" ")[2].partition("=")]}
    pid = told.get("MainPID", "")
    main_pid = int(pid) if pid.isdigit() and pid != "0" else None
    return Unit(name, told.get("ActiveState", ""), told.get("UnitFileState", ""), main_pid)


def _histories(rows: Sequence[str]) -> tuple[History, ...]:
    """Each row is ``00000003.history 2 0/5000100``: timeline 2 ended there, as timeline 3's own history has it."""
    found: defaultdict[Timeline, list[Switch]] = defaultdict(list)
    for row in rows:
        file, timeline, end = row.split()
        found[Timeline(int(file.partition(".")[0], 16))].append(Switch(Timeline(int(timeline)), Lsn.parse(end)))
    return tuple(History(timeline, tuple(switches)) for timeline, switches in sorted(found.items()))


def _aside(row: str) -> Aside:
    size, _, path = row.partition(" ")
    return Aside(path=path, size_bytes=int(size) * 1024 if size.isdigit() else None)


def parse_control_data(text: str) -> ControlData | None:
    """Read pg_controldata's output (LC_ALL=C); None when it is not there."""
    rows = dict(re.findall(r"^([^:\n]+):[ \t]*(.*)$", text, re.MULTILINE))
    if "pg_control version number" not in rows:
        return None
    return ControlData(
        system_identifier=SystemIdentifier(rows["Database system identifier"]),
        state=rows["Database cluster state"],
        timeline=Timeline(int(rows["Latest checkpoint's TimeLineID"])),
        checkpoint=Lsn.parse(rows["Latest checkpoint location"]),
        checksums=rows["Data page checksum version"] != "0",
        wal_log_hints=rows["wal_log_hints setting"] == "on",
        min_recovery_end=Lsn.parse(rows["Minimum recovery ending location"]),
        min_recovery_timeline=Timeline(number) if (number := int(rows["Min recovery ending loc's timeline"])) else None,
    )
