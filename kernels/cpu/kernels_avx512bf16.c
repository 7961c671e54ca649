/* bf16 x bf16 by VDPBF16PS: two products into each f32 lane. The instruction rounds its two additions one after the
 * other and flushes subnormals; every tile uses it in the same order, so rows stay invariant. */
#include "kernels/cpu/kernel.h"

#include <immintrin.h>

typedef __m512 vec;

#define LANES         16
#define PANEL_VECTORS 8
#define ROW_TILE      3

enum kind { KIND_BF16 };

static inline __attribute__((always_inline)) vec vec_zero(void)
{
    return _mm512_setzero_ps();
}

static inline __attribute__((always_inline)) vec vec_load(const float *p)
{
    return _mm512_loadu_ps(p);
}

static inline __attribute__((always_inline)) void vec_store(float *p, vec v)
{
    _mm512_storeu_ps(p, v);
}

/* Keeps a value in a register: left alone, the compiler loads a weight again for each row that uses it, and loads
 * are what limits a tile. */
static inline __attribute__((always_inline)) __m512i in_register(__m512i v)
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
    __m512bh value[ROW_TILE];
    for (uint32_t r = 0; r < nr; r++) {
        int32_t pair;
        memcpy(&pair, x[r] + (size_t)u * 4, 4);
        value[r] = (__m512bh)_mm512_set1_epi32(pair);
    }
    for (uint32_t v = 0; v < nv; v++) {
        __m512i weights = _mm512_loadu_si512(w + v * sizeof(vec));
        if (nr > 1)
            weights = in_register(weights);
        for (uint32_t r = 0; r < nr; r++)
            acc[r][v] = _mm512_dpbf16_ps(acc[r][v], (__m512bh)weights, value[r]);
    }
}

#include "kernels/cpu/tiles.inc"

static void product(const struct cpu_product *p)
{
    product_run(KIND_BF16, p);
}

const struct cpu_kernel cpu_kernel_avx512bf16 = {LENS_BF16, CPU_X_BF16, false, LANES, PANEL_VECTORS *LANES, 2, product};
