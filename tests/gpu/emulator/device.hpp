// What kernels/cuda/port.cuh promises, and the part of CUDA C that our kernels use, for the emulated card.
#ifndef LENSD_EMULATOR_DEVICE_HPP
#define LENSD_EMULATOR_DEVICE_HPP

#include "cuda_runtime.h"
#include "emulator.h"

#include <math.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#define __global__
#define __device__ __attribute__((unused))
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
// One block runs at a time. The section is found and poisoned before each block. Templates and inline functions that
// have shared memory must be static, so that it isn't merged between files.
#define __shared__ static __attribute__((section("emulated_shared")))

// ---- barriers and warps -------------------------------------------------------------------------------------------

static inline void __syncthreads(void)
{
    emulator_barrier(EMULATOR_SYNCTHREADS, 0);
}
static inline int __syncthreads_or(int predicate)
{
    return emulator_barrier(EMULATOR_SYNCTHREADS_OR, predicate) != 0;
}
static inline int __syncthreads_count(int predicate)
{
    return (int)emulator_barrier(EMULATOR_SYNCTHREADS_COUNT, predicate);
}
static inline void __syncwarp(unsigned mask = 0xffffffffu)
{
    emulator_exchange(EMULATOR_SYNCWARP, mask, 0);
}

template <class T> static inline uint64_t emulator_bits(T value)
{
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "a card shuffles 32 or 64 bits");
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof(T));
    return bits;
}
template <class T> static inline T emulator_value(uint64_t bits)
{
    T value;
    memcpy(&value, &bits, sizeof(T));
    return value;
}
template <class T> static inline T __shfl_sync(unsigned mask, T value, int lane)
{
    return emulator_value<T>(emulator_exchange(EMULATOR_SHUFFLE, mask, emulator_bits(value))[lane & 31]);
}
template <class T> static inline T __shfl_xor_sync(unsigned mask, T value, int bits)
{
    return emulator_value<T>(
        emulator_exchange(EMULATOR_SHUFFLE, mask, emulator_bits(value))[(emulator_lane() ^ (unsigned)bits) & 31]);
}
template <class T> static inline T __shfl_up_sync(unsigned mask, T value, unsigned delta)
{
    unsigned lane = emulator_lane();
    const uint64_t *all = emulator_exchange(EMULATOR_SHUFFLE, mask, emulator_bits(value));
    return emulator_value<T>(all[lane >= delta ? lane - delta : lane]);
}
template <class T> static inline T __shfl_down_sync(unsigned mask, T value, unsigned delta)
{
    unsigned lane = emulator_lane();
    const uint64_t *all = emulator_exchange(EMULATOR_SHUFFLE, mask, emulator_bits(value));
    return emulator_value<T>(all[lane + delta < 32 ? lane + delta : lane]);
}
static inline unsigned __ballot_sync(unsigned mask, int predicate)
{
    const uint64_t *all = emulator_exchange(EMULATOR_BALLOT, mask, predicate != 0);
    unsigned bits = 0;
    for (unsigned lane = 0; lane < 32; lane++)
        bits |= (unsigned)all[lane] << lane;
    return bits;
}

// ---- atomics and fences -------------------------------------------------------------------------------------------

#define EMULATED_ATOMIC(name, type, changed)                                                                           \
    static inline type name(type *p, type value)                                                                       \
    {                                                                                                                  \
        emulator_perhaps_switch();                                                                                     \
        type old = *(volatile type *)p;                                                                                \
        *(volatile type *)p = changed;                                                                                 \
        return old;                                                                                                    \
    }
#define EMULATED_ATOMICS(type)                                                                                         \
    EMULATED_ATOMIC(atomicAdd, type, old + value)                                                                      \
    EMULATED_ATOMIC(atomicMax, type, old > value ? old : value)                                                        \
    EMULATED_ATOMIC(atomicMin, type, old < value ? old : value)                                                        \
    EMULATED_ATOMIC(atomicOr, type, old | value)                                                                       \
    EMULATED_ATOMIC(atomicAnd, type, old &value)                                                                       \
    EMULATED_ATOMIC(atomicExch, type, value)                                                                           \
    static inline type atomicCAS(type *p, type expected, type value)                                                   \
    {                                                                                                                  \
        emulator_perhaps_switch();                                                                                     \
        type old = *(volatile type *)p;                                                                                \
        *(volatile type *)p = old == expected ? value : old;                                                           \
        return old;                                                                                                    \
    }
