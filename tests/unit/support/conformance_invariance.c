/* See conformance.h: the central invariant (DESIGN 1), bit for bit, and slots changing hands. */
#include "tests/unit/support/conformance.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define ROWS   64u
#define LENSES 5u
#define SLOTS  8u

/* The logits every other way of asking must repeat. */
struct baseline {
    const struct conformance_target *target;
    const struct conformance_pair *pair;
    struct conformance_rig rig;
    struct conformance_random *random;
    void *rows;
    enum lens_dtype dtype;
    float logits[ROWS * LENSES];
};

/* Asks `rig` for call->n rows (and lenses) of the baseline and compares bits. */
static void expect_same(const struct baseline *base, struct conformance_rig *rig, const char *how,
                        struct conformance_call *call)
{
    float logits[ROWS * LENSES];
    uint8_t status[ROWS];
    call->rows = base->rows;
    call->dtype = base->dtype;
    conformance_run(rig, call, logits, status);
    uint32_t n_lenses = call->lenses != NULL ? call->n_lenses : LENSES;
    for (uint32_t r = 0; r < call->n; r++) {
        uint32_t row = call->order != NULL ? call->order[r] : r;
        for (uint32_t i = 0; i < n_lenses; i++) {
            uint32_t lens = call->lenses != NULL ? call->lenses[i] : i;
            float got = logits[r * LENSES + lens], want = base->logits[row * LENSES + lens];
            if (lens_f32_bits(got) != lens_f32_bits(want))
                fail_msg("%s, %s slab, compute %s: row %u lens %u is %.9g %s, %.9g among %u rows", base->target->name,
                         lens_dtype_name(base->pair->dtype), lens_compute_name(base->pair->compute), row, lens,
                         (double)got, how, (double)want, ROWS);
        }
    }
}

static void any_order(const struct baseline *base, uint32_t order[ROWS])
{
    for (uint32_t i = 0; i < ROWS; i++)
        order[i] = i;
    conformance_shuffle(base->random, order, ROWS);
}

/* The next number of rows to ask for together: all of them, or on a slow target some. */
static uint32_t next_count(const struct baseline *base, uint32_t n)
{
    return base->target->slow ? n + 1 + n / 2 : n + 1;
}

static void alone_and_in_batches(struct baseline *base)
{
    uint32_t order[ROWS], last = 0;
    any_order(base, order);
    for (uint32_t n = 1; last < ROWS; n = next_count(base, n)) {
        last = n < ROWS ? n : ROWS;
        uint32_t first = conformance_below(base->random, ROWS - last + 1);
        expect_same(base, &base->rig, "in a batch of other rows",
                    &(struct conformance_call){.order = order + first, .n = last, .job_rows = last});
    }
    for (uint32_t i = 0; i < ROWS; i += base->target->slow ? 9 : 1)
        expect_same(base, &base->rig, "alone", &(struct conformance_call){.order = order + i, .n = 1, .job_rows = 1});
    for (uint32_t job_rows = 1; job_rows < 20; job_rows += base->target->slow ? 12 : 3)
        expect_same(base, &base->rig, "split over jobs",
                    &(struct conformance_call){.order = order, .n = ROWS, .job_rows = job_rows});
}

static void with_other_lenses(struct baseline *base)
{
    uint32_t lenses[LENSES] = {0, 1, 2, 3, 4}, order[ROWS];
    any_order(base, order);
    for (uint32_t n = 1; n < LENSES; n++) {
        conformance_shuffle(base->random, lenses, LENSES);
        expect_same(base, &base->rig, "with fewer lenses",
                    &(struct conformance_call){.order = order, .n = 9, .job_rows = 4, .lenses = lenses, .n_lenses = n});
    }
}

static void in_other_slots(struct baseline *base)
{
    uint32_t slots[SLOTS] = {0, 1, 2, 3, 4, 5, 6, 7};
    for (int i = 0; i < (base->target->slow ? 1 : 3); i++) {
        conformance_shuffle(base->random, slots, SLOTS);
        conformance_load(&base->rig, slots, NULL, LENSES);
        expect_same(base, &base->rig, "in other slots", &(struct conformance_call){.n = ROWS, .job_rows = ROWS});
    }
}

static void with_other_threads(struct baseline *base, const struct lens_slab_config *config)
{
    for (uint32_t threads = 1; threads <= (base->target->slow ? 1u : 3u); threads++) {
        struct conformance_rig rig;
        conformance_rig_open(&rig, base->target, threads, base->rig.model, config);
        conformance_load(&rig, NULL, NULL, LENSES);
        for (uint32_t n = 1; n <= ROWS; n = n * 3 + 1)
            expect_same(base, &rig, "with other threads", &(struct conformance_call){.n = n, .job_rows = n});
        conformance_rig_close(&rig);
    }
}

