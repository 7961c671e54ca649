/* Working state of the generic cascade, shared by cascade.c (steps), cascade_expand.c (which children next) and
 * cascade_report.c (report, retained set). Private to kernels/. */
#ifndef LENS_CASCADE_STATE_H
#define LENS_CASCADE_STATE_H

#include "kernels/cascade.h"
#include "kernels/topk.h"

#include <math.h>

/* What a row knows of a lens. */
enum lens_mark {
    LENS_MARK_WANTED = 1, /* in the row's list, logit not there yet */
    LENS_MARK_SCORED = 2,
    LENS_MARK_EXPANDED = 4, /* its children were asked for */
    LENS_MARK_MISSING = 8   /* given up: not resident in time */
};

struct lens_cascade_row {
    struct lens_job *job;
    struct lens_row_out *out;
    uint32_t n;      /* lenses in the row's list: scored, wanted or missing */
    uint32_t active; /* the first so many of them are the active set */
    uint32_t fresh;  /* the list from here on was asked for in the last step */
    uint32_t depth;  /* expansion steps taken */
    bool live;       /* takes part in the next step */
    bool invalid;
};

struct lens_cascade {
    uint32_t lenses, max_rows;
    uint32_t n_rows; /* rows of the running batch (and to clean up before the next) */
    struct lens_cascade_row *rows;
    float *logit;   /* [max_rows, N], valid where SCORED */
    uint8_t *marks; /* [max_rows, N] enum lens_mark */
    uint32_t *list; /* [max_rows, N] lens ids in the order asked for */
    /* one step: every lens wanted by any row, once, with its rows */
    uint32_t *count;                       /* [N] rows that want the lens; 0 outside collect */
    uint64_t *wanted;                      /* [N/64] bitmap */
    struct lens_score_item *items, *ready; /* [N] */
    uint32_t n_items;
    bool first_look;              /* the step's items were not looked for in slots yet */
    uint32_t *item_rows;          /* [max_rows * N] */
    float *item_logits;           /* [max_rows * N] */
    struct lens_topk_entry *heap; /* [N] */
    float *best;                  /* [N] best logit over a job's rows */
};

static inline float *lens_row_logits(const struct lens_cascade *c, uint32_t row)
{
    return c->logit + (size_t)row * c->lenses;
}

static inline uint8_t *lens_row_marks(const struct lens_cascade *c, uint32_t row)
{
    return c->marks + (size_t)row * c->lenses;
}

static inline uint32_t *lens_row_list(const struct lens_cascade *c, uint32_t row)
{
    return c->list + (size_t)row * c->lenses;
}

/* The logit whose sigmoid is `raw`: thresholds are compared there, where nothing saturates. */
static inline double lens_logit_of(double raw)
{
    return raw <= 0.0 ? -INFINITY : raw >= 1.0 ? INFINITY : log(raw / (1.0 - raw));
}

static inline double lens_sigmoid(double logit)
{
    return 1.0 / (1.0 + exp(-logit));
}

/* Adds a lens to what the row wants, unless it is there already. */
static inline void lens_row_want(struct lens_cascade *c, uint32_t row, uint32_t lens)
{
    uint8_t *marks = lens_row_marks(c, row);
    if (marks[lens] != 0)
        return;
    marks[lens] = LENS_MARK_WANTED;
    lens_row_list(c, row)[c->rows[row].n++] = lens;
}

/* One expansion step of a row (DESIGN 4.4): marks parents expanded, wants their children, updates live and fresh. */
void lens_cascade_expand_row(struct lens_cascade *c, const struct lens_model *model, uint32_t row);

/* Detections of a finished row (DESIGN 4.5). */
void lens_cascade_report_row(struct lens_cascade *c, const struct lens_model *model, uint32_t row);

/* The retained set after a finished job whose rows are [first, first + job->n_rows) (DESIGN 4.6). */
void lens_cascade_retain(struct lens_cascade *c, const struct lens_model *model, struct lens_job *job, uint32_t first);

#endif
