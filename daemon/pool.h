/* The pool: which lenses of one pack are in which slot, and how the others get there (DESIGN 5).
 *
 * A pool owns one slab, its loader, the host tier and the eviction policy. What rows miss is loaded behind their backs:
 * `run` never waits. Each lens is in one of three states: nowhere (or in host memory), on its way into a slot, or in a
 * slot. Pinned lenses (counted: base layers and pins of every session) are never evicted; what a run just brought in
 * can't leave before the rows that wait for it have scored it, because victims are only chosen right after a run, which
 * scores everything resident that anybody waits for.
 *
 * Threads: create, preload and destroy on any one thread while no engine runs the pool; all else on the engine thread;
 * the counters, `resident` and `failures` may be read from any thread. */
#ifndef LENSD_POOL_H
#define LENSD_POOL_H

#include "daemon/cache/policy.h"
#include "daemon/log.h"
#include "kernels/backend.h"

#define LENSD_POOL_NOTE      160u
#define LENSD_DEVICE_RESERVE (UINT64_C(512) << 20) /* of a card's memory: left to others when slots are counted */

struct lensd_pool;
struct lensd_predictor;

struct lensd_pool_config {
    uint32_t slots;         /* 0 = one for every lens; on a device with memory of its own as many as fit */
    uint64_t device_memory; /* bytes that slots and tables may take; 0 = no limit */
    uint64_t base_layers;   /* with `pins` (a number of lenses): slots that are kept when memory gets short */
    uint32_t pins;
    bool dtype_set; /* false: the pack's own */
    enum lens_dtype dtype;
    enum lens_compute compute;
    uint32_t max_batch_rows;
    enum lensd_cache_kind policy;
    struct lensd_cache_quotas quotas;
    uint64_t host_memory; /* bytes; 0 = no host tier */
    bool prefetch, verify_loads;
    bool preload;                /* whoever opens the pack fills the pool before it is served */
    uint32_t load_threads;       /* 0 counts as 1 */
    const struct lensd_log *log; /* hears of fewer slots than wanted; NULL = nobody does */
};

/* Lenses unless said otherwise. loads = host_hits + cold. */
struct lensd_pool_counters {
    uint64_t loads, load_bytes, evictions;
    uint64_t host_hits, cold; /* loads from host memory; from the file */
    uint64_t loads_waited;    /* loads that rows waited for */
    uint64_t loads_behind;    /* loads of what rows went without */
    uint64_t prefetch_issued; /* loads ahead of any row's wish */
    uint64_t prefetch_used;   /* of those: then scored by a row while in its slot */
    uint64_t prefetch_wasted; /* of those: evicted (or failed) unused */
    uint64_t prefetch_late;   /* of those: wanted by a row while still on their way (they count as used, too) */
};

/* `backend` and `pack` are lent and must outlive the pool. On a device with memory of its own the pool may get fewer
 * slots, and a slab for fewer rows, than asked for (pool_slab.c says how): lensd_pool_note tells, and the slab's
 * config. -ENOSPC or -ENOMEM with a sentence when not even that fits, -EINVAL when dtype and compute don't go together.
 */
int lensd_pool_create(struct lens_backend *backend, const struct lens_pack *pack,
                      const struct lensd_pool_config *config, struct lensd_pool **out, struct lens_error *err);
void lensd_pool_destroy(struct lensd_pool *pool); /* NULL is fine */

/* Fills the slots in pack order (broad layers first) as far as they go, then host memory with the next lenses. */
int lensd_pool_preload(struct lensd_pool *pool, lens_progress_fn progress, void *arg, struct lens_error *err);
/* The same for a pool that an engine runs: what doesn't take another lens's place is loaded behind, slots
 * before host memory. Returns how many lenses come into slots. */
uint32_t lensd_pool_fill(struct lensd_pool *pool);

/* Counts a pin on each lens; the lens is loaded by the first step that wants it. -ENOSPC, with nothing pinned, when
 * all pins together would leave fewer than one free slot beside them (or none are needed because all lenses fit). */
int lensd_pool_pin(struct lensd_pool *pool, const uint32_t *lenses, uint32_t n, struct lens_error *err);
void lensd_pool_unpin(struct lensd_pool *pool, const uint32_t *lenses, uint32_t n);

/* Takes in what was loaded, runs the jobs of `batch` as far as they go, and has loaded what they miss. LENS_RUN_DONE,
 * LENS_RUN_MISSES (call again when `ready`, when a job is to give up, or with new jobs), or a negative errno: all jobs
 * are lost. The caller sets jobs, n_jobs; the other fields are the pool's. */
int lensd_pool_run(struct lensd_pool *pool, struct lens_batch *batch, struct lens_error *err);

