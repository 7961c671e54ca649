/* Inside the pool: pool.c (creation, pins, running), pool_slab.c (how many slots), pool_load.c (what goes where, and
 * what came), pool_preload.c, pool_resize.c (slots that are given back and taken again). */
#ifndef LENSD_POOL_PRIVATE_H
#define LENSD_POOL_PRIVATE_H

#include "daemon/cache/predict.h"
#include "daemon/host_tier.h"
#include "daemon/loader.h"
#include "daemon/pool.h"

#include <stdatomic.h>

/* Of a lens on its way (on_way) or in a slot. */
enum pool_note {
    POOL_FRESH = 1, /* came in because a row waited: its first use is that wish, not a second one */
    POOL_AHEAD = 2  /* came in by foresight and wasn't used yet */
};

struct lensd_pool {
    const struct lens_pack *pack;
    struct lens_backend *backend;
    struct lens_slab *slab;
    struct lensd_loader *loader;
    struct lensd_host_tier *host; /* NULL: none */
    struct lensd_cache_policy *policy;
    enum lensd_cache_kind policy_kind;
    struct lensd_predictor *predictor; /* NULL: cache.prefetch off */
    uint32_t slots;                    /* in use: less than `made` after some were given back; changed atomically */
    uint32_t made;                     /* slots that the slab was made with */
    uint32_t least, work;              /* slots to keep in any case; slots to keep beside pins */
    uint32_t run_length;
    char note[LENSD_POOL_NOTE];
    bool was_short;  /* the note tells of a shortage, not of a setting */
    bool preloading; /* while preloading: host memory is kept for lenses that get no slot */
    uint32_t *pins;  /* [N] how many sessions pin the lens */
    uint32_t pinned; /* lenses with pins > 0 */
    uint8_t *on_way; /* [N] 0, or 1 + enum lensd_load_kind */
    uint8_t *notes;  /* [N] enum pool_note */
    uint32_t *empty; /* slots that hold nothing and wait for nothing */
    uint32_t n_empty;
    /* Each slot of [made] is in `empty`, or holds a lens, or waits for one, or is gone. Those from `slots` on leave:
     * nothing new is loaded there. When all are gone the slab gives their memory back. */
    bool *gone;           /* [made] */
    uint32_t leaving;     /* slots from `slots` on that aren't gone */
    bool hurry;           /* what still lies there is evicted, not moved, unless it is pinned */
    bool halted;          /* a lens couldn't be moved, or the slab not be resized: goes on when it is asked again */
    uint32_t turned_away; /* the first missing lens that got no slot in the last run, 0 = none */
    uint64_t *behind;     /* [N/64] bitmap: lenses that rows went without, or that fill wants */
    uint32_t host_next;   /* filling host memory goes on with this lens; N = it is done */
    uint32_t *lost;       /* [made] loads that failed since the last run */
    uint32_t n_lost;
    uint32_t *list;           /* [N] */
    struct lensd_load *taken; /* [made] */
    uint64_t run;             /* counts runs */
    uint64_t *used_in;        /* [N] the run that used the lens last */
    uint32_t ahead;           /* lenses with POOL_AHEAD, on their way or in slots */
    atomic_uint n_behind;     /* bits set */
    atomic_uint awaited;      /* loads under way that aren't prefetches */
    atomic_uint resident;
    struct {
        _Atomic uint64_t loads, load_bytes, evictions, host_hits, cold, loads_behind, loads_waited;
        _Atomic uint64_t prefetch_issued, prefetch_used, prefetch_wasted, prefetch_late;
    } count;
};

static inline void pool_count(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/* The pool's slots are on a device that has a memory of its own, a transfer away. */
static inline bool pool_has_own_memory(const struct lensd_pool *pool)
{
    return pool->backend->ops->memory_free != NULL;
}

/* Makes the slab of a fresh pool, and sets `slots` and `note` (pool_slab.c). */
int pool_make_slab(struct lensd_pool *pool, const struct lensd_pool_config *config, struct lens_error *err);

/* Requests loads of ascending lenses; those on their way already are only upgraded. Stops at the first lens that no
 * slot can be had for; returns how many lenses were dealt with. `wake`: see lensd_loader_submit. */
uint32_t pool_request(struct lensd_pool *pool, const uint32_t *lenses, uint32_t n, enum lensd_load_kind kind,
                      bool wake);
/* Takes in what was loaded: maps it, or adds it to `lost`. */
void pool_settle(struct lensd_pool *pool);
/* Requests some of what is behind. */
void pool_request_behind(struct lensd_pool *pool);
void pool_remember_behind(struct lensd_pool *pool, const uint32_t *lenses, uint32_t n);
/* Goes on filling host memory, if that was asked for. */
void pool_fill_host(struct lensd_pool *pool);
/* Slots that hold nothing any more: empty, or gone. */
void pool_release_slot(struct lensd_pool *pool, uint32_t slot);
/* Empties slots that leave: some of their lenses are loaded into others first, in place of those that the policy lets
 * go. Right after a run, as all that evicts. */
void pool_empty_leaving(struct lensd_pool *pool);
/* Goes on giving slots back, if any leave (pool_resize.c). Right after a run. */
void pool_go_on_leaving(struct lensd_pool *pool);
/* Tells policy and counters what a run used. */
void pool_note_uses(struct lensd_pool *pool, const uint32_t *lenses, uint32_t n);

#endif
