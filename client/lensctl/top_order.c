/* Which concepts `lensctl top` shows, in which order; see top_model.h. */
#include "client/lensctl/top_model.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

const char *const top_sort_names[TOP_SORTS + 1] = {"score", "rate", "trend", "name", NULL};
const char *const top_trend_names[] = {"unknown", "rising", "falling", "steady"};

static bool matches(const char *key, const char *filter)
{
    if (filter == NULL || filter[0] == '\0')
        return true;
    if (strpbrk(filter, "*?[") == NULL)
        return strcasestr(key, filter) != NULL;
    return fnmatch(filter, key, 0) == 0;
}

static int by_name(const struct top_concept *a, const struct top_concept *b)
{
    int order = strcmp(a->key, b->key);
    return order != 0 ? order : strcmp(a->pack, b->pack);
}

/* Watched ones first, then the higher value, then the name. */
static int compare(const struct top_concept *a, const struct top_concept *b, double value_a, double value_b)
{
    if (a->watched != b->watched)
        return a->watched ? -1 : 1;
    if (value_a != value_b)
        return value_a > value_b ? -1 : 1;
    return by_name(a, b);
}

static int compare_score(const void *pa, const void *pb)
{
    const struct top_concept *a = *(struct top_concept *const *)pa, *b = *(struct top_concept *const *)pb;
    return compare(a, b, a->score, b->score);
}

static int compare_rate(const void *pa, const void *pb)
{
    const struct top_concept *a = *(struct top_concept *const *)pa, *b = *(struct top_concept *const *)pb;
    return compare(a, b, a->rate, b->rate);
}

static int compare_trend(const void *pa, const void *pb)
{
    const struct top_concept *a = *(struct top_concept *const *)pa, *b = *(struct top_concept *const *)pb;
    return compare(a, b, a->trend_step, b->trend_step);
}

static int compare_name(const void *pa, const void *pb)
{
    const struct top_concept *a = *(struct top_concept *const *)pa, *b = *(struct top_concept *const *)pb;
    return compare(a, b, 0.0, 0.0);
}

uint32_t top_model_order(struct top_model *model, enum top_sort sort, const char *filter, struct top_concept ***out)
{
    static int (*const comparisons[TOP_SORTS])(const void *, const void *) = {compare_score, compare_rate,
                                                                              compare_trend, compare_name};
    uint32_t n = 0;
    for (uint32_t i = 0; i < model->n; i++) {
        struct top_concept *c = model->concepts[i];
        if (c->watched || (c->score > 0.0 && matches(c->key, filter))) /* 0: only in the open interval so far */
            model->order[n++] = c;
    }
    qsort(model->order, n, sizeof *model->order, comparisons[sort]);
    *out = model->order;
    return n;
}
