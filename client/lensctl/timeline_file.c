/* The rows of a timeline out of a file of hidden states, scored by the daemon; see timeline_collect.h. */
#include "client/lensctl/detect.h"
#include "client/lensctl/progress.h"
#include "client/lensctl/timeline_collect.h"

#include <errno.h>
#include <string.h>

struct collector {
    struct timeline *timeline;
    struct timeline_origin *origin;
    struct ctl_progress progress;
};

int timeline_add_failed(int code)
{
    if (code == -E2BIG)
        return ctl_fail(CTL_FAILED, "a timeline has room for %u tokens, and there are more: show a part of them",
                        TIMELINE_MAX_TOKENS);
    return ctl_fail(CTL_FAILED, "out of memory");
}

static int add_hit(struct timeline *timeline, const struct concept_tree *tree, const struct lens_hit *hit)
{
    const char *key = concept_tree_key(tree, hit->id);
    int64_t concept = timeline_concept(timeline, key, strlen(key));
    if (concept < 0)
        return (int)concept;
    if (timeline->concepts[concept].path == NULL)
        timeline->concepts[concept].path = concept_tree_path(tree, hit->id);
    const struct timeline_cell cell = {hit->score, hit->raw, hit->logit};
    return timeline_add_score(timeline, (uint32_t)concept, &cell);
}

static int take_row(struct detect *d, uint64_t row, const struct lens_answer *answer)
{
    struct collector *c = d->arg;
    const struct timeline_token token = {.row = row,
                                         .text = (char *)hidden_states_token(&d->states, row),
                                         .token_id = -1,
                                         .status = answer->status,
                                         .flags = answer->flags};
    int r = timeline_add_token(c->timeline, &token);
    for (uint32_t i = 0; i < answer->n_hits && r == 0; i++)
        r = add_hit(c->timeline, &d->tree, &answer->hits[i]);
    snprintf(c->origin->pack, sizeof c->origin->pack, "%s", d->tree.pack);
    ctl_progress_update(&c->progress, "scoring", row + 1, d->states.rows);
    return r == 0 ? CTL_OK : timeline_add_failed(r);
}

int timeline_from_file(const struct ctl *ctl, struct timeline *timeline, struct timeline_origin *origin)
{
    struct collector collector = {.timeline = timeline, .origin = origin};
    snprintf(origin->name, sizeof origin->name, "%s", ctl_argument(ctl, 0));
    ctl_progress_begin(&collector.progress);
    int r = detect_run(ctl, true, take_row, &collector);
    ctl_progress_end(&collector.progress);
    return r;
}
