/* When a concept is scored and reported, by the daemon's settings; see explain.h. What a session changed for itself
 * isn't known here, and is said not to be. */
#include "client/lensctl/explain.h"

#include <stdlib.h>
#include <string.h>

static bool has_name(const struct lens_setting_row *row, const char *name)
{
    return row->name.length == strlen(name) && memcmp(row->name.data, name, row->name.length) == 0;
}

static void take_text(const struct lens_setting_row *row, const char *name, char *out, size_t size)
{
    if (has_name(row, name))
        snprintf(out, size, "%.*s", (int)row->value.length, row->value.data);
}

static void take_number(const struct lens_setting_row *row, const char *name, double *out)
{
    char text[64] = "";
    take_text(row, name, text, sizeof text);
    if (text[0] != '\0')
        *out = strtod(text, NULL);
}

static void take_row(void *arg, const struct lens_setting_row *row)
{
    struct explain_rules *out = arg;
    double keep = out->keep_top_k, top = out->top_k;
    char suppress[16] = "";
    take_text(row, "cascade.base_layers", out->base_layers, sizeof out->base_layers);
    take_text(row, "cascade.expand", out->expand, sizeof out->expand);
    take_text(row, "cascade.report", out->report, sizeof out->report);
    take_text(row, "cascade.rank", out->rank, sizeof out->rank);
    take_text(row, "cascade.suppress_parents", suppress, sizeof suppress);
    take_number(row, "cascade.load_threshold", &out->load_threshold);
    take_number(row, "cascade.unload_threshold", &out->unload_threshold);
    take_number(row, "cascade.suppress_at", &out->suppress_at);
    take_number(row, "cascade.keep_top_k", &keep);
    take_number(row, "cascade.top_k", &top);
    out->keep_top_k = (int)keep;
    out->top_k = (int)top;
    if (suppress[0] != '\0')
        out->suppress_parents = strcmp(suppress, "on") == 0;
}

int explain_rules_ask(struct lens_client *client, struct explain_rules *out)
{
    *out = (struct explain_rules){.expand = ""};
    return ctl_each_setting(client, take_row, out);
}

/* ---- sentences -------------------------------------------------------------------------------------------------- */

static bool is_base(const struct lens_explanation *e, const struct explain_rules *rules)
{
    uint64_t bits = 0;
    return lens_base_layers_parse(rules->base_layers, &bits) == 0 && e->layer < 64 && (bits >> e->layer & 1) != 0;
}

static bool by_threshold(const struct explain_rules *rules)
{
    return strcmp(rules->expand, "topk") != 0;
}

static void say_when_scored(const struct lens_explanation *e, const struct explain_rules *rules, struct sentences *s)
{
    struct lens_text parent = e->n_path > 1 ? e->path_keys[e->n_path - 2] : lens_text_of("");
    if (is_base(e, rules))
        explain_say(s, "Scored on every row: its layer is among cascade.base_layers (%s).", rules->base_layers);
    else if (parent.length == 0)
        explain_say(s,
                    "It has no parent and its layer isn't among cascade.base_layers (%s): it is scored only where "
                    "it is pinned.",
                    rules->base_layers);
    else if (by_threshold(rules))
        explain_say(s,
                    "Scored when its parent %.*s (or another parent of its) has a raw score above "
                    "cascade.load_threshold, %.3g, or when it is retained from the rows before.",
                    (int)parent.length, parent.data, rules->load_threshold);
    else
        explain_say(s,
                    "Scored when its parent %.*s (or another parent of its) is among the %d best of the row "
                    "(cascade.expand = topk), or when it is retained from the rows before.",
                    (int)parent.length, parent.data, rules->top_k);
}

static void say_when_reported(const struct lens_explanation *e, const struct explain_rules *rules, struct sentences *s)
{
    bool frontier = strcmp(rules->report, "frontier") == 0, leaves = strcmp(rules->report, "leaves") == 0;
    if (leaves && e->n_children > 0)
        explain_say(s, "Never reported: it has children, and cascade.report is leaves.");
    else if (frontier && e->n_children > 0 && by_threshold(rules))
        explain_say(s,
                    "Reported only while it does not expand: above %.3g its children are scored, and reported in its "
                    "place (cascade.report = frontier).",
                    rules->load_threshold);
    else if (frontier && e->n_children > 0)
        explain_say(s, "Reported only while it does not expand: its children are then reported in its place "
                       "(cascade.report = frontier).");
    else
        explain_say(s, "Reported whenever it is scored and among the row's %d best (cascade.top_k, by %s score).",
                    rules->top_k, rules->rank);
    if (rules->suppress_parents && e->n_children > 0 && !leaves)
        explain_say(s, "Left out of the report when a child of its scores %.3g or more (cascade.suppress_parents).",
                    rules->suppress_at);
}

static bool says(struct lens_text text, const char *part)
{
    return text.length > 0 && memmem(text.data, text.length, part, strlen(part)) != NULL;
}

void explain_say_rules(const struct lens_explanation *e, const struct explain_rules *rules, struct sentences *s)
{
    bool scored = !says(e->content, "never scored"), reported = scored && !says(e->content, "never reported");
    if (rules->expand[0] == '\0')
        return;
    if (scored && !says(e->content, "on every row"))
        say_when_scored(e, rules, s);
    if (reported)
        say_when_reported(e, rules, s);
    if (s->count > 0)
        explain_say(s, "So it is by lensd's settings (`lensctl config`); a session may have options of its own.");
}

void explain_say_thresholds(const struct lens_explanation *e, const struct explain_rules *rules, double raw,
                            struct sentences *s)
{
    if (rules->expand[0] == '\0')
        return;
    if (e->n_children > 0 && by_threshold(rules))
        explain_say(s, "raw %.4f is %s cascade.load_threshold, %.3g: it %s", raw,
                    raw > rules->load_threshold ? "above" : "not above", rules->load_threshold,
                    raw > rules->load_threshold ? "expands, and its children are scored" : "does not expand");
    if (!is_base(e, rules) && raw < rules->unload_threshold)
        explain_say(s, "raw is below cascade.unload_threshold, %.3g: it is not retained for the next row",
                    rules->unload_threshold);
    else if (!is_base(e, rules) && rules->keep_top_k < 0)
        explain_say(s, "raw is at least cascade.unload_threshold, %.3g: it is retained for the next row",
                    rules->unload_threshold);
    else if (!is_base(e, rules))
        explain_say(s,
                    "raw is at least cascade.unload_threshold, %.3g: it is retained for the next row, if it is among "
                    "the %d best (cascade.keep_top_k)",
                    rules->unload_threshold, rules->keep_top_k);
}
