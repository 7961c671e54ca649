#!/bin/sh
# Boots this machine's own system as a container, over an overlay that forgets: `container.sh NAME WORK --bind-ro=..`. Runs in
# mount namespaces and control groups of its own, which the caller (container.py) removes; nothing of the host changes.
# What is on the host's root file system is there, read through; what is mounted elsewhere isn't.
set -eu
name=$1
work=$2
bind=$3
export SYSTEMD_LOG_LEVEL=warning

# nspawn makes groups below the one it is in.
for place in /sys/fs/cgroup/systemd /sys/fs/cgroup/unified /sys/fs/cgroup; do
    if [ -f "$place/cgroup.procs" ]; then
        mkdir -p "$place/$name"
        echo $$ >"$place/$name/cgroup.procs"
    fi
done

mount --make-rprivate /
mkdir -p /run/systemd
mount -t tmpfs tmpfs /run/systemd
mount -t tmpfs -o size=2g tmpfs "$work"
mkdir "$work/upper" "$work/work" "$work/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$work/upper,workdir=$work/work" "$work/root"

# Nothing of the host's own services: the base of the system alone.
root=$work/root
rm -f "$root/usr/sbin/policy-rc.d"
cat >"$root/etc/systemd/system/lensd-test.target" <<END
[Unit]
Requires=sysinit.target
After=sysinit.target
AllowIsolate=yes
END
exec systemd-nspawn --quiet --directory="$root" --machine="$name" --register=no --keep-unit --private-network \
    --resolv-conf=off --timezone=off --link-journal=no --console=pipe "$bind" --boot -- --unit=lensd-test.target
