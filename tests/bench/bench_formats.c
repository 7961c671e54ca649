/* Formats: what each way of storing weights costs in memory, loading, scoring and accuracy.
 *
 *     bench_formats [--tree FILE.tsv] [--lenses 512] [--base 267] [--rows 24] [--ms 300] [--threads 1] [--slab-mib 400]
 *
 * First table: each format of a pack with each format of a slab. A load is a lens from the page cache into its slot,
 * beside a bare pread of the same bytes in the same round; scores are one row of the base lenses, out of copies of
 * them that the caches don't hold, beside plain reads of the same bytes; errors are against float64 of the f32
 * weights that all packs were made of, for all lenses and rows.
 *
 * Second table: decoding once and reusing (f32 slots), decoding before each use, and keeping the codes in the slot
 * and using them as they are: ten passes of one row over the base lenses, whose codes are in memory. */
#include "tests/bench/support/bench.h"
#include "tests/bench/support/format_set.h"
#include "tests/bench/support/random.h"
#include "tests/bench/support/read_rate.h"
#include "tests/bench/support/report.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ROUNDS  200u
#define MIN_ROUNDS  6u
#define LOAD_BATCH  8u
#define LOAD_ROUNDS 15u
#define PASSES      10u
#define REPEATS     3u

static const enum lens_dtype dtypes[] = {LENS_F32, LENS_BF16, LENS_I8, LENS_LOG8};
#define DTYPES (sizeof dtypes / sizeof dtypes[0])

struct bench {
    struct bench_report report;
    struct lens_backend *backend;
    struct bench_format_set *set;
    struct bench_reader *reader;
    uint32_t base;
    uint64_t ms, slab_bytes, draws;
    float *logits; /* [lenses, rows] */
};

/* ---- loading ---------------------------------------------------------------------------------------------------- */

struct load {
    double us, bare_us, ratio;
};

static uint32_t any_lens(struct bench *b)
{
    return bench_random_below(bench_stream_of("formats", 7), b->draws++, b->set->lenses);
}

static double load_us(struct bench *b, struct bench_format_slab *s, bool bare)
{
    uint64_t spent = 0;
    for (uint32_t i = 0; i < LOAD_BATCH; i++) {
        const uint32_t lens = any_lens(b);
        const uint64_t start = bench_now_ns();
        bench_format_read(s, lens);
        if (!bare)
            bench_format_write(s, lens, bench_format_slot(s, 0, lens), s->w1, s->sign);
        spent += bench_now_ns() - start;
    }
    return (double)spent * 1e-3 / LOAD_BATCH;
}

static struct load measure_load(struct bench *b, struct bench_format_slab *s)
{
    double us[LOAD_ROUNDS], bare[LOAD_ROUNDS], ratio[LOAD_ROUNDS];
    for (uint32_t round = 0; round < LOAD_ROUNDS; round++) {
        bare[round] = load_us(b, s, true);
        us[round] = load_us(b, s, false);
        ratio[round] = us[round] / bare[round];
    }
    return (struct load){bench_quantile(us, LOAD_ROUNDS, 0.5), bench_quantile(bare, LOAD_ROUNDS, 0.5),
                         bench_quantile(ratio, LOAD_ROUNDS, 0.5)};
}

/* ---- scoring ---------------------------------------------------------------------------------------------------- */

struct score {
    double us, floor_us, ratio; /* ratio: floor / time, of the same round */
};

static void poison(float *logits, size_t n)
{
    for (size_t i = 0; i < n; i++)
        logits[i] = NAN;
}

static struct score measure_score(struct bench *b, struct bench_format_slab *s)
{
    static double us[MAX_ROUNDS], floors[MAX_ROUNDS], ratio[MAX_ROUNDS];
    const uint64_t bytes = s->slab->backend->ops->slot_bytes(s->slab) * b->base;
    double spent = 0;
    uint32_t n = 0;
    bench_format_score(s, s->copies - 1, b->base, 0, 1, b->logits);
    while (n < MAX_ROUNDS && (n < MIN_ROUNDS || spent < (double)b->ms * 1e3)) {
        poison(b->logits, b->base);
        floors[n] = (double)bytes / bench_reader_pass(b->reader, bytes) * 1e6;
        const uint64_t start = bench_now_ns();
        bench_format_score(s, n % s->copies, b->base, n % b->set->rows, 1, b->logits);
        us[n] = (double)(bench_now_ns() - start) * 1e-3;
        ratio[n] = floors[n] / us[n];
        spent += us[n++];
    }
    return (struct score){bench_quantile(us, n, 0.5), bench_quantile(floors, n, 0.5), bench_quantile(ratio, n, 0.5)};
}

