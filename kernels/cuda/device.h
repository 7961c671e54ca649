/* What lies in the memory of a card: the structs that the host (C) and the kernels (CUDA C) share, and who writes what.
 *
 * A slab's work is one CUDA graph, launched once a run:
 *
 *     fetch -> begin -> while (condition) { score -> expand } -> finish
 *
 * fetch   a few blocks: bring the command over from where the host wrote it, and the slots of lenses when they changed.
 * begin   a block a live row: takes new rows in (reads the hidden state once, normalises, lists the active set) and
 *         looks for everything that live rows want: what is in a slot becomes an item, what isn't is missing.
 * score   a fixed grid over the items of the window: first layer by tiles of LENS_CU_TILE outputs, the rest of the
 *         network by the block that finishes a lens's last tile. Writes logits and marks.
 * expand  a block a live row: counts what was scored, chooses the next children (DESIGN 4.4) and looks for them.
 * finish  a block a live row: reports the rows of finished jobs, chooses retained sets, copies what waits.
 *
 * The last block of begin and of expand to arrive makes the plan: which items the next score does (their pairs of lens
 * and row must fit `hidden`), and whether there is anything left (the graph's condition). Nothing here waits for
 * the host. The host writes a command before each launch and reads the results after it.
 *
 * All kernels take one argument, `struct cu_state *` in device memory. Blocks have LENS_CU_THREADS threads. */
#ifndef LENS_CUDA_DEVICE_H
#define LENS_CUDA_DEVICE_H

#include "proto/wire.h"

#include <stdint.h>

#define LENS_CU_THREADS 256u /* of every block */
#define LENS_CU_WARPS   8u
#define LENS_CU_TILE    16u /* outputs of the first layer that a block works on at a time */
#define LENS_CU_K_ALIGN 64u /* dim is padded to a multiple of this, with zeros in weights and rows */
#define LENS_CU_SPLITS  3u  /* bf16 terms that an f32 value is the exact sum of (to 24 bits) */
#define LENS_CU_ABSENT  UINT32_MAX

/* How the first layer is done; fixed for a slab. The order of additions is part of each: see score.cu. */
enum cu_product {
    CU_PRODUCT_F32,        /* F32 slots: x^ in f32, fused multiply-adds */
    CU_PRODUCT_BF16_EXACT, /* BF16 slots: x^ as three bf16 terms on the matrix units, f32 sums */
    CU_PRODUCT_BF16,       /* BF16 slots, compute bf16: x^ as one bf16 term */
    CU_PRODUCT_I8_EXACT,   /* I8 slots: codes widened to bf16, x^ as three terms */
    CU_PRODUCT_I8,         /* I8 slots, compute int8: x^ in int8 codes, i32 sums */
    CU_PRODUCT_FP8_EXACT   /* FP8 slots: e4m3 codes widened to bf16, x^ as three terms */
};

/* Geometry of a slab and where its tables are on the device. Constant while the slab lives.
 *
 * A slot: tiles of LENS_CU_TILE outputs (H1 padded with zero outputs), each of `steps` steps of 1024 bytes, then
 * f32 scale[h1_padded] where the dtype has scales (at scale_offset). A step holds KS = 64 / element bytes values of dim
 * of 16 outputs, in the order in which a warp takes them: for lane l (g = l / 4, t = l % 4) 16 bytes of output 16*tile
 * + g, then 512 bytes further on 16 bytes of output 16*tile + g + 8, both of dims KS*step + t*KS/4 .. + KS/4 - 1.
 *
 * Slots lie in chunks, each an allocation of its own, so that memory can be given back: slot s begins at
 * chunks[s >> chunk_shift] + (s & (1 << chunk_shift) - 1) * slot_stride (slot.cuh). The last chunk holds what is left
 * of `slots`. The table of chunks changes between runs; a chunk that isn't there is NULL, and no slot in it is used. */
