/* See job_set.h. */
#include "tests/gpu/job_set.h"

#include "tests/bench/support/bench.h"

#include <stdlib.h>

#include <cmocka.h>

/* ---- random jobs ------------------------------------------------------------------------------------------------ */

static uint32_t one_of(struct conformance_random *random, const uint32_t *values, uint32_t n)
{
    return values[conformance_below(random, n)];
}

static void any_options(struct lens_cascade_options *o, struct conformance_random *random)
{
    lens_options_default(o);
    o->base_layers = conformance_below(random, 2) ? 1 : 3;
    o->expand = conformance_below(random, 3) == 0 ? LENS_EXPAND_TOPK : LENS_EXPAND_THRESHOLD;
    o->report = (enum lens_report)conformance_below(random, 3);
    o->rank = conformance_below(random, 3) == 0 ? LENS_RANK_CALIBRATED : LENS_RANK_RAW;
    o->uncalibrated = (enum lens_uncalibrated)conformance_below(random, 2);
    o->suppress_parents = conformance_below(random, 2) != 0;
    o->load_threshold = conformance_below(random, 2) ? 0.3f : 0.1f + 0.6f * (float)conformance_below(random, 100) / 100;
    o->top_k = one_of(random, (const uint32_t[]){1, 5, 10, 10, 40, 256}, 6);
    o->keep_top_k = (int32_t)one_of(random, (const uint32_t[]){0, 5, 30, 30}, 4);
    if (conformance_below(random, 6) == 0)
        o->keep_top_k = -1;
    o->max_depth = one_of(random, (const uint32_t[]){0, 1, 5, 5, 5, 12}, 6);
    o->max_scored = one_of(random, (const uint32_t[]){4096, 4096, 4096, 60, 7}, 5);
}

static uint32_t *any_lenses(uint32_t n, uint32_t lenses, struct conformance_random *random)
{
    uint32_t *list = bench_alloc(n * sizeof *list);
    for (uint32_t i = 0; i < n; i++)
        list[i] = conformance_below(random, lenses);
    return list;
}

/* NULL, or a bitmap with most bits set. */
static uint64_t *any_bitmap(uint32_t lenses, struct conformance_random *random)
{
    if (conformance_below(random, 3) != 0)
        return NULL;
    uint64_t *bits = bench_alloc((lenses + 63) / 64 * sizeof *bits);
    for (uint32_t i = 0; i < lenses; i++)
        bits[i / 64] |= (uint64_t)(conformance_below(random, 8) != 0) << (i % 64);
    return bits;
}

static void choose_lists(struct gpu_job *j, const struct gpu_tree_model *tree, struct conformance_random *random)
{
    uint32_t lenses = tree->base->shape.lenses;
    struct lens_job *job = &j->job;
    j->base = bench_alloc(lenses * sizeof *j->base);
    for (uint32_t i = 0; i < lenses; i++)
        if (tree->layer[i] < 64 && (j->options.base_layers >> tree->layer[i] & 1) != 0)
            j->base[job->n_base++] = i;
    job->n_pinned = conformance_below(random, 6);
    job->n_kept = conformance_below(random, 12);
    j->pinned = any_lenses(job->n_pinned, lenses, random);
    j->kept = any_lenses(job->n_kept, lenses, random);
    j->allowed = any_bitmap(lenses, random);
    j->reported = any_bitmap(lenses, random);
}

static void give_buffers(struct gpu_job *j, uint32_t lenses)
{
    j->retained = bench_alloc(lenses * sizeof *j->retained);
    j->expanded = bench_alloc((size_t)GPU_JOB_ROWS * lenses * sizeof *j->expanded);
    j->detections = bench_alloc((size_t)GPU_JOB_ROWS * LENS_MAX_TOP_K * sizeof *j->detections);
    j->job.options = &j->options;
    j->job.rows = j->rows;
    j->job.base = j->base;
    j->job.pinned = j->pinned;
    j->job.kept = j->kept;
    j->job.allowed = j->allowed;
    j->job.reported = j->reported;
    j->job.out = j->out;
    j->job.retained = j->retained;
    j->job.retained_capacity = lenses;
}

