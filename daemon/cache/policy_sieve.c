/* SIEVE (Zhang et al., NSDI 2024): lenses stand in the order they came; a hand walks from the oldest to the newest and
 * on from the oldest again. A lens used since the hand last came by is spared once; the first that wasn't leaves. */
#include "daemon/cache/policy_private.h"

#include <errno.h>
#include <stdlib.h>

struct sieve {
    struct cache_list list;
    uint32_t hand;  /* the next candidate; CACHE_NONE = the oldest */
    bool visited[]; /* [N] */
};

static int sieve_create(struct lensd_cache_policy *policy)
{
    struct sieve *s = calloc(1, sizeof *s + (size_t)policy->lenses * sizeof s->visited[0]);
    if (s == NULL)
        return -ENOMEM;
    cache_list_init(&s->list);
    s->hand = CACHE_NONE;
    policy->own = s;
    return 0;
}

static void sieve_destroy(struct lensd_cache_policy *policy)
{
    free(policy->own);
}

static void sieve_insert(struct lensd_cache_policy *policy, uint32_t lens)
{
    struct sieve *s = policy->own;
    s->visited[lens] = false;
    cache_list_push(&s->list, policy->links, lens);
}

static void sieve_use(struct lensd_cache_policy *policy, uint32_t lens, bool again)
{
    struct sieve *s = policy->own;
    s->visited[lens] = s->visited[lens] || again;
}

static void sieve_remove(struct lensd_cache_policy *policy, uint32_t lens)
{
    struct sieve *s = policy->own;
    if (s->hand == lens)
        s->hand = policy->links.newer[lens];
    cache_list_take(&s->list, policy->links, lens);
}

static bool sieve_victim(struct lensd_cache_policy *policy, const struct cache_filter *filter, uint32_t *lens)
{
    struct sieve *s = policy->own;
    /* The first lap leaves no lens that may leave marked, so the second finds one if there is any. */
    for (uint64_t steps = 2 * (uint64_t)s->list.size; steps > 0; steps--) {
        uint32_t at = s->hand != CACHE_NONE ? s->hand : s->list.tail;
        s->hand = policy->links.newer[at];
        if (!cache_may_leave(filter, at))
            continue;
        if (!s->visited[at]) {
            sieve_remove(policy, at);
            *lens = at;
            return true;
        }
        s->visited[at] = false;
    }
    return false;
}

const struct cache_ops cache_sieve_ops = {
    .create = sieve_create,
    .destroy = sieve_destroy,
    .insert = sieve_insert,
    .use = sieve_use,
    .remove = sieve_remove,
    .victim = sieve_victim,
};
