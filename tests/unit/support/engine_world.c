/* See engine_world.h. */
#include "tests/unit/support/engine_world.h"
#include "daemon/batch.h"
#include "daemon/pool_private.h"

#include "daemon/sys.h"
#include "tests/unit/support/expected.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SMALL "tests/fixtures/hatcat-small"

static void count_broken(void *arg)
{
    ((struct engine_world *)arg)->broken++;
}

static void count_failed(void *arg)
{
    ((struct engine_world *)arg)->failed++;
}

static void count_changed(void *arg)
{
    ((struct engine_world *)arg)->changed++;
}

void open_served(struct engine_world *w, const struct world_options *options, struct lensd_served_pack *out)
{
    struct lens_error err = {0};
    struct lensd_pool_config pool = options->pool;
    if (pool.max_batch_rows == 0)
        pool.max_batch_rows = 128;
    *out = (struct lensd_served_pack){.generation = 1, .name = "small"};
    out->pack = options->pack != NULL ? options->pack : import_for_test(SMALL, LENS_F32);
    if (lensd_pool_create(w->backend, out->pack, &pool, &out->pool, &err) != 0)
        fail_msg("%s", err.text);
    assert_int_equal(lensd_batch_create(pool.max_batch_rows, out->pack->lenses, &out->batch), 0);
    memset(out->batch->rows, 0xa5, pool.max_batch_rows * sizeof *out->batch->rows);
    memset(out->batch->detections, 0xa5, (size_t)pool.max_batch_rows * LENS_MAX_TOP_K * sizeof(struct lens_detection));
}

void close_served(struct lensd_served_pack *served, bool own_pack)
{
    lensd_batch_destroy(served->batch);
    lensd_pool_destroy(served->pool);
    if (own_pack)
        lens_pack_close(served->pack);
}

struct engine_world *open_world_with(const struct world_options *options)
{
    struct engine_world *w = calloc(1, sizeof *w);
    struct lens_error err = {0};
    struct lens_cpu_options cpu = {.threads = options->backend_threads > 0 ? options->backend_threads : 1,
                                   .variant = "auto"};
    struct lensd_engine_config engine = {.spin_us = options->spin_us,
                                         .max_sessions = options->max_sessions > 0 ? options->max_sessions : 4,
                                         .on_broken = count_broken,
                                         .degrade = options->degrade,
                                         .on_failure = count_failed,
                                         .on_change = count_changed,
                                         .arg = w};
    assert_int_equal(lens_cpu_open(&cpu, &w->backend, &err), 0);
    if (options->fault_script != NULL)
        assert_int_equal(lens_fault_open(w->backend, options->fault_script, &w->backend, &err), 0);
    w->own_pack = options->pack == NULL;
    open_served(w, options, &w->served);
    assert_int_equal(lensd_engine_start(&engine, &w->engine, &err), 0);
    return w;
}

struct engine_world *open_world(uint32_t slots, uint32_t spin_us, const char *fault_script)
{
    struct world_options options = {.pool.slots = slots, .spin_us = spin_us, .fault_script = fault_script};
    return open_world_with(&options);
}

void stop_world(struct engine_world *w, uint32_t drain_ms)
{
    lensd_engine_stop(w->engine, drain_ms);
    w->engine = NULL;
}

void close_world(struct engine_world *w)
{
    if (w->engine != NULL)
        stop_world(w, 1000);
    close_served(&w->served, w->own_pack);
    w->backend->ops->close(w->backend);
    free(w);
}

struct lensd_session_request session_request_of(const struct lens_cascade_options *options, uint32_t max_sequences)
{
    return (struct lensd_session_request){
        .id = 1,
        .label = "test",
        .layout = {.max_rows = 64, .submit_slots = 16, .result_slots = 1024, .expanded_capacity = 70},
        .max_sequences = max_sequences,
        .options = *options,
        .memory_limit = 64 << 20,
    };
}

/* A client whose session the engine doesn't serve yet. */
void make_ring_client(struct engine_world *w, const struct lensd_session_request *request, struct ring_client *c)
{
    struct lens_error err = {0};
    memset(c, 0, sizeof *c);
    if (lensd_session_create(request, &w->served, &c->session, &err) != 0)
        fail_msg("%s", err.text);
    const struct lens_ring_layout *layout = &c->session->ring.layout;
    c->ends = calloc(layout->submit_slots, sizeof *c->ends);
    assert_int_equal(lens_ring_client_init(&c->ring, layout, c->session->ring.base, layout->total_bytes, c->ends), 0);
}

