/* P6: from client to engine and back, with a backend that does nothing (support/null_backend.c).
 *
 *     bench_ipc [--count 200000] [--dim 64]
 *
 * The real engine thread, session and ring; the client is this thread. Two ways: both sides spin, and both sides sleep
 * (the engine on its doorbells, the client on the futex). Beside each runs, in turns, the bare thing of the same kind
 * between two threads: a spinning ping-pong over two cache lines, and an eventfd there with a futex back. Spinning, the
 * same engine without the memory of rows answered lately (telemetry.events = 0) runs beside, too: the difference is
 * what `lensctl tail`, `top` and `timeline` cost. The row is short by default, because writing it is the model's work;
 * --dim 2560 writes 10 KiB a trip. */
#include "tests/bench/support/bench.h"
#include "tests/bench/support/inproc.h"
#include "tests/bench/support/null_backend.h"
#include "tests/bench/support/report.h"

#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ROUNDS 10

/* ---- the bare round trips --------------------------------------------------------------------------------------- */

struct bare {
    _Alignas(128) atomic_uint ping;
    _Alignas(128) atomic_uint pong;
    _Alignas(128) int doorbell;
    bool sleeps;
    pthread_t thread;
};

static void *answer(void *arg)
{
    struct bare *bare = arg;
    bench_pin(1);
    for (unsigned expected = 1;; expected++) {
        unsigned got;
        uint64_t rings;
        if (bare->sleeps && read(bare->doorbell, &rings, sizeof rings) != sizeof rings)
            bench_die("an eventfd can't be read");
        while ((got = atomic_load_explicit(&bare->ping, memory_order_acquire)) != expected && got != 0)
            ;
        if (got == 0)
            return NULL;
        atomic_store_explicit(&bare->pong, got, memory_order_release);
        if (bare->sleeps)
            syscall(SYS_futex, &bare->pong, FUTEX_WAKE, 1, NULL, NULL, 0);
    }
}

static void ring(struct bare *bare)
{
    const uint64_t one = 1;
    if (bare->sleeps && write(bare->doorbell, &one, sizeof one) != sizeof one)
        bench_die("an eventfd can't be written");
}

static void bare_open(struct bare *bare, bool sleeps)
{
    bare->sleeps = sleeps;
    bare->doorbell = eventfd(0, EFD_CLOEXEC);
    atomic_store(&bare->ping, UINT32_MAX); /* never expected, not the end */
    if (bare->doorbell < 0 || pthread_create(&bare->thread, NULL, answer, bare) != 0)
        bench_die("no eventfd or thread for the bare round trip");
}

static void bare_close(struct bare *bare)
{
    atomic_store_explicit(&bare->ping, 0, memory_order_release);
    ring(bare);
    pthread_join(bare->thread, NULL);
    close(bare->doorbell);
}

static void bare_trips(struct bare *bare, unsigned first, uint32_t n, double *ns)
{
    for (uint32_t i = 0; i < n; i++) {
        unsigned value = first + i + 1, seen;
        uint64_t start = bench_now_ns();
        atomic_store_explicit(&bare->ping, value, memory_order_release);
        ring(bare);
        while ((seen = atomic_load_explicit(&bare->pong, memory_order_acquire)) != value) {
            if (bare->sleeps)
                syscall(SYS_futex, &bare->pong, FUTEX_WAIT, seen, NULL, NULL, 0);
        }
        ns[i] = (double)(bench_now_ns() - start);
    }
}

/* ---- the engine's ----------------------------------------------------------------------------------------------- */

static void engine_trips(struct bench_inproc *p, const float *row, uint32_t n, double *ns)
{
    for (uint32_t i = 0; i < n; i++) {
        uint64_t start = bench_now_ns();
        struct lens_result_header answered = bench_inproc_round_trip(p, row);
        ns[i] = (double)(bench_now_ns() - start);
        if (answered.status != LENS_ROW_COMPLETE)
            bench_die("a row was answered with status %u, reason %u", answered.status, answered.reason);
    }
}

