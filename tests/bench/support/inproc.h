/* The real engine in this process, with one session and the client's side of its ring: no daemon, no socket. The
 * caller's thread is the client, on the first processor; the engine's is on the second. Dies with a sentence when
 * anything fails. */
#ifndef LENS_BENCH_INPROC_H
#define LENS_BENCH_INPROC_H

#include "tests/bench/support/tree.h"

#include "daemon/engine.h"

struct bench_inproc {
    struct lens_backend *backend;
    struct lensd_served_pack *served;
    struct lensd_engine *engine;
    struct lensd_session *session;
    struct lens_ring_client ring;
    uint64_t *payload_ends;
    struct lensd_events *events; /* NULL when no rows are remembered */
    uint32_t serial;
    bool sleeps; /* the client waits on the futex instead of spinning */
};

#define BENCH_EVENTS 8192u /* telemetry.events' default */

/* Owns `backend` from now on. The engine spins for spin_us (0: it sleeps at once), and remembers `events` rows. */
void bench_inproc_open(struct bench_inproc *p, struct lens_backend *backend, const char *pack, uint32_t spin_us,
                       uint32_t events);
void bench_inproc_close(struct bench_inproc *p);

/* One row [dim] f32 there and its answer back; the answer is copied out of the ring. */
struct lens_result_header bench_inproc_round_trip(struct bench_inproc *p, const float *row);

/* Writes a small pack with planted answers (a tree of about 300 lenses) and returns its tree, for rows. */
struct bench_tree *bench_small_pack(const char *path, uint32_t dim, uint32_t h1, uint32_t h2);

#endif
