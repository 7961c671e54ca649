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
    LENS_MARK_MISSING = 8,  /* given up: not resident in time */
    LENS_MARK_WAITED = 16   /* beside WANTED: was not resident when first looked for */
};

enum lens_row_state {
    LENS_ROW_FREE,
    LENS_ROW_SCORING, /* has wants to score, or takes its next step when all are */
    LENS_ROW_FINISHED /* nothing more to score; waits for its job's other rows */
};

struct lens_cascade_row {
    struct lens_job *job;
    struct lens_row_out *out;
    uint32_t next;    /* row + 1 of the same job, 0 = none */
    uint32_t n;       /* lenses in the row's list: scored, wanted or missing */
    uint32_t always;  /* the first so many of them are base and pins */
    uint32_t active;  /* and so many the active set */
    uint32_t fresh;   /* the list from here on was asked for in the last step */
    uint32_t depth;   /* expansion steps taken */
    uint32_t waiting; /* lenses of the step that aren't resident */
    enum lens_row_state state;
    bool invalid;
    bool released; /* its job is answered: the next run takes the row back */
};

struct lens_cascade {
    uint32_t lenses, max_rows;
    uint64_t run; /* counts runs */
    struct lens_cascade_row *rows;
    uint32_t *free_rows, n_free;
    uint32_t *live, n_live; /* rows in flight, in the order they came */
    float *logit;           /* [max_rows, N], valid where SCORED */
    uint8_t *marks;         /* [max_rows, N] enum lens_mark */
    uint32_t *list;         /* [max_rows, N] lens ids in the order asked for */
    /* one pass: every resident lens wanted by any row, once, with its rows */
    uint32_t *count;               /* [N] rows that want the lens; 0 outside a pass */
    uint64_t *wanted;              /* [N/64] bitmaps: to score in this pass; clear outside a pass */
    uint64_t *missing, *left_out;  /* of this run: waited for; gone without */
    uint64_t *lost;                /* while jobs of lost lenses are looked for */
    uint64_t *used_in;             /* [N] the run that scored the lens last */
    struct lens_score_item *items; /* [N] */
    uint32_t n_items;
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

static inline bool lens_bit(const uint64_t *bitmap, uint32_t lens)
{
    return (bitmap[lens / 64] >> (lens % 64) & 1) != 0;
}

/* False for a lens that is, for this job, as if the pack didn't have it. */
static inline bool lens_job_allows(const struct lens_job *job, uint32_t lens)
{
    return job->allowed == NULL || lens_bit(job->allowed, lens);
}

/* Adds a lens to what the row wants, unless it is there already or isn't allowed. */
static inline void lens_row_want(struct lens_cascade *c, uint32_t row, uint32_t lens)
{
    uint8_t *marks = lens_row_marks(c, row);
    if (marks[lens] != 0 || !lens_job_allows(c->rows[row].job, lens))
        return;
    marks[lens] = LENS_MARK_WANTED;
    lens_row_list(c, row)[c->rows[row].n++] = lens;
}

/* True when the lens has children, for this job. */
static inline bool lens_job_has_children(const struct lens_job *job, const struct lens_model *model, uint32_t lens)
{
    int32_t end = model->child_offsets[lens + 1];
    if (job->allowed == NULL)
        return model->child_offsets[lens] != end;
    for (int32_t e = model->child_offsets[lens]; e < end; e++)
        if (lens_bit(job->allowed, (uint32_t)model->child_ids[e]))
            return true;
    return false;
}

/* One expansion step of a row (DESIGN 4.4): marks parents expanded, wants their children. False when that was the last.
 */
bool lens_cascade_expand_row(struct lens_cascade *c, const struct lens_model *model, uint32_t row);

/* Detections of a finished row (DESIGN 4.5). */
void lens_cascade_report_row(struct lens_cascade *c, const struct lens_model *model, uint32_t row);

/* The retained set after a finished job (DESIGN 4.6). */
void lens_cascade_retain(struct lens_cascade *c, const struct lens_model *model, struct lens_job *job);

#endif
