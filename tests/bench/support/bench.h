/* What every benchmark needs: time, medians, paths beside the program, refusing to go on.
 *
 * Benchmarks are programs, not libraries: bench_die prints one sentence and exits 1. */
#ifndef LENS_BENCH_H
#define LENS_BENCH_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

void bench_die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

void *bench_alloc(size_t bytes);      /* zeroed; never NULL */
void *bench_alloc_huge(size_t bytes); /* zeroed, 2 MiB aligned, huge pages asked for; free with bench_free_huge */
void bench_free_huge(void *memory, size_t bytes);

uint64_t bench_now_ns(void); /* CLOCK_MONOTONIC */

/* Keeps the calling thread on the index-th processor it may use (modulo their number). */
void bench_pin(uint32_t index);
void bench_pin_thread(pid_t thread, uint32_t index); /* of any process; 0 = the caller */
void bench_unpin(void);                              /* the calling thread may run anywhere again */
uint32_t bench_cpus(void);                           /* processors this process may use */

static inline uint32_t bench_min(uint32_t a, uint32_t b)
{
    return b < a ? b : a;
}

/* Sorts `values` and returns the quantile (0..1), nearest rank. n > 0. */
double bench_quantile(double *values, size_t n, double quantile);

struct bench_summary {
    double p50, p95, p99, max, mean;
};
struct bench_summary bench_summarize(double *values, size_t n); /* sorts */

/* "<directory of this program>/<name>". */
void bench_path_beside(const char *name, char *out, size_t size);

/* The value after `flag` in argv, or `fallback`. */
const char *bench_option(int argc, char **argv, const char *flag, const char *fallback);
uint64_t bench_option_u64(int argc, char **argv, const char *flag, uint64_t fallback);
int bench_has_flag(int argc, char **argv, const char *flag);
/* Refuses arguments that aren't in `known` (NULL-terminated; a flag that takes a value ends with '='). */
void bench_check_options(int argc, char **argv, const char *const *known);

/* Where the concept tree is: the value of --tree, else $LENS_BENCH_TREE, else NULL = generate one. */
const char *bench_tree_path(int argc, char **argv);

#endif
