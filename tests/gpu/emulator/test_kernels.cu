/* Small kernels for tests/unit/cuda_emulator_test.c: each does one thing that kernels/cuda relies on, or that must be
 * caught. */
#include "tests/gpu/emulator/test_kernels.h"

#include "kernel.hpp"
#include "kernels/cuda/port.cuh"

/* Each thread adds what its neighbour to the left wrote, in `steps` rounds. Without the barriers (racy) the sums differ
 * from run to run. */
static __device__ void pass_around(struct emulator_test *t, bool barriers)
{
    __shared__ uint32_t cells[EMULATOR_TEST_THREADS];
    uint32_t me = threadIdx.x, left = (me + blockDim.x - 1) % blockDim.x;
    cells[me] = me;
    for (uint32_t i = 0; i < t->steps; i++) {
        if (barriers)
            __syncthreads();
        else
            __syncwarp();
        uint32_t seen = cells[left];
        if (barriers)
            __syncthreads();
        cells[me] += seen;
    }
    t->out[blockIdx.x * blockDim.x + me] = cells[me];
}

extern "C" __global__ void __launch_bounds__(EMULATOR_TEST_THREADS) et_barriers(struct emulator_test *t)
{
    pass_around(t, true);
}

extern "C" __global__ void __launch_bounds__(EMULATOR_TEST_THREADS) et_racy(struct emulator_test *t)
{
    pass_around(t, false);
}

extern "C" __global__ void __launch_bounds__(EMULATOR_TEST_THREADS) et_votes(struct emulator_test *t)
{
    uint32_t *out = &t->out[threadIdx.x * 8];
    out[0] = (uint32_t)__syncthreads_or(threadIdx.x == t->steps);
    out[1] = (uint32_t)__syncthreads_or(0);
    out[2] = (uint32_t)__syncthreads_count(threadIdx.x < t->steps);
    out[3] = __ballot_sync(0xffffffffu, threadIdx.x % 3 == 0);
    out[4] = __shfl_xor_sync(0xffffffffu, threadIdx.x, 5);
    out[5] = __shfl_up_sync(0xffffffffu, threadIdx.x, 3);
    out[6] = __shfl_sync(0xffffffffu, threadIdx.x, 7);
    double wide = __shfl_xor_sync(0xffffffffu, (double)threadIdx.x + 0.5, 1);
    out[7] = wide == (double)(threadIdx.x ^ 1) + 0.5;
}

extern "C" __global__ void __launch_bounds__(EMULATOR_TEST_THREADS) et_products(struct emulator_test *t)
{
    struct emulator_test_product *p = &t->products[blockIdx.x];
    uint32_t lane = threadIdx.x % 32;
    cu_mma_bf16(p->f32[lane], p->a[lane], p->b[lane]);
    cu_mma_s8(p->s32[lane], p->a[lane], p->b[lane]);
}

/* The last block to arrive sums up what all have written. */
extern "C" __global__ void __launch_bounds__(EMULATOR_TEST_THREADS) et_last_block(struct emulator_test *t)
{
    __shared__ uint32_t last;
    if (threadIdx.x == 0) {
        t->out[1 + blockIdx.x] = blockIdx.x;
        __threadfence();
        last = atomicAdd(&t->arrived, 1u) == gridDim.x - 1;
    }
    __syncthreads();
    if (last != 0 && threadIdx.x < gridDim.x)
        atomicAdd(&t->out[0], cu_load_volatile(&t->out[1 + threadIdx.x]));
}

extern "C" __global__ void __launch_bounds__(EMULATOR_TEST_THREADS) et_atomics(struct emulator_test *t)
{
    atomicAdd(&t->out[0], threadIdx.x);
    atomicMax(&t->out[1], threadIdx.x);
    atomicMin(&t->out[2], threadIdx.x);
    atomicOr(&t->out[3], 1u << threadIdx.x % 32);
    uint32_t old = t->out[4];
    for (uint32_t seen; (seen = atomicCAS(&t->out[4], old, old + 1)) != old;)
        old = seen;
}

extern "C" __global__ void __launch_bounds__(EMULATOR_TEST_THREADS) et_shared_poison(struct emulator_test *t)
{
    __shared__ uint32_t cells[EMULATOR_TEST_THREADS];
    t->out[blockIdx.x * blockDim.x + threadIdx.x] = cells[threadIdx.x];
    __syncthreads();
    cells[threadIdx.x] = 0;
}

/* ---- what must be caught ---------------------------------------------------------------------------------------- */

extern "C" __global__ void __launch_bounds__(EMULATOR_TEST_THREADS) et_half_a_barrier(struct emulator_test *t)
{
    if (threadIdx.x < t->steps)
        __syncthreads();
}

extern "C" __global__ void __launch_bounds__(EMULATOR_TEST_THREADS) et_half_a_warp(struct emulator_test *t)
{
    if (threadIdx.x % 32 < t->steps)
        t->out[threadIdx.x] = __shfl_xor_sync(0xffffffffu, threadIdx.x, 1);
}

extern "C" __global__ void __launch_bounds__(EMULATOR_TEST_THREADS) et_two_collectives(struct emulator_test *t)
{
    if (threadIdx.x % 2 == 0)
        t->out[threadIdx.x] = __ballot_sync(0xffffffffu, 1);
    else
        t->out[threadIdx.x] = __shfl_sync(0xffffffffu, threadIdx.x, 0);
}

extern "C" __global__ void __launch_bounds__(EMULATOR_TEST_THREADS) et_unaligned(struct emulator_test *t)
{
    t->out[threadIdx.x] = cu_load_streaming((const char *)t->out + 4).x;
}

/* ---- graphs ----------------------------------------------------------------------------------------------------- */

extern "C" __global__ void __launch_bounds__(EMULATOR_TEST_THREADS) et_count_down(struct emulator_test *t)
{
    if (threadIdx.x == 0) {
        t->out[0]++;
        t->steps--;
        cu_set_condition(t->condition, t->steps > 0);
    }
}

extern "C" __global__ void __launch_bounds__(EMULATOR_TEST_THREADS) et_note(struct emulator_test *t)
{
    if (threadIdx.x == 0)
        t->out[1 + t->arrived++] = t->out[0];
}

EMULATED_KERNEL(et_barriers, struct emulator_test *)
EMULATED_KERNEL(et_racy, struct emulator_test *)
EMULATED_KERNEL(et_votes, struct emulator_test *)
EMULATED_KERNEL(et_products, struct emulator_test *)
EMULATED_KERNEL(et_last_block, struct emulator_test *)
EMULATED_KERNEL(et_atomics, struct emulator_test *)
EMULATED_KERNEL(et_shared_poison, struct emulator_test *)
EMULATED_KERNEL(et_half_a_barrier, struct emulator_test *)
EMULATED_KERNEL(et_half_a_warp, struct emulator_test *)
EMULATED_KERNEL(et_two_collectives, struct emulator_test *)
EMULATED_KERNEL(et_unaligned, struct emulator_test *)
EMULATED_KERNEL(et_count_down, struct emulator_test *)
EMULATED_KERNEL(et_note, struct emulator_test *)
