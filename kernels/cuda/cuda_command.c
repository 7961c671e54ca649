/* What a run is to do, as the device reads it: jobs come in, and live rows, jobs and their lists are written down. */
#include "kernels/cascade_state.h"
#include "kernels/cuda/cuda.h"

#include <errno.h>
#include <string.h>

/* Lists that jobs of one command share are written once: looked for among the last so many. */
#define RECENT 16u

struct writer {
    struct cuda_slab *slab;
    uint32_t *words; /* the command */
    uint32_t next;   /* word that is free */
    struct {
        const void *from;
        uint32_t given, offset, n; /* as the caller counts them; where, and how many were written */
    } recent[RECENT];
    uint32_t written;
};

/* ---- jobs come in ------------------------------------------------------------------------------------------------ */

void cuda_forget_jobs(struct cuda_slab *slab)
{
    uint32_t rows = slab->info.max_rows;
    for (uint32_t i = 0; i < rows; i++) {
        slab->flights[i].job = NULL;
        slab->free_ids[i] = slab->free_rows[i] = rows - 1 - i;
    }
    slab->n_free_ids = slab->n_free_rows = rows;
}

static int take_job_in(struct cuda_slab *slab, struct lens_job *job, struct lens_error *err)
{
    if (job->n_rows == 0 || job->n_rows > slab->n_free_rows)
        return lens_error_set(err, -EINVAL, "a job of %u rows: at least 1 and at most %u more may be in flight (of %u)",
                              job->n_rows, slab->n_free_rows, slab->info.max_rows);
    uint32_t id = slab->free_ids[--slab->n_free_ids], first = 0;
    for (uint32_t i = job->n_rows; i > 0; i--) { /* the last row first, so that the chain is in order */
        uint32_t row = slab->free_rows[--slab->n_free_rows];
        slab->next_row[row] = first;
        first = row + 1;
    }
    slab->flights[id] = (struct cuda_flight){.job = job, .first_row = first, .fresh = true};
    job->state = LENS_JOB_RUNNING;
    job->waited = job->retained_changed = false;
    job->n_retained = 0;
    job->timing = (struct lens_job_timing){0};
    job->own.rows = id + 1;
    job->own.blocked = 0;
    return 0;
}

/* Takes in what is new, and checks that all that was in flight is there. Counts jobs and rows of this run. */
static int take_in(struct cuda_slab *slab, const struct lens_batch *batch, struct cu_command *command,
                   struct lens_error *err)
{
    command->n_jobs = command->n_live = 0;
    for (uint32_t j = 0; j < batch->n_jobs; j++) {
        struct lens_job *job = batch->jobs[j];
        int rc = job->state == LENS_JOB_NEW ? take_job_in(slab, job, err) : 0;
        if (rc != 0)
            return rc;
        if (job->state != LENS_JOB_RUNNING)
            continue;
        uint32_t id = job->own.rows - 1;
        if (id >= slab->info.max_rows || slab->flights[id].job != job)
            return lens_error_set(err, -EINVAL,
                                  "a job is RUNNING that this slab doesn't know: it was forgotten after "
                                  "an error, or never NEW");
        command->n_jobs++;
        command->n_live += job->n_rows;
    }
    uint32_t in_flight = slab->info.max_rows - slab->n_free_ids;
    if (command->n_jobs != in_flight)
        return lens_error_set(err, -EINVAL, "%u jobs are in flight, and %u of them are in the batch", in_flight,
                              command->n_jobs);
    return 0;
}

/* ---- lists ------------------------------------------------------------------------------------------------------- */

/* Each id once, in order. Only for lists that are longer than there are lenses. */
static uint32_t copy_without_repeats(struct cuda_slab *slab, const uint32_t *ids, uint32_t n, uint32_t *out)
{
    uint32_t kept = 0;
    slab->lists++;
    for (uint32_t i = 0; i < n; i++) {
        if (slab->seen[ids[i]] == slab->lists)
            continue;
        slab->seen[ids[i]] = slab->lists;
        out[kept++] = ids[i];
    }
    return kept;
}

static uint32_t copy_words(struct cuda_slab *slab, const uint32_t *from, uint32_t n, uint32_t *out)
{
    if (n > slab->info.lenses)
        return copy_without_repeats(slab, from, n, out);
    memcpy(out, from, (size_t)n * 4);
    return n;
}

/* Writes n words down, unless they are there already; *n becomes how many. Their offset, 0 for none. */
static uint32_t write_words(struct writer *w, const void *from, uint32_t *n)
{
    if (*n == 0)
        return 0;
    uint32_t known = w->written < RECENT ? w->written : RECENT;
    for (uint32_t i = 0; i < known; i++) {
        if (w->recent[i].from == from && w->recent[i].given == *n) {
            *n = w->recent[i].n;
            return w->recent[i].offset;
        }
    }
    uint32_t at = w->next, place = w->written++ % RECENT, given = *n;
    *n = copy_words(w->slab, from, given, w->words + at);
    w->next += *n;
    w->recent[place].from = from;
    w->recent[place].given = given;
    w->recent[place].offset = at;
    w->recent[place].n = *n;
    return at;
}

/* A bitmap's 64-bit words are pairs of the device's. */
static uint32_t write_bitmap(struct writer *w, const uint64_t *bitmap)
{
    uint32_t words = bitmap != NULL ? w->slab->info.words : 0;
    return write_words(w, bitmap, &words);
}

/* ---- jobs and rows ----------------------------------------------------------------------------------------------- */

