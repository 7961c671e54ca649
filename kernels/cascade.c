/* The generic cascade: takes jobs in, scores what their rows want, and expands rows until each is done or waits for a
 * lens that isn't in a slot. See cascade.h.
 *
 * All rows in flight go through each pass together, so that a lens's weights are read once a pass however many rows
 * want it. A row that waits keeps its place: the next run looks again at what it still wants. */
#include "kernels/cascade_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- memory ----------------------------------------------------------------------------------------------------- */

static bool allocate(struct lens_cascade *c)
{
    size_t n = c->lenses, words = (n + 63) / 64;
    size_t cells = n * c->max_rows;
    c->rows = calloc(c->max_rows, sizeof *c->rows);
    c->free_rows = calloc(c->max_rows, sizeof *c->free_rows);
    c->live = calloc(c->max_rows, sizeof *c->live);
    c->logit = calloc(cells, sizeof *c->logit);
    c->marks = calloc(cells, sizeof *c->marks);
    c->list = calloc(cells, sizeof *c->list);
    c->count = calloc(n, sizeof *c->count);
    c->wanted = calloc(words, sizeof *c->wanted);
    c->missing = calloc(words, sizeof *c->missing);
    c->left_out = calloc(words, sizeof *c->left_out);
    c->lost = calloc(words, sizeof *c->lost);
    c->used_in = calloc(n, sizeof *c->used_in);
    c->items = calloc(n, sizeof *c->items);
    c->item_rows = calloc(cells, sizeof *c->item_rows);
    c->item_logits = calloc(cells, sizeof *c->item_logits);
    c->heap = calloc(n, sizeof *c->heap);
    c->best = calloc(n, sizeof *c->best);
    return c->rows && c->free_rows && c->live && c->logit && c->marks && c->list && c->count && c->wanted &&
           c->missing && c->left_out && c->lost && c->used_in && c->items && c->item_rows && c->item_logits &&
           c->heap && c->best;
}

int lens_cascade_create(struct lens_slab *slab, struct lens_error *err)
{
    struct lens_cascade *c = calloc(1, sizeof *c);
    slab->cascade = c;
    if (c != NULL) {
        c->lenses = slab->model.lenses;
        c->max_rows = slab->config.max_batch_rows;
    }
    if (c == NULL || !allocate(c)) {
        lens_cascade_destroy(slab);
        return lens_error_set(err, -ENOMEM, "no memory for the working state of %u rows of %u lenses",
                              slab->config.max_batch_rows, slab->model.lenses);
    }
    for (uint32_t r = 0; r < c->max_rows; r++)
        c->free_rows[r] = c->max_rows - 1 - r;
    c->n_free = c->max_rows;
    return 0;
}

void lens_cascade_destroy(struct lens_slab *slab)
{
    struct lens_cascade *c = slab->cascade;
    if (c == NULL)
        return;
    free(c->rows);
    free(c->free_rows);
    free(c->live);
    free(c->logit);
    free(c->marks);
    free(c->list);
    free(c->count);
    free(c->wanted);
    free(c->missing);
    free(c->left_out);
    free(c->lost);
    free(c->used_in);
    free(c->items);
    free(c->item_rows);
    free(c->item_logits);
    free(c->heap);
    free(c->best);
    free(c);
    slab->cascade = NULL;
}

/* ---- rows come and go ------------------------------------------------------------------------------------------- */

/* Gives a row back: only the marks it set are cleared. */
static void release_row(struct lens_cascade *c, uint32_t r)
{
    uint8_t *marks = lens_row_marks(c, r);
    const uint32_t *list = lens_row_list(c, r);
    for (uint32_t i = 0; i < c->rows[r].n; i++)
        marks[list[i]] = 0;
    c->rows[r] = (struct lens_cascade_row){0};
    c->free_rows[c->n_free++] = r;
}

/* Frees the rows of jobs that were answered in the last run: their views were valid until now. */
static void release_finished(struct lens_cascade *c)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < c->n_live; i++) {
        if (c->rows[c->live[i]].released)
            release_row(c, c->live[i]);
        else
            c->live[kept++] = c->live[i];
    }
    c->n_live = kept;
}

