/* The real-tree model with planted answers (tests/bench/support/planted.h) on a backend, every lens in a slot.
 *
 * Weights are made once, as bf16, in memory that the card reads without a copy in between; each slab decodes them into
 * its own dtype. One thread but for making weights. Everything dies with a sentence when it fails. */
#ifndef GPU_BENCH_WORLD_H
#define GPU_BENCH_WORLD_H

#include "kernels/backend.h"
#include "tests/bench/support/planted.h"

/* What doesn't depend on the slab. */
struct world {
    struct lens_backend *backend;
    struct bench_tree *tree;
    struct bench_shape shape;
    struct lens_model model; /* the first `lenses` of the tree; tables owned here */
    uint16_t *w1;            /* [lenses][h1][dim] bf16, from host_alloc */
    uint32_t rows;
    float *states;    /* [rows][dim]: row t is the next one of sequence t % sequences */
    uint32_t *leaves; /* [rows][BENCH_ACTIVE_LEAVES] */
    uint32_t sequences;
    uint32_t *all; /* 0 .. lenses - 1 */
    uint32_t base; /* lenses of layers 0 and 1 */
    void *device_states;
};

/* lenses = 0: all of the tree. */
struct world *world_open(struct lens_backend *backend, const char *tree, uint32_t lenses, struct bench_shape shape,
                         uint32_t rows, uint32_t sequences);
void world_close(struct world *world);

/* The write of a lens into a slot. */
struct lens_slot_write world_write(const struct world *world, uint32_t lens, uint32_t slot);

/* A slab with every lens in the slot of its number; NULL when the backend has no such slab (it says why). */
struct lens_slab *world_slab(struct world *world, enum lens_dtype dtype, enum lens_compute compute, uint32_t max_rows,
                             uint32_t loaders);

/* Writes lenses into slots and waits until they are there. */
void world_load(struct lens_slab *slab, uint32_t loader, const struct lens_slot_write *writes, uint32_t n);

/* Bytes that scoring one lens reads: W1 as in a slot, scales, biases, W2, W3. */
double world_lens_bytes(const struct world *world, enum lens_dtype dtype);

/* A row's own buffers, poisoned by world_new_row. */
struct world_row {
    struct lens_job job;
    struct lens_cascade_options options;
    struct lens_row_out out;
    uint32_t *expanded, *retained, *kept;
    struct lens_detection detections[LENS_MAX_TOP_K];
};

void world_row_open(struct world_row *row, const struct world *world);
void world_row_close(struct world_row *row);
/* Row t as a NEW job with the base layers 0 and 1 and what the sequence kept. */
void world_row_next(struct world_row *row, const struct world *world, uint32_t t);

/* Runs jobs to the end, all resident. */
void world_run(struct lens_slab *slab, struct lens_job **jobs, uint32_t n, uint32_t *misses, uint32_t *used);

#endif
