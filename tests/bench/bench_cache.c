/* P9: misses of every cache policy against Belady's optimum, at 2, 5 and 10% of the pack, base lenses not counted.
 *
 *     bench_cache [--rows 10000] [--prefetch 16] [--noise 0] [--tree FILE] [--trace FILE[,..]]
 *
 * The traces are the logical cascade of the real tree (support/trace_synth.h) with 1, 8 and 24 sequences that take
 * turns or come by chance, and the files that --trace names (of `lensctl trace record`; then only those). The floor is
 * Belady's number of misses on the same trace; nothing here is a time. */
#include "tests/bench/support/bench.h"
#include "tests/bench/support/report.h"
#include "tests/bench/support/trace_synth.h"

#include "daemon/cache/simulate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIZES 3
static const double shares[SIZES] = {0.02, 0.05, 0.10};

struct cell {
    struct lensd_sim_figures figures;
    double ratio; /* to Belady */
};

static struct cell measure(const struct lensd_sim_input *input, int kind, uint32_t slots, uint32_t prefetch,
                           const struct lensd_sim_figures *belady)
{
    struct lensd_predictor_config predictor;
    struct lens_error err;
    struct cell cell;
    lensd_predictor_default(&predictor);
    const struct lensd_sim_config config = {.kind = (enum lensd_cache_kind)kind,
                                            .capacity = slots,
                                            .predictor = prefetch > 0 ? &predictor : NULL,
                                            .prefetch = prefetch};
    if (lensd_sim_run(input, &config, &cell.figures, &err) < 0)
        bench_die("%s", err.text);
    cell.ratio = belady->misses > 0 ? (double)cell.figures.misses / (double)belady->misses : 1;
    return cell;
}

static void put_figure(struct bench_report *report, const char *trace, const char *policy, double share, uint32_t slots,
                       uint32_t prefetch, const struct cell *cell, const struct lensd_sim_figures *belady)
{
    json_t *figure = bench_report_figure(report);
    bench_put_text(figure, "trace", trace);
    bench_put_text(figure, "policy", policy);
    bench_put(figure, "share_of_pack", share);
    bench_put(figure, "slots", slots);
    bench_put(figure, "prefetch", prefetch);
    bench_put(figure, "requests", (double)cell->figures.requests);
    bench_put(figure, "misses", (double)cell->figures.misses);
    bench_put(figure, "miss_ratio", lensd_sim_miss_ratio(&cell->figures));
    bench_put(figure, "floor", (double)belady->misses);
    bench_put(figure, "ratio", cell->ratio);
    if (prefetch == 0)
        return;
    bench_put(figure, "prefetched", (double)cell->figures.prefetched);
    bench_put(figure, "precision", lensd_sim_precision(&cell->figures));
    bench_put(figure, "recall", lensd_sim_recall(&cell->figures));
    bench_put(figure, "wasted", (double)cell->figures.prefetch_wasted);
}

static void print_head(const struct lensd_sim_input *input, const char *name, const struct lensd_sim_figures *belady)
{
    double rows = (double)input->trace->rows;
    printf("\n%s: %.0f rows, %.1f lenses wanted a row, at most %u; Belady misses", name, rows,
           (double)belady[0].requests / rows, input->most);
    for (int i = 0; i < SIZES; i++)
        printf(" %.2f", (double)belady[i].misses / rows);
    printf(" a row\n%-17s", "misses / Belady's");
    for (int i = 0; i < SIZES; i++)
        printf("%9.0f%%", shares[i] * 100);
    printf("   with prefetch, precision\n");
}

