/* P8: many sessions at once against one lensd: rows a second, how evenly they are shared out, how long a row takes.
 *
 *     bench_sessions [--runs int8:exact,small:exact] [--sessions 1,2,4,8,16,32,64] [--seconds 8] [--depth 2]
 *                    [--tree FILE.tsv]
 *
 * lensd runs as a child on the second processor (one engine thread, every lens resident); this process is all clients,
 * one thread that goes round its sessions on the first. Every session always has `depth` rows waiting, each of a
 * sequence of its own, so the engine may put one row of each sequence into a batch. The floor is arithmetic: what the
 * processor multiplies and adds per second, measured here while lensd waits, over what a row's lenses need. "small" is
 * the real tree at D=64, where the work around the arithmetic is what counts. */
#include "tests/bench/support/ask.h"
#include "tests/bench/support/bench.h"
#include "tests/bench/support/child.h"
#include "tests/bench/support/peak.h"
#include "tests/bench/support/planted.h"
#include "tests/bench/support/report.h"

#include "client/liblens/lens.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SESSIONS  64u
#define DEPTH     8u
#define STREAM    16u /* rows that a sequence goes through, round and round */
#define WARM_NS   500000000ull
#define LATENCIES (1u << 22)

struct rows {
    uint32_t dim, sequences;
    float *states; /* [sequences, STREAM, dim] */
};

struct one {
    struct lens_session *session;
    uint32_t at[DEPTH]; /* place in the stream of each of its sequences */
    uint64_t answered;
};

struct window {
    uint64_t begin_ns, end_ns; /* answers read between them count */
    uint64_t rows, scored, latencies;
    double *latency; /* ns, of the first LATENCIES rows */
};

struct load {
    const struct rows *rows;
    uint32_t sessions, depth;
    struct one all[SESSIONS];
};

/* ---- preparation ------------------------------------------------------------------------------------------------ */

static void make_rows(struct rows *rows, const struct lens_pack *pack, uint32_t sequences)
{
    struct bench_tree *tree = bench_tree_of_pack(pack);
    rows->dim = pack->dim;
    rows->sequences = sequences;
    rows->states = bench_alloc((size_t)sequences * STREAM * pack->dim * sizeof(float));
    for (uint32_t q = 0; q < sequences; q++) {
        struct bench_rows *stream = bench_rows_open(tree, pack->dim, q + 1);
        for (uint32_t t = 0; t < STREAM; t++)
            bench_rows_next(stream, rows->states + ((size_t)q * STREAM + t) * pack->dim);
        bench_rows_close(stream);
    }
    bench_tree_close(tree);
}

static void small_pack(char *path, uint32_t size)
{
    char synth[4096];
    bench_path_beside("small-tree.lens", path, size);
    bench_path_beside("synth", synth, sizeof synth);
    const char *argv[] = {synth, "--dim", "64", "--h1", "16", "--h2", "8", "--dtype", "f32", "--pack", path, NULL};
    if (access(path, R_OK) != 0)
        bench_run(argv, NULL, NULL);
}

static void open_sessions(struct load *load, struct lens_client *client)
{
    struct lens_session_params params;
    struct lens_client_error err = {0};
    lens_session_params_default(&params);
    params.queue_depth = 2 * DEPTH;
    for (uint32_t i = 0; i < load->sessions; i++) {
        int r = -ETIMEDOUT;
        load->all[i] = (struct one){0};
        for (int tries = 0; r == -ETIMEDOUT && tries < 10; tries++)
            r = lens_session_open(client, &params, &load->all[i].session, &err);
        if (r < 0)
            bench_die("session %u: %s", i + 1, err.text);
    }
}

/* ---- the measured loop ------------------------------------------------------------------------------------------ */

static void submit(struct load *load, uint32_t i, uint32_t sequence)
{
    struct one *one = &load->all[i];
    const struct rows *rows = load->rows;
    struct lens_slot slot;
    size_t stream = ((size_t)i * load->depth + sequence) % rows->sequences;
    size_t row = stream * STREAM + one->at[sequence]++ % STREAM;
    if (lens_session_acquire(one->session, 1, LENS_TYPE_F32, 0, &slot) < 0)
        bench_die("the ring has no room for %u rows", load->depth);
    memcpy(slot.rows, rows->states + row * rows->dim, rows->dim * sizeof(float));
    slot.sequence = sequence;
    slot.first_position = one->at[sequence];
    if (lens_session_submit(one->session, &slot) < 0)
        bench_die("a row can't be submitted");
}

static void count_answer(struct window *window, struct one *one, const struct lens_answer *answer)
{
    if (answer->status != 0 || answer->flags != 0)
        bench_die("a row came back with status %u, flags %u", answer->status, answer->flags);
    one->answered++;
    window->rows++;
    window->scored += answer->counts.scored;
    if (window->latencies < LATENCIES)
        window->latency[window->latencies++] = (double)answer->ns.total;
}