EMULATED_ATOMICS(unsigned int)
EMULATED_ATOMICS(unsigned long long)
EMULATED_ATOMIC(atomicAdd, int, old + value)
EMULATED_ATOMIC(atomicMax, int, old > value ? old : value)
EMULATED_ATOMIC(atomicMin, int, old < value ? old : value)
#undef EMULATED_ATOMICS
#undef EMULATED_ATOMIC

static inline void __threadfence(void)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}
static inline void __threadfence_system(void)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}
static inline void __threadfence_block(void)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

// ---- arithmetic ---------------------------------------------------------------------------------------------------

static inline int __popc(unsigned value)
{
    return __builtin_popcount(value);
}
static inline int __ffs(int value)
{
    return __builtin_ffs(value);
}
static inline int __clz(int value)
{
    return value == 0 ? 32 : __builtin_clz((unsigned)value);
}
static inline float __uint_as_float(unsigned value)
{
    return emulator_value<float>(value);
}
static inline unsigned __float_as_uint(float value)
{
    return (unsigned)emulator_bits(value);
}
static inline float __int_as_float(int value)
{
    return emulator_value<float>((unsigned)value);
}
static inline int __float_as_int(float value)
{
    return (int)(unsigned)emulator_bits(value);
}
static inline double __longlong_as_double(long long value)
{
    return emulator_value<double>((uint64_t)value);
}
static inline long long __double_as_longlong(double value)
{
    return (long long)emulator_bits(value);
}
static inline int __float2int_rn(float value)
{
    return (int)lrintf(value);
}

#define EMULATED_MIN_MAX(type)                                                                                         \
    static inline type min(type a, type b)                                                                             \
    {                                                                                                                  \
        return b < a ? b : a;                                                                                          \
    }                                                                                                                  \
    static inline type max(type a, type b)                                                                             \
    {                                                                                                                  \
        return a < b ? b : a;                                                                                          \
    }
EMULATED_MIN_MAX(int)
EMULATED_MIN_MAX(unsigned int)
EMULATED_MIN_MAX(long)
EMULATED_MIN_MAX(unsigned long)
EMULATED_MIN_MAX(long long)
EMULATED_MIN_MAX(unsigned long long)
#undef EMULATED_MIN_MAX

// ---- port.cuh -----------------------------------------------------------------------------------------------------

struct cu_b128 {
    uint32_t x, y, z, w;
};

static inline cu_b128 cu_load_cached(const void *p)
{
    if ((uintptr_t)p % 16 != 0)
        emulator_abort("a load of 16 bytes from %p: a card wants it on 16 bytes", p);
    cu_b128 value;
    memcpy(&value, p, sizeof(value));
    return value;
}
static inline cu_b128 cu_load_streaming(const void *p)
{
    return cu_load_cached(p);
}
static inline cu_b128 cu_load_host(const void *p)
{
    return cu_load_cached(p);
}
static inline void cu_mma_bf16(float acc[4], const uint32_t a[4], const uint32_t b[2])
{
    uint32_t bits[4];
    memcpy(bits, acc, sizeof(bits));
    emulator_mma(EMULATOR_MMA_BF16, bits, a, b);
    memcpy(acc, bits, sizeof(bits));
}
static inline void cu_mma_s8(int32_t acc[4], const uint32_t a[4], const uint32_t b[2])
{
    uint32_t bits[4];
    memcpy(bits, acc, sizeof(bits));
    emulator_mma(EMULATOR_MMA_S8, bits, a, b);
    memcpy(acc, bits, sizeof(bits));
}
static inline uint64_t cu_global_timer(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}
static inline void cu_set_condition(uint64_t handle, unsigned value)
{
    if (handle == 0)
        emulator_abort("cu_set_condition without a graph's condition");
    ((struct emulator_condition *)handle)->value = value;
}
static inline void cu_store_release_system(uint64_t *p, uint64_t v)
{
    __atomic_store_n(p, v, __ATOMIC_RELEASE);
}
static inline uint32_t cu_load_volatile(const uint32_t *p)
{
    return *(const volatile uint32_t *)p;
}
static inline uint32_t cu_fma_bf16x2(uint32_t a, uint32_t b, uint32_t c)
{
    return emulator_fma_bf16(a & 0xffff, b & 0xffff, c & 0xffff) | emulator_fma_bf16(a >> 16, b >> 16, c >> 16) << 16;
}

#endif
