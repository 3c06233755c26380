#!/bin/sh
# Runs a command in cgroups of its own.
# Usage: boot.sh CGROUP... -- COMMAND...
set -eu
while [ "$1" != -- ]; do
    # What the last boot left there would be taken for services of this one.
    [ ! -e "$1" ] || find "$1" -depth -type d -exec rmdir {} +
    mkdir "$1"
    echo $$ >"$1/cgroup.procs"
    shift
done
shift
exec "$@"
