/* Memory that several use at once, and memory that must come back. See checks.h. */
#include "tests/gpu/checks.h"
#include "tests/gpu/job_set.h"

#include "tests/bench/support/bench.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <cmocka.h>

#define LOADERS 3u
#define SCORED  12u /* lenses that are scored all the time, in slots 0.. */
#define EACH    10u /* slots of a loader, behind them */
#define ROWS    7u

/* ---- loads while scoring ---------------------------------------------------------------------------------------- */

struct loader {
    struct conformance_rig *rig;
    uint32_t index;
    struct conformance_random random;
    atomic_bool *stop;
    uint32_t last[EACH]; /* the lens that was written last into each of its slots */
    atomic_uint writes;
    atomic_bool failed;
    char failure[256]; /* when it failed; told by the main thread after joining */
};

static void note_done(void *arg, int status)
{
    atomic_store((atomic_int *)arg, status == 0 ? 1 : -1);
}

/* Writes random lenses into its own slots, a few at a time, until told to stop. */
static void *load_all_the_time(void *arg)
{
    struct loader *l = arg;
    struct lens_slab *slab = l->rig->slab;
    uint32_t own = SCORED + l->index * EACH;
    while (!atomic_load(l->stop) && !atomic_load(&l->failed)) {
        struct lens_slot_write writes[EACH];
        struct lens_error err = {0};
        atomic_int done = 0;
        uint32_t n = 1 + conformance_below(&l->random, EACH);
        for (uint32_t i = 0; i < n; i++) {
            l->last[i] = own + conformance_below(&l->random, EACH);
            writes[i] = conformance_write(l->rig->model, own + i, l->last[i]);
        }
        int rc = slab->backend->ops->slot_write(slab, l->index, writes, n, note_done, &done, &err);
        while (rc == 0 && atomic_load(&done) == 0)
            ;
        if (rc != 0 || atomic_load(&done) < 0) {
            snprintf(l->failure, sizeof l->failure, "loader %u: %d %.200s", l->index, rc, err.text);
            atomic_store(&l->failed, true);
        }
        atomic_fetch_add(&l->writes, n);
    }
    return NULL;
}

static void expect_scored_bits(struct conformance_rig *rig, const struct conformance_call *call, const float *want)
{
    uint32_t lenses = rig->model->shape.lenses;
    float *got = bench_alloc((size_t)ROWS * lenses * sizeof *got);
    uint8_t status[ROWS];
    conformance_run(rig, call, got, status);
    for (uint32_t r = 0; r < call->n; r++)
        for (uint32_t i = 0; i < call->n_lenses; i++) {
            size_t at = (size_t)r * lenses + call->lenses[i];
            if (lens_f32_bits(got[at]) != lens_f32_bits(want[at]))
                fail_msg("row %u lens %u is %.9g while others are loaded, expected %.9g", r, call->lenses[i],
                         (double)got[at], (double)want[at]);
        }
    free(got);
}

/* What the loaders wrote last must be there: mapped one by one, since a lens may have been written twice. */
static void expect_written(struct conformance_rig *rig, const struct loader *l, const void *rows, const float *want)
{
    for (uint32_t i = 0; i < EACH; i++) {
        uint32_t lens = l->last[i];
        if (lens == UINT32_MAX)
            continue;
        lens_slab_unmap(rig->slab, lens);
        lens_slab_map(rig->slab, lens, SCORED + l->index * EACH + i, LENS_FROM_HOST);
        expect_scored_bits(
            rig,
            &(struct conformance_call){
                .rows = rows, .dtype = LENS_F32, .n = ROWS, .job_rows = ROWS, .lenses = &lens, .n_lenses = 1},
            want);
        lens_slab_unmap(rig->slab, lens);
    }
}

/* True when every loader has written some lenses, or failed. */
static bool all_wrote(struct loader *loaders)
{
    bool all = true;
    for (uint32_t i = 0; i < LOADERS; i++)
        all = all && (atomic_load(&loaders[i].writes) > 2 * EACH || atomic_load(&loaders[i].failed));
    return all;
}

