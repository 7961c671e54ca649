/* Planted lenses and rows; see planted.h. */
#include "tests/bench/support/planted.h"

#include "tests/bench/support/bench.h"
#include "tests/bench/support/random.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define AMPLITUDE   12.0
#define ACTIVE      14.0 /* concepts on two paths of depth 6 */
#define MAX_ACTIVE  32
#define FIRES_ABOVE 0.0 /* logit of the planted unit alone; the threshold raw > 0.3 is -0.85, so this leaves room */

enum { STREAM_DIRECTION, STREAM_W1, STREAM_W2, STREAM_SMALL, STREAM_NOISE, STREAM_LEAVES };

/* x^ . u_c of a planted concept, on average. */
static double planted_projection(double dim)
{
    return AMPLITUDE / sqrt(1.0 + AMPLITUDE * AMPLITUDE * ACTIVE / dim);
}

static double planted_gain(uint32_t dim)
{
    return 1.5 * planted_projection(2560) / planted_projection(dim);
}

struct bench_lens *bench_lens_open(struct bench_shape shape)
{
    struct bench_lens *lens = bench_alloc(sizeof *lens);
    lens->shape = shape;
    lens->w1 = bench_alloc((size_t)shape.h1 * shape.dim * sizeof(float));
    lens->b1 = bench_alloc(shape.h1 * sizeof(float));
    lens->w2 = bench_alloc((size_t)shape.h2 * shape.h1 * sizeof(float));
    lens->b2 = bench_alloc(shape.h2 * sizeof(float));
    lens->w3 = bench_alloc(shape.h2 * sizeof(float));
    return lens;
}

void bench_lens_close(struct bench_lens *lens)
{
    free(lens->w1);
    free(lens->b1);
    free(lens->w2);
    free(lens->b2);
    free(lens->w3);
    free(lens);
}

void bench_planted_direction(uint64_t stream, float *u, uint32_t dim)
{
    double square = 0;
    bench_random_normals(bench_substream(stream, STREAM_DIRECTION), u, dim);
    for (uint32_t i = 0; i < dim; i++)
        square += (double)u[i] * u[i];
    for (uint32_t i = 0; i < dim; i++)
        u[i] = (float)(u[i] / sqrt(square));
}

void bench_lens_make(struct bench_lens *lens, uint64_t stream)
{
    struct bench_shape s = lens->shape;
    uint64_t small = bench_substream(stream, STREAM_SMALL);
    /* Half width sqrt(3/dim): each other hidden unit sees about N(0, 1), like a trained one. */
    bench_random_uniform(bench_substream(stream, STREAM_W1), sqrtf(3.0f / (float)s.dim), lens->w1,
                         (size_t)s.h1 * s.dim);
    bench_planted_direction(stream, lens->w1, s.dim);
    bench_random_uniform(bench_substream(stream, STREAM_W2), 0.02f, lens->w2, (size_t)s.h2 * s.h1);
    bench_random_uniform(bench_substream(small, 0), 0.1f, lens->b1, s.h1);
    bench_random_uniform(bench_substream(small, 1), 0.1f, lens->b2, s.h2);
    bench_random_uniform(bench_substream(small, 2), 0.05f, lens->w3, s.h2);
    lens->b1[0] = 0;
    lens->b2[0] = 0;
    lens->w2[0] = 1;
    lens->w3[0] = (float)planted_gain(s.dim);
    lens->b3 = -9;
}

struct lens_weights bench_lens_view(const struct bench_lens *lens)
{
    return (struct lens_weights){lens->w1, lens->b1, lens->w2, lens->b2, lens->w3, lens->b3};
}

struct lens_pack_plan bench_planted_plan(const struct bench_tree *tree, struct bench_shape shape, enum lens_dtype dtype)
{
    static char model[] = "synthetic", tap_layer[] = "12", tap_point[] = "after", source[] = "planted answers";
    struct lens_pack_plan plan = {
        .meta = {.model_id = model, .tap_layer = tap_layer, .tap_point = tap_point, .source = source},
        .lenses = tree->n,
        .dim = shape.dim,
        .h1 = shape.h1,
        .h2 = shape.h2,
        .w1_dtype = dtype,
        .parent = tree->parent,
        .child_offsets = tree->child_offsets,
        .child_ids = tree->child_ids,
        .layer = tree->layer,
        .name_offsets = tree->name_offsets,
        .names = tree->names,
    };
    plan.meta.normalize = LENS_NORMALIZE_LAYERNORM;
    return plan;
}

struct bench_rows *bench_rows_open(const struct bench_tree *tree, uint32_t dim, uint64_t seed)
{
    struct bench_rows *rows = bench_alloc(sizeof *rows);
    if (tree->n_leaves < BENCH_ACTIVE_LEAVES)
        bench_die("the tree has %u leaves, %d are needed", tree->n_leaves, BENCH_ACTIVE_LEAVES);
    rows->tree = tree;
    rows->dim = dim;
    rows->stream = bench_substream(bench_stream_of("rows", 4), seed);
    rows->u = bench_alloc((size_t)MAX_ACTIVE * dim * sizeof(float));
    return rows;
}

