/* The generic cascade: stages rows, scores the active set, then children level by level. See cascade.h.
 *
 * All rows of a batch go through each step together, so that a lens's weights are read once per step however many
 * rows want them. What is wanted but not resident is reported and scored when run is called again. */
#include "kernels/cascade_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum stage { STAGE_NEW = 0, STAGE_BASE = 1, STAGE_EXPAND = 2 };

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static bool allocate(struct lens_cascade *c)
{
    size_t n = c->lenses;
    size_t cells = n * c->max_rows;
    c->rows = calloc(c->max_rows, sizeof *c->rows);
    c->logit = calloc(cells, sizeof *c->logit);
    c->marks = calloc(cells, sizeof *c->marks);
    c->list = calloc(cells, sizeof *c->list);
    c->count = calloc(n, sizeof *c->count);
    c->wanted = calloc((n + 63) / 64, sizeof *c->wanted);
    c->items = calloc(n, sizeof *c->items);
    c->ready = calloc(n, sizeof *c->ready);
    c->item_rows = calloc(cells, sizeof *c->item_rows);
    c->item_logits = calloc(cells, sizeof *c->item_logits);
    c->heap = calloc(n, sizeof *c->heap);
    c->best = calloc(n, sizeof *c->best);
    return c->rows && c->logit && c->marks && c->list && c->count && c->wanted && c->items && c->ready &&
           c->item_rows && c->item_logits && c->heap && c->best;
}

int lens_cascade_create(struct lens_slab *slab, struct lens_error *err)
{
    struct lens_cascade *c = calloc(1, sizeof *c);
    slab->cascade = c;
    if (c != NULL) {
        c->lenses = slab->model.lenses;
        c->max_rows = slab->config.max_batch_rows;
    }
    slab->clock = 0;
    slab->last_used = calloc(slab->model.lenses, sizeof *slab->last_used);
    if (c == NULL || slab->last_used == NULL || !allocate(c)) {
        lens_cascade_destroy(slab);
        return lens_error_set(err, -ENOMEM, "no memory for the working state of %u rows of %u lenses",
                              slab->config.max_batch_rows, slab->model.lenses);
    }
    return 0;
}

void lens_cascade_destroy(struct lens_slab *slab)
{
    struct lens_cascade *c = slab->cascade;
    free(slab->last_used);
    slab->last_used = NULL;
    if (c == NULL)
        return;
    free(c->rows);
    free(c->logit);
    free(c->marks);
    free(c->list);
    free(c->count);
    free(c->wanted);
    free(c->items);
    free(c->ready);
    free(c->item_rows);
    free(c->item_logits);
    free(c->heap);
    free(c->best);
    free(c);
    slab->cascade = NULL;
}

/* Forgets the last batch: only the marks its rows set. */
static void forget(struct lens_cascade *c)
{
    for (uint32_t r = 0; r < c->n_rows; r++) {
        uint8_t *marks = lens_row_marks(c, r);
        const uint32_t *list = lens_row_list(c, r);
        for (uint32_t i = 0; i < c->rows[r].n; i++)
            marks[list[i]] = 0;
        c->rows[r].n = 0;
    }
    c->n_rows = 0;
    c->n_items = 0;
}

static void clear_out(struct lens_row_out *out)
{
    out->status = LENS_ROW_COMPLETE;
    out->reason = LENS_REASON_NONE;
    out->flags = 0;
    out->n_expanded = 0;
    out->n_detections = 0;
    out->counts = (struct lens_row_counts){0};
    out->logits = NULL;
}

static void mark_invalid(struct lens_cascade_row *row)
{
    row->invalid = true;
    row->live = false;
    row->out->status = LENS_ROW_INVALID_INPUT;
    row->out->reason = LENS_REASON_NOT_FINITE;
}

