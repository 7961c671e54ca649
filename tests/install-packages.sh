#!/bin/sh
# Installs the Debian packages named in $PACKAGES that are missing; does nothing (and needs no rights) when all are
# there. Uses apt-get as root or through sudo.
set -eu
missing=""
for package in $PACKAGES; do
    status=$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null || true)
    [ "$status" = "install ok installed" ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ]; then
    sudo=""
elif command -v sudo >/dev/null 2>&1; then
    sudo="sudo"
else
    echo "these packages are missing and only root (or sudo) can install them:$missing" >&2
    exit 1
fi
echo "installing:$missing"
$sudo apt-get update -qq
DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends $missing >/dev/null
