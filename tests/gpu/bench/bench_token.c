/* P3: one row at a time through the whole cascade, everything resident. P8: 1 to 64 rows of as many sequences at once.
 *
 * At the level of the backend's run: no client, no ring, no daemon. Rows take turns between sequences, so that their
 * lenses come from memory and not from the cache. See tables.h. */
#include "tests/gpu/bench/tables.h"

#include "tests/bench/support/bench.h"

#include <stdio.h>
#include <stdlib.h>

#define SEQUENCES 64u

struct stream {
    struct bench_run *run;
    struct world_row rows[SEQUENCES]; /* one of each sequence */
    struct lens_job *jobs[SEQUENCES];
    uint32_t n;
    uint32_t *misses, *used;
    uint64_t planted, found;
};

static void stream_open(struct stream *s, struct bench_run *run, uint32_t n, enum lens_expand expand)
{
    s->run = run;
    s->n = n;
    s->planted = s->found = 0;
    s->misses = bench_alloc(run->world->model.lenses * sizeof *s->misses);
    s->used = bench_alloc(run->world->model.lenses * sizeof *s->used);
    for (uint32_t i = 0; i < n; i++) {
        world_row_open(&s->rows[i], run->world);
        s->rows[i].options.expand = expand;
        s->jobs[i] = &s->rows[i].job;
    }
}

static void stream_close(struct stream *s)
{
    for (uint32_t i = 0; i < s->n; i++)
        world_row_close(&s->rows[i]);
    free(s->misses);
    free(s->used);
}

/* Which of the row's planted leaves it found. */
static void look(struct stream *s, const struct world_row *row, uint32_t t)
{
    const struct world *w = s->run->world;
    const uint32_t *leaves = w->leaves + (size_t)(t % w->rows) * BENCH_ACTIVE_LEAVES;
    for (uint32_t k = 0; k < BENCH_ACTIVE_LEAVES; k++) {
        s->planted++;
        for (uint32_t i = 0; i < row->out.n_detections; i++)
            s->found += row->detections[i].id == leaves[k];
    }
}

static double recall(const struct stream *s)
{
    return s->planted > 0 ? (double)s->found / (double)s->planted : 0;
}

/* ---- P3 --------------------------------------------------------------------------------------------------------- */

struct samples {
    double *wall, *ratio;
    double copy_in, base, expand, select, scored;
    uint32_t n;
};

static void take(struct samples *out, const struct bench_run *run, const struct world_row *row, double wall)
{
    const struct lens_job_timing *t = &row->job.timing;
    double floor = row->out.counts.scored * world_lens_bytes(run->world, run->dtype) / run->read_rate * 1e9;
    out->wall[out->n] = wall;
    out->ratio[out->n++] = wall / floor;
    out->copy_in += (double)t->copy_in;
    out->base += (double)t->base;
    out->expand += (double)t->expand;
    out->select += (double)t->select;
    out->scored += row->out.counts.scored;
}

static void show_token(struct bench_run *run, const char *mode, struct samples *x, const struct stream *s)
{
    double n = x->n, floor = x->scored / n * world_lens_bytes(run->world, run->dtype) / run->read_rate * 1e9;
    struct bench_summary wall = bench_summarize(x->wall, x->n);
    printf("  %-5s %-7s %-9s %7.1f %7.1f %7.1f %8.1f | %7.1f %7.1f %7.1f %7.1f | %6.0f %7.1f %5.2f %6.1f%%\n",
           lens_dtype_name(run->dtype), lens_compute_name(run->compute), mode, wall.p50 * 1e-3, wall.p95 * 1e-3,
           wall.p99 * 1e-3, wall.max * 1e-3, x->copy_in / n * 1e-3, x->base / n * 1e-3, x->expand / n * 1e-3,
           x->select / n * 1e-3, x->scored / n, floor * 1e-3, bench_quantile(x->ratio, x->n, 0.5), 100 * recall(s));
    fflush(stdout);
    bench_figure(run, "token");
    figures_text(run->figures, "expand_mode", mode);
    figures_number(run->figures, "p50_ns", wall.p50);
    figures_number(run->figures, "p95_ns", wall.p95);
    figures_number(run->figures, "p99_ns", wall.p99);
    figures_number(run->figures, "max_ns", wall.max);
    figures_number(run->figures, "copy_in_ns", x->copy_in / n);
    figures_number(run->figures, "base_ns", x->base / n);
    figures_number(run->figures, "expand_ns", x->expand / n);
    figures_number(run->figures, "select_ns", x->select / n);
    figures_number(run->figures, "lenses_scored", x->scored / n);
    figures_number(run->figures, "floor_ns", floor);
    figures_number(run->figures, "planted_recall", recall(s));
    figures_number(run->figures, "rows", n);
    figures_end(run->figures);
}