/* Reads the session's answers; each makes room for the next row of its sequence, unless the time is over. */
static uint32_t serve(struct load *load, uint32_t i, struct window *window, bool again)
{
    struct lens_answer answer;
    struct one *one = &load->all[i];
    uint32_t read = 0;
    int r;
    while ((r = lens_session_poll(one->session, &answer)) == 0) {
        uint64_t now = bench_now_ns();
        uint32_t sequence = (uint32_t)answer.sequence;
        if (now >= window->begin_ns && now < window->end_ns)
            count_answer(window, one, &answer);
        lens_session_release(one->session);
        read++;
        if (again)
            submit(load, i, sequence);
    }
    if (r != -EAGAIN)
        bench_die("no answer: %s", strerror(-r));
    return read;
}

static void run_window(struct load *load, struct window *window)
{
    uint32_t in_flight = load->sessions * load->depth;
    for (uint32_t i = 0; i < load->sessions; i++) {
        for (uint32_t sequence = 0; sequence < load->depth; sequence++)
            submit(load, i, sequence);
    }
    while (bench_now_ns() < window->end_ns) {
        for (uint32_t i = 0; i < load->sessions; i++)
            serve(load, i, window, true);
    }
    while (in_flight > 0) {
        for (uint32_t i = 0; i < load->sessions; i++)
            in_flight -= serve(load, i, window, false);
    }
}

/* ---- the figures ------------------------------------------------------------------------------------------------ */

struct shares {
    uint64_t least, most;
};

static struct shares shares_of(const struct load *load)
{
    struct shares shares = {UINT64_MAX, 0};
    for (uint32_t i = 0; i < load->sessions; i++) {
        uint64_t n = load->all[i].answered;
        shares.least = n < shares.least ? n : shares.least;
        shares.most = n > shares.most ? n : shares.most;
    }
    return shares;
}

static void show(struct bench_report *report, const char *what, const struct load *load, struct window *window,
                 double macs, double peak, double batch)
{
    json_t *figure = bench_report_figure(report);
    struct shares shares = shares_of(load);
    double seconds = (double)(window->end_ns - window->begin_ns) * 1e-9;
    double rate = (double)window->rows / seconds, scored = (double)window->scored / (double)window->rows;
    double bound = peak / (scored * macs), share = (double)shares.most / (double)shares.least;
    struct bench_summary latency = bench_summarize(window->latency, window->latencies);
    printf("  %8u %12.0f %12.0f %8.2f %12.3f %10.1f %10.1f %12.1f %10.1f\n", load->sessions, rate, bound, rate / bound,
           share, latency.p50 * 1e-3, latency.p99 * 1e-3, batch, scored);
    fflush(stdout);
    bench_put_text(figure, "run", what);
    bench_put(figure, "sessions", load->sessions);
    bench_put(figure, "rows", (double)window->rows);
    bench_put(figure, "rows_per_second", rate);
    bench_put(figure, "compute_bound_rows_per_second", bound);
    bench_put(figure, "ratio", rate / bound);
    bench_put(figure, "least_rows_of_a_session", (double)shares.least);
    bench_put(figure, "most_rows_of_a_session", (double)shares.most);
    bench_put(figure, "share_max_over_min", share);
    bench_put(figure, "p50_ns", latency.p50);
    bench_put(figure, "p99_ns", latency.p99);
    bench_put(figure, "max_ns", latency.max);
    bench_put(figure, "rows_per_batch", batch);
    bench_put(figure, "lenses_scored", scored);
}

/* Mean rows of a batch between two answers of lensctl. */
static double batch_between(const json_t *before, const json_t *after)
{
    double batches = bench_asked(after, "batches") - bench_asked(before, "batches");
    return (bench_asked(after, "batch_rows") - bench_asked(before, "batch_rows")) / batches;
}

static void run_sessions(struct bench_report *report, const char *what, const struct bench_daemon *daemon,
                         struct load *load, double macs, double peak, double seconds)
{
    struct lens_client *client;
    struct lens_client_error err = {0};
    struct window window = {.latency = bench_alloc(LATENCIES * sizeof(double))};
    if (lens_client_open(daemon->socket, &client, &err) < 0)
        bench_die("%s", err.text);
    open_sessions(load, client);
    json_t *before = bench_ask(daemon->socket, "latency", NULL);
    window.begin_ns = bench_now_ns() + WARM_NS;
    window.end_ns = window.begin_ns + (uint64_t)(seconds * 1e9);
    run_window(load, &window);
    json_t *after = bench_ask(daemon->socket, "latency", NULL);
    if (shares_of(load).least == 0)
        bench_die("a session of %u had no answer in %.1f s: --seconds is too little", load->sessions, seconds);
    show(report, what, load, &window, macs, peak, batch_between(before, after));
    json_decref(before);
    json_decref(after);
    for (uint32_t i = 0; i < load->sessions; i++)
        lens_session_close(load->all[i].session);
    lens_client_close(client);
    free(window.latency);
}

