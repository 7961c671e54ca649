/* Which children are scored next: both expansion modes of DESIGN 4.4 and the bound on a row's work. */
#include "kernels/cascade_state.h"

static uint32_t child_count(const struct lens_model *model, uint32_t lens)
{
    return (uint32_t)(model->child_offsets[lens + 1] - model->child_offsets[lens]);
}

/* Children of `lens` that the row hasn't asked for yet. */
static uint32_t new_children(const struct lens_cascade *c, const struct lens_model *model, uint32_t row, uint32_t lens)
{
    const uint8_t *marks = lens_row_marks(c, row);
    const struct lens_job *job = c->rows[row].job;
    uint32_t fresh = 0;
    for (int32_t e = model->child_offsets[lens]; e < model->child_offsets[lens + 1]; e++)
        fresh += marks[model->child_ids[e]] == 0 && lens_job_allows(job, (uint32_t)model->child_ids[e]);
    return fresh;
}

static void take_family(struct lens_cascade *c, const struct lens_model *model, uint32_t row, uint32_t lens)
{
    struct lens_row_out *out = c->rows[row].out;
    lens_row_marks(c, row)[lens] |= LENS_MARK_EXPANDED;
    if (out->n_expanded < out->expanded_capacity)
        out->expanded[out->n_expanded] = lens;
    out->n_expanded++;
    for (int32_t e = model->child_offsets[lens]; e < model->child_offsets[lens + 1]; e++)
        lens_row_want(c, row, (uint32_t)model->child_ids[e]);
}

/* Expands parents in order, whole families, up to the first that doesn't fit max_scored. */
static uint32_t take_families(struct lens_cascade *c, const struct lens_model *model, uint32_t row,
                              const struct lens_topk *parents)
{
    struct lens_cascade_row *r = &c->rows[row];
    uint32_t taken = 0;
    for (; taken < parents->n; taken++) {
        uint32_t lens = parents->entries[taken].id;
        uint32_t used = r->n - r->active;
        if (new_children(c, model, row, lens) > r->job->options->max_scored - used) {
            r->out->flags |= LENS_ROW_CAPPED;
            break;
        }
        take_family(c, model, row, lens);
    }
    return taken;
}

/* F: of the lenses that came in with the last step, those over the threshold that have children. */
static struct lens_topk parents_over_threshold(struct lens_cascade *c, const struct lens_model *model, uint32_t row)
{
    const struct lens_cascade_row *r = &c->rows[row];
    const uint32_t *list = lens_row_list(c, row);
    const uint8_t *marks = lens_row_marks(c, row);
    const float *logits = lens_row_logits(c, row);
    double threshold = lens_logit_of((double)r->job->options->load_threshold);
    struct lens_topk parents = {c->heap, c->lenses, 0};
    uint64_t work = 0;
    for (uint32_t i = r->fresh; i < r->n; i++) {
        uint32_t lens = list[i];
        if ((marks[lens] & LENS_MARK_SCORED) == 0 || !((double)logits[lens] > threshold) ||
            !lens_job_has_children(r->job, model, lens))
            continue;
        parents.entries[parents.n++] = (struct lens_topk_entry){(double)logits[lens], lens};
        work += child_count(model, lens);
    }
    /* The order matters only where the bound may cut: sort just then. */
    if (work > r->job->options->max_scored - (r->n - r->active)) {
        uint32_t n = parents.n;
        parents.n = 0;
        for (uint32_t i = 0; i < n; i++)
            lens_topk_push(&parents, c->heap[i].key, c->heap[i].id);
        lens_topk_sort(&parents);
    }
    return parents;
}

/* Of the top_k scored lenses not expanded yet, those that have children. */
static struct lens_topk parents_of_topk(struct lens_cascade *c, const struct lens_model *model, uint32_t row)
{
    const struct lens_cascade_row *r = &c->rows[row];
    const uint32_t *list = lens_row_list(c, row);
    const uint8_t *marks = lens_row_marks(c, row);
    const float *logits = lens_row_logits(c, row);
    struct lens_topk top = {c->heap, r->job->options->top_k, 0};
    if (top.capacity > c->lenses)
        top.capacity = c->lenses;
    for (uint32_t i = 0; i < r->n; i++) {
        if ((marks[list[i]] & (LENS_MARK_SCORED | LENS_MARK_EXPANDED)) == LENS_MARK_SCORED)
            lens_topk_push(&top, (double)logits[list[i]], list[i]);
    }
    lens_topk_sort(&top);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < top.n; i++) {
        if (lens_job_has_children(r->job, model, top.entries[i].id))
            top.entries[kept++] = top.entries[i];
    }
    top.n = kept;
    return top;
}

bool lens_cascade_expand_row(struct lens_cascade *c, const struct lens_model *model, uint32_t row)
{
    struct lens_cascade_row *r = &c->rows[row];
    const struct lens_cascade_options *options = r->job->options;
    if (r->depth++ >= options->max_depth)
        return false;
    bool topk = options->expand == LENS_EXPAND_TOPK;
    struct lens_topk parents = topk ? parents_of_topk(c, model, row) : parents_over_threshold(c, model, row);
    r->fresh = r->n;
    uint32_t taken = take_families(c, model, row, &parents);
    /* In topk mode a step whose families were all scored before still counts; the next one looks further down. */
    return topk ? taken > 0 : r->n > r->fresh;
}
