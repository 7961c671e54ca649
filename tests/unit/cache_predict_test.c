/* The predictor: learns planted patterns, near parents by how often they rise, forgets, stays within its bounds, and
 * allocates nothing once it is there. */
#include "daemon/cache/predict.h"

#ifndef LENSD_SANITIZED
#include "tests/unit/support/counting_malloc.h"
#endif

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Lenses 0..3 are always there; 4 has the children 60..63, 5 the children 64..67. */
enum { LENSES = 80, ALWAYS = 4 };

static int32_t offsets[LENSES + 1];
static const int32_t children[8] = {60, 61, 62, 63, 64, 65, 66, 67};

struct world {
    struct lensd_predictor *predictor;
    float logits[LENSES];
    uint32_t scored[LENSES], n, out[LENSES], n_out;
};

static void open_world(struct world *w, uint32_t sequences)
{
    struct lensd_predictor_config config;
    struct lens_error err = {0};
    for (uint32_t i = 0; i <= LENSES; i++)
        offsets[i] = i <= 4 ? 0 : i == 5 ? 4 : 8;
    memset(w, 0, sizeof *w);
    lensd_predictor_default(&config);
    config.lenses = LENSES;
    config.child_offsets = offsets;
    config.child_ids = children;
    config.sequences = sequences;
    if (lensd_predictor_create(&config, &w->predictor, &err) < 0)
        fail_msg("%s", err.text);
}

static void begin_row(struct world *w)
{
    for (uint32_t i = 0; i < LENSES; i++)
        w->logits[i] = 99; /* what isn't scored means nothing */
    w->n = 0;
    for (uint32_t i = 0; i < ALWAYS; i++) {
        w->scored[w->n++] = i;
        w->logits[i] = -8;
    }
}

static void score(struct world *w, uint32_t lens, float logit)
{
    w->scored[w->n++] = lens;
    w->logits[lens] = logit;
}

static uint32_t end_row(struct world *w, uint64_t sequence)
{
    const struct lensd_predictor_row row = {sequence, w->scored, w->n, ALWAYS, w->logits, -0.85f};
    memset(w->out, 0xee, sizeof w->out);
    w->n_out = lensd_predictor_row(w->predictor, &row, w->out, LENSES);
    return w->n_out;
}

static bool suggests(const struct world *w, uint32_t lens)
{
    for (uint32_t i = 0; i < w->n_out; i++) {
        if (w->out[i] == lens)
            return true;
    }
    return false;
}

/* A row in which `fires` fires and `beside` is scored without firing; 0 = none. */
static uint32_t simple_row(struct world *w, uint64_t sequence, uint32_t fires, uint32_t beside)
{
    begin_row(w);
    if (fires != 0)
        score(w, fires, 3);
    if (beside != 0)
        score(w, beside, -6);
    return end_row(w, sequence);
}

static void a_planted_pattern_is_learnt_and_the_more_probable_comes_first(void **state)
{
    (void)state;
    struct world w;
    open_world(&w, 16);
    assert_int_equal(simple_row(&w, 1, 10, 0), 0); /* knows nothing yet */
    for (int times = 0; times < 40; times++) {     /* after 10 always comes 20, mostly 21 with it */
        simple_row(&w, 1, 10, 0);
        begin_row(&w);
        score(&w, 20, -6);
        if (times % 4 != 3)
            score(&w, 21, -6);
        end_row(&w, 1);
        for (int rest = 0; rest < 4; rest++)
            simple_row(&w, 1, 0, 0);
    }
    simple_row(&w, 1, 10, 0);
    assert_true(suggests(&w, 20));
    assert_true(suggests(&w, 21));
    assert_int_equal(w.out[0], 20);
    assert_false(suggests(&w, 10)); /* was just scored */
    assert_false(suggests(&w, 55));
    for (uint32_t i = 0; i < ALWAYS; i++)
        assert_false(suggests(&w, i));
    lensd_predictor_destroy(w.predictor);
}

static void what_comes_in_one_row_does_not_push_out_what_came_in_another(void **state)
{
    (void)state;
    struct world w;
    open_world(&w, 16);
    for (uint32_t times = 0; times < 40; times++) {
        simple_row(&w, 1, 10, 0);
        simple_row(&w, 1, 0, 20);
        simple_row(&w, 1, 0, 30 + times % 20);
        for (int rest = 0; rest < 3; rest++)
            simple_row(&w, 1, 0, 21);
        simple_row(&w, 1, 0, 0);
    }
    simple_row(&w, 1, 10, 0);
    assert_true(suggests(&w, 20));
    assert_true(suggests(&w, 21));
    lensd_predictor_destroy(w.predictor);
}

