/* P2: scoring 267 base lenses (D=2560) on 1..64 rows, each dtype and compute mode, each variant of the CPU backend.
 *
 *     bench_base [--tree FILE.tsv] [--lenses 267] [--ms 300] [--variant NAME] [--threads N] [--dtype D] [--quick]
 *
 * Calls the backend's score directly on slabs that hold more copies of the lenses than the caches can. Every round
 * reads as many bytes plainly as the kernel has to, then scores the next copy into poisoned logits; figures are
 * medians, and the ratio is taken round by round, because this machine's bandwidth may change from one to the next. */
#include "tests/bench/support/base_set.h"
#include "tests/bench/support/bench.h"
#include "tests/bench/support/peak.h"
#include "tests/bench/support/read_rate.h"
#include "tests/bench/support/report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ROWS   64u
#define CHECKED    32u
#define MAX_ROUNDS 400u
#define MIN_ROUNDS 6u

static const uint32_t row_counts[] = {1, 2, 4, 8, 16, 32, 64};

struct settings {
    uint64_t ms;
    bool quick;
};

struct run {
    struct bench_report *report;
    struct settings settings;
    struct bench_reader *reader;
    struct bench_base_slab *slab;
    struct lens_device device;
    enum lens_compute compute;
    double peak; /* multiply-adds per second of all threads; 0 = not known for this variant */
    double one_row_ns;
    struct lens_score_item *items;
    uint32_t *rows;
    float *logits;
    uint32_t next_copy;
};

struct accuracy {
    double largest, mean;  /* |logit - float64 of the weights as stored| */
    double stored;         /* largest |float64 of the stored weights - float64 of the f32 weights| */
    double same_top10;     /* share of rows with the top ten of float64 on the stored weights, in its order but for
                              lenses within 1e-3 of each other */
    double same_top10_f32; /* the same against the weights before they were stored, strictly */
};

/* ---- accuracy --------------------------------------------------------------------------------------------------- */

static void top_ten(const double *scores, uint32_t stride, uint32_t n, uint32_t top[10])
{
    uint32_t have = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t at = have < 10 ? have++ : 10;
        for (; at > 0 && scores[(size_t)top[at - 1] * stride] < scores[(size_t)i * stride]; at--) {
            if (at < 10)
                top[at] = top[at - 1];
        }
        if (at < 10)
            top[at] = i;
    }
}

/* Is each place of `ours` held by a lens that is worth as much as the one float64 puts there? */
static bool same_order(const double *exact, uint32_t stride, uint32_t n, const uint32_t ours[10], double tolerance)
{
    uint32_t best[10] = {0};
    top_ten(exact, stride, n, best);
    for (uint32_t k = 0; k < bench_min(n, 10); k++) {
        if (best[k] != ours[k] && fabs(exact[(size_t)best[k] * stride] - exact[(size_t)ours[k] * stride]) > tolerance)
            return false;
    }
    return true;
}

static struct accuracy check(const struct run *run, uint32_t n)
{
    const struct bench_base_stored *stored = run->slab->stored;
    const struct bench_base_source *source = stored->source;
    uint32_t rows = bench_min(n, CHECKED), same = 0, same_f32 = 0;
    struct accuracy out = {0};
    double *got = bench_alloc(source->lenses * sizeof *got);
    for (uint32_t r = 0; r < rows; r++) {
        uint32_t ours[10] = {0};
        for (uint32_t i = 0; i < source->lenses; i++) {
            size_t at = (size_t)i * source->checked + r;
            got[i] = run->logits[i * n + r];
            double error = isnan(got[i]) ? INFINITY : fabs(got[i] - stored->exact[at]);
            out.largest = fmax(out.largest, error);
            out.mean += error / ((double)rows * source->lenses);
            out.stored = fmax(out.stored, fabs(stored->exact[at] - source->exact_f32[at]));
        }
        top_ten(got, 1, source->lenses, ours);
        same += same_order(stored->exact + r, source->checked, source->lenses, ours, 1e-3);
        same_f32 += same_order(source->exact_f32 + r, source->checked, source->lenses, ours, 0);
    }
    out.same_top10 = (double)same / rows;
    out.same_top10_f32 = (double)same_f32 / rows;
    free(got);
    return out;
}