void lens_cascade_forget(struct lens_slab *slab)
{
    struct lens_cascade *c = slab->cascade;
    size_t bitmap = ((size_t)c->lenses + 63) / 64 * sizeof(uint64_t);
    for (uint32_t i = 0; i < c->n_live; i++)
        release_row(c, c->live[i]);
    c->n_live = 0;
    memset(c->missing, 0, bitmap);
    memset(c->left_out, 0, bitmap);
}

static void mark_invalid(struct lens_cascade_row *row)
{
    row->invalid = true;
    row->state = LENS_ROW_FINISHED;
    row->out->status = LENS_ROW_INVALID_INPUT;
    row->out->reason = LENS_REASON_NOT_FINITE;
}

/* Takes one row in: private copy, normalised, with its active set wanted. */
static int begin_row(struct lens_slab *slab, struct lens_job *job, uint32_t index)
{
    struct lens_cascade *c = slab->cascade;
    uint32_t r = c->free_rows[--c->n_free];
    struct lens_cascade_row *row = &c->rows[r];
    c->live[c->n_live++] = r;
    *row = (struct lens_cascade_row){
        .job = job, .out = &job->out[index], .state = LENS_ROW_SCORING, .next = job->own.rows};
    job->own.rows = r + 1;
    lens_row_out_clear(row->out);
    size_t bytes = (size_t)slab->model.dim * lens_dtype_bytes(job->dtype);
    int status = slab->backend->ops->stage(slab, r, (const char *)job->rows + index * bytes, job->dtype);
    if (status == -EDOM) {
        mark_invalid(row);
        return 0;
    }
    if (status != 0)
        return status;
    for (uint32_t i = 0; i < job->n_base; i++)
        lens_row_want(c, r, job->base[i]);
    for (uint32_t i = 0; i < job->n_pinned; i++)
        lens_row_want(c, r, job->pinned[i]);
    row->always = row->n;
    for (uint32_t i = 0; i < job->n_kept; i++)
        lens_row_want(c, r, job->kept[i]);
    row->active = row->n;
    return 0;
}

static int begin_job(struct lens_slab *slab, struct lens_job *job, struct lens_error *err)
{
    struct lens_cascade *c = slab->cascade;
    if (job->n_rows == 0 || job->n_rows > c->n_free)
        return lens_error_set(err, -EINVAL, "a job of %u rows: at least 1 and at most %u more may be in flight (of %u)",
                              job->n_rows, c->n_free, c->max_rows);
    job->state = LENS_JOB_RUNNING;
    job->waited = job->retained_changed = false;
    job->n_retained = 0;
    job->timing = (struct lens_job_timing){0};
    job->own.rows = 0;
    job->own.took_part = true;
    for (uint32_t i = 0; i < job->n_rows; i++) {
        int r = begin_row(slab, job, i);
        if (r != 0)
            return lens_error_set(err, r, "taking in a row failed");
    }
    return 0;
}

/* ---- one pass: everything wanted and resident is scored --------------------------------------------------------- */

/* Looks at one thing a row wants: counts it when it can be scored now; else the row waits for it or goes without. */
static void look(struct lens_slab *slab, uint32_t r, uint32_t lens)
{
    struct lens_cascade *c = slab->cascade;
    struct lens_cascade_row *row = &c->rows[r];
    uint64_t bit = UINT64_C(1) << (lens % 64);
    uint8_t *mark = &lens_row_marks(c, r)[lens];
    if (slab->slot_of[lens] >= 0) {
        c->count[lens]++;
        c->wanted[lens / 64] |= bit;
    } else if (row->job->give_up) {
        *mark = LENS_MARK_MISSING;
        lens_row_logits(c, r)[lens] = NAN;
        c->left_out[lens / 64] |= bit;
        row->out->counts.missing++;
        row->out->status = LENS_ROW_PARTIAL;
    } else {
        *mark |= LENS_MARK_WAITED;
        c->missing[lens / 64] |= bit;
        row->job->waited = true;
        row->waiting++;
    }
}

