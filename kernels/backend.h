/* What a backend is: the arithmetic behind a pool of lenses (DESIGN 6).
 *
 * A backend is a struct of functions and a context. It owns slabs; a slab is a number of fixed-size slots on
 * one device, serving one model (pack). `run` takes submissions (jobs) through the whole cascade: normalise, score the
 * active set, expand, report, choose the retained set. Lenses that are wanted but not in a slot are reported as misses;
 * rows that want one wait, all others go on. The caller has missing lenses written into slots, maps them, and calls run
 * again with the jobs that are still in flight and any new ones. Backends without a cascade of their own point `run` at
 * lens_cascade_run (cascade.h), which needs only the primitives `stage` and `score`.
 *
 * The central invariant: a row's results depend on its hidden state, its job's options, its active set and the
 * slab's dtype and compute mode; never on neighbours, threads, slots, misses or load.
 *
 * Threads: one thread at a time per slab (the engine), but for slot_write; different slabs are independent. Errors:
 * negative errno with a sentence; an error from `run` leaves the slab usable, without any job, unless the sentence says
 * it is lost (-ENODEV). Nothing in `run` allocates or makes a system call (workers that sleep excepted). */
#ifndef LENS_BACKEND_H
#define LENS_BACKEND_H

#include "proto/dtype.h"
#include "proto/lens_error.h"
#include "proto/options.h"
#include "proto/pack.h"
#include "proto/wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LENS_BACKEND_API 4u

enum lens_compute {
    LENS_COMPUTE_EXACT, /* x^ in f32, weights as stored, f32 accumulation */
    LENS_COMPUTE_BF16,  /* x^ rounded to bf16; products exact, f32 accumulation */
    LENS_COMPUTE_INT8   /* x^ quantised per row to int8 (scale max|x^|/127); int32 accumulation; needs an I8 slab */
};

/* "exact", "bf16", "int8". */
const char *lens_compute_name(enum lens_compute compute);
int lens_compute_parse(const char *text, enum lens_compute *out);

/* ---- what runs where -------------------------------------------------------------------------------------------- */

struct lens_device {
    char backend[32]; /* "cpu", "cuda", "fault+cpu" */
    char name[96];    /* the processor or card */
    char variant[32]; /* instruction set in use: "scalar", "avx2", "avx512" */
    uint32_t threads;
    uint64_t memory_bytes; /* free for slabs at open; 0 = unknown */
    uint32_t slab_dtypes;  /* bit 1 << dtype for each dtype that a slab may have */
};

/* The always-resident tables a slab works from: lent by the pack, must outlive the slab. */
struct lens_model {
    uint32_t lenses, dim, h1, h2;
    enum lens_normalize normalize;
    const float *b1;          /* [N,h1] */
    const void *w2;           /* [N,h2,h1] of w2_dtype */
    enum lens_dtype w2_dtype; /* F32 or BF16 */
    const float *b2, *w3, *b3;
    const int32_t *child_offsets, *child_ids;
    const uint8_t *layer;
    const float *calibration; /* [N,7] */
};

/* A model over a pack's tables. */
void lens_model_of_pack(const struct lens_pack *pack, struct lens_model *out);

struct lens_slab_config {
    uint32_t slots;
    enum lens_dtype dtype; /* of W1 in a slot: F32, BF16, I8, LOG8 or FP8, as the device's slab_dtypes say */
    enum lens_compute compute;
    uint32_t max_batch_rows; /* rows in flight at most */
    uint32_t loaders;        /* threads that may be in slot_write at the same time; at least 1 */
};

/* What a slab takes of the device's memory. */
struct lens_slab_size {
    uint64_t fixed_bytes; /* tables and row state, however many slots there are */
    uint64_t slot_bytes;  /* for each slot */
};

/* Stored W1 of one lens on its way into a slot (as lens_pack_read_w1 and the pack's tables give it). Lent until the
 * write is done. */
struct lens_slot_write {
    uint32_t slot, lens;
    enum lens_dtype stored;
    const void *w1;                 /* [h1,dim] codes or values */
    const uint8_t *sign;            /* LOG8 */
    const float *scale;             /* I8: [h1] */
    const float *log_min, *log_max; /* LOG8: [h1] */
};

/* ---- jobs ------------------------------------------------------------------------------------------------------- */

