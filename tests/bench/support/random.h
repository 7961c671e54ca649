/* Random numbers that can be made again: value i of stream s is a function of (s, i) alone. Pure; any thread. */
#ifndef LENS_BENCH_RANDOM_H
#define LENS_BENCH_RANDOM_H

#include <stddef.h>
#include <stdint.h>

/* A stream for a text (FNV-1a, mixed) and for a stream's sub-stream. */
uint64_t bench_stream_of(const char *text, size_t length);
uint64_t bench_substream(uint64_t stream, uint64_t which);

uint64_t bench_random(uint64_t stream, uint64_t index);
double bench_random_unit(uint64_t stream, uint64_t index); /* in [0,1) */
uint32_t bench_random_below(uint64_t stream, uint64_t index, uint32_t bound);

/* n standard normal values, those of index 0..n-1. */
void bench_random_normals(uint64_t stream, float *out, size_t n);

/* n values uniform in [-half_width, half_width): the fast one, about a nanosecond for two. */
void bench_random_uniform(uint64_t stream, float half_width, float *out, size_t n);

#endif