static void a_pattern_that_changes_is_learnt_anew(void **state)
{
    (void)state;
    struct world w;
    open_world(&w, 16);
    for (int times = 0; times < 400; times++) {
        simple_row(&w, 1, 10, 0);
        simple_row(&w, 1, 0, times < 100 ? 20 : 21);
        for (int rest = 0; rest < 4; rest++)
            simple_row(&w, 1, 0, 0);
    }
    simple_row(&w, 1, 10, 0);
    assert_true(suggests(&w, 21));
    assert_false(suggests(&w, 20));
    lensd_predictor_destroy(w.predictor);
}

static void what_other_sequences_do_in_between_is_not_mixed_in(void **state)
{
    (void)state;
    struct world w;
    open_world(&w, 16);
    for (int times = 0; times < 60; times++) {
        simple_row(&w, 1, 10, 0);
        simple_row(&w, 2, 11, 0);
        simple_row(&w, 1, 0, 20);
        simple_row(&w, 2, 0, 30);
        for (int rest = 0; rest < 4; rest++) {
            simple_row(&w, 1, 0, 0);
            simple_row(&w, 2, 0, 0);
        }
    }
    simple_row(&w, 2, 10, 0); /* known of a lens, whatever the sequence */
    assert_true(suggests(&w, 20));
    assert_false(suggests(&w, 30));
    lensd_predictor_destroy(w.predictor);
}

/* Lens 4 stands just below the threshold, then rises in `of_ten` of ten rows. */
static void near_rows(struct world *w, int rounds, int of_ten)
{
    for (int times = 0; times < rounds; times++) {
        begin_row(w);
        score(w, 4, -1.0f);
        end_row(w, 1);
        begin_row(w);
        score(w, 4, times % 10 < of_ten ? 2.0f : -6.0f);
        end_row(w, 1);
    }
    begin_row(w);
    score(w, 4, -1.0f);
    score(w, 5, -4.0f);
    end_row(w, 1);
}

static void children_of_near_parents_are_suggested_when_such_parents_rise(void **state)
{
    (void)state;
    struct world w;
    open_world(&w, 16);
    near_rows(&w, 100, 8);
    for (uint32_t child = 60; child < 64; child++)
        assert_true(suggests(&w, child));
    for (uint32_t child = 64; child < 68; child++)
        assert_false(suggests(&w, child)); /* 5 is far below */
    lensd_predictor_destroy(w.predictor);
    open_world(&w, 16);
    near_rows(&w, 100, 1);
    assert_int_equal(w.n_out, 0);
    lensd_predictor_destroy(w.predictor);
}

static void an_ended_sequence_leaves_nothing_to_the_next_of_its_name(void **state)
{
    (void)state;
    struct world w;
    open_world(&w, 16);
    for (int times = 0; times < 50; times++) {
        simple_row(&w, 1, 10, 0);
        lensd_predictor_forget(w.predictor, 1);
        simple_row(&w, 1, 0, 20); /* another sequence: 20 didn't follow 10 */
        lensd_predictor_forget(w.predictor, 1);
    }
    lensd_predictor_forget(w.predictor, 77); /* unknown */
    assert_int_equal(simple_row(&w, 1, 10, 0), 0);
    lensd_predictor_destroy(w.predictor);
}

static void the_longest_unseen_sequence_is_forgotten_first(void **state)
{
    (void)state;
    struct world w;
    open_world(&w, 3);
    for (int times = 0; times < 50; times++) {
        simple_row(&w, 1, 10, 0);
        simple_row(&w, 2, 11, 0);
        for (uint64_t other = 0; other < 2; other++) { /* 1 falls out, 2 doesn't */
            simple_row(&w, 1000 + (uint64_t)times * 2 + other, 0, 0);
            simple_row(&w, 2, 0, 30);
            simple_row(&w, 2, 0, 0);
        }
        simple_row(&w, 1, 0, 20);
        lensd_predictor_forget(w.predictor, 2);
    }
    simple_row(&w, 5, 10, 0);
    assert_false(suggests(&w, 20));
    simple_row(&w, 5, 11, 0);
    assert_true(suggests(&w, 30));
    lensd_predictor_destroy(w.predictor);
}

