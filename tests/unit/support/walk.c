/* See walk.h. */
#include "tests/unit/support/walk.h"

#include "tests/unit/support/drive.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One sequence on its way. */
struct stream {
    uint32_t *retained, *next;
    uint32_t n_retained;
    uint32_t at; /* next row */
};

struct walker {
    const struct lens_pack *pack;
    const struct expected *expected;
    struct walk *out;
    struct stream *streams;
    uint32_t *base;
    uint32_t n_base;
};

static void list_base(struct walker *w)
{
    w->base = calloc(w->pack->lenses, sizeof *w->base);
    for (uint32_t lens = 0; lens < w->pack->lenses; lens++) {
        if ((w->expected->options.base_layers >> w->pack->layer[lens] & 1) != 0 &&
            lensd_content_has(w->expected->maps.allowed, lens))
            w->base[w->n_base++] = lens;
    }
}

static void fill_job(struct walker *w, uint32_t s, struct lens_job *job, struct lens_row_out *outs)
{
    const struct expected *e = w->expected;
    struct stream *stream = &w->streams[s];
    uint32_t left = e->n_rows - stream->at;
    uint32_t n = left < e->rows_per_submission ? left : e->rows_per_submission;
    for (uint32_t i = 0; i < n; i++) {
        struct walk_row *row = &w->out->rows[s * e->n_rows + stream->at + i];
        outs[i] = row->out;
        outs[i].expanded = row->expanded;
        outs[i].expanded_capacity = 256;
        outs[i].detections = row->detections;
    }
    *job = (struct lens_job){
        .rows = (const char *)e->states + (size_t)stream->at * e->dim * lens_dtype_bytes(e->dtype),
        .dtype = e->dtype,
        .n_rows = n,
        .options = &e->options,
        .base = w->base,
        .n_base = w->n_base,
        .allowed = e->maps.allowed,
        .reported = e->maps.reported,
        .pinned = e->pinned,
        .n_pinned = e->n_pinned,
        .kept = stream->retained,
        .n_kept = stream->n_retained,
        .out = outs,
        .retained = stream->next,
        .retained_capacity = w->pack->lenses,
    };
}

static void advance(struct walker *w, uint32_t s, const struct lens_job *job)
{
    struct stream *stream = &w->streams[s];
    for (uint32_t i = 0; i < job->n_rows; i++)
        w->out->rows[s * w->expected->n_rows + stream->at + i].out = job->out[i];
    stream->at += job->n_rows;
    if (!job->retained_changed)
        return;
    uint32_t *old = stream->retained;
    stream->retained = stream->next;
    stream->next = old;
    stream->n_retained = job->n_retained;
}

/* One batch: every stream that has begun and isn't done submits once. */
static void step(struct walker *w, struct lensd_pool *pool, uint32_t turn)
{
    struct lens_job jobs[16];
    static struct lens_row_out outs[16][LENS_MAX_ROWS];
    uint32_t who[16], n = 0;
    for (uint32_t s = 0; s < w->out->sequences && s <= turn; s++) {
        if (w->streams[s].at == w->expected->n_rows)
            continue;
        fill_job(w, s, &jobs[n], outs[n]);
        who[n++] = s;
    }
    if (n == 0)
        return;
    struct lens_error err = {0};
    struct lensd_pool_counters before, after;
    lensd_pool_get_counters(pool, &before);
    if (drive_pool(pool, jobs, n, NULL, &err) != 0) {
        fprintf(stderr, "walk: %s\n", err.text);
        abort();
    }
    lensd_pool_get_counters(pool, &after);
    w->out->loaded += (uint32_t)(after.loads - before.loads);
    for (uint32_t i = 0; i < n; i++)
        advance(w, who[i], &jobs[i]);
}

void walk_run(struct lensd_pool *pool, const struct lens_pack *pack, const struct expected *expected,
              uint32_t sequences, struct walk *out)
{
    struct walker w = {.pack = pack, .expected = expected, .out = out};
    *out = (struct walk){.sequences = sequences, .n_rows = expected->n_rows};
    out->rows = malloc((size_t)sequences * expected->n_rows * sizeof *out->rows);
    memset(out->rows, 0xa5, (size_t)sequences * expected->n_rows * sizeof *out->rows);
    w.streams = calloc(sequences, sizeof *w.streams);
    for (uint32_t s = 0; s < sequences; s++) {
        w.streams[s].retained = calloc(pack->lenses, sizeof(uint32_t));
        w.streams[s].next = calloc(pack->lenses, sizeof(uint32_t));
    }
    list_base(&w);
    for (uint32_t turn = 0; turn < expected->n_rows + sequences; turn++)
        step(&w, pool, turn);
    for (uint32_t s = 0; s < sequences; s++) {
        free(w.streams[s].retained);
        free(w.streams[s].next);
    }
    free(w.streams);
    free(w.base);
}

void walk_free(struct walk *walk)
{
    free(walk->rows);
}

bool walk_rows_equal(const struct walk_row *a, const struct walk_row *b)
{
    const struct lens_row_out *x = &a->out, *y = &b->out;
    return x->status == y->status && x->flags == y->flags && x->reason == y->reason &&
           x->counts.scored == y->counts.scored && x->n_expanded == y->n_expanded &&
           x->n_detections == y->n_detections &&
           memcmp(a->expanded, b->expanded, x->n_expanded * sizeof *a->expanded) == 0 &&
           memcmp(a->detections, b->detections, x->n_detections * sizeof *a->detections) == 0;
}

struct row_answer walk_answer(const struct walk *walk, uint32_t sequence, uint32_t row)
{
    const struct walk_row *r = &walk->rows[sequence * walk->n_rows + row];
    return (struct row_answer){r->out.status,       r->out.flags, r->out.counts.scored, r->out.n_expanded,
                               r->out.n_detections, r->expanded,  r->detections};
}
