/* What came of a run, from the memory that the device wrote to the caller's buffers. */
#include "kernels/cuda/cuda.h"

#include <string.h>

/* ---- rows -------------------------------------------------------------------------------------------------------- */

static void copy_counts(const struct cu_row_result *result, struct lens_row_counts *out)
{
    const struct cu_row *row = &result->row;
    *out = (struct lens_row_counts){.scored = row->scored,
                                    .slot_hits = row->slot_hits,
                                    .host_hits = row->host_hits,
                                    .cold = row->cold,
                                    .missing = row->missing};
}

/* What the row asked for, and the logits of those by id; other entries stay what they were. */
static void make_views(struct cuda_slab *slab, uint32_t live, struct lens_row_out *out)
{
    const struct cu_row *row = &slab->host.rows[live].row;
    size_t at = (size_t)live * slab->info.lenses;
    const uint32_t *list = slab->host.list + at;
    const float *logits = slab->host.logits + at;
    float *dense = slab->dense + at;
    for (uint32_t i = 0; i < row->n; i++)
        dense[list[i]] = logits[i];
    out->wanted = list;
    out->n_wanted = row->n;
    out->n_always = row->always;
    out->n_active = row->active;
    out->logits = dense;
}

static void answer_row(struct cuda_slab *slab, uint32_t live, uint32_t row, struct lens_row_out *out)
{
    const struct cu_row_result *result = &slab->host.rows[live];
    out->status = (uint8_t)result->row.status;
    out->reason = (uint8_t)result->row.reason;
    out->flags = (uint8_t)result->row.flags;
    copy_counts(result, &out->counts);
    if (out->status == LENS_ROW_INVALID_INPUT)
        return;
    uint32_t stored = result->row.n_expanded < out->expanded_capacity ? result->row.n_expanded : out->expanded_capacity;
    if (stored > 0)
        memcpy(out->expanded, slab->host.expanded + (size_t)row * slab->info.lenses, (size_t)stored * 4);
    out->n_expanded = out->counts.expanded = result->row.n_expanded;
    out->n_detections = result->n_detections;
    if (result->n_detections > 0)
        memcpy(out->detections, slab->host.detections + (size_t)live * LENS_MAX_TOP_K,
               result->n_detections * sizeof *out->detections);
    make_views(slab, live, out);
}

/* ---- jobs -------------------------------------------------------------------------------------------------------- */

static void answer_rows(struct cuda_slab *slab, const struct cuda_flight *flight, bool failed)
{
    uint32_t index = 0;
    for (uint32_t at = flight->first_row; at != 0; at = slab->next_row[at - 1], index++) {
        struct lens_row_out *out = &flight->job->out[index];
        if (failed)
            lens_row_out_fail(out);
        else
            answer_row(slab, flight->live + index, at - 1, out);
    }
}

/* Its rows and its place are free again; the views are by live index, and stay until the next run. */
static void release(struct cuda_slab *slab, struct cuda_flight *flight)
{
    for (uint32_t at = flight->first_row; at != 0; at = slab->next_row[at - 1])
        slab->free_rows[slab->n_free_rows++] = at - 1;
    slab->free_ids[slab->n_free_ids++] = (uint32_t)(flight - slab->flights);
    flight->job = NULL;
}

static void end_job(struct cuda_slab *slab, struct cuda_flight *flight, const struct cu_job_out *result)
{
    struct lens_job *job = flight->job;
    bool failed = result->result == CU_JOB_FAILED;
    answer_rows(slab, flight, failed);
    if (!failed) {
        job->retained_changed = result->retained_changed != 0;
        job->n_retained = result->n_retained;
        const uint32_t *retained = slab->host.retained + (size_t)(flight - slab->flights) * slab->info.lenses;
        if (job->n_retained > 0)
            memcpy(job->retained, retained, (size_t)job->n_retained * 4);
    }
    job->state = LENS_JOB_DONE;
    release(slab, flight);
}

