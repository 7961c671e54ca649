/* In its steady state the engine allocates nothing per token, and frees nothing (DESIGN 8).
 *
 * Counts every heap call of all threads but the client's over 500 tokens, in both expansion modes. */
#include "daemon/batch.h"
#include "daemon/detections.h"
#include "daemon/engine.h"
#include "daemon/readings.h"
#include "daemon/sys.h"
#include "daemon/tracing.h"
#include "tests/unit/support/expected.h"
#ifndef LENSD_SANITIZED
#include "tests/unit/support/counting_malloc.h"
#endif

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdlib.h>

#define WARM   100u
#define TOKENS 500u

#ifdef LENSD_SANITIZED

static void skipped_under_sanitizers(void **state)
{
    (void)state;
    skip();
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(skipped_under_sanitizers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

struct world {
    struct lens_backend *backend;
    struct lensd_served_pack served;
    struct lensd_engine *engine;
    struct lensd_session *session;
    struct lensd_events *events;
    struct lensd_rule_totals totals;
    struct lensd_rules *rules;
    struct lens_ring_client ring;
    uint64_t ends[16];
    uint32_t seed;
};

static void on_broken(void *arg)
{
    (void)arg;
    abort();
}

static void open_session(struct world *w, enum lens_expand expand)
{
    struct lens_error err = {0};
    struct lensd_session_request request = {
        .id = 1,
        .label = "test",
        .layout = {.max_rows = 1, .submit_slots = 16, .result_slots = 16, .expanded_capacity = 64},
        .max_sequences = 4,
        .events = w->events,
        .rules = w->rules,
        .memory_limit = 64u << 20,
    };
    lens_options_default(&request.options);
    request.options.expand = expand;
    request.options.load_threshold = 0.05f; /* random rows: let many expand */
    assert_int_equal(lensd_session_create(&request, &w->served, &w->session, &err), 0);
    const struct lens_ring_layout *layout = &w->session->ring.layout;
    assert_int_equal(lens_ring_client_init(&w->ring, layout, w->session->ring.base, layout->total_bytes, w->ends), 0);
    assert_int_equal(lensd_engine_attach(w->engine, w->session, &err), 0);
}

static struct world *open_world(enum lens_expand expand)
{
    struct world *w = calloc(1, sizeof *w);
    struct lens_error err = {0};
    struct lens_cpu_options cpu = {.threads = 2, .variant = "auto"};
    struct lensd_pool_config pool = {.max_batch_rows = 64};
    struct lensd_engine_config engine = {
        .spin_us = 10000000, .max_sessions = 2, .degrade = true, .on_broken = on_broken};
    assert_non_null(w);
    assert_int_equal(lens_cpu_open(&cpu, &w->backend, &err), 0);
    w->served.pack = import_for_test("tests/fixtures/hatcat-small", LENS_F32);
    w->served.generation = 1;
    assert_int_equal(lensd_pool_create(w->backend, w->served.pack, &pool, &w->served.pool, &err), 0);
    assert_int_equal(lensd_batch_create(pool.max_batch_rows, w->served.pack->lenses, &w->served.batch), 0);
    assert_int_equal(lensd_detections_create(w->served.pack->lenses, &w->served.detections), 0);
    assert_int_equal(lensd_readings_create(w->served.pack->lenses, &w->served.readings), 0);
    assert_int_equal(lensd_events_create(64, &w->events), 0);
    assert_int_equal(lensd_rules_parse("often: on=Liquid:1/* above=0.3 tokens=2 window=4 smooth=0.5, "
                                       "odd: on=Tool:1 deviation=1.5 action=stop",
                                       &w->totals, &w->rules, &err),
                     0);
    assert_int_equal(lensd_engine_start(&engine, &w->engine, &err), 0);
    open_session(w, expand);
    return w;
}

static void close_world(struct world *w)
{
    lensd_engine_detach(w->engine, w->session);
    lensd_engine_stop(w->engine, 1000);
    lensd_session_destroy(w->session);
    lensd_events_destroy(w->events);
    lensd_rules_drop(w->rules);
    lensd_batch_destroy(w->served.batch);
    lensd_detections_destroy(w->served.detections);
    lensd_readings_destroy(w->served.readings);
    lensd_pool_destroy(w->served.pool);
    lens_pack_close(w->served.pack);
    w->backend->ops->close(w->backend);
    free(w);
}

static float next_value(struct world *w)
{
    w->seed = w->seed * 1664525u + 1013904223u;
    return (float)(w->seed >> 8) * 0x1p-23f - 1.0f;
}

/* Sends one random row and returns how many lenses it took. Sequences come and go. */
static uint32_t send_token(struct world *w, uint32_t token)
{
    struct lens_submit_descriptor d;
    struct lens_result result;
    void *place;
    assert_int_equal(lens_ring_client_acquire(&w->ring, 1, LENS_F32, false, &d, &place, NULL), 0);
    for (uint32_t i = 0; i < w->ring.layout.dim; i++)
        ((float *)place)[i] = next_value(w);
    d.sequence = token / 50;
    d.serial = token;
    d.submitted_ns = lensd_now_ns();
    if (token % 50 == 49)
        d.flags |= LENS_SUBMIT_LAST;
    (void)lens_ring_client_submit(&w->ring, &d);
    while (!lens_ring_client_peek(&w->ring, &result))
        ;
    uint32_t scored = result.header->counts.scored;
    assert_int_equal(result.header->status, LENS_ROW_COMPLETE);
    lens_ring_client_release(&w->ring);
    return scored;
}

static void check_mode(enum lens_expand expand, bool traced)
{
    counting_ignores_this_thread = true;
    struct world *w = open_world(expand);
    struct lensd_tracing *tracing = NULL;
    uint64_t scored = 0;
    if (traced) {
        assert_int_equal(lensd_tracing_create(w->served.pack, &tracing, NULL), 0);
        lensd_engine_trace(w->engine, &w->served, tracing);
    }
    for (uint32_t token = 0; token < WARM; token++)
        send_token(w, token);
    unsigned long before = atomic_load(&counting_calls);
    for (uint32_t token = WARM; token < WARM + TOKENS; token++)
        scored += send_token(w, token);
    assert_int_equal(atomic_load(&counting_calls) - before, 0);
    assert_true(scored > (uint64_t)TOKENS * 5); /* base and children were really scored */
    if (traced) {
        lensd_engine_trace(w->engine, &w->served, NULL);
        assert_int_equal(lensd_tracing_rows(tracing) + lensd_tracing_dropped(tracing), WARM + TOKENS);
        lensd_tracing_destroy(tracing);
    }
    close_world(w);
}

static void no_allocation_with_threshold(void **state)
{
    (void)state;
    check_mode(LENS_EXPAND_THRESHOLD, false);
}

static void no_allocation_with_topk(void **state)
{
    (void)state;
    check_mode(LENS_EXPAND_TOPK, false);
}

static void no_allocation_while_a_trace_is_recorded(void **state)
{
    (void)state;
    check_mode(LENS_EXPAND_THRESHOLD, true);
}

/* The counter must see what the engine's thread would do, or the zeros above mean nothing. */
static void *allocate_once(void *arg)
{
    *(void **)arg = malloc(100);
    return NULL;
}

static void the_counter_counts_other_threads(void **state)
{
    (void)state;
    pthread_t thread;
    void *memory = NULL;
    unsigned long before = atomic_load(&counting_calls);
    assert_int_equal(pthread_create(&thread, NULL, allocate_once, &memory), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(atomic_load(&counting_calls) > before);
    free(memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_counter_counts_other_threads),
        cmocka_unit_test(no_allocation_with_threshold),
        cmocka_unit_test(no_allocation_with_topk),
        cmocka_unit_test(no_allocation_while_a_trace_is_recorded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#endif