/* ---- timing ----------------------------------------------------------------------------------------------------- */

static void aim(struct run *run, uint32_t n)
{
    uint32_t lenses = run->slab->stored->source->lenses, first = run->next_copy * lenses;
    run->next_copy = (run->next_copy + 1) % run->slab->copies;
    for (uint32_t i = 0; i < lenses; i++) {
        run->items[i] = (struct lens_score_item){(uint32_t)run->slab->slab->slot_of[first + i], first + i, i * n, n};
        for (uint32_t r = 0; r < n; r++)
            run->rows[i * n + r] = r;
    }
    for (uint32_t i = 0; i < lenses * n; i++)
        run->logits[i] = NAN;
}

static double score_ns(struct run *run, uint32_t n)
{
    struct lens_error err = {0};
    struct lens_slab *slab = run->slab->slab;
    aim(run, n);
    uint64_t start = bench_now_ns();
    int failed =
        slab->backend->ops->score(slab, run->items, run->slab->stored->source->lenses, run->rows, run->logits, &err);
    uint64_t end = bench_now_ns();
    if (failed < 0)
        bench_die("%s", err.text);
    return (double)(end - start);
}

struct cell {
    double ns, read_rate, ratio, noise;
    uint32_t rounds;
};

static struct cell measure(struct run *run, uint32_t n)
{
    static double ns[MAX_ROUNDS], rate[MAX_ROUNDS], ratio[MAX_ROUNDS];
    double bytes = (double)run->slab->stored->lens_bytes * run->slab->stored->source->lenses, spent = 0;
    struct cell cell = {0};
    score_ns(run, n);
    while (cell.rounds < MAX_ROUNDS && (cell.rounds < MIN_ROUNDS || spent < (double)run->settings.ms * 1e6)) {
        rate[cell.rounds] = bench_reader_pass(run->reader, (uint64_t)bytes);
        ns[cell.rounds] = score_ns(run, n);
        ratio[cell.rounds] = bytes / ns[cell.rounds] * 1e9 / rate[cell.rounds];
        spent += ns[cell.rounds++];
    }
    uint32_t half = cell.rounds / 2;
    double first = bench_quantile(ns, half, 0.5), second = bench_quantile(ns + half, cell.rounds - half, 0.5);
    cell.noise = second / first - 1;
    cell.ns = bench_quantile(ns, cell.rounds, 0.5);
    cell.read_rate = bench_quantile(rate, cell.rounds, 0.5);
    cell.ratio = bench_quantile(ratio, cell.rounds, 0.5);
    return cell;
}

