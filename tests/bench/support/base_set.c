/* Base lenses for bench_base; see base_set.h. */
#include "tests/bench/support/base_set.h"

#include "tests/bench/support/bench.h"
#include "tests/bench/support/reference64.h"

#include "proto/quantize.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define WRITES 64 /* lenses of one slot_write */

/* ---- f32 -------------------------------------------------------------------------------------------------------- */

static struct lens_weights source_weights(const struct bench_base_source *s, uint32_t i, const float *w1,
                                          const float *w2)
{
    return (struct lens_weights){
        w1,      s->b1 + (size_t)i * s->shape.h1, w2, s->b2 + (size_t)i * s->shape.h2, s->w3 + (size_t)i * s->shape.h2,
        s->b3[i]};
}

static void make_lenses(struct bench_base_source *s)
{
    struct bench_lens *lens = bench_lens_open(s->shape);
    size_t h1 = s->shape.h1, h2 = s->shape.h2, w1 = h1 * s->shape.dim;
    for (uint32_t i = 0; i < s->lenses; i++) {
        bench_lens_make(lens, s->tree->streams[i]);
        memcpy(s->w1 + i * w1, lens->w1, w1 * sizeof(float));
        memcpy(s->w2 + i * h1 * h2, lens->w2, h1 * h2 * sizeof(float));
        memcpy(s->b1 + i * h1, lens->b1, h1 * sizeof(float));
        memcpy(s->b2 + i * h2, lens->b2, h2 * sizeof(float));
        memcpy(s->w3 + i * h2, lens->w3, h2 * sizeof(float));
        s->b3[i] = lens->b3;
    }
    bench_lens_close(lens);
}

static void make_rows(struct bench_base_source *s)
{
    struct bench_rows *rows = bench_rows_open(s->tree, s->shape.dim, 7);
    for (uint32_t r = 0; r < s->rows; r++)
        bench_rows_next(rows, s->states + (size_t)r * s->shape.dim);
    bench_rows_close(rows);
}

static double *normalized_rows(const struct bench_base_source *s)
{
    double *x = bench_alloc((size_t)s->checked * s->shape.dim * sizeof *x);
    for (uint32_t r = 0; r < s->checked; r++)
        bench_normalize64(s->states + (size_t)r * s->shape.dim, s->shape.dim, x + (size_t)r * s->shape.dim);
    return x;
}

struct bench_base_source *bench_base_source_open(const char *tree, uint32_t lenses, uint32_t rows, uint32_t checked)
{
    struct bench_base_source *s = bench_alloc(sizeof *s);
    s->tree = bench_tree_open(tree);
    s->shape = (struct bench_shape){2560, 128, 64};
    s->lenses = lenses;
    s->rows = rows;
    s->checked = checked;
    if (lenses > s->tree->n || checked > rows)
        bench_die("the tree has %u lenses, %u are needed", s->tree->n, lenses);
    size_t n = lenses, h1 = s->shape.h1, h2 = s->shape.h2;
    s->w1 = bench_alloc(n * h1 * s->shape.dim * sizeof(float));
    s->w2 = bench_alloc(n * h1 * h2 * sizeof(float));
    s->b1 = bench_alloc(n * h1 * sizeof(float));
    s->b2 = bench_alloc(n * h2 * sizeof(float));
    s->w3 = bench_alloc(n * h2 * sizeof(float));
    s->b3 = bench_alloc(n * sizeof(float));
    s->states = bench_alloc((size_t)rows * s->shape.dim * sizeof(float));
    make_lenses(s);
    make_rows(s);
    double *x = normalized_rows(s);
    s->exact_f32 = bench_alloc(n * checked * sizeof(double));
    for (uint32_t i = 0; i < lenses; i++) {
        struct lens_weights w = source_weights(s, i, s->w1 + i * h1 * s->shape.dim, s->w2 + i * h1 * h2);
        for (uint32_t r = 0; r < checked; r++)
            s->exact_f32[(size_t)i * checked + r] = bench_logit64(&w, s->shape, x + (size_t)r * s->shape.dim);
    }
    free(x);
    return s;
}

void bench_base_source_close(struct bench_base_source *s)
{
    bench_tree_close(s->tree);
    free(s->w1);
    free(s->w2);
    free(s->b1);
    free(s->b2);
    free(s->w3);
    free(s->b3);
    free(s->states);
    free(s->exact_f32);
    free(s);
}

