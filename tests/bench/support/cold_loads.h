/* How long a lens takes into a slot, without a daemon around it: families through the loader on one thread, and a whole
 * preload through the pool. Each beside the bare operation on the same bytes in the same moment. Dies with a sentence
 * when anything fails. */
#ifndef LENS_BENCH_COLD_LOADS_H
#define LENS_BENCH_COLD_LOADS_H

#include "proto/pack.h"

/* Medians over families, nanoseconds a lens. */
struct bench_cold_families {
    uint32_t families, lenses; /* of all families */
    double pread_ns;           /* bare pread of the families' bytes from the page cache */
    double slot_ns;            /* page cache -> slot: pread and decode */
    double copy_ns;            /* bare copy of the bytes from memory to memory */
    double host_ns;            /* host memory -> slot: decode */
};

/* Up to `families` random families of the pack (parents with at least four children), each measured every way, no two
 * ways on the same family in a row: what one way read must not be in a cache for the next. */
void bench_cold_measure_families(const struct lens_pack *pack, uint32_t families, struct bench_cold_families *out);

/* Bytes of stored weights per second. */
struct bench_cold_bulk {
    uint32_t lenses, threads;
    double fill_rate; /* lensd_pool_preload of the first `lenses`, with `threads` loaders */
    double copy_rate; /* copying as many bytes from memory to memory with as many threads */
};

/* About `bytes` of the pack, at least one lens. */
void bench_cold_measure_bulk(const struct lens_pack *pack, uint32_t threads, uint64_t bytes,
                             struct bench_cold_bulk *out);

#endif