static struct lens_slab_config slab_of(const struct conformance_pair *pair)
{
    return (struct lens_slab_config){
        .slots = SLOTS, .dtype = pair->dtype, .compute = pair->compute, .max_batch_rows = ROWS, .loaders = 1};
}

static void open_baseline(struct baseline *base, const struct conformance_model *model,
                          const struct lens_slab_config *config)
{
    uint8_t status[ROWS];
    static const enum lens_dtype dtypes[] = {LENS_F32, LENS_F16, LENS_BF16};
    base->dtype = dtypes[conformance_below(base->random, 3)];
    base->rows = conformance_rows(&model->shape, base->dtype, ROWS, base->random);
    conformance_rig_open(&base->rig, base->target, 2, model, config);
    conformance_load(&base->rig, NULL, NULL, LENSES);
    conformance_run(&base->rig,
                    &(struct conformance_call){.rows = base->rows, .dtype = base->dtype, .n = ROWS, .job_rows = ROWS},
                    base->logits, status);
}

static void close_baseline(struct baseline *base)
{
    conformance_rig_close(&base->rig);
    free(base->rows);
}

void conformance_row_invariance(const struct conformance_target *target, uint64_t seed)
{
    static const struct conformance_shape shapes[] = {
        {.lenses = LENSES, .dim = 384, .h1 = 128, .h2 = 64, .normalize = LENS_NORMALIZE_LAYERNORM},
        {.lenses = LENSES, .dim = 101, .h1 = 130, .h2 = 12, .w2_dtype = LENS_BF16},
        {.lenses = LENSES, .dim = 7, .h1 = 24, .h2 = 1},
    };
    static const struct conformance_shape small = {
        .lenses = LENSES, .dim = 700, .h1 = 14, .h2 = 20, .normalize = LENS_NORMALIZE_LAYERNORM};
    struct conformance_random random = {seed};
    uint32_t n_pairs = conformance_n_pairs(target);
    for (uint32_t i = 0; i < 3 * n_pairs; i++) {
        const struct conformance_pair *pair = conformance_pair(target, i % n_pairs);
        struct conformance_shape shape = target->slow && i < n_pairs ? small : shapes[i / n_pairs];
        shape.h1 = target->slow && shape.h1 > 40 ? 40 : shape.h1;
        shape.stored = conformance_stored(pair->dtype);
        struct conformance_model *model = conformance_model_new(&shape, &random);
        struct lens_slab_config config = slab_of(pair);
        struct baseline base = {.target = target, .pair = pair, .random = &random};
        open_baseline(&base, model, &config);
        alone_and_in_batches(&base);
        with_other_lenses(&base);
        in_other_slots(&base);
        with_other_threads(&base, &config);
        close_baseline(&base);
        conformance_model_free(model);
    }
}

/* ---- invalid rows ----------------------------------------------------------------------------------------------- */

static void spoil(void *rows, uint32_t dim, uint32_t row, enum lens_dtype dtype, struct conformance_random *random)
{
    static const uint32_t f32[] = {0x7f800000u, 0xff800000u, 0x7fc00000u, 0x7f800001u};
    static const uint16_t f16[] = {0x7c00u, 0xfc00u, 0x7e00u, 0x7c01u}, bf16[] = {0x7f80u, 0xff80u, 0x7fc0u, 0x7f81u};
    size_t at = (size_t)row * dim + conformance_below(random, dim);
    uint32_t which = conformance_below(random, 4);
    if (dtype == LENS_F32)
        memcpy((char *)rows + at * 4, &f32[which], 4);
    else
        memcpy((char *)rows + at * 2, dtype == LENS_F16 ? &f16[which] : &bf16[which], 2);
}

