/* Steps of degradation inside the engine: the breaker, a device that is lost, and going on with another pool. What the
 * daemon makes of them is tests/e2e/test_degradation.py's. */
#include "tests/unit/support/engine_world.h"

#include "daemon/batch.h"
#include "daemon/sys.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIM 40u
#define MS  UINT64_C(1000000)

static unsigned seed;

/* ---- the breaker alone ------------------------------------------------------------------------------------------ */

struct clocked {
    struct lensd_breaker breaker;
    uint64_t now;
};

/* One submission after the other; true when the breaker turned by one of them. */
static bool pass(struct clocked *c, uint32_t n, uint32_t rows, uint64_t ns)
{
    bool turned = false;
    for (uint32_t i = 0; i < n; i++) {
        enum lensd_breaker_verdict verdict = lensd_breaker_next(&c->breaker);
        c->now += ns;
        turned = lensd_breaker_note(&c->breaker, verdict, rows, ns, c->now) || turned;
    }
    return turned;
}

static void learn(struct clocked *c, uint32_t rows, uint64_t ns)
{
    assert_false(pass(c, LENSD_BREAKER_WINDOW * LENSD_BREAKER_WARMUP, rows, ns));
}

static void rows_that_stay_slow_open_the_breaker(void **state)
{
    (void)state;
    struct clocked c = {.now = 1};
    learn(&c, 1, 2 * MS);
    uint64_t begin = c.now;
    while (!pass(&c, 1, 1, 5 * MS))
        assert_true(c.now - begin < 4 * LENSD_BREAKER_SLOW_NS);
    assert_true(c.breaker.open);
    assert_true(c.now - begin >= LENSD_BREAKER_SLOW_NS);
    assert_int_equal(c.breaker.slow_ns, 5 * MS);
    assert_int_equal(c.breaker.usual_ns, 2 * MS);
}

static void what_is_not_slow_for_long_leaves_it_closed(void **state)
{
    (void)state;
    struct clocked c = {.now = 1};
    learn(&c, 1, 2 * MS);
    assert_false(pass(&c, 2000, 1, 4 * MS)); /* twice is not more than twice */
    memset(&c.breaker, 0, sizeof c.breaker);
    learn(&c, 1, 2 * MS);
    for (int i = 0; i < 50; i++) { /* spikes */
        assert_false(pass(&c, LENSD_BREAKER_WINDOW, 1, 30 * MS));
        assert_false(pass(&c, LENSD_BREAKER_WINDOW, 1, 2 * MS));
    }
    memset(&c.breaker, 0, sizeof c.breaker);
    learn(&c, 1, MS / 10);
    assert_false(pass(&c, 20000, 1, LENSD_BREAKER_FLOOR_NS)); /* ten times as long, and still nothing to speak of */
}

static void submissions_are_compared_with_those_of_their_size(void **state)
{
    (void)state;
    struct clocked c = {.now = 1};
    learn(&c, 1, 2 * MS);
    learn(&c, 64, 90 * MS);
    assert_false(pass(&c, 500, 64, 90 * MS));
    assert_false(pass(&c, 500, 1, 2 * MS));
    assert_false(pass(&c, LENSD_BREAKER_WINDOW * LENSD_BREAKER_WARMUP, 8, 50 * MS)); /* a new size has to be learned */
    assert_true(pass(&c, 500, 1, 90 * MS));
}

static void an_open_breaker_closes_when_probes_are_quick_again(void **state)
{
    (void)state;
    struct clocked c = {.now = 1};
    uint32_t base_only = 0;
    learn(&c, 1, 2 * MS);
    assert_true(pass(&c, 1000, 1, 9 * MS));
    for (uint32_t i = 0; i < 80; i++) { /* quick because they do less: tells nothing */
        enum lensd_breaker_verdict verdict = lensd_breaker_next(&c.breaker);
        assert_true(verdict != LENSD_BREAKER_FULL);
        base_only += verdict == LENSD_BREAKER_BASE_ONLY;
        uint64_t ns = verdict == LENSD_BREAKER_BASE_ONLY ? MS / 2 : 9 * MS;
        assert_false(lensd_breaker_note(&c.breaker, verdict, 1, ns, c.now += ns));
    }
    assert_int_equal(base_only, 80 / LENSD_BREAKER_PROBE_EACH * (LENSD_BREAKER_PROBE_EACH - 1));
    uint32_t until_closed = 2 * LENSD_BREAKER_PROBE_EACH * LENSD_BREAKER_PROBES; /* a set of probes is half done */
    assert_false(pass(&c, until_closed, 1, 3 * MS + MS / 10));                   /* over 1.5 times: not yet */
    assert_true(pass(&c, until_closed, 1, 3 * MS));
    assert_false(c.breaker.open);
    assert_int_equal(lensd_breaker_next(&c.breaker), LENSD_BREAKER_FULL);
}

