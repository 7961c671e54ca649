// The plain streaming read that scoring is held against (PERFORMANCE.md, P1): see card.h.
#include "kernels/cuda/port.cuh"

#include "tests/gpu/bench/card_read.h"

// Blocks take pieces of CARD_PIECE bytes in turn; each thread has eight 16-byte loads in flight. The sum of what was
// read goes to `sum`, so that no load can be left out.
extern "C" __global__ void __launch_bounds__(CARD_THREADS) card_read(struct card_read_args args)
{
    uint32_t sum = 0;
    for (uint64_t piece = blockIdx.x; piece < args.pieces; piece += gridDim.x) {
        uint64_t at = (args.first + piece) % args.of * CARD_PIECE + threadIdx.x * 16u;
        cu_b128 got[CARD_LOADS];
        for (uint32_t i = 0; i < CARD_LOADS; i++)
            got[i] = cu_load_streaming(args.buffer + at + i * CARD_THREADS * 16u);
        for (uint32_t i = 0; i < CARD_LOADS; i++)
            sum ^= got[i].x ^ got[i].y ^ got[i].z ^ got[i].w;
    }
    atomicAdd(args.sum, sum);
}

// Random bits into the buffer: data that compresses or repeats would be read faster.
extern "C" __global__ void __launch_bounds__(CARD_THREADS) card_fill(struct card_read_args args)
{
    uint64_t words = args.of * (CARD_PIECE / 4);
    uint32_t *out = (uint32_t *)args.buffer;
    for (uint64_t i = (uint64_t)blockIdx.x * blockDim.x + threadIdx.x; i < words;
         i += (uint64_t)gridDim.x * blockDim.x) {
        uint64_t z = (i + args.first) * 0x9e3779b97f4a7c15ull;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
        out[i] = (uint32_t)(z ^ (z >> 29));
    }
}

#ifdef LENS_CUDA_EMULATED
#include "tests/gpu/emulator/kernel.hpp"
EMULATED_KERNEL(card_read, struct card_read_args)
EMULATED_KERNEL(card_fill, struct card_read_args)
#endif
