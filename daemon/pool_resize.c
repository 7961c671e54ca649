/* Slots that are given back to the device while the pool is in use, and taken again: see pool.h, and `gone` in
 * pool_private.h. */
#include "daemon/pool_private.h"

#define SHARE 4u /* of the slots, that go or come at a time */

static uint32_t round_up(uint32_t slots, uint32_t unit)
{
    return slots + (unit - slots % unit) % unit;
}

/* A share of `slots`, in whole units, at least one. */
static uint32_t step(uint32_t slots, uint32_t unit)
{
    return slots / SHARE < unit ? unit : slots / SHARE / unit * unit;
}

/* Engine's thread; others look at it by lensd_pool_slots. */
static void set_slots(struct lensd_pool *pool, uint32_t slots)
{
    __atomic_store_n(&pool->slots, slots, __ATOMIC_RELAXED);
    lensd_cache_policy_resize(pool->policy, slots - pool->pinned);
}

uint32_t lensd_pool_slots(const struct lensd_pool *pool)
{
    return __atomic_load_n(&pool->slots, __ATOMIC_RELAXED);
}

uint32_t lensd_pool_slots_made(const struct lensd_pool *pool)
{
    return pool->made;
}

/* ---- fewer ------------------------------------------------------------------------------------------------------ */

/* The next number of slots, or as many as there are when it can't be less. */
static uint32_t fewer(const struct lensd_pool *pool)
{
    uint32_t unit = pool->slab->slot_unit, least = pool->pinned + pool->work;
    if (least < pool->least)
        least = pool->least;
    uint32_t wanted = pool->slots - (step(pool->slots, unit) < pool->slots ? step(pool->slots, unit) : pool->slots);
    uint32_t target = round_up(wanted > least ? wanted : least, unit);
    return target < pool->slots ? target : pool->slots;
}

/* From now on slots from `slots` on leave; the empty ones among them are gone at once. */
static void lower(struct lensd_pool *pool, uint32_t slots)
{
    uint32_t kept = 0;
    pool->leaving = pool->slots - slots;
    set_slots(pool, slots);
    for (uint32_t i = 0, n = pool->n_empty; i < n; i++) {
        uint32_t slot = pool->empty[i];
        if (slot < slots) {
            pool->empty[kept++] = slot;
            continue;
        }
        pool->gone[slot] = true;
        pool->leaving--;
    }
    pool->n_empty = kept;
}

void pool_go_on_leaving(struct lensd_pool *pool)
{
    struct lens_error err;
    if (pool->slots == pool->slab->config.slots || pool->halted)
        return;
    if (pool->leaving > 0)
        pool_empty_leaving(pool);
    if (pool->leaving == 0) /* a card that was lost says so when it is run */
        pool->halted = pool->backend->ops->slab_resize(pool->slab, pool->slots, &err) != 0;
}

bool lensd_pool_give_back(struct lensd_pool *pool)
{
    if (pool->backend->ops->slab_resize == NULL || pool->slab->slot_unit == 0)
        return false;
    pool->halted = false;
    pool->hurry = pool->slots != pool->slab->config.slots; /* they had time */
    if (!pool->hurry) {
        uint32_t slots = fewer(pool);
        if (slots == pool->slots)
            return false;
        lower(pool, slots);
    }
    pool_go_on_leaving(pool);
    return true;
}

/* ---- more ------------------------------------------------------------------------------------------------------- */

/* Slots up to `slots` are there: those that were gone are empty, the lowest first. */
static void raise_to(struct lensd_pool *pool, uint32_t slots)
{
    for (uint32_t slot = slots; slot-- > pool->slots;) {
        if (!pool->gone[slot])
            continue;
        pool->gone[slot] = false;
        pool->empty[pool->n_empty++] = slot;
    }
    pool->leaving = 0;
    pool->halted = pool->hurry = false;
    set_slots(pool, slots);
}

int lensd_pool_take_again(struct lensd_pool *pool, uint64_t bytes, struct lens_error *err)
{
    uint32_t there = pool->slab->config.slots;
    if (pool->slots < there) {
        raise_to(pool, there);
        return 0;
    }
    if (pool->slots == pool->made)
        return 0;
    uint32_t unit = pool->slab->slot_unit, more = step(pool->made, unit), left = pool->made - pool->slots;
    uint64_t room = bytes / lensd_pool_slot_bytes(pool);
    more = more < left ? more : left;
    if (more > room)
        more = (uint32_t)room / unit * unit;
    if (more == 0)
        return 0;
    int r = pool->backend->ops->slab_resize(pool->slab, pool->slots + more, err);
    if (r == 0)
        raise_to(pool, pool->slab->config.slots);
    return r;
}