static struct gpu_job_set *empty_set(const struct gpu_tree_model *tree, uint32_t n)
{
    struct gpu_job_set *set = bench_alloc(sizeof *set);
    uint32_t lenses = tree->base->shape.lenses;
    set->tree = tree;
    set->n = n;
    set->jobs = bench_alloc(n * sizeof *set->jobs);
    set->pointers = bench_alloc(n * sizeof *set->pointers);
    set->misses = bench_alloc(lenses * sizeof *set->misses);
    set->used = bench_alloc(lenses * sizeof *set->used);
    for (uint32_t i = 0; i < n; i++)
        set->pointers[i] = &set->jobs[i].job;
    return set;
}

struct gpu_job_set *gpu_job_set_new(const struct gpu_tree_model *tree, uint32_t n, struct conformance_random *random)
{
    static const enum lens_dtype dtypes[] = {LENS_F32, LENS_F16, LENS_BF16};
    struct gpu_job_set *set = empty_set(tree, n);
    for (uint32_t i = 0; i < n; i++) {
        struct gpu_job *j = &set->jobs[i];
        any_options(&j->options, random);
        j->job.dtype = dtypes[conformance_below(random, 3)];
        j->job.n_rows = 1 + conformance_below(random, GPU_JOB_ROWS);
        j->rows = conformance_rows(&tree->base->shape, j->job.dtype, j->job.n_rows, random);
        choose_lists(j, tree, random);
        give_buffers(j, tree->base->shape.lenses);
    }
    return set;
}

static void *duplicate(const void *memory, size_t bytes)
{
    if (memory == NULL)
        return NULL;
    return memcpy(bench_alloc(bytes), memory, bytes);
}

struct gpu_job_set *gpu_job_set_copy(const struct gpu_job_set *from)
{
    struct gpu_job_set *set = empty_set(from->tree, from->n);
    uint32_t lenses = from->tree->base->shape.lenses, words = (lenses + 63) / 64;
    for (uint32_t i = 0; i < from->n; i++) {
        const struct gpu_job *f = &from->jobs[i];
        struct gpu_job *j = &set->jobs[i];
        j->job = f->job;
        j->options = f->options;
        j->rows =
            duplicate(f->rows, (size_t)f->job.n_rows * from->tree->base->shape.dim * lens_dtype_bytes(f->job.dtype));
        j->base = duplicate(f->base, lenses * sizeof *j->base);
        j->pinned = duplicate(f->pinned, f->job.n_pinned * sizeof *j->pinned);
        j->kept = duplicate(f->kept, f->job.n_kept * sizeof *j->kept);
        j->allowed = duplicate(f->allowed, words * sizeof *j->allowed);
        j->reported = duplicate(f->reported, words * sizeof *j->reported);
        give_buffers(j, lenses);
    }
    return set;
}

void gpu_job_set_free(struct gpu_job_set *set)
{
    for (uint32_t i = 0; i < set->n; i++) {
        struct gpu_job *j = &set->jobs[i];
        free(j->rows);
        free(j->base);
        free(j->pinned);
        free(j->kept);
        free(j->allowed);
        free(j->reported);
        free(j->retained);
        free(j->expanded);
        free(j->detections);
    }
    free(set->jobs);
    free(set->pointers);
    free(set->misses);
    free(set->used);
    free(set);
}

uint32_t gpu_job_set_rows(const struct gpu_job_set *set)
{
    uint32_t rows = 0;
    for (uint32_t i = 0; i < set->n; i++)
        rows += set->jobs[i].job.n_rows;
    return rows;
}

/* ---- running ---------------------------------------------------------------------------------------------------- */

static void poison(struct gpu_job *j, uint32_t lenses)
{
    memset(j->out, 0xff, sizeof j->out);
    memset(j->retained, 0xff, lenses * sizeof *j->retained);
    memset(j->expanded, 0xff, (size_t)GPU_JOB_ROWS * lenses * sizeof *j->expanded);
    memset(j->detections, 0xff, (size_t)GPU_JOB_ROWS * LENS_MAX_TOP_K * sizeof *j->detections);
    for (uint32_t r = 0; r < GPU_JOB_ROWS; r++) {
        j->out[r].expanded = j->expanded + (size_t)r * lenses;
        j->out[r].expanded_capacity = lenses;
        j->out[r].detections = j->detections + (size_t)r * LENS_MAX_TOP_K;
    }
    j->job.state = LENS_JOB_NEW;
    j->job.give_up = false;
}

void gpu_job_set_reset(struct gpu_job_set *set, uint32_t first, uint32_t n)
{
    for (uint32_t i = first; i < first + n; i++)
        poison(&set->jobs[i], set->tree->base->shape.lenses);
}

