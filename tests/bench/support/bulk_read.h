/* Many pieces of a file read at once, by threads that call pread or by io_uring: what bench_cold_read compares.
 * Both return when every byte is there and die with a sentence on an error. One thread uses either at a time. */
#ifndef LENS_BENCH_BULK_READ_H
#define LENS_BENCH_BULK_READ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bench_piece {
    uint64_t offset; /* in the file */
    unsigned char *to;
    uint32_t bytes;
};

/* The caller and threads - 1 others, which sleep between two runs; waking them is part of what is measured. */
struct bench_read_team;
struct bench_read_team *bench_read_team_open(uint32_t threads);
void bench_read_team_run(struct bench_read_team *team, int fd, const struct bench_piece *pieces, uint32_t n);
void bench_read_team_close(struct bench_read_team *team);

/* One ring whose reads go to the registered `buffer`, which every piece must lie in. NULL when io_uring isn't there;
 * *why_not then says why. */
struct bench_uring;
struct bench_uring *bench_uring_open(void *buffer, size_t bytes, const char **why_not);
/* `workers`: the kernel hands each read to a worker thread of its own instead of trying it on ours first. */
void bench_uring_run(struct bench_uring *ring, int fd, const struct bench_piece *pieces, uint32_t n, bool workers);
void bench_uring_close(struct bench_uring *ring); /* NULL is fine */

#endif
