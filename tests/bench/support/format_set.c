/* See format_set.h. */
#include "tests/bench/support/format_set.h"

#include "tests/bench/support/bench.h"
#include "tests/bench/support/reference64.h"

#include "proto/pack_convert.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const enum lens_dtype coded[] = {LENS_BF16, LENS_I8, LENS_LOG8};

/* ---- the packs -------------------------------------------------------------------------------------------------- */

static void path_of(enum lens_dtype dtype, char *out, size_t size)
{
    char name[64];
    snprintf(name, sizeof name, "formats-%s.lens", lens_dtype_name(dtype));
    bench_path_beside(name, out, size);
}

static double *normalized(const struct bench_format_set *set)
{
    const size_t dim = set->shape.dim;
    double *x = bench_alloc(set->rows * dim * sizeof *x);
    for (uint32_t r = 0; r < set->rows; r++)
        bench_normalize64(set->states + r * dim, set->shape.dim, x + r * dim);
    return x;
}

static void make_states(struct bench_format_set *set, const struct bench_tree *tree)
{
    struct bench_rows *rows = bench_rows_open(tree, set->shape.dim, 7);
    set->states = bench_alloc((size_t)set->rows * set->shape.dim * sizeof(float));
    for (uint32_t r = 0; r < set->rows; r++)
        bench_rows_next(rows, set->states + (size_t)r * set->shape.dim);
    bench_rows_close(rows);
}

/* The tree without the concepts from `n` on: pack order makes their children the last ones too. */
static void cut_tree(struct bench_tree *tree, uint32_t n)
{
    int32_t edges = 0, first = 0;
    for (uint32_t i = 0; i < n; i++) {
        const int32_t end = tree->child_offsets[i + 1];
        for (int32_t k = first; k < end; k++)
            if ((uint32_t)tree->child_ids[k] < n)
                tree->child_ids[edges++] = tree->child_ids[k];
        first = end;
        tree->child_offsets[i + 1] = edges;
    }
}

/* Writes the f32 pack and reckons the right answers as the weights come by. */
static void write_f32(struct bench_format_set *set, const struct bench_tree *tree, const char *path)
{
    struct lens_error err = {0};
    struct lens_pack_writer *writer;
    struct bench_lens *lens = bench_lens_open(set->shape);
    double *x = normalized(set);
    struct lens_pack_plan plan = bench_planted_plan(tree, set->shape, LENS_F32);
    plan.lenses = set->lenses;
    if (lens_pack_writer_create(path, &plan, &writer, &err) < 0)
        bench_die("%s", err.text);
    for (uint32_t i = 0; i < set->lenses; i++) {
        bench_lens_make(lens, tree->streams[i]);
        const struct lens_weights weights = bench_lens_view(lens);
        if (lens_pack_writer_add(writer, &weights, &err) < 0) {
            lens_pack_writer_abort(writer);
            bench_die("%s", err.text);
        }
        for (uint32_t r = 0; r < set->rows; r++)
            set->exact[(size_t)r * set->lenses + i] =
                bench_logit64(&weights, set->shape, x + (size_t)r * set->shape.dim);
    }
    if (lens_pack_writer_finish(writer, &err) < 0)
        bench_die("%s", err.text);
    free(x);
    bench_lens_close(lens);
}

static void convert_all(struct bench_format_set *set, const char *f32)
{
    char path[4096];
    struct lens_error err = {0};
    for (size_t d = 0; d < sizeof coded / sizeof coded[0]; d++) {
        struct lens_conversion done;
        const struct lens_convert_options options = {.dtype = coded[d]};
        path_of(coded[d], path, sizeof path);
        if (lens_pack_convert(f32, path, &options, &done, &err) < 0 ||
            lens_pack_open(path, &set->pack[coded[d]], &err) < 0)
            bench_die("%s", err.text);
        unlink(path);
    }
    if (lens_pack_open(f32, &set->pack[LENS_F32], &err) < 0)
        bench_die("%s", err.text);
    unlink(f32);
}

struct bench_format_set *bench_format_set_open(const char *tree_path, uint32_t lenses, uint32_t rows)
{
    char path[4096];
    struct bench_format_set *set = bench_alloc(sizeof *set);
    struct bench_tree *tree = bench_tree_open(tree_path);
    if (lenses > tree->n)
        bench_die("the tree has %u lenses, %u are wanted", tree->n, lenses);
    set->shape = (struct bench_shape){2560, 128, 64};
    set->lenses = lenses;
    set->rows = rows;
    set->exact = bench_alloc((size_t)rows * lenses * sizeof *set->exact);
    make_states(set, tree);
    cut_tree(tree, lenses);
    path_of(LENS_F32, path, sizeof path);
    write_f32(set, tree, path);
    convert_all(set, path);
    bench_tree_close(tree);
    return set;
}

void bench_format_set_close(struct bench_format_set *set)
{
    for (int d = 0; d < LENS_DTYPES; d++)
        lens_pack_close(set->pack[d]);
    free(set->states);
    free(set->exact);
    free(set);
}

uint64_t bench_stored_bytes(const struct lens_pack *pack)
{
    const uint64_t tables = pack->w1_dtype == LENS_I8 ? 1 : pack->w1_dtype == LENS_LOG8 ? 2 : 0;
    return pack->w1_lens_bytes + pack->w1_sign_bytes + tables * pack->h1 * sizeof(float) +
           (uint64_t)pack->h2 * pack->h1 * lens_dtype_bytes(pack->w2_dtype);
}