static void random_rows(struct world *w, unsigned *seed, int rows)
{
    for (int r = 0; r < rows; r++) {
        begin_row(w);
        for (uint32_t lens = ALWAYS; lens < LENSES; lens++) {
            if (rand_r(seed) % 3 == 0)
                score(w, lens, rand_r(seed) % 20 == 0 ? NAN : (float)(rand_r(seed) % 800) / 100 - 5);
        }
        uint64_t sequence = (uint64_t)rand_r(seed) % 40;
        bool seen[LENSES] = {false};
        end_row(w, sequence);
        assert_true(w->n_out <= LENSES);
        for (uint32_t i = 0; i < w->n; i++)
            seen[w->scored[i]] = !isnan(w->logits[w->scored[i]]) || i < ALWAYS;
        for (uint32_t i = 0; i < w->n_out; i++) {
            assert_true(w->out[i] < LENSES);
            assert_false(seen[w->out[i]]); /* neither scored nor suggested before */
            seen[w->out[i]] = true;
        }
        if (rand_r(seed) % 50 == 0)
            lensd_predictor_forget(w->predictor, sequence);
    }
}

static void random_rows_give_no_lens_twice_and_none_that_was_scored(void **state)
{
    (void)state;
    struct world w;
    unsigned seed = (unsigned)time(NULL);
    print_message("# seed %u\n", seed);
    open_world(&w, 8);
    random_rows(&w, &seed, 5000);
    lensd_predictor_destroy(w.predictor);
}

static void a_short_list_has_the_most_probable(void **state)
{
    (void)state;
    struct world w;
    unsigned seed = (unsigned)time(NULL);
    print_message("# seed %u\n", seed);
    struct world twin;
    open_world(&w, 8);
    open_world(&twin, 8);
    for (int r = 0; r < 500; r++) {
        unsigned same = seed;
        random_rows(&w, &seed, 1);
        random_rows(&twin, &same, 1);
        begin_row(&w);
        score(&w, 10, 3);
        memcpy(twin.scored, w.scored, sizeof w.scored);
        memcpy(twin.logits, w.logits, sizeof w.logits);
        twin.n = w.n;
        end_row(&w, 3);
        const struct lensd_predictor_row row = {3, twin.scored, twin.n, ALWAYS, twin.logits, -0.85f};
        uint32_t n = lensd_predictor_row(twin.predictor, &row, twin.out, 5);
        assert_int_equal(n, w.n_out < 5 ? w.n_out : 5);
        assert_memory_equal(twin.out, w.out, n * sizeof w.out[0]);
    }
    lensd_predictor_destroy(w.predictor);
    lensd_predictor_destroy(twin.predictor);
}

static void rows_allocate_nothing(void **state)
{
    (void)state;
#ifdef LENSD_SANITIZED
    skip(); /* sanitizers bring their own heap */
#else
    struct world w;
    unsigned seed = 5;
    unsigned long at_first = atomic_load(&counting_calls);
    open_world(&w, 8);
    unsigned long before = atomic_load(&counting_calls);
    assert_true(before > at_first); /* the counter counts */
    random_rows(&w, &seed, 500);
    assert_int_equal(atomic_load(&counting_calls), before);
    lensd_predictor_destroy(w.predictor);
#endif
}

static void bounds_that_are_not_kept_are_refused(void **state)
{
    (void)state;
    struct lensd_predictor_config good, wrong[9];
    lensd_predictor_default(&good);
    good.lenses = LENSES;
    good.child_offsets = offsets;
    good.child_ids = children;
    for (int i = 0; i < 9; i++)
        wrong[i] = good;
    wrong[0].lenses = 0;
    wrong[1].child_offsets = NULL;
    wrong[2].window = 0;
    wrong[3].window = LENSD_PREDICTOR_MAX_WINDOW + 1;
    wrong[4].best = 0;
    wrong[5].best = LENSD_PREDICTOR_MAX_BEST + 1;
    wrong[6].decay = 1.5f;
    wrong[7].margin = NAN;
    wrong[8].sequences = 0;
    for (int i = 0; i < 9; i++) {
        struct lensd_predictor *predictor = NULL;
        struct lens_error err = {0};
        assert_int_equal(lensd_predictor_create(&wrong[i], &predictor, &err), -EINVAL);
        assert_true(strlen(err.text) > 20);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_planted_pattern_is_learnt_and_the_more_probable_comes_first),
        cmocka_unit_test(what_comes_in_one_row_does_not_push_out_what_came_in_another),
        cmocka_unit_test(a_pattern_that_changes_is_learnt_anew),
        cmocka_unit_test(what_other_sequences_do_in_between_is_not_mixed_in),
        cmocka_unit_test(children_of_near_parents_are_suggested_when_such_parents_rise),
        cmocka_unit_test(an_ended_sequence_leaves_nothing_to_the_next_of_its_name),
        cmocka_unit_test(the_longest_unseen_sequence_is_forgotten_first),
        cmocka_unit_test(random_rows_give_no_lens_twice_and_none_that_was_scored),
        cmocka_unit_test(a_short_list_has_the_most_probable),
        cmocka_unit_test(rows_allocate_nothing),
        cmocka_unit_test(bounds_that_are_not_kept_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
