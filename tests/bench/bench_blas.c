/* Would a library's matrix product do? OpenBLAS's sgemm beside our f32 kernel, one thread, W1 of one lens (128 x 2560)
 * on 1..64 rows, and whether a row's sums have the same bits whatever batch they are in (DESIGN 1 demands it).
 *
 *     bench_blas [--ms 300] [--library libopenblas.so.0]
 *
 * The library is opened when this runs: nothing links it. Without it (Debian: libopenblas-dev) this says so and ends.
 * Figures are processor time over weights that rotate through more memory than the caches hold. */
#include "tests/bench/support/bench.h"
#include "tests/bench/support/peak.h"
#include "tests/bench/support/random.h"
#include "tests/bench/support/report.h"

#include "kernels/cpu/kernel.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DIM    2560u
#define H1     128u
#define ROWS   64u
#define LENSES 600u /* 786 MB of weights */
#define ROUNDS 100u

/* CBLAS's own numbers. */
enum { ROW_MAJOR = 101, NO_TRANSPOSE = 111, TRANSPOSE = 112 };
typedef void (*sgemm_fn)(int order, int trans_a, int trans_b, int m, int n, int k, float alpha, const float *a, int lda,
                         const float *b, int ldb, float beta, float *c, int ldc);

struct world {
    sgemm_fn sgemm;
    const struct cpu_kernel *kernel;
    float *weights, *x, *acc, *scratch; /* [LENSES][H1 * DIM], [ROWS][DIM], [ROWS][H1] */
    uint32_t next;
};

static const struct cpu_kernel *our_kernel(void)
{
    if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))
        return cpu_exact_kernel(&cpu_variant_avx512, LENS_F32);
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return cpu_exact_kernel(&cpu_variant_avx2, LENS_F32);
    return cpu_exact_kernel(&cpu_variant_scalar, LENS_F32);
}

static sgemm_fn open_library(const char *name, char *config, size_t size)
{
    /* on processors it doesn't know it falls back to kernels of 2004: tell it, unless the user did */
    if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
        setenv("OPENBLAS_CORETYPE", "SkylakeX", 0);
    void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL)
        return NULL;
    void (*threads)(int) = NULL;
    char *(*describe)(void) = NULL;
    sgemm_fn sgemm = NULL;
    /* dlsym gives object pointers; POSIX says that they hold functions */
    *(void **)&threads = dlsym(library, "openblas_set_num_threads");
    *(void **)&describe = dlsym(library, "openblas_get_config");
    *(void **)&sgemm = dlsym(library, "cblas_sgemm");
    if (threads == NULL || describe == NULL || sgemm == NULL)
        bench_die("%s is not OpenBLAS: it lacks its functions", name);
    threads(1);
    snprintf(config, size, "%s", describe());
    return sgemm;
}

static void blas(const struct world *w, const float *weights, const float *x, uint32_t n, float *out)
{
    w->sgemm(ROW_MAJOR, NO_TRANSPOSE, TRANSPOSE, (int)n, H1, DIM, 1.0f, x, DIM, weights, DIM, 0.0f, out, H1);
}

static void ours(const struct world *w, const float *weights, const float *x, uint32_t n, float *out)
{
    const void *rows[ROWS];
    for (uint32_t r = 0; r < n; r++)
        rows[r] = x + (size_t)r * DIM;
    w->kernel->product(&(struct cpu_product){
        .weights = weights, .x = rows, .acc = out, .scratch = w->scratch, .n = n, .units = DIM, .padded = H1});
}

typedef void (*product_fn)(const struct world *w, const float *weights, const float *x, uint32_t n, float *out);

/* Seconds of processor time for the next ten lenses. */
static double seconds(struct world *w, product_fn product, uint32_t n)
{
    struct timespec start, end;
    memset(w->acc, 0xff, (size_t)ROWS * H1 * sizeof *w->acc);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &start);
    for (uint32_t i = 0; i < 10; i++, w->next = (w->next + 1) % LENSES)
        product(w, w->weights + (size_t)w->next * H1 * DIM, w->x, n, w->acc);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
    return (double)(end.tv_sec - start.tv_sec) + 1e-9 * (double)(end.tv_nsec - start.tv_nsec);
}

