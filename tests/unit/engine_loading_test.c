/* The engine while lenses are being loaded: loads and runs that fail, calls that must wait for rows that wait,
 * stopping, filling. What fails fails exactly those who need it, says why, and is over with the next row. */
#include "daemon/batch.h"
#include "daemon/pool_private.h"
#include "daemon/sys.h"
#include "tests/unit/support/script.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { DIM = 40, LAYER_0 = 4, LAYER_1 = 15 }; /* of hatcat-small: lenses 1..4; 0 and 7..20 */

/* ---- failures --------------------------------------------------------------------------------------------------- */

static void expect_failed(const struct lens_result_header *header)
{
    assert_int_equal(header->status, LENS_ROW_PARTIAL);
    assert_int_equal(header->flags, LENS_ROW_DEGRADED);
    assert_int_equal(header->reason, LENS_REASON_ENGINE_FAILURE);
    assert_int_equal(header->counts.scored, 0);
    assert_int_equal(header->detections, 0);
    assert_int_equal(header->expanded_stored, 0);
}

/* One of the loads that two sessions wait for fails: the one whose it was is told, the other isn't touched. */
static void a_failed_load_fails_exactly_the_rows_that_wait_for_it_and_says_why(void **state)
{
    (void)state;
    static const char *const faults[] = {"slot_write 1 eio", "slot_write 2 late"};
    for (size_t i = 0; i < 2; i++) {
        struct engine_world *w = open_world(0, 50, faults[i]);
        struct ring_client c[2];
        struct lens_cascade_options options[2] = {flat_options(1, LENS_MISS_WAIT), flat_options(8, LENS_MISS_WAIT)};
        float row[DIM];
        int failed = 0;
        one_row(row, 8);
        for (uint32_t k = 0; k < 2; k++)
            open_client_with(w, &options[k], k + 1, &c[k]);
        for (uint32_t k = 0; k < 2; k++)
            assert_int_equal(submit_rows(&c[k], 1, row, 1, 0), 0);
        for (uint32_t k = 0; k < 2; k++) {
            struct lens_result_header header = take_header(&c[k]);
            if (header.reason != 0)
                expect_failed(&header);
            else
                assert_int_equal(header.status, LENS_ROW_COMPLETE);
            failed += header.reason != 0;
        }
        assert_int_equal(failed, 1);
        for (uint32_t k = 0; k < 2; k++) {
            struct lens_result_header header = ask_row(&c[k], row, 0);
            assert_int_equal(header.status, LENS_ROW_COMPLETE);
            assert_int_equal(header.flags, 0);
            assert_int_equal(header.counts.scored, c[k].session->binding.n_base);
            close_ring_client(w, &c[k]);
        }
        struct lens_error why = {0};
        assert_int_equal(lensd_engine_failure(w->engine, &why), 1);
        assert_int_equal(w->failed, 1);
        assert_int_equal(why.code, -EIO);
        assert_non_null(strstr(why.text, i == 0 ? "injected fault" : "into slots failed"));
        close_world(w);
    }
}

/* Nobody waits for what a skip row went without: that it can't be loaded is said all the same. */
static void failed_loads_are_told_of_though_nobody_waits(void **state)
{
    (void)state;
    struct engine_world *w = open_world(0, 50, "slot_write * eio");
    struct ring_client c;
    struct lens_cascade_options options = flat_options(1, LENS_MISS_SKIP);
    struct lens_error why = {0};
    float row[DIM];
    one_row(row, 8);
    open_client_with(w, &options, 1, &c);
    assert_int_equal(ask_row(&c, row, 0).status, LENS_ROW_PARTIAL);
    wait_until_nothing_loads(w->served.pool);
    assert_int_equal(ask_row(&c, row, 0).status, LENS_ROW_PARTIAL);
    assert_true(lensd_engine_failure(w->engine, &why) > 0);
    assert_int_equal(why.code, -EIO);
    assert_true(w->failed > 0);
    close_ring_client(w, &c);
    close_world(w);
}

