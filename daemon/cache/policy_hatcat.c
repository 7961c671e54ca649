/* HatCat's rule (SEEDS H5): the lens with the fewest reactivations leaves, that is times it was used again since it
 * came in; of equals the one used longest ago.
 *
 * Lenses of one count stand on one list, newest use first; the lists are a chain by ascending count. A lens that is
 * used moves to the next count's list, so every call is O(1). There are never more lists than lenses held, plus one
 * while a lens moves. */
#include "daemon/cache/policy_private.h"

#include <errno.h>
#include <stdlib.h>

struct bucket {
    struct cache_list list;
    uint64_t uses;
    uint32_t fewer, more; /* neighbours in the chain; `more` also chains the free ones */
};

struct hatcat {
    uint32_t fewest, free; /* buckets, CACHE_NONE = none */
    uint32_t *bucket_of;   /* [N] */
    struct bucket bucket[];
};

static int hatcat_create(struct lensd_cache_policy *policy)
{
    size_t buckets = (size_t)policy->lenses + 1;
    struct hatcat *h = malloc(sizeof *h + buckets * sizeof h->bucket[0]);
    if (h == NULL)
        return -ENOMEM;
    h->bucket_of = calloc(policy->lenses, sizeof *h->bucket_of);
    if (h->bucket_of == NULL) {
        free(h);
        return -ENOMEM;
    }
    h->fewest = CACHE_NONE;
    h->free = 0;
    for (uint32_t i = 0; i < buckets; i++)
        h->bucket[i].more = i + 1 < buckets ? i + 1 : CACHE_NONE;
    policy->own = h;
    return 0;
}

static void hatcat_destroy(struct lensd_cache_policy *policy)
{
    struct hatcat *h = policy->own;
    free(h->bucket_of);
    free(h);
}

/* A new bucket for `uses` behind `fewer` (CACHE_NONE = first in the chain). */
static uint32_t open_bucket(struct hatcat *h, uint32_t fewer, uint64_t uses)
{
    uint32_t b = h->free, more = fewer == CACHE_NONE ? h->fewest : h->bucket[fewer].more;
    h->free = h->bucket[b].more;
    h->bucket[b].uses = uses;
    h->bucket[b].fewer = fewer;
    h->bucket[b].more = more;
    cache_list_init(&h->bucket[b].list);
    if (fewer == CACHE_NONE)
        h->fewest = b;
    else
        h->bucket[fewer].more = b;
    if (more != CACHE_NONE)
        h->bucket[more].fewer = b;
    return b;
}

static void close_if_empty(struct hatcat *h, uint32_t b)
{
    struct bucket *bucket = &h->bucket[b];
    if (bucket->list.size != 0)
        return;
    if (bucket->fewer == CACHE_NONE)
        h->fewest = bucket->more;
    else
        h->bucket[bucket->fewer].more = bucket->more;
    if (bucket->more != CACHE_NONE)
        h->bucket[bucket->more].fewer = bucket->fewer;
    bucket->more = h->free;
    h->free = b;
}

static void put(struct lensd_cache_policy *policy, uint32_t lens, uint32_t bucket)
{
    struct hatcat *h = policy->own;
    h->bucket_of[lens] = bucket;
    cache_list_push(&h->bucket[bucket].list, policy->links, lens);
}

static void hatcat_insert(struct lensd_cache_policy *policy, uint32_t lens)
{
    struct hatcat *h = policy->own;
    bool there = h->fewest != CACHE_NONE && h->bucket[h->fewest].uses == 0;
    put(policy, lens, there ? h->fewest : open_bucket(h, CACHE_NONE, 0));
}

static void hatcat_remove(struct lensd_cache_policy *policy, uint32_t lens)
{
    struct hatcat *h = policy->own;
    uint32_t b = h->bucket_of[lens];
    cache_list_take(&h->bucket[b].list, policy->links, lens);
    close_if_empty(h, b);
}

static void hatcat_use(struct lensd_cache_policy *policy, uint32_t lens, bool again)
{
    struct hatcat *h = policy->own;
    uint32_t from = h->bucket_of[lens], to = from;
    if (again) {
        uint64_t uses = h->bucket[from].uses + 1;
        to = h->bucket[from].more;
        if (to == CACHE_NONE || h->bucket[to].uses != uses)
            to = open_bucket(h, from, uses);
    }
    cache_list_take(&h->bucket[from].list, policy->links, lens);
    put(policy, lens, to);
    close_if_empty(h, from);
}

static bool hatcat_victim(struct lensd_cache_policy *policy, const struct cache_filter *filter, uint32_t *lens)
{
    const struct hatcat *h = policy->own;
    for (uint32_t b = h->fewest; b != CACHE_NONE; b = h->bucket[b].more) {
        for (uint32_t at = h->bucket[b].list.tail; at != CACHE_NONE; at = policy->links.newer[at]) {
            if (cache_may_leave(filter, at)) {
                hatcat_remove(policy, at);
                *lens = at;
                return true;
            }
        }
    }
    return false;
}

const struct cache_ops cache_hatcat_ops = {
    .create = hatcat_create,
    .destroy = hatcat_destroy,
    .insert = hatcat_insert,
    .use = hatcat_use,
    .remove = hatcat_remove,
    .victim = hatcat_victim,
};
