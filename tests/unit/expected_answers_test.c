/* The cascade against right answers that were computed independently in float64, in one process: every option set of
 * tests/fixtures/hatcat-small, and shared/data/hatcat-mini where it is there. And the central invariant (DESIGN 1):
 * slots, threads, batch neighbours and instruction set change nothing but time. */
#include "tests/unit/support/walk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SMALL "tests/fixtures/hatcat-small"

static const char *const small_files[] = {
    "expected-threshold.json",     "expected-topk.json",          "expected-calibrated-8rows.json",
    "expected-suppress.json",      "expected-leaves.json",        "expected-all-keep0.json",
    "expected-capped.json",        "expected-capped-topk.json",   "expected-uncalibrated-half.json",
    "expected-base0.json",         "expected-keepall-5rows.json", "expected-nan.json",
    "expected-depth1.json",        "expected-pinned.json",        "expected-f16.json",
    "expected-bf16.json",          "expected-excluded.json",      "expected-excluded-leaves-topk.json",
    "expected-included-topk.json", "expected-filtered.json",      "expected-filtered-topk.json",
};
#define SMALL_FILES (sizeof small_files / sizeof small_files[0])

static struct lens_backend *open_cpu(const char *variant, uint32_t threads)
{
    struct lens_backend *backend = NULL;
    struct lens_cpu_options options = {.threads = threads, .variant = variant};
    return lens_cpu_open(&options, &backend, NULL) == 0 ? backend : NULL;
}

static struct lensd_pool *open_pool(struct lens_backend *backend, const struct lens_pack *pack, uint32_t slots,
                                    enum lens_dtype slab, enum lens_compute compute)
{
    struct lensd_pool *pool = NULL;
    struct lens_error err = {0};
    struct lensd_pool_config config = {
        .slots = slots, .dtype_set = true, .dtype = slab, .compute = compute, .max_batch_rows = 128};
    if (lensd_pool_create(backend, pack, &config, &pool, &err) != 0)
        fail_msg("%s", err.text);
    return pool;
}

static void check_answers(const struct expected *expected, const struct lens_pack *pack, const struct walk *walk,
                          const char *name)
{
    for (uint32_t row = 0; row < expected->n_rows; row++) {
        struct row_answer answer = walk_answer(walk, 0, row);
        const char *wrong = expected_mismatch(expected, row, pack, &answer, 1e-5);
        if (wrong != NULL)
            fail_msg("%s row %u: %s", name, row, wrong);
    }
}

static void check_file(const char *directory, const char *name, const struct lens_pack *pack, const char *variant)
{
    struct lens_backend *backend = open_cpu(variant, 1);
    struct lensd_pool *pool = open_pool(backend, pack, 0, LENS_F32, LENS_COMPUTE_EXACT);
    struct expected expected;
    struct walk walk;
    expected_load(directory, name, pack, &expected);
    walk_run(pool, pack, &expected, 1, &walk);
    check_answers(&expected, pack, &walk, name);
    walk_free(&walk);
    expected_free(&expected);
    lensd_pool_destroy(pool);
    backend->ops->close(backend);
}

static void every_option_set_gives_the_right_answers_with_the_reference(void **state)
{
    for (size_t i = 0; i < SMALL_FILES; i++)
        check_file(SMALL, small_files[i], *state, "scalar");
}

static void every_option_set_gives_the_right_answers_with_each_instruction_set(void **state)
{
    static const char *const variants[] = {"avx2", "avx512"};
    for (size_t v = 0; v < 2; v++) {
        struct lens_backend *backend = open_cpu(variants[v], 1);
        if (backend == NULL) {
            print_message("# SKIP part: this processor has no %s\n", variants[v]);
            continue;
        }
        backend->ops->close(backend);
        for (size_t i = 0; i < SMALL_FILES; i++)
            check_file(SMALL, small_files[i], *state, variants[v]);
    }
}

/* Scores every lens by asking for all layers as base and keeping every scored logit. */
static void check_logits(const char *directory, const char *name, const struct lens_pack *pack)
{
    struct lens_backend *backend = open_cpu("auto", 1);
    struct lensd_pool *pool = open_pool(backend, pack, 0, LENS_F32, LENS_COMPUTE_EXACT);
    struct expected expected;
    struct walk walk;
    expected_load(directory, name, pack, &expected);
    expected.options.base_layers = UINT64_MAX;
    expected.options.report = LENS_REPORT_ALL;
    expected.options.top_k = LENS_MAX_TOP_K;
    walk_run(pool, pack, &expected, 1, &walk);
    double worst = 0;
    for (uint32_t row = 0; row < expected.n_rows; row++) {
        struct row_answer answer = walk_answer(&walk, 0, row);
        assert_int_equal(answer.n_detections, pack->lenses);
        for (uint32_t i = 0; i < answer.n_detections; i++) {
            double error =
                fabs((double)answer.detections[i].logit - expected_logit(&expected, row, answer.detections[i].id));
            if (!(error <= 1e-4))
                fail_msg("row %u lens %u: logit off by %g", row, answer.detections[i].id, error);
            worst = error > worst ? error : worst;
        }
    }
    print_message("# %s: largest |logit error| %.2g\n", directory, worst);
    walk_free(&walk);
    expected_free(&expected);
    lensd_pool_destroy(pool);
    backend->ops->close(backend);
}

static void every_logit_is_within_1e_4(void **state)
{
    check_logits(SMALL, "expected-threshold.json", *state);
}

/* What must not matter. */
struct circumstances {
    enum lens_dtype slab;
    enum lens_compute compute;
    uint32_t slots, threads, sequences;
};

