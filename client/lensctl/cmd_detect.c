/* lensctl detect: the rows, an object each or a line each for reading. */
#include "client/lensctl/commands.h"
#include "client/lensctl/detect.h"
#include "client/lensctl/row_words.h"
#include "client/lensctl/rule_names.h"
#include "proto/wire.h"

#include <string.h>

#define TOKEN_COLUMNS 12u
#define STRONG        0.5f

/* ---- JSON ------------------------------------------------------------------------------------------------------- */

static json_t *key_json(const struct detect *d, uint32_t id)
{
    return ctl_json_text(lens_text_of(concept_tree_key(&d->tree, id)));
}

static json_t *expanded_json(const struct detect *d, const struct lens_answer *answer)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < answer->n_expanded_stored; i++)
        json_array_append_new(list, key_json(d, answer->expanded[i]));
    return list;
}

static json_t *hits_json(const struct detect *d, const struct lens_answer *answer)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < answer->n_hits; i++) {
        struct lens_hit hit = answer->hits[i];
        if (hit.score < d->min_score)
            continue;
        json_t *object = json_object();
        json_object_set_new(object, "concept", key_json(d, hit.id));
        ctl_json_set_count(object, "id", hit.id);
        json_object_set_new(object, "score", ctl_json_number((double)hit.score));
        json_object_set_new(object, "raw", ctl_json_number((double)hit.raw));
        json_object_set_new(object, "logit", ctl_json_number((double)hit.logit));
        json_object_set_new(object, "path", concept_tree_path(&d->tree, hit.id));
        json_array_append_new(list, object);
    }
    return list;
}

static json_t *timing_json(const struct lens_answer *answer)
{
    json_t *object = json_object();
    ctl_json_set_count(object, "queue", answer->ns.queue);
    ctl_json_set_count(object, "copy_in", answer->ns.copy_in);
    ctl_json_set_count(object, "base", answer->ns.base);
    ctl_json_set_count(object, "load", answer->ns.load);
    ctl_json_set_count(object, "expand", answer->ns.expand);
    ctl_json_set_count(object, "select", answer->ns.select);
    ctl_json_set_count(object, "copy_out", answer->ns.copy_out);
    ctl_json_set_count(object, "total", answer->ns.total);
    return object;
}

static json_t *counts_json(const struct lens_answer *answer)
{
    json_t *object = json_object();
    ctl_json_set_count(object, "scored", answer->counts.scored);
    ctl_json_set_count(object, "expanded", answer->counts.expanded);
    ctl_json_set_count(object, "loaded", answer->counts.loaded);
    ctl_json_set_count(object, "slot_hits", answer->counts.slot_hits);
    ctl_json_set_count(object, "host_hits", answer->counts.host_hits);
    ctl_json_set_count(object, "cold", answer->counts.cold);
    ctl_json_set_count(object, "missing", answer->counts.missing);
    return object;
}

static struct row_verdict verdict_of(const struct lens_answer *answer)
{
    return (struct row_verdict){answer->verdict, answer->flags, answer->verdict_rule};
}

static int print_json(const struct detect *d, uint64_t row, const struct lens_answer *answer)
{
    const char *token = hidden_states_token(&d->states, row);
    const struct row_verdict verdict = verdict_of(answer);
    json_t *object = ctl_json_new();
    ctl_json_set_count(object, "row", row);
    if (token != NULL)
        ctl_json_set_text(object, "token", lens_text_of(token));
    json_object_set_new(object, "status", json_string(ctl_row_status(answer->status)));
    if (answer->status == LENS_ROW_INVALID_INPUT)
        json_object_set_new(object, "reason", json_string(lens_reason_text(answer->reason)));
    json_object_set_new(object, "flags", ctl_row_flags_json(answer->flags));
    json_object_set_new(object, "verdict", verdict_json(d->arg, &verdict));
    ctl_json_set_count(object, "generation", answer->generation);
    ctl_json_set_count(object, "scored", answer->counts.scored);
    json_object_set_new(object, "expanded", expanded_json(d, answer));
    if (answer->counts.expanded > answer->n_expanded_stored)
        ctl_json_set_count(object, "expanded_total", answer->counts.expanded);
    json_object_set_new(object, "detections", hits_json(d, answer));
    json_object_set_new(object, "timing_ns", timing_json(answer));
    json_object_set_new(object, "counts", counts_json(answer));
    return ctl_json_print(&d->ctl->out, object, true);
}

/* ---- text ------------------------------------------------------------------------------------------------------- */

/* Returns the columns it took. */
static unsigned print_token(const struct ctl_output *out, const char *token)
{
    char text[128];
    if (token == NULL)
        return 0;
    ctl_printable(token, strlen(token), text, sizeof text);
    unsigned columns = (unsigned)ctl_columns(text);
    unsigned pad = columns < TOKEN_COLUMNS ? TOKEN_COLUMNS - columns : 0;
    fprintf(out->file, "  %s%s%s%*s", ctl_style(out, CTL_CYAN), text, ctl_style(out, CTL_PLAIN), (int)pad, "");
    return 2 + columns + pad;
}

/* A concept and its score, in a further line below the others when this one is full. Returns where it ends. */
static unsigned print_hit(const struct detect *d, const struct lens_hit *hit, unsigned column, unsigned indent)
{
    char key[256], text[300];
    const struct ctl_output *out = &d->ctl->out;
    const char *name = concept_tree_key(&d->tree, hit->id);
    snprintf(text, sizeof text, "%s %.2f", ctl_printable(name, strlen(name), key, sizeof key), (double)hit->score);
    unsigned columns = 2 + (unsigned)ctl_columns(text), width = ctl_width(out);
    if (width > 0 && column > indent && column + columns > width) {
        fprintf(out->file, "\n%*s", (int)indent, "");
        column = indent;
    }
    fprintf(out->file, "  %s%s%s", ctl_style(out, hit->score >= STRONG ? CTL_BOLD : CTL_DIM), text,
            ctl_style(out, CTL_PLAIN));
    return column + columns;
}

static int print_text(const struct detect *d, uint64_t row, const struct lens_answer *answer)
{
    const struct ctl_output *out = &d->ctl->out;
    const struct row_verdict verdict = verdict_of(answer);
    unsigned indent = (unsigned)fprintf(out->file, "%5llu", (unsigned long long)row);
    const char *token = hidden_states_token(&d->states, row);
    unsigned column = indent + print_token(out, token);
    indent += token != NULL ? 2 + TOKEN_COLUMNS : 0;
    column += ctl_print_row_state(out, answer->status, answer->flags, answer->reason, answer->counts.missing);
    column += verdict_print(out, d->arg, &verdict);
    for (uint32_t i = 0; i < answer->n_hits; i++) {
        if (answer->hits[i].score >= d->min_score)
            column = print_hit(d, &answer->hits[i], column, indent);
    }
    fputc('\n', out->file);
    return CTL_OK;
}

static int print_row(struct detect *d, uint64_t row, const struct lens_answer *answer)
{
    return d->ctl->json ? print_json(d, row, answer) : print_text(d, row, answer);
}

int ctl_run_detect(struct ctl *ctl)
{
    struct rule_names rules;
    rule_names_init(&rules, ctl->socket_path);
    int r = detect_run(ctl, false, print_row, &rules);
    rule_names_free(&rules);
    return r;
}