static void token_mode(struct bench_run *run, enum lens_expand expand, uint32_t rows)
{
    static struct stream s;
    struct samples x = {.wall = bench_alloc(rows * sizeof(double)), .ratio = bench_alloc(rows * sizeof(double))};
    uint32_t sequences = bench_min(run->world->sequences, SEQUENCES), warm = run->quick ? 2 : 200;
    stream_open(&s, run, sequences, expand);
    for (uint32_t t = 0; t < warm + rows; t++) {
        struct world_row *row = &s.rows[t % sequences];
        world_row_next(row, run->world, t);
        uint64_t began = bench_now_ns();
        world_run(run->slab, &s.jobs[t % sequences], 1, s.misses, s.used);
        double wall = (double)(bench_now_ns() - began);
        look(&s, row, t);
        if (t >= warm)
            take(&x, run, row, wall);
    }
    show_token(run, lens_expand_names[expand], &x, &s);
    stream_close(&s);
    free(x.wall);
    free(x.ratio);
}

void bench_table_token(struct bench_run *run)
{
    printf("P3: a row at a time, all of %u lenses resident; microseconds around run(), and of its stages\n",
           run->world->model.lenses);
    printf("  dtype compute expand        p50     p95     p99      max | copy_in    base  expand  select | lenses   "
           "floor ratio recall\n");
    token_mode(run, LENS_EXPAND_THRESHOLD, run->rounds * 10);
    token_mode(run, LENS_EXPAND_TOPK, run->rounds * 10);
}

/* ---- P8 --------------------------------------------------------------------------------------------------------- */

static void sessions_of(struct bench_run *run, uint32_t n)
{
    static struct stream s;
    uint32_t rounds = run->rounds;
    double *wall = bench_alloc(rounds * sizeof *wall), total = 0, used = 0;
    stream_open(&s, run, n, LENS_EXPAND_THRESHOLD);
    for (uint32_t t = 0; t < rounds + 3; t++) {
        for (uint32_t i = 0; i < n; i++)
            world_row_next(&s.rows[i], run->world, t * run->world->sequences + i);
        uint64_t began = bench_now_ns();
        struct lens_batch batch = {.jobs = s.jobs, .n_jobs = n, .misses = s.misses, .used = s.used};
        struct lens_error err = {0};
        if (run->slab->backend->ops->run(run->slab, &batch, &err) != LENS_RUN_DONE)
            bench_die("run: %s", err.text);
        if (t < 3)
            continue;
        wall[t - 3] = (double)(bench_now_ns() - began);
        total += wall[t - 3];
        used += batch.n_used;
    }
    struct bench_summary sum = bench_summarize(wall, rounds);
    double floor = used / rounds * world_lens_bytes(run->world, run->dtype) / run->read_rate * 1e9;
    printf("  %-5s %-7s %4u %11.0f %9.1f %9.1f %9.1f %7.2f\n", lens_dtype_name(run->dtype),
           lens_compute_name(run->compute), n, (double)n * rounds / total * 1e9, sum.p50 * 1e-3, sum.p99 * 1e-3,
           used / rounds, sum.p50 / floor);
    fflush(stdout);
    bench_figure(run, "sessions");
    figures_number(run->figures, "jobs", n);
    figures_number(run->figures, "rows_per_second", (double)n * rounds / total * 1e9);
    figures_number(run->figures, "p50_ns", sum.p50);
    figures_number(run->figures, "p99_ns", sum.p99);
    figures_number(run->figures, "lenses_read", used / rounds);
    figures_number(run->figures, "floor_ns", floor);
    figures_end(run->figures);
    stream_close(&s);
    free(wall);
}

void bench_table_sessions(struct bench_run *run)
{
    printf("P8: jobs of one row at once, threshold; a run's time against the bytes of the lenses it read\n");
    printf("  dtype compute jobs      rows/s    p50 us    p99 us    lenses   ratio\n");
    for (uint32_t n = 1; n <= SEQUENCES && n <= run->max_rows; n *= run->quick ? 8 : 2)
        sessions_of(run, n);
}
