/* Whole cascades: the detections of the CPU backend, batches, misses, jobs that give up. See checks.h. */
#include "tests/gpu/checks.h"
#include "tests/gpu/compare_cpu.h"
#include "tests/gpu/job_set.h"

#include "tests/bench/support/bench.h"

#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* A tree of about 400 lenses (reduced: 120) of which a row scores a third. */
static struct gpu_tree_model *small_tree(const struct gpu_context *context, const struct conformance_pair *pair,
                                         struct conformance_random *random)
{
    static const uint32_t dims[] = {64, 100, 201}, h1s[] = {16, 33, 128}, h2s[] = {8, 64, 20};
    uint32_t most = context->reduced ? 1 : 3;
    struct gpu_tree_shape shape = {
        .shape = {.lenses = context->reduced ? 120 : 400,
                  .dim = dims[conformance_below(random, most)],
                  .h1 = h1s[conformance_below(random, most)],
                  .h2 = h2s[conformance_below(random, most)],
                  .normalize = conformance_below(random, 2) ? LENS_NORMALIZE_LAYERNORM : LENS_NORMALIZE_NONE,
                  .stored = conformance_stored(pair->dtype),
                  .w2_dtype = conformance_below(random, 2) ? LENS_BF16 : LENS_F32},
        .roots = 4,
        .fanout = 9,
        .spread = 4,
        .bias = -2,
    };
    return gpu_tree_model_new(&shape, random);
}

static struct lens_slab_config config_of(const struct conformance_pair *pair, uint32_t slots, uint32_t rows)
{
    return (struct lens_slab_config){
        .slots = slots, .dtype = pair->dtype, .compute = pair->compute, .max_batch_rows = rows, .loaders = 1};
}

static void open_full(struct conformance_rig *rig, const struct conformance_target *target,
                      const struct gpu_tree_model *tree, const struct conformance_pair *pair, uint32_t rows)
{
    struct lens_slab_config config = config_of(pair, tree->base->shape.lenses, rows);
    conformance_rig_open(rig, target, 2, tree->base, &config);
    conformance_load(rig, NULL, NULL, tree->base->shape.lenses);
}

/* ---- against the CPU backend ------------------------------------------------------------------------------------ */

static void compare_model(const struct gpu_context *context, const struct gpu_tree_model *tree,
                          const struct conformance_pair *pair, uint32_t jobs, struct conformance_random *random)
{
    struct gpu_comparison seen = {.tolerance = pair->compute == LENS_COMPUTE_EXACT ? 2e-3 : 2.0};
    struct conformance_rig ours, cpu;
    struct gpu_job_set *set = gpu_job_set_new(tree, jobs, random), *expected = gpu_job_set_copy(set);
    uint32_t rows = gpu_job_set_rows(set);
    open_full(&ours, context->target, tree, pair, rows);
    open_full(&cpu, &gpu_cpu_target, tree, pair, rows);
    gpu_job_set_run(set, &ours, 0, jobs);
    gpu_job_set_run(expected, &cpu, 0, jobs);
    gpu_compare_with_cpu(expected, set, &seen);
    printf("%-5s %-6s %u rows, %u of them compared in full (the others have gaps smaller than the errors), %.0f lenses "
           "a row, largest difference of a logit %.2g\n",
           lens_dtype_name(pair->dtype), lens_compute_name(pair->compute), seen.rows, seen.compared,
           (double)seen.scored / seen.rows, seen.largest);
    if (pair->compute == LENS_COMPUTE_EXACT && seen.compared * 4 < seen.rows)
        fail_msg("only %u of %u rows could be compared", seen.compared, seen.rows);
    conformance_rig_close(&ours);
    conformance_rig_close(&cpu);
    gpu_job_set_free(set);
    gpu_job_set_free(expected);
}

/* The CPU has no FP8: its answers there are those of the float64 reference alone (check shapes). */
static bool cpu_has(const struct conformance_pair *pair)
{
    return pair->dtype != LENS_FP8;
}

