/* Least recently used: the lens whose last use is longest ago leaves. A prefetched lens counts as used when it came. */
#include "daemon/cache/policy_private.h"

#include <errno.h>
#include <stdlib.h>

static int lru_create(struct lensd_cache_policy *policy)
{
    struct cache_list *list = malloc(sizeof *list);
    if (list == NULL)
        return -ENOMEM;
    cache_list_init(list);
    policy->own = list;
    return 0;
}

static void lru_destroy(struct lensd_cache_policy *policy)
{
    free(policy->own);
}

static void lru_insert(struct lensd_cache_policy *policy, uint32_t lens)
{
    cache_list_push(policy->own, policy->links, lens);
}

static void lru_remove(struct lensd_cache_policy *policy, uint32_t lens)
{
    cache_list_take(policy->own, policy->links, lens);
}

static void lru_use(struct lensd_cache_policy *policy, uint32_t lens, bool again)
{
    (void)again;
    lru_remove(policy, lens);
    lru_insert(policy, lens);
}

static bool lru_victim(struct lensd_cache_policy *policy, const struct cache_filter *filter, uint32_t *lens)
{
    const struct cache_list *list = policy->own;
    uint32_t at = list->tail;
    while (at != CACHE_NONE && !cache_may_leave(filter, at))
        at = policy->links.newer[at];
    if (at == CACHE_NONE)
        return false;
    lru_remove(policy, at);
    *lens = at;
    return true;
}

const struct cache_ops cache_lru_ops = {
    .create = lru_create,
    .destroy = lru_destroy,
    .insert = lru_insert,
    .use = lru_use,
    .remove = lru_remove,
    .victim = lru_victim,
};
