/* P1: bare reads. P2: 267 lenses on 1..512 rows. P10: every lens on one row. See tables.h.
 *
 * Scoring is timed twice: by the wall clock around a whole run (launch, rows in, scoring, results out), and by the
 * card's own clock around the scoring alone (the job's `base` time). The ratio to P1 takes the second; the card's clock
 * may tick in microseconds, so its mean over the rounds is taken, not its median. */
#include "tests/gpu/bench/tables.h"

#include "tests/bench/support/bench.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define BASE_LENSES 267u

/* ---- P1 --------------------------------------------------------------------------------------------------------- */

void bench_table_read(struct bench_run *run)
{
    static const uint64_t sizes[] = {45u << 20, 90u << 20, 179u << 20, 358u << 20, 1u << 30, 2ull << 30};
    printf("P1: bytes read per second by a plain kernel, from a buffer larger than the cache\n");
    for (uint32_t i = 0; i < (run->quick ? 1 : sizeof sizes / sizeof *sizes); i++) {
        uint64_t bytes = run->quick ? 1u << 20 : sizes[i];
        double rate = card_read_rate(run->card, bytes, run->quick ? 2 : 200);
        run->read_rate = fmax(run->read_rate, rate);
        printf("  %6.0f MB at once: %8.1f GB/s\n", (double)bytes * 1e-6, rate * 1e-9);
        figures_begin(run->figures, "read");
        figures_number(run->figures, "bytes", (double)bytes);
        figures_number(run->figures, "bytes_per_second", rate);
        figures_end(run->figures);
    }
    run->copy_rate = card_copy_rate(run->card, run->quick ? 1u << 20 : 256u << 20, run->quick ? 2 : 20);
    printf("  page-locked memory to the card: %.1f GB/s; P1 = %.1f GB/s\n", run->copy_rate * 1e-9,
           run->read_rate * 1e-9);
    figures_begin(run->figures, "copy");
    figures_number(run->figures, "bytes_per_second", run->copy_rate);
    figures_end(run->figures);
}

/* ---- scoring a list of lenses ----------------------------------------------------------------------------------- */

struct scorer {
    struct bench_run *run;
    struct world_row *rows; /* one job a row */
    struct lens_job **jobs;
    uint32_t n, lenses, sets, turn;
    uint32_t *misses, *used;
};

static void scorer_open(struct scorer *s, struct bench_run *run, uint32_t n, uint32_t lenses)
{
    *s = (struct scorer){.run = run, .n = n, .lenses = lenses, .sets = run->world->model.lenses / lenses};
    s->rows = bench_alloc(n * sizeof *s->rows);
    s->jobs = bench_alloc(n * sizeof *s->jobs);
    s->misses = bench_alloc(run->world->model.lenses * sizeof *s->misses);
    s->used = bench_alloc(run->world->model.lenses * sizeof *s->used);
    for (uint32_t i = 0; i < n; i++) {
        world_row_open(&s->rows[i], run->world);
        s->jobs[i] = &s->rows[i].job;
        s->rows[i].options.max_depth = 0;
        s->rows[i].options.keep_top_k = 0;
    }
}

static void scorer_close(struct scorer *s)
{
    for (uint32_t i = 0; i < s->n; i++)
        world_row_close(&s->rows[i]);
    free(s->rows);
    free(s->jobs);
    free(s->misses);
    free(s->used);
}

/* One run over the next set of lenses: wall nanoseconds, and the card's for the scoring. */
static double score_once(struct scorer *s, double *scoring)
{
    for (uint32_t i = 0; i < s->n; i++) {
        world_row_next(&s->rows[i], s->run->world, s->turn * s->n + i);
        s->rows[i].job.base = s->run->world->all + s->turn % s->sets * s->lenses;
        s->rows[i].job.n_base = s->lenses;
    }
    s->turn++;
    uint64_t began = bench_now_ns();
    world_run(s->run->slab, s->jobs, s->n, s->misses, s->used);
    double wall = (double)(bench_now_ns() - began);
    *scoring = (double)s->rows[0].job.timing.base;
    for (uint32_t i = 0; i < s->n; i++) {
        if (s->rows[i].out.counts.scored != s->lenses || !isfinite(s->rows[i].out.detections[0].logit))
            bench_die("row %u scored %u lenses of %u", i, s->rows[i].out.counts.scored, s->lenses);
    }
    return wall;
}

struct cell {
    struct bench_summary wall;
    double scoring; /* mean */
};

static struct cell measure(struct scorer *s, uint32_t rounds)
{
    double *wall = bench_alloc(rounds * sizeof *wall), scoring = 0;
    struct cell cell = {.scoring = 0};
    for (uint32_t i = 0; i < (s->run->quick ? 1 : 10); i++)
        score_once(s, &scoring);
    for (uint32_t i = 0; i < rounds; i++) {
        wall[i] = score_once(s, &scoring);
        cell.scoring += scoring / rounds;
    }
    cell.wall = bench_summarize(wall, rounds);
    free(wall);
    return cell;
}

