/* P5: lenses that aren't in a slot.
 *
 *     bench_cold [--runs int8,bf16,f32] [--rows 1000] [--families 300] [--sequences 24] [--threads 2] [--tree FILE.tsv]
 *
 * Three things for each pack of the real tree at D=2560:
 * - families of siblings from the page cache into slots, and from host memory into slots, through the loader on one
 *   thread, beside a bare pread and a bare copy of the same bytes (support/cold_loads.h);
 * - the first two gigabytes of the pack into slots with all loader threads, beside a copy of as many bytes by as many
 *   threads;
 * - a token stream, client to client through a real lensd, in which about 30% of the lenses below the base layers are
 *   not in a slot when a row wants them. The number of slots that makes it so is searched; what was found is printed.
 *   Once from the page cache, once with all lenses in host memory, and beside both the same stream with every lens in
 *   a slot. */
#include "tests/bench/support/bench.h"
#include "tests/bench/support/child.h"
#include "tests/bench/support/cold_loads.h"
#include "tests/bench/support/planted.h"
#include "tests/bench/support/report.h"

#include "client/liblens/lens.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STAGES      8
#define SEQUENCES   64u
#define WARM        150u
#define SEARCH_ROWS 150u
#define COLD_SHARE  0.30
#define BULK_BYTES  (2ull << 30)

static const char *const stage_names[STAGES] = {"queue",  "copy_in", "base",     "load",
                                                "expand", "select",  "copy_out", "total"};

struct stream {
    uint32_t dim, rows, sequences, base; /* row t belongs to sequence t % sequences; base: lenses of layers 0 and 1 */
    float *states;
};

struct samples {
    uint32_t n;
    double *client, *stage[STAGES];
    double scored, host, cold; /* sums */
};

/* ---- preparation ------------------------------------------------------------------------------------------------ */

static void make_stream(struct stream *stream, const struct lens_pack *pack, uint32_t rows, uint32_t sequences)
{
    struct bench_rows *planted[SEQUENCES] = {NULL};
    struct bench_tree *tree = bench_tree_of_pack(pack);
    *stream = (struct stream){.dim = pack->dim, .rows = rows, .sequences = sequences};
    stream->states = bench_alloc((size_t)rows * pack->dim * sizeof(float));
    for (uint32_t i = 0; i < pack->lenses; i++)
        stream->base += pack->layer[i] <= 1;
    for (uint32_t q = 0; q < sequences; q++)
        planted[q] = bench_rows_open(tree, pack->dim, q + 1);
    for (uint32_t t = 0; t < rows; t++)
        bench_rows_next(planted[t % sequences], stream->states + (size_t)t * pack->dim);
    for (uint32_t q = 0; q < sequences; q++)
        bench_rows_close(planted[q]);
    bench_tree_close(tree);
}

static struct samples make_samples(uint32_t n)
{
    struct samples s = {.n = n, .client = bench_alloc(n * sizeof(double))};
    for (int i = 0; i < STAGES; i++)
        s.stage[i] = bench_alloc(n * sizeof(double));
    return s;
}

static void free_samples(struct samples *s)
{
    free(s->client);
    for (int i = 0; i < STAGES; i++)
        free(s->stage[i]);
}

/* ---- the stream ------------------------------------------------------------------------------------------------- */

static double round_trip(struct lens_session *session, const struct stream *stream, uint32_t t,
                         struct lens_answer *answer)
{
    uint32_t at = t % stream->rows;
    struct lens_slot slot;
    uint64_t start = bench_now_ns();
    if (lens_session_acquire(session, 1, LENS_TYPE_F32, 0, &slot) < 0)
        bench_die("the ring has no room for one row");
    memcpy(slot.rows, stream->states + (size_t)at * stream->dim, stream->dim * sizeof(float));
    slot.sequence = at % stream->sequences;
    slot.first_position = t;
    if (lens_session_submit(session, &slot) < 0)
        bench_die("a row can't be submitted");
    int got;
    while ((got = lens_session_poll(session, answer)) == -EAGAIN)
        ;
    if (got < 0)
        bench_die("no answer: %s", strerror(-got));
    return (double)(bench_now_ns() - start);
}

