/* Sizes that fit no tile, many slots, slabs beyond 32-bit offsets, weights that aren't numbers. See checks.h. */
#include "tests/gpu/checks.h"

#include "tests/bench/support/bench.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define SAMPLED 8u

static struct lens_slab_config config_of(const struct conformance_pair *pair, uint32_t slots, uint32_t rows)
{
    return (struct lens_slab_config){
        .slots = slots, .dtype = pair->dtype, .compute = pair->compute, .max_batch_rows = rows, .loaders = 1};
}

/* One lens on one row against float64; returns the share of the bound that the error takes. */
static double check_logit(const struct conformance_model *model, const struct conformance_pair *pair, uint32_t lens,
                          const double *weights, const void *row, enum lens_dtype dtype, float got)
{
    uint32_t dim = model->shape.dim;
    double *x = bench_alloc(dim * sizeof *x), *off = bench_alloc(dim * sizeof *off);
    conformance_x(&model->shape, pair->compute, row, dtype, x, off);
    struct conformance_answer want = conformance_reference(model, lens, pair->dtype, weights, x, off);
    double error = fabs((double)got - want.logit);
    if (!(error <= want.bound))
        fail_msg("%s slab, compute %s, %u -> %u -> %u: lens %u has the logit %.9g, expected %.9g +- %.3g",
                 lens_dtype_name(pair->dtype), lens_compute_name(pair->compute), dim, model->shape.h1, model->shape.h2,
                 lens, (double)got, want.logit, want.bound);
    free(x);
    free(off);
    return want.bound > 0 ? error / want.bound : 0;
}

/* ---- shapes ----------------------------------------------------------------------------------------------------- */

/* Some rows of a batch against float64, and alone against the batch, bit for bit. */
static double check_rows(struct conformance_rig *rig, const struct conformance_pair *pair,
                         const struct conformance_call *call, const float *logits, struct conformance_random *random)
{
    const struct conformance_model *model = rig->model;
    uint32_t lenses = model->shape.lenses;
    size_t row_bytes = (size_t)model->shape.dim * lens_dtype_bytes(call->dtype);
    float *alone = bench_alloc(lenses * sizeof *alone);
    double share = 0;
    for (uint32_t lens = 0; lens < lenses; lens++) {
        double *weights = conformance_slab_weights(model, lens, pair->dtype);
        for (uint32_t i = 0; i < SAMPLED; i++) {
            uint32_t row = conformance_below(random, call->n);
            uint8_t status = 0xff;
            share = fmax(share, check_logit(model, pair, lens, weights, (const char *)call->rows + row_bytes * row,
                                            call->dtype, logits[(size_t)row * lenses + lens]));
            struct conformance_call one = {
                .rows = call->rows, .dtype = call->dtype, .order = &row, .n = 1, .job_rows = 1};
            conformance_run(rig, &one, alone, &status);
            assert_int_equal(status, LENS_ROW_COMPLETE);
            assert_memory_equal(alone, logits + (size_t)row * lenses, lenses * sizeof *alone);
        }
        free(weights);
    }
    free(alone);
    return share;
}

static void check_shape(const struct gpu_context *context, const struct conformance_pair *pair,
                        const struct conformance_shape *shape, uint32_t rows, struct conformance_random *random)
{
    static const enum lens_dtype dtypes[] = {LENS_F32, LENS_F16, LENS_BF16};
    struct conformance_model *model = conformance_model_new(shape, random);
    struct lens_slab_config config = config_of(pair, shape->lenses + 2, rows);
    struct conformance_call call = {.dtype = dtypes[conformance_below(random, 3)], .n = rows, .job_rows = rows};
    float *logits = bench_alloc((size_t)rows * shape->lenses * sizeof *logits);
    uint8_t *status = bench_alloc(rows);
    struct conformance_rig rig;
    void *states = conformance_rows(shape, call.dtype, rows, random);
    call.rows = states;
    call.job_rows = 1 + conformance_below(random, rows);
    conformance_rig_open(&rig, context->target, 2, model, &config);
    conformance_load(&rig, NULL, NULL, shape->lenses);
    conformance_run(&rig, &call, logits, status);
    double share = check_rows(&rig, pair, &call, logits, random);
    printf("%-5s %-6s D %5u H1 %3u H2 %3u, %3u rows of %s: at most %.2f of the bound\n", lens_dtype_name(pair->dtype),
           lens_compute_name(pair->compute), shape->dim, shape->h1, shape->h2, rows, lens_dtype_name(call.dtype),
           share);
    conformance_rig_close(&rig);
    conformance_model_free(model);
    free(states);
    free(logits);
    free(status);
}

