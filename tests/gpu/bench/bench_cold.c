/* P5: lenses from page-locked host memory into slots, against a bare copy; loads beside scoring; a stream of rows of
 * whose lenses 30% beyond the base are in no slot. See tables.h. */
#include "tests/gpu/bench/tables.h"

#include "tests/bench/support/bench.h"
#include "tests/bench/support/random.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOADERS_MOST 8u
#define FAMILY_MOST  64u

static double stored_bytes(const struct world *w)
{
    return (double)w->shape.h1 * w->shape.dim * sizeof(uint16_t);
}

/* ---- loader threads --------------------------------------------------------------------------------------------- */

struct loader {
    struct bench_run *run;
    uint32_t index, family;
    uint32_t first, end; /* its own slots: nobody else writes or scores them */
    atomic_bool *stop;
    atomic_ullong *loaded;
};

static void *load_families(void *arg)
{
    struct loader *l = arg;
    struct lens_slot_write writes[FAMILY_MOST];
    for (uint32_t at = l->first; !atomic_load(l->stop);) {
        if (at + l->family > l->end)
            at = l->first;
        for (uint32_t i = 0; i < l->family; i++)
            writes[i] = world_write(l->run->world, at + i, at + i);
        world_load(l->run->slab, l->index, writes, l->family);
        atomic_fetch_add(l->loaded, l->family);
        at += l->family;
    }
    return NULL;
}

struct crew {
    struct loader loaders[LOADERS_MOST];
    pthread_t threads[LOADERS_MOST];
    uint32_t n;
    atomic_bool stop;
    atomic_ullong loaded;
    uint64_t began;
};

/* Loaders share out the lenses from `first` on, which nobody scores meanwhile. */
static void crew_start(struct crew *c, struct bench_run *run, uint32_t n, uint32_t family, uint32_t first)
{
    uint32_t share = (run->world->model.lenses - first) / n;
    c->n = n;
    atomic_store(&c->stop, false);
    atomic_store(&c->loaded, 0);
    c->began = bench_now_ns();
    for (uint32_t i = 0; i < n; i++) {
        c->loaders[i] = (struct loader){
            run, i, bench_min(family, share), first + i * share, first + (i + 1) * share, &c->stop, &c->loaded};
        if (pthread_create(&c->threads[i], NULL, load_families, &c->loaders[i]) != 0)
            bench_die("no thread for a loader");
    }
}

/* Lenses a second. */
static double crew_stop(struct crew *c)
{
    double lenses = (double)atomic_load(&c->loaded), ns = (double)(bench_now_ns() - c->began);
    atomic_store(&c->stop, true);
    for (uint32_t i = 0; i < c->n; i++)
        pthread_join(c->threads[i], NULL);
    return lenses / ns * 1e9;
}

static void wait_ms(uint32_t ms)
{
    uint64_t until = bench_now_ns() + ms * 1000000ull;
    while (bench_now_ns() < until)
        ;
}

static void bulk(struct bench_run *run)
{
    static const uint32_t families[] = {1, 8, 64};
    static struct crew crew;
    printf("  loaders family   lenses/s   us/lens    GB/s  of the bare copy (%.1f GB/s)\n", run->copy_rate * 1e-9);
    for (uint32_t n = 1; n <= run->loaders; n *= 2) {
        for (uint32_t f = 0; f < 3; f++) {
            crew_start(&crew, run, n, families[f], 0);
            wait_ms(run->quick ? 20 : 700);
            double rate = crew_stop(&crew), bytes = rate * stored_bytes(run->world);
            printf("  %7u %6u %10.0f %9.1f %7.1f %6.2f\n", n, families[f], rate, 1e6 / rate, bytes * 1e-9,
                   bytes / run->copy_rate);
            fflush(stdout);
            bench_figure(run, "load");
            figures_number(run->figures, "loaders", n);
            figures_number(run->figures, "family", families[f]);
            figures_number(run->figures, "lenses_per_second", rate);
            figures_number(run->figures, "bytes_per_second", bytes);
            figures_number(run->figures, "ratio_to_copy", bytes / run->copy_rate);
            figures_end(run->figures);
        }
    }
}

/* ---- loads beside scoring --------------------------------------------------------------------------------------- */

struct scored {
    struct world_row row;
    struct lens_job *job;
    uint32_t *misses, *used;
};

static void scored_open(struct scored *s, const struct world *w)
{
    world_row_open(&s->row, w);
    s->job = &s->row.job;
    s->misses = bench_alloc(w->model.lenses * sizeof *s->misses);
    s->used = bench_alloc(w->model.lenses * sizeof *s->used);
}

static void scored_close(struct scored *s)
{
    world_row_close(&s->row);
    free(s->misses);
    free(s->used);
}

static struct bench_summary time_base(struct bench_run *run, struct scored *s, uint32_t rows)
{
    double *wall = bench_alloc(rows * sizeof *wall);
    s->row.options.max_depth = 0;
    s->row.options.keep_top_k = 0;
    for (uint32_t t = 0; t < rows; t++) {
        world_row_next(&s->row, run->world, t);
        uint64_t began = bench_now_ns();
        world_run(run->slab, &s->job, 1, s->misses, s->used);
        wall[t] = (double)(bench_now_ns() - began);
    }
    struct bench_summary out = bench_summarize(wall, rows);
    free(wall);
    return out;
}