static void run_trace(struct bench_report *report, const struct lensd_trace *trace, const char *name, uint32_t prefetch)
{
    struct lensd_sim_input input;
    struct lensd_sim_figures belady[SIZES];
    struct lens_error err;
    uint32_t slots[SIZES];
    if (lensd_sim_open(trace, &input, &err) < 0)
        bench_die("%s", err.text);
    for (int i = 0; i < SIZES; i++) {
        slots[i] = (uint32_t)(shares[i] * trace->tables.lenses);
        slots[i] = slots[i] > 0 ? slots[i] : 1;
        if (lensd_sim_belady(&input, slots[i], &belady[i], &err) < 0)
            bench_die("%s", err.text);
    }
    print_head(&input, name, belady);
    for (int kind = 0; lensd_cache_policy_names[kind] != NULL; kind++) {
        const char *policy = lensd_cache_policy_names[kind];
        struct cell with[SIZES];
        printf("%-17s", policy);
        for (int i = 0; i < SIZES; i++) {
            struct cell without = measure(&input, kind, slots[i], 0, &belady[i]);
            with[i] = measure(&input, kind, slots[i], prefetch, &belady[i]);
            put_figure(report, name, policy, shares[i], slots[i], 0, &without, &belady[i]);
            put_figure(report, name, policy, shares[i], slots[i], prefetch, &with[i], &belady[i]);
            printf("%10.3f", without.ratio);
        }
        for (int i = 0; i < SIZES; i++)
            printf("%10.3f %4.2f", with[i].ratio, lensd_sim_precision(&with[i].figures));
        printf("\n");
    }
    lensd_sim_close(&input);
}

static void run_files(struct bench_report *report, const char *list, uint32_t prefetch)
{
    char *names = strdup(list), *rest = NULL;
    if (names == NULL)
        bench_die("no memory");
    for (char *name = strtok_r(names, ",", &rest); name != NULL; name = strtok_r(NULL, ",", &rest)) {
        struct lensd_trace trace;
        struct lens_error err;
        if (lensd_trace_read(name, &trace, &err) < 0)
            bench_die("%s", err.text);
        run_trace(report, &trace, name, prefetch);
        lensd_trace_free(&trace);
    }
    free(names);
}

static void run_made(struct bench_report *report, const struct bench_tree *tree, uint64_t rows, double noise,
                     uint32_t prefetch)
{
    static const uint32_t sequences[] = {1, 8, 24};
    for (int order = 0; order < 2; order++) {
        for (int i = order; i < 3; i++) { /* one sequence has no order */
            char name[64];
            struct lensd_trace trace;
            const struct bench_trace_plan plan = {.sequences = sequences[i],
                                                  .by_chance = order == 1,
                                                  .rows = rows,
                                                  .length = 256,
                                                  .base_layers = 3,
                                                  .keep = 30,
                                                  .noise = noise,
                                                  .seed = 7};
            snprintf(name, sizeof name, "%u sequences %s", sequences[i], order == 0 ? "in turns" : "by chance");
            bench_trace_make(tree, &plan, &trace);
            run_trace(report, &trace, i == 0 ? "1 sequence" : name, prefetch);
            lensd_trace_free(&trace);
        }
    }
}

int main(int argc, char **argv)
{
    static const char *const known[] = {"--rows=", "--prefetch=", "--noise=", "--tree=", "--trace=", NULL};
    bench_check_options(argc, argv, known);
    uint64_t rows = bench_option_u64(argc, argv, "--rows", 10000);
    uint32_t prefetch = (uint32_t)bench_option_u64(argc, argv, "--prefetch", 16);
    double noise = strtod(bench_option(argc, argv, "--noise", "0"), NULL);
    const char *files = bench_option(argc, argv, "--trace", NULL);
    struct bench_report report = bench_report_begin("cache");
    bench_put(report.settings, "prefetch", prefetch);
    printf("P9: goal 1.3 at 2, 5 and 10%% of the pack\n");
    if (files != NULL) {
        bench_put_text(report.settings, "traces", files);
        run_files(&report, files, prefetch);
    } else {
        struct bench_tree *tree = bench_tree_open(bench_tree_path(argc, argv));
        bench_put(report.settings, "rows", (double)rows);
        bench_put(report.settings, "noise", noise);
        bench_put(report.settings, "lenses", tree->n);
        run_made(&report, tree, rows, noise, prefetch);
        bench_tree_close(tree);
    }
    bench_report_end(&report);
    return 0;
}