/* One row's answer. The pointers are the caller's buffers with their capacities; the rest is filled by run. */
struct lens_row_out {
    uint32_t *expanded;
    uint32_t expanded_capacity;
    struct lens_detection *detections; /* options->top_k of them fit */
    uint8_t status;                    /* enum lens_row_status */
    uint8_t reason;
    uint8_t flags;
    uint32_t n_expanded; /* how many were expanded; the first expanded_capacity are stored */
    uint32_t n_detections;
    struct lens_row_counts counts; /* the caller adds `loaded` */
    /* Views, valid until the next run: what the row asked for, in order (the first n_active are its active set), and
     * the logits of those, [N], NaN where one was left out; other entries mean nothing. NULL for a row that failed. */
    const uint32_t *wanted;
    uint32_t n_wanted, n_always, n_active; /* n_always of them are base and pins */
    const float *logits;
};

/* An answer without anything in it yet: COMPLETE, no counts, no views. */
void lens_row_out_clear(struct lens_row_out *out);
/* The answer to a row that could not be scored: PARTIAL, ENGINE_FAILURE, DEGRADED, and nothing else. */
void lens_row_out_fail(struct lens_row_out *out);

enum lens_job_state {
    LENS_JOB_NEW,     /* set by the caller: run takes it in */
    LENS_JOB_RUNNING, /* in flight: everything it points at stays where it is */
    LENS_JOB_DONE     /* answered: the caller takes it out of the batch */
};

/* Nanoseconds of the runs that a job took part in. */
struct lens_job_timing {
    uint64_t copy_in, base, expand, select;
};

/* One submission. */
struct lens_job {
    const void *rows; /* [n_rows, dim] of dtype; may be shared memory that changes underneath: read exactly once */
    const void *device_rows; /* the same memory as the device sees it (host_register), or NULL */
    enum lens_dtype dtype;
    uint32_t n_rows;
    const struct lens_cascade_options *options;
    const uint32_t *base; /* lens ids of the session's base layers */
    uint32_t n_base;
    const uint32_t *pinned; /* always scored too; duplicates and overlaps with base or kept are fine */
    uint32_t n_pinned;
    const uint32_t *kept; /* the sequence's R before this submission */
    uint32_t n_kept;
    /* Bitmaps [(N+63)/64], NULL = all. A lens that isn't allowed is as if the pack didn't have it; one that isn't
     * reported is scored as always and left out of the detections. */
    const uint64_t *allowed, *reported;
    bool give_up; /* the caller's, at any time: what isn't resident is left out (PARTIAL), not waited for */
    enum lens_job_state state;
    bool waited;                /* some lens was not resident and waited for */
    struct lens_row_out *out;   /* [n_rows] */
    uint32_t *retained;         /* R after this submission, best first, written when it is done; not kept's memory */
    uint32_t retained_capacity; /* >= keep_top_k, or >= N for -1 */
    uint32_t n_retained;
    bool retained_changed; /* false: no valid row, keep the old R */
    struct lens_job_timing timing;
    struct { /* the backend's own */
        uint32_t rows, blocked;
        bool took_part;
    } own;
};

/* All jobs of a slab that are in flight, and what a run found out. */
struct lens_batch {
    struct lens_job **jobs; /* NEW and RUNNING ones, in any order; each RUNNING one of the last run must be there */
    uint32_t n_jobs;
    /* In: lenses that could not be brought in. Jobs that wait for one are DONE: PARTIAL, DEGRADED, ENGINE_FAILURE. */
    const uint32_t *lost;
    uint32_t n_lost;
    /* Out: lens ids, each once, ascending. First n_misses that some job waits for, then n_left that were left out by
     * jobs that gave up and nobody waits for. */
    uint32_t *misses; /* [N] */
    uint32_t n_misses, n_left;
    uint32_t *used; /* [N] out: lenses scored in this run, each once */
    uint32_t n_used;
};

#define LENS_RUN_DONE   0 /* every job is DONE */
#define LENS_RUN_MISSES 1 /* the jobs that aren't wait for misses */

/* ---- primitives of the generic cascade -------------------------------------------------------------------------- */

/* Score lens `lens` in `slot` on rows[first .. first+n): results go to logits[first .. first+n). */
struct lens_score_item {
    uint32_t slot, lens;
    uint32_t first, n;
};