/* The backend has forgotten the rows of a run that failed: the next row's counts are its own. */
static void a_failed_run_leaves_nothing_behind(void **state)
{
    (void)state;
    struct engine_world *w = open_world(0, 50, "slot_write * slow:5\nrun 2 eio");
    struct ring_client c;
    struct lens_cascade_options options = flat_options(1, LENS_MISS_WAIT);
    float row[DIM];
    one_row(row, 8);
    open_client_with(w, &options, 1, &c);
    struct lens_result_header failed = ask_row(&c, row, 0);
    expect_failed(&failed);
    for (int i = 0; i < 200; i++) { /* more than there are row places: none was lost */
        struct lens_result_header header = ask_row(&c, row, 0);
        assert_int_equal(header.status, LENS_ROW_COMPLETE);
        assert_int_equal(header.counts.scored, LAYER_0);
    }
    close_ring_client(w, &c);
    close_world(w);
}

/* A run that fails takes all rows in flight with it, also those that wait; loads under way stay good. */
static void a_failed_run_fails_the_rows_in_flight_and_later_ones_are_whole(void **state)
{
    (void)state;
    struct engine_world *w = open_world(LAYER_0 + LAYER_1 + 1, 50, "slot_write * slow:2\nrun 9 eio");
    struct ring_client waits, other;
    struct lens_cascade_options options = deep_options(), layer_1 = flat_options(2, LENS_MISS_WAIT);
    float row[DIM];
    one_row(row, 9);
    open_client_with(w, &options, 1, &waits);
    open_client_with(w, &layer_1, 2, &other);
    assert_int_equal(submit_rows(&waits, 1, row, 1, 0), 0); /* dozens of runs */
    assert_int_equal(ask_row(&other, row, 0).counts.missing, 0);
    struct lens_result_header header = take_header(&waits);
    expect_failed(&header);
    header = ask_row(&waits, row, 0);
    assert_int_equal(header.status, LENS_ROW_COMPLETE);
    assert_int_equal(header.flags, 0);
    assert_true(header.counts.scored > 40);
    assert_int_equal(ask_row(&other, row, 0).status, LENS_ROW_COMPLETE);
    struct lens_error why = {0};
    assert_int_equal(lensd_engine_failure(w->engine, &why), 1);
    assert_int_equal(why.code, -EIO);
    close_ring_client(w, &waits);
    close_ring_client(w, &other);
    close_world(w);
}

/* The second of three submissions fails: the third is answered as if there had been no second (DESIGN 4.6). */
static void a_failed_submission_leaves_what_its_sequence_retained(void **state)
{
    (void)state;
    struct lens_result_header last[2];
    for (int failing = 0; failing < 2; failing++) {
        struct engine_world *w = open_world(0, 50, failing ? "run 2 eio" : NULL);
        struct ring_client c;
        struct lens_cascade_options options = deep_options();
        float rows[3 * DIM];
        unsigned seed = 11;
        random_rows(rows, 3 * DIM, &seed);
        options.max_depth = 1; /* what was retained is scored beside the children of layer 0 */
        options.load_threshold = 0.5f;
        options.unload_threshold = 0.0f;
        options.keep_top_k = -1;
        assert_int_equal(lensd_pool_preload(w->served.pool, NULL, NULL, NULL), 0);
        open_client_with(w, &options, 1, &c);
        struct lens_result_header first = ask_row(&c, rows, 0);
        assert_true(first.counts.scored > LAYER_0);
        if (failing) {
            struct lens_result_header header = ask_row(&c, rows + DIM, 0);
            expect_failed(&header);
        }
        last[failing] = ask_row(&c, rows + 2 * DIM, 0);
        assert_true(ask_row(&c, rows + 2 * DIM, LENS_SUBMIT_RESET).counts.scored < last[failing].counts.scored);
        close_ring_client(w, &c);
        close_world(w);
    }
    assert_int_equal(last[0].status, LENS_ROW_COMPLETE);
    assert_int_equal(last[1].status, LENS_ROW_COMPLETE);
    assert_int_equal(last[1].counts.scored, last[0].counts.scored);
    assert_int_equal(last[1].counts.expanded, last[0].counts.expanded);
}

/* ---- calls while loads are under way ---------------------------------------------------------------------------- */

