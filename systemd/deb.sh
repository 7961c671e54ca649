#!/bin/sh
# Makes Debian packages in BUILD/deb: `deb.sh BUILD VERSION`. Sources go to a tree of their own, with debian/ at its top,
# which this repository keeps below systemd/; objects in it are kept for the next time. CUDA= leaves the CUDA backend out.
set -eu
build=$1
version=$2
cd "$(dirname "$0")/.."
# What the calling make was told (BUILD, PREFIX, ..) is about this tree, not about the package's.
unset MAKEFLAGS MFLAGS MAKEOVERRIDES MAKELEVEL BUILD PREFIX DESTDIR
mkdir -p "$build/deb"
out=$(cd "$build/deb" && pwd)
tree=$out/lensd-$version

list_sources() {
    if [ -e .git ]; then
        git ls-files -z --cached --others --exclude-standard
    else
        find . -path ./build -prune -o -type f -print0
    fi
}

mkdir -p "$tree"
rm -f "$out"/*.deb "$out"/*.changes "$out"/*.buildinfo
find "$tree" -mindepth 1 -maxdepth 1 ! -name build -exec rm -rf {} +
list_sources | tar -c --null --ignore-failed-read -T - | tar -x -C "$tree"
cp -R systemd/debian "$tree/debian"
date=$(date -R ${SOURCE_DATE_EPOCH:+-d "@$SOURCE_DATE_EPOCH"})
sed -e "s|@VERSION@|$version|g" -e "s|@DATE@|$date|g" systemd/debian/changelog.in >"$tree/debian/changelog"
rm "$tree/debian/changelog.in"
cd "$tree"
DEB_BUILD_OPTIONS="parallel=$(nproc) nocheck${DEB_BUILD_OPTIONS:+ $DEB_BUILD_OPTIONS}" \
    dpkg-buildpackage --build=binary --no-pre-clean -us -uc
ls "$out"/*.deb