static void keep_answer(struct samples *s, uint32_t t, const struct lens_answer *answer, double client)
{
    const uint64_t ns[STAGES] = {answer->ns.queue,  answer->ns.copy_in, answer->ns.base,     answer->ns.load,
                                 answer->ns.expand, answer->ns.select,  answer->ns.copy_out, answer->ns.total};
    s->client[t] = client;
    for (int i = 0; i < STAGES; i++)
        s->stage[i][t] = (double)ns[i];
    s->scored += answer->counts.scored;
    s->host += answer->counts.host_hits;
    s->cold += answer->counts.cold;
}

static void run_rows(struct lens_session *session, const struct stream *stream, struct samples *s)
{
    struct lens_answer answer;
    for (uint32_t t = 0; t < WARM + s->n; t++) {
        double client = round_trip(session, stream, t, &answer);
        if (answer.status != 0 || answer.flags != 0)
            bench_die("row %u came back with status %u, flags %u", t, answer.status, answer.flags);
        if (t >= WARM)
            keep_answer(s, t - WARM, &answer, client);
        lens_session_release(session);
    }
}

/* One stream through a lensd of its own. slots = 0: one for every lens. */
static void run_stream(const char *pack, uint32_t slots, const char *host_memory, const struct stream *stream,
                       struct samples *s)
{
    char count[16];
    struct bench_daemon daemon;
    struct lens_client *client;
    struct lens_session *session;
    struct lens_session_params params;
    struct lens_client_error err = {0};
    snprintf(count, sizeof count, "%u", slots);
    const char *const flags[] = {"--pool-slots",
                                 count,
                                 "--cache-host-memory",
                                 host_memory,
                                 "--engine-threads",
                                 "1",
                                 "--engine-spin-us",
                                 "1000000",
                                 "--packs-verify",
                                 "off",
                                 NULL};
    bench_daemon_start(&daemon, pack, flags);
    lens_session_params_default(&params);
    if (lens_client_open(daemon.socket, &client, &err) < 0 || lens_session_open(client, &params, &session, &err) < 0)
        bench_die("%s", err.text);
    run_rows(session, stream, s);
    lens_client_close(client);
    bench_daemon_stop(&daemon);
}

/* Of the lenses below the base layers, the share that was not in a slot. */
static double cold_share(const struct samples *s, const struct stream *stream)
{
    return (s->cold + s->host) / (s->scored - (double)s->n * stream->base);
}

/* The number of slots with which about 30% miss: fewer slots, more misses. */
static uint32_t find_slots(const char *pack, const struct stream *stream, uint32_t lenses)
{
    uint32_t low = stream->base + 8, high = lenses;
    while (high - low > low / 50 + 1) {
        uint32_t middle = low + (high - low) / 2;
        struct samples s = make_samples(SEARCH_ROWS);
        run_stream(pack, middle, "0", stream, &s);
        if (cold_share(&s, stream) > COLD_SHARE)
            low = middle;
        else
            high = middle;
        free_samples(&s);
    }
    return high;
}

/* ---- the figures ------------------------------------------------------------------------------------------------ */

static void put_summary(json_t *figure, const char *name, struct bench_summary s)
{
    json_t *object = json_object();
    bench_put(object, "p50", s.p50);
    bench_put(object, "p95", s.p95);
    bench_put(object, "p99", s.p99);
    bench_put(object, "max", s.max);
    bench_put(object, "mean", s.mean);
    json_object_set_new(figure, name, object);
}

