#!/bin/sh
# liblens goes into other people's processes: it must link nothing but libc and export nothing but its own names.
set -eu
build=${1:-build}
needed=$(objdump -p "$build/liblens.so" | awk '/NEEDED/ {print $2}' | grep -vE '^(libc|libm|libpthread)\.so|^ld-linux' || true)
[ -z "$needed" ] || { echo "liblens.so links $needed; it may link libc only"; exit 1; }
foreign=$(nm -D --defined-only "$build/liblens.so" | awk '$2 != "A" {print $3}' | grep -vE '^lens_((client|session|reason)_|rule_id@)' || true)
[ -z "$foreign" ] || { echo "liblens.so exports names that aren't its API: $foreign"; exit 1; }
[ -n "$(nm -D --defined-only "$build/liblens.so" | grep lens_session_submit)" ] || { echo "lens_session_submit is missing"; exit 1; }
