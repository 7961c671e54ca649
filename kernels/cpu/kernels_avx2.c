/* The avx2 variant (with FMA): 8 outputs a vector, panels of 4 vectors, tiles of 3 rows: 12 sums, 3 broadcasts and a
 * weight fill the 16 registers.
 *
 * bf16 and int8 weights are widened as in the avx512 variant: in registers for few rows, once per block for more. */
#include "kernels/cpu/kernel.h"
#include "kernels/cpu/log8.h"
#include "kernels/cpu/tail.h"

#include <immintrin.h>

typedef __m256 vec;
typedef __m256i ivec;

#define LANES         8
#define PANEL_VECTORS 4
#define ROW_TILE      3

/* Weights and activations of a product: f32; bf16 weights; int8 weights ordered [4][8]; int8 weights ordered
 * [2][8][2] against 16-bit codes. */
enum kind { KIND_F32, KIND_BF16, KIND_I8, KIND_INT8 };

static inline __attribute__((always_inline)) vec vec_zero(void)
{
    return _mm256_setzero_ps();
}

static inline __attribute__((always_inline)) vec vec_load(const float *p)
{
    return _mm256_loadu_ps(p);
}

static inline __attribute__((always_inline)) void vec_store(float *p, vec v)
{
    _mm256_storeu_ps(p, v);
}

static inline __attribute__((always_inline)) __m256i load_words(const void *p)
{
    return _mm256_loadu_si256((const __m256i *)p);
}

static inline __attribute__((always_inline)) void store_words(void *p, __m256i words)
{
    _mm256_storeu_si256((__m256i *)p, words);
}

/* Keeps a value in a register: left alone, the compiler loads a weight again for each row that uses it, and loads
 * are what limits a tile. */
static inline __attribute__((always_inline)) vec in_register(vec v)
{
    __asm__("" : "+x"(v));
    return v;
}

static inline __attribute__((always_inline)) size_t unit_bytes(enum kind kind)
{
    return kind == KIND_F32 ? 4 : kind == KIND_I8 ? 16 : 8;
}

/* Element k of each of the 8 units at w, as f32. */
static inline __attribute__((always_inline)) vec weight(enum kind kind, const char *w, uint32_t k)
{
    if (kind == KIND_F32)
        return _mm256_loadu_ps((const float *)(const void *)w);
    if (kind == KIND_I8)
        return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(w + (size_t)k * 8))));
    __m256i pairs = load_words(w);
    __m256i bits = k == 0 ? _mm256_slli_epi32(pairs, 16) : _mm256_and_si256(pairs, _mm256_set1_epi32(-65536));
    return _mm256_castsi256_ps(bits);
}

static inline __attribute__((always_inline)) void float_step(enum kind kind, uint32_t nv, uint32_t nr, const char *w,
                                                             const char *const *x, uint32_t u,
                                                             vec acc[ROW_TILE][PANEL_VECTORS])
{
    uint32_t depth = kind == KIND_F32 ? 1 : kind == KIND_BF16 ? 2 : 4;
    for (uint32_t k = 0; k < depth; k++) {
        vec value[ROW_TILE];
        for (uint32_t r = 0; r < nr; r++)
            value[r] = _mm256_set1_ps(((const float *)(const void *)x[r])[(size_t)u * depth + k]);
        for (uint32_t v = 0; v < nv; v++) {
            vec weights = weight(kind, w + v * sizeof(vec), k);
            if (nr > 1)
                weights = in_register(weights);
            for (uint32_t r = 0; r < nr; r++)
                acc[r][v] = _mm256_fmadd_ps(weights, value[r], acc[r][v]);
        }
    }
}

/* int8 without VNNI: 16-bit products of two neighbours at a time, exact in 32 bits. */
static inline __attribute__((always_inline)) void integer_step(uint32_t nv, uint32_t nr, const char *w,
                                                               const char *const *x, uint32_t u,
                                                               vec acc[ROW_TILE][PANEL_VECTORS])
{
    for (uint32_t k = 0; k < 2; k++) {
        __m256i value[ROW_TILE];
        for (uint32_t r = 0; r < nr; r++) {
            int32_t pair;
            memcpy(&pair, x[r] + (size_t)u * 8 + (size_t)k * 4, 4);
            value[r] = _mm256_set1_epi32(pair);
        }
        for (uint32_t v = 0; v < nv; v++) {
            const __m128i *at = (const __m128i *)(w + v * sizeof(vec) + (size_t)k * 16);
            __m256i weights = _mm256_cvtepi8_epi16(_mm_loadu_si128(at));
            for (uint32_t r = 0; r < nr; r++) {
                __m256i sum = _mm256_add_epi32(_mm256_castps_si256(acc[r][v]), _mm256_madd_epi16(weights, value[r]));
                acc[r][v] = _mm256_castsi256_ps(sum);
            }
        }
    }
}

