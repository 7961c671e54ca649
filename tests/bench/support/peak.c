/* Peak rates of the multiply-add instructions; see peak.h. Twelve sums hide the latency of any of them. */
#include "tests/bench/support/peak.h"

#include "tests/bench/support/bench.h"

#include <stdint.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define STEPS 400000
#define SUMS  12

const char *bench_instruction_name(enum bench_instruction instruction)
{
    static const char *const names[] = {"FMA f32", "VDPBF16PS", "VPDPBUSD"};
    return names[instruction];
}

#if defined(__x86_64__)
/* An empty asm that claims to change the register, so that the loop isn't folded. */
#define KEEP(x) __asm__ volatile("" : "+v"(x))

__attribute__((target("avx512f"))) static uint64_t fma_avx512(void)
{
    __m512 sum[SUMS], a = _mm512_set1_ps(1e-8f), b = _mm512_set1_ps(0.5f);
    for (int i = 0; i < SUMS; i++)
        sum[i] = _mm512_set1_ps((float)i);
    for (int step = 0; step < STEPS; step++) {
        for (int i = 0; i < SUMS; i++)
            sum[i] = _mm512_fmadd_ps(a, b, sum[i]);
        KEEP(a);
    }
    for (int i = 0; i < SUMS; i++)
        KEEP(sum[i]);
    return 16;
}

__attribute__((target("avx2,fma"))) static uint64_t fma_avx2(void)
{
    __m256 sum[SUMS], a = _mm256_set1_ps(1e-8f), b = _mm256_set1_ps(0.5f);
    for (int i = 0; i < SUMS; i++)
        sum[i] = _mm256_set1_ps((float)i);
    for (int step = 0; step < STEPS; step++) {
        for (int i = 0; i < SUMS; i++)
            sum[i] = _mm256_fmadd_ps(a, b, sum[i]);
        KEEP(a);
    }
    for (int i = 0; i < SUMS; i++)
        KEEP(sum[i]);
    return 8;
}

__attribute__((target("avx512f,avx512bf16"))) static uint64_t dp_bf16(void)
{
    __m512 sum[SUMS];
    __m512i bits = _mm512_set1_epi16(0x3000);
    for (int i = 0; i < SUMS; i++)
        sum[i] = _mm512_set1_ps((float)i);
    for (int step = 0; step < STEPS; step++) {
        for (int i = 0; i < SUMS; i++)
            sum[i] = _mm512_dpbf16_ps(sum[i], (__m512bh)bits, (__m512bh)bits);
        KEEP(bits);
    }
    for (int i = 0; i < SUMS; i++)
        KEEP(sum[i]);
    return 32;
}

__attribute__((target("avx512f,avx512vnni"))) static uint64_t dp_int8(void)
{
    __m512i sum[SUMS], bits = _mm512_set1_epi8(3);
    for (int i = 0; i < SUMS; i++)
        sum[i] = _mm512_set1_epi32(i);
    for (int step = 0; step < STEPS; step++) {
        for (int i = 0; i < SUMS; i++)
            sum[i] = _mm512_dpbusd_epi32(sum[i], bits, bits);
        KEEP(bits);
    }
    for (int i = 0; i < SUMS; i++)
        KEEP(sum[i]);
    return 64;
}

typedef uint64_t (*peak_fn)(void); /* multiply-adds per instruction */

static peak_fn choose(enum bench_instruction instruction)
{
    if (instruction == BENCH_FMA_F32)
        return __builtin_cpu_supports("avx512f") ? fma_avx512 : __builtin_cpu_supports("fma") ? fma_avx2 : NULL;
    if (instruction == BENCH_DP_BF16)
        return __builtin_cpu_supports("avx512bf16") ? dp_bf16 : NULL;
    return __builtin_cpu_supports("avx512vnni") ? dp_int8 : NULL;
}

double bench_peak(enum bench_instruction instruction)
{
    double rates[9];
    peak_fn run = choose(instruction);
    if (!run)
        return 0;
    for (int i = 0; i < 9; i++) {
        uint64_t start = bench_now_ns();
        uint64_t each = run();
        rates[i] = (double)each * SUMS * STEPS / ((double)(bench_now_ns() - start) * 1e-9);
    }
    return bench_quantile(rates, 9, 0.5);
}
#else
double bench_peak(enum bench_instruction instruction)
{
    (void)instruction;
    return 0;
}
#endif
