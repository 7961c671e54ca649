/* P7: heap allocations and system calls per token in the steady state.
 *
 *     bench_allocs [--count 2000]
 *
 * A child of this program runs the real engine in-process with the CPU backend, both sides spinning, and sends tokens
 * with planted answers. Allocations are counted by replacing malloc and its family in the whole process; system calls
 * by running the child once more under strace -f and counting the lines between two marker calls. The client's thread
 * is counted apart from the engine's. */
#include "tests/bench/support/bench.h"
#include "tests/bench/support/inproc.h"
#include "tests/bench/support/planted.h"
#include "tests/bench/support/report.h"
#include "tests/unit/support/counting_malloc.h"

#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define DIM  512u
#define WARM 500u

/* ---- the child -------------------------------------------------------------------------------------------------- */

static void mark(const char *text)
{
    ssize_t refused = write(-1, text, strlen(text)); /* EBADF: only strace sees it */
    (void)refused;
}

static int run_child(uint32_t count)
{
    char pack[4096], name[64];
    struct lens_backend *backend;
    struct bench_inproc p;
    struct lens_error err = {0};
    snprintf(name, sizeof name, "allocs-%d.lens", (int)getpid());
    bench_path_beside(name, pack, sizeof pack);
    struct bench_tree *tree = bench_small_pack(pack, DIM, 32, 16);
    struct bench_rows *rows = bench_rows_open(tree, DIM, 3);
    float *states = bench_alloc((size_t)64 * DIM * sizeof *states);
    for (uint32_t r = 0; r < 64; r++)
        bench_rows_next(rows, states + (size_t)r * DIM);
    if (lens_cpu_open(&(struct lens_cpu_options){1, "auto"}, &backend, &err) < 0)
        bench_die("%s", err.text);
    bench_inproc_open(&p, backend, pack, 60000000, BENCH_EVENTS);
    uint64_t scored = 0;
    for (uint32_t t = 0; t < WARM; t++)
        bench_inproc_round_trip(&p, states + (size_t)(t % 64) * DIM);
    counting_ignores_this_thread = true;
    unsigned long calls = atomic_load(&counting_calls), bytes = atomic_load(&counting_bytes);
    mark("lensd-bench-begin");
    for (uint32_t t = 0; t < count; t++)
        scored += bench_inproc_round_trip(&p, states + (size_t)(t % 64) * DIM).counts.scored;
    mark("lensd-bench-end");
    calls = atomic_load(&counting_calls) - calls;
    bytes = atomic_load(&counting_bytes) - bytes;
    counting_ignores_this_thread = false;
    printf("%lu %lu %ld %.1f\n", calls, bytes, syscall(SYS_gettid), (double)scored / count);
    bench_inproc_close(&p);
    unlink(pack);
    free(states);
    bench_rows_close(rows);
    bench_tree_close(tree);
    return 0;
}

/* ---- the parent ------------------------------------------------------------------------------------------------- */

struct heap {
    unsigned long calls, bytes;
    long client;
    double scored;
};

static struct heap run_and_read(const char *prefix, uint32_t count)
{
    char self[4096], command[16384];
    struct heap heap;
    bench_path_beside("bench_allocs", self, sizeof self);
    snprintf(command, sizeof command, "%s '%s' --child --count %u", prefix, self, count);
    FILE *child = popen(command, "r");
    if (!child || fscanf(child, "%lu %lu %ld %lf", &heap.calls, &heap.bytes, &heap.client, &heap.scored) != 4)
        bench_die("\"%s\" gave no figures", command);
    if (pclose(child) != 0)
        bench_die("\"%s\" failed", command);
    return heap;
}

/* Lines of the trace between the markers: of the client's thread and of all others. */
static void count_lines(const char *trace, long client, uint64_t *of_client, uint64_t *of_engine)
{
    char line[4096];
    bool between = false;
    FILE *file = fopen(trace, "r");
    *of_client = *of_engine = 0;
    if (!file)
        bench_die("strace left no %s", trace);
    while (fgets(line, sizeof line, file)) {
        if (strstr(line, "lensd-bench-end"))
            break;
        if (between && !strstr(line, "resumed>"))
            *(strtol(line, NULL, 10) == client ? of_client : of_engine) += 1;
        between = between || strstr(line, "lensd-bench-begin");
    }
    fclose(file);
}

static void show(struct bench_report *report, const char *what, double total, uint32_t count)
{
    printf("%-42s %10.0f %12.4f\n", what, total, total / count);
    json_t *figure = bench_report_figure(report);
    bench_put_text(figure, "what", what);
    bench_put(figure, "total", total);
    bench_put(figure, "per_token", total / count);
    bench_put(figure, "floor", 0);
}

static void trace_calls(struct bench_report *report, uint32_t count)
{
    char trace[4096], prefix[8192];
    uint64_t client, engine;
    if (system("command -v strace >/dev/null && strace -o /dev/null true >/dev/null 2>&1") != 0) {
        printf("system calls: not measured, strace is missing or not allowed here\n");
        bench_put_text(report->settings, "system_calls", "not measured: no strace");
        return;
    }
    bench_path_beside("allocs.strace", trace, sizeof trace);
    snprintf(prefix, sizeof prefix, "strace -f -o '%s'", trace);
    struct heap heap = run_and_read(prefix, count);
    count_lines(trace, heap.client, &client, &engine);
    show(report, "system calls of the engine", (double)engine, count);
    show(report, "system calls of the client", (double)client, count);
    unlink(trace);
}

int main(int argc, char **argv)
{
    static const char *const known[] = {"--count=", "--child", NULL};
    bench_check_options(argc, argv, known);
    uint32_t count = (uint32_t)bench_option_u64(argc, argv, "--count", 2000);
    if (bench_has_flag(argc, argv, "--child"))
        return run_child(count);
    struct bench_report report = bench_report_begin("allocs");
    struct heap heap = run_and_read("", count);
    bench_put(report.settings, "tokens", count);
    bench_put(report.settings, "dim", DIM);
    bench_put(report.settings, "lenses_scored_a_row", heap.scored);
    printf("P7: %u tokens, %.1f lenses scored a row     total    per token\n", count, heap.scored);
    show(&report, "heap calls of the engine", (double)heap.calls, count);
    show(&report, "heap bytes of the engine", (double)heap.bytes, count);
    trace_calls(&report, count);
    bench_report_end(&report);
    return 0;
}
