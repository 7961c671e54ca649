/* A day of lensd in minutes: millions of rows of clients that come, go and die, on a small pack with a cache of a
 * tenth of it, with swaps of the pack in between. Run by `make soak`, a short form by the end-to-end tests.
 *
 *     soak [--rows 10000000] [--hours 24] [--clients 6] [--seed N] [--slots N] [--host-memory BYTES]
 *          [--faults FILE]
 *
 * The rows are shared out over the "hours". After each hour all clients leave, and then, with the daemon idle:
 * - sums: rows submitted = answered + abandoned by clients that died or left; the daemon's counts agree with what
 *   clients saw; nothing was dropped; loads = evictions + lenses resident;
 * - memory: neither the heap nor the resident set grows after the first quarter (bounds below);
 * - no drift: probe rows in fresh sequences get the same answers bit for bit as from a daemon that holds every lens in
 *   a slot. They are asked during the hours too, while the cache is fought over.
 * Each client checks its own answers (client.c). The first thing that is wrong ends the soak with one sentence and
 * exit code 1; the seed that is printed first makes the same day again, but for timing. */
#include "tests/soak/soak.h"

#include "tests/bench/support/ask.h"
#include "tests/bench/support/child.h"
#include "tests/bench/support/planted.h"
#include "tests/bench/support/random.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define HOURS_MAX    1000u
#define PACKS        2u
#define PROBE_EVERY  500000000ull /* ns, during an hour */
#define SWAP_EVERY   4u           /* hours */
#define GENTLE_EVERY 3u           /* hours in which nobody dies and sums are exact */
#define EMPTY_S      5u           /* until a dead client's session is gone */

/* How much more than in the second quarter there may be in the last, at the median. A byte leaked for each row would
 * be 10 MB in a whole day. The allocator keeps what was freed for a while: the resident set is looser. */
#define HEAP_GROWTH (1.0 * 1024 * 1024)
#define RSS_GROWTH  (8.0 * 1024 * 1024)

static const char *const dtypes[PACKS] = {"bf16", "int8"};

struct hour {
    double rss, heap;
    uint32_t pack; /* served at its end */
};

struct soak {
    struct soak_shared *shared;
    struct soak_rows rows;
    struct bench_daemon daemon;
    char packs[PACKS][4096];
    uint32_t clients, hours, serving; /* serving: which pack */
    uint64_t seed, lives;
    const char *slots, *host_memory, *faults; /* as lensd's flags want them; faults NULL = none */
    struct soak_probe right[PACKS];
    struct soak_tally own; /* the probe's rows */
    uint64_t probes, swaps;
    pid_t children[SOAK_CLIENTS];
    struct soak_figures before; /* at the last checkpoint */
    struct soak_tally seen;     /* of all clients and the probe at the last checkpoint */
    struct hour past[HOURS_MAX];
};

void soak_fail(struct soak_shared *shared, const char *format, ...)
{
    va_list args;
    if (atomic_exchange(&shared->failed, true))
        return;
    va_start(args, format);
    vsnprintf(shared->failure, sizeof shared->failure, format, args);
    va_end(args);
}

/* ---- preparation ------------------------------------------------------------------------------------------------ */

static void make_pack(const char *dtype, char *path, uint32_t size)
{
    char synth[4096], name[64];
    snprintf(name, sizeof name, "soak-%s.lens", dtype);
    bench_path_beside(name, path, size);
    bench_path_beside("../bench/synth", synth, sizeof synth);
    if (access(path, R_OK) == 0)
        return;
    const char *argv[] = {synth, "--dim", "64", "--h1", "16", "--h2", "8", "--dtype", dtype, "--pack", path, NULL};
    bench_run(argv, NULL, NULL);
}

