/* The avx512 variant on its base set (F, BW, VL, DQ): 16 outputs a vector, panels of 8 vectors, tiles of 3 rows: 24
 * sums in registers, and 8 loads of weights and 3 broadcasts for 24 multiplications.
 *
 * bf16 and int8 weights are widened in registers for few rows; for more, a block is widened once into scratch and
 * multiplied as f32 (widen.inc). Widening is exact and the order of additions is the same: both give the same bits. */
#include "kernels/cpu/kernel.h"
#include "kernels/cpu/log8.h"
#include "kernels/cpu/tail.h"

#include <immintrin.h>

typedef __m512 vec;
typedef __m512i ivec;

#define LANES         16
#define PANEL_VECTORS 8
#define ROW_TILE      3

/* Weights and activations of a product: f32; bf16 weights; int8 weights ordered [4][16]; int8 weights ordered
 * [2][16][2] against 16-bit codes. */
enum kind { KIND_F32, KIND_BF16, KIND_I8, KIND_INT8 };

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

static inline __attribute__((always_inline)) ivec load_words(const void *p)
{
    return _mm512_loadu_si512(p);
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
    return kind == KIND_F32 ? 4 : kind == KIND_I8 ? 16 : 8;
}

/* Element k of each of the 16 units at w, as f32. */
static inline __attribute__((always_inline)) vec weight(enum kind kind, const char *w, uint32_t k)
{
    if (kind == KIND_F32)
        return _mm512_loadu_ps(w);
    if (kind == KIND_I8)
        return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(w + (size_t)k * 16))));
    __m512i pairs = _mm512_loadu_si512(w);
    __m512i bits = k == 0 ? _mm512_slli_epi32(pairs, 16) : _mm512_and_si512(pairs, _mm512_set1_epi32(-65536));
    return _mm512_castsi512_ps(bits);
}

static inline __attribute__((always_inline)) void float_step(enum kind kind, uint32_t nv, uint32_t nr, const char *w,
                                                             const char *const *x, uint32_t u,
                                                             vec acc[ROW_TILE][PANEL_VECTORS])
{
    uint32_t depth = kind == KIND_F32 ? 1 : kind == KIND_BF16 ? 2 : 4;
    for (uint32_t k = 0; k < depth; k++) {
        vec value[ROW_TILE];
        for (uint32_t r = 0; r < nr; r++)
            value[r] = _mm512_set1_ps(((const float *)(const void *)x[r])[(size_t)u * depth + k]);
        for (uint32_t v = 0; v < nv; v++) {
            vec weights = weight(kind, w + v * sizeof(vec), k);
            if (nr > 1)
                weights = in_register(weights);
            for (uint32_t r = 0; r < nr; r++)
                acc[r][v] = _mm512_fmadd_ps(weights, value[r], acc[r][v]);
        }
    }
}

/* int8 without VNNI: 16-bit products of two neighbours at a time, exact in 32 bits. */
static inline __attribute__((always_inline)) void integer_step(uint32_t nv, uint32_t nr, const char *w,
                                                               const char *const *x, uint32_t u,
                                                               vec acc[ROW_TILE][PANEL_VECTORS])
{
    for (uint32_t k = 0; k < 2; k++) {
        __m512i value[ROW_TILE];
        for (uint32_t r = 0; r < nr; r++) {
            int32_t pair;
            memcpy(&pair, x[r] + (size_t)u * 8 + (size_t)k * 4, 4);
            value[r] = _mm512_set1_epi32(pair);
        }
        for (uint32_t v = 0; v < nv; v++) {
            const __m256i *at = (const __m256i *)(w + v * sizeof(vec) + (size_t)k * 32);
            __m512i weights = _mm512_cvtepi8_epi16(_mm256_loadu_si256(at));
            for (uint32_t r = 0; r < nr; r++) {
                __m512i sum = _mm512_add_epi32(_mm512_castps_si512(acc[r][v]), _mm512_madd_epi16(weights, value[r]));
                acc[r][v] = _mm512_castsi512_ps(sum);
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
    return _mm512_sll_epi32(signs, _mm_cvtsi32_si128((int)n));
}

/* Sixteen codes to sixteen weights, signed by the top bits of `signs`. */
static inline __attribute__((always_inline)) vec log8_weight(__m128i codes, vec step, ivec signs)
{
    const vec round = _mm512_set1_ps(LOG8_ROUND);
    vec code = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(codes));
    vec shifted = _mm512_fmadd_ps(code, step, round);
    vec f = _mm512_fmsub_ps(code, step, _mm512_sub_ps(shifted, round));
    vec p = _mm512_fmadd_ps(_mm512_set1_ps(LOG8_C5), f, _mm512_set1_ps(LOG8_C4));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(LOG8_C3));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(LOG8_C2));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(LOG8_C1));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.0f));
    ivec power = _mm512_slli_epi32(_mm512_castps_si512(shifted), 23);
    ivec value = _mm512_add_epi32(_mm512_castps_si512(p), power);
    /* value ^ (signs & top bit) */
    return _mm512_castsi512_ps(_mm512_ternarylogic_epi32(value, signs, _mm512_set1_epi32(INT32_MIN), 0x78));
}

