/* See world.h. */
#include "tests/gpu/bench/world.h"

#include "tests/bench/support/bench.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define WRITES 64u

/* ---- weights ---------------------------------------------------------------------------------------------------- */

struct maker {
    struct world *world;
    atomic_uint *next;
};

static void store_lens(struct world *w, uint32_t i, const struct bench_lens *lens)
{
    size_t h1 = w->shape.h1, h2 = w->shape.h2, n1 = h1 * w->shape.dim, n2 = h1 * h2;
    uint16_t *w1 = w->w1 + (size_t)i * n1, *w2 = (uint16_t *)w->model.w2 + (size_t)i * n2;
    for (size_t k = 0; k < n1; k++)
        w1[k] = lens_bf16_from_f32(lens->w1[k]);
    for (size_t k = 0; k < n2; k++)
        w2[k] = lens_bf16_from_f32(lens->w2[k]);
    memcpy((float *)w->model.b1 + (size_t)i * h1, lens->b1, h1 * sizeof(float));
    memcpy((float *)w->model.b2 + (size_t)i * h2, lens->b2, h2 * sizeof(float));
    memcpy((float *)w->model.w3 + (size_t)i * h2, lens->w3, h2 * sizeof(float));
    ((float *)w->model.b3)[i] = lens->b3;
}

static void *make_lenses(void *arg)
{
    struct maker *m = arg;
    struct bench_lens *lens = bench_lens_open(m->world->shape);
    for (uint32_t i; (i = atomic_fetch_add(m->next, 1)) < m->world->model.lenses;) {
        bench_lens_make(lens, m->world->tree->streams[i]);
        store_lens(m->world, i, lens);
    }
    bench_lens_close(lens);
    return NULL;
}