void bench_rows_close(struct bench_rows *rows)
{
    free(rows->u);
    free(rows);
}

static uint32_t draw_below(struct bench_rows *rows, uint32_t bound)
{
    return bench_random_below(bench_substream(rows->stream, STREAM_LEAVES), rows->draws++, bound);
}

static uint32_t any_leaf(struct bench_rows *rows)
{
    return rows->tree->leaves[draw_below(rows, rows->tree->n_leaves)];
}

/* A childless sibling, or any leaf when there is none. */
static uint32_t sibling_leaf(struct bench_rows *rows, uint32_t leaf)
{
    const struct bench_tree *tree = rows->tree;
    int32_t parent = tree->parent[leaf];
    if (parent < 0)
        return any_leaf(rows);
    uint32_t first = (uint32_t)tree->child_offsets[parent], end = (uint32_t)tree->child_offsets[parent + 1];
    for (int tries = 0; tries < 8; tries++) {
        uint32_t other = (uint32_t)tree->child_ids[first + draw_below(rows, end - first)];
        if (other != leaf && tree->child_offsets[other] == tree->child_offsets[other + 1])
            return other;
    }
    return any_leaf(rows);
}

static void move_leaf(struct bench_rows *rows, int which, bool anywhere)
{
    uint32_t old = rows->leaves[which];
    do {
        rows->leaves[which] = anywhere || draw_below(rows, 2) ? any_leaf(rows) : sibling_leaf(rows, old);
    } while (rows->leaves[0] == rows->leaves[1]);
}

static void next_leaves(struct bench_rows *rows)
{
    for (int i = 0; i < BENCH_ACTIVE_LEAVES; i++) {
        if (rows->rows == 0 || draw_below(rows, 10) >= 7)
            move_leaf(rows, i, rows->rows == 0);
    }
}

/* The directions of all concepts on the root paths, each once; returns how many. */
static uint32_t active_directions(struct bench_rows *rows)
{
    uint32_t active[MAX_ACTIVE], n = 0;
    for (int i = 0; i < BENCH_ACTIVE_LEAVES; i++) {
        uint32_t path[16], depth = bench_tree_path_of(rows->tree, rows->leaves[i], path);
        for (uint32_t k = 0; k < depth; k++) {
            uint32_t seen = 0;
            while (seen < n && active[seen] != path[k])
                seen++;
            if (seen == n)
                active[n++] = path[k];
        }
    }
    for (uint32_t i = 0; i < n; i++)
        bench_planted_direction(rows->tree->streams[active[i]], rows->u + (size_t)i * rows->dim, rows->dim);
    return n;
}

static void draw_row(struct bench_rows *rows, uint32_t active, float *out)
{
    bench_random_normals(bench_substream(bench_substream(rows->stream, STREAM_NOISE), rows->draws++), out, rows->dim);
    for (uint32_t i = 0; i < rows->dim; i++) {
        double sum = 0;
        for (uint32_t k = 0; k < active; k++)
            sum += rows->u[(size_t)k * rows->dim + i];
        out[i] = (float)(out[i] + AMPLITUDE * sum);
    }
}

/* Does every planted concept's own unit fire on the normalised row? In double. */
static bool all_fire(const struct bench_rows *rows, uint32_t active, const float *row)
{
    double mean = 0, variance = 0;
    for (uint32_t i = 0; i < rows->dim; i++)
        mean += row[i] / (double)rows->dim;
    for (uint32_t i = 0; i < rows->dim; i++)
        variance += (row[i] - mean) * (row[i] - mean) / rows->dim;
    for (uint32_t k = 0; k < active; k++) {
        double dot = 0;
        for (uint32_t i = 0; i < rows->dim; i++)
            dot += (row[i] - mean) * (double)rows->u[(size_t)k * rows->dim + i];
        if (planted_gain(rows->dim) * dot / sqrt(variance + 1e-5) - 9 < FIRES_ABOVE)
            return false;
    }
    return true;
}

void bench_rows_next(struct bench_rows *rows, float *out)
{
    next_leaves(rows);
    for (uint32_t tries = 0;; tries++) {
        uint32_t active = active_directions(rows);
        draw_row(rows, active, out);
        if (all_fire(rows, active, out))
            break;
        rows->redrawn++;
        if (tries % 8 == 7) {
            move_leaf(rows, 0, true);
            move_leaf(rows, 1, true);
        }
        if (tries == 10000)
            bench_die("dim %u is too small to plant answers in", rows->dim);
    }
    rows->rows++;
}
