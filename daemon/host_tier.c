/* See host_tier.h. */
#include "daemon/host_tier.h"

#include "daemon/cache/policy.h"
#include "daemon/locked_memory.h"
#include "daemon/sys.h"

#include <errno.h>
#include <stdatomic.h>

struct lensd_host_tier {
    uint32_t lenses, places;
    size_t stride;
    struct lens_backend *backend;
    unsigned char *memory;
    int32_t *place_of; /* [N] -1 = nowhere */
    uint32_t *protect; /* [N] loads under way that use the lens's place */
    uint32_t *free, n_free;
    struct lensd_cache_policy *policy;
    atomic_uint held;
};

int lensd_host_tier_create(const struct lens_pack *pack, struct lens_backend *backend, uint64_t bytes,
                           struct lensd_host_tier **out, struct lens_error *err)
{
    *out = NULL;
    size_t stride = ((size_t)(pack->w1_lens_bytes + pack->w1_sign_bytes) + 63) / 64 * 64;
    uint64_t places = bytes / stride < pack->lenses ? bytes / stride : pack->lenses;
    if (places == 0)
        return 0;
    struct lensd_host_tier *tier = lensd_calloc(1, sizeof *tier);
    if (tier == NULL)
        return lens_error_set(err, -ENOMEM, "no memory for the host tier");
    tier->backend = backend;
    tier->lenses = pack->lenses;
    tier->places = (uint32_t)places;
    tier->stride = stride;
    tier->memory = lensd_locked_alloc(backend, stride * places);
    tier->place_of = lensd_calloc(pack->lenses, sizeof *tier->place_of);
    tier->protect = lensd_calloc(pack->lenses, sizeof *tier->protect);
    tier->free = lensd_calloc(places, sizeof *tier->free);
    struct lensd_cache_config config = {.kind = LENSD_CACHE_LRU, .lenses = pack->lenses, .capacity = (uint32_t)places};
    if (!tier->memory || !tier->place_of || !tier->protect || !tier->free ||
        lensd_cache_policy_create(&config, &tier->policy, err) != 0) {
        lensd_host_tier_destroy(tier);
        return lens_error_set(err, -ENOMEM,
                              "no %smemory for %llu lenses (%llu MiB) in the host tier: lower cache.host_memory",
                              backend->ops->host_alloc != NULL ? "page-locked " : "", (unsigned long long)places,
                              (unsigned long long)(stride * places >> 20));
    }
    for (uint32_t i = 0; i < pack->lenses; i++)
        tier->place_of[i] = -1;
    for (uint32_t i = 0; i < tier->places; i++)
        tier->free[i] = tier->places - 1 - i;
    tier->n_free = tier->places;
    *out = tier;
    return 0;
}

void lensd_host_tier_destroy(struct lensd_host_tier *tier)
{
    if (tier == NULL)
        return;
    lensd_cache_policy_destroy(tier->policy);
    lensd_locked_free(tier->backend, tier->memory);
    lensd_free(tier->place_of);
    lensd_free(tier->protect);
    lensd_free(tier->free);
    lensd_free(tier);
}

static void *place(const struct lensd_host_tier *tier, uint32_t lens)
{
    return tier->memory + tier->stride * (size_t)tier->place_of[lens];
}

void *lensd_host_tier_get(struct lensd_host_tier *tier, uint32_t lens)
{
    if (tier == NULL || tier->place_of[lens] < 0)
        return NULL;
    lensd_cache_policy_use(tier->policy, lens);
    tier->protect[lens]++;
    return place(tier, lens);
}

static bool is_protected(const void *arg, uint32_t lens)
{
    return ((const struct lensd_host_tier *)arg)->protect[lens] > 0;
}

void *lensd_host_tier_reserve(struct lensd_host_tier *tier, uint32_t lens)
{
    if (tier == NULL)
        return NULL;
    uint32_t victim;
    if (tier->n_free == 0) {
        if (!lensd_cache_policy_victim(tier->policy, is_protected, tier, &victim))
            return NULL;
        tier->free[tier->n_free++] = (uint32_t)tier->place_of[victim];
        tier->place_of[victim] = -1;
        atomic_fetch_sub_explicit(&tier->held, 1, memory_order_relaxed);
    }
    tier->place_of[lens] = (int32_t)tier->free[--tier->n_free];
    tier->protect[lens]++;
    lensd_cache_policy_insert(tier->policy, lens, true);
    atomic_fetch_add_explicit(&tier->held, 1, memory_order_relaxed);
    return place(tier, lens);
}

void lensd_host_tier_settle(struct lensd_host_tier *tier, uint32_t lens, bool good)
{
    tier->protect[lens]--;
    if (good)
        return;
    lensd_cache_policy_remove(tier->policy, lens);
    tier->free[tier->n_free++] = (uint32_t)tier->place_of[lens];
    tier->place_of[lens] = -1;
    atomic_fetch_sub_explicit(&tier->held, 1, memory_order_relaxed);
}

uint32_t lensd_host_tier_places(const struct lensd_host_tier *tier)
{
    return tier != NULL ? tier->places : 0;
}

uint32_t lensd_host_tier_held(const struct lensd_host_tier *tier)
{
    return tier != NULL ? atomic_load_explicit(&tier->held, memory_order_relaxed) : 0;
}

bool lensd_host_tier_holds(const struct lensd_host_tier *tier, uint32_t lens)
{
    return tier != NULL && tier->place_of[lens] >= 0;
}