static inline __attribute__((always_inline)) void step(enum kind kind, uint32_t nv, uint32_t nr, const char *w,
                                                       const char *const *x, uint32_t u,
                                                       vec acc[ROW_TILE][PANEL_VECTORS])
{
    if (kind == KIND_INT8)
        integer_step(nv, nr, w, x, u, acc);
    else
        float_step(kind, nv, nr, w, x, u, acc);
}

#include "kernels/cpu/tiles.inc"
#include "kernels/cpu/widen.inc"

static inline __attribute__((always_inline)) ivec log8_shift(ivec signs, uint32_t n)
{
    return _mm256_sll_epi32(signs, _mm_cvtsi32_si128((int)n));
}

/* Eight codes to eight weights, signed by the top bits of `signs`. */
static inline __attribute__((always_inline)) vec log8_weight(__m128i codes, vec step, ivec signs)
{
    const vec round = _mm256_set1_ps(LOG8_ROUND);
    vec code = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(codes));
    vec shifted = _mm256_fmadd_ps(code, step, round);
    vec f = _mm256_fmsub_ps(code, step, _mm256_sub_ps(shifted, round));
    vec p = _mm256_fmadd_ps(_mm256_set1_ps(LOG8_C5), f, _mm256_set1_ps(LOG8_C4));
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(LOG8_C3));
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(LOG8_C2));
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(LOG8_C1));
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(1.0f));
    ivec power = _mm256_slli_epi32(_mm256_castps_si256(shifted), 23);
    ivec value = _mm256_add_epi32(_mm256_castps_si256(p), power);
    ivec sign = _mm256_and_si256(signs, _mm256_set1_epi32(INT32_MIN));
    return _mm256_castsi256_ps(_mm256_xor_si256(value, sign));
}

static inline __attribute__((always_inline)) ivec log8_unit(const char *codes, vec step, ivec signs, float *out,
                                                            size_t stride)
{
    ivec zero = _mm256_cmpeq_epi8(load_words(codes), _mm256_set1_epi8(CPU_LOG8_ZERO));
    for (uint32_t k = 4; k-- > 0;) {
        vec_store(out + k * stride, log8_weight(_mm_loadl_epi64((const __m128i *)(codes + k * 8)), step, signs));
        signs = _mm256_slli_epi32(signs, 1);
    }
    if (__builtin_expect(!_mm256_testz_si256(zero, zero), 0)) {
        uint32_t zeros = (uint32_t)_mm256_movemask_epi8(zero);
        for (; zeros != 0; zeros &= zeros - 1) {
            uint32_t at = (uint32_t)__builtin_ctz(zeros);
            out[at / LANES * stride + at % LANES] = 0.0f;
        }
    }
    return signs;
}

#include "kernels/cpu/log8.inc"

static void product_f32(const struct cpu_product *p)
{
    product_run(KIND_F32, p);
}

static void product_bf16(const struct cpu_product *p)
{
    if (p->n < WIDEN_BF16_ROWS)
        product_run(KIND_BF16, p);
    else
        product_widened(KIND_BF16, p);
}

static void product_i8(const struct cpu_product *p)
{
    if (p->n < WIDEN_I8_ROWS)
        product_run(KIND_I8, p);
    else
        product_widened(KIND_I8, p);
}

static void product_log8(const struct cpu_product *p)
{
    product_decoded(p);
}

static void product_int8(const struct cpu_product *p)
{
    product_run(KIND_INT8, p);
}

enum { PANEL = PANEL_VECTORS * LANES };