void gpu_check_shapes(const struct gpu_context *context)
{
    static const uint32_t dims[] = {2560, 2561, 2559, 3001, 4096, 5003, 8200, 16384};
    static const uint32_t few_dims[] = {1, 65, 130, 200, 1030};
    static const uint32_t h1s[] = {1, 15, 17, 64, 100, 128, 131, 256}, h2s[] = {1, 3, 31, 64, 65, 128};
    static const uint32_t counts[] = {1, 2, 7, 8, 9, 31, 33, 64, 100, 257, 512}, few_counts[] = {1, 3, 9, 33};
    struct conformance_random random = {context->seed};
    uint32_t shapes = context->reduced ? 2 : 8;
    for (uint32_t i = 0; i < shapes * conformance_n_pairs(context->target); i++) {
        const struct conformance_pair *pair =
            conformance_pair(context->target, i % conformance_n_pairs(context->target));
        struct conformance_shape shape = {
            .lenses = 3,
            .dim = context->reduced ? few_dims[conformance_below(&random, 5)]
                                    : dims[i / conformance_n_pairs(context->target) % 8],
            .h1 = h1s[conformance_below(&random, context->reduced ? 3 : 8)],
            .h2 = h2s[conformance_below(&random, context->reduced ? 3 : 6)],
            .normalize = conformance_below(&random, 2) ? LENS_NORMALIZE_LAYERNORM : LENS_NORMALIZE_NONE,
            .stored = conformance_stored(pair->dtype),
            .w2_dtype = conformance_below(&random, 2) ? LENS_BF16 : LENS_F32,
        };
        uint32_t rows =
            context->reduced ? few_counts[conformance_below(&random, 4)] : counts[conformance_below(&random, 11)];
        check_shape(context, pair, &shape, rows, &random);
    }
}

/* ---- many slots ------------------------------------------------------------------------------------------------- */

static void check_slots(const struct gpu_context *context, uint32_t slots, struct conformance_random *random)
{
    const struct conformance_pair *pair =
        conformance_pair(context->target, conformance_below(random, conformance_n_pairs(context->target)));
    struct conformance_shape shape = {
        .lenses = slots, .dim = 72, .h1 = 20, .h2 = 6, .stored = conformance_stored(pair->dtype), .w2_dtype = LENS_F32};
    struct conformance_model *model = conformance_model_new(&shape, random);
    struct lens_slab_config config = config_of(pair, slots, 9);
    struct conformance_call call = {.dtype = LENS_F32, .n = 9, .job_rows = 2};
    uint32_t *order = bench_alloc(slots * sizeof *order);
    float *logits = bench_alloc((size_t)9 * slots * sizeof *logits);
    uint8_t status[9];
    struct conformance_rig rig;
    void *rows = conformance_rows(&shape, LENS_F32, 9, random);
    for (uint32_t i = 0; i < slots; i++)
        order[i] = i;
    conformance_shuffle(random, order, slots);
    call.rows = rows;
    conformance_rig_open(&rig, context->target, 2, model, &config);
    conformance_load(&rig, order, NULL, slots);
    conformance_run(&rig, &call, logits, status);
    for (uint32_t i = 0; i < 300 && i < slots; i++) {
        uint32_t lens = slots <= 300 ? i : conformance_below(random, slots), row = conformance_below(random, 9);
        double *weights = conformance_slab_weights(model, lens, pair->dtype);
        check_logit(model, pair, lens, weights, (const float *)rows + (size_t)row * shape.dim, LENS_F32,
                    logits[(size_t)row * slots + lens]);
        free(weights);
    }
    for (size_t i = 0; i < (size_t)9 * slots; i++)
        assert_true(isfinite(logits[i]));
    printf("%u slots in any order, %s\n", slots, lens_dtype_name(pair->dtype));
    conformance_rig_close(&rig);
    conformance_model_free(model);
    free(rows);
    free(order);
    free(logits);
}