static void overlap(struct bench_run *run)
{
    static struct crew crew;
    static struct scored s;
    uint32_t rows = run->rounds * 10;
    scored_open(&s, run->world);
    time_base(run, &s, rows / 10 + 1);
    struct bench_summary quiet = time_base(run, &s, rows);
    crew_start(&crew, run, run->loaders, 8, run->world->base);
    wait_ms(run->quick ? 5 : 50);
    struct bench_summary busy = time_base(run, &s, rows);
    double rate = crew_stop(&crew) * stored_bytes(run->world);
    printf(
        "  base lenses of a row: p50 %.1f us, p99 %.1f us alone; p50 %.1f us, p99 %.1f us while %u loaders bring %.1f "
        "GB/s (%.2f of the bare copy)\n",
        quiet.p50 * 1e-3, quiet.p99 * 1e-3, busy.p50 * 1e-3, busy.p99 * 1e-3, run->loaders, rate * 1e-9,
        rate / run->copy_rate);
    bench_figure(run, "overlap");
    figures_number(run->figures, "quiet_p50_ns", quiet.p50);
    figures_number(run->figures, "quiet_p99_ns", quiet.p99);
    figures_number(run->figures, "busy_p50_ns", busy.p50);
    figures_number(run->figures, "busy_p99_ns", busy.p99);
    figures_number(run->figures, "loaded_bytes_per_second", rate);
    figures_number(run->figures, "ratio_to_copy", rate / run->copy_rate);
    figures_end(run->figures);
    scored_close(&s);
}

/* ---- a stream with cold lenses ---------------------------------------------------------------------------------- */

/* Takes `percent` of the lenses beyond the base out of their slots, others for each row. */
static void make_cold(struct bench_run *run, uint32_t t, uint32_t percent)
{
    uint64_t stream = bench_stream_of("cold", 4);
    for (uint32_t i = run->world->base; i < run->world->model.lenses; i++) {
        bool cold = bench_random_below(stream, (uint64_t)t * run->world->model.lenses + i, 100) < percent;
        if (cold)
            lens_slab_unmap(run->slab, i);
        else if (run->slab->slot_of[i] < 0)
            lens_slab_map(run->slab, i, i, LENS_FROM_HOST);
    }
}

static void load_misses(struct bench_run *run, const uint32_t *misses, uint32_t n)
{
    struct lens_slot_write writes[FAMILY_MOST];
    for (uint32_t first = 0; first < n; first += FAMILY_MOST) {
        uint32_t m = bench_min(n - first, FAMILY_MOST);
        for (uint32_t i = 0; i < m; i++)
            writes[i] = world_write(run->world, misses[first + i], misses[first + i]);
        world_load(run->slab, 0, writes, m);
    }
    for (uint32_t i = 0; i < n; i++)
        lens_slab_map(run->slab, misses[i], misses[i], LENS_FROM_HOST);
}

/* One row to its end; returns how many lenses had to be loaded. */
static uint32_t run_cold_row(struct bench_run *run, struct scored *s)
{
    uint32_t loads = 0;
    for (;;) {
        struct lens_batch batch = {.jobs = &s->job, .n_jobs = 1, .misses = s->misses, .used = s->used};
        struct lens_error err = {0};
        int rc = run->slab->backend->ops->run(run->slab, &batch, &err);
        if (rc == LENS_RUN_DONE)
            return loads;
        if (rc != LENS_RUN_MISSES)
            bench_die("run returned %d: %s", rc, err.text);
        load_misses(run, s->misses, batch.n_misses);
        loads += batch.n_misses;
    }
}

static void stream(struct bench_run *run, uint32_t percent)
{
    static struct scored s;
    uint32_t rows = run->rounds;
    double *wall = bench_alloc(rows * sizeof *wall), loads = 0, scored = 0;
    scored_open(&s, run->world);
    for (uint32_t t = 0; t < rows; t++) {
        make_cold(run, t, percent);
        world_row_next(&s.row, run->world, t);
        uint64_t began = bench_now_ns();
        loads += run_cold_row(run, &s);
        wall[t] = (double)(bench_now_ns() - began);
        scored += s.row.out.counts.scored;
    }
    make_cold(run, 0, 0);
    struct bench_summary sum = bench_summarize(wall, rows);
    double floor = loads / rows * stored_bytes(run->world) / run->copy_rate +
                   scored / rows * world_lens_bytes(run->world, run->dtype) / run->read_rate;
    printf("  a row at a time, %2u%% cold: p50 %.1f us, p99 %.1f us, mean %.1f us; %.1f of %.1f lenses loaded; copying "
           "and reading alone %.1f us\n",
           percent, sum.p50 * 1e-3, sum.p99 * 1e-3, sum.mean * 1e-3, loads / rows, scored / rows, floor * 1e6);
    bench_figure(run, "cold_stream");
    figures_number(run->figures, "percent_cold", percent);
    figures_number(run->figures, "p50_ns", sum.p50);
    figures_number(run->figures, "p99_ns", sum.p99);
    figures_number(run->figures, "mean_ns", sum.mean);
    figures_number(run->figures, "loads_per_row", loads / rows);
    figures_number(run->figures, "lenses_scored", scored / rows);
    figures_number(run->figures, "floor_ns", floor * 1e9);
    figures_end(run->figures);
    scored_close(&s);
    free(wall);
}

void bench_table_cold(struct bench_run *run)
{
    printf("P5: lenses stored as bf16 in page-locked memory, into %s slots\n", lens_dtype_name(run->dtype));
    bulk(run);
    overlap(run);
    stream(run, 0);
    stream(run, 30);
}
