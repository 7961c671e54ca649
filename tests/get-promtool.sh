#!/bin/sh
# promtool, which checks the rules and the dashboard in config/: get-promtool.sh FILE
#
# Does nothing where promtool is installed. Else Debian's is taken out of its package, without rights and without
# installing that: its package would start a Prometheus server on this machine.
set -eu
out=$1
if command -v promtool >/dev/null 2>&1 || [ -x "$out" ]; then
    exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(cd "$work" && apt-get download -qq -o APT::Sandbox::User=root prometheus && dpkg-deb -x prometheus_*.deb .)
mkdir -p "$(dirname "$out")"
mv "$work/usr/bin/promtool" "$out"
echo "promtool: $out, from Debian's package prometheus"
