/* Filling slots and host memory: all at once before a pack is served, or behind while it is. */
#include "daemon/pool_private.h"

#include <time.h>

/* Host memory takes the lenses that follow those in the slots. */
static uint32_t request_to_host(struct lensd_pool *pool, uint32_t lens)
{
    struct lensd_load load = {.lens = lens, .slot = LENSD_NO_SLOT, .fill_host = true, .kind = LENSD_LOAD_BEHIND};
    load.host = lensd_host_tier_reserve(pool->host, lens);
    if (load.host == NULL)
        return 0; /* every place is being filled */
    pool->on_way[lens] = 1 + LENSD_LOAD_BEHIND;
    atomic_fetch_add_explicit(&pool->awaited, 1, memory_order_relaxed);
    pool_count(&pool->count.load_bytes, pool->pack->w1_lens_bytes + pool->pack->w1_sign_bytes);
    lensd_loader_submit(pool->loader, &load, 1, true);
    return 1;
}

static uint32_t request_next(struct lensd_pool *pool, uint32_t first, uint32_t total)
{
    if (first >= pool->slots)
        return request_to_host(pool, first);
    uint32_t end = total < pool->slots ? total : pool->slots, n = 0;
    while (first + n < end && n < pool->run_length) {
        pool->list[n] = first + n;
        n++;
    }
    return pool_request(pool, pool->list, n, LENSD_LOAD_BEHIND, true);
}

/* Until something comes back: read ourselves, or wait a little for those who do. */
static void wait_for_loads(struct lensd_pool *pool)
{
    if (!lensd_loader_work(pool->loader) && !lensd_loader_ready(pool->loader))
        nanosleep(&(struct timespec){0, 100000}, NULL);
    pool_settle(pool);
}

int lensd_pool_preload(struct lensd_pool *pool, lens_progress_fn progress, void *arg, struct lens_error *err)
{
    uint32_t slots = pool->slots, host = lensd_host_tier_places(pool->host);
    uint32_t rest = pool->pack->lenses - slots;
    uint32_t total = slots + (host < rest ? host : rest), most = 4 * pool->run_length, next = 0;
    struct lens_error failure;
    pool->n_lost = 0;
    pool->preloading = true;
    while (next < total || !lensd_loader_idle(pool->loader)) {
        while (next < total && atomic_load(&pool->awaited) < most)
            next += request_next(pool, next, total);
        wait_for_loads(pool);
        if (pool->n_lost > 0) {
            lensd_loader_failures(pool->loader, &failure);
            return lens_error_set(err, failure.code, "%s", failure.text);
        }
        if (progress != NULL)
            progress(arg, "lenses", next - atomic_load(&pool->awaited), total);
    }
    pool->preloading = false;
    return 0;
}

uint32_t lensd_pool_fill(struct lensd_pool *pool)
{
    uint32_t n = 0, room = pool->n_empty;
    for (uint32_t lens = 0; lens < pool->pack->lenses && n < room; lens++)
        if (pool->slab->slot_of[lens] < 0 && pool->on_way[lens] == 0)
            pool->list[n++] = lens;
    pool_remember_behind(pool, pool->list, n);
    pool->host_next = 0;
    return n;
}

void pool_fill_host(struct lensd_pool *pool)
{
    uint32_t most = 4 * pool->run_length;
    while (pool->host_next < pool->pack->lenses && atomic_load(&pool->awaited) < most) {
        uint32_t lens = pool->host_next++;
        bool full = lensd_host_tier_held(pool->host) == lensd_host_tier_places(pool->host);
        if (full)
            pool->host_next = pool->pack->lenses;
        else if (pool->slab->slot_of[lens] < 0 && pool->on_way[lens] == 0 && !lensd_host_tier_holds(pool->host, lens))
            (void)request_to_host(pool, lens);
    }
}