static void make_rows(struct soak *soak)
{
    struct lens_error err = {0};
    struct lens_pack *pack;
    if (lens_pack_open(soak->packs[0], &pack, &err) < 0)
        bench_die("%s", err.text);
    struct bench_tree *tree = bench_tree_of_pack(pack);
    soak->rows.dim = pack->dim;
    soak->rows.states = bench_alloc((size_t)SOAK_ROWS * pack->dim * sizeof(float));
    for (uint32_t s = 0; s < SOAK_STREAMS; s++) {
        struct bench_rows *stream = bench_rows_open(tree, pack->dim, bench_substream(soak->seed, s));
        for (uint32_t t = 0; t < SOAK_PER_STREAM; t++)
            bench_rows_next(stream, soak->rows.states + ((size_t)s * SOAK_PER_STREAM + t) * pack->dim);
        bench_rows_close(stream);
    }
    bench_tree_close(tree);
    lens_pack_close(pack);
}

/* What the probe rows get from a daemon that never misses. */
static void find_right_answers(struct soak *soak)
{
    static const char *const flags[] = {"--engine-threads", "1", NULL};
    struct soak_tally ignored = {0};
    for (uint32_t p = 0; p < PACKS; p++) {
        struct bench_daemon daemon;
        bench_daemon_start(&daemon, soak->packs[p], flags);
        bool right = soak_probe(soak->shared, &ignored, daemon.socket, &soak->rows, &soak->right[p]);
        bench_daemon_stop(&daemon);
        if (!right)
            bench_die("%s", soak->shared->failure);
    }
}

/* ---- during an hour --------------------------------------------------------------------------------------------- */

static void start_client(struct soak *soak, uint32_t index)
{
    fflush(stdout);
    uint64_t life = soak->lives++;
    pid_t pid = fork();
    if (pid < 0)
        bench_die("no process for a client: %s", strerror(errno));
    if (pid == 0)
        soak_client(soak->shared, index, soak->daemon.socket, &soak->rows, soak->seed, life);
    soak->children[index] = pid;
}

/* A client died on purpose: what it had in flight is nobody's. */
static void bury(struct soak *soak, uint32_t index, int status)
{
    struct soak_tally *tally = &soak->shared->clients[index];
    soak->children[index] = 0;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
        tally->abandoned = tally->submitted - tally->answered;
    else if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        soak_fail(soak->shared, "client %u ended with wait status %d", index, status);
}

/* Looks after the clients; false when none is left and the hour is over. */
static bool tend_clients(struct soak *soak)
{
    bool any = false;
    for (uint32_t i = 0; i < soak->clients; i++) {
        int status;
        if (soak->children[i] != 0 && waitpid(soak->children[i], &status, WNOHANG) == soak->children[i])
            bury(soak, i, status);
        if (soak->children[i] == 0 && soak->shared->rows_left > 0 && !soak->shared->failed)
            start_client(soak, i);
        any = any || soak->children[i] != 0;
    }
    return any;
}

static void probe(struct soak *soak)
{
    struct soak_probe found;
    if (!soak_probe(soak->shared, &soak->own, soak->daemon.socket, &soak->rows, &found))
        return;
    soak->probes++;
    for (uint32_t mode = 0; mode < SOAK_PROBE_MODES; mode++) {
        for (uint32_t row = 0; row < SOAK_PROBE_ROWS; row++) {
            if (found.digest[mode][row] != soak->right[soak->serving].digest[mode][row])
                soak_fail(soak->shared, "probe row %u (expand %s, pack %s) isn't answered as it was at first", row,
                          mode ? "topk" : "threshold", dtypes[soak->serving]);
        }
    }
}

static void swap(struct soak *soak)
{
    uint32_t to = (soak->serving + 1) % PACKS;
    json_decref(bench_ask(soak->daemon.socket, "swap", soak->packs[to]));
    soak->serving = to;
    soak->swaps++;
}

static void run_hour(struct soak *soak, uint32_t hour, uint64_t rows)
{
    uint64_t next_probe = bench_now_ns();
    bool swap_due = hour % SWAP_EVERY == SWAP_EVERY - 1;
    soak->shared->gentle = hour % GENTLE_EVERY == 0;
    soak->shared->rows_left = (int64_t)rows;
    while (tend_clients(soak)) {
        if (soak->shared->failed)
            return;
        if (swap_due && soak->shared->rows_left < (int64_t)(rows / 2)) {
            swap(soak);
            swap_due = false;
        }
        if (bench_now_ns() >= next_probe) {
            probe(soak);
            next_probe = bench_now_ns() + PROBE_EVERY;
        }
        usleep(5000);
    }
    if (swap_due)
        swap(soak);
}