static inline __attribute__((always_inline)) ivec log8_unit(const char *codes, vec step, ivec signs, float *out,
                                                            size_t stride)
{
    uint64_t zeros = _mm512_cmpeq_epi8_mask(load_words(codes), _mm512_set1_epi8(CPU_LOG8_ZERO));
    for (uint32_t k = 4; k-- > 0;) {
        vec_store(out + k * stride, log8_weight(_mm_loadu_si128((const __m128i *)(codes + k * 16)), step, signs));
        signs = _mm512_slli_epi32(signs, 1);
    }
    if (__builtin_expect(zeros != 0, 0))
        for (uint32_t k = 0; k < 4; k++)
            _mm512_mask_storeu_ps(out + k * stride, (__mmask16)(zeros >> (k * 16)), vec_zero());
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

const struct cpu_kernel *cpu_avx512_base_kernel(enum lens_dtype dtype, enum lens_compute compute)
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

/* VDPBF16PS does 32 products a cycle or more on AMD (186 GMAC/s on two Zen 4 cores), but one every other cycle on
 * Intel (Emerald Rapids: 44 GMAC/s a core, where f32 multiplication over widened weights reaches 65 to 76). */
static bool fast_bf16(void)
{
    return __builtin_cpu_supports("avx512bf16") && !__builtin_cpu_is("intel");
}

static const struct cpu_kernel *kernel_for(enum lens_dtype dtype, enum lens_compute compute)
{
    if (dtype == LENS_BF16 && compute == LENS_COMPUTE_BF16 && fast_bf16())
        return &cpu_kernel_avx512bf16;
    if (dtype == LENS_I8 && compute == LENS_COMPUTE_INT8 && __builtin_cpu_supports("avx512vnni"))
        return &cpu_kernel_avx512vnni;
    return cpu_avx512_base_kernel(dtype, compute);
}

/* How a vector of int8 is reordered for a group: bytes within each quarter, then words over the whole vector. */
struct regroup {
    __m512i bytes, words;
};

static struct regroup regroup_for(uint32_t group)
{
    /* a quarter holds 4 units abcd: by single codes it becomes 4 words (all a0..a3 first), by pairs 4 words too */
    __m128i singles = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    __m128i pairs = _mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
    __m512i singly = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    __m512i doubly = _mm512_setr_epi32(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
    return (struct regroup){_mm512_broadcast_i32x4(group == 1 ? singles : pairs), group == 1 ? singly : doubly};
}

/* Past the caches: a vector is a whole line, and reading the slot's old lines first would double the traffic (a lens
 * of f32: 85 us instead of 285). The caller fences. */
static inline __attribute__((always_inline)) void put(uint8_t *out, __m512i v, uint32_t group, struct regroup order)
{
    if (group != 4)
        v = _mm512_permutexvar_epi32(order.words, _mm512_shuffle_epi8(v, order.bytes));
    _mm512_stream_si512((__m512i *)out, v);
}

/* 16x16 words: within four rows first, then quarters between them. */
static inline __attribute__((always_inline)) void pack_square(const void *const *rows, size_t at, uint32_t group,
                                                              struct regroup order, uint8_t *out, size_t stride)
{
    __m512i quad[16];
    for (uint32_t g = 0; g < 16; g += 4) {
        __m512i row[4];
        for (uint32_t i = 0; i < 4; i++)
            row[i] = _mm512_loadu_si512((const char *)rows[g + i] + at);
        __m512i low01 = _mm512_unpacklo_epi32(row[0], row[1]), high01 = _mm512_unpackhi_epi32(row[0], row[1]);
        __m512i low23 = _mm512_unpacklo_epi32(row[2], row[3]), high23 = _mm512_unpackhi_epi32(row[2], row[3]);
        quad[g] = _mm512_unpacklo_epi64(low01, low23);
        quad[g + 1] = _mm512_unpackhi_epi64(low01, low23);
        quad[g + 2] = _mm512_unpacklo_epi64(high01, high23);
        quad[g + 3] = _mm512_unpackhi_epi64(high01, high23);
    }
    for (uint32_t i = 0; i < 4; i++) { /* quad[4g+i] holds units i, i+4, i+8, i+12 of rows 4g..4g+3 */
        __m512i even01 = _mm512_shuffle_i32x4(quad[i], quad[4 + i], 0x88);
        __m512i even23 = _mm512_shuffle_i32x4(quad[8 + i], quad[12 + i], 0x88);
        __m512i odd01 = _mm512_shuffle_i32x4(quad[i], quad[4 + i], 0xdd);
        __m512i odd23 = _mm512_shuffle_i32x4(quad[8 + i], quad[12 + i], 0xdd);
        put(out + i * stride, _mm512_shuffle_i32x4(even01, even23, 0x88), group, order);
        put(out + (i + 8) * stride, _mm512_shuffle_i32x4(even01, even23, 0xdd), group, order);
        put(out + (i + 4) * stride, _mm512_shuffle_i32x4(odd01, odd23, 0x88), group, order);
        put(out + (i + 12) * stride, _mm512_shuffle_i32x4(odd01, odd23, 0xdd), group, order);
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
        put(out + done * stride, _mm512_loadu_si512(words), group, order);
    }
}

const struct cpu_variant cpu_variant_avx512 = {
    .name = "avx512",
    .kernel = kernel_for,
    .hidden = tail_hidden,
    .logit = tail_logit,
    .pack = pack,
};
