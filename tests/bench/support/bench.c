/* Time, medians, paths and arguments of the benchmark programs; see bench.h. */
#include "tests/bench/support/bench.h"

#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

void bench_die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fflush(stdout);
    fprintf(stderr, "%s: ", program_invocation_short_name);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(1);
}

void *bench_alloc(size_t bytes)
{
    void *memory = calloc(1, bytes ? bytes : 1);
    if (!memory)
        bench_die("no memory for %zu bytes", bytes);
    return memory;
}

void *bench_alloc_huge(size_t bytes)
{
    const size_t huge = 2u << 20;
    size_t span = (bytes + huge - 1) / huge * huge;
    unsigned char *raw =
        mmap(NULL, span + huge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (raw == MAP_FAILED)
        bench_die("no memory for %zu bytes: %s", bytes, strerror(errno));
    unsigned char *start = raw + (huge - (uintptr_t)raw % huge) % huge;
    if (start > raw)
        munmap(raw, (size_t)(start - raw));
    if (raw + huge > start)
        munmap(start + span, (size_t)(raw + huge - start));
    madvise(start, span, MADV_HUGEPAGE);
    return start;
}

void bench_free_huge(void *memory, size_t bytes)
{
    const size_t huge = 2u << 20;
    munmap(memory, (bytes + huge - 1) / huge * huge);
}

uint64_t bench_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static cpu_set_t allowed;
static uint32_t allowed_count;

/* Remembered before the first pin, because a pinned thread's children inherit the narrowed set. */
static void find_allowed(void)
{
    if (allowed_count == 0 && sched_getaffinity(0, sizeof allowed, &allowed) == 0)
        allowed_count = (uint32_t)CPU_COUNT(&allowed);
}

uint32_t bench_cpus(void)
{
    find_allowed();
    return allowed_count ? allowed_count : 1;
}

void bench_pin_thread(pid_t thread, uint32_t index)
{
    uint32_t wanted = index % bench_cpus();
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &allowed) || wanted-- > 0)
            continue;
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        sched_setaffinity(thread, sizeof one, &one);
        return;
    }
}

void bench_pin(uint32_t index)
{
    bench_pin_thread(0, index);
}

void bench_unpin(void)
{
    find_allowed();
    sched_setaffinity(0, sizeof allowed, &allowed);
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double sorted_quantile(const double *values, size_t n, double quantile)
{
    size_t at = (size_t)(quantile * (double)n);
    return values[at < n ? at : n - 1];
}

double bench_quantile(double *values, size_t n, double quantile)
{
    qsort(values, n, sizeof *values, ascending);
    return sorted_quantile(values, n, quantile);
}

struct bench_summary bench_summarize(double *values, size_t n)
{
    struct bench_summary out = {0};
    qsort(values, n, sizeof *values, ascending);
    for (size_t i = 0; i < n; i++)
        out.mean += values[i] / (double)n;
    out.p50 = sorted_quantile(values, n, 0.5);
    out.p95 = sorted_quantile(values, n, 0.95);
    out.p99 = sorted_quantile(values, n, 0.99);
    out.max = values[n - 1];
    return out;
}

void bench_path_beside(const char *name, char *out, size_t size)
{
    char self[4096];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    if (length < 0)
        bench_die("/proc/self/exe can't be read: %s", strerror(errno));
    self[length] = 0;
    char *slash = strrchr(self, '/');
    if (slash)
        *slash = 0;
    if ((size_t)snprintf(out, size, "%s/%s", self, name) >= size)
        bench_die("the path of %s is too long", name);
}

const char *bench_option(int argc, char **argv, const char *flag, const char *fallback)
{
    for (int i = 1; i + 1 < argc; i++) {
        if (strcmp(argv[i], flag) == 0)
            return argv[i + 1];
    }
    return fallback;
}

uint64_t bench_option_u64(int argc, char **argv, const char *flag, uint64_t fallback)
{
    const char *text = bench_option(argc, argv, flag, NULL);
    if (!text)
        return fallback;
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno || end == text || *end)
        bench_die("%s expects a whole number, found \"%s\"", flag, text);
    return value;
}

int bench_has_flag(int argc, char **argv, const char *flag)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], flag) == 0)
            return 1;
    }
    return 0;
}

/* 0 = unknown, 1 = known, 2 = known and followed by its value. */
static int option_kind(const char *argument, const char *const *known)
{
    size_t length = strlen(argument);
    for (; *known; known++) {
        if (strcmp(argument, *known) == 0)
            return 1;
        if (strlen(*known) == length + 1 && (*known)[length] == '=' && strncmp(argument, *known, length) == 0)
            return 2;
    }
    return 0;
}

void bench_check_options(int argc, char **argv, const char *const *known)
{
    for (int i = 1; i < argc; i++) {
        int kind = option_kind(argv[i], known);
        if (kind == 0 || (kind == 2 && i + 1 == argc)) {
            fprintf(stderr, "%s: %s \"%s\"; options:", program_invocation_short_name,
                    kind == 0 ? "unknown option" : "no value after", argv[i]);
            for (; *known; known++)
                fprintf(stderr, " %s", *known);
            fputc('\n', stderr);
            exit(2);
        }
        i += kind == 2;
    }
}

const char *bench_tree_path(int argc, char **argv)
{
    const char *path = bench_option(argc, argv, "--tree", getenv("LENS_BENCH_TREE"));
    return path && *path ? path : NULL;
}
