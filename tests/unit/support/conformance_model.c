/* See conformance_model.h: random models. */
#include "tests/unit/support/conformance_model.h"

#include "proto/quantize.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* ---- random numbers --------------------------------------------------------------------------------------------- */

uint64_t conformance_seed(void)
{
    const char *given = getenv("LENS_TEST_SEED");
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t seed =
        given != NULL ? strtoull(given, NULL, 0) : (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    printf("LENS_TEST_SEED=%llu\n", (unsigned long long)seed);
    return seed;
}

/* splitmix64 */
uint64_t conformance_bits(struct conformance_random *random)
{
    uint64_t z = random->state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint32_t conformance_below(struct conformance_random *random, uint32_t n)
{
    return (uint32_t)((conformance_bits(random) >> 32) * n >> 32);
}

static double uniform(struct conformance_random *random)
{
    return (double)(conformance_bits(random) >> 11) * 0x1p-53;
}

double conformance_normal(struct conformance_random *random)
{
    double radius = sqrt(-2.0 * log(1.0 - uniform(random)));
    return radius * cos(6.283185307179586 * uniform(random));
}

void conformance_shuffle(struct conformance_random *random, uint32_t *list, uint32_t n)
{
    for (uint32_t i = n; i > 1; i--) {
        uint32_t k = conformance_below(random, i), kept = list[i - 1];
        list[i - 1] = list[k];
        list[k] = kept;
    }
}

/* ---- a model ---------------------------------------------------------------------------------------------------- */

static void *must(void *memory)
{
    if (memory == NULL) {
        fprintf(stderr, "no memory for a test model\n");
        abort();
    }
    return memory;
}

static void *zeroed(size_t n, size_t size)
{
    return must(calloc(n + 1, size));
}

static void fill(float *out, size_t n, double deviation, struct conformance_random *random)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (float)(conformance_normal(random) * deviation);
}

/* One row of W1 in the model's stored dtype. */
static void store_row(struct conformance_model *m, size_t row, const float *values)
{
    uint32_t dim = m->shape.dim;
    size_t at = row * dim;
    switch (m->shape.stored) {
    case LENS_F32:
        memcpy((float *)m->w1 + at, values, (size_t)dim * 4);
        break;
    case LENS_BF16:
        for (uint32_t d = 0; d < dim; d++)
            ((uint16_t *)m->w1)[at + d] = lens_bf16_from_f32(values[d]);
        break;
    case LENS_I8:
        lens_int8_encode(values, dim, (int8_t *)m->w1 + at, &m->scale[row]);
        break;
    default:
        lens_log8_encode(values, dim, (uint8_t *)m->w1 + at, m->sign + row * ((dim + 7) / 8), &m->log_min[row],
                         &m->log_max[row]);
        break;
    }
}

static void fill_w1(struct conformance_model *m, struct conformance_random *random)
{
    const struct conformance_shape *s = &m->shape;
    size_t rows = (size_t)s->lenses * s->h1;
    m->w1 = zeroed(rows * s->dim, lens_dtype_bytes(s->stored));
    m->sign = zeroed(rows * ((s->dim + 7) / 8), 1);
    m->scale = zeroed(rows, sizeof(float));
    m->log_min = zeroed(rows, sizeof(float));
    m->log_max = zeroed(rows, sizeof(float));
    float *values = zeroed(s->dim, sizeof(float));
    for (size_t row = 0; row < rows; row++) {
        fill(values, s->dim, 1.0 / sqrt(s->dim), random);
        if (conformance_below(random, 16) == 0)
            memset(values, 0, (size_t)s->dim * 4); /* a dead unit */
        store_row(m, row, values);
    }
    free(values);
}

static void fill_tables(struct conformance_model *m, struct conformance_random *random)
{
    const struct conformance_shape *s = &m->shape;
    size_t b1 = (size_t)s->lenses * s->h1, w2 = b1 * s->h2, wide = (size_t)s->lenses * s->h2;
    size_t total = b1 + w2 + 2 * wide + s->lenses;
    m->tables = zeroed(total + (size_t)s->lenses * LENS_CALIBRATION_FIELDS, sizeof(float));
    float *at = m->tables;
    fill(at, total, 0.3, random);
    for (size_t i = 0; i < w2; i++)
        at[b1 + i] *= (float)(3.0 / sqrt(s->h1));
    if (s->w2_dtype == LENS_BF16)
        for (size_t i = 0; i < w2; i++)
            ((uint16_t *)(at + b1))[i] = lens_bf16_from_f32(at[b1 + i]);
    m->model.b1 = at;
    m->model.w2 = at + b1;
    m->model.b2 = at + b1 + w2;
    m->model.w3 = at + b1 + w2 + wide;
    m->model.b3 = at + b1 + w2 + 2 * wide;
    m->model.calibration = at + total;
}

struct conformance_model *conformance_model_new(const struct conformance_shape *shape,
                                                struct conformance_random *random)
{
    struct conformance_model *m = zeroed(1, sizeof *m);
    m->shape = *shape;
    m->model = (struct lens_model){.lenses = shape->lenses,
                                   .dim = shape->dim,
                                   .h1 = shape->h1,
                                   .h2 = shape->h2,
                                   .normalize = shape->normalize,
                                   .w2_dtype = shape->w2_dtype};
    fill_w1(m, random);
    fill_tables(m, random);
    m->offsets = zeroed(shape->lenses + 1u, sizeof(int32_t));
    m->layers = zeroed(shape->lenses, 1);
    m->model.child_offsets = m->offsets;
    m->model.child_ids = m->offsets;
    m->model.layer = m->layers;
    return m;
}

void conformance_model_free(struct conformance_model *m)
{
    if (m == NULL)
        return;
    free(m->w1);
    free(m->sign);
    free(m->scale);
    free(m->log_min);
    free(m->log_max);
    free(m->tables);
    free(m->offsets);
    free(m->layers);
    free(m);
}

struct lens_slot_write conformance_write(const struct conformance_model *m, uint32_t slot, uint32_t lens)
{
    const struct conformance_shape *s = &m->shape;
    size_t row = (size_t)lens * s->h1;
    struct lens_slot_write w = {.slot = slot, .lens = lens, .stored = s->stored};
    w.w1 = (const char *)m->w1 + row * s->dim * lens_dtype_bytes(s->stored);
    if (s->stored == LENS_I8)
        w.scale = m->scale + row;
    if (s->stored == LENS_LOG8) {
        w.sign = m->sign + row * ((s->dim + 7) / 8);
        w.log_min = m->log_min + row;
        w.log_max = m->log_max + row;
    }
    return w;
}

void *conformance_rows(const struct conformance_shape *shape, enum lens_dtype dtype, uint32_t n,
                       struct conformance_random *random)
{
    size_t count = (size_t)n * shape->dim;
    float *values = zeroed(count, sizeof(float));
    double offset = conformance_normal(random);
    for (size_t i = 0; i < count; i++) {
        double v = conformance_normal(random) * 2.0 + offset;
        values[i] = (float)(conformance_below(random, 200) == 0 ? v * 20.0 : v);
    }
    uint16_t *half = (uint16_t *)values;
    for (size_t i = 0; i < count && dtype == LENS_BF16; i++)
        half[i] = lens_bf16_from_f32(values[i]);
    for (size_t i = 0; i < count && dtype == LENS_F16; i++) {
        /* f16 by cutting off bits, which is as random as rounding; values here are far from f16's limits */
        uint32_t bits = lens_f32_bits(values[i]), exponent = (bits >> 23 & 0xff) - 112;
        uint32_t sign = bits >> 16 & 0x8000;
        half[i] = (uint16_t)(exponent - 1 < 30 ? sign | exponent << 10 | (bits >> 13 & 0x3ff) : sign | (bits & 0x3ff));
    }
    return values;
}