/* ---- accuracy --------------------------------------------------------------------------------------------------- */

struct accuracy {
    double largest, mean, same_top10, same_top10_apart;
};

static void top_ten(const double *scores, uint32_t n, uint32_t top[10])
{
    uint32_t have = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t at = have < 10 ? have++ : 10;
        for (; at > 0 && scores[top[at - 1]] < scores[i]; at--) {
            if (at < 10)
                top[at] = top[at - 1];
        }
        if (at < 10)
            top[at] = i;
    }
}

/* Does each place hold the lens that float64 puts there, or one that float64 values within `tolerance` of it? */
static bool same_order(const double *exact, const uint32_t right[10], const uint32_t ours[10], double tolerance)
{
    for (uint32_t k = 0; k < 10; k++)
        if (right[k] != ours[k] && !(fabs(exact[right[k]] - exact[ours[k]]) <= tolerance))
            return false;
    return true;
}

static struct accuracy measure_accuracy(struct bench *b, struct bench_format_slab *s)
{
    const uint32_t n = b->set->lenses, rows = b->set->rows;
    double *got = bench_alloc(n * sizeof *got);
    struct accuracy out = {0};
    poison(b->logits, (size_t)n * rows);
    bench_format_score(s, 0, n, 0, rows, b->logits);
    for (uint32_t r = 0; r < rows; r++) {
        const double *exact = b->set->exact + (size_t)r * n;
        uint32_t right[10], ours[10];
        for (uint32_t i = 0; i < n; i++) {
            got[i] = (double)b->logits[(size_t)i * rows + r];
            const double error = isnan(got[i]) ? INFINITY : fabs(got[i] - exact[i]);
            out.largest = fmax(out.largest, error);
            out.mean += error / ((double)n * rows);
        }
        top_ten(exact, n, right);
        top_ten(got, n, ours);
        out.same_top10 += same_order(exact, right, ours, 0) / (double)rows;
        out.same_top10_apart += same_order(exact, right, ours, 1e-3) / (double)rows;
    }
    free(got);
    return out;
}

/* ---- the first table -------------------------------------------------------------------------------------------- */

static void report_pair(struct bench *b, struct bench_format_slab *s, enum lens_dtype in_slot)
{
    const struct load load = measure_load(b, s);
    const struct score score = measure_score(b, s);
    const struct accuracy accuracy = measure_accuracy(b, s);
    const uint64_t stored = bench_stored_bytes(s->pack), slot = s->slab->backend->ops->slot_bytes(s->slab);
    printf("%-5s %-5s %9" PRIu64 " %9" PRIu64 " %8.1f %8.1f %6.2f %9.0f %9.0f %6.2f %9.1e %9.1e %6.2f %6.2f\n",
           lens_dtype_name(s->pack->w1_dtype), lens_dtype_name(in_slot), stored, slot, load.us, load.bare_us,
           load.ratio, score.us, score.floor_us, score.ratio, accuracy.largest, accuracy.mean, accuracy.same_top10,
           accuracy.same_top10_apart);
    fflush(stdout);
    json_t *figure = bench_report_figure(&b->report);
    bench_put_text(figure, "table", "pairs");
    bench_put_text(figure, "pack", lens_dtype_name(s->pack->w1_dtype));
    bench_put_text(figure, "slab", lens_dtype_name(in_slot));
    bench_put(figure, "stored_bytes_a_lens", (double)stored);
    bench_put(figure, "slot_bytes", (double)slot);
    bench_put(figure, "load_us", load.us);
    bench_put(figure, "bare_pread_us", load.bare_us);
    bench_put(figure, "load_against_pread", load.ratio);
    bench_put(figure, "score_us", score.us);
    bench_put(figure, "floor_us", score.floor_us);
    bench_put(figure, "ratio_to_read", score.ratio);
    bench_put(figure, "largest_logit_error", accuracy.largest);
    bench_put(figure, "mean_logit_error", accuracy.mean);
    bench_put(figure, "same_top10", accuracy.same_top10);
    bench_put(figure, "same_top10_where_gaps_exceed_0.001", accuracy.same_top10_apart);
}

