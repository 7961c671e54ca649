/* P10: every lens of the real-tree pack on every row, straight through `ops->score`.
 *
 *     bench_sweep [--runs bf16:exact,int8:exact] [--rows 1,8] [--threads N] [--rounds 9] [--lenses N] [--shuffle]
 * [--pin]
 *                 [--tree FILE.tsv]
 *
 * All lenses are in slots in pack order and are scored in that order, --shuffle in a random one (what a cache makes of
 * it). Every round reads as many bytes plainly as the sweep has to, then sweeps into poisoned logits; the floor is
 * those bytes over what was read per second. Without --threads: one thread, then all. --pin keeps each thread on a
 * processor of its own. */
#include "tests/bench/support/bench.h"
#include "tests/bench/support/child.h"
#include "tests/bench/support/planted.h"
#include "tests/bench/support/random.h"
#include "tests/bench/support/read_rate.h"
#include "tests/bench/support/report.h"

#include "kernels/backend.h"

#include <dirent.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BATCH      64u /* lenses of one slot_write */
#define MAX_ROWS   64u
#define MAX_ROUNDS 200u

struct settings {
    uint32_t rounds, lenses, threads; /* 0 = all */
    bool shuffle, pin;
    const char *rows, *tree;
    struct bench_report *report;
};

struct sweep {
    const struct settings *settings;
    struct lens_pack *pack;
    struct lens_backend *backend;
    struct lens_slab *slab;
    struct bench_reader *reader;
    enum lens_compute compute;
    uint32_t lenses, threads;
    uint32_t (*leaves)[BENCH_ACTIVE_LEAVES]; /* [MAX_ROWS] planted */
    float *states;                           /* [MAX_ROWS, dim] */
    struct lens_score_item *items;
    uint32_t *rows;
    float *logits;
};

/* ---- preparation ------------------------------------------------------------------------------------------------ */

static uint64_t lens_bytes(const struct lens_pack *pack)
{
    uint64_t tables = pack->w1_dtype == LENS_I8 ? 4 : pack->w1_dtype == LENS_LOG8 ? 8 : 0;
    uint64_t w2 = (uint64_t)pack->h2 * pack->h1 * lens_dtype_bytes(pack->w2_dtype);
    return pack->w1_lens_bytes + pack->w1_sign_bytes + pack->h1 * tables + w2;
}

static void fill_slots(struct sweep *s)
{
    const struct lens_pack *pack = s->pack;
    unsigned char *w1 = bench_alloc(BATCH * pack->w1_lens_bytes), *sign = bench_alloc(BATCH * pack->w1_sign_bytes + 1);
    struct lens_error err = {0};
    for (uint32_t first = 0; first < s->lenses; first += BATCH) {
        struct lens_slot_write writes[BATCH] = {{0}};
        uint32_t n = bench_min(s->lenses - first, BATCH);
        bool log8 = pack->w1_dtype == LENS_LOG8;
        if (lens_pack_read_w1(pack, first, n, w1, log8 ? sign : NULL, &err) < 0)
            bench_die("%s", err.text);
        for (uint32_t i = 0; i < n; i++) {
            size_t row = (size_t)(first + i) * pack->h1;
            writes[i] = (struct lens_slot_write){.slot = first + i,
                                                 .lens = first + i,
                                                 .stored = pack->w1_dtype,
                                                 .w1 = w1 + i * pack->w1_lens_bytes,
                                                 .sign = log8 ? sign + i * pack->w1_sign_bytes : NULL,
                                                 .scale = pack->w1_scale ? pack->w1_scale + row : NULL,
                                                 .log_min = log8 ? pack->w1_log_min + row : NULL,
                                                 .log_max = log8 ? pack->w1_log_max + row : NULL};
        }
        if (s->backend->ops->slot_write(s->slab, 0, writes, n, NULL, NULL, &err) < 0)
            bench_die("%s", err.text);
        for (uint32_t i = 0; i < n; i++)
            lens_slab_map(s->slab, first + i, first + i, LENS_FROM_FILE);
    }
    free(w1);
    free(sign);
}

static void make_rows(struct sweep *s)
{
    struct bench_tree *tree = bench_tree_of_pack(s->pack);
    struct bench_rows *rows = bench_rows_open(tree, s->pack->dim, 7);
    s->states = bench_alloc((size_t)MAX_ROWS * s->pack->dim * sizeof(float));
    s->leaves = bench_alloc(MAX_ROWS * sizeof *s->leaves);
    for (uint32_t r = 0; r < MAX_ROWS; r++) {
        bench_rows_next(rows, s->states + (size_t)r * s->pack->dim);
        memcpy(s->leaves[r], rows->leaves, sizeof s->leaves[r]);
    }
    bench_rows_close(rows);
    bench_tree_close(tree);
}

