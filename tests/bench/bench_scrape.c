/* What watching costs a token stream: /metrics scraped, lensctl top and tail running; and what one scrape takes.
 *
 *     bench_scrape [--pack FILE] [--rounds 6] [--seconds 3] [--rate 0]
 *
 * lensd runs as a child on the second processor (one engine thread, every lens resident); this process is the client,
 * spinning on the first, one row at a time. Rounds of five windows take turns: nobody watches; a scrape a second
 * (fifteen times what Prometheus does by default); ten a second; a scrape a second, `lensctl top` on a terminal and
 * `lensctl tail` into a pipe; nobody again. The two windows without a watcher are the same thing measured twice: their
 * difference is the noise, and a cost smaller than that is none. The scraper is a thread of this process over a socket
 * file; it, lensctl and lensd's other threads run where there is room, so on a machine with two processors they take
 * time that the client or the engine had. That is so with --rate 0, where rows come as fast as they are answered; with
 * --rate N they come N a second, as models make them, the client sleeps between two and the engine as lensd's default
 * has it. The pack is the small tree (7,947 lenses at D=64), whose rows are short: what
 * watching takes weighs most there. */
#include "tests/bench/support/bench.h"
#include "tests/bench/support/child.h"
#include "tests/bench/support/planted.h"
#include "tests/bench/support/report.h"

#include "client/liblens/lens.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define STREAM  64u
#define ROWS    (1u << 20) /* of one window at most */
#define SCRAPES 4096u
#define PAGE    (1u << 20)

static const struct way {
    const char *name;
    uint32_t pause_ms; /* between scrapes; 0 = none */
    bool watched;      /* by lensctl top and tail besides */
} ways[] = {{"nobody scrapes", 0, false},
            {"once a second", 1000, false},
            {"ten times a second", 100, false},
            {"once, top and tail", 1000, true},
            {"nobody, again", 0, false}};
#define WAYS (sizeof ways / sizeof ways[0])

/* What all windows of one way came to. */
struct tally {
    uint64_t rows;
    double seconds, *latency; /* [rows] ns */
    double *p50, *p99;        /* [rounds] */
};

struct scraper {
    struct sockaddr_un address;
    uint32_t pause_ms;
    atomic_bool ended;
    pthread_t thread;
    char *page;
    double *wall, *collect, *render; /* [SCRAPES] seconds */
    uint32_t n, bytes;
};

/* ---- scraping --------------------------------------------------------------------------------------------------- */

static double figure(const char *page, const char *name)
{
    char line[128];
    snprintf(line, sizeof line, "\n%s ", name);
    const char *at = strstr(page, line);
    if (at == NULL)
        bench_die("/metrics has no %s", name);
    return strtod(at + strlen(line), NULL);
}

static void scrape(struct scraper *s)
{
    static const char request[] = "GET /metrics HTTP/1.1\r\nHost: bench\r\n\r\n";
    uint64_t begin = bench_now_ns();
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&s->address, sizeof s->address) != 0 ||
        write(fd, request, sizeof request - 1) != (ssize_t)sizeof request - 1)
        bench_die("metrics can't be asked for: %s", strerror(errno));
    uint32_t used = 0;
    for (ssize_t n; (n = read(fd, s->page + used, PAGE - 1 - used)) > 0;)
        used += (uint32_t)n;
    close(fd);
    s->page[used] = '\0';
    if (strncmp(s->page, "HTTP/1.1 200", 12) != 0 || s->n == SCRAPES)
        bench_die("a scrape was answered with %.60s", s->page);
    s->wall[s->n] = (double)(bench_now_ns() - begin) / 1e9;
    s->collect[s->n] = figure(s->page, "lensd_metrics_collect_duration_seconds");
    s->render[s->n++] = figure(s->page, "lensd_metrics_render_duration_seconds");
    s->bytes = used;
}

static void *keep_scraping(void *arg)
{
    struct scraper *s = arg;
    bench_unpin();
    for (uint32_t waited = s->pause_ms / 2; !atomic_load(&s->ended); waited += 10) {
        if (waited >= s->pause_ms) {
            scrape(s);
            waited = 0;
        }
        usleep(10000);
    }
    return NULL;
}

