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
struct fma512_sums {
    __m512 a, b, c, d;
};

__attribute__((target("avx512f"))) static inline void fma512_four(struct fma512_sums *s, __m512 x)
{
    s->a = _mm512_fmadd_ps(x, x, s->a);
    s->b = _mm512_fmadd_ps(x, x, s->b);
    s->c = _mm512_fmadd_ps(x, x, s->c);
    s->d = _mm512_fmadd_ps(x, x, s->d);
}

__attribute__((target("avx512f"))) static uint64_t fma512_peak(void)
{
    __m512 x = _mm512_set1_ps(1e-4f);
    struct fma512_sums p = {_mm512_set1_ps(1), _mm512_set1_ps(2), _mm512_set1_ps(3), _mm512_set1_ps(4)},
                       q = {_mm512_set1_ps(5), _mm512_set1_ps(6), _mm512_set1_ps(7), _mm512_set1_ps(8)},
                       r = {_mm512_set1_ps(9), _mm512_set1_ps(10), _mm512_set1_ps(11),
                            _mm512_set1_ps(12)}; /* different, or one would do for all */
    for (int step = 0; step < STEPS; step++) {
        __asm__ volatile("" : "+v"(x)); /* may have changed: no sum can be worked out beforehand */
        fma512_four(&p, x);
        fma512_four(&q, x);
        fma512_four(&r, x);
    }
    __asm__ volatile("" ::"v"(p.a), "v"(p.b), "v"(p.c), "v"(p.d));
    __asm__ volatile("" ::"v"(q.a), "v"(q.b), "v"(q.c), "v"(q.d));
    __asm__ volatile("" ::"v"(r.a), "v"(r.b), "v"(r.c), "v"(r.d));
    return 16;
}

struct fma256_sums {
    __m256 a, b, c, d;
};

__attribute__((target("avx2,fma"))) static inline void fma256_four(struct fma256_sums *s, __m256 x)
{
    s->a = _mm256_fmadd_ps(x, x, s->a);
    s->b = _mm256_fmadd_ps(x, x, s->b);
    s->c = _mm256_fmadd_ps(x, x, s->c);
    s->d = _mm256_fmadd_ps(x, x, s->d);
}

__attribute__((target("avx2,fma"))) static uint64_t fma256_peak(void)
{
    __m256 x = _mm256_set1_ps(1e-4f);
    struct fma256_sums p = {_mm256_set1_ps(1), _mm256_set1_ps(2), _mm256_set1_ps(3), _mm256_set1_ps(4)},
                       q = {_mm256_set1_ps(5), _mm256_set1_ps(6), _mm256_set1_ps(7), _mm256_set1_ps(8)},
                       r = {_mm256_set1_ps(9), _mm256_set1_ps(10), _mm256_set1_ps(11),
                            _mm256_set1_ps(12)}; /* different, or one would do for all */
    for (int step = 0; step < STEPS; step++) {
        __asm__ volatile("" : "+v"(x)); /* may have changed: no sum can be worked out beforehand */
        fma256_four(&p, x);
        fma256_four(&q, x);
        fma256_four(&r, x);
    }
    __asm__ volatile("" ::"v"(p.a), "v"(p.b), "v"(p.c), "v"(p.d));
    __asm__ volatile("" ::"v"(q.a), "v"(q.b), "v"(q.c), "v"(q.d));
    __asm__ volatile("" ::"v"(r.a), "v"(r.b), "v"(r.c), "v"(r.d));
    return 8;
}

struct bf16_sums {
    __m512 a, b, c, d;
};

__attribute__((target("avx512f,avx512bf16"))) static inline void bf16_four(struct bf16_sums *s, __m512i x)
{
    s->a = _mm512_dpbf16_ps(s->a, (__m512bh)x, (__m512bh)x);
    s->b = _mm512_dpbf16_ps(s->b, (__m512bh)x, (__m512bh)x);
    s->c = _mm512_dpbf16_ps(s->c, (__m512bh)x, (__m512bh)x);
    s->d = _mm512_dpbf16_ps(s->d, (__m512bh)x, (__m512bh)x);
}