/* The team's workers onto the processors after the caller's. */
static void pin_threads(void)
{
    uint32_t next = 1;
    bench_pin(0);
    DIR *tasks = opendir("/proc/self/task");
    for (struct dirent *entry; tasks != NULL && (entry = readdir(tasks)) != NULL;) {
        char path[64], name[32] = "";
        snprintf(path, sizeof path, "/proc/self/task/%.20s/comm", entry->d_name);
        FILE *file = fopen(path, "r");
        if (file == NULL)
            continue;
        if (fgets(name, sizeof name, file) && strncmp(name, "lens-cpu-", 9) == 0)
            bench_pin_thread(atoi(entry->d_name), next++);
        fclose(file);
    }
    if (tasks != NULL)
        closedir(tasks);
}

static void open_slab(struct sweep *s)
{
    struct lens_cpu_options options = {s->threads, "auto"};
    struct lens_error err = {0};
    struct lens_model model;
    if (lens_cpu_open(&options, &s->backend, &err) < 0)
        bench_die("%s", err.text);
    lens_model_of_pack(s->pack, &model);
    struct lens_slab_config config = {.slots = s->lenses,
                                      .dtype = s->pack->w1_dtype,
                                      .compute = s->compute,
                                      .max_batch_rows = MAX_ROWS,
                                      .loaders = 1};
    if (s->backend->ops->slab_create(s->backend, &model, &config, &s->slab, &err) < 0)
        bench_die("%s", err.text);
    fill_slots(s);
    for (uint32_t r = 0; r < MAX_ROWS; r++)
        if (s->backend->ops->stage(s->slab, r, s->states + (size_t)r * s->pack->dim, LENS_F32) != 0)
            bench_die("row %u was refused", r);
    if (s->settings->pin)
        pin_threads();
}

static void close_slab(struct sweep *s)
{
    s->backend->ops->slab_destroy(s->slab);
    s->backend->ops->close(s->backend);
    bench_unpin();
}

/* ---- sweeps ----------------------------------------------------------------------------------------------------- */

static void aim(struct sweep *s, uint32_t n)
{
    for (uint32_t i = 0; i < s->lenses; i++) {
        s->items[i] = (struct lens_score_item){i, i, i * n, n};
        for (uint32_t r = 0; r < n; r++)
            s->rows[i * n + r] = r;
    }
    uint64_t stream = bench_stream_of("shuffle", 7);
    for (uint32_t i = s->lenses; s->settings->shuffle && i > 1; i--) {
        uint32_t k = bench_random_below(stream, i, i);
        struct lens_score_item kept = s->items[i - 1];
        s->items[i - 1] = s->items[k];
        s->items[k] = kept;
    }
}

static double sweep_ns(struct sweep *s, uint32_t n)
{
    struct lens_error err = {0};
    for (uint32_t i = 0; i < s->lenses * n; i++)
        s->logits[i] = NAN;
    uint64_t start = bench_now_ns();
    int rc = s->backend->ops->score(s->slab, s->items, s->lenses, s->rows, s->logits, &err);
    uint64_t end = bench_now_ns();
    if (rc < 0)
        bench_die("%s", err.text);
    return (double)(end - start);
}

/* Share of the planted leaves whose lens says yes; dies when a lens gave no number. */
static double planted_found(const struct sweep *s, uint32_t n)
{
    uint32_t found = 0, asked = 0;
    for (uint32_t i = 0; i < s->lenses * n; i++)
        if (isnan(s->logits[i]))
            bench_die("a lens was left out: no logit at %u", i);
    for (uint32_t r = 0; r < n; r++) {
        for (uint32_t k = 0; k < BENCH_ACTIVE_LEAVES; k++) {
            uint32_t leaf = s->leaves[r][k];
            if (leaf >= s->lenses)
                continue;
            asked++;
            found += s->logits[leaf * n + r] > 0;
        }
    }
    return asked > 0 ? (double)found / asked : NAN;
}

static void measure(struct sweep *s, uint32_t n)
{
    static double ns[MAX_ROUNDS], rate[MAX_ROUNDS], ratio[MAX_ROUNDS];
    double bytes = (double)lens_bytes(s->pack) * s->lenses;
    aim(s, n);
    sweep_ns(s, n);
    double found = planted_found(s, n);
    for (uint32_t i = 0; i < s->settings->rounds; i++) {
        rate[i] = bench_reader_pass(s->reader, (uint64_t)bytes);
        ns[i] = sweep_ns(s, n);
        ratio[i] = bytes / ns[i] * 1e9 / rate[i];
    }
    double p50 = bench_quantile(ns, s->settings->rounds, 0.5), read = bench_quantile(rate, s->settings->rounds, 0.5);
    double share = bench_quantile(ratio, s->settings->rounds, 0.5);
    printf("%-5s %-6s %2u %4u %9.2f %9.2f %7.1f %7.1f %6.2f %8.3f\n", lens_dtype_name(s->pack->w1_dtype),
           lens_compute_name(s->compute), s->threads, n, p50 * 1e-6, bytes / read * 1e3, bytes / p50, read * 1e-9,
           share, found);
    fflush(stdout);
    json_t *figure = bench_report_figure(s->settings->report);
    bench_put_text(figure, "dtype", lens_dtype_name(s->pack->w1_dtype));
    bench_put_text(figure, "compute", lens_compute_name(s->compute));
    bench_put(figure, "threads", s->threads);
    bench_put(figure, "rows", n);
    bench_put(figure, "lenses", s->lenses);
    bench_put(figure, "bytes", bytes);
    bench_put(figure, "ns", p50);
    bench_put(figure, "ns_a_row", p50 / n);
    bench_put(figure, "floor_ns", bytes / read * 1e9);
    bench_put(figure, "read_bytes_per_second", read);
    bench_put(figure, "ratio_to_read", share);
    bench_put(figure, "planted_leaves_found", found);
}