/* Takes one row in: private copy, normalised, with its active set wanted. */
static int begin_row(struct lens_slab *slab, struct lens_job *job, uint32_t index)
{
    struct lens_cascade *c = slab->cascade;
    uint32_t r = c->n_rows++;
    struct lens_cascade_row *row = &c->rows[r];
    *row = (struct lens_cascade_row){.job = job, .out = &job->out[index], .live = true};
    clear_out(row->out);
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
    for (uint32_t i = 0; i < job->n_kept; i++)
        lens_row_want(c, r, job->kept[i]);
    row->active = row->n;
    return 0;
}

static int begin(struct lens_slab *slab, struct lens_batch *batch, struct lens_error *err)
{
    struct lens_cascade *c = slab->cascade;
    forget(c);
    slab->clock++;
    batch->timing = (struct lens_batch_timing){0};
    for (uint32_t j = 0; j < batch->n_jobs; j++) {
        struct lens_job *job = &batch->jobs[j];
        if (job->n_rows > c->max_rows - c->n_rows)
            return lens_error_set(err, -EINVAL, "a batch may have %u rows; this one has more", c->max_rows);
        for (uint32_t i = 0; i < job->n_rows; i++) {
            int r = begin_row(slab, job, i);
            if (r != 0)
                return lens_error_set(err, r, "taking in a row failed");
        }
    }
    return 0;
}

/* Groups what all rows want by lens, in ascending order of lens. */
static void collect(struct lens_cascade *c)
{
    for (uint32_t r = 0; r < c->n_rows; r++) {
        const uint32_t *list = lens_row_list(c, r);
        for (uint32_t i = c->rows[r].live ? c->rows[r].fresh : c->rows[r].n; i < c->rows[r].n; i++) {
            c->count[list[i]]++;
            c->wanted[list[i] / 64] |= UINT64_C(1) << (list[i] % 64);
        }
    }
    uint32_t first = 0;
    c->n_items = 0;
    for (uint32_t word = 0; word < (c->lenses + 63) / 64; word++) {
        for (uint64_t bits = c->wanted[word]; bits != 0; bits &= bits - 1) {
            uint32_t lens = word * 64 + (uint32_t)__builtin_ctzll(bits);
            c->items[c->n_items] = (struct lens_score_item){.lens = lens, .first = first, .n = 0};
            first += c->count[lens];
            c->count[lens] = c->n_items++; /* from now on: the lens's item */
        }
        c->wanted[word] = 0;
    }
    for (uint32_t r = 0; r < c->n_rows; r++) {
        const uint32_t *list = lens_row_list(c, r);
        for (uint32_t i = c->rows[r].live ? c->rows[r].fresh : c->rows[r].n; i < c->rows[r].n; i++) {
            struct lens_score_item *item = &c->items[c->count[list[i]]];
            c->item_rows[item->first + item->n++] = r;
        }
    }
    for (uint32_t i = 0; i < c->n_items; i++)
        c->count[c->items[i].lens] = 0;
    c->first_look = true;
}

/* Puts the logits of scored items where their rows look for them. */
static void scatter(struct lens_cascade *c, const struct lens_score_item *items, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t k = items[i].first; k < items[i].first + items[i].n; k++) {
            uint32_t r = c->item_rows[k];
            float logit = c->item_logits[k];
            struct lens_row_counts *counts = &c->rows[r].out->counts;
            lens_row_logits(c, r)[items[i].lens] = logit;
            lens_row_marks(c, r)[items[i].lens] = LENS_MARK_SCORED;
            counts->scored++;
            if (c->first_look)
                counts->slot_hits++;
            else
                counts->cold++;
            if (logit != logit)
                mark_invalid(&c->rows[r]);
        }
    }
}

/* Drops the rows of an item that won't wait for it, once its miss has been reported; true when some still do. */
static bool still_waited_for(struct lens_cascade *c, struct lens_score_item *item)
{
    if (c->first_look)
        return true;
    uint32_t kept = 0;
    for (uint32_t k = item->first; k < item->first + item->n; k++) {
        uint32_t r = c->item_rows[k];
        if (!c->rows[r].job->give_up) {
            c->item_rows[item->first + kept++] = r;
            continue;
        }
        lens_row_marks(c, r)[item->lens] = LENS_MARK_MISSING;
        c->rows[r].out->counts.missing++;
        if (!c->rows[r].invalid)
            c->rows[r].out->status = LENS_ROW_PARTIAL;
    }
    item->n = kept;
    return kept > 0;
}

