/* What the card does bare, without lensd: the floors that the benchmarks stand beside. C, over the CUDA runtime.
 *
 * One thread. Everything dies with a sentence when CUDA fails. */
#ifndef GPU_BENCH_CARD_H
#define GPU_BENCH_CARD_H

#include <stdint.h>

struct card;

/* NULL with a sentence in `why` when there is no card. `buffer_bytes` of device memory are read round and round: more
 * than the card's cache several times over. */
struct card *card_open(uint32_t device, uint64_t buffer_bytes, char *why, uint32_t why_size);
void card_close(struct card *card);

struct card_facts {
    char name[128];
    uint32_t multiprocessors, major, minor, driver, runtime;
    uint64_t memory_bytes, cache_bytes;
};
void card_describe(const struct card *card, struct card_facts *out);

/* Bytes per second of a plain streaming kernel that reads `bytes` of the buffer, the next ones each time: 16-byte loads
 * past the first-level cache, as many blocks as the card holds at once. Median of `rounds`. */
double card_read_rate(struct card *card, uint64_t bytes, uint32_t rounds);

/* Bytes per second of cudaMemcpyAsync from page-locked memory to the card. Median of `rounds`. */
double card_copy_rate(struct card *card, uint64_t bytes, uint32_t rounds);

/* Nanoseconds of cuBLAS's product of [outputs, dim] weights and [dim, rows] columns in bf16 with f32 sums, on more
 * weights than the cache holds; NaN where there is no cuBLAS (emulated). Median of `rounds`. */
double card_gemm_ns(struct card *card, uint32_t outputs, uint32_t dim, uint32_t rows, uint32_t rounds);

#endif
