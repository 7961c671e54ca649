/* The CPU backend's `score` and its slots, asked directly: long items, few items on several threads, damaged weights.
 */
#include "tests/unit/support/conformance_rig.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define COUNT(array) ((uint32_t)(sizeof(array) / sizeof(array)[0]))

static struct conformance_random dice;

static int open_auto(void *arg, uint32_t threads, struct lens_backend **out, struct lens_error *err)
{
    return lens_cpu_open(&(struct lens_cpu_options){.threads = threads, .variant = arg}, out, err);
}

enum { MANY = 150 };

/* Stages MANY rows and scores lens 0 on all of them, lens 1 on every third, in one call of mixed items. */
static void score_mixed(struct conformance_rig *rig, const struct conformance_shape *shape, float logits[MANY + 60])
{
    struct lens_error err = {0};
    char *source = conformance_rows(shape, LENS_F32, MANY, &dice);
    uint32_t rows[MANY + 60];
    for (uint32_t r = 0; r < MANY; r++) {
        assert_int_equal(rig->backend->ops->stage(rig->slab, r, source + (size_t)r * shape->dim * 4, LENS_F32), 0);
        rows[r] = r;
    }
    for (uint32_t i = 0; i < 50; i++)
        rows[MANY + i] = i * 3;
    for (uint32_t i = 0; i < MANY + 60; i++)
        logits[i] = NAN;
    struct lens_score_item items[] = {{.slot = 0, .lens = 0, .first = 0, .n = MANY},
                                      {.slot = 1, .lens = 1, .first = MANY, .n = 50}};
    assert_int_equal(rig->backend->ops->score(rig->slab, items, 2, rows, logits, &err), 0);
    free(source);
}

static void long_items_are_scored_whole_and_nothing_else_is_touched(void **state)
{
    (void)state;
    const struct conformance_target target = {.name = "auto", .open = open_auto, .arg = "auto"};
    struct conformance_shape shape = {.lenses = 2, .dim = 70, .h1 = 19, .h2 = 3};
    struct lens_slab_config config = {.slots = 2, .max_batch_rows = MANY, .loaders = 1};
    struct conformance_model *model = conformance_model_new(&shape, &dice);
    struct conformance_rig rig;
    float logits[MANY + 60], again;
    struct lens_error err = {0};
    conformance_rig_open(&rig, &target, 2, model, &config);
    conformance_load(&rig, NULL, NULL, 2);
    score_mixed(&rig, &shape, logits);
    for (uint32_t r = 0; r < MANY; r++) {
        struct lens_score_item item = {.slot = 0, .lens = 0, .first = 0, .n = 1};
        assert_int_equal(rig.backend->ops->score(rig.slab, &item, 1, &r, &again, &err), 0);
        assert_int_equal(lens_f32_bits(again), lens_f32_bits(logits[r]));
    }
    for (uint32_t i = 0; i < 60; i++)
        assert_int_equal(isnan(logits[MANY + i]) != 0, i >= 50);
    struct lens_score_item wrong = {.slot = 1, .lens = 0, .first = 0, .n = 1};
    assert_int_equal(rig.backend->ops->score(rig.slab, &wrong, 1, &(uint32_t){0}, &again, &err), -EINVAL);
    conformance_rig_close(&rig);
    conformance_model_free(model);
}

/* Scores `lenses` lenses on `n` rows each, on `threads` threads, into poisoned logits. */
static void score_few(const struct conformance_model *model, enum lens_dtype dtype, const void *rows, uint32_t threads,
                      uint32_t lenses, uint32_t n, float *logits)
{
    const struct conformance_target target = {.name = "auto", .open = open_auto, .arg = "auto"};
    struct lens_slab_config config = {.slots = 3, .dtype = dtype, .max_batch_rows = MANY, .loaders = 1};
    struct conformance_rig rig;
    struct lens_score_item items[3];
    struct lens_error err = {0};
    uint32_t *list = calloc(3 * MANY, sizeof *list);
    assert_non_null(list);
    conformance_rig_open(&rig, &target, threads, model, &config);
    conformance_load(&rig, NULL, NULL, 3);
    for (uint32_t r = 0; r < n; r++) {
        const char *row = (const char *)rows + (size_t)r * model->shape.dim * 4;
        assert_int_equal(rig.backend->ops->stage(rig.slab, r, row, LENS_F32), 0);
    }
    for (uint32_t i = 0; i < lenses; i++) { /* the second on half of the rows only */
        items[i] = (struct lens_score_item){.slot = i, .lens = i, .first = i * MANY, .n = n - (i == 1 ? n / 2 : 0)};
        for (uint32_t r = 0; r < n; r++)
            list[i * MANY + r] = r;
    }
    memset(logits, 0xff, 3 * MANY * sizeof *logits);
    assert_int_equal(rig.backend->ops->score(rig.slab, items, lenses, list, logits, &err), 0);
    free(list);
    conformance_rig_close(&rig);
}

