/* A pack that is being served: the open file, its pool and its generation. Immutable but for its pool; a pool whose
 * device is lost is exchanged for one on another backend (lensd_engine_exchange).
 *
 * Threads: open and close may take seconds and are meant for a worker thread; the rest is read only. */
#ifndef LENSD_SERVED_PACK_H
#define LENSD_SERVED_PACK_H

#include "daemon/pool.h"

#include <stdatomic.h>

struct lensd_batch;
struct lensd_detections;
struct lensd_pins;
struct lensd_readings;
struct lensd_tracing;

struct lensd_served_pack {
    char name[64]; /* as clients ask for it: the file's stem unless named otherwise */
    struct lens_pack *pack;
    struct lensd_pool *pool;
    struct lensd_pool_config config; /* what the pool was made by: settings may have changed since */
    atomic_bool lost;                /* the pool's device is: nothing is run or loaded until the pool is exchanged */
    struct lensd_batch *batch;       /* the engine's: what is in flight */
    struct lensd_tracing *tracing;   /* the engine's: where its rows go besides, or NULL (tracing.h) */
    struct lensd_detections *detections; /* what its rows detect, counted; NULL = they aren't */
    struct lensd_readings *readings;     /* what its lenses said last; NULL = nobody notes it */
    struct lensd_pins *pins; /* pinned at run time, NULL = nothing; the loop's, but lensd_engine_repin changes it */
    int32_t tap;             /* the transformer block that meta.tap_layer names; -1 = it names none */
    uint32_t generation;     /* counts loads and swaps over the daemon's life, from 1 */
    uint32_t sessions;       /* attached now; the loop thread's */
    bool breaker_told;       /* the log says that its breaker is open; the loop thread's */
};

/* Opens, verifies (checksums too when `verify`), creates the pool and (config->preload) fills it. `progress` (or NULL)
 * hears of the two long parts, "lenses verified" and "lenses loaded". Nothing is left on error. */
int lensd_served_pack_open(const char *path, const char *name, struct lens_backend *backend,
                           const struct lensd_pool_config *config, uint32_t generation, bool verify,
                           lens_progress_fn progress, void *arg, struct lensd_served_pack **out,
                           struct lens_error *err);
void lensd_served_pack_close(struct lensd_served_pack *served); /* NULL is fine */

/* Any thread. */
static inline bool lensd_served_pack_is_lost(const struct lensd_served_pack *served)
{
    return atomic_load_explicit(&served->lost, memory_order_acquire);
}
static inline void lensd_served_pack_set_lost(struct lensd_served_pack *served, bool lost)
{
    atomic_store_explicit(&served->lost, lost, memory_order_release);
}

#endif
