/* lensctl bench: rows through the running daemon, and how long they take.
 *
 * The daemon is the one that serves others too: a bench uses its capacity, and what others send is in its figures.
 * Threads: bench_run uses the calling thread; bench_floor_ns starts threads of its own and joins them. */
#ifndef LENSCTL_BENCH_H
#define LENSCTL_BENCH_H

#include "client/lensctl/command.h"
#include "client/liblens/lens.h"
#include "daemon/histogram.h"

enum bench_kind { BENCH_TOKEN, BENCH_BASE, BENCH_BATCH, BENCH_STREAM };
extern const char *const bench_names[]; /* NULL-terminated, in that order */

/* ---- rows to send ------------------------------------------------------------------------------------------------ */

/* All in memory before the clock runs. */
struct bench_rows {
    enum lens_type type;
    uint32_t dim, count;
    uint64_t next;
    uint8_t *data; /* [count][dim] of `type` */
};

/* From a file of hidden states, or with NULL random ones (normally distributed, the same each time). An enum ctl_exit,
 * failures said. */
int bench_rows_open(const char *path, uint32_t dim, struct bench_rows *out);
void bench_rows_close(struct bench_rows *rows);
/* Copies the next n rows, from the first again after the last. */
void bench_rows_take(struct bench_rows *rows, uint32_t n, void *to);

/* ---- the run ------------------------------------------------------------------------------------------------------
 */

struct bench_plan {
    enum bench_kind kind;
    uint32_t rows;      /* of a submission */
    uint32_t in_flight; /* submissions */
    uint64_t ns;        /* how long it is measured, after a fifth of it (at most half a second) to get warm */
};

struct bench_result {
    struct lensd_histogram trip;   /* from submit to the last answer of the submission, by our clock */
    struct lensd_histogram inside; /* of a row: the daemon's total */
    uint64_t ns, submissions, rows, invalid, scored, loaded, missing, refused;
};

/* An enum ctl_exit, failures said. */
int bench_run(struct lens_session *session, struct bench_rows *rows, const struct bench_plan *plan,
              struct bench_result *out);

/* Nanoseconds to read `bytes` of memory once with `threads` threads, when they are read again and again: what no
 * scoring of that many weights can beat. 0 when it can't be measured. Takes about a tenth of a second. */
double bench_floor_ns(uint64_t bytes, uint32_t threads);

#endif
