/* See pool.h: creation, pins, running. The slab and its size are pool_slab.c's (when it is made) and pool_resize.c's
 * (later), loads are pool_load.c's, filling everything at the start pool_preload.c's. */
#include "daemon/pool_private.h"

#include "daemon/sys.h"

#include <errno.h>
#include <string.h>

/* ---- creation --------------------------------------------------------------------------------------------------- */

static bool allocate(struct lensd_pool *pool)
{
    uint32_t lenses = pool->pack->lenses;
    pool->pins = lensd_calloc(lenses, sizeof *pool->pins);
    pool->on_way = lensd_calloc(lenses, sizeof *pool->on_way);
    pool->notes = lensd_calloc(lenses, sizeof *pool->notes);
    pool->empty = lensd_calloc(pool->slots, sizeof *pool->empty);
    pool->behind = lensd_calloc((lenses + 63) / 64, sizeof *pool->behind);
    pool->lost = lensd_calloc(pool->slots, sizeof *pool->lost);
    pool->list = lensd_calloc(lenses, sizeof *pool->list);
    pool->taken = lensd_calloc(pool->slots, sizeof *pool->taken);
    pool->gone = lensd_calloc(pool->slots, sizeof *pool->gone);
    pool->used_in = lensd_calloc(lenses, sizeof *pool->used_in);
    return pool->pins && pool->on_way && pool->notes && pool->empty && pool->behind && pool->lost && pool->list &&
           pool->taken && pool->gone && pool->used_in;
}

static int create_policy(struct lensd_pool *pool, const struct lensd_pool_config *config, struct lens_error *err)
{
    struct lensd_cache_config cache = {.kind = config->policy,
                                       .lenses = pool->pack->lenses,
                                       .capacity = pool->slots,
                                       .layer = pool->pack->layer,
                                       .quotas = &config->quotas};
    pool->policy_kind = config->policy;
    return lensd_cache_policy_create(&cache, &pool->policy, err);
}

int lensd_pool_make_predictor(const struct lensd_pool *pool, struct lensd_predictor **out, struct lens_error *err)
{
    struct lensd_predictor_config config;
    lensd_predictor_default(&config);
    config.lenses = pool->pack->lenses;
    config.child_offsets = pool->pack->child_offsets;
    config.child_ids = pool->pack->child_ids;
    return lensd_predictor_create(&config, out, err);
}

struct lensd_predictor *lensd_pool_exchange_predictor(struct lensd_pool *pool, struct lensd_predictor *predictor)
{
    struct lensd_predictor *old = pool->predictor;
    pool->predictor = predictor;
    return old;
}

bool lensd_pool_foresees(const struct lensd_pool *pool)
{
    return pool->predictor != NULL;
}

void lensd_pool_set_verify_loads(struct lensd_pool *pool, bool verify)
{
    lensd_loader_set_verify(pool->loader, verify);
}

static int create_parts(struct lensd_pool *pool, const struct lensd_pool_config *config, struct lens_error *err)
{
    int r = pool_make_slab(pool, config, err);
    if (r != 0)
        return r;
    if (!allocate(pool))
        return lens_error_set(err, -ENOMEM, "no memory for the tables of a pool of %u slots", pool->slots);
    for (uint32_t slot = 0; slot < pool->slots; slot++)
        pool->empty[slot] = pool->slots - 1 - slot;
    pool->n_empty = pool->slots;
    r = create_policy(pool, config, err);
    if (r == 0)
        r = lensd_host_tier_create(pool->pack, pool->backend, config->host_memory, &pool->host, err);
    if (r == 0 && config->prefetch)
        r = lensd_pool_make_predictor(pool, &pool->predictor, err);
    if (r != 0)
        return r;
    struct lensd_loader_config loader = {.threads = config->load_threads > 0 ? config->load_threads : 1,
                                         .capacity = pool->slots + lensd_host_tier_places(pool->host),
                                         .verify = config->verify_loads,
                                         .pack = pool->pack,
                                         .slab = pool->slab};
    return lensd_loader_create(&loader, &pool->loader, err);
}

int lensd_pool_create(struct lens_backend *backend, const struct lens_pack *pack,
                      const struct lensd_pool_config *config, struct lensd_pool **out, struct lens_error *err)
{
    *out = NULL;
    struct lensd_pool *pool = lensd_calloc(1, sizeof *pool);
    if (pool == NULL)
        return lens_error_set(err, -ENOMEM, "no memory for a pool");
    pool->pack = pack;
    pool->backend = backend;
    pool->run_length = lensd_loader_run_length(pack);
    pool->run = 2; /* used_in = 0 is long ago */
    pool->host_next = pack->lenses;
    int r = create_parts(pool, config, err);
    if (r != 0) {
        lensd_pool_destroy(pool);
        return r;
    }
    *out = pool;
    return 0;
}