void attach_client(struct engine_world *w, struct ring_client *c)
{
    struct lens_error err = {0};
    if (lensd_engine_attach(w->engine, c->session, &err) != 0)
        fail_msg("%s", err.text);
}

void open_ring_client(struct engine_world *w, const struct lensd_session_request *request, struct ring_client *c)
{
    make_ring_client(w, request, c);
    attach_client(w, c);
}

void close_ring_client(struct engine_world *w, struct ring_client *c)
{
    if (w->engine != NULL)
        lensd_engine_detach(w->engine, c->session);
    lensd_session_destroy(c->session);
    free(c->ends);
}

int submit_rows(struct ring_client *c, uint64_t sequence, const float *rows, uint32_t n, uint32_t flags)
{
    return submit_rows_until(c, sequence, rows, n, flags, 0);
}

int submit_rows_until(struct ring_client *c, uint64_t sequence, const float *rows, uint32_t n, uint32_t flags,
                      uint64_t deadline_ns)
{
    struct lens_submit_descriptor d;
    void *place;
    uint32_t dim = c->ring.layout.dim;
    int r = lens_ring_client_acquire(&c->ring, n, LENS_F32, false, &d, &place, NULL);
    if (r != 0)
        return r;
    memcpy(place, rows, (size_t)n * dim * sizeof *rows);
    d.sequence = sequence;
    d.serial = c->serial++;
    d.flags |= flags;
    d.deadline_ns = deadline_ns;
    d.submitted_ns = lensd_now_ns();
    if (lens_ring_client_submit(&c->ring, &d)) {
        uint64_t one = 1;
        assert_int_equal(write(c->session->doorbell, &one, sizeof one), sizeof one);
    }
    return 0;
}

/* Waits at most ten seconds for the next result. */
struct lens_result next_result(struct ring_client *c)
{
    struct lens_result result;
    uint64_t give_up = lensd_now_ns() + UINT64_C(10000000000);
    while (!lens_ring_client_peek(&c->ring, &result)) {
        if (lensd_now_ns() > give_up)
            fail_msg("no result within ten seconds");
        sched_yield();
    }
    return result;
}

void random_rows(float *rows, size_t n, unsigned *seed)
{
    for (size_t i = 0; i < n; i++)
        rows[i] = (float)rand_r(seed) / (float)RAND_MAX * 4.0f - 2.0f;
}

/* ---- rows one by one -------------------------------------------------------------------------------------------- */

/* A session that scores its base layers and nothing else. */
struct lens_cascade_options flat_options(uint64_t base_layers, enum lens_miss miss)
{
    struct lens_cascade_options options;
    lens_options_default(&options);
    options.base_layers = base_layers;
    options.max_depth = 0;
    options.keep_top_k = 0;
    options.miss = miss;
    return options;
}

/* One that waits, and scores all that is below layer 0: dozens of lenses, level by level. */
struct lens_cascade_options deep_options(void)
{
    struct lens_cascade_options options = flat_options(1, LENS_MISS_WAIT);
    options.max_depth = 5;
    options.load_threshold = 0;
    return options;
}

void open_client_with(struct engine_world *w, const struct lens_cascade_options *options, uint32_t id,
                      struct ring_client *c)
{
    struct lensd_session_request request = session_request_of(options, 16);
    request.id = id;
    open_ring_client(w, &request, c);
}

bool has_result(struct ring_client *c)
{
    struct lens_result result;
    return lens_ring_client_peek(&c->ring, &result);
}

/* The next result's header; the slot is given back. */
struct lens_result_header take_header(struct ring_client *c)
{
    struct lens_result_header header = *next_result(c).header;
    lens_ring_client_release(&c->ring);
    return header;
}

struct lens_result_header ask_row(struct ring_client *c, const float *row, uint32_t flags)
{
    assert_int_equal(submit_rows(c, 1, row, 1, flags), 0);
    return take_header(c);
}

/* lensd_pool_busy is the engine's to call; these figures may be read from any thread. */
static bool loads(const struct lensd_pool *pool)
{
    return atomic_load(&pool->awaited) > 0 || atomic_load(&pool->n_behind) > 0;
}

static void wait_until(const struct lensd_pool *pool, bool loading)
{
    uint64_t give_up = lensd_now_ns() + UINT64_C(20000000000);
    while (loads(pool) != loading) {
        assert_true(lensd_now_ns() < give_up);
        sched_yield();
    }
}

void wait_until_something_loads(const struct lensd_pool *pool)
{
    wait_until(pool, true);
}

void wait_until_nothing_loads(const struct lensd_pool *pool)
{
    wait_until(pool, false);
}

void one_row(float *row, unsigned seed)
{
    random_rows(row, 40 /* of hatcat-small */, &seed);
}
