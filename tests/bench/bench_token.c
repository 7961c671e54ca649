/* P3: one token, client to client, through a real lensd on the real-tree pack.
 *
 *     bench_token [--runs bf16:exact,bf16:bf16,int8:int8] [--pack FILE] [--rows 2000] [--sequences 24]
 *                 [--tree FILE.tsv] [--backend cpu] [--read-rate GB/s]
 *
 * lensd runs as a child on the second processor (one engine thread, no workers, every lens resident); this process is
 * the client, spinning on the first. One row at a time, planted answers. Rows take turns between sequences with leaves
 * of their own: one sequence's lenses would stay in a last-level cache of 260 MB from row to row, which a model
 * computing between its tokens doesn't allow (--sequences 1 shows it). A row's floor is the bytes of the lenses it
 * scored over the read rate, which is measured here between the rows while lensd waits, or given: for a card
 * (--backend cuda), whose rate bench_gpu measures. */
#include "tests/bench/support/bench.h"
#include "tests/bench/support/child.h"
#include "tests/bench/support/planted.h"
#include "tests/bench/support/read_rate.h"
#include "tests/bench/support/report.h"

#include "client/liblens/lens.h"
#include "kernels/backend.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STAGES     8
#define WARM       200u
#define SEQUENCES  64u /* at most: lensd's own default for a session */
#define READ_EVERY 50u
#define READ_BYTES (256ull << 20)

static const char *const stage_names[STAGES] = {"queue",  "copy_in", "base",     "load",
                                                "expand", "select",  "copy_out", "total"};

struct settings {
    uint32_t rows, sequences;
    const char *backend;
    double read_rate; /* bytes per second; 0 = what the processor reads */
};

struct samples {
    uint32_t n, reads;
    double *client, *scored, *stage[STAGES], *read_rate, *ratio;
    uint64_t planted, found;
};

struct stream {
    struct bench_tree *tree;
    uint32_t dim, rows, sequences; /* row t belongs to sequence t % sequences */
    float *states;
    uint32_t *leaves; /* [rows][BENCH_ACTIVE_LEAVES] */
    uint64_t redrawn;
};

/* ---- preparation ------------------------------------------------------------------------------------------------ */

static void make_stream(struct stream *stream, const struct lens_pack *pack, uint32_t rows, uint32_t sequences)
{
    struct bench_rows *planted[SEQUENCES] = {NULL};
    stream->tree = bench_tree_of_pack(pack);
    stream->dim = pack->dim;
    stream->rows = rows;
    stream->states = bench_alloc((size_t)rows * pack->dim * sizeof(float));
    stream->leaves = bench_alloc((size_t)rows * BENCH_ACTIVE_LEAVES * sizeof(uint32_t));
    stream->sequences = sequences;
    stream->redrawn = 0;
    for (uint32_t q = 0; q < sequences; q++)
        planted[q] = bench_rows_open(stream->tree, pack->dim, q + 1);
    for (uint32_t t = 0; t < rows; t++) {
        struct bench_rows *from = planted[t % sequences];
        bench_rows_next(from, stream->states + (size_t)t * pack->dim);
        memcpy(stream->leaves + (size_t)t * BENCH_ACTIVE_LEAVES, from->leaves, sizeof from->leaves);
    }
    for (uint32_t q = 0; q < sequences; q++) {
        stream->redrawn += planted[q]->redrawn;
        bench_rows_close(planted[q]);
    }
}

static void free_stream(struct stream *stream)
{
    bench_tree_close(stream->tree);
    free(stream->states);
    free(stream->leaves);
}

/* What a score of one lens has to read: W1 as the slab has it, its scales, and W2. */
static double lens_bytes(const struct lens_pack *pack)
{
    double w1 = (double)pack->h1 * pack->dim * lens_dtype_bytes(pack->w1_dtype);
    double scales = pack->w1_dtype == LENS_I8 ? 4.0 * pack->h1 : 0;
    return w1 + scales + (double)pack->h2 * pack->h1 * lens_dtype_bytes(pack->w2_dtype);
}

static struct samples make_samples(uint32_t n)
{
    struct samples s = {.n = n};
    s.client = bench_alloc(n * sizeof(double));
    s.scored = bench_alloc(n * sizeof(double));
    s.ratio = bench_alloc(n * sizeof(double));
    s.read_rate = bench_alloc((n / READ_EVERY + 1) * sizeof(double));
    for (int i = 0; i < STAGES; i++)
        s.stage[i] = bench_alloc(n * sizeof(double));
    return s;
}

static void free_samples(struct samples *s)
{
    free(s->client);
    free(s->scored);
    free(s->ratio);
    free(s->read_rate);
    for (int i = 0; i < STAGES; i++)
        free(s->stage[i]);
}

