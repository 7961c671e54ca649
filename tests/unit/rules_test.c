/* Rules on content: what each word of a rule means row by row, which lenses of a pack a rule watches, verdicts and
 * totals. rules_random_test.c has random rules, rules_parse_test.c their text. */
#include "daemon/rules.h"

#include "daemon/sys.h"
#include "tests/unit/support/rules_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static float logit(double raw)
{
    return raw <= 0 ? -INFINITY : raw >= 1 ? INFINITY : (float)log(raw / (1 - raw));
}

/* One row that scored `lens` alone. */
static void row_of(struct rules_world *w, uint32_t lens, double raw)
{
    float logits[SMALL_LENSES];
    for (uint32_t i = 0; i < SMALL_LENSES; i++)
        logits[i] = 50; /* means nothing */
    logits[lens] = logit(raw);
    const struct lens_row_out row = {.wanted = &lens, .n_wanted = 1, .logits = logits};
    lensd_rules_judge(w->rules, w->map, w->state, &row, &w->verdict);
}

/* Rows of lens A, one a digit of tenths ("9" = 0.9); what each carried: '.' nothing, 'f' flag, 's' stop, and the
 * capital for the row that raised it. */
static void assert_rows(struct rules_world *w, const char *tenths, const char *verdicts)
{
    char found[128] = "";
    for (size_t i = 0; tenths[i] != '\0'; i++) {
        row_of(w, A, (tenths[i] - '0') / 10.0);
        found[i] = (w->verdict.raised ? ".FS" : ".fs")[w->verdict.action];
    }
    assert_string_equal(found, verdicts);
}

static void assert_verdict(const struct rules_world *w, uint8_t action, const char *name, bool raised)
{
    assert_int_equal(w->verdict.action, action);
    assert_int_equal(w->verdict.rule, lens_rule_id_of(name));
    assert_int_equal(w->verdict.raised, raised);
}

/* ---- what the words mean ------------------------------------------------------------------------------------------
 */

static void one_token_from_above_on_raises_and_the_first_under_it_ends(void **state)
{
    (void)state;
    struct rules_world w;
    rules_start(&w, "r: on=A:0 above=0.65");
    assert_rows(&w, "6797160", ".Fff...");
    assert_int_equal(w.totals.items[0].raised, 1);
    assert_rows(&w, "7", "F");
    assert_int_equal(w.verdict.rule, lens_rule_id_of("r"));
    assert_int_equal(w.totals.items[0].raised, 2);
    rules_stop(&w);
}

static void a_score_of_above_itself_counts(void **state)
{
    (void)state;
    struct rules_world w;
    rules_start(&w, "r: on=A:0 above=0.5");
    row_of(&w, A, 0.5);
    assert_true(w.verdict.raised);
    rules_stop(&w);
}

static void consecutive_tokens_must_be_in_a_row(void **state)
{
    (void)state;
    struct rules_world w;
    rules_start(&w, "r: on=A:0 above=0.65 tokens=3");
    assert_rows(&w, "77177077799", "........Fff");
    rules_stop(&w);
}

static void a_window_forgives_gaps(void **state)
{
    (void)state;
    struct rules_world w;
    rules_start(&w, "r: on=A:0 above=0.65 tokens=3 window=5 action=stop");
    assert_rows(&w, "7171", "....");
    assert_rows(&w, "7", "S"); /* the third of five */
    assert_rows(&w, "1", ".");
    assert_rows(&w, "77", ".."); /* what counted before it was quiet doesn't count again */
    assert_rows(&w, "7", "S");
    rules_stop(&w);
}

static void a_window_forgets_what_is_older(void **state)
{
    (void)state;
    struct rules_world w;
    rules_start(&w, "r: on=A:0 above=0.65 tokens=2 window=3");
    assert_rows(&w, "7117117117", "..........");
    assert_rows(&w, "17", ".F");
    rules_stop(&w);
}

