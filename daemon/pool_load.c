/* What goes into which slot: requests to the loader, victims, and what came back. See pool_private.h. */
#include "daemon/pool_private.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

/* Lenses loaded ahead and not used yet may hold this share of the slots. */
#define AHEAD_SHARE 8u
/* Loads under way at once that somebody waits for: more would keep no disk busier, and choosing what leaves for them
 * takes the engine's time all at once. */
#define AWAITED_MOST 256u
/* Suggestions looked at after a row, and loads issued for it at most. */
#define SUGGESTIONS 64u
#define AHEAD_ROW   16u

/* ---- slots ------------------------------------------------------------------------------------------------------ */

/* Foresight leaves alone what this run and the one before used. */
static bool needed_now(const void *arg, uint32_t lens)
{
    const struct lensd_pool *pool = arg;
    return pool->used_in[lens] + 1 >= pool->run || (pool->notes[lens] & POOL_FRESH) != 0;
}

void pool_release_slot(struct lensd_pool *pool, uint32_t slot)
{
    if (slot < pool->slots) {
        pool->empty[pool->n_empty++] = slot;
        return;
    }
    pool->gone[slot] = true;
    pool->leaving--;
}

static void evict(struct lensd_pool *pool, uint32_t lens)
{
    uint32_t slot = (uint32_t)pool->slab->slot_of[lens];
    lens_slab_unmap(pool->slab, lens);
    pool_release_slot(pool, slot);
    atomic_fetch_sub_explicit(&pool->resident, 1, memory_order_relaxed);
    pool_count(&pool->count.evictions, 1);
    if ((pool->notes[lens] & POOL_AHEAD) != 0) {
        pool_count(&pool->count.prefetch_wasted, 1);
        pool->ahead--;
    }
    pool->notes[lens] = 0;
}

static bool find_slot(struct lensd_pool *pool, enum lensd_load_kind kind, uint32_t *slot)
{
    uint32_t victim;
    while (pool->n_empty == 0) { /* a victim's slot may be one that leaves */
        bool ahead = kind == LENSD_LOAD_PREFETCH;
        if (!lensd_cache_policy_victim(pool->policy, ahead ? needed_now : NULL, pool, &victim))
            return false;
        evict(pool, victim);
    }
    *slot = pool->empty[--pool->n_empty];
    return true;
}

/* ---- requests --------------------------------------------------------------------------------------------------- */

/* Somebody waits for (or went without) a lens that is on its way already. */
static void upgrade(struct lensd_pool *pool, uint32_t lens, enum lensd_load_kind kind)
{
    enum lensd_load_kind was = (enum lensd_load_kind)(pool->on_way[lens] - 1);
    if (kind >= was)
        return;
    pool->on_way[lens] = (uint8_t)(1 + kind);
    if (was == LENSD_LOAD_PREFETCH) {
        atomic_fetch_add_explicit(&pool->awaited, 1, memory_order_relaxed);
        pool_count(&pool->count.prefetch_late, 1);
        pool_count(&pool->count.prefetch_used, 1);
        pool->ahead--;
    }
    pool->notes[lens] = kind == LENSD_LOAD_DEMAND ? POOL_FRESH : 0;
    if (kind == LENSD_LOAD_DEMAND)
        lensd_loader_promote(pool->loader, lens);
}

static struct lensd_load plan(struct lensd_pool *pool, uint32_t lens, uint32_t slot, enum lensd_load_kind kind)
{
    struct lensd_load load = {.lens = lens, .slot = slot, .kind = kind};
    load.host = lensd_host_tier_get(pool->host, lens);
    pool_count(load.host != NULL ? &pool->count.host_hits : &pool->count.cold, 1);
    if (load.host == NULL) {
        load.host = pool->preloading ? NULL : lensd_host_tier_reserve(pool->host, lens);
        load.fill_host = load.host != NULL;
        pool_count(&pool->count.load_bytes, pool->pack->w1_lens_bytes + pool->pack->w1_sign_bytes);
    }
    pool->on_way[lens] = (uint8_t)(1 + kind);
    pool_count(&pool->count.loads, 1);
    if (pool->slab->slot_of[lens] >= 0) { /* it only moves */
        atomic_fetch_add_explicit(&pool->awaited, 1, memory_order_relaxed);
        return load;
    }
    pool->notes[lens] = kind == LENSD_LOAD_PREFETCH ? POOL_AHEAD : kind == LENSD_LOAD_DEMAND ? POOL_FRESH : 0;
    if (kind == LENSD_LOAD_BEHIND && !pool->preloading)
        pool_count(&pool->count.loads_behind, 1);
    if (kind == LENSD_LOAD_DEMAND)
        pool_count(&pool->count.loads_waited, 1);
    if (kind == LENSD_LOAD_PREFETCH) {
        pool_count(&pool->count.prefetch_issued, 1);
        pool->ahead++;
    } else {
        atomic_fetch_add_explicit(&pool->awaited, 1, memory_order_relaxed);
    }
    return load;
}