void gpu_check_detections(const struct gpu_context *context)
{
    struct conformance_random random = {context->seed};
    for (uint32_t i = 0; i < conformance_n_pairs(context->target) * (context->reduced ? 1 : 4); i++) {
        const struct conformance_pair *pair =
            conformance_pair(context->target, i % conformance_n_pairs(context->target));
        if (!cpu_has(pair))
            continue;
        struct gpu_tree_model *tree = small_tree(context, pair, &random);
        compare_model(context, tree, pair, context->reduced ? 6 : 60, &random);
        gpu_tree_model_free(tree);
    }
}

void gpu_check_large_tree(const struct gpu_context *context)
{
    struct conformance_random random = {context->seed};
    struct gpu_tree_shape shape = {
        .shape = {.lenses = context->reduced ? 900 : 7947, .dim = 72, .h1 = 16, .h2 = 8, .stored = LENS_BF16},
        .roots = 5,
        .fanout = 6,
        .spread = 6,
        .bias = context->reduced ? -5 : -7,
    };
    struct gpu_tree_model *tree = gpu_tree_model_new(&shape, &random);
    compare_model(context, tree, conformance_pair(context->target, 1), context->reduced ? 4 : 80, &random);
    gpu_tree_model_free(tree);
}

/* ---- the central invariant over whole jobs ---------------------------------------------------------------------- */

void gpu_check_job_invariance(const struct gpu_context *context)
{
    struct conformance_random random = {context->seed};
    uint32_t jobs = context->reduced ? 5 : 40;
    for (uint32_t i = 0; i < conformance_n_pairs(context->target); i++) {
        const struct conformance_pair *pair = conformance_pair(context->target, i);
        struct gpu_tree_model *tree = small_tree(context, pair, &random);
        struct gpu_job_set *together = gpu_job_set_new(tree, jobs, &random), *alone = gpu_job_set_copy(together);
        struct conformance_rig rig;
        open_full(&rig, context->target, tree, pair, gpu_job_set_rows(together));
        gpu_job_set_run(together, &rig, 0, jobs);
        for (uint32_t j = 0; j < jobs; j++)
            gpu_job_set_run(alone, &rig, j, 1);
        gpu_expect_same_answers(alone, together, "among others, against alone");
        gpu_job_set_run(alone, &rig, 0, jobs);
        gpu_expect_same_answers(alone, together, "asked once more");
        conformance_rig_close(&rig);
        gpu_job_set_free(together);
        gpu_job_set_free(alone);
        gpu_tree_model_free(tree);
    }
}

void gpu_check_misses(const struct gpu_context *context)
{
    struct conformance_random random = {context->seed};
    uint32_t jobs = context->reduced ? 4 : 30;
    for (uint32_t i = 0; i < conformance_n_pairs(context->target); i++) {
        const struct conformance_pair *pair = conformance_pair(context->target, i);
        struct gpu_tree_model *tree = small_tree(context, pair, &random);
        struct gpu_job_set *resident = gpu_job_set_new(tree, jobs, &random), *cold = gpu_job_set_copy(resident);
        struct conformance_rig rig;
        open_full(&rig, context->target, tree, pair, gpu_job_set_rows(resident));
        gpu_job_set_run(resident, &rig, 0, jobs);
        conformance_rig_close(&rig);
        for (uint32_t slots = tree->base->shape.lenses; slots > 3; slots /= 5) {
            struct lens_slab_config config = config_of(pair, slots, gpu_job_set_rows(cold));
            conformance_rig_open(&rig, context->target, 2, tree->base, &config);
            gpu_job_set_run(cold, &rig, 0, jobs);
            printf("%u slots: %u runs, %u loads\n", slots, cold->runs, cold->loads);
            gpu_expect_same_answers(resident, cold, "with few slots, against all resident");
            conformance_rig_close(&rig);
        }
        gpu_job_set_free(resident);
        gpu_job_set_free(cold);
        gpu_tree_model_free(tree);
    }
}

/* ---- jobs that don't wait --------------------------------------------------------------------------------------- */