static const struct cpu_kernel exact_f32 = {LENS_F32, CPU_X_F32, false, LANES, PANEL, 1, product_f32};
static const struct cpu_kernel exact_bf16 = {LENS_BF16, CPU_X_F32, false, LANES, PANEL, 2, product_bf16};
static const struct cpu_kernel exact_i8 = {LENS_I8, CPU_X_F32, false, LANES, PANEL, 1, product_i8};
static const struct cpu_kernel exact_log8 = {LENS_LOG8, CPU_X_F32, false, LANES, PANEL, 1, product_log8};
static const struct cpu_kernel bf16_bf16 = {LENS_BF16, CPU_X_F32_ROUNDED, false, LANES, PANEL, 2, product_bf16};
static const struct cpu_kernel int8_i8 = {LENS_I8, CPU_X_I16, true, LANES, PANEL, 2, product_int8};

static const struct cpu_kernel *kernel_for(enum lens_dtype dtype, enum lens_compute compute)
{
    if (compute == LENS_COMPUTE_EXACT)
        return dtype == LENS_F32    ? &exact_f32
               : dtype == LENS_BF16 ? &exact_bf16
               : dtype == LENS_I8   ? &exact_i8
               : dtype == LENS_LOG8 ? &exact_log8
                                    : NULL;
    if (compute == LENS_COMPUTE_BF16)
        return dtype == LENS_BF16 ? &bf16_bf16 : NULL;
    return dtype == LENS_I8 ? &int8_i8 : NULL;
}

/* How a vector of int8 is reordered for a group: bytes within each half, then words over the whole vector. */
struct regroup {
    __m256i bytes, words;
};

static struct regroup regroup_for(uint32_t group)
{
    __m128i singles = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    __m128i pairs = _mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
    __m256i singly = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    __m256i doubly = _mm256_setr_epi32(0, 1, 4, 5, 2, 3, 6, 7);
    return (struct regroup){_mm256_broadcastsi128_si256(group == 1 ? singles : pairs), group == 1 ? singly : doubly};
}

static inline __attribute__((always_inline)) void put(uint8_t *out, __m256i v, uint32_t group, struct regroup order)
{
    if (group != 4)
        v = _mm256_permutevar8x32_epi32(_mm256_shuffle_epi8(v, order.bytes), order.words);
    store_words(out, v);
}

/* 8x8 words: within four rows first, then halves between them. */
static inline __attribute__((always_inline)) void pack_square(const void *const *rows, size_t at, uint32_t group,
                                                              struct regroup order, uint8_t *out, size_t stride)
{
    __m256i quad[8];
    for (uint32_t g = 0; g < 8; g += 4) {
        __m256i row[4];
        for (uint32_t i = 0; i < 4; i++)
            row[i] = load_words((const char *)rows[g + i] + at);
        __m256i low01 = _mm256_unpacklo_epi32(row[0], row[1]), high01 = _mm256_unpackhi_epi32(row[0], row[1]);
        __m256i low23 = _mm256_unpacklo_epi32(row[2], row[3]), high23 = _mm256_unpackhi_epi32(row[2], row[3]);
        quad[g] = _mm256_unpacklo_epi64(low01, low23);
        quad[g + 1] = _mm256_unpackhi_epi64(low01, low23);
        quad[g + 2] = _mm256_unpacklo_epi64(high01, high23);
        quad[g + 3] = _mm256_unpackhi_epi64(high01, high23);
    }
    for (uint32_t i = 0; i < 4; i++) { /* quad[4g+i] holds units i and i+4 of rows 4g..4g+3 */
        put(out + i * stride, _mm256_permute2x128_si256(quad[i], quad[4 + i], 0x20), group, order);
        put(out + (i + 4) * stride, _mm256_permute2x128_si256(quad[i], quad[4 + i], 0x31), group, order);
    }
}

static void pack(const void *const *rows, uint32_t first, uint32_t n, uint32_t group, uint8_t *out, size_t stride)
{
    struct regroup order = regroup_for(group);
    uint32_t done = 0;
    for (; done + LANES <= n; done += LANES)
        pack_square(rows, (size_t)(first + done) * 4, group, order, out + done * stride, stride);
    for (; done < n; done++) {
        uint32_t words[LANES];
        for (uint32_t l = 0; l < LANES; l++)
            memcpy(&words[l], (const char *)rows[l] + (size_t)(first + done) * 4, 4);
        put(out + done * stride, load_words(words), group, order);
    }
}

const struct cpu_variant cpu_variant_avx2 = {
    .name = "avx2",
    .kernel = kernel_for,
    .hidden = tail_hidden,
    .logit = tail_logit,
    .pack = pack,
};
