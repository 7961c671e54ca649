/* See conformance_rig.h. */
#include "tests/unit/support/conformance_rig.h"

#include <math.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>

#include <cmocka.h>

void conformance_rig_open(struct conformance_rig *rig, const struct conformance_target *target, uint32_t threads,
                          const struct conformance_model *model, const struct lens_slab_config *config)
{
    struct lens_error err = {0};
    rig->model = model;
    if (target->open(target->arg, threads, &rig->backend, &err) != 0)
        fail_msg("%s: %s", target->name, err.text);
    assert_int_equal(rig->backend->ops->api_version, LENS_BACKEND_API);
    if (rig->backend->ops->slab_create(rig->backend, &model->model, config, &rig->slab, &err) != 0)
        fail_msg("%s: %s", target->name, err.text);
}

void conformance_rig_close(struct conformance_rig *rig)
{
    rig->backend->ops->slab_destroy(rig->slab);
    rig->backend->ops->close(rig->backend);
}

struct written {
    atomic_int calls, status;
};

static void note_done(void *arg, int status)
{
    struct written *written = arg;
    atomic_store(&written->status, status);
    atomic_fetch_add(&written->calls, 1);
}

void conformance_load(struct conformance_rig *rig, const uint32_t *slots, const uint32_t *lenses, uint32_t n)
{
    struct lens_slot_write *writes = calloc(n, sizeof *writes);
    struct written written = {0};
    struct lens_error err = {0};
    assert_non_null(writes);
    for (uint32_t i = 0; i < n; i++)
        writes[i] = conformance_write(rig->model, slots != NULL ? slots[i] : i, lenses != NULL ? lenses[i] : i);
    for (uint32_t i = 0; i < n; i++) {
        if (rig->slab->lens_in[writes[i].slot] >= 0)
            lens_slab_unmap(rig->slab, (uint32_t)rig->slab->lens_in[writes[i].slot]);
        lens_slab_unmap(rig->slab, writes[i].lens);
    }
    if (rig->backend->ops->slot_write(rig->slab, 0, writes, n, note_done, &written, &err) != 0)
        fail_msg("slot_write: %s", err.text);
    while (atomic_load(&written.calls) == 0)
        sched_yield();
    assert_int_equal(atomic_load(&written.calls), 1);
    assert_int_equal(atomic_load(&written.status), 0);
    for (uint32_t i = 0; i < n; i++)
        lens_slab_map(rig->slab, writes[i].lens, writes[i].slot, LENS_FROM_FILE);
    free(writes);
}

/* Everything a batch of at most n rows needs, with outputs poisoned. */
struct buffers {
    char *rows;
    struct lens_job *jobs, **pointers;
    struct lens_row_out *out;
    struct lens_detection *detections;
    uint32_t *all, *misses, *used, *retained;
};

static void gather(const struct conformance_call *call, size_t row_bytes, char *out)
{
    for (uint32_t i = 0; i < call->n; i++) {
        uint32_t from = call->order != NULL ? call->order[i] : i;
        memcpy(out + row_bytes * i, (const char *)call->rows + row_bytes * from, row_bytes);
    }
}

static void prepare(struct buffers *b, const struct conformance_call *call, const struct lens_model *model)
{
    size_t row_bytes = (size_t)model->dim * lens_dtype_bytes(call->dtype);
    b->rows = malloc(row_bytes * call->n);
    b->jobs = calloc(call->n, sizeof *b->jobs);
    b->pointers = calloc(call->n, sizeof *b->pointers);
    b->out = malloc(call->n * sizeof *b->out);
    b->detections = malloc(call->n * sizeof *b->detections);
    b->all = malloc(model->lenses * sizeof *b->all);
    b->misses = malloc(model->lenses * sizeof *b->misses);
    b->used = malloc(model->lenses * sizeof *b->used);
    b->retained = malloc((size_t)call->n * model->lenses * sizeof *b->retained);
    assert_true(b->rows && b->jobs && b->pointers && b->out && b->detections && b->all && b->misses && b->used &&
                b->retained);
    gather(call, row_bytes, b->rows);
    memset(b->out, 0xff, call->n * sizeof *b->out);
    memset(b->detections, 0xff, call->n * sizeof *b->detections);
    for (uint32_t i = 0; i < model->lenses; i++)
        b->all[i] = i;
    for (uint32_t i = 0; i < call->n; i++) {
        b->out[i].expanded = NULL;
        b->out[i].expanded_capacity = 0;
        b->out[i].detections = &b->detections[i];
    }
}

static void release(struct buffers *b)
{
    free(b->rows);
    free(b->jobs);
    free(b->pointers);
    free(b->out);
    free(b->detections);
    free(b->all);
    free(b->misses);
    free(b->used);
    free(b->retained);
}

static uint32_t make_jobs(struct buffers *b, const struct conformance_call *call, const struct lens_model *model,
                          const struct lens_cascade_options *options)
{
    size_t row_bytes = (size_t)model->dim * lens_dtype_bytes(call->dtype);
    uint32_t jobs = 0;
    for (uint32_t first = 0; first < call->n; first += call->job_rows, jobs++) {
        uint32_t left = call->n - first;
        b->pointers[jobs] = &b->jobs[jobs];
        b->jobs[jobs] = (struct lens_job){
            .rows = b->rows + row_bytes * first,
            .dtype = call->dtype,
            .n_rows = left < call->job_rows ? left : call->job_rows,
            .options = options,
            .base = call->lenses != NULL ? call->lenses : b->all,
            .n_base = call->lenses != NULL ? call->n_lenses : model->lenses,
            .out = b->out + first,
            .retained = b->retained + (size_t)jobs * model->lenses,
            .retained_capacity = model->lenses,
        };
    }
    return jobs;
}

static void copy_logits(const struct conformance_call *call, const struct buffers *b, uint32_t lenses, float *logits)
{
    uint32_t n = call->lenses != NULL ? call->n_lenses : lenses;
    for (uint32_t r = 0; r < call->n; r++) {
        for (uint32_t i = 0; i < lenses; i++)
            logits[(size_t)r * lenses + i] = NAN;
        for (uint32_t i = 0; i < n && b->out[r].status != LENS_ROW_INVALID_INPUT; i++) {
            uint32_t lens = call->lenses != NULL ? call->lenses[i] : i;
            logits[(size_t)r * lenses + lens] = b->out[r].logits[lens];
        }
    }
}

void conformance_run(struct conformance_rig *rig, const struct conformance_call *call, float *logits, uint8_t *status)
{
    const struct lens_model *model = &rig->model->model;
    struct lens_cascade_options options;
    struct lens_error err = {0};
    struct buffers b;
    lens_options_default(&options);
    options.max_depth = 0;
    options.top_k = 1;
    options.keep_top_k = 0;
    prepare(&b, call, model);
    struct lens_batch batch = {.jobs = b.pointers, .misses = b.misses, .used = b.used};
    batch.n_jobs = make_jobs(&b, call, model, &options);
    int rc = rig->backend->ops->run(rig->slab, &batch, &err);
    if (rc != LENS_RUN_DONE)
        fail_msg("run returned %d with %u misses: %s", rc, batch.n_misses, err.text);
    copy_logits(call, &b, model->lenses, logits);
    for (uint32_t r = 0; r < call->n; r++)
        status[r] = b.out[r].status;
    release(&b);
}