struct cu_slab_info {
    uint32_t lenses, dim, h1, h2;
    uint32_t k_padded;  /* dim padded to LENS_CU_K_ALIGN */
    uint32_t h1_padded; /* h1 padded to LENS_CU_TILE */
    uint32_t tiles, steps;
    uint32_t slots, max_rows, words; /* slots: at most; words: 32-bit words of a bitmap over lenses */
    uint32_t chunk_shift, n_chunks;  /* 1 << chunk_shift slots in a chunk */
    uint32_t max_pairs;              /* of lens and row that `hidden` holds */
    uint32_t product;                /* enum cu_product */
    uint32_t columns;                /* of a row in x: LENS_CU_SPLITS or 1 */
    uint32_t normalize;              /* enum lens_normalize */
    uint32_t w2_bf16;
    uint64_t slot_stride, scale_offset; /* bytes */
    uint8_t *const *chunks;             /* [n_chunks] */
    const float *b1;                    /* [lenses][h1] */
    const void *w2t;                    /* [lenses][h1][h2] (transposed) of f32 or bf16 */
    const float *b2, *w3, *b3;          /* [lenses][h2], [lenses][h2], [lenses] */
    const int32_t *child_offsets, *child_ids;
    const uint8_t *layer;
    const float *calibration; /* [lenses][LENS_CALIBRATION_FIELDS] */
};

/* ---- what the host says before a run ---------------------------------------------------------------------------- */

#define CU_LIVE_NEW 1u /* the row comes in with this run */

/* A row in flight. */
struct cu_live {
    uint32_t row;       /* its index in the row tables */
    uint32_t job;       /* index in `jobs` */
    uint32_t flags;     /* CU_LIVE_* */
    uint32_t index;     /* within its job */
    const void *source; /* NEW: the hidden state, [dim], where the device can read it */
};

/* A job in flight, repeated in every run until it is done. Offsets are in 32-bit words from the command's start; ids
 * and bitmaps of the payload are read by begin, expand and finish. */
struct cu_job {
    uint32_t id; /* index of the job's place in results.retained: stays the same while it is in flight */
    uint32_t first_live, n_rows; /* live[first_live ..+ n_rows) are its rows, in order */
    uint32_t give_up;
    uint32_t failed; /* in: 0; set by the kernel `lost`, launched before the graph */
    uint32_t dtype;  /* enum lens_dtype of the hidden states */
    uint32_t base, n_base, pinned, n_pinned, kept, n_kept; /* offsets, counts */
    uint32_t allowed, reported;                            /* offsets of [words] bitmaps, 0 = all */
    uint32_t expand, report, rank, uncalibrated;           /* enums of proto/options.h */
    uint32_t suppress_parents;
    uint32_t top_k, keep_top_k; /* keep: LENS_CU_ABSENT = all */
    uint32_t max_depth, max_scored;
    uint32_t expanded_capacity;
    uint32_t pad;
    uint64_t base_layers;
    double load_logit, unload_logit; /* thresholds as logits, +-INFINITY at 1 and 0 */
    double suppress_at;              /* as a logit when rank is raw, else as a score */
};

/* Head of the command; live rows, jobs, lost lenses and payload follow at their offsets (32-bit words). */
struct cu_command {
    uint64_t run; /* counts runs from 1 */
    uint32_t n_live, n_jobs, n_lost;
    uint32_t live, jobs, lost; /* offsets; live and jobs on 8-byte boundaries */
    uint32_t words;            /* of the whole, with its payload */
    uint32_t slots_changed;    /* told_slots is to be fetched too */
};

/* ---- what rows know, from run to run -------------------------------------------------------------------------------
 */

/* Marks of a lens in a row: [max_rows][lenses] bytes. 0 = not asked for. */
enum cu_mark {
    CU_MARK_WANTED = 1,
    CU_MARK_SCORED = 2,
    CU_MARK_EXPANDED = 4,
    CU_MARK_MISSING = 8,
    CU_MARK_WAITED = 16, /* was not resident when first looked for; stays beside SCORED */
    CU_MARK_COUNTED = 32 /* beside SCORED: is in the row's counts */
};

enum cu_row_state { CU_ROW_SCORING, CU_ROW_FINISHED };

struct cu_row {
    uint32_t n, always, active, fresh, depth, waiting; /* as struct lens_cascade_row */
    uint32_t state;                                    /* enum cu_row_state */
    uint32_t status, reason, flags;                    /* as struct lens_row_out */
    uint32_t n_expanded;
    uint32_t scored, slot_hits, host_hits, cold, missing;
};

/* ---- what the host reads after a run: memory of the host that the device writes -----------------------------------
 */

enum cu_job_result { CU_JOB_WAITS, CU_JOB_DONE, CU_JOB_FAILED }; /* FAILED: wants a lost lens */

struct cu_row_result {
    struct cu_row row;
    uint32_t n_detections;
    uint32_t pad;
};

