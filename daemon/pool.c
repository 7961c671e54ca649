/* See pool.h. Slots, pins and the miss path; eviction is by least recent use (slab->last_used: kernels set it when they
 * score, we when we load). */
#include "daemon/pool.h"

#include "daemon/sys.h"
#include "kernels/topk.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#define STAGING_BYTES (8u << 20) /* read at most so much at once, but always one lens */

struct lensd_pool {
    const struct lens_pack *pack;
    struct lens_backend *backend;
    struct lens_slab *slab;
    uint32_t slots;
    uint32_t *pins;  /* [N] how many sessions pin the lens */
    uint32_t pinned; /* lenses with pins > 0 */
    uint32_t staging_lenses;
    unsigned char *staging, *staging_sign;
    struct lens_slot_write *writes;  /* [staging_lenses] */
    struct lens_topk_entry *victims; /* [slots]: slots to fill next, best first */
    uint32_t n_victims, next_victim;
    uint64_t *behind; /* [N/64] bitmap: lenses that rows went without */
    uint32_t n_behind;
    uint32_t *wave; /* [slots] lens ids of a catch-up */
    atomic_uint resident;
    _Atomic uint64_t loads, load_bytes, evictions;
};

static bool allocate(struct lensd_pool *pool)
{
    const struct lens_pack *pack = pool->pack;
    uint64_t lens_bytes = pack->w1_lens_bytes + pack->w1_sign_bytes;
    pool->staging_lenses = (uint32_t)(STAGING_BYTES / lens_bytes);
    pool->staging_lenses = pool->staging_lenses < 1 ? 1 : pool->staging_lenses;
    if (pool->staging_lenses > pool->slots)
        pool->staging_lenses = pool->slots;
    pool->pins = lensd_calloc(pack->lenses, sizeof *pool->pins);
    pool->staging = lensd_aligned(4096, pool->staging_lenses * pack->w1_lens_bytes);
    pool->staging_sign = lensd_aligned(64, pool->staging_lenses * pack->w1_sign_bytes + 64);
    pool->writes = lensd_calloc(pool->staging_lenses, sizeof *pool->writes);
    pool->victims = lensd_calloc(pool->slots, sizeof *pool->victims);
    pool->behind = lensd_calloc((pack->lenses + 63) / 64, sizeof *pool->behind);
    pool->wave = lensd_calloc(pool->slots, sizeof *pool->wave);
    return pool->pins && pool->staging && pool->staging_sign && pool->writes && pool->victims && pool->behind &&
           pool->wave;
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
    pool->slots = config->slots == 0 || config->slots > pack->lenses ? pack->lenses : config->slots;
    if (!allocate(pool)) {
        lens_error_set(err, -ENOMEM, "no memory for the tables of a pool of %u slots", pool->slots);
        lensd_pool_destroy(pool);
        return -ENOMEM;
    }
    struct lens_model model;
    lens_model_of_pack(pack, &model);
    struct lens_slab_config slab = {.slots = pool->slots,
                                    .dtype = config->dtype_set ? config->dtype : pack->w1_dtype,
                                    .compute = config->compute,
                                    .max_batch_rows = config->max_batch_rows};
    if (slab.dtype == LENS_LOG8) /* log8 is a way to store; slots hold what it decodes to */
        slab.dtype = LENS_F32;
    int r = backend->ops->slab_create(backend, &model, &slab, &pool->slab, err);
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
    if (pool->slab != NULL)
        pool->backend->ops->slab_destroy(pool->slab);
    lensd_free(pool->pins);
    lensd_free(pool->staging);
    lensd_free(pool->staging_sign);
    lensd_free(pool->writes);
    lensd_free(pool->victims);
    lensd_free(pool->behind);
    lensd_free(pool->wave);
    lensd_free(pool);
}

/* ---- loading ---------------------------------------------------------------------------------------------------- */

struct completion {
    atomic_int done; /* 0 = not yet, else 1 */
    int status;
};

static void on_written(void *arg, int status)
{
    struct completion *completion = arg;
    completion->status = status;
    atomic_store_explicit(&completion->done, 1, memory_order_release);
}

static int write_slots(struct lensd_pool *pool, uint32_t n, struct lens_error *err)
{
    struct completion completion = {0};
    int r = pool->backend->ops->slot_write(pool->slab, pool->writes, n, on_written, &completion, err);
    if (r != 0)
        return r;
    while (atomic_load_explicit(&completion.done, memory_order_acquire) == 0)
        __builtin_ia32_pause();
    if (completion.status != 0)
        return lens_error_set(err, completion.status, "writing %u lenses into slots failed", n);
    return 0;
}