/* One finished row of a sequence (a number unique over all sessions; `ends`: its last): tells the policy, and with
 * cache.prefetch learns from it and loads ahead. Right after the run that answered it. `load_threshold` is raw. */
void lensd_pool_note_row(struct lensd_pool *pool, uint64_t sequence, const struct lens_row_out *row,
                         float load_threshold, bool ends);

/* Foresight while the pool serves. A predictor for it, that nobody uses yet (any thread); the one it uses from now on
 * (NULL = none), whose predecessor is the caller's (engine thread); whether it has one (whoever exchanges them). */
int lensd_pool_make_predictor(const struct lensd_pool *pool, struct lensd_predictor **out, struct lens_error *err);
struct lensd_predictor *lensd_pool_exchange_predictor(struct lensd_pool *pool, struct lensd_predictor *predictor);
bool lensd_pool_foresees(const struct lensd_pool *pool);
/* Whether checksums are checked at each load from the file, from the next load on. Any thread. */
void lensd_pool_set_verify_loads(struct lensd_pool *pool, bool verify);

/* Something that a run would take in has been loaded. Cheap. */
bool lensd_pool_ready(const struct lensd_pool *pool);
/* Loads that are not mere prefetches are under way, or wait for a slot. Cheap. */
bool lensd_pool_busy(const struct lensd_pool *pool);
/* Takes in what was loaded and goes on loading what rows went without, when no job is in flight. */
void lensd_pool_idle(struct lensd_pool *pool);
/* Reads one run of lenses that rows wait for on this thread, if no disk has to be waited for; false when there is none.
 */
bool lensd_pool_help(struct lensd_pool *pool);
/* Or leaves what rows wait for to the loader's threads. Cheap when nothing waits. */
void lensd_pool_delegate(struct lensd_pool *pool);
/* For sleeping while loads are under way: see lensd_loader_fd, _arm, _disarm. */
int lensd_pool_fd(const struct lensd_pool *pool);
bool lensd_pool_arm(struct lensd_pool *pool);
void lensd_pool_disarm(struct lensd_pool *pool);

/* Gives slots back to the device: a quarter of them, in whole units of the slab, but never so many that base layers,
 * pins and what one step needs have no room. What the policy lets go leaves first; a lens that stays, and pins always,
 * is loaded into another slot before its own goes; the memory is free when all are out, while rows go on. Called again
 * before that: what still lies there is no longer moved. False: nothing can be given back. */
bool lensd_pool_give_back(struct lensd_pool *pool);
/* Takes slots again that were given back: a quarter of all, and at most `bytes` of them; those that were still leaving
 * stay. They are empty. 0, also when there is nothing to take; -ENOMEM: all is as it was. */
int lensd_pool_take_again(struct lensd_pool *pool, uint64_t bytes, struct lens_error *err);
/* Slots in use, and how many the pool was made with. Any thread. */
uint32_t lensd_pool_slots(const struct lensd_pool *pool);
uint32_t lensd_pool_slots_made(const struct lensd_pool *pool);

const struct lens_slab *lensd_pool_slab(const struct lensd_pool *pool);
struct lens_backend *lensd_pool_backend(const struct lensd_pool *pool);
/* Why there are fewer slots, or rows in a batch, than wanted; "" = as many as wanted: when it was
 * made. Never changes. */
const char *lensd_pool_note(const struct lensd_pool *pool);
/* The note, when it tells of a shortage rather than of a setting; else "". */
const char *lensd_pool_shortage(const struct lensd_pool *pool);
uint64_t lensd_pool_slot_bytes(const struct lensd_pool *pool);
uint32_t lensd_pool_resident(const struct lensd_pool *pool);
uint32_t lensd_pool_host_places(const struct lensd_pool *pool);
uint32_t lensd_pool_host_held(const struct lensd_pool *pool);
enum lensd_cache_kind lensd_pool_policy(const struct lensd_pool *pool);
uint64_t lensd_pool_loads(const struct lensd_pool *pool); /* of the counters, this one alone: for each row */
void lensd_pool_get_counters(const struct lensd_pool *pool, struct lensd_pool_counters *out);
/* Adds the pool's counters to a sum. */
void lensd_pool_counters_add(struct lensd_pool_counters *sum, const struct lensd_pool *pool);
uint64_t lensd_pool_failed(const struct lensd_pool *pool); /* lenses that could not be loaded, so far. Cheap */
/* How many lenses could not be loaded so far, and why the last one couldn't. Any thread; takes a short lock. */
uint64_t lensd_pool_failures(const struct lensd_pool *pool, struct lens_error *last);

#endif