/* ---- as stored -------------------------------------------------------------------------------------------------- */

/* Encodes lens i and leaves in w1 and w2 what the codes mean. */
static void encode(struct bench_base_stored *st, uint32_t i, float *w1, float *w2)
{
    const struct bench_base_source *s = st->source;
    size_t dim = s->shape.dim, h1 = s->shape.h1, h2 = s->shape.h2, n = h1 * dim;
    unsigned char *to = st->w1 + i * n * lens_dtype_bytes(st->dtype);
    memcpy(w1, s->w1 + i * n, n * sizeof(float));
    memcpy(w2, s->w2 + i * h1 * h2, h1 * h2 * sizeof(float));
    if (st->dtype == LENS_F32)
        memcpy(to, w1, n * sizeof(float));
    for (size_t k = 0; st->dtype == LENS_BF16 && k < n; k++) {
        uint16_t half = lens_bf16_from_f32(w1[k]);
        memcpy(to + 2 * k, &half, 2);
        w1[k] = lens_f32_from_bf16(half);
    }
    for (size_t j = 0; st->dtype == LENS_I8 && j < h1; j++) {
        int8_t *codes = (int8_t *)to + j * dim;
        float *scale = &st->scale[i * h1 + j];
        lens_int8_encode(w1 + j * dim, (uint32_t)dim, codes, scale);
        for (size_t k = 0; k < dim; k++)
            w1[j * dim + k] = (float)codes[k] * *scale;
    }
    for (size_t k = 0; st->w2_bf16 && k < h1 * h2; k++) {
        st->w2_bf16[i * h1 * h2 + k] = lens_bf16_from_f32(w2[k]);
        w2[k] = lens_f32_from_bf16(st->w2_bf16[i * h1 * h2 + k]);
    }
}

struct bench_base_stored *bench_base_stored_open(const struct bench_base_source *s, enum lens_dtype dtype)
{
    struct bench_base_stored *st = bench_alloc(sizeof *st);
    size_t h1 = s->shape.h1, h2 = s->shape.h2, n = h1 * s->shape.dim;
    st->source = s;
    st->dtype = dtype;
    st->lens_bytes = n * lens_dtype_bytes(dtype) + (dtype == LENS_I8 ? h1 * 4 : 0) + h1 * h2 * (dtype ? 2 : 4);
    st->w1 = bench_alloc(s->lenses * n * lens_dtype_bytes(dtype));
    st->scale = bench_alloc(s->lenses * h1 * sizeof(float));
    st->w2_bf16 = dtype == LENS_F32 ? NULL : bench_alloc(s->lenses * h1 * h2 * sizeof(uint16_t));
    st->exact = bench_alloc((size_t)s->lenses * s->checked * sizeof(double));
    float *w1 = bench_alloc(n * sizeof(float)), *w2 = bench_alloc(h1 * h2 * sizeof(float));
    double *x = normalized_rows(s);
    for (uint32_t i = 0; i < s->lenses; i++) {
        encode(st, i, w1, w2);
        struct lens_weights w = source_weights(s, i, w1, w2);
        for (uint32_t r = 0; r < s->checked; r++)
            st->exact[(size_t)i * s->checked + r] = bench_logit64(&w, s->shape, x + (size_t)r * s->shape.dim);
    }
    free(x);
    free(w1);
    free(w2);
    return st;
}

void bench_base_stored_close(struct bench_base_stored *st)
{
    free(st->w1);
    free(st->scale);
    free(st->w2_bf16);
    free(st->exact);
    free(st);
}

/* ---- in a slab -------------------------------------------------------------------------------------------------- */

static void *repeat(const void *table, size_t bytes, uint32_t copies)
{
    unsigned char *out = bench_alloc(bytes * copies);
    for (uint32_t c = 0; c < copies; c++)
        memcpy(out + c * bytes, table, bytes);
    return out;
}

static void count_done(void *arg, int status)
{
    if (status != 0)
        bench_die("a slot write failed: %s", strerror(-status));
    atomic_fetch_add((atomic_uint *)arg, 1);
}