struct lens_backend;
struct lens_slab; /* each backend embeds this as its first member */

typedef void (*lens_slot_done_fn)(void *arg, int status);

struct lens_backend_ops {
    uint32_t api_version; /* LENS_BACKEND_API */

    void (*describe)(struct lens_backend *backend, struct lens_device *out);

    int (*slab_create)(struct lens_backend *backend, const struct lens_model *model,
                       const struct lens_slab_config *config, struct lens_slab **out, struct lens_error *err);
    void (*slab_destroy)(struct lens_slab *slab);

    /* Decodes lenses into slots, from any thread, while others run or write other slots: `loader` (below
     * config.loaders) says whose scratch it may use. Maps are the caller's: it has unmapped what the slots held, lets
     * no two writes meet in a slot, and maps each lens after `done` was called with 0 (on any thread, possibly before
     * write returns). After an error, returned or reported, the slots hold nothing; when it is returned, done is never
     * called. */
    int (*slot_write)(struct lens_slab *slab, uint32_t loader, const struct lens_slot_write *writes, uint32_t n,
                      lens_slot_done_fn done, void *arg, struct lens_error *err);

    /* LENS_RUN_DONE, LENS_RUN_MISSES, or a negative errno: then the backend has forgotten all jobs. */
    int (*run)(struct lens_slab *slab, struct lens_batch *batch, struct lens_error *err);

    uint64_t (*slot_bytes)(const struct lens_slab *slab); /* of device memory that one slot takes */

    void (*close)(struct lens_backend *backend);

    /* Optional: memory of the host that the device reads without a copy in between. NULL: any memory is as good.
     * host_alloc: page-locked, zeroed, for stored lenses on their way into slots (any thread; NULL on failure).
     * host_register: locks memory that is there already (a session's) until host_unregister; `device_view` is where the
     * device sees it. Takes milliseconds: not on the engine's thread. */
    void *(*host_alloc)(struct lens_backend *backend, size_t bytes);
    void (*host_free)(struct lens_backend *backend, void *memory);
    int (*host_register)(struct lens_backend *backend, void *memory, size_t bytes, void **device_view,
                         struct lens_error *err);
    void (*host_unregister)(struct lens_backend *backend, void *memory);

    /* Optional: bytes of device memory that are free now, whoever uses the rest. 0 or -ENODEV. Any thread. Backends of
     * devices with memory of their own have it; for them slab_create answers -ENOMEM when the device has too little. */
    int (*memory_free)(struct lens_backend *backend, uint64_t *bytes);

    /* Optional: what a slab of this configuration would take; config->slots doesn't matter. Refuses with a sentence
     * what slab_create refuses. Any thread. */
    int (*slab_size)(struct lens_backend *backend, const struct lens_model *model,
                     const struct lens_slab_config *config, struct lens_slab_size *out, struct lens_error *err);

    /* Optional: how many slots a slab has, at most as many as it was made with; their memory is given back, or taken
     * again. Whole units of slab->slot_unit, rounded up: config.slots says how many there are then, and is
     * changed atomically (loaders look at it). The caller has
     * unmapped what lies beyond, and no write is under way there; others may be. Lenses in the slots that stay, and
     * jobs in flight, aren't touched. On the engine's thread, between runs; takes milliseconds. -EINVAL; -ENOMEM: there
     * is no memory to take, and all is as it was. */
    int (*slab_resize)(struct lens_slab *slab, uint32_t slots, struct lens_error *err);

    /* Optional (NULL when run isn't lens_cascade_run). stage: copies row `row` from `source` (read once), converts,
     * normalises and keeps it under that index; returns 0, or -EDOM when the row holds NaN or Inf. */
    int (*stage)(struct lens_slab *slab, uint32_t row, const void *source, enum lens_dtype dtype);
    int (*score)(struct lens_slab *slab, const struct lens_score_item *items, uint32_t n_items, const uint32_t *rows,
                 float *logits, struct lens_error *err);
};

struct lens_backend {
    const struct lens_backend_ops *ops;
};

struct lens_cascade; /* working state of lens_cascade_run */

/* Where a lens in a slot came from: what its next use as a former miss counts as. */
enum lens_source { LENS_FROM_FILE, LENS_FROM_HOST };