void lensd_pool_destroy(struct lensd_pool *pool)
{
    if (pool == NULL)
        return;
    lensd_loader_destroy(pool->loader); /* first: its threads write into the rest */
    if (pool->slab != NULL)
        pool->backend->ops->slab_destroy(pool->slab);
    lensd_host_tier_destroy(pool->host);
    lensd_cache_policy_destroy(pool->policy);
    lensd_predictor_destroy(pool->predictor);
    lensd_free(pool->pins);
    lensd_free(pool->on_way);
    lensd_free(pool->notes);
    lensd_free(pool->empty);
    lensd_free(pool->behind);
    lensd_free(pool->lost);
    lensd_free(pool->list);
    lensd_free(pool->taken);
    lensd_free(pool->gone);
    lensd_free(pool->used_in);
    lensd_free(pool);
}

/* ---- pins ------------------------------------------------------------------------------------------------------- */

/* Pinned lenses are none of the policy's business. */
static void pin_one(struct lensd_pool *pool, uint32_t lens)
{
    if (pool->pins[lens]++ > 0)
        return;
    pool->pinned++;
    lensd_cache_policy_remove(pool->policy, lens);
}

static void unpin_one(struct lensd_pool *pool, uint32_t lens)
{
    if (--pool->pins[lens] > 0)
        return;
    pool->pinned--;
    if (pool->slab->slot_of[lens] >= 0)
        lensd_cache_policy_insert(pool->policy, lens, true);
}

void lensd_pool_unpin(struct lensd_pool *pool, const uint32_t *lenses, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        unpin_one(pool, lenses[i]);
    lensd_cache_policy_resize(pool->policy, pool->slots - pool->pinned);
}

int lensd_pool_pin(struct lensd_pool *pool, const uint32_t *lenses, uint32_t n, struct lens_error *err)
{
    for (uint32_t i = 0; i < n; i++)
        pin_one(pool, lenses[i]);
    uint32_t needed = pool->pinned;
    if (pool->slots != pool->pack->lenses && needed >= pool->slots) {
        for (uint32_t i = 0; i < n; i++)
            unpin_one(pool, lenses[i]);
        return lens_error_set(err, -ENOSPC,
                              "the base lenses and pins of all sessions would need %u slots and one more to work with; "
                              "the pool has %u: attach with fewer base layers or raise pool.slots",
                              needed, pool->slots);
    }
    lensd_cache_policy_resize(pool->policy, pool->slots - pool->pinned);
    return 0;
}

/* ---- running ---------------------------------------------------------------------------------------------------- */

/* The engine's thread may decode lenses itself. Not for a device with memory of its own: there a write into a slot
 * waits for a transfer, and rows that come meanwhile would wait with it. */
static bool may_help(const struct lensd_pool *pool)
{
    return !pool_has_own_memory(pool);
}

/* One job, and one that will wait: this thread reads the first run itself, sooner than another wakes up. */
static bool alone(const struct lensd_pool *pool, const struct lens_batch *batch)
{
    return may_help(pool) && batch->n_jobs == 1 && batch->jobs[0]->options->miss == LENS_MISS_WAIT;
}

/* Where slots are few, lenses that got none last time come first: no row waits for ever because others keep missing
 * lenses that come before its own. */
static void request_misses(struct lensd_pool *pool, const struct lens_batch *batch)
{
    const uint32_t *misses = batch->misses;
    uint32_t n = batch->n_misses, first = 0;
    bool wake = !alone(pool, batch);
    while (first < n && misses[first] < pool->turned_away)
        first++;
    uint32_t done = pool_request(pool, misses + first, n - first, LENSD_LOAD_DEMAND, wake);
    if (done == n - first)
        done += pool_request(pool, misses, first, LENSD_LOAD_DEMAND, wake || first < n);
    pool->turned_away = done < n ? misses[(first + done) % n] : 0;
}

int lensd_pool_run(struct lensd_pool *pool, struct lens_batch *batch, struct lens_error *err)
{
    pool_settle(pool);
    batch->lost = pool->lost;
    batch->n_lost = pool->n_lost;
    pool->run++;
    int r = pool->backend->ops->run(pool->slab, batch, err);
    pool->n_lost = 0;
    if (r < 0)
        return r;
    pool_note_uses(pool, batch->used, batch->n_used);
    if (batch->n_misses > 0)
        request_misses(pool, batch);
    pool_remember_behind(pool, batch->misses + batch->n_misses, batch->n_left);
    pool_go_on_leaving(pool);
    pool_request_behind(pool);
    return r;
}