static void a_size_nobody_knows_does_not_keep_it_open(void **state)
{
    (void)state;
    struct clocked c = {.now = 1};
    learn(&c, 1, 2 * MS);
    assert_true(pass(&c, 1000, 1, 9 * MS));
    assert_true(pass(&c, 2 * LENSD_BREAKER_PROBE_EACH * LENSD_BREAKER_PROBES, 32, 500 * MS));
}

static void a_reset_forgets_everything(void **state)
{
    (void)state;
    struct clocked c = {.now = 1};
    learn(&c, 1, 2 * MS);
    assert_true(pass(&c, 1000, 1, 9 * MS));
    assert_true(lensd_breaker_reset(&c.breaker));
    assert_false(lensd_breaker_reset(&c.breaker));
    assert_false(pass(&c, LENSD_BREAKER_WINDOW * LENSD_BREAKER_WARMUP, 1, 90 * MS));
    assert_false(pass(&c, 1000, 1, 90 * MS));
}

/* A tenth of noise and slow drift are no reason to degrade. */
static void noise_and_drift_are_followed(void **state)
{
    (void)state;
    struct clocked c = {.now = 1};
    double usual = 3.0 * (double)MS;
    for (uint32_t i = 0; i < 200000; i++) {
        double noise = 1.0 + 0.2 * ((double)rand_r(&seed) / (double)RAND_MAX - 0.5);
        usual *= 1.00001; /* 7 times as much in the end */
        if (rand_r(&seed) % 20 == 0)
            noise *= 8;
        assert_false(pass(&c, 1, 1, (uint64_t)(usual * noise)));
    }
}

/* ---- in the engine ---------------------------------------------------------------------------------------------- */

/* What a client can see of an answer, times and serial numbers aside. */
struct seen {
    uint8_t status, reason, flags;
    uint32_t scored, expanded, n;
    uint32_t generation;
    struct lens_detection detections[16];
};

static struct seen ask(struct ring_client *c, uint64_t sequence, const float *row)
{
    struct seen seen;
    memset(&seen, 0, sizeof seen);
    assert_int_equal(submit_rows(c, sequence, row, 1, 0), 0);
    struct lens_result r = next_result(c);
    seen.status = r.header->status;
    seen.reason = r.header->reason;
    seen.flags = r.header->flags;
    seen.scored = r.header->counts.scored;
    seen.expanded = r.header->counts.expanded;
    seen.generation = r.header->pack_generation;
    seen.n = r.header->detections;
    assert_true(seen.n <= 16);
    memcpy(seen.detections, r.detections, seen.n * sizeof *r.detections);
    lens_ring_client_release(&c->ring);
    return seen;
}

static void assert_same(const struct seen *a, const struct seen *b)
{
    assert_int_equal(a->status, b->status);
    assert_int_equal(a->flags, b->flags);
    assert_int_equal(a->scored, b->scored);
    assert_int_equal(a->expanded, b->expanded);
    assert_int_equal(a->n, b->n);
    assert_memory_equal(a->detections, b->detections, a->n * sizeof *a->detections);
}

static void assert_failed(const struct seen *seen)
{
    assert_int_equal(seen->status, LENS_ROW_PARTIAL);
    assert_int_equal(seen->reason, LENS_REASON_ENGINE_FAILURE);
    assert_int_equal(seen->flags, LENS_ROW_DEGRADED);
    assert_int_equal(seen->n, 0);
}

/* Expands and retains a lot, so that what a row leaves behind shows in the next one. */
static struct lens_cascade_options rich_options(void)
{
    struct lens_cascade_options options;
    lens_options_default(&options);
    options.base_layers = 1;
    options.load_threshold = 0.2f;
    options.top_k = 16;
    return options;
}