struct cu_job_out {
    uint32_t result;  /* enum cu_job_result */
    uint32_t waited;  /* some row waits, or waited in this run, for a lens that wasn't resident */
    uint32_t blocked; /* rows that wait now */
    uint32_t n_retained, retained_changed;
    uint32_t pad;
};

enum cu_time { CU_TIME_BEGIN, CU_TIME_TAKEN_IN, CU_TIME_BASE, CU_TIME_EXPANDED, CU_TIME_FINISHED, CU_TIMES };

struct cu_result_head {
    uint64_t done_run;        /* written last, by the device: the results of this run are here */
    uint64_t times[CU_TIMES]; /* globaltimer nanoseconds: start; rows in; active sets scored; all scored; the end */
    uint32_t n_used;
    uint32_t passes; /* score launches of the run */
};

/* Where the parts of the results are: addresses the device writes. Rows by live index of the run, retained by job id.
 */
struct cu_results {
    struct cu_result_head *head;
    struct cu_job_out *jobs;           /* [max_rows], by index in the command */
    struct cu_row_result *rows;        /* [max_rows], by live index */
    struct lens_detection *detections; /* [max_rows][LENS_MAX_TOP_K], by live index */
    uint32_t *expanded;                /* [max_rows][lenses], by row: written as parents expand */
    uint32_t *list;                    /* [max_rows][lenses], by live index, of finished rows */
    float *logits;                     /* [max_rows][lenses], those of `list`, in its order; NaN where left out */
    uint32_t *retained;                /* [max_rows][lenses], by job id */
    uint32_t *used;                    /* [lenses] */
    uint32_t *missing, *left_out;      /* [words] bitmaps */
};

/* ---- the state -----------------------------------------------------------------------------------------------------
 */

/* One (lens, rows) to score: its rows are item_rows[lens * max_rows ..+ count[lens]). */
struct cu_item {
    uint32_t lens, slot;
    uint32_t pairs; /* where its rows' sums start in `hidden`: set by the plan */
    uint32_t n;     /* rows: set by the plan */
};

struct cu_state {
    struct cu_slab_info info;
    struct cu_command *command; /* device copy of what the host wrote; on 16 bytes, with room for whole pieces of 16 */
    const struct cu_command *told; /* the host's own, as the device sees it; likewise */
    const uint32_t *told_slots;    /* likewise, for slot_of */
    struct cu_results results;
    uint32_t *slot_of; /* [lenses]: slot, bit 31 set when it came from the host tier; LENS_CU_ABSENT */
    /* rows */
    struct cu_row *rows; /* [max_rows] */
    uint8_t *marks;      /* [max_rows][marks_stride], marks_stride = lenses rounded up to 16 */
    uint32_t marks_stride;
    uint32_t pad0;
    uint32_t *list;  /* [max_rows][lenses] */
    float *logits;   /* [max_rows][lenses], by lens id */
    uint32_t *claim; /* [max_rows][lenses] scratch of begin, expand and finish */
    uint32_t *order; /* [max_rows][lenses] likewise */
    uint64_t *keys;  /* [max_rows][3][lenses] likewise, by block */
    float *wide;     /* [max_rows][k_padded] scratch of begin: the hidden state in f32 */
    void *x;         /* [max_rows][columns][k_padded] f32, bf16 or int8 as the product wants, zero-padded */
    float *x_scale;  /* [max_rows] CU_PRODUCT_I8 */
    /* items of the current pass and of the one that is being looked for */
    struct cu_item *items[2]; /* [lenses] each */
    uint32_t n_items[2];
    uint32_t pass;                     /* which of the two score works on: flipped by the plan */
    uint32_t window_begin, window_end; /* score does items[pass][begin..end) */
    uint32_t *count;                   /* [lenses] rows that want the lens; 0 outside a pass (reset by score) */
    uint16_t *item_rows;               /* [lenses][max_rows] */
    uint32_t *tiles_done;              /* [lenses], by item: 0 outside score (reset by it) */
    float *hidden;                     /* [max_pairs][h1_padded] first-layer sums (i32 bits for CU_PRODUCT_I8) */
    /* bookkeeping */
    uint64_t *used_in; /* [lenses] run that scored the lens last */
    uint32_t n_used;
    uint32_t passes;
    uint32_t *missing, *left_out; /* [words] of this run; cleared by finish */
    uint32_t active;              /* rows that asked for another step since the last plan */
    uint32_t arrived;             /* blocks that are through; reset by the last one */
    uint64_t times[CU_TIMES];
    uint64_t condition; /* the graph's handle */
};

#endif