static void run_threads(struct sweep *s, uint32_t threads)
{
    s->threads = threads;
    open_slab(s);
    s->reader = bench_reader_open(threads, BENCH_READ_BUFFER);
    for (const char *at = s->settings->rows; *at != 0;) {
        char *end;
        unsigned long n = strtoul(at, &end, 10);
        if (end == at || n == 0 || n > MAX_ROWS || (*end != ',' && *end != 0))
            bench_die("--rows takes numbers from 1 to %u with commas between them, not \"%s\"", MAX_ROWS, at);
        measure(s, (uint32_t)n);
        at = *end == ',' ? end + 1 : end;
    }
    bench_reader_close(s->reader);
    close_slab(s);
}

/* "bf16:exact" */
static void run(const struct settings *settings, const char *name)
{
    char dtype[16] = "", compute[16] = "", path[4096];
    struct sweep s = {.settings = settings};
    struct lens_error err = {0};
    if (sscanf(name, "%15[^:]:%15s", dtype, compute) != 2 || lens_compute_parse(compute, &s.compute) != 0)
        bench_die("--runs takes DTYPE:COMPUTE with commas between them, not \"%s\"", name);
    bench_real_tree(dtype, settings->tree, path, sizeof path);
    if (lens_pack_open(path, &s.pack, &err) < 0)
        bench_die("%s", err.text);
    s.lenses = settings->lenses ? bench_min(settings->lenses, s.pack->lenses) : s.pack->lenses;
    s.items = bench_alloc(s.lenses * sizeof *s.items);
    s.rows = bench_alloc((size_t)s.lenses * MAX_ROWS * sizeof *s.rows);
    s.logits = bench_alloc((size_t)s.lenses * MAX_ROWS * sizeof *s.logits);
    make_rows(&s);
    run_threads(&s, settings->threads ? settings->threads : 1);
    if (!settings->threads && bench_cpus() > 1)
        run_threads(&s, bench_cpus());
    free(s.items);
    free(s.rows);
    free(s.logits);
    free(s.states);
    free(s.leaves);
    lens_pack_close(s.pack);
}

int main(int argc, char **argv)
{
    static const char *const known[] = {
        "--runs=", "--rows=", "--threads=", "--rounds=", "--lenses=", "--shuffle", "--pin", "--tree=", NULL};
    bench_check_options(argc, argv, known);
    struct bench_report report = bench_report_begin("sweep");
    struct settings settings = {.rounds = (uint32_t)bench_option_u64(argc, argv, "--rounds", 9),
                                .lenses = (uint32_t)bench_option_u64(argc, argv, "--lenses", 0),
                                .threads = (uint32_t)bench_option_u64(argc, argv, "--threads", 0),
                                .shuffle = bench_has_flag(argc, argv, "--shuffle"),
                                .pin = bench_has_flag(argc, argv, "--pin"),
                                .rows = bench_option(argc, argv, "--rows", "1,8"),
                                .tree = bench_tree_path(argc, argv),
                                .report = &report};
    if (settings.rounds < 1 || settings.rounds > MAX_ROUNDS)
        bench_die("--rounds goes from 1 to %u", MAX_ROUNDS);
    bench_put(report.settings, "rounds", settings.rounds);
    bench_put_text(report.settings, "order", settings.shuffle ? "random" : "as in memory");
    bench_put_text(report.settings, "pinned", settings.pin ? "yes" : "no");
    printf("P10: all lenses on every row%s%s; floor: their bytes at P1 of the same moment\n",
           settings.shuffle ? ", in random order" : "", settings.pin ? ", threads pinned" : "");
    printf("dtype compute th rows  ms/sweep  floor ms    GB/s      P1  ratio  planted\n");
    char *runs = strdup(bench_option(argc, argv, "--runs", "bf16:exact,int8:exact,int8:int8")), *rest = runs;
    for (char *name; runs != NULL && (name = strsep(&rest, ",")) != NULL;)
        run(&settings, name);
    free(runs);
    bench_report_end(&report);
    return 0;
}