static void start_scraping(struct scraper *s, uint32_t pause_ms)
{
    s->pause_ms = pause_ms;
    atomic_store(&s->ended, false);
    if (pause_ms > 0 && pthread_create(&s->thread, NULL, keep_scraping, s) != 0)
        bench_die("no thread to scrape with");
}

static void stop_scraping(struct scraper *s)
{
    atomic_store(&s->ended, true);
    if (s->pause_ms > 0)
        pthread_join(s->thread, NULL);
}

/* ---- lensctl ---------------------------------------------------------------------------------------------------- */

#define TERMINAL "/usr/bin/script" /* of util-linux: gives top a terminal, and reads what it writes there */

struct watchers {
    const char *socket;
    pid_t top, tail; /* 0 = not running */
};

static void start_watching(struct watchers *w)
{
    char lensctl[4096], top[4400];
    bench_path_beside("../lensctl", lensctl, sizeof lensctl);
    snprintf(top, sizeof top, "TERM=xterm exec '%s' --socket '%s' top", lensctl, w->socket);
    const char *const tail_argv[] = {lensctl, "--socket", w->socket, "tail", NULL};
    const char *const top_argv[] = {TERMINAL, "-qec", top, "/dev/null", NULL};
    w->tail = bench_child_start(tail_argv, "/dev/null");
    w->top = bench_child_start(top_argv, "/dev/null");
    usleep(300000); /* they begin to follow */
}

static void stop_watching(struct watchers *w)
{
    bench_child_stop(w->top);
    bench_child_stop(w->tail);
    w->top = w->tail = 0;
}

/* ---- the token stream ------------------------------------------------------------------------------------------- */

static void run_row(struct lens_session *session, const float *row, uint32_t dim, uint64_t position)
{
    struct lens_slot slot;
    struct lens_answer answer;
    if (lens_session_acquire(session, 1, LENS_TYPE_F32, 0, &slot) < 0)
        bench_die("the ring has no room for one row");
    memcpy(slot.rows, row, dim * sizeof *row);
    slot.sequence = 1;
    slot.first_position = position;
    if (lens_session_submit(session, &slot) < 0)
        bench_die("a row can't be submitted");
    int r;
    while ((r = lens_session_poll(session, &answer)) == -EAGAIN)
        ;
    if (r < 0 || answer.status != 0)
        bench_die("a row came back with error %d, status %u", r, answer.status);
    lens_session_release(session);
}

/* Until the n-th row of a stream is due; what time it is then. */
static uint64_t wait_for_turn(uint64_t begin, uint64_t n, double rate)
{
    if (rate > 0) {
        uint64_t due = begin + (uint64_t)((double)n / rate * 1e9);
        struct timespec at = {(time_t)(due / 1000000000u), (long)(due % 1000000000u)};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
    }
    return bench_now_ns();
}

static void run_window(struct lens_session *session, const float *rows, uint32_t dim, double rate, double seconds,
                       struct tally *tally, uint32_t round)
{
    uint64_t begin = bench_now_ns(), end = begin + (uint64_t)(seconds * 1e9), now = begin;
    double *latency = bench_alloc(ROWS * sizeof *latency);
    uint64_t n = 0;
    while (now < end && n < ROWS) {
        now = rate > 0 ? wait_for_turn(begin, n, rate) : now;
        run_row(session, rows + n % STREAM * dim, dim, n);
        uint64_t after = bench_now_ns();
        latency[n++] = (double)(after - now);
        now = after;
    }
    tally->latency = realloc(tally->latency, (tally->rows + n) * sizeof *latency);
    if (tally->latency == NULL)
        bench_die("no memory for %llu times", (unsigned long long)(tally->rows + n));
    memcpy(tally->latency + tally->rows, latency, n * sizeof *latency);
    tally->rows += n;
    tally->seconds += (double)(now - begin) / 1e9;
    struct bench_summary s = bench_summarize(latency, n);
    tally->p50[round] = s.p50;
    tally->p99[round] = s.p99;
    free(latency);
}

static struct lens_session *attach(const struct bench_daemon *daemon, struct lens_client **client)
{
    struct lens_session_params params;
    struct lens_client_error err = {0};
    struct lens_session *session;
    lens_session_params_default(&params);
    if (lens_client_open(daemon->socket, client, &err) < 0 || lens_session_open(*client, &params, &session, &err) < 0)
        bench_die("%s", err.text);
    return session;
}