/* ---- after an hour ---------------------------------------------------------------------------------------------- */

static void add_tally(struct soak_tally *sum, const struct soak_tally *t)
{
    sum->submitted += t->submitted;
    sum->answered += t->answered;
    sum->abandoned += t->abandoned;
    sum->complete += t->complete;
    sum->partial += t->partial;
    sum->invalid += t->invalid;
    sum->crowded += t->crowded;
    sum->capped += t->capped;
    sum->stale += t->stale;
    sum->scored += t->scored;
    sum->slot_hits += t->slot_hits;
    sum->host_hits += t->host_hits;
    sum->cold += t->cold;
    sum->missing += t->missing;
    sum->sessions += t->sessions;
    sum->deaths += t->deaths;
    sum->full += t->full;
    sum->late += t->late;
}

static void sum_tallies(const struct soak *soak, struct soak_tally *sum)
{
    *sum = (struct soak_tally){0};
    add_tally(sum, &soak->own);
    for (uint32_t i = 0; i < soak->clients; i++)
        add_tally(sum, &soak->shared->clients[i]);
}

/* Figures of a daemon without sessions and without loads on their way. */
static void settle(struct soak *soak, struct soak_figures *now)
{
    uint64_t begin = bench_now_ns();
    for (;;) {
        soak_watch(soak->daemon.pid, soak->daemon.socket, now);
        bool still = now->loads == now->evictions + now->resident;
        if (now->sessions == 0 && still)
            return;
        if (bench_now_ns() - begin > EMPTY_S * 1000000000ull)
            break;
        if (!still)
            soak_touch(soak->shared, soak->daemon.socket);
        usleep(50000);
    }
    if (now->sessions > 0)
        soak_fail(soak->shared, "%.0f sessions of clients that left are still there after %u s", now->sessions,
                  EMPTY_S);
    else
        soak_fail(soak->shared, "%.0f lenses were loaded, but %.0f evicted and %.0f are resident", now->loads,
                  now->evictions, now->resident);
}

static void expect_equal(struct soak *soak, const char *what, double seen, double expected)
{
    if (seen != expected)
        soak_fail(soak->shared, "%s: found %.0f, expected %.0f", what, seen, expected);
}

