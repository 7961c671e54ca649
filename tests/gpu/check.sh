#!/bin/sh
# Conformance of the CUDA backend on this machine's card, then compute-sanitizer over a reduced run:
#
#     tests/gpu/check.sh [OUT] [--sanitize-only | --conformance-only] [--emulated] [--seed N]
#
# Needs CUDA, a C compiler and make. Logs and JSON go to OUT (build/gpu). The last line is "N passed, N failed, N
# waived": what can't run here (no card, no nvcc, no compute-sanitizer) is waived and never counts as passed.
# --emulated takes the emulated library and reduced shapes instead, which shows that all of this runs; BUILD names the
# build directory (build).
set -u
cd "$(dirname "$0")/../.."
build=${BUILD:-build}
out=$build/gpu
conformance=yes sanitize=yes emulated="" seed=""
while [ $# -gt 0 ]; do
    case $1 in
    --sanitize-only) conformance="" ;;
    --conformance-only) sanitize="" ;;
    --emulated) emulated=yes ;;
    --seed) shift; seed=$1 ;;
    -*) echo "check.sh: unknown option $1"; exit 2 ;;
    *) out=$1 ;;
    esac
    shift
done
mkdir -p "$out"
passed=0 failed=0 waived=0
library=$build/lens_cuda.so
[ -n "$emulated" ] && library=$build/emulated/lens_cuda.so
# What the sanitizers look at: every kernel and every path between host and device, few repetitions.
sanitized=shapes,bad_weights,detections,job_invariance,misses,given_up,loads_while_scoring,registered_rows,nothing_leaks

finish() {
    printf '{"passed": %s, "failed": %s, "waived": %s}\n' "$passed" "$failed" "$waived" >"$out/summary.json"
    echo "$passed passed, $failed failed, $waived waived"
    [ "$failed" = 0 ]
    exit
}

# The numbers of a log's last line "N passed, N failed, N waived".
add_last_line_of() {
    counts=$(tail -1 "$1" | sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed, \([0-9]*\) waived$/\1 \2 \3/p')
    if [ -z "$counts" ]; then
        echo "$1 has no tally: the program ended early"
        failed=$((failed + 1))
        return
    fi
    # shellcheck disable=SC2086 # three words
    set -- $counts
    passed=$((passed + $1)) failed=$((failed + $2)) waived=$((waived + $3))
}

if [ -z "$emulated" ] && ! command -v "${NVCC:-nvcc}" >/dev/null && [ ! -x /usr/local/cuda/bin/nvcc ]; then
    echo "waived: no nvcc"
    waived=1
    finish
fi
echo "== build"
if ! make -j"$(nproc)" BUILD="$build" "$library" "$build/gpu/conformance" >"$out/build.log" 2>&1; then
    cat "$out/build.log"
    echo "   failed"
    failed=1
    finish
fi
nvidia-smi --query-gpu=name,driver_version,clocks.sm,clocks.mem,memory.total --format=csv >"$out/card.csv" 2>&1 ||
    echo "no nvidia-smi" >"$out/card.csv"
cat "$out/card.csv"

reduced=""
[ -n "$emulated" ] && reduced=--reduced
if [ -n "$conformance" ]; then
    # shellcheck disable=SC2086 # options that may be absent
    "$build/gpu/conformance" --library "$library" --json "$out/conformance.json" $reduced ${seed:+--seed "$seed"} \
        >"$out/conformance.log" 2>&1
    cat "$out/conformance.log"
    add_last_line_of "$out/conformance.log"
fi

sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null)
waive_sanitizers() {
    echo "waived: memcheck, racecheck, initcheck, synccheck: $1"
    waived=$((waived + 4))
    finish
}
[ -n "$sanitize" ] || finish
[ -z "$emulated" ] || waive_sanitizers "nothing of the emulated library runs on a card"
"$build/gpu/conformance" --library "$library" --only refusals >"$out/probe.log" 2>&1
grep -q '^waived' "$out/probe.log" && waive_sanitizers "$(grep -m1 '^waived' "$out/probe.log")"
[ -n "$sanitizer" ] || waive_sanitizers "no compute-sanitizer"
for tool in memcheck racecheck initcheck synccheck; do
    echo "== compute-sanitizer $tool"
    log=$out/$tool.log
    timeout "${SANITIZE_SECONDS:-120}" "$sanitizer" --tool "$tool" --error-exitcode 9 \
        "$build/gpu/conformance" --library "$library" --reduced --in-process --only "$sanitized" \
        ${seed:+--seed "$seed"} >"$log" 2>&1
    code=$?
    grep -E '=========.*(ERROR|RACECHECK|error)|passed,' "$log" | tail -5
    if grep -q 'Device not supported' "$log"; then
        echo "   waived: compute-sanitizer says that it doesn't support this device"
        waived=$((waived + 1))
    elif [ $code = 0 ]; then
        echo "   passed"
        passed=$((passed + 1))
    else
        echo "   failed (exit $code; 124 = over ${SANITIZE_SECONDS:-120} s): $log"
        failed=$((failed + 1))
    fi
done
finish