struct lens_slab {
    struct lens_backend *backend;
    struct lens_model model;
    struct lens_slab_config config;
    int32_t *slot_of;             /* [N]: slot of a resident lens, else -1. The caller's, by lens_slab_map and _unmap */
    int32_t *lens_in;             /* [slots]: lens in the slot, else -1 */
    uint8_t *source;              /* [N] enum lens_source of a resident lens */
    uint64_t map_changes;         /* counts lens_slab_map and _unmap, for backends that keep a copy of the maps */
    uint32_t slot_unit;           /* slab_resize gives and takes so many slots; 0 = it can't */
    struct lens_cascade *cascade; /* NULL for backends with a run of their own */
};

/* Says where lenses are now. The daemon's loop thread looks at slot_of meanwhile, to tell people, and nothing depends
 * on which moment it sees. */
static inline void lens_slab_map(struct lens_slab *slab, uint32_t lens, uint32_t slot, enum lens_source source)
{
    slab->lens_in[slot] = (int32_t)lens;
    slab->source[lens] = (uint8_t)source;
    slab->map_changes++;
    __atomic_store_n(&slab->slot_of[lens], (int32_t)slot, __ATOMIC_RELAXED);
}
static inline void lens_slab_unmap(struct lens_slab *slab, uint32_t lens)
{
    if (slab->slot_of[lens] >= 0)
        slab->lens_in[slab->slot_of[lens]] = -1;
    slab->map_changes++;
    __atomic_store_n(&slab->slot_of[lens], -1, __ATOMIC_RELAXED);
}

/* Makes the maps of a slab whose model and config are set (for backends); free is fine with NULLs. -ENOMEM. */
int lens_slab_make_maps(struct lens_slab *slab, struct lens_error *err);
void lens_slab_free_maps(struct lens_slab *slab);

/* What every backend refuses, each beside what it alone can't do. A slab: sizes of 0, a W2 that is neither F32 nor
 * BF16, a dim beyond what int32 sums hold. A write: a dtype that packs don't store, a lens that the model doesn't have,
 * missing tables (whether the slot is there is the backend's to say). 0, -EINVAL or -ENOTSUP. */
int lens_slab_check(const struct lens_model *model, const struct lens_slab_config *config, struct lens_error *err);
int lens_slot_write_check(const struct lens_slab *slab, const struct lens_slot_write *w, bool slot_is_there,
                          struct lens_error *err);

/* ---- the backends ----------------------------------------------------------------------------------------------- */

struct lens_cpu_options {
    uint32_t threads;    /* including the caller's; 1 = no workers */
    const char *variant; /* "auto", "scalar", "avx2", "avx512": refused (-ENOTSUP) if the processor lacks it */
};

int lens_cpu_open(const struct lens_cpu_options *options, struct lens_backend **out, struct lens_error *err);

struct lens_cuda_options {
    const char
        *library;    /* path of the shared object; NULL: lens_cuda.so beside the program, then as the linker finds it */
    uint32_t device; /* index of the card */
};

/* Loads the CUDA backend and opens a card. -ENOENT: no such library; -ENOTSUP: it isn't lensd's, speaks another API
 * version, or the driver is too old; -ENODEV: no driver, no such card; -ENOTSUP also for a card it has no code for. The
 * sentence says which, and what to do. The library stays loaded for good. */
int lens_cuda_load(const struct lens_cuda_options *options, struct lens_backend **out, struct lens_error *err);

/* The one function that the library exports, under this name: opens card `options->device`. `api` must be
 * LENS_BACKEND_API. */
int lens_cuda_open(uint32_t api, const struct lens_cuda_options *options, struct lens_backend **out,
                   struct lens_error *err);
typedef int (*lens_cuda_open_fn)(uint32_t, const struct lens_cuda_options *, struct lens_backend **,
                                 struct lens_error *);

/* Wraps `inner` (owned from now on, closed with it) and injects the faults of `script`: lines "CALL N FAULT" with
 * CALL one of slab_create, slot_write, run, score and FAULT one of enomem, eio, enodev (sticky: every later call
 * fails too), late (slot_write: done reports -EIO), wrong (score: one logit is off by 1000), slow:MS. N counts that
 * call from 1; N = 3-7 means five calls, * every one. */
int lens_fault_open(struct lens_backend *inner, const char *script, struct lens_backend **out, struct lens_error *err);

#endif