static void run_beside_loaders(struct conformance_rig *rig, const void *rows, const float *want, uint32_t runs,
                               uint64_t seed)
{
    struct loader loaders[LOADERS] = {{0}};
    pthread_t threads[LOADERS];
    atomic_bool stop = false;
    uint32_t scored[SCORED];
    for (uint32_t i = 0; i < SCORED; i++)
        scored[i] = i;
    for (uint32_t i = 0; i < LOADERS; i++) {
        loaders[i] = (struct loader){.rig = rig, .index = i, .random = {seed + i + 1}, .stop = &stop};
        memset(loaders[i].last, 0xff, sizeof loaders[i].last);
        assert_int_equal(pthread_create(&threads[i], NULL, load_all_the_time, &loaders[i]), 0);
    }
    struct conformance_call call = {
        .rows = rows, .dtype = LENS_F32, .n = ROWS, .job_rows = 3, .lenses = scored, .n_lenses = SCORED};
    for (uint32_t i = 0; i < runs || !all_wrote(loaders); i++)
        expect_scored_bits(rig, &call, want);
    atomic_store(&stop, true);
    for (uint32_t i = 0; i < LOADERS; i++)
        pthread_join(threads[i], NULL);
    for (uint32_t i = 0; i < LOADERS; i++) {
        if (atomic_load(&loaders[i].failed))
            fail_msg("%s", loaders[i].failure);
        printf("loader %u wrote %u lenses\n", i, atomic_load(&loaders[i].writes));
        expect_written(rig, &loaders[i], rows, want);
    }
}

void gpu_check_loads_while_scoring(const struct gpu_context *context)
{
    struct conformance_random random = {context->seed};
    uint32_t lenses = SCORED + LOADERS * EACH;
    for (uint32_t i = 0; i < conformance_n_pairs(context->target); i++) {
        const struct conformance_pair *pair = conformance_pair(context->target, i);
        struct conformance_shape shape = {.lenses = lenses,
                                          .dim = context->reduced ? 100 : 2560,
                                          .h1 = context->reduced ? 20 : 128,
                                          .h2 = 16,
                                          .normalize = LENS_NORMALIZE_LAYERNORM,
                                          .stored = conformance_stored(pair->dtype)};
        struct conformance_model *model = conformance_model_new(&shape, &random);
        struct lens_slab_config config = {.slots = lenses,
                                          .dtype = pair->dtype,
                                          .compute = pair->compute,
                                          .max_batch_rows = ROWS,
                                          .loaders = LOADERS};
        struct conformance_rig rig;
        float *want = bench_alloc((size_t)ROWS * lenses * sizeof *want);
        uint8_t status[ROWS];
        void *rows = conformance_rows(&shape, LENS_F32, ROWS, &random);
        conformance_rig_open(&rig, context->target, 2, model, &config);
        conformance_load(&rig, NULL, NULL, lenses);
        conformance_run(&rig, &(struct conformance_call){.rows = rows, .dtype = LENS_F32, .n = ROWS, .job_rows = ROWS},
                        want, status);
        for (uint32_t lens = SCORED; lens < lenses; lens++)
            lens_slab_unmap(rig.slab, lens);
        run_beside_loaders(&rig, rows, want, context->reduced ? 4 : 300, context->seed);
        conformance_rig_close(&rig);
        conformance_model_free(model);
        free(rows);
        free(want);
    }
}

/* ---- rows read in place ----------------------------------------------------------------------------------------- */

/* Moves all rows of a set into `memory`, each job's on a 64-byte boundary, where the device sees them at `view`. */
static void move_rows(struct gpu_job_set *set, char *memory, char *view)
{
    size_t at = 0;
    for (uint32_t i = 0; i < set->n; i++) {
        struct lens_job *job = &set->jobs[i].job;
        size_t bytes = (size_t)job->n_rows * set->tree->base->shape.dim * lens_dtype_bytes(job->dtype);
        memcpy(memory + at, job->rows, bytes);
        job->rows = memory + at;
        job->device_rows = view + at;
        at += (bytes + 63) / 64 * 64;
    }
}

static size_t bytes_of_rows(const struct gpu_job_set *set)
{
    return (size_t)gpu_job_set_rows(set) * set->tree->base->shape.dim * 4 + (size_t)set->n * 64;
}