static bool among(uint32_t lens, const uint32_t *list, uint32_t n)
{
    uint32_t low = 0, high = n; /* ascending */
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (list[middle] < lens)
            low = middle + 1;
        else
            high = middle;
    }
    return low < n && list[low] == lens;
}

void gpu_load_misses(struct conformance_rig *rig, const uint32_t *misses, uint32_t n, uint32_t *turn)
{
    uint32_t slots = rig->slab->config.slots, take = n < slots ? n : slots;
    uint32_t *into = bench_alloc(take * sizeof *into);
    for (uint32_t i = 0; i < take; i++, ++*turn) {
        while (rig->slab->lens_in[*turn % slots] >= 0 && among((uint32_t)rig->slab->lens_in[*turn % slots], misses, n))
            ++*turn;
        into[i] = *turn % slots;
    }
    conformance_load(rig, into, misses, take);
    free(into);
}

void gpu_job_set_run(struct gpu_job_set *set, struct conformance_rig *rig, uint32_t first, uint32_t n)
{
    uint32_t turn = 0;
    struct lens_error err = {0};
    set->runs = set->loads = 0;
    gpu_job_set_reset(set, first, n);
    for (;;) {
        struct lens_batch batch = {.misses = set->misses, .used = set->used};
        struct lens_job *live[256];
        assert_true(n <= 256);
        for (uint32_t i = first; i < first + n; i++)
            if (set->jobs[i].job.state != LENS_JOB_DONE)
                live[batch.n_jobs++] = set->pointers[i];
        batch.jobs = live;
        int rc = rig->backend->ops->run(rig->slab, &batch, &err);
        set->runs++;
        if (rc == LENS_RUN_DONE)
            return;
        if (rc != LENS_RUN_MISSES)
            fail_msg("run returned %d: %s", rc, err.text);
        if (batch.n_misses == 0 || set->runs > 10000)
            fail_msg("run %u says that jobs wait, with %u misses", set->runs, batch.n_misses);
        set->loads += batch.n_misses;
        gpu_load_misses(rig, batch.misses, batch.n_misses, &turn);
    }
}

/* ---- comparing -------------------------------------------------------------------------------------------------- */

static void expect_same_row(const struct lens_row_out *a, const struct lens_row_out *b, uint32_t job, uint32_t row,
                            const char *how)
{
    if (a->status != b->status || a->reason != b->reason || a->flags != b->flags || a->n_expanded != b->n_expanded ||
        a->n_detections != b->n_detections || a->counts.scored != b->counts.scored)
        fail_msg("job %u row %u %s: status %u reason %u flags %u, %u expanded, %u detections, %u scored; expected "
                 "%u %u %u, %u, %u, %u",
                 job, row, how, b->status, b->reason, b->flags, b->n_expanded, b->n_detections, b->counts.scored,
                 a->status, a->reason, a->flags, a->n_expanded, a->n_detections, a->counts.scored);
    for (uint32_t i = 0; i < a->n_detections; i++)
        if (memcmp(&a->detections[i], &b->detections[i], sizeof a->detections[i]) != 0)
            fail_msg(
                "job %u row %u %s: detection %u is lens %u with logit %.9g score %.9g, expected lens %u, %.9g, %.9g",
                job, row, how, i, b->detections[i].id, (double)b->detections[i].logit, (double)b->detections[i].score,
                a->detections[i].id, (double)a->detections[i].logit, (double)a->detections[i].score);
    if (memcmp(a->expanded, b->expanded, a->n_expanded * sizeof *a->expanded) != 0)
        fail_msg("job %u row %u %s: other lenses were expanded, or in another order", job, row, how);
}

void gpu_expect_same_answers(const struct gpu_job_set *a, const struct gpu_job_set *b, const char *how)
{
    for (uint32_t i = 0; i < a->n; i++) {
        const struct lens_job *x = &a->jobs[i].job, *y = &b->jobs[i].job;
        for (uint32_t r = 0; r < x->n_rows; r++)
            expect_same_row(&x->out[r], &y->out[r], i, r, how);
        if (x->retained_changed != y->retained_changed || x->n_retained != y->n_retained ||
            memcmp(x->retained, y->retained, x->n_retained * sizeof *x->retained) != 0)
            fail_msg("job %u %s: another retained set (%u lenses, expected %u)", i, how, y->n_retained, x->n_retained);
    }
}
