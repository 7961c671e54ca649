/* An engine with its pack in this process, and clients that talk to it through the rings alone (no socket). Test
 * support: fails the test when anything can't be made. */
#ifndef LENS_TEST_ENGINE_WORLD_H
#define LENS_TEST_ENGINE_WORLD_H

#include "daemon/engine.h"

struct engine_world {
    struct lens_backend *backend;
    struct lensd_served_pack served;
    struct lensd_engine *engine;
    _Atomic int broken, failed, changed;
    bool own_pack;
};

/* What a world is made of; zeros are the defaults of open_world. */
struct world_options {
    struct lens_pack *pack; /* lent; NULL: hatcat-small in F32, the world's own */
    struct lensd_pool_config pool;
    uint32_t backend_threads; /* 0 = 1 */
    uint32_t spin_us, max_sessions;
    const char *fault_script; /* NULL = no faults */
    bool degrade;
};

/* A client without a socket: the ring over the session's own mapping. */
struct ring_client {
    struct lensd_session *session;
    struct lens_ring_client ring;
    uint64_t *ends;
    uint32_t serial;
};

/* An engine over tests/fixtures/hatcat-small in `slots` slots (0 = all), none loaded yet; fault_script may be NULL. */
struct engine_world *open_world(uint32_t slots, uint32_t spin_us, const char *fault_script);
struct engine_world *open_world_with(const struct world_options *options);
/* Another pack for the same engine, under the same options; the caller closes it. */
void open_served(struct engine_world *w, const struct world_options *options, struct lensd_served_pack *out);
void close_served(struct lensd_served_pack *served, bool own_pack);
/* Stops the engine (at most drain_ms) and leaves the pool to the caller, until close_world. */
void stop_world(struct engine_world *w, uint32_t drain_ms);
void close_world(struct engine_world *w);
/* 64 rows, 16 submissions, 1,024 results. */
struct lensd_session_request session_request_of(const struct lens_cascade_options *options, uint32_t max_sequences);
/* A client whose session the engine doesn't serve yet. */
void make_ring_client(struct engine_world *w, const struct lensd_session_request *request, struct ring_client *c);
void attach_client(struct engine_world *w, struct ring_client *c);
void open_ring_client(struct engine_world *w, const struct lensd_session_request *request, struct ring_client *c);
void close_ring_client(struct engine_world *w, struct ring_client *c);
/* Copies n rows in and publishes them; rings the doorbell when the engine sleeps. -EAGAIN when the ring is full. */
int submit_rows(struct ring_client *c, uint64_t sequence, const float *rows, uint32_t n, uint32_t flags);
int submit_rows_until(struct ring_client *c, uint64_t sequence, const float *rows, uint32_t n, uint32_t flags,
                      uint64_t deadline_ns);
/* Waits at most ten seconds for the next result. */
struct lens_result next_result(struct ring_client *c);
void random_rows(float *rows, size_t n, unsigned *seed);
void one_row(float *row, unsigned seed); /* of hatcat-small's 40 elements */

/* A session that scores its base layers and nothing else, and retains nothing. */
struct lens_cascade_options flat_options(uint64_t base_layers, enum lens_miss miss);
/* One that waits, and scores all that is below layer 0: dozens of lenses, level by level. */
struct lens_cascade_options deep_options(void);
/* A session of 16 sequences with this id. */
void open_client_with(struct engine_world *w, const struct lens_cascade_options *options, uint32_t id,
                      struct ring_client *c);
bool has_result(struct ring_client *c);
/* The next result's header (waits as next_result); the slot is given back. */
struct lens_result_header take_header(struct ring_client *c);
/* One row of sequence 1, and its answer. */
struct lens_result_header ask_row(struct ring_client *c, const float *row, uint32_t flags);
/* Lenses that somebody waits for or went without are on their way, or none are any more. */
void wait_until_something_loads(const struct lensd_pool *pool);
void wait_until_nothing_loads(const struct lensd_pool *pool);

#endif