static void show_stream(struct bench_report *report, const char *dtype, const char *from, uint32_t slots,
                        struct samples *s, const struct stream *stream)
{
    json_t *figure = bench_report_figure(report), *stages = json_object();
    struct bench_summary client = bench_summarize(s->client, s->n), summary[STAGES];
    double below = s->scored - (double)s->n * stream->base;
    printf("\nP5 %s stream, %s: %u rows, %u slots, %.1f lenses scored a row\n", dtype, from, s->n, slots,
           s->scored / s->n);
    printf("  of those below base %.1f%% were not in a slot: %.1f%% came from host memory, %.1f%% from the file\n",
           100 * cold_share(s, stream), 100 * s->host / below, 100 * s->cold / below);
    printf("  us                      p50        p99        max       mean\n");
    printf("  %-16s %10.1f %10.1f %10.1f %10.1f\n", "client to client", client.p50 * 1e-3, client.p99 * 1e-3,
           client.max * 1e-3, client.mean * 1e-3);
    for (int i = 0; i < STAGES; i++) {
        summary[i] = bench_summarize(s->stage[i], s->n);
        printf("  %-16s %10.1f %10.1f %10.1f %10.1f\n", stage_names[i], summary[i].p50 * 1e-3, summary[i].p99 * 1e-3,
               summary[i].max * 1e-3, summary[i].mean * 1e-3);
        put_summary(stages, stage_names[i], summary[i]);
    }
    double share = summary[3].mean / summary[STAGES - 1].mean;
    printf("  load is %.1f%% of the total\n", 100 * share);
    bench_put_text(figure, "part", "stream");
    bench_put_text(figure, "dtype", dtype);
    bench_put_text(figure, "from", from);
    bench_put(figure, "rows", s->n);
    bench_put(figure, "slots", slots);
    bench_put(figure, "scored", s->scored / s->n);
    bench_put(figure, "missing_share", cold_share(s, stream));
    bench_put(figure, "host_share", s->host / below);
    bench_put(figure, "file_share", s->cold / below);
    put_summary(figure, "client_ns", client);
    json_object_set_new(figure, "stages_ns", stages);
    bench_put(figure, "load_share", share);
}

/* *slots_found is searched with the first pack alone: the same tree wants the same lenses in every dtype. */
static void stream_part(struct bench_report *report, const char *dtype, const char *path, const struct lens_pack *pack,
                        uint32_t rows, uint32_t sequences, uint32_t *slots_found)
{
    struct stream stream;
    make_stream(&stream, pack, rows, sequences);
    if (*slots_found == 0)
        *slots_found = find_slots(path, &stream, pack->lenses);
    uint32_t slots = *slots_found;
    const struct {
        const char *from, *host_memory;
        uint32_t slots;
    } runs[] = {
        {"every lens in a slot", "0", 0}, {"from the page cache", "0", slots}, {"from host memory", "1000G", slots}};
    for (uint32_t i = 0; i < sizeof runs / sizeof runs[0]; i++) {
        struct samples s = make_samples(rows);
        run_stream(path, runs[i].slots, runs[i].host_memory, &stream, &s);
        show_stream(report, dtype, runs[i].from, runs[i].slots ? runs[i].slots : pack->lenses, &s, &stream);
        free_samples(&s);
    }
    free(stream.states);
}

