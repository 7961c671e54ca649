#!/bin/sh
# The benchmarks of the CUDA backend on this machine's card, with their floors:
#
#     tests/gpu/bench.sh [OUT] [--quick] [--busy] [--carried DIR] [--] [OPTIONS OF bench_gpu]
#
# Needs CUDA, a C compiler and make; figures go to OUT/gpu-NAME.json (build/bench). About three minutes on an H200.
#   --busy         also P3 beside a process that keeps the card busy (busy.py, PyTorch), without and with MPS
#   --carried DIR  also P3 client to client, with the programs and libraries that carry.sh put into DIR
#   --quick        the emulated card and a small model: shows that all of it runs; its figures mean nothing
# Without a card everything is waived, exit 0. Times are never judged here. BUILD names the build directory (build).
set -u
cd "$(dirname "$0")/../.."
build=${BUILD:-build}
out=$build/bench
quick="" busy="" carried="" failed=0
while [ $# -gt 0 ]; do
    case $1 in
    --quick) quick=yes ;;
    --busy) busy=yes ;;
    --carried) shift; carried=$1 ;;
    --) shift; break ;;
    -*) echo "bench.sh: unknown option $1 (those of bench_gpu come after --)"; exit 2 ;;
    *) out=$1 ;;
    esac
    shift
done
mkdir -p "$out"
program=$build/gpu/bench_gpu library=$build/lens_cuda.so
if [ -n "$quick" ]; then
    program=$build/emulated/bench_gpu library=$build/emulated/lens_cuda.so
    set -- --quick "$@"
elif ! command -v "${NVCC:-nvcc}" >/dev/null && [ ! -x /usr/local/cuda/bin/nvcc ]; then
    echo "waived: no nvcc"
    exit 0
fi
make -j"$(nproc)" BUILD="$build" "$library" "$program" >"$out/gpu-build.log" 2>&1 || {
    cat "$out/gpu-build.log"
    exit 1
}

# bench NAME [OPTIONS]: figures to gpu-NAME.json.
bench() {
    name=$1
    shift
    "$program" --library "$library" --out "$out/gpu-$name.json" --note "$name" "$@" >"$out/gpu-$name.log" 2>&1 ||
        failed=$((failed + 1))
    cat "$out/gpu-$name.log"
}

bench "$([ -n "$quick" ] && echo emulated || echo idle)" "$@"
grep -q '^waived' "$out"/gpu-idle.log 2>/dev/null && [ -z "$quick" ] && exit 0

beside() {
    python3 tests/gpu/busy.py --out "$out/gpu-busy-$1.process.json" >"$out/busy.log" 2>&1 &
    process=$!
    until grep -q '^ready' "$out/busy.log" 2>/dev/null; do
        if ! kill -0 "$process" 2>/dev/null; then
            echo "waived: no busy process: $(tail -1 "$out/busy.log")"
            return
        fi
        sleep 0.2
    done
    bench "busy-$1" --tables read,base,token --runs bf16:bf16,int8:int8
    kill -TERM "$process"
    wait "$process"
    tail -1 "$out/busy.log"
}
if [ -n "$busy" ] && [ -z "$quick" ]; then
    printf '\n== beside a busy process\n'
    beside plain
    if command -v nvidia-cuda-mps-control >/dev/null; then
        printf '\n== beside a busy process, both under MPS\n'
        CUDA_MPS_PIPE_DIRECTORY=$(pwd)/$out/mps CUDA_MPS_LOG_DIRECTORY=$(pwd)/$out/mps
        export CUDA_MPS_PIPE_DIRECTORY CUDA_MPS_LOG_DIRECTORY
        mkdir -p "$CUDA_MPS_PIPE_DIRECTORY"
        if nvidia-cuda-mps-control -d; then
            beside mps
            echo quit | nvidia-cuda-mps-control
        else
            echo "waived: MPS can't be started here"
        fi
        unset CUDA_MPS_PIPE_DIRECTORY CUDA_MPS_LOG_DIRECTORY
    else
        echo "waived: no nvidia-cuda-mps-control"
    fi
fi

if [ -n "$carried" ] && [ -z "$quick" ]; then
    printf '\n== client to client, through lensd\n'
    rate=$(sed -n 's/.*P1 = \([0-9]*\).*GB\/s/\1/p' "$out/gpu-idle.log" | head -1)
    LD_LIBRARY_PATH=$carried/lib:${LD_LIBRARY_PATH:-} "$carried/bench/bench_token" --backend cuda \
        --read-rate "${rate:-0}" --runs "${CARRIED_RUNS:-bf16:bf16,int8:int8}" || failed=$((failed + 1))
    cp "$carried/bench/token.json" "$out/gpu-token.json" 2>/dev/null
fi
[ "$failed" = 0 ]