static void show(struct run *run, uint32_t n, const struct cell *cell, const struct accuracy *accuracy)
{
    const struct bench_base_stored *stored = run->slab->stored;
    struct bench_shape s = stored->source->shape;
    double bytes = (double)stored->lens_bytes * stored->source->lenses, rate = bytes / cell->ns;
    double macs = (double)stored->source->lenses * n * ((double)s.h1 * s.dim + (double)s.h2 * s.h1 + s.h2);
    double gmacs = macs / cell->ns, of_peak = run->peak > 0 ? gmacs * 1e9 / run->peak : NAN;
    printf("%-7s %2u %-5s %-6s %4u %8.3f %7.1f %7.1f %6.2f %7.2f %8.1f %7.2f %9.1e %9.1e %5.2f %+6.1f%%\n",
           run->device.variant, run->device.threads, lens_dtype_name(stored->dtype), lens_compute_name(run->compute), n,
           cell->ns * 1e-6, rate, cell->read_rate * 1e-9, cell->ratio, cell->ns / run->one_row_ns, gmacs, of_peak,
           accuracy->largest, accuracy->mean, accuracy->same_top10, 100 * cell->noise);
    fflush(stdout);
    json_t *figure = bench_report_figure(run->report);
    bench_put_text(figure, "variant", run->device.variant);
    bench_put(figure, "threads", run->device.threads);
    bench_put_text(figure, "dtype", lens_dtype_name(stored->dtype));
    bench_put_text(figure, "compute", lens_compute_name(run->compute));
    bench_put(figure, "rows", n);
    bench_put(figure, "ns", cell->ns);
    bench_put(figure, "floor_ns", bytes / cell->read_rate * 1e9);
    bench_put(figure, "bytes", bytes);
    bench_put(figure, "read_bytes_per_second", cell->read_rate);
    bench_put(figure, "ratio_to_read", cell->ratio);
    bench_put(figure, "cost_against_one_row", cell->ns / run->one_row_ns);
    bench_put(figure, "multiply_adds_per_second", gmacs * 1e9);
    bench_put(figure, "share_of_peak", of_peak);
    bench_put(figure, "largest_logit_error", accuracy->largest);
    bench_put(figure, "mean_logit_error", accuracy->mean);
    bench_put(figure, "largest_storage_error", accuracy->stored);
    bench_put(figure, "same_top10", accuracy->same_top10);
    bench_put(figure, "same_top10_as_f32_weights", accuracy->same_top10_f32);
    bench_put(figure, "noise", cell->noise);
    bench_put(figure, "rounds", cell->rounds);
}

static bool wanted_rows(const struct run *run, uint32_t n)
{
    if (strcmp(run->device.variant, "scalar") == 0)
        return n <= (run->settings.quick ? 1 : 8) && n != 2 && n != 4;
    if (run->settings.quick || strcmp(run->device.variant, "avx2") == 0)
        return n == 1 || n == 8 || n == 64;
    return true;
}

static void run_slab(struct run *run)
{
    uint32_t lenses = run->slab->stored->source->lenses;
    run->items = bench_alloc(lenses * sizeof *run->items);
    run->rows = bench_alloc((size_t)lenses * MAX_ROWS * sizeof *run->rows);
    run->logits = bench_alloc((size_t)lenses * MAX_ROWS * sizeof *run->logits);
    run->next_copy = 0;
    for (size_t k = 0; k < sizeof row_counts / sizeof *row_counts; k++) {
        if (!wanted_rows(run, row_counts[k]))
            continue;
        struct cell cell = measure(run, row_counts[k]);
        if (row_counts[k] == 1)
            run->one_row_ns = cell.ns;
        struct accuracy accuracy = check(run, row_counts[k]);
        show(run, row_counts[k], &cell, &accuracy);
    }
    free(run->items);
    free(run->rows);
    free(run->logits);
}

/* The instruction a mode can use at best: integers and bf16 pairs need both sides in that form. */
static enum bench_instruction instruction_of(enum lens_compute compute)
{
    if (compute == LENS_COMPUTE_INT8)
        return BENCH_DP_INT8;
    return compute == LENS_COMPUTE_BF16 && bench_peak(BENCH_DP_BF16) > 0 ? BENCH_DP_BF16 : BENCH_FMA_F32;
}

static void run_dtype(struct run *run, const struct bench_base_source *source, enum lens_dtype dtype,
                      struct lens_backend *const *backends, uint32_t n_backends, const double *peaks)
{
    struct bench_base_stored *stored = bench_base_stored_open(source, dtype);
    for (uint32_t b = 0; b < n_backends; b++) {
        backends[b]->ops->describe(backends[b], &run->device);
        run->reader = bench_reader_open(run->device.threads, BENCH_READ_BUFFER);
        for (int compute = LENS_COMPUTE_EXACT; compute <= LENS_COMPUTE_INT8; compute++) {
            run->compute = (enum lens_compute)compute;
            run->peak = strcmp(run->device.variant, "avx512") == 0
                            ? peaks[instruction_of(run->compute)] * run->device.threads
                            : 0;
            run->slab = bench_base_slab_open(backends[b], stored, run->compute, BENCH_READ_BUFFER);
            if (!run->slab)
                continue;
            run_slab(run);
            bench_base_slab_close(run->slab);
        }
        bench_reader_close(run->reader);
    }
    bench_base_stored_close(stored);
}

