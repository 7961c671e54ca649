/* Staging: one row from wherever it came to x^ in the form the first layer's kernel takes.
 *
 * The source may be memory that another process writes to: it is copied once, and everything after works on the
 * copy. */
#include "kernels/cpu/cpu.h"

#include <emmintrin.h>
#include <errno.h>
#include <math.h>

#define EPSILON 1e-5
/* Partial sums of the two passes: a fixed number in a fixed order, enough to keep the adders busy. */
#define SUMS 8u

/* Widens the private copy; false when a value is NaN or Inf (exponent all ones, the same bits in f32 and bf16). */
static bool widen_row(const void *raw, enum lens_dtype dtype, uint32_t dim, float *out)
{
    uint32_t bad = 0;
    if (dtype == LENS_F32) {
        memcpy(out, raw, (size_t)dim * 4);
    } else if (dtype == LENS_BF16) {
        for (uint32_t d = 0; d < dim; d++)
            out[d] = lens_f32_from_bf16(((const uint16_t *)raw)[d]);
    } else {
        for (uint32_t d = 0; d < dim; d++)
            out[d] = lens_f32_from_f16(((const uint16_t *)raw)[d]);
    }
    for (uint32_t d = 0; d < dim; d++)
        bad |= (lens_f32_bits(out[d]) & 0x7f800000u) == 0x7f800000u;
    return bad == 0;
}

static double fold(double sums[SUMS])
{
    for (uint32_t half = SUMS / 2; half > 0; half /= 2)
        for (uint32_t k = 0; k < half; k++)
            sums[k] += sums[k + half];
    return sums[0];
}

static double mean_of(const float *x, uint32_t dim)
{
    double sums[SUMS] = {0};
    uint32_t whole = dim / SUMS * SUMS;
    for (uint32_t d = 0; d < whole; d += SUMS)
        for (uint32_t k = 0; k < SUMS; k++)
            sums[k] += x[d + k];
    for (uint32_t d = whole; d < dim; d++)
        sums[d - whole] += x[d];
    return fold(sums) / dim;
}

static double variance_of(const float *x, uint32_t dim, double mean)
{
    double sums[SUMS] = {0};
    uint32_t whole = dim / SUMS * SUMS;
    for (uint32_t d = 0; d < whole; d += SUMS) {
        for (uint32_t k = 0; k < SUMS; k++) {
            double off = x[d + k] - mean;
            sums[k] += off * off;
        }
    }
    for (uint32_t d = whole; d < dim; d++) {
        double off = x[d] - mean;
        sums[d - whole] += off * off;
    }
    return fold(sums) / dim;
}

static void layernorm(float *x, uint32_t dim)
{
    double mean = mean_of(x, dim);
    double factor = 1.0 / sqrt(variance_of(x, dim, mean) + EPSILON);
    for (uint32_t d = 0; d < dim; d++)
        x[d] = (float)((x[d] - mean) * factor);
}

/* Four values as codes: the conversion rounds half to even. The clamp is for subnormal scales, which are coarse. */
static __m128i codes_of(__m128 x, __m128 scale)
{
    __m128 code = _mm_div_ps(x, scale);
    return _mm_cvtps_epi32(_mm_max_ps(_mm_min_ps(code, _mm_set1_ps(127.0f)), _mm_set1_ps(-127.0f)));
}

/* Puts n codes where the form wants them: 16-bit numbers, or bytes + 128. */
static void put_codes(__m128i codes, enum cpu_x_form form, uint32_t d, uint32_t n, void *out)
{
    __m128i words = _mm_packs_epi32(codes, codes);
    __m128i bytes = _mm_xor_si128(_mm_packs_epi16(words, words), _mm_set1_epi8(-128));
    if (form == CPU_X_U8)
        memcpy((uint8_t *)out + d, &bytes, n);
    else
        memcpy((int16_t *)out + d, &words, n * sizeof(int16_t));
}

/* Per row symmetric int8: scale = max|x|/127. Returns the scale. */
static float quantise(const float *x, uint32_t dim, enum cpu_x_form form, void *out)
{
    float rest[4] = {0};
    int32_t most = 0; /* the bits of finite magnitudes are ordered as they are, and integers vectorise */
    for (uint32_t d = 0; d < dim; d++) {
        int32_t size = (int32_t)(lens_f32_bits(x[d]) & 0x7fffffffu);
        most = size > most ? size : most;
    }
    float scale = lens_f32_from_bits((uint32_t)most) / 127.0f;
    __m128 step = _mm_set1_ps(scale > 0.0f ? scale : 1.0f);
    uint32_t whole = dim / 4 * 4;
    for (uint32_t d = 0; d < whole; d += 4)
        put_codes(codes_of(_mm_loadu_ps(x + d), step), form, d, 4, out);
    memcpy(rest, x + whole, (dim - whole) * sizeof *rest);
    put_codes(codes_of(_mm_loadu_ps(rest), step), form, whole, dim - whole, out);
    return scale;
}

static void keep(struct cpu_slab *slab, uint32_t row, const float *x, uint32_t dim)
{
    void *out = slab->x + slab->x_stride * row;
    enum cpu_x_form form = slab->first->x_form;
    switch (form) {
    case CPU_X_F32:
        memcpy(out, x, (size_t)dim * 4);
        break;
    case CPU_X_F32_ROUNDED:
        for (uint32_t d = 0; d < dim; d++)
            ((float *)out)[d] = lens_f32_from_bf16(lens_bf16_from_f32(x[d]));
        break;
    case CPU_X_BF16:
        for (uint32_t d = 0; d < dim; d++)
            ((uint16_t *)out)[d] = lens_bf16_from_f32(x[d]);
        break;
    case CPU_X_I16:
    case CPU_X_U8:
        slab->x_scale[row] = quantise(x, dim, form, out);
        break;
    }
}

int cpu_stage(struct lens_slab *base, uint32_t row, const void *source, enum lens_dtype dtype)
{
    struct cpu_slab *slab = (struct cpu_slab *)base;
    uint32_t dim = base->model.dim;
    if (row >= base->config.max_batch_rows || (dtype != LENS_F32 && dtype != LENS_F16 && dtype != LENS_BF16))
        return -EINVAL;
    memcpy(slab->raw, source, (size_t)dim * lens_dtype_bytes(dtype));
    if (!widen_row(slab->raw, dtype, dim, slab->staged))
        return -EDOM;
    if (base->model.normalize == LENS_NORMALIZE_LAYERNORM)
        layernorm(slab->staged, dim);
    keep(slab, row, slab->staged, dim);
    return 0;
}
