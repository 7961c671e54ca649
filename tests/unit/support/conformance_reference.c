/* See conformance_model.h: what a model's answers must be, in float64, and how far off a backend may be.
 *
 * The bound (kernels/README.md states it), u = 2^-24:
 *     off[d]  of x^[d]: exact 2u|x^|, bf16 2^-8 |x^| + 2u|x^|, int8 max|x^|/254 + 2u max|x^|
 *     first layer:  e1 = 6 sqrt(sum w^2 off^2) + (4 sqrt(D) + 8) u (sum |w x^| + |b1|)
 *                        + (log8) (span/2 + 4) u sum |w x^|, span = ln of the output's largest weight over its smallest
 *     second layer: e2 = sum |w2| e1           + (4 sqrt(H1) + 8) u (sum |w2 hidden| + |b2|)
 *     logit:        sum |w3| e2                + (4 sqrt(H2) + 8) u (sum |w3 hidden2| + |b3|)
 * Square roots: rounding errors of a sum add up like a random walk; 4 and 6 are far beyond what they reach. */
#include "proto/quantize.h"
#include "tests/unit/support/conformance_model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define UNIT 0x1p-24

static double *doubles(size_t n)
{
    double *memory = calloc(n + 1, sizeof *memory);
    if (memory == NULL) {
        fprintf(stderr, "no memory for a reference\n");
        abort();
    }
    return memory;
}

/* ---- weights ---------------------------------------------------------------------------------------------------- */

static void stored_row(const struct conformance_model *m, size_t row, float *out)
{
    uint32_t dim = m->shape.dim;
    size_t at = row * dim;
    if (m->shape.stored == LENS_LOG8)
        lens_log8_decode((const uint8_t *)m->w1 + at, m->sign + row * ((dim + 7) / 8), dim, m->log_min[row],
                         m->log_max[row], out);
    for (uint32_t d = 0; d < dim; d++) {
        if (m->shape.stored == LENS_F32)
            out[d] = ((const float *)m->w1)[at + d];
        else if (m->shape.stored == LENS_BF16)
            out[d] = lens_f32_from_bf16(((const uint16_t *)m->w1)[at + d]);
        else if (m->shape.stored == LENS_I8)
            out[d] = (float)((const int8_t *)m->w1)[at + d] * m->scale[row];
    }
}

/* codes * scale without rounding: what an int8 slab stands for. */
static void int8_row(const struct conformance_model *m, size_t row, const float *values, double *out)
{
    uint32_t dim = m->shape.dim;
    bool kept = m->shape.stored == LENS_I8;
    int8_t *codes = calloc(dim + 1u, 1);
    float scale = kept ? m->scale[row] : 0.0f;
    if (codes == NULL)
        abort();
    if (kept)
        memcpy(codes, (const int8_t *)m->w1 + row * dim, dim);
    else
        lens_int8_encode(values, dim, codes, &scale);
    for (uint32_t d = 0; d < dim; d++)
        out[d] = (double)codes[d] * (double)scale;
    free(codes);
}

/* The e4m3 value next to `value`, half to even; nothing is larger than 448. */
static double to_e4m3(double value)
{
    int exponent;
    if (value == 0.0)
        return 0.0;
    frexp(value, &exponent); /* value = 0.1xxx * 2^exponent */
    double step = ldexp(1.0, (exponent - 1 > -6 ? exponent - 1 : -6) - 3);
    double rounded = rint(value / step) * step;
    return fabs(rounded) > 448.0 ? copysign(448.0, value) : rounded;
}

/* e4m3 * scale without rounding: what an fp8 slab stands for. */
static void fp8_row(const float *values, uint32_t dim, double *out)
{
    float most = 0.0f;
    for (uint32_t d = 0; d < dim; d++)
        most = fmaxf(most, fabsf(values[d]));
    float scale = most / 448.0f;
    for (uint32_t d = 0; d < dim; d++)
        out[d] = scale > 0.0f ? to_e4m3((double)(values[d] / scale)) * (double)scale : 0.0;
}