void gpu_check_many_slots(const struct gpu_context *context)
{
    struct conformance_random random = {context->seed};
    check_slots(context, 1, &random);
    check_slots(context, 7, &random);
    check_slots(context, 500, &random);
    if (!context->reduced) {
        check_slots(context, 3001, &random);
        check_slots(context, 8000, &random);
    }
}

/* ---- beyond 4 GiB ----------------------------------------------------------------------------------------------- */

#define KINDS 4u /* lenses that differ; lens i is lens i % KINDS */

static void *repeat(const void *what, size_t bytes, uint32_t times)
{
    char *out = bench_alloc(bytes * times);
    for (uint32_t i = 0; i < times; i++)
        memcpy(out + bytes * i, what, bytes);
    return out;
}

static struct lens_model repeated_model(const struct lens_model *m, uint32_t times)
{
    size_t n = m->lenses, w2 = m->w2_dtype == LENS_BF16 ? 2 : 4;
    struct lens_model out = *m;
    out.lenses = m->lenses * times;
    out.b1 = repeat(m->b1, n * m->h1 * 4, times);
    out.w2 = repeat(m->w2, n * m->h1 * m->h2 * w2, times);
    out.b2 = repeat(m->b2, n * m->h2 * 4, times);
    out.w3 = repeat(m->w3, n * m->h2 * 4, times);
    out.b3 = repeat(m->b3, n * 4, times);
    out.child_offsets = bench_alloc((out.lenses + 1) * sizeof(int32_t));
    out.layer = bench_alloc(out.lenses);
    out.calibration = bench_alloc((size_t)out.lenses * LENS_CALIBRATION_FIELDS * sizeof(float));
    return out;
}

static void free_repeated_model(struct lens_model *m)
{
    free((void *)m->b1);
    free((void *)m->w2);
    free((void *)m->b2);
    free((void *)m->w3);
    free((void *)m->b3);
    free((void *)m->child_offsets);
    free((void *)m->layer);
    free((void *)m->calibration);
}

static void count_done(void *arg, int status)
{
    if (status != 0)
        standalone_fail(__FILE__, __LINE__, "a slot write ended with %d", status);
    atomic_fetch_add((atomic_uint *)arg, 1);
}

static void fill_slots(struct conformance_rig *rig, const struct conformance_model *kinds)
{
    atomic_uint done = 0;
    uint32_t slots = rig->slab->config.slots, calls = 0;
    for (uint32_t first = 0; first < slots; first += KINDS) {
        struct lens_slot_write writes[KINDS];
        struct lens_error err = {0};
        for (uint32_t k = 0; k < KINDS; k++) {
            writes[k] = conformance_write(kinds, slots - 1 - first - k, k);
            writes[k].lens = first + k;
        }
        if (rig->backend->ops->slot_write(rig->slab, 0, writes, KINDS, count_done, &done, &err) != 0)
            fail_msg("slot_write: %s", err.text);
        calls++;
        while (atomic_load(&done) < calls)
            ;
        for (uint32_t k = 0; k < KINDS; k++)
            lens_slab_map(rig->slab, writes[k].lens, writes[k].slot, LENS_FROM_FILE);
    }
}

void gpu_check_large_slab(const struct gpu_context *context)
{
    struct conformance_random random = {context->seed};
    const struct conformance_pair *pair = conformance_pair(context->target, 0);
    struct conformance_shape shape = {.lenses = KINDS,
                                      .dim = context->reduced ? 200 : 16384,
                                      .h1 = context->reduced ? 32 : 128,
                                      .h2 = 64,
                                      .stored = LENS_F32};
    uint32_t times = context->reduced ? 10 : 175;
    struct conformance_model *kinds = conformance_model_new(&shape, &random);
    struct conformance_model big = {.shape = shape, .model = repeated_model(&kinds->model, times)};
    uint32_t lenses = big.shape.lenses = KINDS * times;
    struct lens_slab_config config = config_of(pair, lenses, 3);
    struct conformance_call call = {.dtype = LENS_F32, .n = 3, .job_rows = 3};
    float *logits = bench_alloc((size_t)3 * lenses * sizeof *logits);
    uint8_t status[3];
    struct conformance_rig rig;
    void *rows = conformance_rows(&shape, LENS_F32, 3, &random);
    call.rows = rows;
    conformance_rig_open(&rig, context->target, 2, &big, &config);
    fill_slots(&rig, kinds);
    printf("%u slots of %llu bytes\n", lenses, (unsigned long long)rig.backend->ops->slot_bytes(rig.slab));
    conformance_run(&rig, &call, logits, status);
    for (uint32_t k = 0; k < KINDS; k++) {
        double *weights = conformance_slab_weights(kinds, k, pair->dtype);
        for (uint32_t r = 0; r < 3; r++)
            check_logit(kinds, pair, k, weights, (const float *)rows + (size_t)r * shape.dim, LENS_F32,
                        logits[(size_t)r * lenses + k]);
        free(weights);
    }
    for (uint32_t r = 0; r < 3; r++)
        for (uint32_t i = KINDS; i < lenses; i++)
            if (lens_f32_bits(logits[(size_t)r * lenses + i]) != lens_f32_bits(logits[(size_t)r * lenses + i % KINDS]))
                fail_msg("row %u: lens %u is %.9g, its twin %u is %.9g", r, i, (double)logits[(size_t)r * lenses + i],
                         i % KINDS, (double)logits[(size_t)r * lenses + i % KINDS]);
    conformance_rig_close(&rig);
    free_repeated_model(&big.model);
    conformance_model_free(kinds);
    free(rows);
    free(logits);
}