void conformance_invalid_rows(const struct conformance_target *target, uint64_t seed)
{
    struct conformance_random random = {seed};
    uint32_t n_pairs = conformance_n_pairs(target);
    for (uint32_t i = 0; i < 4 * n_pairs; i++) {
        const struct conformance_pair *pair = conformance_pair(target, i % n_pairs);
        struct conformance_shape shape = {
            .lenses = LENSES, .dim = 45, .h1 = 24, .h2 = 4, .stored = conformance_stored(pair->dtype)};
        shape.normalize = i % 2 ? LENS_NORMALIZE_LAYERNORM : LENS_NORMALIZE_NONE;
        struct conformance_model *model = conformance_model_new(&shape, &random);
        struct lens_slab_config config = slab_of(pair);
        struct baseline base = {.target = target, .pair = pair, .random = &random};
        float logits[ROWS * LENSES];
        uint8_t status[ROWS];
        open_baseline(&base, model, &config);
        for (uint32_t r = 0; r < ROWS; r += 5)
            spoil(base.rows, shape.dim, r, base.dtype, &random);
        struct conformance_call call = {.rows = base.rows, .dtype = base.dtype, .n = ROWS, .job_rows = 7};
        conformance_run(&base.rig, &call, logits, status);
        for (uint32_t r = 0; r < ROWS; r++) {
            assert_int_equal(status[r], r % 5 == 0 ? LENS_ROW_INVALID_INPUT : LENS_ROW_COMPLETE);
            if (r % 5 != 0)
                assert_memory_equal(&logits[r * LENSES], &base.logits[r * LENSES], LENSES * sizeof(float));
        }
        close_baseline(&base);
        conformance_model_free(model);
    }
}

/* ---- slots ------------------------------------------------------------------------------------------------------ */

/* Runs row 0 over all lenses and expects exactly `missing` to be reported as a miss. */
static void expect_miss(struct baseline *base, uint32_t missing)
{
    struct lens_cascade_options options;
    struct lens_detection detection;
    struct lens_row_out out = {.detections = &detection};
    struct lens_error err = {0};
    uint32_t all[LENSES] = {0, 1, 2, 3, 4}, misses[LENSES], used[LENSES], retained[LENSES];
    lens_options_default(&options);
    options.top_k = 1;
    options.max_depth = 0;
    options.keep_top_k = 0;
    struct lens_job job = {.rows = base->rows,
                           .dtype = base->dtype,
                           .n_rows = 1,
                           .options = &options,
                           .base = all,
                           .n_base = LENSES,
                           .out = &out,
                           .retained = retained,
                           .retained_capacity = LENSES};
    struct lens_batch batch = {.jobs = &(struct lens_job *){&job}, .n_jobs = 1, .misses = misses, .used = used};
    assert_int_equal(base->rig.backend->ops->run(base->rig.slab, &batch, &err), LENS_RUN_MISSES);
    assert_int_equal(batch.n_misses, 1);
    assert_int_equal(misses[0], missing);
    job.give_up = true;
    assert_int_equal(base->rig.backend->ops->run(base->rig.slab, &batch, &err), LENS_RUN_DONE);
    assert_int_equal(out.status, LENS_ROW_PARTIAL);
    assert_int_equal(out.counts.missing, 1);
}

static void never(void *arg, int status)
{
    (void)arg;
    fail_msg("done was called with %d though slot_write returned an error", status);
}

static void expect_bad_write(struct baseline *base, uint32_t slot, uint32_t lens, enum lens_dtype stored)
{
    struct lens_slot_write w = conformance_write(base->rig.model, 0, 0);
    struct lens_error err = {0};
    w.slot = slot;
    w.lens = lens;
    w.stored = stored;
    int rc = base->rig.backend->ops->slot_write(base->rig.slab, 0, &w, 1, never, NULL, &err);
    assert_true(rc < 0);
    assert_int_equal(err.code, rc);
}

void conformance_slot_rewrite(const struct conformance_target *target, uint64_t seed)
{
    struct conformance_random random = {seed};
    uint32_t n_pairs = conformance_n_pairs(target);
    for (uint32_t i = 0; i < n_pairs; i++) {
        const struct conformance_pair *pair = conformance_pair(target, i);
        struct conformance_shape shape = {
            .lenses = LENSES, .dim = 45, .h1 = 24, .h2 = 4, .stored = conformance_stored(pair->dtype)};
        struct conformance_model *model = conformance_model_new(&shape, &random);
        struct lens_slab_config config = slab_of(pair);
        struct baseline base = {.target = target, .pair = pair, .random = &random};
        open_baseline(&base, model, &config);
        conformance_load(&base.rig, &(uint32_t){2}, &(uint32_t){4}, 1); /* lens 4 leaves slot 4, lens 2 is gone */
        assert_int_equal(base.rig.slab->slot_of[2], -1);
        assert_int_equal(base.rig.slab->lens_in[4], -1);
        expect_miss(&base, 2);
        conformance_load(&base.rig, &(uint32_t){4}, &(uint32_t){2}, 1);
        expect_same(&base, &base.rig, "after slots changed hands",
                    &(struct conformance_call){.n = ROWS, .job_rows = ROWS});
        expect_bad_write(&base, SLOTS, 1, shape.stored);
        expect_bad_write(&base, 0, LENSES, shape.stored);
        expect_bad_write(&base, 0, 1, LENS_F16);
        close_baseline(&base);
        conformance_model_free(model);
    }
}