__attribute__((target("avx512f,avx512bf16"))) static uint64_t bf16_peak(void)
{
    __m512i x = _mm512_set1_epi16(0x3000);
    struct bf16_sums p = {_mm512_set1_ps(1), _mm512_set1_ps(2), _mm512_set1_ps(3), _mm512_set1_ps(4)},
                     q = {_mm512_set1_ps(5), _mm512_set1_ps(6), _mm512_set1_ps(7), _mm512_set1_ps(8)},
                     r = {_mm512_set1_ps(9), _mm512_set1_ps(10), _mm512_set1_ps(11),
                          _mm512_set1_ps(12)}; /* different, or one would do for all */
    for (int step = 0; step < STEPS; step++) {
        __asm__ volatile("" : "+v"(x)); /* may have changed: no sum can be worked out beforehand */
        bf16_four(&p, x);
        bf16_four(&q, x);
        bf16_four(&r, x);
    }
    __asm__ volatile("" ::"v"(p.a), "v"(p.b), "v"(p.c), "v"(p.d));
    __asm__ volatile("" ::"v"(q.a), "v"(q.b), "v"(q.c), "v"(q.d));
    __asm__ volatile("" ::"v"(r.a), "v"(r.b), "v"(r.c), "v"(r.d));
    return 32;
}

struct int8_sums {
    __m512i a, b, c, d;
};

__attribute__((target("avx512f,avx512vnni"))) static inline void int8_four(struct int8_sums *s, __m512i x)
{
    s->a = _mm512_dpbusd_epi32(s->a, x, x);
    s->b = _mm512_dpbusd_epi32(s->b, x, x);
    s->c = _mm512_dpbusd_epi32(s->c, x, x);
    s->d = _mm512_dpbusd_epi32(s->d, x, x);
}

__attribute__((target("avx512f,avx512vnni"))) static uint64_t int8_peak(void)
{
    __m512i x = _mm512_set1_epi8(3);
    struct int8_sums p = {_mm512_set1_epi32(1), _mm512_set1_epi32(2), _mm512_set1_epi32(3), _mm512_set1_epi32(4)},
                     q = {_mm512_set1_epi32(5), _mm512_set1_epi32(6), _mm512_set1_epi32(7), _mm512_set1_epi32(8)},
                     r = {_mm512_set1_epi32(9), _mm512_set1_epi32(10), _mm512_set1_epi32(11),
                          _mm512_set1_epi32(12)}; /* different, or one would do for all */
    for (int step = 0; step < STEPS; step++) {
        __asm__ volatile("" : "+v"(x)); /* may have changed: no sum can be worked out beforehand */
        int8_four(&p, x);
        int8_four(&q, x);
        int8_four(&r, x);
    }
    __asm__ volatile("" ::"v"(p.a), "v"(p.b), "v"(p.c), "v"(p.d));
    __asm__ volatile("" ::"v"(q.a), "v"(q.b), "v"(q.c), "v"(q.d));
    __asm__ volatile("" ::"v"(r.a), "v"(r.b), "v"(r.c), "v"(r.d));
    return 64;
}

typedef uint64_t (*peak_fn)(void); /* multiply-adds per instruction */

static peak_fn choose(enum bench_instruction instruction)
{
    if (instruction == BENCH_FMA_F32)
        return __builtin_cpu_supports("avx512f") ? fma512_peak : __builtin_cpu_supports("fma") ? fma256_peak : NULL;
    if (instruction == BENCH_DP_BF16)
        return __builtin_cpu_supports("avx512bf16") ? bf16_peak : NULL;
    return __builtin_cpu_supports("avx512vnni") ? int8_peak : NULL;
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
