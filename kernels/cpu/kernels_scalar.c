/* The reference variant: plain C over row-major weights, one addition after the other. Every other variant is held to
 * it (and it to float64) by the conformance suite; it must stay obvious, not fast. */
#include "kernels/cpu/kernel.h"
#include "kernels/cpu/tail.h"

#include <math.h>

static float weight_f32(const void *w, size_t i)
{
    return ((const float *)w)[i];
}

static float weight_bf16(const void *w, size_t i)
{
    return lens_f32_from_bf16(((const uint16_t *)w)[i]);
}

static float weight_i8(const void *w, size_t i)
{
    return (float)((const int8_t *)w)[i];
}

static void float_product(const struct cpu_product *p, uint32_t depth, float (*weight)(const void *, size_t))
{
    size_t length = (size_t)p->units * depth;
    for (uint32_t o = 0; o < p->padded; o++) {
        for (uint32_t r = 0; r < p->n; r++) {
            const float *x = p->x[r];
            float sum = 0.0f;
            for (size_t d = 0; d < length; d++)
                sum += weight(p->weights, o * length + d) * x[d];
            ((float *)p->acc)[(size_t)r * p->padded + o] = sum;
        }
    }
}

static void product_f32(const struct cpu_product *p)
{
    float_product(p, 1, weight_f32);
}

static void product_bf16(const struct cpu_product *p)
{
    float_product(p, 2, weight_bf16);
}

static void product_i8(const struct cpu_product *p)
{
    float_product(p, 4, weight_i8);
}

/* The magnitudes of an output's codes, by code as it lies in the slot + 128. */
static void log8_values(float step, float values[256])
{
    values[0] = 0.0f;
    for (int code = CPU_LOG8_ZERO + 1; code < 128; code++)
        values[code + 128] = (float)exp2((double)step * code);
}

static void product_log8(const struct cpu_product *p)
{
    size_t length = (size_t)p->units * 4, sign_length = (size_t)cpu_sign_units(p->units) * 4;
    for (uint32_t o = 0; o < p->padded; o++) {
        const int8_t *codes = (const int8_t *)p->weights + o * length;
        const uint8_t *signs = (const uint8_t *)p->signs + o * sign_length;
        float *values = p->scratch;
        log8_values(p->steps[o], values);
        for (uint32_t r = 0; r < p->n; r++) {
            const float *x = p->x[r];
            float sum = 0.0f;
            for (size_t d = 0; d < length; d++) {
                float value = values[codes[d] + 128];
                sum += (signs[d / 8] >> d % 8 & 1 ? -value : value) * x[d];
            }
            ((float *)p->acc)[(size_t)r * p->padded + o] = sum;
        }
    }
}

static void product_int8(const struct cpu_product *p)
{
    size_t length = (size_t)p->units * 4;
    for (uint32_t o = 0; o < p->padded; o++) {
        const int8_t *w = (const int8_t *)p->weights + o * length;
        for (uint32_t r = 0; r < p->n; r++) {
            const int16_t *x = p->x[r];
            int32_t sum = 0;
            for (size_t d = 0; d < length; d++)
                sum += w[d] * x[d];
            ((int32_t *)p->acc)[(size_t)r * p->padded + o] = sum;
        }
    }
}

static const struct cpu_kernel exact_f32 = {LENS_F32, CPU_X_F32, false, 1, 1, 1, product_f32};
static const struct cpu_kernel exact_bf16 = {LENS_BF16, CPU_X_F32, false, 1, 1, 1, product_bf16};
static const struct cpu_kernel exact_i8 = {LENS_I8, CPU_X_F32, false, 1, 1, 1, product_i8};
static const struct cpu_kernel exact_log8 = {LENS_LOG8, CPU_X_F32, false, 1, 1, 1, product_log8};
static const struct cpu_kernel bf16_bf16 = {LENS_BF16, CPU_X_F32_ROUNDED, false, 1, 1, 1, product_bf16};
static const struct cpu_kernel int8_i8 = {LENS_I8, CPU_X_I16, true, 1, 1, 1, product_int8};

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

static void pack(const void *const *rows, uint32_t first, uint32_t n, uint32_t group, uint8_t *out, size_t stride)
{
    (void)group; /* one lane has no order */
    (void)stride;
    memcpy(out, (const char *)rows[0] + (size_t)first * 4, (size_t)n * 4);
}

const struct cpu_variant cpu_variant_scalar = {
    .name = "scalar",
    .kernel = kernel_for,
    .hidden = tail_hidden,
    .logit = tail_logit,
    .pack = pack,
};