/* A run of neighbours being put together. */
struct gathering {
    uint32_t n, submitted;
    bool wake;
    struct lensd_load loads[LENSD_LOAD_RUN];
};

static void submit(struct lensd_pool *pool, struct gathering *g)
{
    if (g->n == 0)
        return;
    lensd_loader_submit(pool->loader, g->loads, g->n, g->wake || g->submitted > 0);
    g->submitted++;
    g->n = 0;
}

static void gather(struct lensd_pool *pool, struct gathering *g, struct lensd_load load)
{
    const struct lensd_load *last = &g->loads[g->n > 0 ? g->n - 1 : 0];
    bool joins = g->n > 0 && g->n < pool->run_length && load.lens == last->lens + 1 &&
                 (load.host != NULL) == (last->host != NULL);
    if (!joins)
        submit(pool, g);
    g->loads[g->n++] = load;
}

uint32_t pool_request(struct lensd_pool *pool, const uint32_t *lenses, uint32_t n, enum lensd_load_kind kind, bool wake)
{
    struct gathering g = {.wake = wake};
    uint32_t i = 0;
    for (; i < n; i++) {
        uint32_t lens = lenses[i], slot;
        if (pool->slab->slot_of[lens] >= 0)
            continue;
        if (pool->on_way[lens] != 0) {
            upgrade(pool, lens, kind);
            continue;
        }
        if (atomic_load_explicit(&pool->awaited, memory_order_relaxed) >= AWAITED_MOST || !find_slot(pool, kind, &slot))
            break;
        gather(pool, &g, plan(pool, lens, slot, kind));
    }
    submit(pool, &g);
    return i;
}

/* The lens in a slot that leaves. False when nothing can be done for now. */
static bool empty_one(struct lensd_pool *pool, uint32_t lens, struct gathering *g)
{
    uint32_t to;
    if (pool->hurry && pool->pins[lens] == 0) {
        lensd_cache_policy_remove(pool->policy, lens);
        evict(pool, lens);
        return true;
    }
    if (!find_slot(pool, LENSD_LOAD_BEHIND, &to))
        return false;
    if (pool->slab->slot_of[lens] < 0) /* it was the policy's choice itself */
        pool_release_slot(pool, to);
    else
        gather(pool, g, plan(pool, lens, to, LENSD_LOAD_BEHIND));
    return true;
}

void pool_empty_leaving(struct lensd_pool *pool)
{
    struct gathering g = {.wake = true};
    for (uint32_t slot = pool->slots; slot < pool->slab->config.slots && pool->leaving > 0; slot++) {
        int32_t lens = pool->slab->lens_in[slot];
        if (lens < 0 || (pool->on_way[lens] != 0 && (!pool->hurry || pool->pins[lens] > 0)))
            continue;
        if (atomic_load_explicit(&pool->awaited, memory_order_relaxed) >= AWAITED_MOST && !pool->hurry)
            break;
        if (!empty_one(pool, (uint32_t)lens, &g))
            break;
    }
    submit(pool, &g);
}

void pool_remember_behind(struct lensd_pool *pool, const uint32_t *lenses, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        uint64_t *word = &pool->behind[lenses[i] / 64];
        uint64_t bit = UINT64_C(1) << (lenses[i] % 64);
        if ((*word & bit) == 0)
            atomic_fetch_add_explicit(&pool->n_behind, 1, memory_order_relaxed);
        *word |= bit;
    }
}

/* A few runs at a time: what rows wait for mustn't queue up behind it. */
void pool_request_behind(struct lensd_pool *pool)
{
    uint32_t most = 4 * pool->run_length, n = 0;
    if (atomic_load_explicit(&pool->awaited, memory_order_relaxed) >= most)
        return;
    if (atomic_load_explicit(&pool->n_behind, memory_order_relaxed) == 0) {
        pool_fill_host(pool);
        return;
    }
    for (uint32_t word = 0; n < most && word < (pool->pack->lenses + 63) / 64; word++)
        for (uint64_t bits = pool->behind[word]; bits != 0 && n < most; bits &= bits - 1)
            pool->list[n++] = word * 64 + (uint32_t)__builtin_ctzll(bits);
    uint32_t done = pool_request(pool, pool->list, n, LENSD_LOAD_BEHIND, true);
    for (uint32_t i = 0; i < done; i++)
        pool->behind[pool->list[i] / 64] &= ~(UINT64_C(1) << (pool->list[i] % 64));
    atomic_fetch_sub_explicit(&pool->n_behind, done, memory_order_relaxed);
}

/* ---- what came back --------------------------------------------------------------------------------------------- */

static enum lens_source source_of(const struct lensd_load *load)
{
    return load->host != NULL && !load->fill_host ? LENS_FROM_HOST : LENS_FROM_FILE;
}