static int run_all(struct gpu_job_set *set, struct conformance_rig *rig, struct lens_batch *batch)
{
    struct lens_error err = {0};
    batch->jobs = set->pointers;
    batch->n_jobs = set->n;
    batch->misses = set->misses;
    batch->used = set->used;
    int rc = rig->backend->ops->run(rig->slab, batch, &err);
    if (rc < 0)
        fail_msg("run returned %d: %s", rc, err.text);
    return rc;
}

/* Nothing is resident: every row is PARTIAL, and the lenses are told as left out. */
static void give_up_at_once(struct gpu_job_set *set, struct conformance_rig *rig)
{
    struct lens_batch batch = {0};
    gpu_job_set_reset(set, 0, set->n);
    for (uint32_t i = 0; i < set->n; i++)
        set->jobs[i].job.give_up = true;
    assert_int_equal(run_all(set, rig, &batch), LENS_RUN_DONE);
    assert_int_equal(batch.n_misses, 0);
    assert_true(batch.n_left > 0);
    for (uint32_t i = 0; i < set->n; i++) {
        for (uint32_t r = 0; r < set->jobs[i].job.n_rows; r++) {
            const struct lens_row_out *out = &set->jobs[i].out[r];
            assert_int_equal(set->jobs[i].job.state, LENS_JOB_DONE);
            assert_int_equal(out->counts.scored, 0);
            assert_int_equal(out->status, out->counts.missing > 0 ? LENS_ROW_PARTIAL : LENS_ROW_COMPLETE);
            assert_int_equal(out->n_detections, 0);
        }
    }
}

/* All jobs wait; then everything they wait for is lost. */
static void lose_everything(struct gpu_job_set *set, struct conformance_rig *rig)
{
    struct lens_batch batch = {0};
    uint32_t *lost = bench_alloc(set->tree->base->shape.lenses * sizeof *lost);
    gpu_job_set_reset(set, 0, set->n);
    assert_int_equal(run_all(set, rig, &batch), LENS_RUN_MISSES);
    for (uint32_t i = 1; i < batch.n_misses; i++)
        assert_true(set->misses[i - 1] < set->misses[i]);
    memcpy(lost, set->misses, batch.n_misses * sizeof *lost);
    batch.lost = lost;
    batch.n_lost = batch.n_misses;
    assert_int_equal(run_all(set, rig, &batch), LENS_RUN_DONE);
    for (uint32_t i = 0; i < set->n; i++) {
        const struct lens_row_out *out = &set->jobs[i].out[0];
        assert_int_equal(out->status, LENS_ROW_PARTIAL);
        assert_int_equal(out->reason, LENS_REASON_ENGINE_FAILURE);
        assert_int_equal(out->flags, LENS_ROW_DEGRADED);
    }
    free(lost);
}

void gpu_check_given_up(const struct gpu_context *context)
{
    struct conformance_random random = {context->seed};
    const struct conformance_pair *pair = conformance_pair(context->target, 0);
    struct gpu_tree_model *tree = small_tree(context, pair, &random);
    struct gpu_job_set *set = gpu_job_set_new(tree, context->reduced ? 4 : 30, &random);
    for (uint32_t i = 0; i < set->n; i++) /* every row wants something */
        set->jobs[i].job.allowed = NULL;
    struct gpu_job_set *waited = gpu_job_set_copy(set);
    struct conformance_rig rig;
    struct lens_slab_config config = config_of(pair, tree->base->shape.lenses, gpu_job_set_rows(set));
    for (uint32_t i = 0; i < set->n; i++)
        waited->jobs[i].job.allowed = NULL;
    conformance_rig_open(&rig, context->target, 1, tree->base, &config);
    give_up_at_once(set, &rig);
    lose_everything(set, &rig);
    gpu_job_set_run(waited, &rig, 0, set->n); /* the slab is as good as new */
    gpu_job_set_run(set, &rig, 0, set->n);
    gpu_expect_same_answers(waited, set, "after jobs that gave up");
    conformance_rig_close(&rig);
    gpu_job_set_free(set);
    gpu_job_set_free(waited);
    gpu_tree_model_free(tree);
}