/* A world where a row, just submitted, waits for many loads. */
static struct engine_world *open_loading(struct ring_client *c, const float *row)
{
    struct world_options world = {.pool.slots = LAYER_0 + 3, .fault_script = "slot_write * slow:4"};
    struct engine_world *w = open_world_with(&world);
    struct lens_cascade_options options = deep_options();
    open_client_with(w, &options, 1, c);
    assert_int_equal(submit_rows(c, 1, row, 1, 0), 0);
    wait_until_something_loads(w->served.pool);
    assert_false(has_result(c));
    return w;
}

static void expect_answered(struct ring_client *c, uint32_t generation, uint8_t flags)
{
    struct lens_result result;
    assert_true(lens_ring_client_peek(&c->ring, &result)); /* now, not soon */
    assert_int_equal(result.header->status, LENS_ROW_COMPLETE);
    assert_int_equal(result.header->flags, flags);
    assert_int_equal(result.header->pack_generation, generation);
    assert_true(result.header->counts.scored > 40);
    lens_ring_client_release(&c->ring);
}

static void detaching_and_ending_a_sequence_wait_for_rows_that_wait(void **state)
{
    (void)state;
    struct ring_client c;
    float row[DIM];
    one_row(row, 11);
    struct engine_world *w = open_loading(&c, row);
    lensd_engine_end_sequence(w->engine, c.session, 1);
    expect_answered(&c, 1, 0);
    assert_int_equal(submit_rows(&c, 1, row, 1, 0), 0);
    wait_until_something_loads(w->served.pool);
    lensd_engine_detach(w->engine, c.session);
    expect_answered(&c, 1, 0);
    assert_int_equal(w->served.pool->pinned, 0);
    close_ring_client(w, &c);
    close_world(w);
}

struct detaching {
    struct engine_world *w;
    struct lensd_session *session;
    _Atomic bool done;
};

static void *detach(void *arg)
{
    struct detaching *d = arg;
    lensd_engine_detach(d->w->engine, d->session);
    atomic_store(&d->done, true);
    return NULL;
}

/* While a call waits for the rows of one session, another's rows are answered. */
static void a_call_that_waits_for_one_session_holds_up_no_other(void **state)
{
    (void)state;
    struct engine_world *w = open_world(0, 50, "slot_write * slow:60");
    struct ring_client waiting, other;
    struct lens_cascade_options layer_0 = flat_options(1, LENS_MISS_WAIT), deep = deep_options();
    float row[DIM];
    pthread_t thread;
    one_row(row, 13);
    open_client_with(w, &layer_0, 1, &other);
    open_client_with(w, &deep, 2, &waiting); /* waits again at each level */
    (void)ask_row(&other, row, 0);           /* its lenses are there from now on */
    assert_int_equal(submit_rows(&waiting, 1, row, 1, 0), 0);
    wait_until_something_loads(w->served.pool);
    struct detaching d = {.w = w, .session = waiting.session};
    assert_int_equal(pthread_create(&thread, NULL, detach, &d), 0);
    while (!__atomic_load_n(&waiting.session->held, __ATOMIC_RELAXED) && !atomic_load(&d.done))
        sched_yield();
    assert_int_equal(ask_row(&other, row, 0).status, LENS_ROW_COMPLETE);
    assert_false(atomic_load(&d.done));
    pthread_join(thread, NULL);
    assert_int_equal(take_header(&waiting).status, LENS_ROW_COMPLETE);
    close_ring_client(w, &waiting);
    close_ring_client(w, &other);
    close_world(w);
}

static void a_swap_waits_for_rows_that_wait_and_the_next_row_is_the_new_packs(void **state)
{
    (void)state;
    struct ring_client c;
    struct lens_error err = {0};
    struct lensd_served_pack next;
    struct lensd_binding binding;
    struct world_options options = {.pool.slots = LAYER_0 + 3};
    float row[DIM];
    one_row(row, 12);
    struct engine_world *w = open_loading(&c, row);
    open_served(w, &options, &next);
    next.generation = 2;
    assert_int_equal(lensd_binding_create(c.session, &next, &binding, &err), 0);
    assert_int_equal(lensd_engine_swap(w->engine, &c.session, &binding, 1, &err), 0);
    expect_answered(&c, 1, 0);
    assert_int_equal(submit_rows(&c, 1, row, 1, 0), 0);
    (void)next_result(&c);
    expect_answered(&c, 2, LENS_ROW_STALE);
    lensd_engine_detach(w->engine, c.session);
    assert_int_equal(w->served.pool->pinned, 0);
    lensd_binding_destroy(&binding);
    close_ring_client(w, &c);
    lensd_engine_forget_pack(w->engine, &next);
    close_served(&next, true);
    close_world(w);
}