/* ---- weights that aren't numbers -------------------------------------------------------------------------------- */

/* Spoils one weight (I8: one scale) of `lens`. */
static void spoil(struct conformance_model *model, uint32_t lens, bool infinite, struct conformance_random *random)
{
    uint32_t h1 = model->shape.h1, dim = model->shape.dim;
    size_t row = (size_t)lens * h1 + conformance_below(random, h1), at = row * dim + conformance_below(random, dim);
    if (model->shape.stored == LENS_F32)
        ((float *)model->w1)[at] = infinite ? INFINITY : NAN;
    else if (model->shape.stored == LENS_BF16)
        ((uint16_t *)model->w1)[at] = infinite ? 0x7f80 : 0x7fc0;
    else
        model->scale[row] = infinite ? INFINITY : NAN;
}

static void check_bad_weight(const struct gpu_context *context, const struct conformance_pair *pair, bool infinite,
                             struct conformance_random *random)
{
    struct conformance_shape shape = {.lenses = 6, .dim = 130, .h1 = 48, .h2 = 9, .stored = pair->dtype};
    struct conformance_model *model = conformance_model_new(&shape, random);
    struct lens_slab_config config = config_of(pair, 6, 9);
    struct conformance_call call = {.dtype = LENS_F32, .n = 9, .job_rows = 3};
    uint32_t others[] = {0, 1, 3, 4, 5};
    float before[54], after[54];
    uint8_t status[9];
    struct conformance_rig rig;
    void *rows = conformance_rows(&shape, LENS_F32, 9, random);
    call.rows = rows;
    conformance_rig_open(&rig, context->target, 2, model, &config);
    conformance_load(&rig, NULL, NULL, 6);
    conformance_run(&rig, &call, before, status);
    spoil(model, 2, infinite, random);
    conformance_load(&rig, NULL, NULL, 6);
    conformance_run(&rig, &call, after, status);
    for (uint32_t r = 0; r < 9 && !infinite; r++) /* an infinite weight may end in a ReLU */
        assert_int_equal(status[r], LENS_ROW_INVALID_INPUT);
    call.lenses = others;
    call.n_lenses = 5;
    conformance_run(&rig, &call, after, status);
    for (uint32_t r = 0; r < 9; r++) {
        assert_int_equal(status[r], LENS_ROW_COMPLETE);
        for (uint32_t i = 0; i < 5; i++)
            assert_int_equal(lens_f32_bits(after[r * 6 + others[i]]), lens_f32_bits(before[r * 6 + others[i]]));
    }
    conformance_rig_close(&rig);
    conformance_model_free(model);
    free(rows);
}

void gpu_check_bad_weights(const struct gpu_context *context)
{
    struct conformance_random random = {context->seed};
    for (uint32_t i = 0; i < conformance_n_pairs(context->target); i++) {
        const struct conformance_pair *pair = conformance_pair(context->target, i);
        if (pair->dtype == LENS_FP8 || pair->dtype == LENS_LOG8)
            continue; /* packs hold no FP8, and LOG8 knows neither */
        check_bad_weight(context, pair, false, &random);
        check_bad_weight(context, pair, true, &random);
    }
}
