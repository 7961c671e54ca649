/* A timeline as JSON; see timeline.h. The page of HTML holds the same. */
#include "client/lensctl/row_words.h"
#include "client/lensctl/timeline.h"

#include <math.h>

static json_t *tokens_json(const struct timeline *t)
{
    json_t *list = json_array();
    for (size_t i = 0; i < t->n_tokens; i++) {
        const struct timeline_token *token = &t->tokens[i];
        json_t *object = json_object();
        ctl_json_set_count(object, "row", token->row);
        if (token->text != NULL)
            ctl_json_set_text(object, "token", lens_text_of(token->text));
        if (token->token_id >= 0)
            ctl_json_set_count(object, "token_id", (uint64_t)token->token_id);
        json_object_set_new(object, "status", json_string(ctl_row_status(token->status)));
        json_object_set_new(object, "flags", ctl_row_flags_json(token->flags));
        json_array_append_new(list, object);
    }
    return list;
}

enum part { SCORES, RAWS, LOGITS };

static json_t *numbers_json(const struct timeline_view *view, size_t concept, enum part part)
{
    json_t *list = json_array();
    for (size_t i = 0; i < view->timeline->n_tokens; i++) {
        const struct timeline_cell *cell = timeline_cell(view, concept, i);
        float value = part == SCORES ? cell->score : part == RAWS ? cell->raw : cell->logit;
        json_array_append_new(list, ctl_json_number((double)value));
    }
    return list;
}

/* Whether every score is the raw one, so that a list of raw scores would say nothing new. */
static bool is_raw(const struct timeline_view *view)
{
    for (size_t i = 0; i < view->n * view->timeline->n_tokens; i++) {
        if (!isnan(view->cells[i].score) && view->cells[i].score != view->cells[i].raw)
            return false;
    }
    return true;
}

static json_t *concept_json(const struct timeline_view *view, size_t i, bool raw)
{
    const struct timeline *t = view->timeline;
    const struct timeline_concept *c = &t->concepts[view->concepts[i]];
    json_t *object = json_object();
    ctl_json_set_text(object, "concept", lens_text_of(c->key));
    json_object_set(object, "path", c->path != NULL ? c->path : json_null());
    json_object_set_new(object, "best", ctl_json_number((double)c->best));
    ctl_json_set_count(object, "best_row", t->tokens[c->best_at].row);
    ctl_json_set_count(object, "first_row", t->tokens[view->first[i]].row);
    json_object_set_new(object, "scores", numbers_json(view, i, SCORES));
    if (!raw)
        json_object_set_new(object, "raw", numbers_json(view, i, RAWS));
    json_object_set_new(object, "logits", numbers_json(view, i, LOGITS));
    return object;
}

json_t *timeline_json(const struct timeline_view *view, const struct timeline_source *source)
{
    json_t *object = ctl_json_new(), *concepts = json_array();
    bool raw = is_raw(view);
    for (size_t i = 0; i < view->n; i++)
        json_array_append_new(concepts, concept_json(view, i, raw));
    ctl_json_set_text(object, "source", lens_text_of(source->name));
    ctl_json_set_text(object, "pack", lens_text_of(source->pack));
    json_object_set_new(object, "scores_are", json_string(raw ? "raw" : "calibrated"));
    json_object_set_new(object, "tokens", tokens_json(view->timeline));
    ctl_json_set_count(object, "concepts_matching", view->matching);
    json_object_set_new(object, "concepts", concepts);
    return object;
}