static double macs_of(const struct bench_shape *s)
{
    return (double)s->h1 * s->dim + (double)s->h2 * s->h1 + s->h2;
}

static void put_cell(struct bench_run *run, const struct cell *cell, double bytes, double macs, uint32_t rows,
                     uint32_t lenses)
{
    figures_number(run->figures, "rows", rows);
    figures_number(run->figures, "lenses", lenses);
    figures_number(run->figures, "wall_p50_ns", cell->wall.p50);
    figures_number(run->figures, "wall_p99_ns", cell->wall.p99);
    figures_number(run->figures, "scoring_mean_ns", cell->scoring);
    figures_number(run->figures, "bytes", bytes);
    figures_number(run->figures, "floor_ns", bytes / run->read_rate * 1e9);
    figures_number(run->figures, "ratio_to_read", bytes / cell->scoring * 1e9 / run->read_rate);
    figures_number(run->figures, "ratio_to_read_wall", bytes / cell->wall.p50 * 1e9 / run->read_rate);
    figures_number(run->figures, "multiply_adds_per_second", macs / cell->scoring * 1e9);
}

/* ---- P2 --------------------------------------------------------------------------------------------------------- */

void bench_table_base(struct bench_run *run)
{
    static const uint32_t counts[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512};
    uint32_t lenses = bench_min(BASE_LENSES, run->world->model.lenses);
    double bytes = world_lens_bytes(run->world, run->dtype) * lenses, one = 0;
    printf("P2: %u lenses; scoring against P1 = %.1f GB/s (floor %.1f us), and cuBLAS's bf16 product of the first "
           "layers alone\n",
           lenses, run->read_rate * 1e-9, bytes / run->read_rate * 1e6);
    printf("  dtype compute rows   wall us  scoring us    GB/s  ratio  /1 row    GMAC/s  cuBLAS us\n");
    for (uint32_t i = 0; i < sizeof counts / sizeof *counts && counts[i] <= run->max_rows; i++) {
        uint32_t n = counts[i];
        struct scorer s;
        scorer_open(&s, run, n, lenses);
        struct cell cell = measure(&s, run->rounds);
        scorer_close(&s);
        double macs = macs_of(&run->world->shape) * lenses * n;
        double gemm = card_gemm_ns(run->card, lenses * run->world->shape.h1, run->world->shape.dim, n, 50);
        one = n == 1 ? cell.scoring : one;
        printf("  %-5s %-7s %4u %9.1f %11.1f %7.1f %6.2f %7.2f %9.0f %10.1f\n", lens_dtype_name(run->dtype),
               lens_compute_name(run->compute), n, cell.wall.p50 * 1e-3, cell.scoring * 1e-3, bytes / cell.scoring,
               bytes / cell.scoring * 1e9 / run->read_rate, cell.scoring / one, macs / cell.scoring, gemm * 1e-3);
        fflush(stdout);
        bench_figure(run, "base");
        put_cell(run, &cell, bytes, macs, n, lenses);
        figures_number(run->figures, "cost_against_one_row", cell.scoring / one);
        figures_number(run->figures, "cublas_bf16_ns", gemm);
        figures_end(run->figures);
    }
}

/* ---- P10 -------------------------------------------------------------------------------------------------------- */

void bench_table_sweep(struct bench_run *run)
{
    static const uint32_t counts[] = {1, 8, 64};
    uint32_t lenses = run->world->model.lenses;
    double bytes = world_lens_bytes(run->world, run->dtype) * lenses;
    printf("P10: all %u lenses; floor %.3f ms\n", lenses, bytes / run->read_rate * 1e3);
    printf("  dtype compute rows   wall ms  scoring ms    GB/s  ratio   (wall)\n");
    for (uint32_t i = 0; i < 3 && counts[i] <= run->max_rows; i++) {
        struct scorer s;
        scorer_open(&s, run, counts[i], lenses);
        struct cell cell = measure(&s, run->quick ? 2 : 60);
        scorer_close(&s);
        printf("  %-5s %-7s %4u %9.3f %11.3f %7.1f %6.2f %8.2f\n", lens_dtype_name(run->dtype),
               lens_compute_name(run->compute), counts[i], cell.wall.p50 * 1e-6, cell.scoring * 1e-6,
               bytes / cell.scoring, bytes / cell.scoring * 1e9 / run->read_rate,
               bytes / cell.wall.p50 * 1e9 / run->read_rate);
        fflush(stdout);
        bench_figure(run, "sweep");
        put_cell(run, &cell, bytes, macs_of(&run->world->shape) * lenses * counts[i], counts[i], lenses);
        figures_end(run->figures);
    }
}
