/* The functions that kernels need beyond plain CUDA C: matrix units, kinds of loads and stores, clock and condition.
 * The only file with inline PTX. Under LENS_CUDA_EMULATED the kernels run on the processor, and the same functions come
 * from tests/gpu/emulator/device.hpp; they are meant to do the same to the bit, but for the order of the additions
 * within one product of the matrix units, which no manual fixes. */
#ifndef LENS_CUDA_PORT_CUH
#define LENS_CUDA_PORT_CUH

#include <stdint.h>

#ifdef LENS_CUDA_EMULATED

#include "tests/gpu/emulator/device.hpp"

#define __noinline__ __attribute__((noinline))

#else

/* Four 32-bit words: what one load of 16 bytes brings. Addresses of such loads lie on 16-byte boundaries. */
struct cu_b128 {
    uint32_t x, y, z, w;
};

/* 16 bytes that are read once: constant while the kernel runs, not kept in the first-level cache. Stays where it is
 * written among other loads of its kind. */
__device__ static inline struct cu_b128 cu_load_streaming(const void *p)
{
    struct cu_b128 v;
    asm volatile("ld.global.nc.L1::no_allocate.L2::128B.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(p));
    return v;
}

/* 16 bytes that are read again soon: constant while the kernel runs. */
__device__ static inline struct cu_b128 cu_load_cached(const void *p)
{
    struct cu_b128 v;
    asm("ld.global.nc.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(p));
    return v;
}

/* 16 bytes that someone else may be writing: read exactly once, here. */
__device__ static inline struct cu_b128 cu_load_host(const void *p)
{
    struct cu_b128 v;
    asm volatile("ld.volatile.global.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(p)
                 : "memory");
    return v;
}

/* acc += a * b over the warp: m16n8k16, a by rows, b by columns, bf16 in pairs (low half first), f32 sums. The pieces
 * of a lane are those of PTX's mma.m16n8k16 (g = lane / 4, t = lane % 4): a[0] row g, k 2t; a[1] row g + 8, k 2t; a[2]
 * row g, k 2t + 8; a[3] row g + 8, k 2t + 8; b[0] k 2t, b[1] k 2t + 8 of column g; acc[0..1] row g, columns 2t and 2t +
 * 1; acc[2..3] row g + 8. All lanes must call. */
__device__ static inline void cu_mma_bf16(float acc[4], const uint32_t a[4], const uint32_t b[2])
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(acc[0]), "+f"(acc[1]), "+f"(acc[2]), "+f"(acc[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/* The same for m16n8k32 of signed bytes in fours, i32 sums: k 4t and 4t + 16 instead of 2t and 2t + 8. */
__device__ static inline void cu_mma_s8(int32_t acc[4], const uint32_t a[4], const uint32_t b[2])
{
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+r"(acc[0]), "+r"(acc[1]), "+r"(acc[2]), "+r"(acc[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/* Nanoseconds of a clock that all multiprocessors share. */
__device__ static inline uint64_t cu_global_timer(void)
{
    uint64_t now;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
    return now;
}

/* Whether the graph's while node `handle` goes round again. One thread of a run calls it. */
__device__ static inline void cu_set_condition(uint64_t handle, unsigned value)
{
    cudaGraphSetConditional(handle, value);
}

/* Everything this thread wrote, or saw written, is visible to the host before `v` is. */
__device__ static inline void cu_store_release_system(uint64_t *p, uint64_t v)
{
    asm volatile("st.release.sys.global.u64 [%0], %1;" ::"l"(p), "l"(v) : "memory");
}

/* From the second-level cache, where other blocks' writes are. */
__device__ static inline uint32_t cu_load_volatile(const uint32_t *p)
{
    return *(const volatile uint32_t *)p;
}

/* a * b + c of two bf16 each, rounded once; subnormals count. */
__device__ static inline uint32_t cu_fma_bf16x2(uint32_t a, uint32_t b, uint32_t c)
{
    uint32_t d;
    asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
    return d;
}

#endif

#endif