static void the_widest_window_is_64_tokens(void **state)
{
    (void)state;
    struct rules_world w;
    rules_start(&w, "r: on=A:0 above=0.65 tokens=2 window=64, all: on=A:0 above=0.05 tokens=64 action=stop");
    row_of(&w, A, 0.7);
    for (int i = 0; i < 62; i++) {
        row_of(&w, A, 0.1);
        assert_int_equal(w.verdict.action, LENS_VERDICT_NONE);
    }
    assert_rows(&w, "7", "S"); /* the 64th token raises both */
    assert_int_equal(w.totals.items[0].raised, 1);
    assert_int_equal(w.totals.items[1].raised, 1);
    rules_stop(&w);
    rules_start(&w, "r: on=A:0 above=0.65 tokens=2 window=64");
    row_of(&w, A, 0.7);
    for (int i = 0; i < 63; i++)
        row_of(&w, A, 0.1);
    assert_rows(&w, "7", "."); /* the 65th is too late */
    rules_stop(&w);
}

static void hysteresis_keeps_a_rule_raised_until_below(void **state)
{
    (void)state;
    struct rules_world w;
    rules_start(&w, "r: on=A:0 above=0.75 below=0.35");
    assert_rows(&w, "787454378", ".Fffff..F");
    rules_stop(&w);
}

static void smoothing_takes_in_readings_slowly_and_the_first_whole(void **state)
{
    (void)state;
    struct rules_world w;
    rules_start(&w, "r: on=A:0 above=0.76 smooth=0.5");
    row_of(&w, A, 0.8);
    assert_true(w.verdict.raised);
    assert_float_equal(rules_reading(&w, 0).smoothed, 0.8, 1e-6);
    row_of(&w, A, 0.4);
    assert_float_equal(rules_reading(&w, 0).reading, 0.4, 1e-6);
    assert_float_equal(rules_reading(&w, 0).smoothed, 0.6, 1e-6);
    assert_int_equal(w.verdict.action, LENS_VERDICT_NONE);
    assert_rows(&w, "88", "..");
    assert_float_equal(rules_reading(&w, 0).smoothed, 0.75, 1e-6);
    assert_rows(&w, "9", "F");
    rules_stop(&w);
}

static void a_row_that_scored_none_of_the_lenses_reads_zero(void **state)
{
    (void)state;
    struct rules_world w;
    rules_start(&w, "r: on=A:0 above=0.65");
    row_of(&w, A, 0.9);
    row_of(&w, F, 0.9);
    assert_int_equal(w.verdict.action, LENS_VERDICT_NONE);
    assert_true(rules_reading(&w, 0).reading == 0);
    row_of(&w, A, 0.9);
    const uint32_t wanted = A;
    const float left_out[SMALL_LENSES] = {NAN, 50, 50, 50, 50, 50};
    lensd_rules_judge(
        w.rules, w.map, w.state,
        &(struct lens_row_out){.wanted = &wanted, .n_wanted = 1, .logits = left_out, .status = LENS_ROW_PARTIAL},
        &w.verdict);
    assert_int_equal(w.verdict.action, LENS_VERDICT_NONE);
    assert_true(rules_reading(&w, 0).reading == 0);
    rules_stop(&w);
}

static void failed_and_invalid_rows_move_nothing_and_carry_what_is_raised(void **state)
{
    (void)state;
    struct rules_world w;
    const uint32_t wanted = A;
    const float high[SMALL_LENSES] = {9};
    const struct lens_row_out failed = {.wanted = NULL, .status = LENS_ROW_PARTIAL, .flags = LENS_ROW_DEGRADED};
    const struct lens_row_out invalid = {
        .wanted = &wanted, .n_wanted = 1, .logits = high, .status = LENS_ROW_INVALID_INPUT};
    rules_start(&w, "r: on=A:0 above=0.65 tokens=2");
    assert_rows(&w, "7", ".");
    lensd_rules_judge(w.rules, w.map, w.state, &invalid, &w.verdict);
    assert_int_equal(w.verdict.action, LENS_VERDICT_NONE);
    lensd_rules_judge(w.rules, w.map, w.state, &failed, &w.verdict);
    assert_int_equal(w.verdict.action, LENS_VERDICT_NONE);
    assert_rows(&w, "7", "F"); /* in a row, as if those hadn't been */
    lensd_rules_judge(w.rules, w.map, w.state, &failed, &w.verdict);
    assert_int_equal(w.verdict.action, LENS_VERDICT_FLAG);
    assert_int_equal(w.verdict.rule, lens_rule_id_of("r"));
    assert_false(w.verdict.raised);
    assert_int_equal(w.totals.items[0].raised, 1);
    rules_stop(&w);
}