/* ---- the figures ------------------------------------------------------------------------------------------------ */

static void show_way(struct bench_report *report, const char *name, struct tally *tally, uint32_t rounds,
                     const struct tally *floor)
{
    double rate = (double)tally->rows / tally->seconds, base = (double)floor->rows / floor->seconds;
    double floor_p50 = bench_quantile(floor->p50, rounds, 0.5), floor_p99 = bench_quantile(floor->p99, rounds, 0.5);
    double p50 = bench_quantile(tally->p50, rounds, 0.5), p99 = bench_quantile(tally->p99, rounds, 0.5);
    struct bench_summary all = bench_summarize(tally->latency, tally->rows);
    printf("  %-20s %10.0f %8.3f %10.1f %8.3f %10.1f %8.3f %12.1f\n", name, rate, rate / base, p50 * 1e-3,
           p50 / floor_p50, p99 * 1e-3, p99 / floor_p99, all.max * 1e-3);
    json_t *put = bench_report_figure(report);
    bench_put_text(put, "what", name);
    bench_put(put, "rows", (double)tally->rows);
    bench_put(put, "rows_per_second", rate);
    bench_put(put, "rows_per_second_ratio", rate / base);
    bench_put(put, "p50_ns", p50);
    bench_put(put, "p50_ratio", p50 / floor_p50);
    bench_put(put, "p99_ns", p99);
    bench_put(put, "p99_ratio", p99 / floor_p99);
    bench_put(put, "max_ns", all.max);
}

static void show_scrape(struct bench_report *report, const char *what, double *seconds, uint32_t n)
{
    struct bench_summary s = bench_summarize(seconds, n);
    printf("  %-34s %8.0f us p50 %8.0f us p99\n", what, s.p50 * 1e6, s.p99 * 1e6);
    json_t *put = bench_report_figure(report);
    bench_put_text(put, "what", what);
    bench_put(put, "p50_ns", s.p50 * 1e9);
    bench_put(put, "p99_ns", s.p99 * 1e9);
    bench_put(put, "count", n);
}

static void measure(struct bench_report *report, struct lens_session *session, const float *rows, uint32_t dim,
                    double rate, struct scraper *scraper, struct watchers *watchers, uint32_t rounds, double seconds)
{
    struct tally tallies[WAYS] = {0}, warm = {.p50 = bench_alloc(8), .p99 = bench_alloc(8)};
    for (size_t w = 0; w < WAYS; w++) {
        tallies[w].p50 = bench_alloc(rounds * sizeof(double));
        tallies[w].p99 = bench_alloc(rounds * sizeof(double));
    }
    run_window(session, rows, dim, rate, 1, &warm, 0);
    for (uint32_t round = 0; round < rounds; round++)
        for (size_t i = 0; i < WAYS; i++) {
            size_t w = (i + round) % WAYS; /* none is always the first */
            if (ways[w].watched && watchers->socket == NULL)
                continue;
            if (ways[w].watched)
                start_watching(watchers);
            start_scraping(scraper, ways[w].pause_ms);
            run_window(session, rows, dim, rate, seconds, &tallies[w], round);
            stop_scraping(scraper);
            if (ways[w].watched)
                stop_watching(watchers);
        }
    printf("  %-20s %10s %8s %10s %8s %10s %8s %12s\n", "", "rows/s", "ratio", "p50 us", "ratio", "p99 us", "ratio",
           "longest us");
    for (size_t w = 0; w < WAYS; w++)
        if (tallies[w].rows > 0)
            show_way(report, ways[w].name, &tallies[w], rounds, &tallies[0]);
    for (size_t w = 0; w < WAYS; w++) {
        free(tallies[w].latency);
        free(tallies[w].p50);
        free(tallies[w].p99);
    }
    free(warm.latency);
    free(warm.p50);
    free(warm.p99);
}

static void open_scraper(struct scraper *s, const char *path)
{
    *s = (struct scraper){.address = {.sun_family = AF_UNIX}};
    memcpy(s->address.sun_path, path, strlen(path) + 1); /* main made it short enough */
    s->page = bench_alloc(PAGE);
    s->wall = bench_alloc(SCRAPES * sizeof *s->wall);
    s->collect = bench_alloc(SCRAPES * sizeof *s->collect);
    s->render = bench_alloc(SCRAPES * sizeof *s->render);
}