/* True when a row of the job got further in this run. */
static bool got_further(struct cuda_slab *slab, struct cuda_flight *flight)
{
    uint64_t steps = 0;
    for (uint32_t i = 0; i < flight->job->n_rows; i++) {
        const struct cu_row *row = &slab->host.rows[flight->live + i].row;
        steps += (uint64_t)row->scored + row->missing + row->depth;
    }
    bool further = steps != flight->steps;
    flight->steps = steps;
    return further;
}

/* ---- times ------------------------------------------------------------------------------------------------------- */

static uint64_t between(const uint64_t times[CU_TIMES], enum cu_time from, enum cu_time to)
{
    return times[to] > times[from] ? times[to] - times[from] : 0;
}

/* The stages of this run. What the host spent beyond the device's own time is copy_in. */
static struct lens_job_timing stages(const struct cu_result_head *head, uint64_t host_ns, bool any_new)
{
    const uint64_t *times = head->times;
    uint64_t device = between(times, CU_TIME_BEGIN, CU_TIME_FINISHED);
    uint64_t first = between(times, CU_TIME_TAKEN_IN, CU_TIME_BASE);
    struct lens_job_timing t = {.copy_in = between(times, CU_TIME_BEGIN, CU_TIME_TAKEN_IN),
                                .base = any_new ? first : 0,
                                .expand = between(times, CU_TIME_BASE, CU_TIME_EXPANDED) + (any_new ? 0 : first),
                                .select = between(times, CU_TIME_EXPANDED, CU_TIME_FINISHED)};
    t.copy_in += host_ns > device ? host_ns - device : 0;
    return t;
}

static void charge(struct lens_job *job, const struct lens_job_timing *t)
{
    job->timing.copy_in += t->copy_in;
    job->timing.base += t->base;
    job->timing.expand += t->expand;
    job->timing.select += t->select;
}

/* ---- the batch --------------------------------------------------------------------------------------------------- */

static bool any_fresh(const struct cuda_slab *slab, const struct lens_batch *batch)
{
    for (uint32_t j = 0; j < batch->n_jobs; j++)
        if (batch->jobs[j]->state == LENS_JOB_RUNNING && slab->flights[batch->jobs[j]->own.rows - 1].fresh)
            return true;
    return false;
}

static uint32_t list_bits(const uint32_t *bitmap, uint32_t words, uint32_t *out)
{
    uint32_t n = 0;
    for (uint32_t word = 0; word < words; word++)
        for (uint32_t bits = bitmap[word]; bits != 0; bits &= bits - 1)
            out[n++] = word * 32 + (uint32_t)__builtin_ctz(bits);
    return n;
}

static void list_lenses(struct cuda_slab *slab, struct lens_batch *batch)
{
    uint32_t words = slab->info.words;
    batch->n_misses = list_bits(slab->host.missing, words, batch->misses);
    batch->n_left = list_bits(slab->host.left_out, words, batch->misses + batch->n_misses);
    batch->n_used = slab->host.head->n_used;
    if (batch->n_used > 0)
        memcpy(batch->used, slab->host.used, (size_t)batch->n_used * 4);
}

uint32_t cuda_answer(struct cuda_slab *slab, struct lens_batch *batch, uint64_t host_ns)
{
    struct lens_job_timing t = stages(slab->host.head, host_ns, any_fresh(slab, batch));
    const struct cu_job_out *result = slab->host.jobs;
    uint32_t running = 0;
    for (uint32_t j = 0; j < batch->n_jobs; j++) {
        struct lens_job *job = batch->jobs[j];
        if (job->state != LENS_JOB_RUNNING)
            continue;
        struct cuda_flight *flight = &slab->flights[job->own.rows - 1];
        bool further = got_further(slab, flight);
        if (further || flight->fresh || result->blocked == 0)
            charge(job, &t); /* not those that only wait */
        flight->fresh = false;
        job->waited = job->waited || result->waited != 0;
        job->own.blocked = result->blocked;
        if (result->result == CU_JOB_WAITS)
            running++;
        else
            end_job(slab, flight, result);
        result++;
    }
    list_lenses(slab, batch);
    return running;
}