static void rows_of_few_lenses_are_shared_out_and_keep_their_bits(void **state)
{
    (void)state;
    static const uint32_t counts[] = {1, 2, 7, 8, 9, 17, 64, 65, 129, MANY};
    static const enum lens_dtype dtypes[] = {LENS_F32, LENS_BF16, LENS_I8, LENS_LOG8};
    static float alone[3 * MANY], shared[3 * MANY];
    for (uint32_t d = 0; d < COUNT(dtypes); d++) {
        struct conformance_shape shape = {.lenses = 3, .dim = 70, .h1 = 40, .h2 = 5, .stored = dtypes[d]};
        struct conformance_model *model = conformance_model_new(&shape, &dice);
        void *rows = conformance_rows(&shape, LENS_F32, MANY, &dice);
        for (uint32_t i = 0; i < COUNT(counts) * 3 * 3; i++) {
            uint32_t n = counts[i / 9], lenses = 1 + i / 3 % 3, threads = 2 + i % 3;
            score_few(model, dtypes[d], rows, 1, lenses, n, alone);
            score_few(model, dtypes[d], rows, threads, lenses, n, shared);
            assert_memory_equal(alone, shared, sizeof alone);
            assert_false(isnan(alone[n - 1]));
        }
        conformance_model_free(model);
        free(rows);
    }
}

/* Scores lens 0 on one row. */
static float only_logit(struct conformance_rig *rig)
{
    float logit = 0;
    struct lens_score_item item = {.slot = 0, .lens = 0, .first = 0, .n = 1};
    struct lens_error err = {0};
    assert_int_equal(rig->backend->ops->score(rig->slab, &item, 1, &(uint32_t){0}, &logit, &err), 0);
    return logit;
}

static void log8_slots_take_no_nonsense(void **state)
{
    (void)state;
    const struct conformance_target target = {.name = "auto", .open = open_auto, .arg = "auto"};
    struct lens_slab_config config = {.slots = 1, .dtype = LENS_LOG8, .max_batch_rows = 1, .loaders = 1};
    static const enum lens_dtype stored[] = {LENS_LOG8, LENS_F32};
    for (uint32_t i = 0; i < COUNT(stored); i++) {
        struct conformance_shape shape = {.lenses = 1, .dim = 45, .h1 = 3, .h2 = 2, .stored = stored[i]};
        struct conformance_model *model = conformance_model_new(&shape, &dice);
        struct conformance_rig rig;
        struct lens_error err = {0};
        void *row = conformance_rows(&shape, LENS_F32, 1, &dice);
        conformance_rig_open(&rig, &target, 1, model, &config);
        conformance_load(&rig, NULL, NULL, 1);
        assert_int_equal(rig.backend->ops->stage(rig.slab, 0, row, LENS_F32), 0);
        assert_true(isfinite(only_logit(&rig)));
        struct lens_slot_write w = conformance_write(model, 0, 0);
        if (stored[i] == LENS_LOG8) { /* a range that no f32 weights have */
            model->log_min[1] = -200.0f;
            assert_int_equal(rig.backend->ops->slot_write(rig.slab, 0, &w, 1, NULL, NULL, &err), -EINVAL);
            assert_non_null(strstr(err.text, "output 1"));
        } else { /* weights that aren't finite show */
            ((float *)model->w1)[50] = NAN;
            assert_int_equal(rig.backend->ops->slot_write(rig.slab, 0, &w, 1, NULL, NULL, &err), 0);
            assert_true(isnan(only_logit(&rig)));
        }
        conformance_rig_close(&rig);
        conformance_model_free(model);
        free(row);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(long_items_are_scored_whole_and_nothing_else_is_touched),
        cmocka_unit_test(rows_of_few_lenses_are_shared_out_and_keep_their_bits),
        cmocka_unit_test(log8_slots_take_no_nonsense),
    };
    dice.state = conformance_seed();
    return cmocka_run_group_tests_name("cpu_scoring", tests, NULL, NULL);
}