static float *make_rows(const char *path, uint32_t *dim)
{
    struct lens_error err = {0};
    struct lens_pack *pack;
    if (lens_pack_open(path, &pack, &err) < 0)
        bench_die("%s", err.text);
    struct bench_tree *tree = bench_tree_of_pack(pack);
    struct bench_rows *stream = bench_rows_open(tree, pack->dim, 1);
    float *rows = bench_alloc((size_t)STREAM * pack->dim * sizeof *rows);
    for (uint32_t t = 0; t < STREAM; t++)
        bench_rows_next(stream, rows + (size_t)t * pack->dim);
    *dim = pack->dim;
    bench_rows_close(stream);
    bench_tree_close(tree);
    lens_pack_close(pack);
    return rows;
}

static const char *small_pack(char *path, uint32_t size)
{
    char synth[4096];
    bench_path_beside("small-tree.lens", path, size);
    bench_path_beside("synth", synth, sizeof synth);
    const char *argv[] = {synth, "--dim", "64", "--h1", "16", "--h2", "8", "--dtype", "f32", "--pack", path, NULL};
    if (access(path, R_OK) != 0)
        bench_run(argv, NULL, NULL);
    return path;
}

int main(int argc, char **argv)
{
    static const char *const known[] = {"--pack=", "--rounds=", "--seconds=", "--rate=", NULL};
    bench_check_options(argc, argv, known);
    uint32_t rounds = (uint32_t)bench_option_u64(argc, argv, "--rounds", 6), dim;
    double seconds = (double)bench_option_u64(argc, argv, "--seconds", 3);
    double rate = (double)bench_option_u64(argc, argv, "--rate", 0);
    char own[4096], where[100], listen[128];
    const char *path = bench_option(argc, argv, "--pack", NULL);
    if (rounds < 1 || rounds > 100 || seconds < 1)
        bench_die("--rounds must be 1 to 100, --seconds at least 1");
    path = path != NULL ? path : small_pack(own, sizeof own);
    snprintf(where, sizeof where, "/tmp/lensd-bench-metrics.%d", (int)getpid());
    snprintf(listen, sizeof listen, "unix:%s", where);
    const char *const flags[] = {
        "--engine-threads", "1", "--engine-spin-us", rate > 0 ? "50" : "1000000", "--http-listen", listen, NULL};
    struct bench_report report = bench_report_begin(rate > 0 ? "scrape-paced" : "scrape");
    bench_put(report.settings, "rounds", rounds);
    bench_put(report.settings, "seconds", seconds);
    bench_put(report.settings, "rate", rate);
    struct bench_daemon daemon;
    struct scraper scraper;
    struct lens_client *client;
    float *rows = make_rows(path, &dim);
    bench_cpus();
    bench_pin(0);
    bench_daemon_start(&daemon, path, flags);
    open_scraper(&scraper, where);
    struct lens_session *session = attach(&daemon, &client);
    struct watchers watchers = {.socket = access(TERMINAL, X_OK) == 0 ? daemon.socket : NULL};
    printf("A token stream of rows of %u, one at a time, while lensd is watched; %u rounds of %.0f s each\n", dim,
           rounds, seconds);
    if (watchers.socket == NULL)
        printf("  (without lensctl top and tail: " TERMINAL " isn't here to give top a terminal)\n");
    measure(&report, session, rows, dim, rate, &scraper, &watchers, rounds, seconds);
    printf("One scrape, %u bytes:\n", scraper.bytes);
    bench_put(report.settings, "bytes", scraper.bytes);
    show_scrape(&report, "from connecting to the last byte", scraper.wall, scraper.n);
    show_scrape(&report, "of that on the loop's thread", scraper.collect, scraper.n);
    show_scrape(&report, "and on making the text", scraper.render, scraper.n);
    lens_session_close(session);
    lens_client_close(client);
    bench_daemon_stop(&daemon);
    bench_report_end(&report);
    free(scraper.page);
    free(scraper.wall);
    free(scraper.collect);
    free(scraper.render);
    free(rows);
    return 0;
}