/* Groups what rows want and slots hold by lens, in ascending order of lens: c->items and c->item_rows. */
static void collect(struct lens_slab *slab, struct lens_batch *batch)
{
    struct lens_cascade *c = slab->cascade;
    for (uint32_t j = 0; j < batch->n_jobs; j++)
        batch->jobs[j]->own.blocked = 0;
    for (uint32_t i = 0; i < c->n_live; i++) {
        uint32_t r = c->live[i];
        if (c->rows[r].state != LENS_ROW_SCORING)
            continue;
        c->rows[r].waiting = 0;
        const uint32_t *list = lens_row_list(c, r);
        const uint8_t *marks = lens_row_marks(c, r);
        for (uint32_t k = c->rows[r].fresh; k < c->rows[r].n; k++) {
            if ((marks[list[k]] & (LENS_MARK_SCORED | LENS_MARK_MISSING)) == 0)
                look(slab, r, list[k]);
        }
        c->rows[r].job->own.blocked += c->rows[r].waiting > 0;
    }
    uint32_t first = 0;
    c->n_items = 0;
    for (uint32_t word = 0; word < (c->lenses + 63) / 64; word++) {
        for (uint64_t bits = c->wanted[word]; bits != 0; bits &= bits - 1) {
            uint32_t lens = word * 64 + (uint32_t)__builtin_ctzll(bits);
            c->items[c->n_items] = (struct lens_score_item){(uint32_t)slab->slot_of[lens], lens, first, 0};
            first += c->count[lens];
            c->count[lens] = c->n_items++; /* from now on: the lens's item */
        }
    }
}

/* Says which rows each item is for; those bits of c->wanted are cleared. */
static void assign_rows(struct lens_cascade *c)
{
    for (uint32_t i = 0; i < c->n_live; i++) {
        uint32_t r = c->live[i];
        if (c->rows[r].state != LENS_ROW_SCORING)
            continue;
        const uint32_t *list = lens_row_list(c, r);
        const uint8_t *marks = lens_row_marks(c, r);
        for (uint32_t k = c->rows[r].fresh; k < c->rows[r].n; k++) {
            uint32_t lens = list[k];
            bool resident = (c->wanted[lens / 64] >> (lens % 64) & 1) != 0;
            if (!resident || (marks[lens] & (LENS_MARK_SCORED | LENS_MARK_MISSING)) != 0)
                continue;
            struct lens_score_item *item = &c->items[c->count[lens]];
            c->item_rows[item->first + item->n++] = r;
        }
    }
    for (uint32_t i = 0; i < c->n_items; i++) {
        c->count[c->items[i].lens] = 0;
        c->wanted[c->items[i].lens / 64] = 0;
    }
}

static void count_scored(struct lens_row_counts *counts, bool waited, uint8_t source)
{
    counts->scored++;
    if (!waited)
        counts->slot_hits++;
    else if (source == LENS_FROM_HOST)
        counts->host_hits++;
    else
        counts->cold++;
}

/* Puts the logits of one scored item where its rows look for them. */
static void scatter(struct lens_slab *slab, const struct lens_score_item *item)
{
    struct lens_cascade *c = slab->cascade;
    for (uint32_t k = item->first; k < item->first + item->n; k++) {
        uint32_t r = c->item_rows[k];
        uint8_t *mark = &lens_row_marks(c, r)[item->lens];
        float logit = c->item_logits[k];
        count_scored(&c->rows[r].out->counts, (*mark & LENS_MARK_WAITED) != 0, slab->source[item->lens]);
        lens_row_logits(c, r)[item->lens] = logit;
        *mark = LENS_MARK_SCORED;
        c->rows[r].job->own.took_part = true;
        if (logit != logit)
            mark_invalid(&c->rows[r]);
    }
}

static void note_use(struct lens_cascade *c, struct lens_batch *batch, uint32_t lens)
{
    if (c->used_in[lens] == c->run)
        return;
    c->used_in[lens] = c->run;
    batch->used[batch->n_used++] = lens;
}