/* Ranks the slots that may be filled: empty ones first, then least recently used; pinned lenses never. */
static void rank_victims(struct lensd_pool *pool, uint32_t wanted)
{
    struct lens_topk top = {pool->victims, wanted < pool->slots ? wanted : pool->slots, 0};
    for (uint32_t slot = 0; slot < pool->slots; slot++) {
        int32_t lens = pool->slab->lens_in[slot];
        if (lens < 0)
            lens_topk_push(&top, 1.0, slot);
        else if (pool->pins[lens] == 0)
            lens_topk_push(&top, -(double)pool->slab->last_used[lens], slot);
    }
    lens_topk_sort(&top);
    pool->n_victims = top.n;
    pool->next_victim = 0;
}

/* Prepares the write of the i-th staged lens into the next victim's slot. */
static void plan_write(struct lensd_pool *pool, uint32_t i, uint32_t lens)
{
    const struct lens_pack *pack = pool->pack;
    size_t row = (size_t)lens * pack->h1;
    uint32_t slot = pool->victims[pool->next_victim++].id;
    if (pool->slab->lens_in[slot] >= 0)
        atomic_fetch_add_explicit(&pool->evictions, 1, memory_order_relaxed);
    else
        atomic_fetch_add_explicit(&pool->resident, 1, memory_order_relaxed);
    pool->writes[i] = (struct lens_slot_write){
        .slot = slot,
        .lens = lens,
        .stored = pack->w1_dtype,
        .w1 = pool->staging + i * pack->w1_lens_bytes,
        .sign = pack->w1_dtype == LENS_LOG8 ? pool->staging_sign + i * pack->w1_sign_bytes : NULL,
        .scale = pack->w1_scale ? pack->w1_scale + row : NULL,
        .log_min = pack->w1_log_min ? pack->w1_log_min + row : NULL,
        .log_max = pack->w1_log_max ? pack->w1_log_max + row : NULL,
    };
}

static void recount_resident(struct lensd_pool *pool)
{
    uint32_t resident = 0;
    for (uint32_t slot = 0; slot < pool->slots; slot++)
        resident += pool->slab->lens_in[slot] >= 0;
    atomic_store_explicit(&pool->resident, resident, memory_order_relaxed);
}

/* Brings the first lenses of the ascending list `lenses` into slots: as many as there are victims ranked, but no more
 * than one read's after `until_ns` (0 = never). Neighbours are read at once. Returns how many came in, or an error. */
static int load_wave(struct lensd_pool *pool, const uint32_t *lenses, uint32_t n, uint64_t until_ns,
                     struct lens_error *err)
{
    const struct lens_pack *pack = pool->pack;
    rank_victims(pool, n);
    uint32_t count = n < pool->n_victims ? n : pool->n_victims;
    uint32_t at = 0;
    while (at < count && (at == 0 || until_ns == 0 || lensd_now_ns() < until_ns)) {
        uint32_t run = 1;
        while (run < pool->staging_lenses && at + run < count && lenses[at + run] == lenses[at] + run)
            run++;
        int r = lens_pack_read_w1(pack, lenses[at], run, pool->staging, pool->staging_sign, err);
        for (uint32_t i = 0; r == 0 && i < run; i++)
            plan_write(pool, i, lenses[at + i]);
        if (r == 0)
            r = write_slots(pool, run, err);
        if (r != 0) {
            recount_resident(pool);
            return r;
        }
        for (uint32_t i = 0; i < run; i++) /* wanted now: not the next wave's victims before they were of any use */
            pool->slab->last_used[lenses[at + i]] = pool->slab->clock;
        at += run;
    }
    atomic_fetch_add_explicit(&pool->loads, at, memory_order_relaxed);
    atomic_fetch_add_explicit(&pool->load_bytes, at * (pack->w1_lens_bytes + pack->w1_sign_bytes),
                              memory_order_relaxed);
    return (int)at;
}

int lensd_pool_preload(struct lensd_pool *pool, lens_progress_fn progress, void *arg, struct lens_error *err)
{
    for (uint32_t first = 0; first < pool->slots;) {
        uint32_t n = pool->slots - first < pool->staging_lenses ? pool->slots - first : pool->staging_lenses;
        for (uint32_t i = 0; i < n; i++)
            pool->wave[i] = first + i;
        int r = load_wave(pool, pool->wave, n, 0, err);
        if (r < 0)
            return r;
        first += n;
        if (progress != NULL)
            progress(arg, "lenses", first, pool->slots);
    }
    return 0;
}

/* ---- pins ------------------------------------------------------------------------------------------------------- */

void lensd_pool_unpin(struct lensd_pool *pool, const uint32_t *lenses, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        pool->pinned -= --pool->pins[lenses[i]] == 0;
}

