/* What the soak's parts share: the parent (soak.c), the processes that are its clients (client.c), the rows that must
 * always get the same answer (probe.c), and the daemon's own figures (watch.c).
 *
 * One parent and its children, each with one thread. The children's numbers lie in memory that all of them map; a
 * child writes only its own entry, so a child that is killed leaves its entry as it was. */
#ifndef LENS_SOAK_H
#define LENS_SOAK_H

#include "tests/bench/support/bench.h"

#include "client/liblens/lens.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define SOAK_CLIENTS    16u /* processes at most */
#define SOAK_STREAMS    64u
#define SOAK_PER_STREAM 128u
#define SOAK_ROWS       (SOAK_STREAMS * SOAK_PER_STREAM)

/* Hidden states with planted answers: streams that wander through the tree, one after the other. */
struct soak_rows {
    uint32_t dim;
    float *states; /* [SOAK_ROWS, dim] */
};

/* Rows of one client process since the soak began, and what came of them. */
struct soak_tally {
    _Atomic uint64_t submitted, answered, abandoned; /* abandoned: its client died or left without reading */
    _Atomic uint64_t complete, partial, invalid, crowded, capped, stale;
    _Atomic uint64_t scored, slot_hits, host_hits, cold, missing;
    _Atomic uint64_t sessions, deaths;
    _Atomic uint64_t full; /* submissions that had to wait for room in the ring */
    _Atomic uint64_t late; /* requests that the daemon took more than a second for */
};

struct soak_shared {
    _Atomic int64_t rows_left; /* of this hour */
    _Atomic bool gentle;       /* this hour everybody reads all answers before leaving */
    _Atomic bool failed;
    char failure[512]; /* the first one's sentence */
    struct soak_tally clients[SOAK_CLIENTS];
};

/* Keeps the first failure; the parent ends the soak then. */
void soak_fail(struct soak_shared *shared, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* One client process: sessions come and go until the hour's rows are used up. `life` tells one process's random choices
 * from the next one's. Doesn't return: exits 0, or 1 after soak_fail, or kills itself. */
void soak_client(struct soak_shared *shared, uint32_t index, const char *socket, const struct soak_rows *rows,
                 uint64_t seed, uint64_t life) __attribute__((noreturn));

/* ---- rows whose answers must never change ----------------------------------------------------------------------- */

#define SOAK_PROBE_ROWS  24u
#define SOAK_PROBE_MODES 2u /* threshold, topk */

struct soak_probe {
    uint64_t digest[SOAK_PROBE_MODES][SOAK_PROBE_ROWS];
};

/* Sends the probe rows in fresh sequences with miss = wait and digests every bit of their answers. False, with
 * soak_fail, when an answer isn't COMPLETE. Its rows are added to `tally`. */
bool soak_probe(struct soak_shared *shared, struct soak_tally *tally, const char *socket, const struct soak_rows *rows,
                struct soak_probe *out);

/* A session that comes and goes without a row: the engine then takes in what was loaded ahead after the last row. */
bool soak_touch(struct soak_shared *shared, const char *socket);

/* ---- the daemon's own figures ----------------------------------------------------------------------------------- */

struct soak_figures {
    double rss, heap; /* bytes; heap = 0 in sanitizer builds */
    double rows, dropped, invalid, partial, scored, slot_hits, host_hits, cold;
    double sessions, resident, slots;
    double loads, evictions; /* since the pack was opened */
};

void soak_watch(pid_t daemon, const char *socket, struct soak_figures *out);

#endif