/* What log8 codes stand for, without rounding. */
static void log8_row(const struct conformance_model *m, size_t row, const float *values, double *out)
{
    uint32_t dim = m->shape.dim, sign_bytes = (dim + 7) / 8;
    bool kept = m->shape.stored == LENS_LOG8;
    uint8_t *codes = calloc(dim + 1u, 1), *sign = calloc(sign_bytes, 1);
    float log_min = kept ? m->log_min[row] : 0.0f, log_max = kept ? m->log_max[row] : 0.0f;
    if (codes == NULL || sign == NULL)
        abort();
    if (kept) {
        memcpy(codes, (const uint8_t *)m->w1 + row * dim, dim);
        memcpy(sign, m->sign + row * sign_bytes, sign_bytes);
    } else {
        lens_log8_encode(values, dim, codes, sign, &log_min, &log_max);
    }
    for (uint32_t d = 0; d < dim; d++) {
        double log = (double)log_min + (255 - codes[d]) / 254.0 * ((double)log_max - (double)log_min);
        double size = codes[d] != 0 ? exp(log) : 0.0;
        out[d] = sign[d / 8] >> d % 8 & 1 ? -size : size;
    }
    free(codes);
    free(sign);
}

double *conformance_slab_weights(const struct conformance_model *m, uint32_t lens, enum lens_dtype dtype)
{
    uint32_t dim = m->shape.dim, h1 = m->shape.h1;
    double *weights = doubles((size_t)h1 * dim);
    float *values = calloc(dim + 1u, sizeof *values);
    if (values == NULL)
        abort();
    for (uint32_t h = 0; h < h1; h++) {
        size_t row = (size_t)lens * h1 + h;
        double *out = weights + (size_t)h * dim;
        stored_row(m, row, values);
        for (uint32_t d = 0; d < dim; d++)
            out[d] = dtype == LENS_BF16 ? lens_f32_from_bf16(lens_bf16_from_f32(values[d])) : values[d];
        if (dtype == LENS_I8)
            int8_row(m, row, values, out);
        if (dtype == LENS_FP8)
            fp8_row(values, dim, out);
        if (dtype == LENS_LOG8)
            log8_row(m, row, values, out);
    }
    free(values);
    return weights;
}

/* ---- rows ------------------------------------------------------------------------------------------------------- */

static double row_value(const void *row, enum lens_dtype dtype, uint32_t d)
{
    if (dtype == LENS_F32)
        return ((const float *)row)[d];
    if (dtype == LENS_BF16)
        return lens_f32_from_bf16(((const uint16_t *)row)[d]);
    uint16_t half = ((const uint16_t *)row)[d];
    int exponent = half >> 10 & 31;
    double mantissa = half & 1023;
    double size = exponent == 0 ? ldexp(mantissa, -24) : ldexp(1024.0 + mantissa, exponent - 25);
    return half & 0x8000 ? -size : size;
}

static void normalise(double *x, uint32_t dim)
{
    double mean = 0, variance = 0;
    for (uint32_t d = 0; d < dim; d++)
        mean += x[d] / dim;
    for (uint32_t d = 0; d < dim; d++)
        variance += (x[d] - mean) * (x[d] - mean) / dim;
    for (uint32_t d = 0; d < dim; d++)
        x[d] = (x[d] - mean) / sqrt(variance + 1e-5);
}

/* What the mode makes of values that are f32 already. */
static void round_as(enum lens_compute compute, double *x, uint32_t dim, double most)
{
    float step = (float)most / 127.0f;
    for (uint32_t d = 0; d < dim; d++) {
        if (compute == LENS_COMPUTE_BF16)
            x[d] = lens_f32_from_bf16(lens_bf16_from_f32((float)x[d]));
        else if (compute == LENS_COMPUTE_INT8)
            x[d] = step > 0 ? (double)rintf((float)x[d] / step) * (double)step : 0.0;
    }
}