/* ---- a slab ----------------------------------------------------------------------------------------------------- */

uint32_t bench_format_slot(const struct bench_format_slab *s, uint32_t copy, uint32_t lens)
{
    return copy == 0 ? lens : s->set->lenses + (copy - 1) * s->base + lens;
}

void bench_format_read(struct bench_format_slab *s, uint32_t lens)
{
    struct lens_error err = {0};
    if (lens_pack_read_w1(s->pack, lens, 1, s->w1, s->sign, &err) < 0)
        bench_die("%s", err.text);
}

static void written(void *arg, int status)
{
    if (status != 0)
        bench_die("a slot write failed: %s", strerror(-status));
    atomic_store((atomic_bool *)arg, true);
}

void bench_format_write(struct bench_format_slab *s, uint32_t lens, uint32_t slot, const void *w1, const void *sign)
{
    const size_t row = (size_t)lens * s->pack->h1;
    const struct lens_slot_write write = {
        .slot = slot,
        .lens = lens,
        .stored = s->pack->w1_dtype,
        .w1 = w1,
        .sign = sign,
        .scale = s->pack->w1_scale != NULL ? s->pack->w1_scale + row : NULL,
        .log_min = s->pack->w1_log_min != NULL ? s->pack->w1_log_min + row : NULL,
        .log_max = s->pack->w1_log_max != NULL ? s->pack->w1_log_max + row : NULL,
    };
    struct lens_error err = {0};
    atomic_bool done = false;
    s->slab->lens_in[slot] = -1;
    if (s->slab->backend->ops->slot_write(s->slab, 0, &write, 1, written, &done, &err) < 0)
        bench_die("%s", err.text);
    while (!atomic_load(&done))
        ;
    lens_slab_map(s->slab, lens, slot, LENS_FROM_FILE); /* copies: slot_of is that of the last one, which nobody asks */
}

void bench_format_score(struct bench_format_slab *s, uint32_t copy, uint32_t n, uint32_t first_row, uint32_t rows,
                        float *logits)
{
    struct lens_error err = {0};
    struct lens_score_item *items = bench_alloc(n * sizeof *items);
    uint32_t *which = bench_alloc((size_t)n * rows * sizeof *which);
    for (uint32_t i = 0; i < n; i++) {
        items[i] = (struct lens_score_item){bench_format_slot(s, copy, i), i, i * rows, rows};
        for (uint32_t r = 0; r < rows; r++)
            which[i * rows + r] = first_row + r;
    }
    if (s->slab->backend->ops->score(s->slab, items, n, which, logits, &err) < 0)
        bench_die("%s", err.text);
    free(items);
    free(which);
}

static int create_slab(struct lens_backend *backend, struct bench_format_slab *s, enum lens_dtype dtype,
                       uint64_t at_least_bytes, struct lens_error *err)
{
    struct lens_model model;
    const uint64_t one = (uint64_t)s->set->shape.h1 * s->set->shape.dim * lens_dtype_bytes(dtype) * s->base;
    lens_model_of_pack(s->pack, &model);
    s->copies = (uint32_t)(at_least_bytes / one) + 1;
    const struct lens_slab_config config = {
        .slots = s->set->lenses + (s->copies - 1) * s->base,
        .dtype = dtype,
        .compute = LENS_COMPUTE_EXACT,
        .max_batch_rows = s->set->rows,
        .loaders = 1,
    };
    return backend->ops->slab_create(backend, &model, &config, &s->slab, err);
}

struct bench_format_slab *bench_format_slab_open(struct lens_backend *backend, const struct bench_format_set *set,
                                                 const struct lens_pack *pack, enum lens_dtype dtype, uint32_t base,
                                                 uint64_t at_least_bytes, struct lens_error *err)
{
    struct bench_format_slab *s = bench_alloc(sizeof *s);
    *s = (struct bench_format_slab){.set = set, .pack = pack, .base = base};
    s->w1 = bench_alloc(pack->w1_lens_bytes);
    s->sign = bench_alloc(pack->w1_sign_bytes + 1);
    int failed = create_slab(backend, s, dtype, at_least_bytes, err);
    if (failed == -ENOMEM)
        bench_die("%s", err->text);
    if (failed < 0) {
        s->slab = NULL;
        bench_format_slab_close(s);
        return NULL;
    }
    for (uint32_t i = 0; i < set->lenses; i++) {
        bench_format_read(s, i);
        for (uint32_t c = 0; c < (i < base ? s->copies : 1); c++)
            bench_format_write(s, i, bench_format_slot(s, c, i), s->w1, s->sign);
    }
    for (uint32_t r = 0; r < set->rows; r++)
        if (backend->ops->stage(s->slab, r, set->states + (size_t)r * set->shape.dim, LENS_F32) != 0)
            bench_die("row %u was refused", r);
    return s;
}

void bench_format_slab_close(struct bench_format_slab *s)
{
    if (s->slab != NULL)
        s->slab->backend->ops->slab_destroy(s->slab);
    free(s->w1);
    free(s->sign);
    free(s);
}