static void make_weights(struct world *w)
{
    pthread_t threads[64];
    atomic_uint next = 0;
    struct maker maker = {w, &next};
    uint32_t n = bench_min(bench_cpus(), 64);
    for (uint32_t i = 0; i < n; i++)
        if (pthread_create(&threads[i], NULL, make_lenses, &maker) != 0)
            bench_die("no thread to make weights");
    for (uint32_t i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
}

/* Leaves the tree's first lenses: parents come before their children, so that what remains is a tree. */
static void cut_tree(struct bench_tree *tree, uint32_t lenses)
{
    int32_t n = 0, first = 0;
    for (uint32_t i = lenses; i < tree->n; i++)
        free(tree->keys[i]);
    tree->n = lenses;
    tree->n_leaves = 0;
    for (uint32_t i = 0; i < lenses; i++) {
        int32_t end = tree->child_offsets[i + 1];
        for (int32_t e = first; e < end; e++)
            if ((uint32_t)tree->child_ids[e] < lenses)
                tree->child_ids[n++] = tree->child_ids[e];
        first = end;
        tree->child_offsets[i + 1] = n;
        if (tree->child_offsets[i] == n)
            tree->leaves[tree->n_leaves++] = i;
    }
}

static void make_model(struct world *w, uint32_t lenses)
{
    struct bench_shape s = w->shape;
    size_t n = lenses, w1 = n * s.h1 * s.dim * sizeof(uint16_t);
    float *calibration = bench_alloc(n * LENS_CALIBRATION_FIELDS * sizeof(float));
    for (size_t i = 0; i < n * LENS_CALIBRATION_FIELDS; i++)
        calibration[i] = NAN;
    w->model = (struct lens_model){.lenses = lenses,
                                   .dim = s.dim,
                                   .h1 = s.h1,
                                   .h2 = s.h2,
                                   .normalize = LENS_NORMALIZE_LAYERNORM,
                                   .b1 = bench_alloc(n * s.h1 * sizeof(float)),
                                   .w2 = bench_alloc(n * s.h1 * s.h2 * sizeof(uint16_t)),
                                   .w2_dtype = LENS_BF16,
                                   .b2 = bench_alloc(n * s.h2 * sizeof(float)),
                                   .w3 = bench_alloc(n * s.h2 * sizeof(float)),
                                   .b3 = bench_alloc(n * sizeof(float)),
                                   .child_offsets = w->tree->child_offsets,
                                   .child_ids = w->tree->child_ids,
                                   .layer = w->tree->layer,
                                   .calibration = calibration};
    w->w1 = w->backend->ops->host_alloc != NULL ? w->backend->ops->host_alloc(w->backend, w1) : bench_alloc(w1);
    if (w->w1 == NULL)
        bench_die("no page-locked memory of %.1f GB for the weights", (double)w1 * 1e-9);
    make_weights(w);
}

/* ---- rows ------------------------------------------------------------------------------------------------------- */

static void make_rows(struct world *w, uint32_t rows, uint32_t sequences)
{
    struct bench_rows *streams[64];
    size_t dim = w->shape.dim, bytes = (rows * dim * sizeof(float) + 4095) / 4096 * 4096;
    struct lens_error err = {0};
    w->rows = rows;
    w->sequences = bench_min(sequences, 64);
    w->states = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (w->states == MAP_FAILED)
        bench_die("no memory for %u rows", rows);
    w->leaves = bench_alloc((size_t)rows * BENCH_ACTIVE_LEAVES * sizeof *w->leaves);
    for (uint32_t q = 0; q < w->sequences; q++)
        streams[q] = bench_rows_open(w->tree, w->shape.dim, q + 1);
    for (uint32_t t = 0; t < rows; t++) {
        bench_rows_next(streams[t % w->sequences], w->states + t * dim);
        memcpy(w->leaves + (size_t)t * BENCH_ACTIVE_LEAVES, streams[t % w->sequences]->leaves,
               sizeof streams[0]->leaves);
    }
    for (uint32_t q = 0; q < w->sequences; q++)
        bench_rows_close(streams[q]);
    if (w->backend->ops->host_register != NULL &&
        w->backend->ops->host_register(w->backend, w->states, bytes, &w->device_states, &err) != 0)
        printf("note: rows are copied, not read in place: %s\n", err.text);
}

struct world *world_open(struct lens_backend *backend, const char *tree, uint32_t lenses, struct bench_shape shape,
                         uint32_t rows, uint32_t sequences)
{
    struct world *w = bench_alloc(sizeof *w);
    w->backend = backend;
    w->shape = shape;
    w->tree = bench_tree_open(tree);
    lenses = lenses > 0 ? bench_min(lenses, w->tree->n) : w->tree->n;
    cut_tree(w->tree, lenses);
    make_model(w, lenses);
    w->all = bench_alloc(lenses * sizeof *w->all);
    for (uint32_t i = 0; i < lenses; i++) {
        w->all[i] = i;
        if (w->tree->layer[i] <= 1)
            w->base = i + 1; /* pack order: they come first */
    }
    make_rows(w, rows, sequences);
    return w;
}

void world_close(struct world *w)
{
    size_t bytes = ((size_t)w->rows * w->shape.dim * sizeof(float) + 4095) / 4096 * 4096;
    if (w->device_states != NULL)
        w->backend->ops->host_unregister(w->backend, w->states);
    munmap(w->states, bytes);
    if (w->backend->ops->host_free != NULL)
        w->backend->ops->host_free(w->backend, w->w1);
    else
        free(w->w1);
    free((void *)w->model.b1);
    free((void *)w->model.w2);
    free((void *)w->model.b2);
    free((void *)w->model.w3);
    free((void *)w->model.b3);
    free((void *)w->model.calibration);
    free(w->leaves);
    free(w->all);
    bench_tree_close(w->tree);
    free(w);
}

/* ---- slabs ------------------------------------------------------------------------------------------------------ */

struct lens_slot_write world_write(const struct world *w, uint32_t lens, uint32_t slot)
{
    return (struct lens_slot_write){
        .slot = slot, .lens = lens, .stored = LENS_BF16, .w1 = w->w1 + (size_t)lens * w->shape.h1 * w->shape.dim};
}

static void note_done(void *arg, int status)
{
    atomic_store((atomic_int *)arg, status == 0 ? 1 : -1);
}

void world_load(struct lens_slab *slab, uint32_t loader, const struct lens_slot_write *writes, uint32_t n)
{
    atomic_int done = 0;
    struct lens_error err = {0};
    if (slab->backend->ops->slot_write(slab, loader, writes, n, note_done, &done, &err) != 0)
        bench_die("slot_write: %s", err.text);
    while (atomic_load(&done) == 0)
        ;
    if (atomic_load(&done) < 0)
        bench_die("lenses couldn't be written");
}

struct lens_slab *world_slab(struct world *w, enum lens_dtype dtype, enum lens_compute compute, uint32_t max_rows,
                             uint32_t loaders)
{
    struct lens_slab_config config = {
        .slots = w->model.lenses, .dtype = dtype, .compute = compute, .max_batch_rows = max_rows, .loaders = loaders};
    struct lens_slab *slab = NULL;
    struct lens_error err = {0};
    if (w->backend->ops->slab_create(w->backend, &w->model, &config, &slab, &err) != 0) {
        printf("%s slab, compute %s: %s\n", lens_dtype_name(dtype), lens_compute_name(compute), err.text);
        return NULL;
    }
    for (uint32_t first = 0; first < w->model.lenses; first += WRITES) {
        struct lens_slot_write writes[WRITES];
        uint32_t n = bench_min(WRITES, w->model.lenses - first);
        for (uint32_t i = 0; i < n; i++)
            writes[i] = world_write(w, first + i, first + i);
        world_load(slab, 0, writes, n);
        for (uint32_t i = 0; i < n; i++)
            lens_slab_map(slab, first + i, first + i, LENS_FROM_FILE);
    }
    return slab;
}

double world_lens_bytes(const struct world *w, enum lens_dtype dtype)
{
    double h1 = w->shape.h1, h2 = w->shape.h2, scales = dtype == LENS_I8 || dtype == LENS_FP8 ? h1 * 4 : 0;
    return h1 * w->shape.dim * lens_dtype_bytes(dtype) + scales + h1 * h2 * 2 + (h1 + 2 * h2 + 1) * 4;
}

/* ---- rows on their way ------------------------------------------------------------------------------------------ */

void world_row_open(struct world_row *row, const struct world *w)
{
    *row = (struct world_row){0};
    lens_options_default(&row->options);
    row->expanded = bench_alloc(w->model.lenses * sizeof *row->expanded);
    row->retained = bench_alloc(w->model.lenses * sizeof *row->retained);
    row->kept = bench_alloc(w->model.lenses * sizeof *row->kept);
}

void world_row_close(struct world_row *row)
{
    free(row->expanded);
    free(row->retained);
    free(row->kept);
}

void world_row_next(struct world_row *row, const struct world *w, uint32_t t)
{
    size_t at = (size_t)(t % w->rows) * w->shape.dim;
    uint32_t n_kept = row->job.n_kept;
    if (row->job.retained_changed) {
        uint32_t *swap = row->kept;
        row->kept = row->retained;
        row->retained = swap;
        n_kept = row->job.n_retained;
    }
    memset(row->detections, 0xff, sizeof row->detections);
    row->out = (struct lens_row_out){
        .expanded = row->expanded, .expanded_capacity = w->model.lenses, .detections = row->detections};
    row->job = (struct lens_job){.rows = w->states + at,
                                 .device_rows = w->device_states != NULL ? (float *)w->device_states + at : NULL,
                                 .dtype = LENS_F32,
                                 .n_rows = 1,
                                 .options = &row->options,
                                 .base = w->all,
                                 .n_base = w->base,
                                 .kept = row->kept,
                                 .n_kept = n_kept,
                                 .state = LENS_JOB_NEW,
                                 .out = &row->out,
                                 .retained = row->retained,
                                 .retained_capacity = w->model.lenses};
}

void world_run(struct lens_slab *slab, struct lens_job **jobs, uint32_t n, uint32_t *misses, uint32_t *used)
{
    struct lens_batch batch = {.jobs = jobs, .n_jobs = n, .misses = misses, .used = used};
    struct lens_error err = {0};
    int rc = slab->backend->ops->run(slab, &batch, &err);
    if (rc != LENS_RUN_DONE)
        bench_die("run returned %d with %u misses: %s", rc, batch.n_misses, err.text);
}