void conformance_x(const struct conformance_shape *shape, enum lens_compute compute, const void *row,
                   enum lens_dtype dtype, double *x, double *off)
{
    uint32_t dim = shape->dim;
    double most = 0;
    for (uint32_t d = 0; d < dim; d++)
        x[d] = row_value(row, dtype, d);
    if (shape->normalize == LENS_NORMALIZE_LAYERNORM)
        normalise(x, dim);
    for (uint32_t d = 0; d < dim; d++)
        most = fabs(x[d]) > most ? fabs(x[d]) : most;
    for (uint32_t d = 0; d < dim; d++) {
        off[d] = 2 * UNIT * fabs(x[d]);
        if (compute == LENS_COMPUTE_BF16)
            off[d] += fabs(x[d]) / 256;
        if (compute == LENS_COMPUTE_INT8)
            off[d] = most / 254 + 2 * UNIT * most;
    }
    if (shape->normalize == LENS_NORMALIZE_NONE) {
        memset(off, 0, dim * sizeof *off);
        round_as(compute, x, dim, most);
    }
}

/* ---- the answer ------------------------------------------------------------------------------------------------- */

struct sum {
    double value, size, spread, linear; /* sum of products, of their magnitudes, of (w*e)^2, of |w|*e */
};

static struct sum products(const double *w, const double *x, const double *e, uint32_t n)
{
    struct sum s = {0};
    for (uint32_t i = 0; i < n; i++) {
        s.value += w[i] * x[i];
        s.size += fabs(w[i] * x[i]);
        s.spread += w[i] * w[i] * e[i] * e[i];
        s.linear += fabs(w[i]) * e[i];
    }
    return s;
}

static double rounding(uint32_t terms, double size)
{
    return (4 * sqrt(terms) + 8) * UNIT * size;
}

/* How far off log8 weights may be, relatively: their decoding. */
static double decoding(const double *w, uint32_t n)
{
    double smallest = INFINITY, largest = 0;
    for (uint32_t i = 0; i < n; i++) {
        largest = fmax(largest, fabs(w[i]));
        smallest = w[i] != 0 ? fmin(smallest, fabs(w[i])) : smallest;
    }
    return largest > 0 ? (log(largest / smallest) / 2 + 4) * UNIT : 0;
}

static double w2_value(const struct lens_model *model, size_t at)
{
    return model->w2_dtype == LENS_F32 ? ((const float *)model->w2)[at]
                                       : lens_f32_from_bf16(((const uint16_t *)model->w2)[at]);
}

struct conformance_answer conformance_reference(const struct conformance_model *m, uint32_t lens, enum lens_dtype dtype,
                                                const double *weights, const double *x, const double *off)
{
    const struct lens_model *model = &m->model;
    uint32_t dim = model->dim, h1 = model->h1, h2 = model->h2;
    double *hidden = doubles(h1), *e1 = doubles(h1), *w2 = doubles(h1);
    double *hidden2 = doubles(h2), *e2 = doubles(h2), *w3 = doubles(h2);
    for (uint32_t h = 0; h < h1; h++) {
        double b1 = model->b1[(size_t)lens * h1 + h];
        struct sum s = products(weights + (size_t)h * dim, x, off, dim);
        hidden[h] = fmax(s.value + b1, 0.0);
        e1[h] = 6 * sqrt(s.spread) + rounding(dim, s.size + fabs(b1));
        if (dtype == LENS_LOG8)
            e1[h] += decoding(weights + (size_t)h * dim, dim) * s.size;
    }
    for (uint32_t j = 0; j < h2; j++) {
        double b2 = model->b2[(size_t)lens * h2 + j];
        for (uint32_t h = 0; h < h1; h++)
            w2[h] = w2_value(model, ((size_t)lens * h2 + j) * h1 + h);
        struct sum s = products(w2, hidden, e1, h1);
        hidden2[j] = fmax(s.value + b2, 0.0);
        e2[j] = s.linear + rounding(h1, s.size + fabs(b2));
        w3[j] = model->w3[(size_t)lens * h2 + j];
    }
    struct sum s = products(w3, hidden2, e2, h2);
    double b3 = model->b3[lens];
    struct conformance_answer answer = {s.value + b3, s.linear + rounding(h2, s.size + fabs(b3))};
    free(hidden);
    free(e1);
    free(w2);
    free(hidden2);
    free(e2);
    free(w3);
    return answer;
}