static void a_degraded_row_neither_calms_a_rule_nor_raises_it(void **state)
{
    (void)state;
    struct rules_world w;
    const uint32_t wanted[] = {A, F};
    const float without_a[SMALL_LENSES] = {NAN, NAN, NAN, NAN, NAN, -9}, with_a[SMALL_LENSES] = {9};
    struct lens_row_out degraded = {.wanted = wanted, .n_wanted = 2, .logits = without_a, .flags = LENS_ROW_DEGRADED};
    rules_start(&w, "r: on=A:0 above=0.65 tokens=2");
    assert_rows(&w, "77", ".F");
    lensd_rules_judge(w.rules, w.map, w.state, &degraded, &w.verdict); /* overload must not end a verdict */
    assert_int_equal(w.verdict.action, LENS_VERDICT_FLAG);
    assert_false(w.verdict.raised);
    assert_rows(&w, "1", ".");
    degraded.logits = with_a;
    for (int i = 0; i < 3; i++)
        lensd_rules_judge(w.rules, w.map, w.state, &degraded, &w.verdict);
    assert_int_equal(w.verdict.action, LENS_VERDICT_NONE);
    rules_stop(&w);
}

static void sequences_have_states_of_their_own(void **state)
{
    (void)state;
    struct rules_world w;
    rules_start(&w, "r: on=A:0 above=0.65 tokens=2");
    void *first = w.state, *second = rules_new_state(w.rules);
    assert_rows(&w, "7", ".");
    w.state = second;
    assert_rows(&w, "7", ".");
    w.state = first;
    assert_rows(&w, "7", "F");
    w.state = second;
    assert_rows(&w, "17", "..");
    free(first);
    rules_stop(&w);
}

/* ---- deviations ---------------------------------------------------------------------------------------------------
 */

static void a_deviation_needs_ten_readings_before_it(void **state)
{
    (void)state;
    struct rules_world w;
    rules_start(&w, "r: on=A:0 deviation=2");
    assert_true(isnan(rules_reading(&w, 0).reading));
    assert_rows(&w, "121212129", "........."); /* eight before the 9 */
    assert_true(isnan(rules_reading(&w, 0).deviation));
    rules_stop(&w);
    rules_start(&w, "r: on=A:0 deviation=2");
    assert_rows(&w, "1212121212", "..........");
    assert_true(isnan(rules_reading(&w, 0).deviation));
    assert_rows(&w, "3", "F"); /* mean 0.15, deviation 0.05: three of them */
    assert_float_equal(rules_reading(&w, 0).deviation, 3, 1e-4);
    assert_rows(&w, "1", ".");
    rules_stop(&w);
}

static void a_baseline_without_spread_has_no_deviations(void **state)
{
    (void)state;
    struct rules_world w;
    rules_start(&w, "r: on=A:0 deviation=2");
    for (int i = 0; i < 150; i++)
        row_of(&w, A, 0.3);
    row_of(&w, A, 0.9);
    assert_int_equal(w.verdict.action, LENS_VERDICT_NONE);
    assert_true(isnan(rules_reading(&w, 0).deviation));
    row_of(&w, A, 0.9); /* against a baseline with one 0.9 in it */
    assert_true(w.verdict.raised);
    rules_stop(&w);
}

static void the_baseline_is_the_last_hundred_readings(void **state)
{
    (void)state;
    struct rules_world w;
    rules_start(&w, "r: on=A:0 deviation=5");
    for (int i = 0; i < 300; i++)
        row_of(&w, A, i % 2 == 0 ? 0.8 : 0.9);
    for (int i = 0; i < 100; i++)
        row_of(&w, A, i % 2 == 0 ? 0.1 : 0.2);
    row_of(&w, A, 0.45); /* mean 0.15, deviation 0.05: nothing is left of the 0.8s */
    assert_true(w.verdict.raised);
    assert_float_equal(rules_reading(&w, 0).deviation, 6, 1e-3);
    rules_stop(&w);
}