static void write_options(const struct lens_job *job, struct cu_job *out)
{
    const struct lens_cascade_options *options = job->options;
    uint32_t keep = options->keep_top_k < 0 ? LENS_CU_ABSENT : (uint32_t)options->keep_top_k;
    out->expand = options->expand;
    out->report = options->report;
    out->rank = options->rank;
    out->uncalibrated = options->uncalibrated;
    out->suppress_parents = options->suppress_parents;
    out->top_k = options->top_k;
    out->max_depth = options->max_depth;
    out->max_scored = options->max_scored;
    out->base_layers = options->base_layers;
    out->load_logit = lens_logit_of((double)options->load_threshold);
    out->unload_logit = lens_logit_of((double)options->unload_threshold);
    double suppress = (double)options->suppress_at;
    out->suppress_at = options->rank == LENS_RANK_RAW ? lens_logit_of(suppress) : suppress;
    out->keep_top_k = keep;
}

/* Rows of a job may have room for different numbers of expanded ids: the device keeps what the roomiest takes. */
static uint32_t expanded_capacity(const struct cuda_slab *slab, const struct lens_job *job)
{
    uint32_t most = 0;
    for (uint32_t i = 0; i < job->n_rows; i++)
        if (job->out[i].expanded_capacity > most)
            most = job->out[i].expanded_capacity;
    return most < slab->info.lenses ? most : slab->info.lenses;
}

static void write_job(struct writer *w, const struct cuda_flight *flight, struct cu_job *out)
{
    const struct lens_job *job = flight->job;
    *out = (struct cu_job){.id = job->own.rows - 1,
                           .first_live = flight->live,
                           .n_rows = job->n_rows,
                           .give_up = job->give_up,
                           .dtype = job->dtype};
    write_options(job, out);
    /* The host holds all that a job may retain; no job keeps more than it has room for. */
    if (out->keep_top_k != LENS_CU_ABSENT || job->retained_capacity < w->slab->info.lenses)
        out->keep_top_k = out->keep_top_k < job->retained_capacity ? out->keep_top_k : job->retained_capacity;
    out->expanded_capacity = expanded_capacity(w->slab, job);
    out->allowed = write_bitmap(w, job->allowed);
    out->reported = write_bitmap(w, job->reported);
    if (!flight->fresh)
        return; /* its rows' active sets are on the device */
    out->n_base = job->n_base;
    out->base = write_words(w, job->base, &out->n_base);
    out->n_pinned = job->n_pinned;
    out->pinned = write_words(w, job->pinned, &out->n_pinned);
    out->n_kept = job->n_kept;
    out->kept = write_words(w, job->kept, &out->n_kept);
}

/* Where the device reads a new row: in the session's memory, or in a copy, which is then the one time it is read. */
static const void *source_of(struct cuda_slab *slab, const struct lens_job *job, uint32_t index, uint32_t row)
{
    size_t bytes = (size_t)slab->info.dim * lens_dtype_bytes(job->dtype);
    if (job->device_rows != NULL)
        return (const uint8_t *)job->device_rows + bytes * index;
    size_t at = (size_t)row * slab->info.dim * 4;
    memcpy(slab->host.staged + at, (const uint8_t *)job->rows + bytes * index, bytes);
    return slab->host_view + slab->host_at.staged + at;
}

static void write_rows(struct cuda_slab *slab, const struct cuda_flight *flight, uint32_t job, struct cu_live *live)
{
    uint32_t index = 0;
    for (uint32_t at = flight->first_row; at != 0; at = slab->next_row[at - 1], index++) {
        live[index] = (struct cu_live){.row = at - 1, .job = job, .index = index};
        if (!flight->fresh)
            continue;
        live[index].flags = CU_LIVE_NEW;
        live[index].source = source_of(slab, flight->job, index, at - 1);
        lens_row_out_clear(&flight->job->out[index]);
    }
}

/* Words from the command's start to the next 8-byte boundary at or after `bytes`. */
static uint32_t words_up_to(size_t bytes)
{
    return (uint32_t)((bytes + 7) / 8 * 2);
}

int cuda_command_write(struct cuda_slab *slab, struct lens_batch *batch, uint64_t *bytes, struct lens_error *err)
{
    struct cu_command *command = slab->host.command;
    int rc = take_in(slab, batch, command, err);
    if (rc != 0)
        return rc;
    struct writer w = {.slab = slab, .words = (uint32_t *)command};
    command->run = ++slab->run;
    command->live = words_up_to(sizeof *command);
    command->jobs = command->live + words_up_to(command->n_live * sizeof(struct cu_live));
    w.next = command->jobs + words_up_to(command->n_jobs * sizeof(struct cu_job));
    command->n_lost = batch->n_lost;
    command->lost = write_words(&w, batch->lost, &command->n_lost);
    struct cu_live *live = (void *)(w.words + command->live);
    struct cu_job *jobs = (void *)(w.words + command->jobs);
    uint32_t row = 0, n = 0;
    for (uint32_t j = 0; j < batch->n_jobs; j++) {
        if (batch->jobs[j]->state != LENS_JOB_RUNNING)
            continue;
        struct cuda_flight *flight = &slab->flights[batch->jobs[j]->own.rows - 1];
        flight->live = row;
        write_rows(slab, flight, n, live + row);
        write_job(&w, flight, &jobs[n++]);
        row += flight->job->n_rows;
    }
    *bytes = (uint64_t)w.next * 4;
    return 0;
}
