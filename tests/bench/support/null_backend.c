/* A backend that does nothing; see null_backend.h. */
#include "tests/bench/support/null_backend.h"

#include "tests/bench/support/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void describe(struct lens_backend *backend, struct lens_device *out)
{
    (void)backend;
    memset(out, 0, sizeof *out);
    snprintf(out->backend, sizeof out->backend, "null");
    snprintf(out->name, sizeof out->name, "nothing");
    snprintf(out->variant, sizeof out->variant, "none");
    out->threads = 1;
}

static int slab_create(struct lens_backend *backend, const struct lens_model *model,
                       const struct lens_slab_config *config, struct lens_slab **out, struct lens_error *err)
{
    struct lens_slab *slab = bench_alloc(sizeof *slab);
    slab->backend = backend;
    slab->model = *model;
    slab->config = *config;
    *out = slab;
    return lens_slab_make_maps(slab, err);
}

static void slab_destroy(struct lens_slab *slab)
{
    lens_slab_free_maps(slab);
    free(slab);
}

static int slot_write(struct lens_slab *slab, uint32_t loader, const struct lens_slot_write *writes, uint32_t n,
                      lens_slot_done_fn done, void *arg, struct lens_error *err)
{
    (void)slab;
    (void)loader;
    (void)writes;
    (void)n;
    (void)err;
    done(arg, 0);
    return 0;
}

static int run(struct lens_slab *slab, struct lens_batch *batch, struct lens_error *err)
{
    (void)slab;
    (void)err;
    for (uint32_t j = 0; j < batch->n_jobs; j++) {
        struct lens_job *job = batch->jobs[j];
        for (uint32_t r = 0; r < job->n_rows; r++) {
            struct lens_row_out *out = &job->out[r];
            out->status = LENS_ROW_COMPLETE;
            out->reason = LENS_REASON_NONE;
            out->flags = 0;
            out->n_expanded = 0;
            out->n_detections = 0;
            out->counts = (struct lens_row_counts){0};
            out->logits = NULL;
        }
        job->n_retained = 0;
        job->retained_changed = job->waited = false;
        job->timing = (struct lens_job_timing){0};
        job->state = LENS_JOB_DONE;
    }
    batch->n_misses = batch->n_left = batch->n_used = 0;
    return LENS_RUN_DONE;
}

static uint64_t slot_bytes(const struct lens_slab *slab)
{
    (void)slab;
    return 0;
}

static void close_backend(struct lens_backend *backend)
{
    free(backend);
}

static const struct lens_backend_ops null_ops = {
    .api_version = LENS_BACKEND_API,
    .describe = describe,
    .slab_create = slab_create,
    .slab_destroy = slab_destroy,
    .slot_write = slot_write,
    .run = run,
    .slot_bytes = slot_bytes,
    .close = close_backend,
};

struct lens_backend *bench_null_backend_open(void)
{
    struct lens_backend *backend = bench_alloc(sizeof *backend);
    backend->ops = &null_ops;
    return backend;
}