static void run_pairs(struct bench *b)
{
    printf("%-5s %-5s %9s %9s %8s %8s %6s %9s %9s %6s %9s %9s %6s %6s\n", "pack", "slab", "stored", "slot", "load us",
           "pread us", "ratio", "score us", "floor us", "ratio", "max err", "mean err", "top10", ">1e-3");
    for (size_t p = 0; p < DTYPES; p++) {
        for (size_t d = 0; d < DTYPES; d++) {
            struct lens_error err = {0};
            struct bench_format_slab *s = bench_format_slab_open(b->backend, b->set, b->set->pack[dtypes[p]], dtypes[d],
                                                                 b->base, b->slab_bytes, &err);
            if (s == NULL) {
                if (p == 0)
                    printf("no slabs of %s: %s\n", lens_dtype_name(dtypes[d]), err.text);
                continue;
            }
            report_pair(b, s, dtypes[d]);
            bench_format_slab_close(s);
        }
    }
}

/* ---- the second table ------------------------------------------------------------------------------------------- */

/* The codes of the base lenses, in memory. */
struct codes {
    unsigned char *w1, *sign;
};

static struct codes read_codes(struct bench *b, const struct lens_pack *pack)
{
    struct lens_error err = {0};
    const struct codes codes = {bench_alloc(b->base * pack->w1_lens_bytes),
                                bench_alloc(b->base * pack->w1_sign_bytes + 1)};
    if (lens_pack_read_w1(pack, 0, b->base, codes.w1, codes.sign, &err) < 0)
        bench_die("%s", err.text);
    return codes;
}

static void decode_all(struct bench *b, struct bench_format_slab *s, const struct codes *codes)
{
    for (uint32_t i = 0; i < b->base; i++)
        bench_format_write(s, i, bench_format_slot(s, 0, i), codes->w1 + i * s->pack->w1_lens_bytes,
                           codes->sign + i * s->pack->w1_sign_bytes);
}

struct passes {
    double first, later, all; /* microseconds; later: the median of the others */
};

static int compare_all(const void *a, const void *b)
{
    const double x = ((const struct passes *)a)->all, y = ((const struct passes *)b)->all;
    return (x > y) - (x < y);
}

/* Ten passes, the median of some goes by their sum. */
static struct passes ten_passes(struct bench *b, struct bench_format_slab *s, const struct codes *codes, bool each_time)
{
    struct passes goes[REPEATS];
    for (uint32_t go = 0; go < REPEATS; go++) {
        double us[PASSES], sum = 0;
        for (uint32_t pass = 0; pass < PASSES; pass++) {
            poison(b->logits, b->base);
            const uint64_t start = bench_now_ns();
            if (pass == 0 || each_time)
                decode_all(b, s, codes);
            bench_format_score(s, 0, b->base, pass % b->set->rows, 1, b->logits);
            us[pass] = (double)(bench_now_ns() - start) * 1e-3;
            sum += us[pass];
        }
        goes[go].first = us[0];
        goes[go].all = sum;
        goes[go].later = bench_quantile(us + 1, PASSES - 1, 0.5);
    }
    qsort(goes, REPEATS, sizeof goes[0], compare_all);
    return goes[REPEATS / 2];
}

static void report_passes(struct bench *b, const struct lens_pack *pack, enum lens_dtype in_slot, const char *way,
                          uint64_t slot_bytes, const struct passes *p, double slowest)
{
    const double mib = (double)slot_bytes * b->base / (1 << 20);
    printf("%-5s %-5s %-32s %9.1f %11.0f %11.0f %11.0f %8.1f\n", lens_dtype_name(pack->w1_dtype),
           lens_dtype_name(in_slot), way, mib, p->first, p->later, p->all, slowest / p->all);
    fflush(stdout);
    json_t *figure = bench_report_figure(&b->report);
    bench_put_text(figure, "table", "passes");
    bench_put_text(figure, "pack", lens_dtype_name(pack->w1_dtype));
    bench_put_text(figure, "slab", lens_dtype_name(in_slot));
    bench_put_text(figure, "way", way);
    bench_put(figure, "slot_mib", mib);
    bench_put(figure, "first_pass_us", p->first);
    bench_put(figure, "later_pass_us", p->later);
    bench_put(figure, "ten_passes_us", p->all);
    bench_put(figure, "times_faster_than_decoding_each_time", slowest / p->all);
}

