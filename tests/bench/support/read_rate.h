/* P1: what this machine reads per second, the denominator of every other benchmark.
 *
 * A reader owns a buffer far larger than the caches, on huge pages, full of random data, and threads that sleep
 * between passes (so that a kernel measured in between has the processors to itself). A pass reads the next `bytes`
 * of the buffer, round and round; the clock starts when all threads are awake. At open every way of plain reading
 * that the processor knows is tried, and the fastest median is kept. One thread uses a reader at a time. */
#ifndef LENS_BENCH_READ_RATE_H
#define LENS_BENCH_READ_RATE_H

#include <stdint.h>

#define BENCH_READ_BUFFER (1536ull << 20)

struct bench_reader;

/* threads >= 1, the caller included. */
struct bench_reader *bench_reader_open(uint32_t threads, uint64_t buffer_bytes);
void bench_reader_close(struct bench_reader *reader);

double bench_reader_pass(struct bench_reader *reader, uint64_t bytes); /* bytes per second */

/* The ways of reading: how many this processor knows, their names, the one kept, and choosing another. */
uint32_t bench_reader_ways(void);
const char *bench_reader_way_name(uint32_t way);
uint32_t bench_reader_way(const struct bench_reader *reader);
void bench_reader_choose(struct bench_reader *reader, uint32_t way);

#endif