/* A world whose pool is full, with one client of rich_options. */
static struct engine_world *full_world(const char *script, bool degrade, struct ring_client *c)
{
    struct world_options options = {.spin_us = 50, .fault_script = script, .degrade = degrade};
    struct engine_world *w = open_world_with(&options);
    struct lens_cascade_options cascade = rich_options();
    assert_int_equal(lensd_pool_preload(w->served.pool, NULL, NULL, NULL), 0); /* one run a row from now on */
    open_client_with(w, &cascade, 1, c);
    return w;
}

#define SLOW       "run 160-330 slow:20"
#define SLOW_FIRST 160u
#define SLOW_LAST  330u
#define ROWS       560u

static void slow_rows_are_answered_from_the_active_set_until_it_is_over(void **state)
{
    (void)state;
    struct ring_client c, plain;
    struct engine_world *w = full_world(SLOW, true, &c), *reference = full_world(NULL, false, &plain);
    uint32_t degraded = 0, first = 0, last = 0, probes = 0;
    float row[DIM];
    for (uint32_t i = 1; i <= ROWS; i++) {
        random_rows(row, DIM, &seed);
        struct seen seen = ask(&c, 7, row);
        if ((seen.flags & LENS_ROW_DEGRADED) == 0) {
            /* R of the reference never saw the degraded rows: theirs must have left it alone, too. */
            struct seen right = ask(&plain, 7, row);
            assert_same(&seen, &right);
            probes += degraded > 0 && i < SLOW_LAST;
            continue;
        }
        assert_int_equal(seen.status, LENS_ROW_COMPLETE);
        assert_int_equal(seen.expanded, 0);
        assert_true(seen.scored >= c.session->binding.n_base);
        assert_true(seen.n > 0);
        first = degraded++ == 0 ? i : first;
        last = i;
    }
    print_message("%u rows degraded, from row %u to %u; %u probes meanwhile\n", degraded, first, last, probes);
    assert_true(first > SLOW_FIRST && first < SLOW_LAST);
    assert_true(probes > 0);
    assert_true(last >= SLOW_LAST && last < ROWS - 20);
    assert_int_equal(w->changed, 2);
    assert_int_equal(__atomic_load_n(&c.session->statistics->degraded_rows, __ATOMIC_RELAXED), degraded);
    close_ring_client(reference, &plain);
    close_world(reference);
    close_ring_client(w, &c);
    close_world(w);
}

static void without_degrade_slow_rows_are_answered_in_full(void **state)
{
    (void)state;
    struct ring_client c, plain;
    struct engine_world *w = full_world(SLOW, false, &c), *reference = full_world(NULL, false, &plain);
    float row[DIM];
    for (uint32_t i = 1; i <= SLOW_LAST; i++) {
        random_rows(row, DIM, &seed);
        struct seen seen = ask(&c, 7, row), right = ask(&plain, 7, row);
        assert_same(&seen, &right);
        assert_int_equal(seen.flags, 0);
    }
    assert_int_equal(w->changed, 0);
    close_ring_client(reference, &plain);
    close_world(reference);
    close_ring_client(w, &c);
    close_world(w);
}

static void turning_degrade_off_closes_the_breaker(void **state)
{
    (void)state;
    struct ring_client c;
    struct engine_world *w = full_world("run 150-100000 slow:20", true, &c);
    float row[DIM];
    one_row(row, 3);
    struct seen seen = {0};
    for (uint32_t i = 0; i < 1000 && seen.flags == 0; i++)
        seen = ask(&c, 1, row);
    assert_int_equal(seen.flags, LENS_ROW_DEGRADED);
    assert_non_null(lensd_batch_open_breaker(w->served.batch));
    lensd_engine_set_degrade(w->engine, false);
    for (uint32_t i = 0; i < 2 * LENSD_BREAKER_PROBE_EACH; i++)
        assert_int_equal(ask(&c, 1, row).flags, 0);
    assert_null(lensd_batch_open_breaker(w->served.batch));
    close_ring_client(w, &c);
    close_world(w);
}

