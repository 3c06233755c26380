#!/bin/sh
# The first process of a host: mounts what is the host's own, starts sshd, and waits.
# Its stdin is a pipe from the test run. Its end is the end of the host, so that a killed run leaves no host behind.
# Usage: boot.sh FSTAB NAME
set -eu
exec 3<&0 </dev/null

echo "$2" >/proc/sys/kernel/hostname
mount --all --fstab "$1"
mkdir /run/sshd /run/lock
chmod 1777 /run/lock
install -d -o postgres -g postgres -m 2775 /run/postgresql

/usr/sbin/sshd -D -e -f /etc/ssh/sshd_config 2>>/var/log/sshd.log 3<&- &
cat <&3 >/dev/null &
lifeline=$!
exec 3<&-
# While it waits for one child, the shell reaps every orphan: a stopped postmaster leaves no zombie.
wait "$lifeline"