static void show(struct bench_report *report, const char *name, double *ns, uint32_t n, double floor)
{
    struct bench_summary s = bench_summarize(ns, n);
    printf("%-34s %9.3f %9.3f %9.3f %10.1f", name, s.p50 * 1e-3, s.p95 * 1e-3, s.p99 * 1e-3, s.max * 1e-3);
    if (floor > 0)
        printf("   %.2f x the bare one", s.p50 / floor);
    printf("\n");
    json_t *figure = bench_report_figure(report);
    bench_put_text(figure, "what", name);
    bench_put(figure, "p50_ns", s.p50);
    bench_put(figure, "p95_ns", s.p95);
    bench_put(figure, "p99_ns", s.p99);
    bench_put(figure, "max_ns", s.max);
    bench_put(figure, "count", n);
    if (floor > 0) {
        bench_put(figure, "floor_ns", floor);
        bench_put(figure, "ratio", s.p50 / floor);
    }
}

static void engine_round(const char *pack, const float *row, uint32_t n, bool sleeps, uint32_t events, double *ns)
{
    struct bench_inproc p;
    bench_inproc_open(&p, bench_null_backend_open(), pack, sleeps ? 0 : 1000000, events);
    engine_trips(&p, row, n / 10, ns); /* warm */
    p.sleeps = sleeps;
    engine_trips(&p, row, n, ns);
    bench_inproc_close(&p);
}

/* Rounds of bare and engine in turns; the thread that isn't measured sleeps in read or, spinning, is joined. */
static void compare(struct bench_report *report, const char *pack, const float *row, uint32_t count, bool sleeps)
{
    double *bare_ns = bench_alloc(count * sizeof *bare_ns), *ns = bench_alloc(count * sizeof *ns);
    double *forgetful_ns = bench_alloc(count * sizeof *forgetful_ns);
    uint32_t each = count / ROUNDS;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        struct bare bare = {0};
        size_t at = (size_t)round * each;
        bare_open(&bare, sleeps);
        bare_trips(&bare, 0, each, bare_ns + at);
        bare_close(&bare);
        engine_round(pack, row, each, sleeps, BENCH_EVENTS, ns + at);
        if (!sleeps)
            engine_round(pack, row, each, sleeps, 0, forgetful_ns + at);
    }
    double floor = bench_summarize(bare_ns, (size_t)each * ROUNDS).p50;
    show(report, sleeps ? "bare eventfd there, futex back" : "bare spinning", bare_ns, each * ROUNDS, 0);
    show(report, sleeps ? "engine, both sides sleeping" : "engine, both sides spinning", ns, each * ROUNDS, floor);
    if (!sleeps)
        show(report, "the same, no rows remembered", forgetful_ns, each * ROUNDS, floor);
    free(bare_ns);
    free(ns);
    free(forgetful_ns);
}

/* What a look at the clock costs: the engine needs some for its stage table. */
static double clock_ns(void)
{
    uint64_t start = bench_now_ns(), end = start;
    for (int i = 0; i < 10000; i++)
        end = bench_now_ns();
    return (double)(end - start) / 10000;
}

int main(int argc, char **argv)
{
    static const char *const known[] = {"--count=", "--dim=", NULL};
    bench_check_options(argc, argv, known);
    uint32_t count = (uint32_t)bench_option_u64(argc, argv, "--count", 200000);
    uint32_t dim = (uint32_t)bench_option_u64(argc, argv, "--dim", 64);
    if (count < 100)
        bench_die("--count must be at least 100");
    char pack[4096];
    bench_path_beside("ipc.lens", pack, sizeof pack);
    struct bench_tree *tree = bench_small_pack(pack, dim, 4, 4);
    struct bench_report report = bench_report_begin("ipc");
    bench_put(report.settings, "count", count);
    bench_put(report.settings, "dim", dim);
    float *row = bench_alloc(dim * sizeof *row);
    for (uint32_t i = 0; i < dim; i++)
        row[i] = (float)(i % 17);
    bench_cpus();
    bench_pin(0);
    double clock = clock_ns();
    bench_put(report.settings, "clock_reading_ns", clock);
    printf("P6: round trips in us, rows of %u; a look at the clock costs %.0f ns\n%-34s %9s %9s %9s %10s\n", dim, clock,
           "", "p50", "p95", "p99", "max");
    compare(&report, pack, row, count, false);
    compare(&report, pack, row, count / 10, true);
    bench_report_end(&report);
    unlink(pack);
    free(row);
    bench_tree_close(tree);
    return 0;
}
