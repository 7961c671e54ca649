#!/bin/sh
# Everything `make check` does after installing packages: style, two compilers with warnings as errors, static
# analysis, then unit and end-to-end tests as built, under AddressSanitizer+UBSan and under ThreadSanitizer.
# Ends with one line: N passed, N failed, N skipped.
set -eu
cd "$(dirname "$0")/.."
jobs=$(nproc)
LENSD_TALLY=$(mktemp)
export LENSD_TALLY
began=$(date +%s)
problems=0

step() {
    name=$1
    shift
    start=$(date +%s)
    echo "== $name"
    if ! "$@" >build/check.log 2>&1; then
        cat build/check.log
        echo "== $name FAILED"
        problems=$((problems + 1))
        printf '{"totals":[0,1,0]}\n' >>"$LENSD_TALLY"
    else
        printf '{"totals":[1,0,0]}\n' >>"$LENSD_TALLY"
    fi
    echo "   $(($(date +%s) - start)) s"
}
# Test runs print as they go and count for themselves.
tests() {
    start=$(date +%s)
    echo "== tests in $1: $2"
    python3 tests/run.py --build "$1" $2 || problems=$((problems + 1))
    echo "   $(($(date +%s) - start)) s"
}
sources() { git ls-files '*.c' '*.h' '*.cc' '*.hpp' '*.cu' '*.cuh'; }
format_is_right() { sources | xargs clang-format --dry-run -Werror; }
shell_parses() { git ls-files '*.sh' .ci/run | xargs -n1 sh -n; }
cppcheck_is_clean() {
    cppcheck -q -j "$jobs" --std=c11 --enable=warning,performance,portability --inline-suppr --error-exitcode=1 \
        --suppress=missingIncludeSystem --suppress=normalCheckLevelMaxBranches --suppress=invalidPointerCast -D_GNU_SOURCE -I. \
        -Itests/gpu/emulator \
        --library=posix proto kernels daemon client
}
tidy_is_clean() {
    git ls-files 'proto/*.c' 'kernels/*.c' 'daemon/*.c' 'client/*.c' |
        xargs -P "$jobs" -n 4 sh -c 'bad=0; for f; do
            arch=""
            case $f in *_avx512*) arch="-mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mavx512bf16 -mfma -mf16c";;
                       *_avx2*) arch="-mavx2 -mfma -mf16c";;
                       kernels/cuda/*) arch="-Itests/gpu/emulator";; esac
            clang-tidy -quiet "$f" -- -std=c11 -D_GNU_SOURCE -DLENSD_VERSION=\"0\" -I. $arch 2>/dev/null || { echo "$f"; bad=1; }
        done; exit $bad' sh
}
# No warning of mandoc, and none of groff as man calls it.
man_pages_are_clean() {
    make -s BUILD=build CUDA= man && bad=0
    for page in build/man/*.[1-8]; do
        mandoc -Tlint -Wwarning "$page" || bad=1
        said=$(LC_ALL=C.UTF-8 MANROFFSEQ='' MANWIDTH=80 man --warnings -E UTF-8 -l -Tutf8 -Z "$page" 2>&1 >/dev/null) || bad=1
        [ -z "$said" ] || { echo "$page: $said"; bad=1; }
    done
    return $bad
}
nvcc=${NVCC:-$(command -v nvcc || ls /usr/local/cuda/bin/nvcc 2>/dev/null || true)}
# What needs the CUDA toolkit (no card): waived, and said to be, where there is none.
toolkit_step() {
    if [ -n "$nvcc" ]; then
        step "$@"
    else
        echo "== $1: waived: no nvcc"
    fi
}
mkdir -p build
step "formatting" format_is_right
step "shell scripts parse" shell_parses
step "layers and headers" tests/check-layers.sh
toolkit_step "the emulated card's headers are CUDA's" tests/check-cuda-headers.sh "$(dirname "$nvcc")/../include"
toolkit_step "nvcc, warnings as errors" make -j"$jobs" BUILD=build WERROR=1 cuda
step "gcc, warnings as errors" make -j"$jobs" BUILD=build WERROR=1 all tests benches
step "man pages" man_pages_are_clean
step "clang, warnings as errors" make -j"$jobs" BUILD=build/clang CC=clang CXX=clang++ CUDA= WERROR=1 OPT=-O1 all tests
step "liblens links and exports nothing foreign" tests/check-liblens.sh build
step "units are right and hardened" tests/check-systemd.sh build
step "cppcheck" cppcheck_is_clean
step "clang-tidy" tidy_is_clean
step "AddressSanitizer and UBSan build" make -j"$jobs" BUILD=build/asan SAN=address,undefined OPT='-O1 -g' all tests
step "ThreadSanitizer build" make -j"$jobs" BUILD=build/tsan SAN=thread OPT='-O1 -g' all tests
tests build "unit e2e"
tests build/asan "unit e2e"
tests build/tsan "unit e2e"
echo "== make check took $(($(date +%s) - began)) s"
python3 - "$LENSD_TALLY" <<'END'
import json, sys
totals = [0, 0, 0]
for line in open(sys.argv[1]):
    totals = [a + b for a, b in zip(totals, json.loads(line)["totals"])]
print("%d passed, %d failed, %d skipped" % tuple(totals))
END
rm -f "$LENSD_TALLY"
[ "$problems" = 0 ]
