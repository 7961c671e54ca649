/* The pool: which lenses of one pack are in which slot, and how the others get there (DESIGN 5).
 *
 * A pool owns one slab. Misses of a batch come in as one sorted list; the pool picks victims by its policy, reads the
 * stored weights from the pack file in runs of neighbours with pread, and writes them into slots. Pinned lenses
 * (counted: base layers and pins of every session) are never evicted.
 *
 * Threads: create, preload and destroy on any one thread while no engine runs the pool; pin, unpin, load and run on
 * the engine thread; the counters may be read from any thread. */
#ifndef LENSD_POOL_H
#define LENSD_POOL_H

#include "kernels/backend.h"

struct lensd_pool;

struct lensd_pool_config {
    uint32_t slots; /* 0 = one for every lens */
    bool dtype_set; /* false: the pack's own */
    enum lens_dtype dtype;
    enum lens_compute compute;
    uint32_t max_batch_rows;
};

struct lensd_pool_counters {
    uint64_t loads, load_bytes, evictions; /* lenses, stored bytes, lenses */
};

/* `backend` and `pack` are lent and must outlive the pool. -ENOSPC or -ENOMEM with a sentence when the slab doesn't
 * fit, -EINVAL when dtype and compute don't go together. */
int lensd_pool_create(struct lens_backend *backend, const struct lens_pack *pack,
                      const struct lensd_pool_config *config, struct lensd_pool **out, struct lens_error *err);
void lensd_pool_destroy(struct lensd_pool *pool); /* NULL is fine */

/* Fills the slots in pack order (broad layers first) as far as they go. */
int lensd_pool_preload(struct lensd_pool *pool, lens_progress_fn progress, void *arg, struct lens_error *err);

/* Counts a pin on each lens; the lens is loaded by the first step that wants it. -ENOSPC, with nothing pinned, when
 * all pins together would leave fewer than one free slot beside them (or none are needed because all lenses fit). */
int lensd_pool_pin(struct lensd_pool *pool, const uint32_t *lenses, uint32_t n, struct lens_error *err);
void lensd_pool_unpin(struct lensd_pool *pool, const uint32_t *lenses, uint32_t n);

/* Runs a batch to its end: run, load what was missing, run again. Rows whose miss policy is skip, or deadline and
 * deadlines_ns[job] (CLOCK_MONOTONIC, 0 = none) has passed, are answered PARTIAL. *load_ns and *loaded get the time
 * and the number of lenses loaded. */
int lensd_pool_run(struct lensd_pool *pool, struct lens_batch *batch, const uint64_t *deadlines_ns, uint64_t *load_ns,
                   uint32_t *loaded, struct lens_error *err);

/* Loads what rows of earlier batches went without (skip, deadline), one wave at most. Returns how many are left. */
uint32_t lensd_pool_catch_up(struct lensd_pool *pool);

const struct lens_slab *lensd_pool_slab(const struct lensd_pool *pool);
uint32_t lensd_pool_resident(const struct lensd_pool *pool);
void lensd_pool_get_counters(const struct lensd_pool *pool, struct lensd_pool_counters *out);

#endif
