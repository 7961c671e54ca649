/* Staging: one row from wherever it came to x^ in the form the first layer's kernel takes.
 *
 * The source may be memory that another process writes to: it is copied once, and everything after works on the
 * copy. */
#include "kernels/cpu/cpu.h"

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
    double deviation = sqrt(variance_of(x, dim, mean) + EPSILON);
    for (uint32_t d = 0; d < dim; d++)
        x[d] = (float)((x[d] - mean) / deviation);
}

/* Per row symmetric int8: scale = max|x|/127, codes rounded half to even. Returns the scale. */
static float quantise(const float *x, uint32_t dim, int32_t offset, enum cpu_x_form form, void *out)
{
    float most = 0.0f;
    for (uint32_t d = 0; d < dim; d++)
        most = fabsf(x[d]) > most ? fabsf(x[d]) : most;
    float scale = most / 127.0f;
    for (uint32_t d = 0; d < dim; d++) {
        float code = scale > 0.0f ? rintf(x[d] / scale) : 0.0f;
        code = code > 127.0f ? 127.0f : code < -127.0f ? -127.0f : code; /* a subnormal scale is coarse */
        if (form == CPU_X_U8)
            ((uint8_t *)out)[d] = (uint8_t)((int32_t)code + offset);
        else
            ((int16_t *)out)[d] = (int16_t)code;
    }
    return scale;
}

static void keep(struct cpu_slab *slab, uint32_t row, const float *x, uint32_t dim)
{
    uint8_t *out = slab->x + slab->x_stride * row;
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
        slab->x_scale[row] = quantise(x, dim, 0, form, out);
        break;
    case CPU_X_U8:
        slab->x_scale[row] = quantise(x, dim, 128, form, out);
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