/* A lens that lies in a slot that leaves was loaded into another; until now it was used where it was. */
static void take_in_moved(struct lensd_pool *pool, const struct lensd_load *load)
{
    uint32_t lens = load->lens, from = (uint32_t)pool->slab->slot_of[lens];
    if (load->status != 0) {
        pool_release_slot(pool, load->slot);
        pool->halted = true;
        return;
    }
    lens_slab_unmap(pool->slab, lens);
    pool_release_slot(pool, from);
    pool_count(&pool->count.evictions, 1);
    lens_slab_map(pool->slab, lens, load->slot, source_of(load));
}

static void take_in(struct lensd_pool *pool, const struct lensd_load *load)
{
    uint32_t lens = load->lens;
    bool awaited = pool->on_way[lens] != 1 + LENSD_LOAD_PREFETCH;
    if (awaited)
        atomic_fetch_sub_explicit(&pool->awaited, 1, memory_order_relaxed);
    pool->on_way[lens] = 0;
    if (load->host != NULL)
        lensd_host_tier_settle(pool->host, lens, load->status == 0 || !load->fill_host);
    if (pool->slab->slot_of[lens] >= 0) {
        take_in_moved(pool, load);
        return;
    }
    if (load->status != 0) {
        if ((pool->notes[lens] & POOL_AHEAD) != 0) {
            pool->ahead--;
            pool_count(&pool->count.prefetch_wasted, 1);
        }
        pool->notes[lens] = 0;
        pool->lost[pool->n_lost++] = lens;
    }
    if (load->slot == LENSD_NO_SLOT) {
        pool->notes[lens] = 0;
        return;
    }
    if (load->status != 0) {
        pool_release_slot(pool, load->slot);
        return;
    }
    lens_slab_map(pool->slab, lens, load->slot, source_of(load));
    atomic_fetch_add_explicit(&pool->resident, 1, memory_order_relaxed);
    if (pool->pins[lens] == 0)
        lensd_cache_policy_insert(pool->policy, lens, awaited);
}

void pool_settle(struct lensd_pool *pool)
{
    while (pool->n_lost < pool->made && lensd_loader_ready(pool->loader)) {
        uint32_t n = lensd_loader_take(pool->loader, pool->taken, pool->made - pool->n_lost);
        for (uint32_t i = 0; i < n; i++)
            take_in(pool, &pool->taken[i]);
    }
}

void pool_note_uses(struct lensd_pool *pool, const uint32_t *lenses, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        uint32_t lens = lenses[i];
        pool->used_in[lens] = pool->run;
        uint8_t notes = pool->notes[lens];
        pool->notes[lens] = 0;
        if ((notes & POOL_AHEAD) != 0) {
            pool_count(&pool->count.prefetch_used, 1);
            pool->ahead--;
        }
        if ((notes & POOL_FRESH) == 0)
            lensd_cache_policy_use(pool->policy, lens);
    }
}

/* ---- foresight -------------------------------------------------------------------------------------------------- */

static int by_id(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

/* The policy hears what rows wanted of the lenses that may leave. */
static void tell_policy(struct lensd_pool *pool, uint64_t sequence, const struct lens_row_out *row, bool ends)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < row->n_wanted; i++)
        if (pool->pins[row->wanted[i]] == 0)
            pool->list[n++] = row->wanted[i];
    lensd_cache_policy_row(pool->policy, sequence, pool->list, n, ends);
}

static void foresee(struct lensd_pool *pool, uint64_t sequence, const struct lens_row_out *row, float load_threshold)
{
    double p = (double)load_threshold;
    struct lensd_predictor_row seen = {.sequence = sequence,
                                       .scored = row->wanted,
                                       .n = row->n_wanted,
                                       .n_always = row->n_always,
                                       .logits = row->logits,
                                       .threshold = p <= 0   ? -INFINITY
                                                    : p >= 1 ? INFINITY
                                                             : (float)log(p / (1 - p))};
    uint32_t suggested[SUGGESTIONS], n = 0;
    uint32_t found = lensd_predictor_row(pool->predictor, &seen, suggested, SUGGESTIONS);
    uint32_t room = pool->slots / AHEAD_SHARE > pool->ahead ? pool->slots / AHEAD_SHARE - pool->ahead : 0;
    uint32_t most = room < AHEAD_ROW ? room : AHEAD_ROW;
    for (uint32_t i = 0; i < found && n < most; i++)
        if (pool->slab->slot_of[suggested[i]] < 0 && pool->on_way[suggested[i]] == 0)
            suggested[n++] = suggested[i];
    qsort(suggested, n, sizeof *suggested, by_id);
    (void)pool_request(pool, suggested, n, LENSD_LOAD_PREFETCH, true);
}

void lensd_pool_note_row(struct lensd_pool *pool, uint64_t sequence, const struct lens_row_out *row,
                         float load_threshold, bool ends)
{
    if (pool->slots == pool->pack->lenses) /* nothing ever leaves */
        return;
    if (pool->policy_kind == LENSD_CACHE_SEQUENCE)
        tell_policy(pool, sequence, row, ends);
    if (pool->predictor != NULL && row->logits != NULL && !ends)
        foresee(pool, sequence, row, load_threshold);
    if (pool->predictor != NULL && ends)
        lensd_predictor_forget(pool->predictor, sequence);
}