void lensd_pool_idle(struct lensd_pool *pool)
{
    pool_settle(pool);
    pool->n_lost = 0; /* nobody waits for those */
    pool_go_on_leaving(pool);
    pool_request_behind(pool);
}

bool lensd_pool_ready(const struct lensd_pool *pool)
{
    return lensd_loader_ready(pool->loader);
}

bool lensd_pool_busy(const struct lensd_pool *pool)
{
    return pool->host_next < pool->pack->lenses || atomic_load_explicit(&pool->awaited, memory_order_relaxed) > 0 ||
           atomic_load_explicit(&pool->n_behind, memory_order_relaxed) > 0;
}

bool lensd_pool_help(struct lensd_pool *pool)
{
    return may_help(pool) && lensd_loader_help(pool->loader);
}

void lensd_pool_delegate(struct lensd_pool *pool)
{
    lensd_loader_wake(pool->loader);
}

int lensd_pool_fd(const struct lensd_pool *pool)
{
    return lensd_loader_fd(pool->loader);
}

bool lensd_pool_arm(struct lensd_pool *pool)
{
    return lensd_loader_arm(pool->loader);
}

void lensd_pool_disarm(struct lensd_pool *pool)
{
    lensd_loader_disarm(pool->loader);
}

/* ---- figures ---------------------------------------------------------------------------------------------------- */

const struct lens_slab *lensd_pool_slab(const struct lensd_pool *pool)
{
    return pool->slab;
}

const char *lensd_pool_note(const struct lensd_pool *pool)
{
    return pool->note;
}

const char *lensd_pool_shortage(const struct lensd_pool *pool)
{
    return pool->was_short ? pool->note : "";
}

struct lens_backend *lensd_pool_backend(const struct lensd_pool *pool)
{
    return pool->backend;
}

uint64_t lensd_pool_slot_bytes(const struct lensd_pool *pool)
{
    return pool->backend->ops->slot_bytes(pool->slab);
}

uint32_t lensd_pool_resident(const struct lensd_pool *pool)
{
    return atomic_load_explicit(&pool->resident, memory_order_relaxed);
}

uint32_t lensd_pool_host_places(const struct lensd_pool *pool)
{
    return lensd_host_tier_places(pool->host);
}

uint32_t lensd_pool_host_held(const struct lensd_pool *pool)
{
    return lensd_host_tier_held(pool->host);
}

enum lensd_cache_kind lensd_pool_policy(const struct lensd_pool *pool)
{
    return pool->policy_kind;
}

uint64_t lensd_pool_loads(const struct lensd_pool *pool)
{
    return atomic_load_explicit(&pool->count.loads, memory_order_relaxed);
}

void lensd_pool_get_counters(const struct lensd_pool *pool, struct lensd_pool_counters *out)
{
#define TAKE(field) out->field = atomic_load_explicit(&pool->count.field, memory_order_relaxed)
    TAKE(loads);
    TAKE(load_bytes);
    TAKE(evictions);
    TAKE(host_hits);
    TAKE(cold);
    TAKE(loads_behind);
    TAKE(loads_waited);
    TAKE(prefetch_issued);
    TAKE(prefetch_used);
    TAKE(prefetch_wasted);
    TAKE(prefetch_late);
#undef TAKE
}

void lensd_pool_counters_add(struct lensd_pool_counters *sum, const struct lensd_pool *pool)
{
    struct lensd_pool_counters own;
    lensd_pool_get_counters(pool, &own);
    sum->loads += own.loads;
    sum->load_bytes += own.load_bytes;
    sum->evictions += own.evictions;
    sum->host_hits += own.host_hits;
    sum->cold += own.cold;
    sum->loads_waited += own.loads_waited;
    sum->loads_behind += own.loads_behind;
    sum->prefetch_issued += own.prefetch_issued;
    sum->prefetch_used += own.prefetch_used;
    sum->prefetch_wasted += own.prefetch_wasted;
    sum->prefetch_late += own.prefetch_late;
}

uint64_t lensd_pool_failed(const struct lensd_pool *pool)
{
    return lensd_loader_failed(pool->loader);
}

uint64_t lensd_pool_failures(const struct lensd_pool *pool, struct lens_error *last)
{
    return lensd_loader_failures(pool->loader, last);
}
