#include "tests/unit/support/slow_cache.h"

#include <string.h>

static uint32_t index_of(const struct slow_queue *queue, uint32_t lens)
{
    uint32_t i = 0;
    while (i < queue->n && queue->lens[i] != lens)
        i++;
    return i;
}

static void drop_at(struct slow_queue *queue, uint32_t i)
{
    memmove(&queue->lens[i], &queue->lens[i + 1], (queue->n - i - 1) * sizeof queue->lens[0]);
    queue->n--;
}

static void append(struct slow_queue *queue, uint32_t lens)
{
    queue->lens[queue->n++] = lens;
}

static bool drop(struct slow_queue *queue, uint32_t lens)
{
    uint32_t i = index_of(queue, lens);
    if (i == queue->n)
        return false;
    drop_at(queue, i);
    return true;
}

uint32_t slow_size(const struct slow_cache *cache)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < SLOW_LENSES; i++)
        n += cache->lens[i].held;
    return n;
}

static bool over_quota(const struct slow_cache *cache, uint32_t layer)
{
    uint32_t held = 0;
    for (uint32_t i = 0; i < SLOW_LENSES; i++)
        held += cache->lens[i].held && cache->layer[i] == layer;
    return cache->quotas.share[layer] > 0 && (float)held > cache->quotas.share[layer] * (float)cache->capacity;
}

static uint32_t small_target(const struct slow_cache *cache)
{
    return cache->capacity < 20 ? 1 : cache->capacity / 10;
}

static void trim_ghosts(struct slow_cache *cache)
{
    uint32_t target = small_target(cache);
    while (cache->ghost.n > (cache->capacity > target ? cache->capacity - target : 0))
        drop_at(&cache->ghost, 0);
}

void slow_resize(struct slow_cache *cache, uint32_t capacity)
{
    cache->capacity = capacity;
    trim_ghosts(cache);
}

void slow_insert(struct slow_cache *cache, uint32_t lens, bool wanted)
{
    if (cache->lens[lens].held)
        return;
    cache->lens[lens] = (struct slow_lens){.held = true, .unwanted = !wanted, .used = ++cache->now};
    append(drop(&cache->ghost, lens) ? &cache->main : &cache->queue, lens);
}

void slow_use(struct slow_cache *cache, uint32_t lens)
{
    struct slow_lens *l = &cache->lens[lens];
    if (!l->held)
        return;
    l->used = ++cache->now;
    if (l->unwanted) {
        l->unwanted = false;
        return;
    }
    l->uses++;
    l->visited = true;
    if (cache->kind == LENSD_CACHE_S3FIFO && l->uses > 3)
        l->uses = 3;
}

static void take_out(struct slow_cache *cache, uint32_t lens)
{
    uint32_t i = index_of(&cache->queue, lens);
    cache->lens[lens].held = false;
    if (i < cache->queue.n) {
        drop_at(&cache->queue, i);
        cache->hand -= cache->hand > i;
        cache->hand = cache->hand < cache->queue.n ? cache->hand : 0;
    }
    drop(&cache->main, lens);
}

void slow_remove(struct slow_cache *cache, uint32_t lens)
{
    if (cache->lens[lens].held)
        take_out(cache, lens);
}

/* LRU and HatCat: the least (uses, used) of those that may leave; LRU doesn't look at uses. */
static bool least(const struct slow_cache *cache, const bool *stays, uint32_t *lens)
{
    const struct slow_lens *best = NULL;
    for (uint32_t i = 0; i < SLOW_LENSES; i++) {
        const struct slow_lens *l = &cache->lens[i];
        if (stays[i])
            continue;
        bool fewer = cache->kind == LENSD_CACHE_HATCAT && best != NULL && l->uses < best->uses;
        bool same = cache->kind == LENSD_CACHE_LRU || (best != NULL && l->uses == best->uses);
        if (best == NULL || fewer || (same && l->used < best->used)) {
            best = l;
            *lens = i;
        }
    }
    return best != NULL;
}

static bool sieve(struct slow_cache *cache, const bool *stays, uint32_t *lens)
{
    for (uint32_t step = 0; step < 2 * cache->queue.n; step++) {
        uint32_t at = cache->queue.lens[cache->hand];
        if (!stays[at] && !cache->lens[at].visited) {
            *lens = at;
            return true;
        }
        if (!stays[at])
            cache->lens[at].visited = false;
        cache->hand = (cache->hand + 1) % cache->queue.n;
    }
    return false;
}

static bool leave_small(struct slow_cache *cache, const bool *stays, uint32_t *lens)
{
    for (uint32_t i = 0; i < cache->queue.n;) {
        uint32_t at = cache->queue.lens[i];
        if (stays[at]) {
            i++;
        } else if (cache->lens[at].uses >= 2) {
            drop_at(&cache->queue, i);
            cache->lens[at].uses = 0;
            append(&cache->main, at);
        } else {
            *lens = at;
            return true;
        }
    }
    return false;
}

static bool leave_main(struct slow_cache *cache, const bool *stays, uint32_t *lens)
{
    for (uint32_t i = 0; i < cache->main.n;) {
        uint32_t at = cache->main.lens[i];
        if (stays[at]) {
            i++;
        } else if (cache->lens[at].uses > 0) {
            cache->lens[at].uses--;
            drop_at(&cache->main, i);
            append(&cache->main, at);
        } else {
            *lens = at;
            return true;
        }
    }
    return false;
}

static bool s3fifo(struct slow_cache *cache, const bool *stays, uint32_t *lens)
{
    bool small_first = cache->queue.n >= small_target(cache), from_small = small_first;
    bool found = small_first && leave_small(cache, stays, lens);
    if (!found) {
        from_small = false;
        found = leave_main(cache, stays, lens);
    }
    if (!found && !small_first) {
        from_small = found = leave_small(cache, stays, lens);
        found = found || leave_main(cache, stays, lens);
    }
    if (found && from_small) {
        append(&cache->ghost, *lens);
        drop(&cache->queue, *lens);
        trim_ghosts(cache);
    }
    return found;
}

static bool victim_of(struct slow_cache *cache, const bool *stays, uint32_t *lens)
{
    switch (cache->kind) {
    case LENSD_CACHE_SIEVE:
        return sieve(cache, stays, lens);
    case LENSD_CACHE_S3FIFO:
        return s3fifo(cache, stays, lens);
    default:
        return least(cache, stays, lens);
    }
}

bool slow_victim(struct slow_cache *cache, const bool *protect, uint32_t *lens)
{
    bool stays[SLOW_LENSES], in_quota[SLOW_LENSES], any_over = false;
    for (uint32_t i = 0; i < SLOW_LENSES; i++) {
        stays[i] = !cache->lens[i].held || protect[i];
        in_quota[i] = stays[i] || !over_quota(cache, cache->layer[i]);
    }
    for (uint32_t layer = 0; layer < LENSD_CACHE_LAYERS; layer++)
        any_over = any_over || over_quota(cache, layer);
    bool found = (any_over && victim_of(cache, in_quota, lens)) || victim_of(cache, stays, lens);
    if (found)
        take_out(cache, *lens);
    return found;
}
