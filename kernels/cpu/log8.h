/* How the vector variants take 2 to a power when they decode log8 weights.
 *
 * 2^t is 2^k * p(f), k = t rounded, f = t - k (exact but for one rounding of t) and p the polynomial below: |f| <= 1/2
 * makes 2.8 u of relative error. With the step's own rounding a weight is off by at most (span/2 + 4) u, where span is
 * the distance of its output's log range and u = 2^-24. p(0) = 1: the middle code is exact. */
#ifndef LENS_CPU_LOG8_H
#define LENS_CPU_LOG8_H

/* Adding it leaves the integer nearest to a small number in the low bits. */
#define LOG8_ROUND 12582912.0f

#define LOG8_C1 0.6931470036506653f
#define LOG8_C2 0.24022242426872253f
#define LOG8_C3 0.05550733581185341f
#define LOG8_C4 0.009671512991189957f
#define LOG8_C5 0.001326472731307149f

#endif