/* Share of the sums of n rows at once that have other bits than the same row's alone. */
static double differing(const struct world *w, product_fn product, uint32_t n)
{
    float together[ROWS * H1], alone[H1];
    uint32_t different = 0;
    product(w, w->weights, w->x, n, together);
    for (uint32_t r = 0; r < n; r++) {
        product(w, w->weights, w->x + (size_t)r * DIM, 1, alone);
        for (uint32_t h = 0; h < H1; h++)
            different += memcmp(&alone[h], &together[r * H1 + h], sizeof(float)) != 0;
    }
    return (double)different / (n * H1);
}

static void show(struct bench_report *report, const char *name, const struct world *w, product_fn product, uint32_t n,
                 double *samples, uint32_t rounds, double peak)
{
    double lens_seconds = bench_quantile(samples, rounds, 0.5) / 10, macs = (double)n * H1 * DIM / lens_seconds;
    double other = differing(w, product, n);
    printf("%-9s %4u %9.1f %9.1f %8.2f %12.1f%%\n", name, n, lens_seconds * 1e6, macs * 1e-9, macs / peak, 100 * other);
    json_t *figure = bench_report_figure(report);
    bench_put_text(figure, "product", name);
    bench_put(figure, "rows", n);
    bench_put(figure, "lens_ns", lens_seconds * 1e9);
    bench_put(figure, "multiply_adds_per_second", macs);
    bench_put(figure, "share_of_peak", macs / peak);
    bench_put(figure, "sums_with_other_bits_than_alone", other);
}

static void measure(struct world *w, struct bench_report *report, uint32_t n, double ms, double peak)
{
    static double lib[ROUNDS], own[ROUNDS];
    uint32_t rounds = 0;
    seconds(w, blas, n);
    for (double spent = 0; rounds < ROUNDS && (rounds < 5 || spent < 2 * ms * 1e-3); rounds++) {
        lib[rounds] = seconds(w, blas, n);
        own[rounds] = seconds(w, ours, n);
        spent += lib[rounds] + own[rounds];
    }
    show(report, "openblas", w, blas, n, lib, rounds, peak);
    show(report, "ours", w, ours, n, own, rounds, peak);
}

int main(int argc, char **argv)
{
    static const char *const known[] = {"--ms=", "--library=", NULL};
    static const uint32_t counts[] = {1, 8, 32, 64};
    bench_check_options(argc, argv, known);
    char config[256];
    const char *name = bench_option(argc, argv, "--library", "libopenblas.so.0");
    struct world w = {.sgemm = open_library(name, config, sizeof config), .kernel = our_kernel()};
    if (w.sgemm == NULL) {
        printf("left out: %s is not installed (Debian: libopenblas-dev)\n", name);
        return 0;
    }
    size_t bytes = (size_t)LENSES * H1 * DIM * sizeof(float);
    w.weights = bench_alloc_huge(bytes);
    w.x = bench_alloc_huge((size_t)ROWS * DIM * sizeof(float));
    w.acc = bench_alloc_huge((size_t)ROWS * H1 * sizeof(float));
    w.scratch = bench_alloc_huge(CPU_WIDEN_FLOATS * sizeof(float));
    bench_random_normals(bench_stream_of("weights", 7), w.weights, (size_t)LENSES * H1 * DIM);
    bench_random_normals(bench_stream_of("rows", 4), w.x, (size_t)ROWS * DIM);
    struct bench_report report = bench_report_begin("blas");
    bench_put_text(report.settings, "library", config);
    double peak = bench_peak(BENCH_FMA_F32);
    printf("%s\nproduct   rows   us/lens   GMAC/s  of peak  other bits than alone\n", config);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        measure(&w, &report, counts[i], (double)bench_option_u64(argc, argv, "--ms", 300), peak);
    bench_report_end(&report);
    bench_free_huge(w.weights, bytes);
    bench_free_huge(w.x, (size_t)ROWS * DIM * sizeof(float));
    bench_free_huge(w.acc, (size_t)ROWS * H1 * sizeof(float));
    bench_free_huge(w.scratch, CPU_WIDEN_FLOATS * sizeof(float));
    return 0;
}