static void prewarming_goes_deep_while_the_breaker_is_open(void **state)
{
    (void)state;
    struct ring_client c;
    struct engine_world *w = full_world("run 150-100000 slow:20", true, &c);
    float row[DIM];
    one_row(row, 3);
    struct lens_result_header header = {0};
    for (uint32_t i = 0; i < 1000 && header.flags == 0; i++)
        header = ask_row(&c, row, 0);
    assert_int_equal(header.flags, LENS_ROW_DEGRADED);
    for (uint32_t i = 0; i < LENSD_BREAKER_PROBE_EACH - 1; i++) {
        header = ask_row(&c, row, LENS_SUBMIT_PREWARM);
        assert_int_equal(header.flags, 0);
        assert_true(header.counts.expanded > 0);
    }
    close_ring_client(w, &c);
    close_world(w);
}

/* ---- lost devices ----------------------------------------------------------------------------------------------- */

static void until_changed(const struct engine_world *w)
{
    uint64_t give_up = lensd_now_ns() + 10000 * MS;
    while (w->changed == 0) {
        assert_true(lensd_now_ns() < give_up);
        sched_yield();
    }
}

/* A pool of `slots` slots on a CPU backend of its own. */
static struct lensd_pool *cpu_pool(const struct engine_world *w, uint32_t slots, struct lens_backend **cpu)
{
    struct lens_error err = {0};
    struct lensd_pool *pool = NULL;
    struct lensd_pool_config config = {.slots = slots, .max_batch_rows = 128};
    assert_int_equal(lens_cpu_open(&(struct lens_cpu_options){.threads = 1, .variant = "auto"}, cpu, &err), 0);
    if (lensd_pool_create(*cpu, w->served.pack, &config, &pool, &err) != 0)
        fail_msg("%s", err.text);
    return pool;
}

static void a_lost_device_is_left_for_another_and_sequences_go_on(void **state)
{
    (void)state;
    struct ring_client c, plain;
    struct engine_world *w = full_world("run 11 enodev", false, &c), *reference = full_world(NULL, false, &plain);
    struct lens_backend *cpu;
    struct lens_error err = {0};
    struct lensd_pool *old = NULL;
    float row[DIM];
    for (uint32_t i = 1; i <= 20; i++) {
        random_rows(row, DIM, &seed);
        struct seen seen = ask(&c, 7, row);
        if (i > 10) {
            assert_failed(&seen);
            continue;
        }
        struct seen right = ask(&plain, 7, row);
        assert_same(&seen, &right);
    }
    until_changed(w);
    assert_int_equal(w->changed, 1);
    assert_int_equal(w->failed, 1); /* told of once, not with every row */
    assert_true(lensd_served_pack_is_lost(&w->served));
    lensd_engine_loss(w->engine, &err);
    assert_int_equal(err.code, -ENODEV);
    struct lensd_pool *pool = cpu_pool(w, 0, &cpu);
    assert_int_equal(lensd_engine_exchange(w->engine, &w->served, pool, &old, &err), 0);
    assert_false(lensd_served_pack_is_lost(&w->served));
    lensd_pool_destroy(old);
    for (uint32_t i = 0; i < 20; i++) { /* the failed rows left R alone, and so did the exchange */
        random_rows(row, DIM, &seed);
        struct seen seen = ask(&c, 7, row), right = ask(&plain, 7, row);
        assert_same(&seen, &right);
        assert_int_equal(seen.generation, right.generation);
    }
    close_ring_client(reference, &plain);
    close_world(reference);
    close_ring_client(w, &c);
    close_world(w);
    cpu->ops->close(cpu);
}

static void a_write_into_slots_finds_the_device_lost(void **state)
{
    (void)state;
    struct engine_world *w = open_world(0, 50, "slot_write 1 enodev");
    struct lens_cascade_options options = rich_options();
    struct ring_client c;
    float row[DIM];
    one_row(row, 5);
    open_client_with(w, &options, 1, &c);
    struct seen seen = ask(&c, 1, row);
    assert_failed(&seen);
    until_changed(w);
    assert_true(lensd_served_pack_is_lost(&w->served));
    close_ring_client(w, &c);
    close_world(w);
}

