/* The flags of lensctl detect as parameters of a session. What isn't given stays the daemon's. */
#include "client/lensctl/detect.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int32_t integer_or(const struct ctl *ctl, const char *flag, int32_t otherwise)
{
    const struct ctl_value *value = ctl_value(ctl, flag);
    return value->set ? (int32_t)value->number : otherwise;
}

static float real_or(const struct ctl *ctl, const char *flag, float otherwise)
{
    const struct ctl_value *value = ctl_value(ctl, flag);
    return value->set ? (float)value->real : otherwise;
}

static int take_base(struct detect *d, struct lens_session_params *params)
{
    const struct ctl_value *base = ctl_value(d->ctl, "--base");
    uint64_t bits = 0;
    if (!base->set)
        return CTL_OK;
    if (lens_base_layers_parse(base->text, &bits) != 0)
        return ctl_fail(CTL_USAGE, "--base expects layers from 0 to 63, each once, like 0,1; found '%s'", base->text);
    for (uint8_t layer = 0; layer < 64; layer++) {
        if ((bits >> layer & 1) != 0)
            d->base_layers[params->n_base_layers++] = layer;
    }
    params->base_layers = d->base_layers;
    return CTL_OK;
}

static int take_pin(struct detect *d, const char *text, size_t length, struct lens_session_params *params)
{
    uint32_t id;
    if (params->n_pinned == LENS_MAX_PINNED)
        return ctl_fail(CTL_USAGE, "--pin takes at most %u concepts", LENS_MAX_PINNED);
    int r = concept_tree_find(&d->tree, text, length, &id);
    if (r == -ENOTUNIQ)
        return ctl_fail(CTL_FAILED, "--pin: several layers have a concept '%.*s'; say which, as in '%.*s:2'",
                        (int)length, text, (int)length, text);
    if (r != 0)
        return ctl_fail(CTL_FAILED, "--pin: %s has no concept '%.*s'; `lensctl concepts` lists them", d->tree.pack,
                        (int)length, text);
    d->pinned[params->n_pinned++] = id;
    return CTL_OK;
}

static int take_pins(struct detect *d, struct lens_session_params *params)
{
    const char *text = ctl_value(d->ctl, "--pin")->text;
    int r = CTL_OK;
    while (text != NULL && *text != '\0' && r == CTL_OK) {
        size_t length = strcspn(text, ",");
        r = take_pin(d, text, length, params);
        text += length + (text[length] == ',');
    }
    params->pinned = d->pinned;
    return r;
}

/* Cuts one flag's patterns out of its text, copied to *at: they stand between commas. */
static int take_patterns(const struct detect *d, const char *flag, char **at, const char **out, uint32_t *n)
{
    const char *text = ctl_value(d->ctl, flag)->text;
    while (text != NULL && *text != '\0') {
        size_t length = strcspn(text, ",");
        if (length == 0 || length > LENS_PATTERN_MAX)
            return ctl_fail(CTL_USAGE, "%s expects patterns of 1 to %u bytes between commas, found '%s'", flag,
                            LENS_PATTERN_MAX, ctl_value(d->ctl, flag)->text);
        if (*n == LENS_MAX_PATTERNS)
            return ctl_fail(CTL_USAGE, "%s takes at most %u patterns", flag, LENS_MAX_PATTERNS);
        memcpy(*at, text, length);
        (*at)[length] = '\0';
        out[(*n)++] = *at;
        *at += length + 1;
        text += length + (text[length] == ',');
    }
    return CTL_OK;
}

static size_t text_bytes(const struct ctl *ctl, const char *flag)
{
    const char *text = ctl_value(ctl, flag)->text;
    return text != NULL ? strlen(text) + 1 : 0;
}

static int take_content(struct detect *d, struct lens_session_params *params)
{
    size_t bytes = text_bytes(d->ctl, "--include") + text_bytes(d->ctl, "--exclude") + text_bytes(d->ctl, "--filter");
    d->patterns = calloc(1, bytes + 1);
    if (d->patterns == NULL)
        return ctl_fail(CTL_FAILED, "out of memory");
    char *at = d->patterns;
    int r = take_patterns(d, "--include", &at, d->include, &params->n_include);
    if (r == CTL_OK)
        r = take_patterns(d, "--exclude", &at, d->exclude, &params->n_exclude);
    if (r == CTL_OK)
        r = take_patterns(d, "--filter", &at, d->filter, &params->n_filter);
    params->include = d->include;
    params->exclude = d->exclude;
    params->filter = d->filter;
    return r;
}

int detect_options(struct detect *d, struct lens_session_params *params)
{
    const struct ctl *ctl = d->ctl;
    const struct ctl_value *deadline = ctl_value(ctl, "--deadline");
    lens_session_params_default(params);
    d->rows = (uint32_t)integer_or(ctl, "--rows", 1);
    d->deadline_ns = (uint64_t)deadline->number * 1000u;
    params->pack = d->tree.pack;
    snprintf(d->label, sizeof d->label, "lensctl %s", ctl->command->name);
    params->label = d->label;
    params->max_rows = d->rows;
    params->queue_depth = 2; /* one submission is in flight at a time */
    params->max_sequences = 1;
    /* Room for every concept, so that none that expanded is cut off. */
    params->max_expanded = d->tree.lenses < LENS_MAX_EXPANDED ? d->tree.lenses : LENS_MAX_EXPANDED;
    params->top_k = integer_or(ctl, "--top-k", d->everything ? (int32_t)LENS_MAX_TOP_K : params->top_k);
    params->keep_top_k = integer_or(ctl, "--keep-top-k", params->keep_top_k);
    params->max_depth = integer_or(ctl, "--max-depth", params->max_depth);
    params->max_scored = integer_or(ctl, "--max-scored", params->max_scored);
    d->min_score = real_or(ctl, "--min-score", 0.0f);
    params->load_threshold = real_or(ctl, "--load-threshold", params->load_threshold);
    params->unload_threshold = real_or(ctl, "--unload-threshold", params->unload_threshold);
    params->suppress_at = real_or(ctl, "--suppress-at", params->suppress_at);
    params->expand = (int8_t)integer_or(ctl, "--expand", params->expand);
    params->report = (int8_t)integer_or(ctl, "--report", d->everything ? LENS_REPORT_ALL : params->report);
    params->rank = (int8_t)integer_or(ctl, "--rank", params->rank);
    params->uncalibrated = (int8_t)integer_or(ctl, "--uncalibrated", params->uncalibrated);
    params->miss = (int8_t)integer_or(ctl, "--miss", params->miss);
    if (ctl_value(ctl, "--suppress-parents")->set)
        params->suppress_parents = 1;
    int r = take_base(d, params);
    if (r == CTL_OK)
        r = take_content(d, params);
    return r == CTL_OK ? take_pins(d, params) : r;
}
