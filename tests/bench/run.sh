#!/bin/sh
# Runs every CPU benchmark of a build and says where the figures went: run.sh [BUILD] [--quick]
#
# --quick shows in two minutes that all of them run; its figures are too few to quote.
# Needs about 20 GB under BUILD/bench for the packs it makes (kept for the next run) and ten minutes on a quiet
# machine. LENS_BENCH_TREE names the concept tree; else the one of the real pack is taken where it lies beside the
# repository, else one of the same shape is generated. Times are never judged here: the exit code says only whether
# every benchmark ran.
set -u
cd "$(dirname "$0")/../.."
build=${1:-build}
quick=${2:-}
real_tree=../shared/data/first-light-tree.tsv
if [ -z "${LENS_BENCH_TREE:-}" ] && [ -r "$real_tree" ]; then
    LENS_BENCH_TREE=$real_tree
fi
export LENS_BENCH_TREE="${LENS_BENCH_TREE:-}"
failed=""

bench() {
    name=$1
    shift
    printf '\n== %s\n' "$name"
    "$build/bench/bench_$name" "$@" || failed="$failed $name"
}

began=$(date +%s)
echo "tree: ${LENS_BENCH_TREE:-generated}; load: $(cut -d' ' -f1-3 /proc/loadavg) (figures mean little unless it is near 0)"
if [ "$quick" = --quick ]; then
    bench read --rounds 3
    bench base --quick --ms 30 --dtype bf16
    bench ipc --count 20000
    bench allocs --count 500
    bench token --runs bf16:exact --rows 200
    bench scrape --rounds 1 --seconds 1
    bench cache --rows 1000
    bench sessions --runs small:exact --sessions 1,8,64 --seconds 1
    bench cold --runs bf16 --rows 100 --families 50
    bench cold_read --rounds 1
    bench sweep --runs bf16:exact --lenses 600 --rounds 2
    bench blas --ms 50
    bench formats --lenses 64 --base 32 --rows 8 --ms 20 --slab-mib 64
    bench import --rounds 1
    bench seeds --tables base --rows 50
else
    bench read
    bench base --ms 150
    bench ipc
    bench allocs
    bench token
    bench scrape
    bench cache
    bench sessions
    bench cold
    bench cold_read
    bench sweep
    bench blas
    bench formats
    bench import
    bench seeds
    if [ -n "${LENS_BENCH_HATCAT:-}" ]; then
        printf '\n== peer\n'
        python3 tests/bench/peer.py --build "$build" --hatcat "$LENS_BENCH_HATCAT" --full || failed="$failed peer"
    else
        printf '\n== peer: left out, LENS_BENCH_HATCAT names no checkout of HatCat\n'
    fi
fi
printf '\nfigures: %s/bench/{read,base,ipc,allocs,token,scrape,cache,sessions,cold,cold_read,sweep,blas,formats,import}.json; %s s\n' "$build" "$(($(date +%s) - began))"
if [ -n "$failed" ]; then
    echo "did not run to the end:$failed"
    exit 1
fi
