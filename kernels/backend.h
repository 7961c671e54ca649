/* What a backend is: the arithmetic behind a pool of lenses (DESIGN 6).
 *
 * A backend is a struct of functions and a context. It owns slabs; a slab is a fixed number of fixed-size slots on
 * one device, serving one model (pack). `run` takes a batch of submissions through the whole cascade: normalise,
 * score the active set, expand, report, choose the retained set. Lenses that are wanted but not in a slot are
 * reported as misses; the caller writes them into slots and calls run again with the same batch, which goes on from
 * where it stopped. Backends without a cascade of their own point `run` at lens_cascade_run (cascade.h), which needs
 * only the primitives `stage` and `score`.
 *
 * The central invariant: a row's results depend on its hidden state, its job's options, its active set and the
 * slab's dtype and compute mode; never on batch neighbours, threads, slots, misses or load.
 *
 * Threads: one thread at a time per slab (the engine); different slabs are independent. Errors: negative errno with a
 * sentence; an error from `run` leaves the slab usable unless the sentence says it is lost (-ENODEV). Nothing in
 * `run` allocates or makes a system call (workers that sleep excepted). */
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

#define LENS_BACKEND_API 1u

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
    enum lens_dtype dtype; /* of W1 in a slot: F32, BF16 or I8 */
    enum lens_compute compute;
    uint32_t max_batch_rows; /* rows of one batch at most */
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

/* ---- one batch -------------------------------------------------------------------------------------------------- */

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
    struct lens_row_counts counts; /* scored, expanded, missing, slot_hits; the caller adds load counts */
    const float *logits;           /* debugging view, valid until the next run: [N], only scored ones are set */
};

/* One submission inside a batch. */
struct lens_job {
    const void *rows; /* [n_rows, dim] of dtype; may be shared memory that changes underneath: read exactly once */
    enum lens_dtype dtype;
    uint32_t n_rows;
    const struct lens_cascade_options *options;
    const uint32_t *base; /* lens ids of the session's base layers */
    uint32_t n_base;
    const uint32_t *pinned; /* always scored too; duplicates and overlaps with base or kept are fine */
    uint32_t n_pinned;
    const uint32_t *kept; /* the sequence's R before this submission */
    uint32_t n_kept;
    bool give_up; /* the caller's: of misses reported once, leave out what this job wanted (PARTIAL), don't wait */
    struct lens_row_out *out;   /* [n_rows] */
    uint32_t *retained;         /* R after this submission, written when the batch is done; must not overlap kept */
    uint32_t retained_capacity; /* >= keep_top_k, or >= N for -1 */
    uint32_t n_retained;
    bool retained_changed; /* false: no valid row, keep the old R */
};

/* Nanoseconds this batch spent per stage, summed over resumed runs. */
struct lens_batch_timing {
    uint64_t copy_in, base, expand, select;
};

struct lens_batch {
    struct lens_job *jobs;
    uint32_t n_jobs;
    uint32_t *misses;         /* filled when run returns LENS_RUN_MISSES: lens ids, each once, ascending */
    uint32_t misses_capacity; /* N */
    uint32_t n_misses;
    bool misses_are_new; /* true on a step's first report: give_up has not been applied to them yet */
    uint32_t stage;      /* the backend's place to resume from; 0 before the first run */
    struct lens_batch_timing timing;
};

#define LENS_RUN_DONE   0
#define LENS_RUN_MISSES 1

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

    /* Decodes lenses into slots. The slots' old lenses are unmapped at once; the new ones count as resident when
     * `done` is called (on any thread, possibly before write returns) with 0. If write itself returns an error, done
     * is never called and the slots are empty. */
    int (*slot_write)(struct lens_slab *slab, const struct lens_slot_write *writes, uint32_t n, lens_slot_done_fn done,
                      void *arg, struct lens_error *err);

    /* LENS_RUN_DONE, LENS_RUN_MISSES or a negative errno. */
    int (*run)(struct lens_slab *slab, struct lens_batch *batch, struct lens_error *err);

    void (*close)(struct lens_backend *backend);

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

struct lens_slab {
    struct lens_backend *backend;
    struct lens_model model;
    struct lens_slab_config config;
    int32_t *slot_of;    /* [N]: slot of a resident lens, else -1. Read by the caller, written by the backend */
    int32_t *lens_in;    /* [slots]: lens in the slot, else -1 */
    uint64_t *last_used; /* [N]: `clock` when the lens was last scored or brought in; for eviction policies */
    uint64_t clock;      /* counts batches */
    struct lens_cascade *cascade; /* NULL for backends with a run of their own */
};

/* Backends say through this where a lens is now (-1 = nowhere): the daemon's loop thread looks at slot_of meanwhile, to
 * tell people, and nothing depends on which moment it sees. */
static inline void lens_slab_place(struct lens_slab *slab, uint32_t lens, int32_t slot)
{
    __atomic_store_n(&slab->slot_of[lens], slot, __ATOMIC_RELAXED);
}

/* ---- the backends ----------------------------------------------------------------------------------------------- */

struct lens_cpu_options {
    uint32_t threads;    /* including the caller's; 1 = no workers */
    const char *variant; /* "auto", "scalar", "avx2", "avx512": refused (-ENOTSUP) if the processor lacks it */
};

int lens_cpu_open(const struct lens_cpu_options *options, struct lens_backend **out, struct lens_error *err);

/* Wraps `inner` (owned from now on, closed with it) and injects the faults of `script`: lines "CALL N FAULT" with
 * CALL one of slab_create, slot_write, run, score and FAULT one of enomem, eio, enodev (sticky: every later call
 * fails too), late (slot_write: done reports -EIO), wrong (score: one logit is off by 1000), slow:MS. N counts that
 * call from 1; N = * means every call. */
int lens_fault_open(struct lens_backend *inner, const char *script, struct lens_backend **out, struct lens_error *err);

#endif
