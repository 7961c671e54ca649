/* Rows that miss lenses, through the engine and its rings: who is answered without waiting and with what, waves when
 * slots are few, and that nobody waits for ever. Loads are made slow by the fault backend; what is checked is the order
 * of answers, never how long they took. */
#include "daemon/batch.h"
#include "daemon/pool_private.h"
#include "daemon/sys.h"
#include "tests/unit/support/script.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { DIM = 40, LAYER_0 = 4, LAYER_1 = 15 }; /* of hatcat-small: lenses 1..4; 0 and 7..20 */

/* ---- waves ------------------------------------------------------------------------------------------------------ */

/* Two sequences of one session, and another session, each want many times the free slots, at the same time. */
static void make_wave_scripts(struct script *scripts, const struct lens_pack *pack, unsigned *seed)
{
    for (int i = 0; i < 2; i++) {
        script_make_hasty(&scripts[i], pack, LENS_MISS_WAIT, seed);
        scripts[i].options = deep_options();
        scripts[i].options.report = LENS_REPORT_ALL;
        scripts[i].options.top_k = LENS_MAX_TOP_K;
        scripts[i].options.keep_top_k = i == 0 ? -1 : 30;
        for (uint32_t k = 0; k < scripts[i].n; k++)
            scripts[i].submissions[k].flags = 0; /* what a row retained adds to what the next wants */
    }
}

static uint64_t play_in(uint32_t slots, const struct script *scripts, struct play *plays)
{
    struct world_options options = {.pool.slots = slots, .spin_us = 50};
    struct engine_world *w = open_world_with(&options);
    unsigned seed = 1;
    for (uint32_t i = 0; i < 2; i++) {
        play_open(&plays[i], w, &scripts[i], LENS_MISS_WAIT, i + 1);
        attach_client(w, &plays[i].client);
    }
    play_all(plays, 2, 16, 0, &seed);
    for (uint32_t i = 0; i < 2; i++)
        close_ring_client(w, &plays[i].client);
    struct lensd_pool_counters counters;
    lensd_pool_get_counters(w->served.pool, &counters);
    close_world(w);
    return counters.evictions;
}

static void a_step_that_needs_more_lenses_than_slots_runs_in_waves_with_the_same_answers(void **state)
{
    (void)state;
    static struct play whole[2], tight[2];
    static const uint32_t slots[] = {LAYER_0 + 1, LAYER_0 + 2, LAYER_0 + 9, 40};
    struct script scripts[2];
    unsigned seed = (unsigned)time(NULL);
    print_message("# seed %u\n", seed);
    struct engine_world *w = open_world(0, 50, NULL);
    make_wave_scripts(scripts, w->served.pack, &seed);
    close_world(w);
    assert_int_equal(play_in(0, scripts, whole), 0);
    for (size_t s = 0; s < sizeof slots / sizeof slots[0]; s++) {
        assert_true(play_in(slots[s], scripts, tight) > 0);
        for (uint32_t i = 0; i < 2; i++)
            for (uint32_t row = 0; row < scripts[i].n_rows; row++)
                assert_true(tight[i].answers[row].digest == whole[i].answers[row].digest);
    }
    assert_true(whole[0].answers[0].scored > 40);
    script_free(&scripts[0]);
    script_free(&scripts[1]);
}

/* ---- nobody waits for ever -------------------------------------------------------------------------------------- */

/* Keeps n clients' sequences busy until `waiting` is answered; returns how many rows they got meanwhile. */
static uint32_t rows_before(struct ring_client *waiting, struct ring_client *busy, uint32_t n, uint32_t sequences,
                            const float *row, uint32_t limit)
{
    uint32_t next[4] = {0}, answered = 0;
    struct lens_result r;
    while (!has_result(waiting) && answered < limit) {
        for (uint32_t i = 0; i < n; i++) {
            while (lens_ring_client_peek(&busy[i].ring, &r)) {
                assert_int_equal(r.header->status, LENS_ROW_COMPLETE);
                lens_ring_client_release(&busy[i].ring);
                answered++;
            }
            while (submit_rows(&busy[i], next[i] % sequences, row, 1, LENS_SUBMIT_RESET) == 0)
                next[i]++;
        }
    }
    return answered;
}