static void family_part(struct bench_report *report, const char *dtype, const struct lens_pack *pack, uint32_t families)
{
    struct bench_cold_families f;
    json_t *figure = bench_report_figure(report);
    bench_cold_measure_families(pack, families, &f);
    printf("\nP5 %s: %u families, %u lenses of %.2f MB\n", dtype, f.families, f.lenses,
           (double)pack->w1_lens_bytes * 1e-6);
    printf("  page cache -> slot %8.1f us a lens, bare pread %8.1f us: %.2f x (goal 2)\n", f.slot_ns * 1e-3,
           f.pread_ns * 1e-3, f.slot_ns / f.pread_ns);
    printf("  host       -> slot %8.1f us a lens, bare copy  %8.1f us: %.2f x\n", f.host_ns * 1e-3, f.copy_ns * 1e-3,
           f.host_ns / f.copy_ns);
    bench_put_text(figure, "part", "families");
    bench_put_text(figure, "dtype", dtype);
    bench_put(figure, "families", f.families);
    bench_put(figure, "lenses", f.lenses);
    bench_put(figure, "slot_ns", f.slot_ns);
    bench_put(figure, "pread_ns", f.pread_ns);
    bench_put(figure, "ratio", f.slot_ns / f.pread_ns);
    bench_put(figure, "host_ns", f.host_ns);
    bench_put(figure, "copy_ns", f.copy_ns);
    bench_put(figure, "host_ratio", f.host_ns / f.copy_ns);
}

static void bulk_part(struct bench_report *report, const char *dtype, const struct lens_pack *pack, uint32_t threads)
{
    struct bench_cold_bulk b;
    json_t *figure = bench_report_figure(report);
    bench_cold_measure_bulk(pack, threads, BULK_BYTES, &b);
    printf("  bulk: %u lenses by %u threads at %.1f GB/s, a copy by as many %.1f GB/s: %.2f (goal 0.7)\n", b.lenses,
           b.threads, b.fill_rate * 1e-9, b.copy_rate * 1e-9, b.fill_rate / b.copy_rate);
    bench_put_text(figure, "part", "bulk");
    bench_put_text(figure, "dtype", dtype);
    bench_put(figure, "lenses", b.lenses);
    bench_put(figure, "threads", b.threads);
    bench_put(figure, "fill_bytes_per_second", b.fill_rate);
    bench_put(figure, "copy_bytes_per_second", b.copy_rate);
    bench_put(figure, "ratio", b.fill_rate / b.copy_rate);
}

int main(int argc, char **argv)
{
    static const char *const known[] = {
        "--runs=", "--rows=", "--families=", "--sequences=", "--threads=", "--tree=", NULL};
    bench_check_options(argc, argv, known);
    uint32_t rows = (uint32_t)bench_option_u64(argc, argv, "--rows", 1000);
    uint32_t families = (uint32_t)bench_option_u64(argc, argv, "--families", 300);
    uint32_t sequences = (uint32_t)bench_option_u64(argc, argv, "--sequences", 24);
    uint32_t threads = (uint32_t)bench_option_u64(argc, argv, "--threads", 2);
    uint32_t slots = 0;
    char runs[256], *rest = NULL;
    snprintf(runs, sizeof runs, "%s", bench_option(argc, argv, "--runs", "int8,bf16,f32"));
    if (rows < 1 || families < 4 || sequences < 1 || sequences > SEQUENCES || threads < 1 || threads > 64)
        bench_die("--rows must be at least 1, --families 4, --sequences 1 to %u, --threads 1 to 64", SEQUENCES);
    struct bench_report report = bench_report_begin("cold");
    bench_put_text(report.settings, "runs", runs);
    bench_put(report.settings, "rows", rows);
    bench_put(report.settings, "sequences", sequences);
    bench_cpus();
    for (char *dtype = strtok_r(runs, ",", &rest); dtype; dtype = strtok_r(NULL, ",", &rest)) {
        char path[4096];
        struct lens_error err = {0};
        struct lens_pack *pack;
        bench_real_tree(dtype, bench_tree_path(argc, argv), path, sizeof path);
        if (lens_pack_open(path, &pack, &err) < 0)
            bench_die("%s", err.text);
        bench_pin(0);
        family_part(&report, dtype, pack, families);
        bench_unpin(); /* the loader's threads inherit this */
        bulk_part(&report, dtype, pack, threads);
        bench_pin(0);
        stream_part(&report, dtype, path, pack, rows, sequences, &slots);
        bench_unpin();
        lens_pack_close(pack);
    }
    bench_report_end(&report);
    return 0;
}
