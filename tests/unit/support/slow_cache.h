/* The cache policies again, as plainly as they can be said: arrays, whole scans, no lists. What daemon/cache decides
 * must be what this decides. Allocates nothing; one thread. */
#ifndef SLOW_CACHE_H
#define SLOW_CACHE_H

#include "daemon/cache/policy.h"

enum { SLOW_LENSES = 64 };

struct slow_lens {
    bool held, unwanted, visited;
    uint64_t used, uses; /* when last, how often again since it came */
};

/* A row of lenses, the oldest first. */
struct slow_queue {
    uint32_t lens[SLOW_LENSES], n;
};

struct slow_cache {
    enum lensd_cache_kind kind;
    uint32_t capacity;
    uint64_t now;
    const uint8_t *layer;
    struct lensd_cache_quotas quotas; /* all 0 = none */
    struct slow_lens lens[SLOW_LENSES];
    struct slow_queue queue, main, ghost; /* SIEVE's, S3-FIFO's small one; S3-FIFO's others */
    uint32_t hand;                        /* SIEVE: index in `queue` */
};

uint32_t slow_size(const struct slow_cache *cache);
void slow_resize(struct slow_cache *cache, uint32_t capacity);
void slow_insert(struct slow_cache *cache, uint32_t lens, bool wanted);
void slow_use(struct slow_cache *cache, uint32_t lens);
void slow_remove(struct slow_cache *cache, uint32_t lens);
/* protect[lens]: it must stay. */
bool slow_victim(struct slow_cache *cache, const bool *protect, uint32_t *lens);

#endif