static void run_passes_of(struct bench *b, enum lens_dtype coded)
{
    const struct lens_pack *pack = b->set->pack[coded];
    struct codes codes = read_codes(b, pack);
    const enum lens_dtype slabs[] = {LENS_F32, LENS_BF16, coded};
    double slowest = 0;
    for (size_t d = 0; d < sizeof slabs / sizeof slabs[0]; d++) {
        struct lens_error err = {0};
        struct bench_format_slab *s = bench_format_slab_open(b->backend, b->set, pack, slabs[d], b->base, 1, &err);
        if (s == NULL)
            continue; /* said above the first table */
        const uint64_t slot_bytes = b->backend->ops->slot_bytes(s->slab);
        if (slabs[d] == LENS_F32) {
            const struct passes each = ten_passes(b, s, &codes, true);
            slowest = each.all;
            report_passes(b, pack, slabs[d], "decoded before each pass", slot_bytes, &each, slowest);
        }
        const struct passes once = ten_passes(b, s, &codes, false);
        report_passes(b, pack, slabs[d], slabs[d] == coded ? "codes in the slot, used as they are" : "decoded once",
                      slot_bytes, &once, slowest);
        bench_format_slab_close(s);
    }
    free(codes.w1);
    free(codes.sign);
}

static void run_passes(struct bench *b)
{
    printf("\nten passes of one row over %u lenses, their codes in memory at the start; a pass is microseconds\n",
           b->base);
    printf("%-5s %-5s %-32s %9s %11s %11s %11s %8s\n", "pack", "slab", "", "slots MiB", "first", "each later",
           "all ten", "faster");
    run_passes_of(b, LENS_I8);
    run_passes_of(b, LENS_LOG8);
}

int main(int argc, char **argv)
{
    static const char *const known[] = {
        "--tree=", "--lenses=", "--base=", "--rows=", "--ms=", "--threads=", "--slab-mib=", NULL};
    bench_check_options(argc, argv, known);
    struct bench b = {.base = (uint32_t)bench_option_u64(argc, argv, "--base", 267),
                      .ms = bench_option_u64(argc, argv, "--ms", 300),
                      .slab_bytes = bench_option_u64(argc, argv, "--slab-mib", 400) << 20};
    const uint32_t lenses = (uint32_t)bench_option_u64(argc, argv, "--lenses", 512);
    const uint32_t rows = (uint32_t)bench_option_u64(argc, argv, "--rows", 24);
    const struct lens_cpu_options options = {(uint32_t)bench_option_u64(argc, argv, "--threads", 1), "auto"};
    struct lens_error err = {0};
    struct lens_device device;
    if (b.base < 10 || b.base > lenses || rows < 1 || rows > 64)
        bench_die("--base goes from 10 to --lenses, --rows from 1 to 64");
    if (lens_cpu_open(&options, &b.backend, &err) < 0)
        bench_die("%s", err.text);
    b.backend->ops->describe(b.backend, &device);
    b.set = bench_format_set_open(bench_tree_path(argc, argv), lenses, rows);
    b.reader = bench_reader_open(device.threads, BENCH_READ_BUFFER);
    b.logits = bench_alloc((size_t)lenses * rows * sizeof *b.logits);
    b.report = bench_report_begin("formats");
    bench_put_text(b.report.settings, "variant", device.variant);
    bench_put(b.report.settings, "threads", device.threads);
    bench_put(b.report.settings, "lenses", lenses);
    bench_put(b.report.settings, "base", b.base);
    bench_put(b.report.settings, "rows", rows);
    bench_put(b.report.settings, "dim", b.set->shape.dim);
    printf("formats: %u lenses at D=%u, %s, %u thread(s); loads and stored bytes are of one lens, scores of one row on "
           "%u lenses\n",
           lenses, b.set->shape.dim, device.variant, device.threads, b.base);
    run_pairs(&b);
    run_passes(&b);
    bench_report_end(&b.report);
    free(b.logits);
    bench_reader_close(b.reader);
    bench_format_set_close(b.set);
    b.backend->ops->close(b.backend);
    return 0;
}