/* Scores what is resident of the step; what isn't stays in items and is named in the batch's misses. */
static int score_items(struct lens_slab *slab, struct lens_batch *batch, struct lens_error *err)
{
    struct lens_cascade *c = slab->cascade;
    uint32_t n_ready = 0, n_waiting = 0;
    for (uint32_t i = 0; i < c->n_items; i++) {
        struct lens_score_item item = c->items[i];
        int32_t slot = slab->slot_of[item.lens];
        if (slot >= 0) {
            slab->last_used[item.lens] = slab->clock;
            item.slot = (uint32_t)slot;
            c->ready[n_ready++] = item;
        } else {
            c->items[n_waiting++] = item;
        }
    }
    int r = 0;
    if (n_ready > 0)
        r = slab->backend->ops->score(slab, c->ready, n_ready, c->item_rows, c->item_logits, err);
    if (r != 0)
        return r;
    scatter(c, c->ready, n_ready);
    c->n_items = 0;
    batch->n_misses = 0;
    batch->misses_are_new = c->first_look;
    for (uint32_t i = 0; i < n_waiting; i++) {
        if (!still_waited_for(c, &c->items[i]))
            continue;
        batch->misses[batch->n_misses++] = c->items[i].lens;
        c->items[c->n_items++] = c->items[i];
    }
    c->first_look = false;
    return c->n_items > 0 ? LENS_RUN_MISSES : LENS_RUN_DONE;
}

/* Chooses the next children of every row; true when there is something to score. */
static bool expand(struct lens_slab *slab)
{
    struct lens_cascade *c = slab->cascade;
    bool any = false;
    for (uint32_t r = 0; r < c->n_rows; r++) {
        if (c->rows[r].live)
            lens_cascade_expand_row(c, &slab->model, r);
        any = any || c->rows[r].live;
    }
    if (any)
        collect(c);
    return any;
}

static void finish(struct lens_slab *slab, struct lens_batch *batch)
{
    struct lens_cascade *c = slab->cascade;
    uint32_t r = 0;
    for (uint32_t j = 0; j < batch->n_jobs; j++) {
        uint32_t first = r;
        for (uint32_t i = 0; i < batch->jobs[j].n_rows; i++, r++) {
            if (c->rows[r].invalid)
                c->rows[r].out->n_expanded = 0;
            else
                lens_cascade_report_row(c, &slab->model, r);
            c->rows[r].out->logits = lens_row_logits(c, r);
        }
        lens_cascade_retain(c, &slab->model, &batch->jobs[j], first);
    }
}

int lens_cascade_run(struct lens_slab *slab, struct lens_batch *batch, struct lens_error *err)
{
    uint64_t mark = now_ns(), then;
    if (batch->stage == STAGE_NEW) {
        int r = begin(slab, batch, err);
        if (r != 0)
            return r;
        collect(slab->cascade);
        batch->stage = STAGE_BASE;
        then = now_ns();
        batch->timing.copy_in += then - mark;
        mark = then;
    }
    for (;;) {
        int r = score_items(slab, batch, err);
        then = now_ns();
        *(batch->stage == STAGE_BASE ? &batch->timing.base : &batch->timing.expand) += then - mark;
        mark = then;
        if (r != LENS_RUN_DONE)
            return r;
        batch->stage = STAGE_EXPAND;
        bool more = expand(slab);
        then = now_ns();
        batch->timing.expand += then - mark;
        mark = then;
        if (!more)
            break;
    }
    finish(slab, batch);
    batch->stage = STAGE_NEW;
    batch->timing.select += now_ns() - mark;
    return LENS_RUN_DONE;
}
