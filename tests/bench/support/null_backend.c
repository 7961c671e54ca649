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
    (void)err;
    struct lens_slab *slab = bench_alloc(sizeof *slab);
    slab->backend = backend;
    slab->model = *model;
    slab->config = *config;
    slab->slot_of = bench_alloc(model->lenses * sizeof *slab->slot_of);
    slab->lens_in = bench_alloc(config->slots * sizeof *slab->lens_in);
    slab->last_used = bench_alloc(model->lenses * sizeof *slab->last_used);
    memset(slab->slot_of, 0xff, model->lenses * sizeof *slab->slot_of);
    memset(slab->lens_in, 0xff, config->slots * sizeof *slab->lens_in);
    *out = slab;
    return 0;
}

static void slab_destroy(struct lens_slab *slab)
{
    free(slab->slot_of);
    free(slab->lens_in);
    free(slab->last_used);
    free(slab);
}

static int slot_write(struct lens_slab *slab, const struct lens_slot_write *writes, uint32_t n, lens_slot_done_fn done,
                      void *arg, struct lens_error *err)
{
    (void)err;
    for (uint32_t i = 0; i < n; i++) {
        slab->slot_of[writes[i].lens] = (int32_t)writes[i].slot;
        slab->lens_in[writes[i].slot] = (int32_t)writes[i].lens;
    }
    done(arg, 0);
    return 0;
}

static int run(struct lens_slab *slab, struct lens_batch *batch, struct lens_error *err)
{
    (void)slab;
    (void)err;
    for (uint32_t j = 0; j < batch->n_jobs; j++) {
        struct lens_job *job = &batch->jobs[j];
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
        job->retained_changed = false;
    }
    batch->n_misses = 0;
    return LENS_RUN_DONE;
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
    .close = close_backend,
};

struct lens_backend *bench_null_backend_open(void)
{
    struct lens_backend *backend = bench_alloc(sizeof *backend);
    backend->ops = &null_ops;
    return backend;
}