static int score_pass(struct lens_slab *slab, struct lens_batch *batch, struct lens_error *err)
{
    struct lens_cascade *c = slab->cascade;
    collect(slab, batch);
    assign_rows(c);
    if (c->n_items == 0)
        return 0;
    int r = slab->backend->ops->score(slab, c->items, c->n_items, c->item_rows, c->item_logits, err);
    if (r != 0)
        return r;
    for (uint32_t i = 0; i < c->n_items; i++) {
        scatter(slab, &c->items[i]);
        note_use(c, batch, c->items[i].lens);
    }
    return 0;
}

/* Chooses the next children of every row that has all it asked for; true when there is something to score. */
static bool expand(struct lens_slab *slab)
{
    struct lens_cascade *c = slab->cascade;
    bool any = false;
    for (uint32_t i = 0; i < c->n_live; i++) {
        struct lens_cascade_row *row = &c->rows[c->live[i]];
        if (row->state != LENS_ROW_SCORING || row->waiting > 0)
            continue;
        row->job->own.took_part = true;
        if (lens_cascade_expand_row(c, &slab->model, c->live[i]))
            any = true;
        else
            row->state = LENS_ROW_FINISHED;
    }
    return any;
}

/* ---- jobs ------------------------------------------------------------------------------------------------------- */

static bool wants_a_lost_lens(const struct lens_cascade *c, uint32_t r)
{
    const uint32_t *list = lens_row_list(c, r);
    const uint8_t *marks = lens_row_marks(c, r);
    for (uint32_t k = c->rows[r].fresh; c->rows[r].waiting > 0 && k < c->rows[r].n; k++) {
        uint32_t lens = list[k];
        if ((marks[lens] & (LENS_MARK_SCORED | LENS_MARK_MISSING)) == 0 && (c->lost[lens / 64] >> (lens % 64) & 1) != 0)
            return true;
    }
    return false;
}

/* Ends a job without answers. */
static void fail_job(struct lens_cascade *c, struct lens_job *job)
{
    for (uint32_t at = job->own.rows; at != 0; at = c->rows[at - 1].next) {
        struct lens_cascade_row *row = &c->rows[at - 1];
        lens_row_out_fail(row->out);
        row->state = LENS_ROW_FINISHED;
        row->released = true;
    }
    job->state = LENS_JOB_DONE;
    job->retained_changed = false;
}

static void end_jobs_of_lost_lenses(struct lens_cascade *c, const struct lens_batch *batch)
{
    if (batch->n_lost == 0)
        return;
    for (uint32_t i = 0; i < batch->n_lost; i++)
        c->lost[batch->lost[i] / 64] |= UINT64_C(1) << (batch->lost[i] % 64);
    for (uint32_t i = 0; i < c->n_live; i++) {
        struct lens_cascade_row *row = &c->rows[c->live[i]];
        if (!row->released && row->state == LENS_ROW_SCORING && wants_a_lost_lens(c, c->live[i]))
            fail_job(c, row->job);
    }
    for (uint32_t i = 0; i < batch->n_lost; i++)
        c->lost[batch->lost[i] / 64] = 0;
}

static bool all_rows_finished(const struct lens_cascade *c, const struct lens_job *job)
{
    for (uint32_t at = job->own.rows; at != 0; at = c->rows[at - 1].next)
        if (c->rows[at - 1].state != LENS_ROW_FINISHED)
            return false;
    return true;
}

static void answer_job(struct lens_slab *slab, struct lens_job *job)
{
    struct lens_cascade *c = slab->cascade;
    for (uint32_t at = job->own.rows; at != 0; at = c->rows[at - 1].next) {
        struct lens_cascade_row *row = &c->rows[at - 1];
        row->released = true;
        if (row->invalid) {
            row->out->n_expanded = 0;
            continue;
        }
        lens_cascade_report_row(c, &slab->model, at - 1);
        row->out->wanted = lens_row_list(c, at - 1);
        row->out->n_wanted = row->n;
        row->out->n_always = row->always;
        row->out->n_active = row->active;
        row->out->logits = lens_row_logits(c, at - 1);
    }
    lens_cascade_retain(c, &slab->model, job);
    job->state = LENS_JOB_DONE;
}

