/* int8 x int8 by VNNI: vpdpbusd multiplies four unsigned by four signed bytes into each 32-bit lane. Activations are
 * biased by 128 to be unsigned; 128 * (sum of a row's codes), kept in the slot, is taken off the sums afterwards.
 * Sums are exact. */
#include "kernels/cpu/kernel.h"

#include <immintrin.h>

typedef __m512i vec;

#define LANES         16
#define PANEL_VECTORS 8
#define ROW_TILE      3

enum kind { KIND_INT8 };

static inline __attribute__((always_inline)) vec vec_zero(void)
{
    return _mm512_setzero_si512();
}

static inline __attribute__((always_inline)) vec vec_load(const float *p)
{
    return _mm512_loadu_si512(p);
}

static inline __attribute__((always_inline)) void vec_store(float *p, vec v)
{
    _mm512_storeu_si512(p, v);
}

/* Keeps a value in a register: left alone, the compiler loads a weight again for each row that uses it, and loads
 * are what limits a tile. */
static inline __attribute__((always_inline)) vec in_register(vec v)
{
    __asm__("" : "+v"(v));
    return v;
}

static inline __attribute__((always_inline)) size_t unit_bytes(enum kind kind)
{
    (void)kind;
    return 4;
}

static inline __attribute__((always_inline)) void step(enum kind kind, uint32_t nv, uint32_t nr, const char *w,
                                                       const char *const *x, uint32_t u,
                                                       vec acc[ROW_TILE][PANEL_VECTORS])
{
    (void)kind;
    vec value[ROW_TILE];
    for (uint32_t r = 0; r < nr; r++) {
        int32_t four;
        memcpy(&four, x[r] + (size_t)u * 4, 4);
        value[r] = _mm512_set1_epi32(four);
    }
    for (uint32_t v = 0; v < nv; v++) {
        vec weights = _mm512_loadu_si512(w + v * sizeof(vec));
        if (nr > 1)
            weights = in_register(weights);
        for (uint32_t r = 0; r < nr; r++)
            acc[r][v] = _mm512_dpbusd_epi32(acc[r][v], value[r], weights);
    }
}

#include "kernels/cpu/tiles.inc"

static void product(const struct cpu_product *p)
{
    product_run(KIND_INT8, p);
}

const struct cpu_kernel cpu_kernel_avx512vnni = {LENS_I8, CPU_X_U8, true, LANES, PANEL_VECTORS *LANES, 4, product};
