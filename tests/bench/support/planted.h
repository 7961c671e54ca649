/* Planted answers (PERFORMANCE.md, "real-tree pack"): lenses whose right answer on a row is known.
 *
 * Concept c has a random unit direction u_c, made from its key alone. A row that carries some leaves is
 * 12 * sum(u_c over the concepts on their root paths, each once) + N(0, I). Lens c has u_c as row 0 of W1 and small
 * random weights elsewhere, W2[0,0] = 1, W3[0] = 1.5, b3 = -9: after the LayerNorm x^ . u_c is about 9 for a planted
 * concept (logit 4.5) and N(0, 1) for others (logit below -4).
 *
 * Two details are free there and fixed here. At another dim than 2560 the planted part of x^ is another, and W3[0] is
 * scaled so that its logit stays. And x^ . u_c scatters by about 1, so one row in some hundred would by chance lose a
 * concept of a path: such rows are drawn again (the noise, at last the leaves), and counted. */
#ifndef LENS_BENCH_PLANTED_H
#define LENS_BENCH_PLANTED_H

#include "tests/bench/support/tree.h"

#include "proto/pack_writer.h"

struct bench_shape {
    uint32_t dim, h1, h2;
};

/* One lens's weights, reused from lens to lens. */
struct bench_lens {
    struct bench_shape shape;
    float *w1, *b1, *w2, *b2, *w3;
    float b3;
};

struct bench_lens *bench_lens_open(struct bench_shape shape);
void bench_lens_close(struct bench_lens *lens);
void bench_lens_make(struct bench_lens *lens, uint64_t stream); /* the lens of the concept with this stream */
struct lens_weights bench_lens_view(const struct bench_lens *lens);

/* What the pack writer wants to know of the tree; borrows from it. */
struct lens_pack_plan bench_planted_plan(const struct bench_tree *tree, struct bench_shape shape,
                                         enum lens_dtype dtype);

void bench_planted_direction(uint64_t stream, float *u, uint32_t dim);

#define BENCH_ACTIVE_LEAVES 2

struct bench_rows {
    const struct bench_tree *tree;
    uint32_t dim;
    uint64_t stream, draws;
    uint32_t leaves[BENCH_ACTIVE_LEAVES];
    uint64_t rows, redrawn;
    float *u; /* directions of the active concepts */
};

struct bench_rows *bench_rows_open(const struct bench_tree *tree, uint32_t dim, uint64_t seed);
void bench_rows_close(struct bench_rows *rows);
/* The next row of the stream [dim]; rows->leaves are its planted leaves, distinct. */
void bench_rows_next(struct bench_rows *rows, float *out);

#endif
