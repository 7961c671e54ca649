/* See options.h. */
#include "proto/options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const lens_expand_names[] = {"threshold", "topk", NULL};
const char *const lens_report_names[] = {"frontier", "all", "leaves", NULL};
const char *const lens_rank_names[] = {"raw", "calibrated", NULL};
const char *const lens_uncalibrated_names[] = {"raw", "half", NULL};
const char *const lens_miss_names[] = {"wait", "deadline", "skip", NULL};

void lens_options_default(struct lens_cascade_options *out)
{
    *out = (struct lens_cascade_options){
        .base_layers = 0x3,
        .expand = LENS_EXPAND_THRESHOLD,
        .report = LENS_REPORT_FRONTIER,
        .rank = LENS_RANK_RAW,
        .uncalibrated = LENS_UNCALIBRATED_RAW,
        .miss = LENS_MISS_WAIT,
        .load_threshold = 0.3f,
        .unload_threshold = 0.1f,
        .suppress_at = 0.5f,
        .suppress_parents = false,
        .top_k = 10,
        .keep_top_k = 30,
        .max_depth = 5,
        .max_scored = 4096,
    };
}

static int unit_interval(const char *name, float value, struct lens_error *err)
{
    if (value >= 0.0f && value <= 1.0f)
        return 0;
    return lens_error_set(err, -EINVAL, "%s must be between 0 and 1, found %g", name, (double)value);
}

static int in_names(const char *name, int value, int last, struct lens_error *err)
{
    if (value >= 0 && value <= last)
        return 0;
    return lens_error_set(err, -EINVAL, "%s must be between 0 and %d, found %d", name, last, value);
}

static int check_enums(const struct lens_cascade_options *o, struct lens_error *err)
{
    int r = in_names("expand", (int)o->expand, LENS_EXPAND_TOPK, err);
    if (r == 0)
        r = in_names("report", (int)o->report, LENS_REPORT_LEAVES, err);
    if (r == 0)
        r = in_names("rank", (int)o->rank, LENS_RANK_CALIBRATED, err);
    if (r == 0)
        r = in_names("uncalibrated", (int)o->uncalibrated, LENS_UNCALIBRATED_HALF, err);
    if (r == 0)
        r = in_names("miss", (int)o->miss, LENS_MISS_SKIP, err);
    return r;
}

int lens_options_check(const struct lens_cascade_options *o, struct lens_error *err)
{
    int r = check_enums(o, err);
    if (r == 0)
        r = unit_interval("load_threshold", o->load_threshold, err);
    if (r == 0)
        r = unit_interval("unload_threshold", o->unload_threshold, err);
    if (r == 0)
        r = unit_interval("suppress_at", o->suppress_at, err);
    if (r != 0)
        return r;
    if (o->top_k < 1 || o->top_k > 256)
        return lens_error_set(err, -EINVAL, "top_k must be between 1 and 256, found %u", o->top_k);
    if (o->keep_top_k < -1)
        return lens_error_set(err, -EINVAL, "keep_top_k must be -1 (all) or more, found %d", o->keep_top_k);
    if (o->max_depth > 64)
        return lens_error_set(err, -EINVAL, "max_depth must be between 0 and 64, found %u", o->max_depth);
    return 0;
}

int lens_option_parse(const char *const names[], const char *text)
{
    for (int i = 0; names[i] != NULL; i++) {
        if (strcmp(names[i], text) == 0)
            return i;
    }
    return -EINVAL;
}

int lens_base_layers_parse(const char *text, uint64_t *out)
{
    uint64_t bits = 0;
    const char *p = text;
    while (*p != '\0') {
        char *end;
        if (*p < '0' || *p > '9')
            return -EINVAL;
        unsigned long layer = strtoul(p, &end, 10);
        if (layer > 63 || (bits >> layer & 1) != 0)
            return -EINVAL;
        bits |= UINT64_C(1) << layer;
        if (*end == ',' && end[1] != '\0')
            end++;
        else if (*end != '\0')
            return -EINVAL;
        p = end;
    }
    *out = bits;
    return 0;
}

void lens_base_layers_format(uint64_t bits, char *out, uint32_t size)
{
    uint32_t used = 0;
    if (size > 0)
        out[0] = '\0';
    for (unsigned layer = 0; layer < 64 && used < size; layer++) {
        if ((bits >> layer & 1) == 0)
            continue;
        int n = snprintf(out + used, size - used, "%s%u", used ? "," : "", layer);
        used += n > 0 ? (uint32_t)n : 0;
    }
}
