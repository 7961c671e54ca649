/* What DESIGN 4 says, in double precision, straight from the formula: the yardstick of the benchmarks' errors and the
 * proof that planted answers come out. Slow. */
#ifndef LENS_BENCH_REFERENCE64_H
#define LENS_BENCH_REFERENCE64_H

#include "tests/bench/support/planted.h"

/* x^ of a row: population variance, eps 1e-5. */
void bench_normalize64(const float *row, uint32_t dim, double *out);

double bench_logit64(const struct lens_weights *weights, struct bench_shape shape, const double *x);

/* Threshold cascade of one row with the default options and an empty retained set, every lens made again from its
 * stream. Writes the ids of the best ten of the frontier; returns how many there are. *scored gets the lenses. */
uint32_t bench_cascade64(const struct bench_tree *tree, struct bench_lens *lens, const float *row, uint32_t top[10],
                         uint32_t *scored);

#endif
