#include "tests/unit/support/drive.h"

#include "daemon/sys.h"

#include <sched.h>
#include <stdlib.h>

static bool all_done(const struct lens_batch *batch)
{
    return batch->n_jobs == 0;
}

static void drop_done(struct lens_batch *batch)
{
    uint32_t kept = 0;
    for (uint32_t j = 0; j < batch->n_jobs; j++)
        if (batch->jobs[j]->state != LENS_JOB_DONE)
            batch->jobs[kept++] = batch->jobs[j];
    batch->n_jobs = kept;
}

/* True when some job has just given up. */
static bool give_up_where_due(struct lens_job *jobs, uint32_t n, const uint64_t *deadlines_ns)
{
    bool any = false;
    for (uint32_t j = 0; j < n; j++) {
        bool late = deadlines_ns != NULL && deadlines_ns[j] != 0 && lensd_now_ns() >= deadlines_ns[j];
        bool due = jobs[j].options->miss == LENS_MISS_DEADLINE && late && !jobs[j].give_up;
        jobs[j].give_up = jobs[j].give_up || due;
        any = any || due;
    }
    return any;
}

int drive_pool(struct lensd_pool *pool, struct lens_job *jobs, uint32_t n, const uint64_t *deadlines_ns,
               struct lens_error *err)
{
    uint32_t lenses = lensd_pool_slab(pool)->model.lenses;
    struct lens_batch batch = {.jobs = calloc(n, sizeof *batch.jobs), .n_jobs = n};
    batch.misses = calloc(lenses, sizeof *batch.misses);
    batch.used = calloc(lenses, sizeof *batch.used);
    for (uint32_t j = 0; j < n; j++) {
        batch.jobs[j] = &jobs[j];
        jobs[j].state = LENS_JOB_NEW;
        jobs[j].give_up = jobs[j].options->miss == LENS_MISS_SKIP;
    }
    (void)give_up_where_due(jobs, n, deadlines_ns);
    int r = 0;
    while (r >= 0 && !all_done(&batch)) {
        r = lensd_pool_run(pool, &batch, err);
        drop_done(&batch);
        while (r >= 0 && !all_done(&batch) && !lensd_pool_ready(pool) && !give_up_where_due(jobs, n, deadlines_ns))
            if (!lensd_pool_help(pool))
                sched_yield();
    }
    free(batch.jobs);
    free(batch.misses);
    free(batch.used);
    return r < 0 ? r : 0;
}

void drive_idle(struct lensd_pool *pool)
{
    while (lensd_pool_busy(pool)) {
        lensd_pool_idle(pool);
        if (!lensd_pool_help(pool))
            sched_yield();
    }
    lensd_pool_idle(pool);
}