static void stopping_drains_rows_that_wait_but_no_longer_than_told(void **state)
{
    (void)state;
    for (int patient = 0; patient < 2; patient++) {
        struct ring_client c;
        float row[DIM];
        one_row(row, 13);
        struct engine_world *w = open_loading(&c, row);
        stop_world(w, patient ? 60000 : 0);
        if (patient)
            expect_answered(&c, 1, 0);
        else
            assert_false(has_result(&c));
        close_ring_client(w, &c);
        close_world(w);
    }
}

static void a_pack_without_sessions_is_filled_and_can_be_forgotten_meanwhile(void **state)
{
    (void)state;
    for (int early = 0; early < 2; early++) {
        struct world_options options = {.fault_script = "slot_write * slow:10"};
        struct engine_world *w = open_world_with(&options);
        struct lensd_served_pack other;
        struct lens_error err = {0};
        uint32_t lenses = 0;
        options.pool.slots = 30;
        open_served(w, &options, &other);
        assert_int_equal(lensd_engine_fill(w->engine, &other, &lenses, &err), 0);
        assert_int_equal(lenses, 30);
        if (!early) {
            wait_until_nothing_loads(other.pool);
            assert_int_equal(lensd_pool_resident(other.pool), 30);
        }
        lensd_engine_forget_pack(w->engine, &other);
        close_served(&other, true);
        close_world(w);
    }
}

/* Base and one pin fit, base and two don't: nothing of the refused session stays pinned, and the first goes on. */
static void a_session_whose_pins_dont_fit_is_refused_and_leaves_nothing_behind(void **state)
{
    (void)state;
    struct engine_world *w = open_world(LAYER_0 + 2, 50, NULL);
    struct ring_client fits, refused;
    struct lens_cascade_options options = flat_options(1, LENS_MISS_WAIT);
    struct lensd_session_request request = session_request_of(&options, 4);
    uint32_t pins[2] = {30, 40};
    struct lens_error err = {0};
    float row[DIM];
    one_row(row, 14);
    request.pinned = pins;
    request.n_pinned = 1;
    open_ring_client(w, &request, &fits);
    assert_int_equal(w->served.pool->pinned, LAYER_0 + 1);
    request.n_pinned = 2;
    make_ring_client(w, &request, &refused);
    assert_int_equal(lensd_engine_attach(w->engine, refused.session, &err), -ENOSPC);
    assert_non_null(strstr(err.text, "pool.slots"));
    assert_int_equal(w->served.pool->pinned, LAYER_0 + 1);
    assert_int_equal(ask_row(&fits, row, 0).counts.scored, LAYER_0 + 1);
    close_ring_client(w, &refused); /* was never attached: nothing to unpin */
    assert_int_equal(w->served.pool->pinned, LAYER_0 + 1);
    close_ring_client(w, &fits);
    assert_int_equal(w->served.pool->pinned, 0);
    close_world(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failed_load_fails_exactly_the_rows_that_wait_for_it_and_says_why),
        cmocka_unit_test(a_failed_run_fails_the_rows_in_flight_and_later_ones_are_whole),
        cmocka_unit_test(a_failed_submission_leaves_what_its_sequence_retained),
        cmocka_unit_test(detaching_and_ending_a_sequence_wait_for_rows_that_wait),
        cmocka_unit_test(a_swap_waits_for_rows_that_wait_and_the_next_row_is_the_new_packs),
        cmocka_unit_test(stopping_drains_rows_that_wait_but_no_longer_than_told),
        cmocka_unit_test(a_pack_without_sessions_is_filled_and_can_be_forgotten_meanwhile),
        cmocka_unit_test(a_session_whose_pins_dont_fit_is_refused_and_leaves_nothing_behind),
        cmocka_unit_test(failed_loads_are_told_of_though_nobody_waits),
        cmocka_unit_test(a_failed_run_leaves_nothing_behind),
        cmocka_unit_test(a_call_that_waits_for_one_session_holds_up_no_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
