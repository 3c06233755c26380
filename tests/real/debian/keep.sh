#!/bin/sh
# Holds the mounts of a LAN in its mount namespace, and ends all of the LAN's hosts once its stdin is at its end: a
# killed test run leaves neither a host nor a mount behind.
# Usage: keep.sh CGROUP...
set -u
for group; do
    mkdir -p "$group"
done
# systemd-nspawn's own notes about its machines, which it deletes from a tmpfs alone.
mkdir -p /run/systemd/nspawn
mount -t tmpfs -o mode=755 replctl-nspawn /run/systemd/nspawn || exit 1
echo ready
cat >/dev/null
for group; do
    # Only the hierarchy of version 2 can do it; the other one is there to be deleted.
    [ ! -e "$group/cgroup.kill" ] || echo 1 >"$group/cgroup.kill"
done
for group; do
    for attempt in 1 2 3 4 5 6 7 8 9; do
        # A group can be deleted once the last of its processes is gone.
        find "$group" -depth -type d -exec rmdir {} + 2>/dev/null && break
        sleep 0.2
    done
done