/* Every variant the processor has, the best one with all threads too. */
static uint32_t open_backends(int argc, char **argv, struct lens_backend *out[8])
{
    static const char *const names[] = {"avx512", "avx2", "scalar"};
    const char *variant = bench_option(argc, argv, "--variant", NULL);
    uint32_t threads = (uint32_t)bench_option_u64(argc, argv, "--threads", 0), n = 0;
    uint32_t most = threads ? threads : bench_cpus();
    bool best = true;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct lens_cpu_options options = {threads ? threads : 1, names[i]};
        struct lens_error err = {0};
        if ((variant && strcmp(variant, names[i]) != 0) || lens_cpu_open(&options, &out[n], &err) < 0)
            continue;
        n++;
        options.threads = most;
        if (best && most != threads && most > 1 && lens_cpu_open(&options, &out[n], &err) == 0)
            n++;
        best = false;
    }
    if (n == 0)
        bench_die("no CPU variant %s on this processor", variant ? variant : "");
    return n;
}

int main(int argc, char **argv)
{
    static const char *const known[] = {
        "--tree=", "--lenses=", "--ms=", "--variant=", "--threads=", "--dtype=", "--quick", NULL};
    static const enum lens_dtype dtypes[] = {LENS_F32, LENS_BF16, LENS_I8};
    bench_check_options(argc, argv, known);
    struct lens_backend *backends[8];
    uint32_t n_backends = open_backends(argc, argv, backends);
    uint32_t lenses = (uint32_t)bench_option_u64(argc, argv, "--lenses", 267);
    struct bench_report report = bench_report_begin("base");
    struct run run = {.report = &report};
    run.settings.quick = bench_has_flag(argc, argv, "--quick");
    run.settings.ms = bench_option_u64(argc, argv, "--ms", 300);
    const char *only = bench_option(argc, argv, "--dtype", NULL);
    struct bench_base_source *source = bench_base_source_open(bench_tree_path(argc, argv), lenses, MAX_ROWS, CHECKED);
    double peaks[BENCH_INSTRUCTIONS];
    for (int i = 0; i < BENCH_INSTRUCTIONS; i++) {
        peaks[i] = bench_peak((enum bench_instruction)i);
        printf("peak of %s: %.1f GMAC/s a thread\n", bench_instruction_name((enum bench_instruction)i),
               peaks[i] * 1e-9);
        bench_put(report.settings, bench_instruction_name((enum bench_instruction)i), peaks[i]);
    }
    bench_put(report.settings, "lenses", lenses);
    bench_put(report.settings, "dim", source->shape.dim);
    bench_put(report.settings, "ms_per_cell", (double)run.settings.ms);
    printf("P2: %u lenses at D=%u; GB/s of weights against plain reads of the same moment\n", lenses,
           source->shape.dim);
    printf("variant th dtype compute rows    ms    GB/s      P1  ratio  /1 row   GMAC/s of peak   max err  mean err "
           "top10   noise\n");
    for (size_t d = 0; d < sizeof dtypes / sizeof *dtypes; d++) {
        if (!only || strcmp(only, lens_dtype_name(dtypes[d])) == 0)
            run_dtype(&run, source, dtypes[d], backends, n_backends, peaks);
    }
    bench_report_end(&report);
    for (uint32_t b = 0; b < n_backends; b++)
        backends[b]->ops->close(backends[b]);
    bench_base_source_close(source);
    return 0;
}