/* With one free slot, rows whose lenses come first in the pack's order don't keep it from one whose come last. */
static void a_row_gets_its_lenses_though_others_keep_missing_earlier_ones(void **state)
{
    (void)state;
    struct engine_world *w = open_world(LAYER_0 + 1, 50, "run * slow:1"); /* clients are faster */
    struct ring_client late, early[3];
    float row[DIM];
    one_row(row, 3);
    struct lens_cascade_options options = deep_options();
    open_client_with(w, &options, 1, &late);
    options.max_depth = 1; /* the others turn around among the children of layer 0 */
    for (uint32_t i = 0; i < 3; i++) {
        options.max_scored = 3 + 4 * i;
        open_client_with(w, &options, 2 + i, &early[i]);
    }
    (void)rows_before(&late, early, 3, 3, row, 50);
    assert_int_equal(submit_rows(&late, 1, row, 1, 0), 0);
    uint32_t others = rows_before(&late, early, 3, 3, row, 3000);
    print_message("# %u rows of others before it\n", others);
    assert_true(others < 3000);
    assert_int_equal(take_header(&late).status, LENS_ROW_COMPLETE);
    for (uint32_t i = 0; i < 3; i++)
        close_ring_client(w, &early[i]);
    close_ring_client(w, &late);
    close_world(w);
}

/* Another pack that keeps the engine's thread busy doesn't keep a pack's lenses from being read. */
static void a_row_gets_its_lenses_though_another_pack_is_busy(void **state)
{
    (void)state;
    struct world_options options = {.spin_us = 50, .fault_script = "run * slow:1"}; /* clients are faster */
    struct engine_world *w = open_world_with(&options);
    struct lensd_served_pack other;
    struct ring_client busy, cold;
    float row[DIM];
    one_row(row, 4);
    assert_int_equal(lensd_pool_preload(w->served.pool, NULL, NULL, NULL), 0);
    open_served(w, &options, &other);
    struct lens_cascade_options waits = flat_options(3, LENS_MISS_WAIT);
    open_client_with(w, &waits, 1, &busy);
    waits.base_layers = 1; /* one read: nobody is woken for it, the engine's thread would do it when idle */
    struct lensd_session_request request = session_request_of(&waits, 4);
    struct engine_world beside = {.served = other}; /* to make a session of the other pack */
    make_ring_client(&beside, &request, &cold);
    cold.session->binding.served = &other;
    attach_client(w, &cold);
    (void)rows_before(&cold, &busy, 1, 16, row, 500);
    assert_int_equal(submit_rows(&cold, 1, row, 1, 0), 0);
    uint32_t others = rows_before(&cold, &busy, 1, 16, row, 2000);
    print_message("# %u rows of the other pack before it\n", others);
    assert_true(others < 2000);
    assert_int_equal(take_header(&cold).status, LENS_ROW_COMPLETE);
    close_ring_client(w, &cold);
    close_ring_client(w, &busy);
    lensd_engine_forget_pack(w->engine, &other);
    close_served(&other, true);
    close_world(w);
}

/* ---- who doesn't wait ------------------------------------------------------------------------------------------- */

/* A world where a deep row takes dozens of slow loads, one after the other, and a second session's base is layer 1. */
struct beside {
    struct engine_world *w;
    struct ring_client slow, other;
    float row[DIM];
};

static void open_beside(struct beside *b, enum lens_miss miss)
{
    struct world_options world = {.pool.slots = LAYER_0 + LAYER_1 + 1, .fault_script = "slot_write * slow:10"};
    b->w = open_world_with(&world);
    one_row(b->row, 5);
    struct lens_cascade_options waits = deep_options(), other = flat_options(2, miss);
    open_client_with(b->w, &waits, 1, &b->slow);
    open_client_with(b->w, &other, 2, &b->other);
}

static void close_beside(struct beside *b)
{
    close_ring_client(b->w, &b->slow);
    close_ring_client(b->w, &b->other);
    close_world(b->w);
}

static void expect_without(const struct lens_result_header *header, uint32_t wanted)
{
    assert_int_equal(header->status, LENS_ROW_PARTIAL);
    assert_int_equal(header->flags, 0);
    assert_int_equal(header->reason, 0);
    assert_true(header->counts.missing > 0);
    assert_int_equal(header->counts.scored + header->counts.missing, wanted);
}

static void a_row_that_skips_is_answered_beside_one_that_waits_and_what_it_lacked_is_loaded_behind(void **state)
{
    (void)state;
    struct beside b;
    open_beside(&b, LENS_MISS_SKIP);
    assert_int_equal(submit_rows(&b.slow, 1, b.row, 1, 0), 0);
    struct lens_result_header header = ask_row(&b.other, b.row, 0);
    assert_false(has_result(&b.slow));
    expect_without(&header, LAYER_1); /* Echo:1, which the deep row doesn't want, is missing for certain */
    header = take_header(&b.slow);
    assert_int_equal(header.status, LENS_ROW_COMPLETE);
    assert_int_equal(header.counts.missing, 0);
    wait_until_nothing_loads(b.w->served.pool);
    header = ask_row(&b.other, b.row, 0);
    assert_int_equal(header.status, LENS_ROW_COMPLETE);
    assert_int_equal(header.counts.scored, LAYER_1);
    assert_int_equal(header.counts.slot_hits, LAYER_1);
    struct lensd_pool_counters counters;
    lensd_pool_get_counters(b.w->served.pool, &counters);
    assert_true(counters.loads_behind > 0);
    close_beside(&b);
}