static void write_slots(struct bench_base_slab *b)
{
    const struct bench_base_stored *st = b->stored;
    struct bench_shape shape = st->source->shape;
    size_t lens_w1 = (size_t)shape.h1 * shape.dim * lens_dtype_bytes(st->dtype);
    uint32_t n = st->source->lenses, total = n * b->copies;
    atomic_uint done = 0;
    for (uint32_t first = 0, calls = 0; first < total; first += WRITES) {
        struct lens_slot_write writes[WRITES] = {{0}};
        struct lens_error err = {0};
        uint32_t m = bench_min(total - first, WRITES);
        for (uint32_t k = 0; k < m; k++) {
            uint32_t lens = (first + k) % n;
            writes[k] = (struct lens_slot_write){.slot = first + k,
                                                 .lens = first + k,
                                                 .stored = st->dtype,
                                                 .w1 = st->w1 + lens * lens_w1,
                                                 .scale = st->scale + (size_t)lens * shape.h1};
        }
        if (b->slab->backend->ops->slot_write(b->slab, 0, writes, m, count_done, &done, &err) < 0)
            bench_die("%s", err.text);
        calls++;
        while (atomic_load(&done) < calls)
            ;
        for (uint32_t k = 0; k < m; k++)
            lens_slab_map(b->slab, writes[k].lens, writes[k].slot, LENS_FROM_FILE);
    }
}

static struct lens_model model_of(struct bench_base_slab *b)
{
    const struct bench_base_source *s = b->stored->source;
    size_t n = s->lenses, h1 = s->shape.h1, h2 = s->shape.h2, total = n * b->copies;
    const uint16_t *half = b->stored->w2_bf16;
    b->b1 = repeat(s->b1, n * h1 * sizeof(float), b->copies);
    b->b2 = repeat(s->b2, n * h2 * sizeof(float), b->copies);
    b->w3 = repeat(s->w3, n * h2 * sizeof(float), b->copies);
    b->b3 = repeat(s->b3, n * sizeof(float), b->copies);
    b->w2 = half ? repeat(half, n * h1 * h2 * 2, b->copies) : repeat(s->w2, n * h1 * h2 * 4, b->copies);
    b->child_offsets = bench_alloc((total + 1) * sizeof(int32_t));
    b->layer = bench_alloc(total);
    b->calibration = bench_alloc(total * LENS_CALIBRATION_FIELDS * sizeof(float));
    return (struct lens_model){.lenses = (uint32_t)total,
                               .dim = s->shape.dim,
                               .h1 = s->shape.h1,
                               .h2 = s->shape.h2,
                               .normalize = LENS_NORMALIZE_LAYERNORM,
                               .b1 = b->b1,
                               .w2 = b->w2,
                               .w2_dtype = half ? LENS_BF16 : LENS_F32,
                               .b2 = b->b2,
                               .w3 = b->w3,
                               .b3 = b->b3,
                               .child_offsets = b->child_offsets,
                               .child_ids = b->child_offsets,
                               .layer = b->layer,
                               .calibration = b->calibration};
}

struct bench_base_slab *bench_base_slab_open(struct lens_backend *backend, const struct bench_base_stored *stored,
                                             enum lens_compute compute, uint64_t at_least_bytes)
{
    const struct bench_base_source *s = stored->source;
    struct bench_base_slab *b = bench_alloc(sizeof *b);
    struct lens_error err = {0};
    b->stored = stored;
    b->copies = (uint32_t)(at_least_bytes / (stored->lens_bytes * s->lenses)) + 1;
    struct lens_model model = model_of(b);
    struct lens_slab_config config = {
        .slots = model.lenses, .dtype = stored->dtype, .compute = compute, .max_batch_rows = s->rows, .loaders = 1};
    int failed = backend->ops->slab_create(backend, &model, &config, &b->slab, &err);
    if (failed < 0) {
        b->slab = NULL;
        bench_base_slab_close(b);
        if (failed == -ENOMEM)
            bench_die("%s", err.text);
        return NULL;
    }
    write_slots(b);
    for (uint32_t r = 0; r < s->rows; r++) {
        if (backend->ops->stage(b->slab, r, s->states + (size_t)r * s->shape.dim, LENS_F32) != 0)
            bench_die("row %u was refused", r);
    }
    return b;
}

void bench_base_slab_close(struct bench_base_slab *b)
{
    if (b->slab)
        b->slab->backend->ops->slab_destroy(b->slab);
    free(b->b1);
    free(b->b2);
    free(b->w3);
    free(b->b3);
    free(b->w2);
    free(b->child_offsets);
    free(b->layer);
    free(b->calibration);
    free(b);
}