/* ---- the measured loop ------------------------------------------------------------------------------------------ */

static void keep_answer(struct samples *s, uint32_t t, const struct lens_answer *answer, const uint32_t *leaves)
{
    const uint64_t ns[STAGES] = {answer->ns.queue,  answer->ns.copy_in, answer->ns.base,     answer->ns.load,
                                 answer->ns.expand, answer->ns.select,  answer->ns.copy_out, answer->ns.total};
    if (answer->status != 0 || answer->flags != 0)
        bench_die("row %u came back with status %u, flags %u", t, answer->status, answer->flags);
    for (int i = 0; i < STAGES; i++)
        s->stage[i][t] = (double)ns[i];
    s->scored[t] = answer->counts.scored;
    for (int leaf = 0; leaf < BENCH_ACTIVE_LEAVES; leaf++) {
        s->planted++;
        for (uint32_t h = 0; h < answer->n_hits; h++)
            s->found += answer->hits[h].id == leaves[leaf];
    }
}

static double round_trip(struct lens_session *session, const struct stream *stream, uint32_t t,
                         struct lens_answer *answer)
{
    uint32_t at = t % stream->rows;
    const float *row = stream->states + (size_t)at * stream->dim;
    struct lens_slot slot;
    uint64_t start = bench_now_ns();
    if (lens_session_acquire(session, 1, LENS_TYPE_F32, 0, &slot) < 0)
        bench_die("the ring has no room for one row");
    memcpy(slot.rows, row, stream->dim * sizeof *row);
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

static void measure(struct lens_session *session, const struct stream *stream, struct bench_reader *reader,
                    struct samples *s)
{
    struct lens_answer answer;
    for (uint32_t t = 0; t < WARM + s->n; t++) {
        double ns = round_trip(session, stream, t, &answer);
        if (t >= WARM) {
            s->client[t - WARM] = ns;
            keep_answer(s, t - WARM, &answer, stream->leaves + (size_t)(t % stream->rows) * BENCH_ACTIVE_LEAVES);
        }
        lens_session_release(session);
        if (t >= WARM && (t - WARM) % READ_EVERY == 0)
            s->read_rate[s->reads++] = bench_reader_pass(reader, READ_BYTES);
    }
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

static void line(const char *name, struct bench_summary s)
{
    printf("  %-16s %10.1f %10.1f %10.1f %10.1f\n", name, s.p50 * 1e-3, s.p95 * 1e-3, s.p99 * 1e-3, s.max * 1e-3);
}

static void show(struct bench_report *report, const struct settings *settings, const char *what, const char *expand,
                 struct samples *s, double bytes)
{
    json_t *figure = bench_report_figure(report), *stages = json_object();
    double rate = settings->read_rate > 0 ? settings->read_rate : bench_quantile(s->read_rate, s->reads, 0.5);
    for (uint32_t t = 0; t < s->n; t++)
        s->ratio[t] = s->client[t] / (s->scored[t] * bytes / rate * 1e9);
    struct bench_summary client = bench_summarize(s->client, s->n), scored = bench_summarize(s->scored, s->n);
    struct bench_summary ratio = bench_summarize(s->ratio, s->n);
    double floor = scored.p50 * bytes / rate * 1e9, recall = (double)s->found / (double)s->planted;
    printf("\nP3 %s, expand %s: %u rows, %.0f lenses scored (p50; mean %.1f), %.2f MB each\n", what, expand, s->n,
           scored.p50, scored.mean, bytes * 1e-6);
    printf("  us                      p50        p95        p99        max\n");
    line("client to client", client);
    for (int i = 0; i < STAGES; i++) {
        struct bench_summary stage = bench_summarize(s->stage[i], s->n);
        line(stage_names[i], stage);
        put_summary(stages, stage_names[i], stage);
    }
    printf(
        "  P1 %.1f GB/s: floor %.1f us, p50 = %.2f x floor (row by row %.2f), p50 - 1.25 floor = %+.1f us (goal 20)\n",
        rate * 1e-9, floor * 1e-3, client.p50 / floor, ratio.p50, (client.p50 - 1.25 * floor) * 1e-3);
    printf("  planted leaves among the ten best: %.2f%%\n", 100 * recall);
    bench_put_text(figure, "run", what);
    bench_put_text(figure, "expand", expand);
    bench_put(figure, "rows", s->n);
    put_summary(figure, "client_ns", client);
    json_object_set_new(figure, "stages_ns", stages);
    put_summary(figure, "lenses_scored", scored);
    bench_put(figure, "bytes_per_lens", bytes);
    bench_put(figure, "read_bytes_per_second", rate);
    bench_put(figure, "floor_ns", floor);
    bench_put(figure, "ratio", client.p50 / floor);
    bench_put(figure, "ratio_row_by_row", ratio.p50);
    bench_put(figure, "over_goal_us", (client.p50 - 1.25 * floor) * 1e-3);
    bench_put(figure, "planted_recall", recall);
}

/* A busy machine may keep lensd's control thread waiting for longer than liblens has patience. */
static void try_again(int tries, const struct lens_client_error *err)
{
    if (tries == 10 || err->code != -ETIMEDOUT)
        bench_die("%s", err->text);
    usleep(1000000);
}

static void run_mode(struct bench_report *report, const struct settings *settings, const char *what, int expand,
                     struct lens_client *client, const struct stream *stream, struct bench_reader *reader, double bytes)
{
    struct lens_session_params params;
    struct lens_session *session;
    struct lens_client_error err = {0};
    struct samples samples = make_samples(stream->rows);
    lens_session_params_default(&params);
    params.expand = (int8_t)expand;
    for (int tries = 0; lens_session_open(client, &params, &session, &err) < 0; tries++)
        try_again(tries, &err);
    measure(session, stream, reader, &samples);
    lens_session_close(session);
    show(report, settings, what, expand ? "topk" : "threshold", &samples, bytes);
    free_samples(&samples);
}

static void run_pack(struct bench_report *report, const struct settings *settings, const char *pack_path,
                     const char *compute)
{
    struct lens_error err = {0};
    struct lens_client_error client_err = {0};
    struct lens_client *client;
    struct lens_pack *pack;
    struct stream stream;
    struct bench_daemon daemon;
    char what[64];
    if (lens_pack_open(pack_path, &pack, &err) < 0)
        bench_die("%s", err.text);
    snprintf(what, sizeof what, "%s:%s", lens_dtype_name(pack->w1_dtype), compute);
    make_stream(&stream, pack, settings->rows, settings->sequences);
    bench_put(report->settings, "rows_drawn_again", (double)stream.redrawn);
    const char *const flags[] = {"--backend", settings->backend,  "--pool-compute", compute,         "--engine-threads",
                                 "1",         "--engine-spin-us", "1000000",        "--http-listen", "off",
                                 NULL};
    bench_daemon_start(&daemon, pack_path, flags);
    struct bench_reader *reader = bench_reader_open(1, BENCH_READ_BUFFER);
    for (int tries = 0; lens_client_open(daemon.socket, &client, &client_err) < 0; tries++)
        try_again(tries, &client_err);
    for (int expand = 0; expand < 2; expand++)
        run_mode(report, settings, what, expand, client, &stream, reader, lens_bytes(pack));
    lens_client_close(client);
    bench_daemon_stop(&daemon);
    bench_reader_close(reader);
    free_stream(&stream);
    lens_pack_close(pack);
}

int main(int argc, char **argv)
{
    static const char *const known[] = {
        "--runs=", "--pack=", "--rows=", "--sequences=", "--tree=", "--backend=", "--read-rate=", NULL};
    bench_check_options(argc, argv, known);
    const char *given = bench_option(argc, argv, "--pack", NULL);
    struct settings settings = {.rows = (uint32_t)bench_option_u64(argc, argv, "--rows", 2000),
                                .sequences = (uint32_t)bench_option_u64(argc, argv, "--sequences", 24),
                                .backend = bench_option(argc, argv, "--backend", "cpu"),
                                .read_rate = 1e9 * (double)bench_option_u64(argc, argv, "--read-rate", 0)};
    char runs[256];
    snprintf(runs, sizeof runs, "%s", bench_option(argc, argv, "--runs", "bf16:exact,bf16:bf16,int8:int8"));
    if (settings.rows < 1 || settings.sequences < 1 || settings.sequences > SEQUENCES)
        bench_die("--rows must be at least 1, --sequences between 1 and %u", SEQUENCES);
    struct bench_report report = bench_report_begin("token");
    bench_put(report.settings, "rows", settings.rows);
    bench_put(report.settings, "sequences", settings.sequences);
    bench_put_text(report.settings, "backend", settings.backend);
    bench_put_text(report.settings, "runs", runs);
    bench_cpus();
    bench_pin(0);
    char *rest = NULL;
    for (char *run = strtok_r(runs, ",", &rest); run; run = strtok_r(NULL, ",", &rest)) {
        char path[4096], *compute = strchr(run, ':');
        if (!compute)
            bench_die("--runs expects DTYPE:COMPUTE,.., found \"%s\"", run);
        *compute++ = 0;
        snprintf(path, sizeof path, "%s", given ? given : "");
        if (!given)
            bench_real_tree(run, bench_tree_path(argc, argv), path, sizeof path);
        run_pack(&report, &settings, path, compute);
    }
    bench_report_end(&report);
    return 0;
}