static void a_passed_deadline_is_answered_beside_a_row_that_waits(void **state)
{
    (void)state;
    struct beside b;
    open_beside(&b, LENS_MISS_DEADLINE);
    assert_int_equal(submit_rows(&b.slow, 1, b.row, 1, 0), 0);
    assert_int_equal(submit_rows_until(&b.other, 1, b.row, 1, 0, 1), 0);
    struct lens_result_header header = take_header(&b.other);
    assert_false(has_result(&b.slow));
    expect_without(&header, LAYER_1);
    assert_int_equal(take_header(&b.slow).status, LENS_ROW_COMPLETE);
    assert_int_equal(ask_row(&b.other, b.row, 0).status, LENS_ROW_COMPLETE); /* no deadline: it waits */
    close_beside(&b);
}

/* Layer 2 is four reads of 150 ms for at most two readers: the deadline comes while two of them are to come. */
static void a_deadline_that_comes_while_loading_ends_the_wait_of_its_row_alone(void **state)
{
    (void)state;
    struct engine_world *w = open_world(0, 50, "slot_write * slow:150");
    struct ring_client waits, hurries;
    struct lens_cascade_options patient = flat_options(4, LENS_MISS_WAIT), hasty = flat_options(4, LENS_MISS_DEADLINE);
    float row[DIM];
    one_row(row, 6);
    open_client_with(w, &patient, 1, &waits);
    open_client_with(w, &hasty, 2, &hurries);
    uint32_t layer_2 = waits.session->binding.n_base;
    assert_int_equal(submit_rows(&waits, 1, row, 1, 0), 0);
    assert_int_equal(submit_rows_until(&hurries, 1, row, 1, 0, lensd_now_ns() + 50000000), 0);
    struct lens_result_header header = take_header(&hurries);
    assert_false(has_result(&waits));
    expect_without(&header, layer_2);
    header = take_header(&waits);
    assert_int_equal(header.status, LENS_ROW_COMPLETE);
    assert_int_equal(header.counts.scored, layer_2);
    close_ring_client(w, &waits);
    close_ring_client(w, &hurries);
    close_world(w);
}

static void rows_that_prewarm_wait_and_leave_all_in_place_for_those_that_skip(void **state)
{
    (void)state;
    for (int m = 0; m < 2; m++) {
        struct engine_world *w = open_world(0, 50, "slot_write * slow:3");
        struct ring_client c;
        struct lens_cascade_options options = deep_options();
        float row[DIM];
        one_row(row, 7);
        options.miss = m == 0 ? LENS_MISS_SKIP : LENS_MISS_DEADLINE;
        open_client_with(w, &options, 1, &c);
        assert_int_equal(submit_rows_until(&c, 1, row, 1, LENS_SUBMIT_PREWARM, 1), 0);
        struct lens_result_header warm = take_header(&c);
        assert_int_equal(warm.status, LENS_ROW_COMPLETE);
        assert_int_equal(warm.counts.missing, 0);
        assert_int_equal(warm.counts.cold, warm.counts.scored);
        assert_int_equal(submit_rows_until(&c, 1, row, 1, LENS_SUBMIT_RESET, 1), 0);
        struct lens_result_header next = take_header(&c);
        assert_int_equal(next.status, LENS_ROW_COMPLETE);
        assert_int_equal(next.counts.scored, warm.counts.scored);
        assert_int_equal(next.counts.slot_hits, warm.counts.scored);
        close_ring_client(w, &c);
        close_world(w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_step_that_needs_more_lenses_than_slots_runs_in_waves_with_the_same_answers),
        cmocka_unit_test(a_row_gets_its_lenses_though_others_keep_missing_earlier_ones),
        cmocka_unit_test(a_row_gets_its_lenses_though_another_pack_is_busy),
        cmocka_unit_test(a_row_that_skips_is_answered_beside_one_that_waits_and_what_it_lacked_is_loaded_behind),
        cmocka_unit_test(a_passed_deadline_is_answered_beside_a_row_that_waits),
        cmocka_unit_test(a_deadline_that_comes_while_loading_ends_the_wait_of_its_row_alone),
        cmocka_unit_test(rows_that_prewarm_wait_and_leave_all_in_place_for_those_that_skip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
