/* A slab full of copies of the same base lenses, more than the caches hold, and the right logits of some rows: what
 * bench_base scores. Dies with a sentence when a backend refuses what it should do. */
#ifndef LENS_BENCH_BASE_SET_H
#define LENS_BENCH_BASE_SET_H

#include "tests/bench/support/planted.h"

#include "kernels/backend.h"

/* The lenses in f32 and rows with planted answers; shared by all slabs. */
struct bench_base_source {
    struct bench_tree *tree;
    struct bench_shape shape;
    uint32_t lenses, rows, checked; /* checked: how many of the rows have right answers */
    float *w1, *b1, *w2, *b2, *w3, *b3;
    float *states;     /* [rows, dim] */
    double *exact_f32; /* [lenses, checked] float64 logits with the f32 weights */
};

struct bench_base_source *bench_base_source_open(const char *tree, uint32_t lenses, uint32_t rows, uint32_t checked);
void bench_base_source_close(struct bench_base_source *source);

/* The weights as a dtype stores them, and the float64 logits of those. */
struct bench_base_stored {
    const struct bench_base_source *source;
    enum lens_dtype dtype;
    unsigned char *w1;   /* [lenses, h1, dim] of dtype */
    float *scale;        /* I8: [lenses, h1] */
    uint16_t *w2_bf16;   /* NULL for F32 */
    double *exact;       /* [lenses, checked] */
    uint64_t lens_bytes; /* W1, its scales, and W2: what a score must read */
};

struct bench_base_stored *bench_base_stored_open(const struct bench_base_source *source, enum lens_dtype dtype);
void bench_base_stored_close(struct bench_base_stored *stored);

/* `copies` of every lens in a slab of `backend`, and all rows staged. Lens i of copy c has id and slot
 * c * lenses + i. NULL when the backend doesn't support dtype and compute together. */
struct bench_base_slab {
    const struct bench_base_stored *stored;
    struct lens_slab *slab;
    uint32_t copies;
    float *b1, *b2, *w3, *b3;
    void *w2;
    int32_t *child_offsets;
    uint8_t *layer;
    float *calibration;
};

struct bench_base_slab *bench_base_slab_open(struct lens_backend *backend, const struct bench_base_stored *stored,
                                             enum lens_compute compute, uint64_t at_least_bytes);
void bench_base_slab_close(struct bench_base_slab *slab);

#endif