void gpu_check_registered_rows(const struct gpu_context *context)
{
    struct conformance_random random = {context->seed};
    struct gpu_tree_shape shape = {
        .shape = {.lenses = 60, .dim = 203, .h1 = 16, .h2 = 8, .normalize = LENS_NORMALIZE_LAYERNORM},
        .roots = 3,
        .fanout = 5,
        .spread = 4,
        .bias = -1};
    struct gpu_tree_model *tree = gpu_tree_model_new(&shape, &random);
    struct gpu_job_set *copied = gpu_job_set_new(tree, context->reduced ? 4 : 60, &random),
                       *in_place = gpu_job_set_copy(copied);
    struct lens_slab_config config = {.slots = 60, .max_batch_rows = gpu_job_set_rows(copied), .loaders = 1};
    struct conformance_rig rig;
    struct lens_error err = {0};
    size_t bytes = (bytes_of_rows(copied) + 4095) / 4096 * 4096;
    void *view = NULL, *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(memory != MAP_FAILED);
    conformance_rig_open(&rig, context->target, 1, tree->base, &config);
    conformance_load(&rig, NULL, NULL, 60);
    if (rig.backend->ops->host_register == NULL) {
        printf("this backend reads any memory alike\n");
        view = memory;
    } else if (rig.backend->ops->host_register(rig.backend, memory, bytes, &view, &err) != 0) {
        fail_msg("shared memory can't be registered: %s", err.text);
    }
    gpu_job_set_run(copied, &rig, 0, copied->n);
    move_rows(in_place, memory, view);
    gpu_job_set_run(in_place, &rig, 0, in_place->n);
    gpu_expect_same_answers(copied, in_place, "with rows read in place");
    if (rig.backend->ops->host_register != NULL)
        rig.backend->ops->host_unregister(rig.backend, memory);
    gpu_job_set_run(copied, &rig, 0, copied->n); /* nothing of the registration is left behind */
    gpu_expect_same_answers(in_place, copied, "after the memory was let go");
    conformance_rig_close(&rig);
    munmap(memory, bytes);
    gpu_job_set_free(copied);
    gpu_job_set_free(in_place);
    gpu_tree_model_free(tree);
}

/* ---- leaks ------------------------------------------------------------------------------------------------------ */

static uint64_t free_bytes(struct lens_backend *backend)
{
    uint64_t bytes = 0;
    assert_int_equal(backend->ops->memory_free(backend, &bytes), 0);
    return bytes;
}

static void use_once(struct lens_backend *backend, const struct conformance_model *model, const void *rows)
{
    struct lens_slab_config config = {.slots = model->shape.lenses, .max_batch_rows = ROWS, .loaders = 2};
    struct conformance_rig rig = {.backend = backend, .model = model};
    struct lens_error err = {0};
    float *logits = bench_alloc((size_t)ROWS * model->shape.lenses * sizeof *logits);
    uint8_t status[ROWS];
    if (backend->ops->slab_create(backend, &model->model, &config, &rig.slab, &err) != 0)
        fail_msg("%s", err.text);
    conformance_load(&rig, NULL, NULL, model->shape.lenses);
    conformance_run(&rig, &(struct conformance_call){.rows = rows, .dtype = LENS_F32, .n = ROWS, .job_rows = ROWS},
                    logits, status);
    backend->ops->slab_destroy(rig.slab);
    free(logits);
}

/* The driver takes its own share at the first use and may round a little; a slab here is 50 MB (reduced: 1 MB). */
void gpu_check_nothing_leaks(const struct gpu_context *context)
{
    struct conformance_random random = {context->seed};
    struct conformance_shape shape = {
        .lenses = context->reduced ? 10 : 40, .dim = context->reduced ? 200 : 2560, .h1 = 128, .h2 = 64};
    struct conformance_model *model = conformance_model_new(&shape, &random);
    struct lens_backend *backend = NULL;
    struct lens_error err = {0};
    void *rows = conformance_rows(&shape, LENS_F32, ROWS, &random);
    assert_int_equal(context->target->open(context->target->arg, 1, &backend, &err), 0);
    if (backend->ops->memory_free == NULL) {
        printf("this backend has no memory of its own\n");
    } else {
        use_once(backend, model, rows);
        uint64_t before = free_bytes(backend);
        uint32_t times = context->reduced ? 3 : 20;
        for (uint32_t i = 0; i < times; i++)
            use_once(backend, model, rows);
        uint64_t after = free_bytes(backend);
        printf("%.1f MB free, %.1f MB after %u slabs came and went\n", (double)before * 1e-6, (double)after * 1e-6,
               times);
        assert_true(after + (context->reduced ? 0 : 32u << 20) >= before);
    }
    backend->ops->close(backend);
    conformance_model_free(model);
    free(rows);
}