int lensd_pool_pin(struct lensd_pool *pool, const uint32_t *lenses, uint32_t n, struct lens_error *err)
{
    for (uint32_t i = 0; i < n; i++)
        pool->pinned += pool->pins[lenses[i]]++ == 0;
    if (pool->slots == pool->pack->lenses || pool->pinned < pool->slots)
        return 0;
    uint32_t needed = pool->pinned;
    lensd_pool_unpin(pool, lenses, n);
    return lens_error_set(err, -ENOSPC,
                          "the base lenses and pins of all sessions would need %u slots and one more to work with; "
                          "the pool has %u: attach with fewer base layers or raise pool.slots",
                          needed, pool->slots);
}

/* ---- running ---------------------------------------------------------------------------------------------------- */

static void remember_behind(struct lensd_pool *pool, const struct lens_batch *batch)
{
    for (uint32_t i = 0; i < batch->n_misses; i++) {
        uint64_t *word = &pool->behind[batch->misses[i] / 64];
        uint64_t bit = UINT64_C(1) << (batch->misses[i] % 64);
        pool->n_behind += (*word & bit) == 0;
        *word |= bit;
    }
}

/* Marks the jobs that won't wait (any longer); true when run must look at the misses again before loading. */
static bool give_up_where_due(struct lens_batch *batch, const uint64_t *deadlines_ns)
{
    bool again = false;
    uint64_t now = lensd_now_ns();
    for (uint32_t j = 0; j < batch->n_jobs; j++) {
        struct lens_job *job = &batch->jobs[j];
        enum lens_miss miss = job->options->miss;
        bool late = miss == LENS_MISS_DEADLINE && deadlines_ns[j] != 0 && now >= deadlines_ns[j];
        if (miss != LENS_MISS_SKIP && !late)
            continue;
        again = again || !job->give_up || batch->misses_are_new;
        job->give_up = true;
    }
    return again;
}

/* The first deadline that somebody still waits for; 0 = none. */
static uint64_t next_deadline(const struct lens_batch *batch, const uint64_t *deadlines_ns)
{
    uint64_t first = 0;
    for (uint32_t j = 0; j < batch->n_jobs; j++) {
        const struct lens_job *job = &batch->jobs[j];
        bool waits = job->options->miss == LENS_MISS_DEADLINE && !job->give_up && deadlines_ns[j] != 0;
        if (waits && (first == 0 || deadlines_ns[j] < first))
            first = deadlines_ns[j];
    }
    return first;
}

int lensd_pool_run(struct lensd_pool *pool, struct lens_batch *batch, const uint64_t *deadlines_ns, uint64_t *load_ns,
                   uint32_t *loaded, struct lens_error *err)
{
    *load_ns = 0;
    *loaded = 0;
    for (;;) {
        int r = pool->backend->ops->run(pool->slab, batch, err);
        if (r != LENS_RUN_MISSES)
            return r;
        if (give_up_where_due(batch, deadlines_ns)) {
            remember_behind(pool, batch);
            continue;
        }
        uint64_t begin = lensd_now_ns();
        r = load_wave(pool, batch->misses, batch->n_misses, next_deadline(batch, deadlines_ns), err);
        *load_ns += lensd_now_ns() - begin;
        if (r < 0)
            return r;
        if (r == 0)
            return lens_error_set(err, -ENOSPC, "every slot is pinned; %u lenses can't be loaded", batch->n_misses);
        *loaded += (uint32_t)r;
    }
}

uint32_t lensd_pool_catch_up(struct lensd_pool *pool)
{
    uint32_t n = 0;
    uint32_t most = pool->staging_lenses;
    for (uint32_t word = 0; pool->n_behind > 0 && word < (pool->pack->lenses + 63) / 64; word++) {
        for (uint64_t bits = pool->behind[word]; bits != 0 && n < most; bits &= bits - 1) {
            uint32_t lens = word * 64 + (uint32_t)__builtin_ctzll(bits);
            pool->behind[word] &= ~(UINT64_C(1) << (lens % 64));
            pool->n_behind--;
            if (pool->slab->slot_of[lens] < 0)
                pool->wave[n++] = lens;
        }
    }
    if (n > 0)
        (void)load_wave(pool, pool->wave, n, 0, NULL); /* nobody waits for these; a real miss will say what is wrong */
    return pool->n_behind;
}

const struct lens_slab *lensd_pool_slab(const struct lensd_pool *pool)
{
    return pool->slab;
}

uint32_t lensd_pool_resident(const struct lensd_pool *pool)
{
    return atomic_load_explicit(&pool->resident, memory_order_relaxed);
}

void lensd_pool_get_counters(const struct lensd_pool *pool, struct lensd_pool_counters *out)
{
    out->loads = atomic_load_explicit(&pool->loads, memory_order_relaxed);
    out->load_bytes = atomic_load_explicit(&pool->load_bytes, memory_order_relaxed);
    out->evictions = atomic_load_explicit(&pool->evictions, memory_order_relaxed);
}
