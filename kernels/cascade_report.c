/* What a finished row reports and what its sequence retains: DESIGN 4.5 and 4.6, calibration by SEEDS H11. */
#include "kernels/cascade_state.h"

static double calibrated_score(const struct lens_model *model, const struct lens_cascade_options *options,
                               uint32_t lens, double logit)
{
    const float *calibration = model->calibration + (size_t)lens * LENS_CALIBRATION_FIELDS;
    double raw = lens_sigmoid(logit);
    if (calibration[0] == calibration[0])
        return lens_calibrate(calibration, raw);
    return options->uncalibrated == LENS_UNCALIBRATED_HALF ? 0.5 : raw;
}

/* What rows are ordered by: the logit for raw scores (it doesn't saturate), else the calibrated score. */
static double rank_key(const struct lens_model *model, const struct lens_cascade_options *options, uint32_t lens,
                       float logit)
{
    return options->rank == LENS_RANK_RAW ? (double)logit : calibrated_score(model, options, lens, (double)logit);
}

static bool is_candidate(const struct lens_model *model, const struct lens_job *job, uint8_t mark, uint32_t lens)
{
    const struct lens_cascade_options *options = job->options;
    if ((mark & LENS_MARK_SCORED) == 0 || (job->reported != NULL && !lens_bit(job->reported, lens)))
        return false;
    if (options->report == LENS_REPORT_FRONTIER)
        return (mark & LENS_MARK_EXPANDED) == 0;
    if (options->report == LENS_REPORT_LEAVES)
        return !lens_job_has_children(job, model, lens);
    return true;
}

/* True when a child of `lens` is a candidate with a score of at least suppress_at. */
static bool suppressed(const struct lens_cascade *c, const struct lens_model *model, uint32_t row, uint32_t lens)
{
    const struct lens_job *job = c->rows[row].job;
    const struct lens_cascade_options *options = job->options;
    const uint8_t *marks = lens_row_marks(c, row);
    const float *logits = lens_row_logits(c, row);
    double bar = (double)options->suppress_at;
    if (options->rank == LENS_RANK_RAW)
        bar = lens_logit_of(bar);
    for (int32_t e = model->child_offsets[lens]; e < model->child_offsets[lens + 1]; e++) {
        uint32_t child = (uint32_t)model->child_ids[e];
        if (is_candidate(model, job, marks[child], child) && rank_key(model, options, child, logits[child]) >= bar)
            return true;
    }
    return false;
}

void lens_cascade_report_row(struct lens_cascade *c, const struct lens_model *model, uint32_t row)
{
    const struct lens_cascade_row *r = &c->rows[row];
    const struct lens_cascade_options *options = r->job->options;
    const uint32_t *list = lens_row_list(c, row);
    const uint8_t *marks = lens_row_marks(c, row);
    const float *logits = lens_row_logits(c, row);
    struct lens_topk top = {c->heap, options->top_k < c->lenses ? options->top_k : c->lenses, 0};
    for (uint32_t i = 0; i < r->n; i++) {
        uint32_t lens = list[i];
        if (!is_candidate(model, r->job, marks[lens], lens))
            continue;
        if (options->suppress_parents && suppressed(c, model, row, lens))
            continue;
        lens_topk_push(&top, rank_key(model, options, lens, logits[lens]), lens);
    }
    lens_topk_sort(&top);
    for (uint32_t i = 0; i < top.n; i++) {
        uint32_t lens = top.entries[i].id;
        double raw = lens_sigmoid((double)logits[lens]);
        double score = options->rank == LENS_RANK_RAW ? raw : top.entries[i].key;
        r->out->detections[i] = (struct lens_detection){lens, (float)score, (float)raw, logits[lens]};
    }
    r->out->n_detections = top.n;
    r->out->counts.expanded = r->out->n_expanded;
}

/* Best logit of every non-base lens over the job's valid rows; the lenses are left in c->wanted. */
static bool best_over_rows(struct lens_cascade *c, const struct lens_model *model, const struct lens_job *job)
{
    bool valid = false;
    uint64_t base_layers = job->options->base_layers;
    for (uint32_t at = job->own.rows; at != 0; at = c->rows[at - 1].next) {
        uint32_t r = at - 1;
        if (c->rows[r].invalid)
            continue;
        valid = true;
        const uint32_t *list = lens_row_list(c, r);
        const float *logits = lens_row_logits(c, r);
        for (uint32_t i = 0; i < c->rows[r].n; i++) {
            uint32_t lens = list[i];
            uint8_t layer = model->layer[lens];
            bool base = layer < 64 && (base_layers >> layer & 1) != 0;
            if (base || (lens_row_marks(c, r)[lens] & LENS_MARK_SCORED) == 0)
                continue;
            uint64_t bit = UINT64_C(1) << (lens % 64);
            if ((c->wanted[lens / 64] & bit) == 0 || logits[lens] > c->best[lens])
                c->best[lens] = logits[lens];
            c->wanted[lens / 64] |= bit;
        }
    }
    return valid;
}

void lens_cascade_retain(struct lens_cascade *c, const struct lens_model *model, struct lens_job *job)
{
    const struct lens_cascade_options *options = job->options;
    job->retained_changed = best_over_rows(c, model, job);
    double threshold = lens_logit_of((double)options->unload_threshold);
    uint32_t keep = options->keep_top_k < 0 ? c->lenses : (uint32_t)options->keep_top_k;
    struct lens_topk top = {c->heap, keep < c->lenses ? keep : c->lenses, 0};
    if (top.capacity > job->retained_capacity)
        top.capacity = job->retained_capacity;
    for (uint32_t word = 0; word < (c->lenses + 63) / 64; word++) {
        for (uint64_t bits = c->wanted[word]; bits != 0; bits &= bits - 1) {
            uint32_t lens = word * 64 + (uint32_t)__builtin_ctzll(bits);
            if ((double)c->best[lens] >= threshold)
                lens_topk_push(&top, (double)c->best[lens], lens);
        }
        c->wanted[word] = 0;
    }
    lens_topk_sort(&top); /* best first: the next submission asks for them in this order */
    job->n_retained = top.n;
    for (uint32_t i = 0; i < top.n; i++)
        job->retained[i] = top.entries[i].id;
}
