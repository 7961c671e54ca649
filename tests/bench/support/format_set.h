/* The same lenses as packs of every number format, with rows and the right logits of the f32 weights: what
 * bench_formats compares. Dies with a sentence when something can't be had. */
#ifndef LENS_BENCH_FORMAT_SET_H
#define LENS_BENCH_FORMAT_SET_H

#include "tests/bench/support/planted.h"

#include "kernels/backend.h"

/* ---- the packs -------------------------------------------------------------------------------------------------- */

struct bench_format_set {
    struct bench_shape shape;
    uint32_t lenses, rows;
    struct lens_pack *pack[LENS_DTYPES]; /* F32, BF16, I8, LOG8: files that have no name any more */
    float *states;                       /* [rows, dim] */
    double *exact;                       /* [rows, lenses] float64 logits of the f32 weights */
};

/* The first `lenses` of the tree in pack order (the base layers, then whole families), made with lens_pack_convert
 * beside this program. `tree` as in bench_tree_open. */
struct bench_format_set *bench_format_set_open(const char *tree, uint32_t lenses, uint32_t rows);
void bench_format_set_close(struct bench_format_set *set);

/* Bytes of one lens as its pack stores them: W1 with scales or ranges and signs, and W2. */
uint64_t bench_stored_bytes(const struct lens_pack *pack);

/* ---- a slab of one of them -------------------------------------------------------------------------------------- */

/* Every lens in the slot of its number; behind them, further copies of the first `base` lenses. All rows are staged. */
struct bench_format_slab {
    const struct bench_format_set *set;
    const struct lens_pack *pack;
    struct lens_slab *slab;
    uint32_t base, copies;    /* of the base lenses; copy 0 is that of the lenses themselves */
    unsigned char *w1, *sign; /* one lens as stored */
};

/* As many copies as make the base lenses fill at_least_bytes. NULL when the backend has no such slab; `err` says
 * why. */
struct bench_format_slab *bench_format_slab_open(struct lens_backend *backend, const struct bench_format_set *set,
                                                 const struct lens_pack *pack, enum lens_dtype dtype, uint32_t base,
                                                 uint64_t at_least_bytes, struct lens_error *err);
void bench_format_slab_close(struct bench_format_slab *s);

uint32_t bench_format_slot(const struct bench_format_slab *s, uint32_t copy, uint32_t lens);
void bench_format_read(struct bench_format_slab *s, uint32_t lens); /* W1 from the pack file into s->w1, s->sign */
/* From `w1` and `sign` into a slot; returns when it is there. */
void bench_format_write(struct bench_format_slab *s, uint32_t lens, uint32_t slot, const void *w1, const void *sign);
/* Scores the first n lenses of a copy on rows first_row .. + rows; logits [n, rows]. */
void bench_format_score(struct bench_format_slab *s, uint32_t copy, uint32_t n, uint32_t first_row, uint32_t rows,
                        float *logits);

#endif