static void a_trend_compares_the_last_hundred_readings_to_five_hundred(void **state)
{
    (void)state;
    struct rules_world w;
    rules_start(&w, "r: on=A:0 deviation=5, other: on=A:0 above=0.9");
    for (int i = 0; i < 99; i++)
        row_of(&w, A, 0.2);
    assert_true(isnan(rules_reading(&w, 0).trend));
    row_of(&w, A, 0.2);
    assert_float_equal(rules_reading(&w, 0).trend, 0, 1e-6);
    for (int i = 0; i < 900; i++)
        row_of(&w, A, 0.2);
    for (int i = 0; i < 100; i++)
        row_of(&w, A, 0.7);
    assert_float_equal(rules_reading(&w, 0).trend, 0.7 - 0.3, 1e-5);
    assert_true(isnan(rules_reading(&w, 1).trend));
    assert_true(isnan(rules_reading(&w, 1).deviation));
    rules_stop(&w);
}

static void deviations_pin_what_they_watch_and_others_pin_nothing(void **state)
{
    (void)state;
    struct rules_world w;
    uint32_t n;
    rules_start(&w, "a: on=C:1 deviation=2, b: on=B:1/* deviation=3, c: on=A:0 above=0.5");
    const uint32_t *pins = lensd_rule_map_pins(w.map, &n);
    const uint32_t expected[] = {B, C, D, E};
    assert_int_equal(n, 4);
    assert_memory_equal(pins, expected, sizeof expected);
    rules_stop(&w);
    rules_start(&w, "c: on=A:0 above=0.5");
    lensd_rule_map_pins(w.map, &n);
    assert_int_equal(n, 0);
    rules_stop(&w);
}

/* ---- packs --------------------------------------------------------------------------------------------------------
 */