static void run_pack(struct bench_report *report, const char *what, const char *path, const char *compute,
                     const uint32_t *counts, uint32_t n_counts, uint32_t depth, double seconds)
{
    const char *const flags[] = {"--pool-compute", compute, "--engine-threads", "1", "--engine-spin-us",
                                 "1000000",        NULL};
    struct lens_error err = {0};
    struct lens_pack *pack;
    struct rows rows;
    struct bench_daemon daemon;
    if (lens_pack_open(path, &pack, &err) < 0)
        bench_die("%s", err.text);
    double macs = (double)pack->h1 * pack->dim + (double)pack->h2 * pack->h1 + pack->h2;
    double peak = bench_peak(strcmp(compute, "int8") == 0 ? BENCH_DP_INT8 : BENCH_FMA_F32);
    if (strcmp(compute, "bf16") == 0 && bench_peak(BENCH_DP_BF16) > peak)
        peak = bench_peak(BENCH_DP_BF16);
    make_rows(&rows, pack, counts[n_counts - 1] * depth);
    bench_daemon_start(&daemon, path, flags);
    printf("\nP8 %s: %u lenses at D=%u, %u rows of each session in flight; peak %.0f GMAC/s\n", what, pack->lenses,
           pack->dim, depth, peak * 1e-9);
    printf(
        "  sessions       rows/s        bound    ratio  max/min share    p50 us     p99 us  rows a batch     scored\n");
    for (uint32_t i = 0; i < n_counts; i++) {
        struct load load = {.rows = &rows, .sessions = counts[i], .depth = depth};
        run_sessions(report, what, &daemon, &load, macs, peak, seconds);
    }
    bench_daemon_stop(&daemon);
    free(rows.states);
    lens_pack_close(pack);
}

/* "1,2,4" ascending. */
static uint32_t read_counts(const char *text, uint32_t *counts)
{
    uint32_t n = 0;
    while (*text) {
        char *end;
        unsigned long value = strtoul(text, &end, 10);
        if (end == text || value < 1 || value > SESSIONS || n == SESSIONS || (n > 0 && value <= counts[n - 1]))
            bench_die("--sessions expects ascending numbers up to %u like 1,2,4, found \"%s\"", SESSIONS, text);
        counts[n++] = (uint32_t)value;
        text = *end == ',' ? end + 1 : end;
    }
    if (n == 0)
        bench_die("--sessions expects at least one number");
    return n;
}

int main(int argc, char **argv)
{
    static const char *const known[] = {"--runs=", "--sessions=", "--seconds=", "--depth=", "--tree=", NULL};
    bench_check_options(argc, argv, known);
    uint32_t counts[SESSIONS], depth = (uint32_t)bench_option_u64(argc, argv, "--depth", 2);
    uint32_t n_counts = read_counts(bench_option(argc, argv, "--sessions", "1,2,4,8,16,32,64"), counts);
    double seconds = (double)bench_option_u64(argc, argv, "--seconds", 8);
    char runs[256], *rest = NULL;
    snprintf(runs, sizeof runs, "%s", bench_option(argc, argv, "--runs", "int8:exact,small:exact"));
    if (depth < 1 || depth > DEPTH || seconds < 1)
        bench_die("--depth must be 1 to %u, --seconds at least 1", DEPTH);
    struct bench_report report = bench_report_begin("sessions");
    bench_put_text(report.settings, "runs", runs);
    bench_put(report.settings, "seconds", seconds);
    bench_put(report.settings, "rows_in_flight_per_session", depth);
    bench_cpus();
    bench_pin(0);
    for (char *run = strtok_r(runs, ",", &rest); run; run = strtok_r(NULL, ",", &rest)) {
        char path[4096], what[64], *compute = strchr(run, ':');
        if (!compute)
            bench_die("--runs expects DTYPE:COMPUTE or small:COMPUTE, found \"%s\"", run);
        snprintf(what, sizeof what, "%s", run);
        *compute++ = 0;
        if (strcmp(run, "small") == 0)
            small_pack(path, sizeof path);
        else
            bench_real_tree(run, bench_tree_path(argc, argv), path, sizeof path);
        run_pack(&report, what, path, compute, counts, n_counts, depth, seconds);
    }
    bench_report_end(&report);
    return 0;
}
