#!/bin/sh
# The units as installed: no mistake that systemd-analyze finds, and for services an exposure of 1.5 at most. In a root
# of its own, which has nothing but an installation below /usr and what systemd brings.
set -eu
build=${1:-build}
most=15 # tenths
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
make --no-print-directory -s BUILD="$build" DESTDIR="$root" PREFIX=/usr install
cp -rn /lib/systemd/system/. "$root/usr/lib/systemd/system/"
bad=0
for file in "$build"/install/lensd*.service "$build"/install/lensd*.socket; do
    unit=$(basename "$file" | sed 's/@\./@0./')
    systemd-analyze verify --recursive-errors=yes --man=no --root="$root" "$unit" || { echo "$unit: see above"; bad=1; }
    case $unit in *.service)
        systemd-analyze security --offline=yes --threshold="$most" --no-pager --root="$root" "$unit" >"$root/report" 2>&1 || {
            grep -v '✓' "$root/report"
            bad=1
        } ;;
    esac
done
exit $bad