static void check_sums(struct soak *soak, const struct soak_tally *sum, const struct soak_figures *now)
{
    const struct soak_tally *seen = &soak->seen;
    double rows = now->rows - soak->before.rows, submitted = (double)(sum->submitted - seen->submitted);
    double answered = (double)(sum->answered - seen->answered), abandoned = (double)(sum->abandoned - seen->abandoned);
    expect_equal(soak, "rows answered and abandoned, of those submitted", answered + abandoned, submitted);
    expect_equal(soak, "answers without a kind", (double)(sum->complete + sum->partial + sum->invalid + sum->crowded),
                 (double)sum->answered);
    expect_equal(soak, "rows that the daemon dropped", now->dropped, 0);
    expect_equal(soak, "slot hits + host hits + cold of the daemon, of the lenses it scored",
                 now->slot_hits + now->host_hits + now->cold, now->scored);
    if (rows < answered || rows > submitted)
        soak_fail(soak->shared, "the daemon counts %.0f rows; %.0f were submitted, %.0f answered", rows, submitted,
                  answered);
    if (abandoned > 0)
        return;
    expect_equal(soak, "rows of the daemon when nobody died", rows, submitted);
    expect_equal(soak, "PARTIAL rows of the daemon", now->partial - soak->before.partial,
                 (double)(sum->partial - seen->partial));
    expect_equal(soak, "invalid rows of the daemon", now->invalid - soak->before.invalid,
                 (double)(sum->invalid + sum->crowded - seen->invalid - seen->crowded));
    expect_equal(soak, "lenses that the daemon scored", now->scored - soak->before.scored,
                 (double)(sum->scored - seen->scored));
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The median of one figure over the hours [from, to) that ended with this pack; -1 when there is none. */
static double median(const struct soak *soak, uint32_t pack, uint32_t from, uint32_t to, bool heap)
{
    double values[HOURS_MAX] = {0};
    uint32_t n = 0;
    for (uint32_t h = from; h < to; h++) {
        if (soak->past[h].pack == pack)
            values[n++] = heap ? soak->past[h].heap : soak->past[h].rss;
    }
    qsort(values, n, sizeof *values, ascending);
    return n ? values[n / 2] : -1;
}

/* From the second quarter to the last; packs differ in their tables, so each is compared with itself. */
static double growth(const struct soak *soak, bool heap)
{
    uint32_t quarter = soak->hours / 4;
    double most = -1e18;
    for (uint32_t pack = 0; pack < PACKS; pack++) {
        double before = median(soak, pack, quarter, 2 * quarter, heap);
        double after = median(soak, pack, soak->hours - quarter, soak->hours, heap);
        if (before >= 0 && after >= 0 && after - before > most)
            most = after - before;
    }
    return most;
}

static void check_memory(struct soak *soak)
{
    double heap = growth(soak, true), rss = growth(soak, false);
#ifdef LENSD_SANITIZED
    printf("memory isn't judged under a sanitizer: resident %+.1f MB from the second quarter to the last\n",
           rss * 1e-6);
    (void)heap;
#else
    printf("memory from the second quarter to the last, medians: heap %+.1f KB (bound %.0f), resident %+.2f MB (bound "
           "%.1f)\n",
           heap * 1e-3, HEAP_GROWTH * 1e-3, rss * 1e-6, RSS_GROWTH * 1e-6);
    if (heap > HEAP_GROWTH || rss > RSS_GROWTH)
        soak_fail(soak->shared, "the daemon's memory grows");
#endif
}

static void checkpoint(struct soak *soak, uint32_t hour, uint64_t begin)
{
    struct soak_figures now;
    struct soak_tally sum;
    settle(soak, &now);
    sum_tallies(soak, &sum);
    check_sums(soak, &sum, &now);
    soak->past[hour] = (struct hour){now.rss, now.heap, soak->serving};
    double scored = now.scored - soak->before.scored;
    printf(
        "%4u %10llu rows %7.1f s  %6llu sessions %5llu deaths %3llu swaps %5llu probes  slot %5.1f%% host %5.1f%% cold "
        "%5.1f%%  heap %6.2f MB  resident %6.1f MB\n",
        hour + 1, (unsigned long long)sum.submitted, (double)(bench_now_ns() - begin) * 1e-9,
        (unsigned long long)sum.sessions, (unsigned long long)sum.deaths, (unsigned long long)soak->swaps,
        (unsigned long long)soak->probes, 100 * (now.slot_hits - soak->before.slot_hits) / scored,
        100 * (now.host_hits - soak->before.host_hits) / scored, 100 * (now.cold - soak->before.cold) / scored,
        now.heap * 1e-6, now.rss * 1e-6);
    fflush(stdout);
    soak->before = now;
    soak->seen = sum;
}

/* ---- the day ---------------------------------------------------------------------------------------------------- */

static void start_daemon(struct soak *soak)
{
    const char *flags[16] = {"--engine-threads", "1", "--cache-prefetch", "on"};
    uint32_t n = 4;
    flags[n++] = "--pool-slots";
    flags[n++] = soak->slots;
    flags[n++] = "--cache-host-memory";
    flags[n++] = soak->host_memory;
    flags[n++] = soak->faults ? "--fault-script" : NULL;
    flags[n++] = soak->faults;
    bench_daemon_start(&soak->daemon, soak->packs[0], flags);
    probe(soak);
    soak_watch(soak->daemon.pid, soak->daemon.socket, &soak->before);
    sum_tallies(soak, &soak->seen);
}

static void end_clients(struct soak *soak)
{
    for (uint32_t i = 0; i < soak->clients; i++) {
        int status;
        if (soak->children[i] != 0)
            kill(soak->children[i], SIGKILL);
        if (soak->children[i] != 0)
            waitpid(soak->children[i], &status, 0);
    }
}

static void run_day(struct soak *soak, uint64_t rows)
{
    uint64_t begin = bench_now_ns();
    for (uint32_t hour = 0; hour < soak->hours && !soak->shared->failed; hour++) {
        run_hour(soak, hour, rows / soak->hours);
        if (!soak->shared->failed)
            checkpoint(soak, hour, begin);
    }
    if (!soak->shared->failed)
        probe(soak);
    if (!soak->shared->failed)
        check_memory(soak);
    end_clients(soak);
}

static int say_outcome(const struct soak *soak)
{
    struct soak_tally sum;
    sum_tallies(soak, &sum);
    if (soak->shared->failed) {
        fprintf(stderr, "soak: %s (seed %llu)\n", soak->shared->failure, (unsigned long long)soak->seed);
        return 1;
    }
    printf(
        "%llu rows: %llu complete, %llu partial, %llu invalid, %llu refused, %llu abandoned; %llu capped, %llu stale; "
        "%llu submissions waited for room; %llu requests took over a second; %llu lenses scored, %llu missing\n",
        (unsigned long long)sum.submitted, (unsigned long long)sum.complete, (unsigned long long)sum.partial,
        (unsigned long long)sum.invalid, (unsigned long long)sum.crowded, (unsigned long long)sum.abandoned,
        (unsigned long long)sum.capped, (unsigned long long)sum.stale, (unsigned long long)sum.full,
        (unsigned long long)sum.late, (unsigned long long)sum.scored, (unsigned long long)sum.missing);
    printf("%llu probes of %u rows, all the same bit for bit; %llu swaps; nothing wrong\n",
           (unsigned long long)soak->probes, SOAK_PROBE_ROWS * SOAK_PROBE_MODES, (unsigned long long)soak->swaps);
    return 0;
}

int main(int argc, char **argv)
{
    static const char *const known[] = {
        "--rows=", "--hours=", "--clients=", "--seed=", "--slots=", "--host-memory=", "--faults=", NULL};
    bench_check_options(argc, argv, known);
    uint64_t rows = bench_option_u64(argc, argv, "--rows", 10000000);
    struct soak *soak = bench_alloc(sizeof *soak);
    soak->hours = (uint32_t)bench_option_u64(argc, argv, "--hours", 24);
    soak->clients = (uint32_t)bench_option_u64(argc, argv, "--clients", 6);
    soak->slots = bench_option(argc, argv, "--slots", "795");
    soak->host_memory = bench_option(argc, argv, "--host-memory", "2M");
    soak->faults = bench_option(argc, argv, "--faults", NULL);
    soak->seed = bench_option_u64(argc, argv, "--seed", (uint64_t)time(NULL));
    if (soak->hours < 8 || soak->hours > HOURS_MAX || soak->clients < 1 || soak->clients > SOAK_CLIENTS)
        bench_die("--hours must be 8 to %u, --clients 1 to %u", HOURS_MAX, SOAK_CLIENTS);
    soak->shared = mmap(NULL, sizeof *soak->shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (soak->shared == MAP_FAILED)
        bench_die("no shared memory: %s", strerror(errno));
    printf("soak: %llu rows, %u clients, seed %llu\n", (unsigned long long)rows, soak->clients,
           (unsigned long long)soak->seed);
    fflush(stdout);
    for (uint32_t p = 0; p < PACKS; p++)
        make_pack(dtypes[p], soak->packs[p], sizeof soak->packs[p]);
    make_rows(soak);
    find_right_answers(soak);
    start_daemon(soak);
    run_day(soak, rows);
    int code = say_outcome(soak);
    bench_daemon_stop(&soak->daemon);
    munmap(soak->shared, sizeof *soak->shared);
    free(soak->rows.states);
    free(soak);
    return code;
}
