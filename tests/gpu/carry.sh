#!/bin/sh
# Gathers a built lensd with the libraries it needs, for a machine that has none of them: carry.sh DIR
#
# DIR gets lensd, lens_cuda.so, bench/bench_token, bench/synth and lib/; bench.sh --carried DIR uses them. The C library
# and the driver stay the other machine's own. BUILD names the build directory (build), with its benches built.
set -eu
cd "$(dirname "$0")/../.."
build=${BUILD:-build}
[ $# = 1 ] || { echo "carry.sh expects one directory"; exit 2; }
mkdir -p "$1/bench" "$1/lib"
cp "$build/lensd" "$build/lensctl" "$1/"
[ ! -f "$build/lens_cuda.so" ] || cp "$build/lens_cuda.so" "$1/"
cp "$build/bench/bench_token" "$build/bench/synth" "$1/bench/"
for program in lensd lensctl bench/bench_token bench/synth; do
    ldd "$1/$program" | awk '$3 ~ /^\// {print $3}'
done | sort -u | grep -vE '/(libc|libm|libpthread|libdl|librt|ld-linux[^/]*)\.so' | while read -r library; do
    cp -L "$library" "$1/lib/"
done
du -sh "$1"
