#!/bin/sh
# Dependencies point one way (see the README of each folder): checks every #include of the project's own headers, and
# that each header compiles alone.
set -eu
cd "$(dirname "$0")/.."
failed=0

# allow FOLDER REGEX: files of FOLDER may include only headers that match REGEX.
allow() {
    bad=$(grep -rnE '^#include "' "$1" --include='*.c' --include='*.h' --include='*.cc' --include='*.hpp' \
        --include='*.cu' --include='*.cuh' |
        grep -vE "#include \"($2)" || true)
    if [ -n "$bad" ]; then
        echo "$1 may include only $2, found:"
        echo "$bad"
        failed=1
    fi
}
allow proto 'proto/'
allow kernels 'kernels/|proto/(dtype|lens_error|options|pack|quantize|wire)\.h|tests/gpu/emulator/device\.hpp'
allow kernels/cpu 'kernels/([a-z_]+\.h|cpu/)|proto/'
allow kernels/cuda 'kernels/([a-z_]+\.h|cuda/)|proto/|tests/gpu/emulator/device\.hpp'
allow daemon 'daemon/|kernels/|proto/'
allow daemon/histogram.c 'daemon/(histogram|counter)\.h'
allow daemon/histogram.h 'nothing/'
allow daemon/cache 'daemon/cache/|proto/(lens_error|trace_ring)\.h'
allow client/liblens 'client/liblens/|proto/(codec|ring|wire|options|dtype|lens_error)\.h'
allow client/lensctl 'client/|proto/|daemon/(cache/|histogram\.h)'
if grep -rnE '#include "proto/import/' daemon kernels client/liblens; then
    echo "importers are lensctl's and the tests' alone"
    failed=1
fi
if grep -rnE '#include "kernels/cuda/' daemon client proto kernels --include='*.[ch]' | grep -v '^kernels/cuda/'; then
    echo "the CUDA backend is a library of its own: nobody else includes its headers"
    failed=1
fi
if grep -rlwE 'asm|cudaGraphSetConditional' kernels/cuda | grep -v '/port\.cuh$'; then
    echo "inline PTX and what only nvcc knows go to kernels/cuda/port.cuh"
    failed=1
fi
for header in $(find proto kernels daemon client -name '*.h'); do
    ${CC:-cc} -std=c11 -D_GNU_SOURCE -I. -Itests/gpu/emulator -Wall -Wextra -Werror -fsyntax-only -x c "$header" || {
        echo "$header doesn't compile alone"
        failed=1
    }
done
for header in kernels/cuda/*.cuh; do
    ${CXX:-c++} -std=c++17 -D_GNU_SOURCE -DLENS_CUDA_EMULATED -I. -Itests/gpu/emulator -Wall -Wextra -Werror \
        -Wno-unknown-pragmas -fsyntax-only -x c++ "$header" || {
        echo "$header doesn't compile alone"
        failed=1
    }
done
exit $failed