/* One walk under other circumstances: must be the same as `reference`, bit for bit. */
static uint32_t same_as(const struct walk *reference, const struct lens_pack *pack, const struct expected *expected,
                        const struct circumstances *c)
{
    struct lens_backend *backend = open_cpu("auto", c->threads);
    struct lensd_pool *pool = open_pool(backend, pack, c->slots, c->slab, c->compute);
    uint32_t sequences = c->sequences;
    struct walk walk;
    walk_run(pool, pack, expected, sequences, &walk);
    for (uint32_t s = 0; s < sequences; s++) {
        for (uint32_t row = 0; row < expected->n_rows; row++) {
            if (!walk_rows_equal(&walk.rows[s * expected->n_rows + row], &reference->rows[row]))
                fail_msg("%s: slots %u threads %u sequences %u: row %u of sequence %u differs",
                         lens_compute_name(c->compute), c->slots, c->threads, sequences, row, s);
        }
    }
    uint32_t loaded = walk.loaded;
    walk_free(&walk);
    lensd_pool_destroy(pool);
    backend->ops->close(backend);
    return loaded;
}

/* How many lenses the file's lists allow: no more are ever loaded. */
static uint32_t allowed_lenses(const struct expected *expected, const struct lens_pack *pack)
{
    uint32_t n = 0;
    for (uint32_t lens = 0; lens < pack->lenses; lens++)
        n += lensd_content_has(expected->maps.allowed, lens);
    return n;
}

/* Walks one file with all lenses resident, alone, on one thread; then under every other circumstance. */
static void nothing_changes(const struct lens_pack *pack, const char *name, enum lens_dtype slab,
                            enum lens_compute compute)
{
    static const uint32_t slots[] = {0, 40, 11, 3, 1};
    struct expected expected;
    struct walk reference;
    struct lens_backend *backend = open_cpu("auto", 1);
    struct lensd_pool *pool = open_pool(backend, pack, 0, slab, compute);
    expected_load(SMALL, name, pack, &expected);
    walk_run(pool, pack, &expected, 1, &reference);
    uint32_t allowed = allowed_lenses(&expected, pack);
    for (uint32_t i = 0; i < sizeof slots / sizeof slots[0]; i++) {
        struct circumstances c = {slab, compute, slots[i], 1 + i % 3, 1 + 3 * (i % 2)};
        uint32_t loaded = same_as(&reference, pack, &expected, &c);
        if (slots[i] != 0 && slots[i] < allowed)
            assert_true(loaded > slots[i]); /* it really ran in waves */
    }
    walk_free(&reference);
    expected_free(&expected);
    lensd_pool_destroy(pool);
    backend->ops->close(backend);
}

static void slots_threads_and_neighbours_change_nothing(void **state)
{
    for (size_t f = 0; f < SMALL_FILES; f++)
        nothing_changes(*state, small_files[f], LENS_F32, LENS_COMPUTE_EXACT);
}

static void they_change_nothing_in_any_dtype_and_compute_mode(void **state)
{
    (void)state;
    static const struct {
        enum lens_dtype pack, slab;
        enum lens_compute compute;
    } pairs[] = {
        {LENS_BF16, LENS_BF16, LENS_COMPUTE_EXACT}, {LENS_BF16, LENS_BF16, LENS_COMPUTE_BF16},
        {LENS_I8, LENS_I8, LENS_COMPUTE_EXACT},     {LENS_I8, LENS_I8, LENS_COMPUTE_INT8},
        {LENS_LOG8, LENS_F32, LENS_COMPUTE_EXACT},  {LENS_LOG8, LENS_LOG8, LENS_COMPUTE_EXACT},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        struct lens_pack *pack = import_for_test(SMALL, pairs[i].pack);
        nothing_changes(pack, "expected-threshold.json", pairs[i].slab, pairs[i].compute);
        nothing_changes(pack, "expected-keepall-5rows.json", pairs[i].slab, pairs[i].compute);
        lens_pack_close(pack);
    }
}

static const char *shared_mini(void)
{
    static char path[4096];
    const char *shared = getenv("LENSD_SHARED");
    snprintf(path, sizeof path, "%s/data/hatcat-mini", shared != NULL ? shared : "../shared");
    return access(path, R_OK) == 0 ? path : NULL;
}

static void the_shared_mini_pack_gives_its_expected_answers(void **state)
{
    (void)state;
    const char *mini = shared_mini();
    if (mini == NULL) {
        print_message("# SKIP: shared/data/hatcat-mini isn't here (set LENSD_SHARED)\n");
        skip();
    }
    struct lens_pack *pack = import_for_test(mini, LENS_F32);
    check_file(mini, "expected-threshold.json", pack, "scalar");
    check_file(mini, "expected-topk.json", pack, "scalar");
    check_file(mini, "expected-calibrated-8rows.json", pack, "scalar");
    check_logits(mini, "expected-threshold.json", pack);
    lens_pack_close(pack);
}

static int import_small(void **state)
{
    *state = import_for_test(SMALL, LENS_F32);
    return 0;
}

static int close_small(void **state)
{
    lens_pack_close(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_option_set_gives_the_right_answers_with_the_reference),
        cmocka_unit_test(every_option_set_gives_the_right_answers_with_each_instruction_set),
        cmocka_unit_test(every_logit_is_within_1e_4),
        cmocka_unit_test(slots_threads_and_neighbours_change_nothing),
        cmocka_unit_test(they_change_nothing_in_any_dtype_and_compute_mode),
        cmocka_unit_test(the_shared_mini_pack_gives_its_expected_answers),
    };
    return cmocka_run_group_tests(tests, import_small, close_small);
}
