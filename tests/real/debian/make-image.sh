#!/bin/sh
# Makes the disk that every Debian host starts from. No cluster is made and no service started.
# Usage: make-image.sh FOLDER SUITE MIRROR PACKAGE...
set -eu
folder=$1 suite=$2 mirror=$3
shift 3

# The disk is thrown away when this is broken off: nothing has to be synced to it.
mkdir -p "$folder/etc/dpkg/dpkg.cfg.d" "$folder/etc/postgresql-common/createcluster.d"
echo force-unsafe-io >"$folder/etc/dpkg/dpkg.cfg.d/unsafe-io"
# A cluster made here would give every host the same system identifier.
echo "create_main_cluster = false" >"$folder/etc/postgresql-common/createcluster.d/no-main.conf"

include=$(echo "$@" | tr ' ' ',')
debootstrap --variant=minbase --include="$include" "$suite" "$folder" "$mirror" ||
    { tail -n 20 "$folder/debootstrap/debootstrap.log" >&2; exit 1; }

rm -rf "$folder"/var/cache/apt/archives/*.deb "$folder"/var/lib/apt/lists/* "$folder"/etc/ssh/ssh_host_*_key*
rm "$folder/etc/postgresql-common/createcluster.d/no-main.conf" "$folder/etc/dpkg/dpkg.cfg.d/unsafe-io"
# What a host does by the calendar would come in between the tests. `mask` needs no running systemd.
systemctl --root="$folder" --quiet mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
    e2scrub_all.timer e2scrub_reap.service fstrim.timer console-getty.service