/* Answers the jobs whose rows are all finished; returns how many are still in flight. */
static uint32_t answer_finished(struct lens_slab *slab, struct lens_batch *batch)
{
    uint32_t running = 0;
    for (uint32_t j = 0; j < batch->n_jobs; j++) {
        struct lens_job *job = batch->jobs[j];
        if (job->state == LENS_JOB_RUNNING && all_rows_finished(slab->cascade, job))
            answer_job(slab, job);
        running += job->state == LENS_JOB_RUNNING;
    }
    return running;
}

/* Adds the time since *mark to a stage of the jobs that took part, or were done by then: not of those that wait. */
static void charge(const struct lens_batch *batch, size_t stage, uint64_t *mark)
{
    uint64_t now = now_ns();
    for (uint32_t j = 0; j < batch->n_jobs; j++) {
        struct lens_job *job = batch->jobs[j];
        if (job->own.took_part || job->own.blocked == 0)
            *(uint64_t *)((char *)&job->timing + stage) += now - *mark;
        job->own.took_part = false;
    }
    *mark = now;
}

/* Lists the set bits of `bitmap` and clears it. */
static uint32_t drain_bitmap(uint64_t *bitmap, uint32_t lenses, uint32_t *out)
{
    uint32_t n = 0;
    for (uint32_t word = 0; word < (lenses + 63) / 64; word++) {
        for (uint64_t bits = bitmap[word]; bits != 0; bits &= bits - 1)
            out[n++] = word * 64 + (uint32_t)__builtin_ctzll(bits);
        bitmap[word] = 0;
    }
    return n;
}

static void report_misses(struct lens_cascade *c, struct lens_batch *batch)
{
    for (uint32_t word = 0; word < (c->lenses + 63) / 64; word++)
        c->left_out[word] &= ~c->missing[word];
    batch->n_misses = drain_bitmap(c->missing, c->lenses, batch->misses);
    batch->n_left = drain_bitmap(c->left_out, c->lenses, batch->misses + batch->n_misses);
}

static int begin_new_jobs(struct lens_slab *slab, struct lens_batch *batch, bool *any, struct lens_error *err)
{
    *any = false;
    for (uint32_t j = 0; j < batch->n_jobs; j++) {
        if (batch->jobs[j]->state != LENS_JOB_NEW)
            continue;
        *any = true;
        int r = begin_job(slab, batch->jobs[j], err);
        if (r != 0)
            return r;
    }
    return 0;
}

static int run_passes(struct lens_slab *slab, struct lens_batch *batch, struct lens_error *err)
{
    struct lens_cascade *c = slab->cascade;
    uint64_t mark = now_ns();
    bool new_jobs;
    end_jobs_of_lost_lenses(c, batch);
    int r = begin_new_jobs(slab, batch, &new_jobs, err);
    if (r != 0)
        return r;
    if (new_jobs)
        charge(batch, offsetof(struct lens_job_timing, copy_in), &mark);
    size_t stage = new_jobs ? offsetof(struct lens_job_timing, base) : offsetof(struct lens_job_timing, expand);
    do {
        r = score_pass(slab, batch, err);
        if (r != 0)
            return r;
        charge(batch, stage, &mark);
        stage = offsetof(struct lens_job_timing, expand);
    } while (expand(slab));
    charge(batch, stage, &mark);
    uint32_t running = answer_finished(slab, batch);
    charge(batch, offsetof(struct lens_job_timing, select), &mark);
    report_misses(c, batch);
    return running > 0 ? LENS_RUN_MISSES : LENS_RUN_DONE;
}

int lens_cascade_run(struct lens_slab *slab, struct lens_batch *batch, struct lens_error *err)
{
    struct lens_cascade *c = slab->cascade;
    release_finished(c);
    c->run++;
    batch->n_used = batch->n_misses = batch->n_left = 0;
    int r = run_passes(slab, batch, err);
    if (r < 0)
        lens_cascade_forget(slab);
    return r;
}