static void a_branch_takes_all_below_through_any_parent(void **state)
{
    (void)state;
    static const struct {
        const char *on;
        bool lenses[SMALL_LENSES];
    } cases[] = {
        {"A:0", {[A] = true}},
        {"A:0/*", {[A] = true, [B] = true, [C] = true, [D] = true, [E] = true}},
        {"B:1/*", {[B] = true, [D] = true, [E] = true}},
        {"F:0/*", {[F] = true, [E] = true}}, /* É's primary parent is B */
        {"\"C:1\"", {[C] = true}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (uint32_t lens = 0; lens < SMALL_LENSES; lens++) {
            char list[64];
            struct rules_world w;
            snprintf(list, sizeof list, "r: on=%s above=0.5", cases[i].on);
            rules_start(&w, list);
            row_of(&w, lens, 0.9);
            assert_int_equal(w.verdict.raised, cases[i].lenses[lens]);
            rules_stop(&w);
        }
    }
}

static void the_highest_lens_of_a_branch_is_its_reading(void **state)
{
    (void)state;
    struct rules_world w;
    const uint32_t wanted[] = {F, D, B, E};
    const float logits[] = {50, 8, logit(0.4), 50, logit(0.6), logit(0.2)};
    rules_start(&w, "r: on=B:1/* above=0.5");
    lensd_rules_judge(w.rules, w.map, w.state,
                      &(struct lens_row_out){.wanted = wanted, .n_wanted = 4, .logits = logits}, &w.verdict);
    assert_float_equal(rules_reading(&w, 0).reading, 0.6, 1e-6);
    rules_stop(&w);
}

static void concepts_that_the_pack_lacks_are_silent_and_counted(void **state)
{
    (void)state;
    struct rules_world w;
    rules_start(&w, "a: on=Nobody:1 above=0, b: on=A:1/* deviation=2, c: on=A:0 above=0.5");
    assert_int_equal(w.silent, 2);
    row_of(&w, A, 0.9);
    assert_verdict(&w, LENS_VERDICT_FLAG, "c", true);
    row_of(&w, A, 0.1);
    assert_int_equal(w.verdict.action, LENS_VERDICT_NONE); /* though 0 would be above for a */
    assert_int_equal(w.totals.items[0].raised, 0);
    rules_stop(&w);
}

/* ---- verdicts -----------------------------------------------------------------------------------------------------
 */

static void the_verdict_is_stop_before_flag_then_what_was_just_raised_then_position(void **state)
{
    (void)state;
    struct rules_world w;
    rules_start(&w, "f1: on=A:0 above=0.3, f2: on=A:0 above=0.5, f3: on=A:0 above=0.5,"
                    "s1: on=A:0 above=0.7 action=stop, s2: on=A:0 above=0.8 action=stop");
    row_of(&w, A, 0.4);
    assert_verdict(&w, LENS_VERDICT_FLAG, "f1", true);
    row_of(&w, A, 0.6);
    assert_verdict(&w, LENS_VERDICT_FLAG, "f2", true); /* f3 just as well, but behind */
    row_of(&w, A, 0.6);
    assert_verdict(&w, LENS_VERDICT_FLAG, "f1", false);
    row_of(&w, A, 0.75);
    assert_verdict(&w, LENS_VERDICT_STOP, "s1", true);
    row_of(&w, A, 0.9);
    assert_verdict(&w, LENS_VERDICT_STOP, "s2", true);
    row_of(&w, A, 0.9);
    assert_verdict(&w, LENS_VERDICT_STOP, "s1", false);
    row_of(&w, A, 0.1);
    assert_int_equal(w.verdict.action, LENS_VERDICT_NONE);
    assert_int_equal(w.verdict.rule, 0);
    rules_stop(&w);
}

static void a_raised_stop_goes_before_a_flag_that_was_just_raised(void **state)
{
    (void)state;
    struct rules_world w;
    rules_start(&w, "f: on=A:0 above=0.8, s: on=A:0 above=0.5 action=stop");
    row_of(&w, A, 0.6);
    assert_verdict(&w, LENS_VERDICT_STOP, "s", true);
    row_of(&w, A, 0.9);
    assert_verdict(&w, LENS_VERDICT_STOP, "s", false);
    assert_int_equal(w.totals.items[0].raised, 1);
    rules_stop(&w);
}

/* ---- sets ---------------------------------------------------------------------------------------------------------
 */

static void a_changed_rule_of_the_same_name_goes_on_counting(void **state)
{
    (void)state;
    struct rules_world w;
    struct lensd_rules *next;
    struct lens_error err = {0};
    rules_start(&w, "r: on=A:0 above=0.65, gone: on=F:0 above=0.5");
    assert_rows(&w, "717", "F.F");
    assert_int_equal(
        lensd_rules_parse("new: on=C:1 above=0.5, r: on=A:0 above=0.25 action=stop", &w.totals, &next, &err), 0);
    assert_int_equal(w.totals.n, 3);
    assert_int_equal(w.totals.items[0].action, LENS_VERDICT_STOP);
    assert_string_equal(w.totals.items[2].name, "new");
    assert_ptr_equal(next->rules[1].total, &w.totals.items[0].raised);
    assert_int_equal(w.totals.items[0].raised, 2);
    assert_rows(&w, "17", ".F"); /* sessions with the old set count along */
    assert_int_equal(w.totals.items[0].raised, 3);
    lensd_rules_drop(next);
    rules_stop(&w);
}

static void totals_that_are_full_refuse_new_names_and_stay(void **state)
{
    (void)state;
    static struct lensd_rule_totals totals;
    struct lensd_rules *rules;
    struct lens_error err = {0};
    char list[64];
    for (unsigned i = 0; i < LENSD_RULE_TOTALS; i++) {
        snprintf(list, sizeof list, "r%u: on=A:0 above=0.5", i);
        assert_int_equal(lensd_rules_parse(list, &totals, &rules, &err), 0);
        lensd_rules_drop(rules);
    }
    assert_int_equal(
        lensd_rules_parse("r7: on=A:0 above=0.5 action=stop, more: on=A:0 above=0.5", &totals, &rules, &err), -ENOSPC);
    assert_null(rules);
    assert_non_null(strstr(err.text, "256"));
    assert_int_equal(totals.items[7].action, LENS_VERDICT_FLAG);
    assert_int_equal(lensd_rules_parse("r7: on=A:0 above=0.5 action=stop", &totals, &rules, &err), 0);
    lensd_rules_drop(rules);
}

static void a_set_lives_as_long_as_its_last_reference(void **state)
{
    (void)state;
    struct lensd_rules *rules;
    assert_int_equal(lensd_rules_parse("r: on=A:0 above=0.5", NULL, &rules, NULL), 0);
    assert_ptr_equal(lensd_rules_take(rules), rules);
    lensd_rules_drop(rules);
    assert_string_equal(rules->rules[0].name, "r"); /* a sanitizer would see it */
    lensd_rules_drop(rules);
    assert_null(lensd_rules_take(NULL));
    lensd_rules_drop(NULL);
}

static int refuse_nth(void *arg, const char *call)
{
    int *left = arg;
    return strcmp(call, "calloc") == 0 && (*left)-- == 0 ? ENOMEM : 0;
}

static void no_memory_is_an_error_that_leaves_nothing(void **state)
{
    (void)state;
    struct rules_world w;
    rules_start(&w, "r: on=A:0/* deviation=2");
    for (int nth = 0; nth < 4; nth++) {
        struct lensd_rule_map *map;
        uint32_t silent;
        int left = nth;
        lensd_sys_set_hook(refuse_nth, &left);
        int r = lensd_rule_map_create(w.rules, w.pack, &map, &silent);
        lensd_sys_set_hook(NULL, NULL);
        assert_int_equal(r, -ENOMEM);
        assert_null(map);
    }
    int left = 0;
    struct lensd_rules *rules;
    lensd_sys_set_hook(refuse_nth, &left);
    int r = lensd_rules_parse("r: on=A:0 above=0.5", NULL, &rules, NULL);
    lensd_sys_set_hook(NULL, NULL);
    assert_int_equal(r, -ENOMEM);
    assert_null(rules);
    rules_stop(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_token_from_above_on_raises_and_the_first_under_it_ends),
        cmocka_unit_test(a_score_of_above_itself_counts),
        cmocka_unit_test(consecutive_tokens_must_be_in_a_row),
        cmocka_unit_test(a_window_forgives_gaps),
        cmocka_unit_test(a_window_forgets_what_is_older),
        cmocka_unit_test(the_widest_window_is_64_tokens),
        cmocka_unit_test(hysteresis_keeps_a_rule_raised_until_below),
        cmocka_unit_test(smoothing_takes_in_readings_slowly_and_the_first_whole),
        cmocka_unit_test(a_row_that_scored_none_of_the_lenses_reads_zero),
        cmocka_unit_test(failed_and_invalid_rows_move_nothing_and_carry_what_is_raised),
        cmocka_unit_test(a_degraded_row_neither_calms_a_rule_nor_raises_it),
        cmocka_unit_test(sequences_have_states_of_their_own),
        cmocka_unit_test(a_deviation_needs_ten_readings_before_it),
        cmocka_unit_test(a_baseline_without_spread_has_no_deviations),
        cmocka_unit_test(the_baseline_is_the_last_hundred_readings),
        cmocka_unit_test(a_trend_compares_the_last_hundred_readings_to_five_hundred),
        cmocka_unit_test(deviations_pin_what_they_watch_and_others_pin_nothing),
        cmocka_unit_test(a_branch_takes_all_below_through_any_parent),
        cmocka_unit_test(the_highest_lens_of_a_branch_is_its_reading),
        cmocka_unit_test(concepts_that_the_pack_lacks_are_silent_and_counted),
        cmocka_unit_test(the_verdict_is_stop_before_flag_then_what_was_just_raised_then_position),
        cmocka_unit_test(a_raised_stop_goes_before_a_flag_that_was_just_raised),
        cmocka_unit_test(a_changed_rule_of_the_same_name_goes_on_counting),
        cmocka_unit_test(totals_that_are_full_refuse_new_names_and_stay),
        cmocka_unit_test(a_set_lives_as_long_as_its_last_reference),
        cmocka_unit_test(no_memory_is_an_error_that_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