/* Somebody else found out; a row waits for a lens that takes two seconds. */
static void rows_that_wait_are_answered_when_the_device_is_lost(void **state)
{
    (void)state;
    struct engine_world *w = open_world(0, 0, "slot_write * slow:2000");
    struct lens_cascade_options deadline = rich_options();
    struct ring_client c;
    float row[DIM];
    one_row(row, 5);
    deadline.miss = LENS_MISS_DEADLINE; /* the engine doesn't read such lenses itself */
    open_client_with(w, &deadline, 1, &c);
    uint64_t begin = lensd_now_ns();
    assert_int_equal(submit_rows_until(&c, 1, row, 1, 0, begin + 100000 * MS), 0);
    wait_until_something_loads(w->served.pool);
    lensd_engine_lose(w->engine, &w->served);
    struct lens_result_header header = take_header(&c);
    assert_int_equal(header.reason, LENS_REASON_ENGINE_FAILURE);
    assert_int_equal(header.flags, LENS_ROW_DEGRADED);
    assert_true(lensd_now_ns() - begin < 1900 * MS);
    assert_int_equal(ask_row(&c, row, 0).flags, LENS_ROW_DEGRADED);
    close_ring_client(w, &c);
    close_world(w);
}

static void a_pool_too_small_for_the_pins_is_not_taken(void **state)
{
    (void)state;
    struct ring_client c;
    struct engine_world *w = full_world("run 2 enodev", false, &c);
    struct lens_backend *cpu;
    struct lens_error err = {0};
    struct lensd_pool *old = NULL, *pool = cpu_pool(w, 2, &cpu);
    struct seen seen;
    float row[DIM];
    one_row(row, 5);
    (void)ask(&c, 1, row);
    seen = ask(&c, 1, row);
    assert_failed(&seen);
    assert_true(c.session->binding.n_base >= 2);
    assert_int_equal(lensd_engine_exchange(w->engine, &w->served, pool, &old, &err), -ENOSPC);
    assert_non_null(strstr(err.text, "pool.slots"));
    lensd_pool_destroy(pool);
    cpu->ops->close(cpu);
    seen = ask(&c, 1, row);
    assert_failed(&seen);
    close_ring_client(w, &c);
    close_world(w);
}

static void passing_faults_cost_the_rows_they_meet_and_no_others(void **state)
{
    (void)state;
    struct ring_client c, plain;
    struct engine_world *w = full_world("run 3 eio\nrun 5-6 enomem\nscore 9 eio", false, &c);
    struct engine_world *reference = full_world(NULL, false, &plain);
    uint32_t failed = 0;
    float row[DIM];
    for (uint32_t i = 1; i <= 20; i++) {
        random_rows(row, DIM, &seed);
        struct seen seen = ask(&c, 7, row);
        if (seen.flags != 0) {
            assert_failed(&seen);
            failed++;
            continue;
        }
        struct seen right = ask(&plain, 7, row);
        assert_same(&seen, &right);
    }
    assert_int_equal(failed, 4);
    assert_int_equal(w->failed, 4);
    assert_int_equal(w->changed, 0);
    assert_false(lensd_served_pack_is_lost(&w->served));
    close_ring_client(reference, &plain);
    close_world(reference);
    close_ring_client(w, &c);
    close_world(w);
}

int main(void)
{
    const char *given = getenv("LENSD_TEST_SEED");
    seed = given != NULL ? (unsigned)strtoul(given, NULL, 10) : (unsigned)lensd_now_ns();
    print_message("LENSD_TEST_SEED=%u\n", seed);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_that_stay_slow_open_the_breaker),
        cmocka_unit_test(what_is_not_slow_for_long_leaves_it_closed),
        cmocka_unit_test(submissions_are_compared_with_those_of_their_size),
        cmocka_unit_test(an_open_breaker_closes_when_probes_are_quick_again),
        cmocka_unit_test(a_size_nobody_knows_does_not_keep_it_open),
        cmocka_unit_test(a_reset_forgets_everything),
        cmocka_unit_test(noise_and_drift_are_followed),
        cmocka_unit_test(slow_rows_are_answered_from_the_active_set_until_it_is_over),
        cmocka_unit_test(without_degrade_slow_rows_are_answered_in_full),
        cmocka_unit_test(turning_degrade_off_closes_the_breaker),
        cmocka_unit_test(prewarming_goes_deep_while_the_breaker_is_open),
        cmocka_unit_test(a_lost_device_is_left_for_another_and_sequences_go_on),
        cmocka_unit_test(a_write_into_slots_finds_the_device_lost),
        cmocka_unit_test(rows_that_wait_are_answered_when_the_device_is_lost),
        cmocka_unit_test(a_pool_too_small_for_the_pins_is_not_taken),
        cmocka_unit_test(passing_faults_cost_the_rows_they_meet_and_no_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
