/* What the policies share: lists threaded through arrays indexed by lens, and the table of functions that makes a
 * policy. Only the policy_*.c files include this. */
#ifndef LENSD_CACHE_POLICY_PRIVATE_H
#define LENSD_CACHE_POLICY_PRIVATE_H

#include "daemon/cache/policy.h"

#define CACHE_NONE UINT32_MAX

/* Newest at the head. A lens is on one list at most; all lists of a policy share its links. */
struct cache_list {
    uint32_t head, tail, size;
};

struct cache_links {
    uint32_t *newer, *older; /* [N]; CACHE_NONE at the ends */
};

void cache_list_init(struct cache_list *list);
void cache_list_push(struct cache_list *list, struct cache_links links, uint32_t lens); /* becomes the head */
void cache_list_take(struct cache_list *list, struct cache_links links, uint32_t lens); /* is on the list */

/* Which lenses may leave just now: those that their owner doesn't protect and, while some layer is over its quota and
 * can give one, only lenses of such layers. */
struct cache_filter {
    const struct lensd_cache_policy *policy;
    lensd_cache_protect_fn protect;
    const void *arg;
    bool over_quota_only;
};
bool cache_may_leave(const struct cache_filter *filter, uint32_t lens);

struct cache_ops {
    int (*create)(
        struct lensd_cache_policy *policy); /* allocates policy->own; -ENOMEM: own is NULL, or what `destroy` frees */
    void (*destroy)(struct lensd_cache_policy *policy);
    void (*resize)(struct lensd_cache_policy *policy); /* policy->capacity changed; NULL = nothing to do */
    void (*insert)(struct lensd_cache_policy *policy, uint32_t lens);
    /* `again`: false for the first use of a lens that came in unwanted, which counts as its arrival. */
    void (*use)(struct lensd_cache_policy *policy, uint32_t lens, bool again);
    void (*remove)(struct lensd_cache_policy *policy, uint32_t lens);
    /* Passes over lenses that may not leave without changing anything about them. */
    bool (*victim)(struct lensd_cache_policy *policy, const struct cache_filter *filter, uint32_t *lens);
    /* NULL = nothing to learn */
    void (*row)(struct lensd_cache_policy *policy, uint64_t sequence, const uint32_t *lenses, uint32_t n, bool ends);
};

struct lensd_cache_policy {
    const struct cache_ops *ops;
    void *own; /* the kind's state */
    uint32_t lenses, capacity, size;
    struct cache_links links;
    uint8_t *state;       /* [N] enum cache_state */
    const uint8_t *layer; /* [N]; NULL without quotas */
    struct lensd_cache_quotas quotas;
    uint32_t held_of_layer[LENSD_CACHE_LAYERS];
};

enum cache_state { CACHE_OUT, CACHE_HELD, CACHE_UNWANTED /* held, and no row asked for it yet */ };

extern const struct cache_ops cache_lru_ops, cache_hatcat_ops, cache_sieve_ops, cache_s3fifo_ops, cache_sequence_ops;

#endif
