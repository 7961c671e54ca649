/* What `lensctl top` makes of pages of events: scores that decay, histories, trends, order, filter, watch list, swaps,
 * bounded memory. lensctl is a program without a library, so the code under test is compiled in here. */
#include "client/lensctl/top_model.c" /* NOLINT(bugprone-suspicious-include) */
#include "client/lensctl/top_order.c" /* NOLINT(bugprone-suspicious-include) */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>

static struct lens_event_page page;

struct world {
    struct top_model model;
    uint64_t number;
};

static void open_world(struct world *w, uint32_t capacity, const char *only_pack)
{
    memset(w, 0, sizeof *w);
    assert_int_equal(top_model_init(&w->model, capacity, only_pack), 0);
    assert_int_equal(top_model_name_pack(&w->model, 1, lens_text_of("first")), 0);
    assert_int_equal(top_model_name_pack(&w->model, 2, lens_text_of("second")), 0);
    memset(&page, 0, sizeof page);
}

static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    open_world(w, 100, NULL);
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    top_model_free(&w->model);
    free(w);
    return 0;
}

/* Puts a row with one detection into the page. */
static void detect(struct world *w, uint32_t generation, uint32_t id, const char *key, float score)
{
    uint32_t known = 0;
    while (known < page.n_concepts && (page.concepts[known].id != id || page.concepts[known].generation != generation))
        known++;
    if (known == page.n_concepts)
        page.concepts[page.n_concepts++] = (struct lens_event_concept){generation, id, lens_text_of(key)};
    page.rows[page.count++] = (struct lens_event_row){.number = ++w->number,
                                                      .generation = generation,
                                                      .total_ns = 1000 * w->number,
                                                      .first_detection = page.n_detections,
                                                      .stored_detections = 1};
    page.detections[page.n_detections++] = (struct lens_detection){.id = id, .score = score};
}

static void send_page(struct world *w)
{
    assert_int_equal(top_model_unknown_pack(&w->model, &page), 0);
    assert_int_equal(top_model_add(&w->model, &page), 0);
    memset(&page, 0, sizeof page);
}

/* One interval of one second in which the concept is detected once; with a score of 0, not at all. */
static void second(struct world *w, const char *key, float score)
{
    if (score > 0.0f) {
        detect(w, 1, 7, key, score);
        send_page(w);
    }
    top_model_close(&w->model, 1.0);
}

static struct top_concept *only(struct world *w)
{
    struct top_concept **list;
    assert_int_equal(top_model_order(&w->model, TOP_BY_SCORE, "", &list), 1);
    return list[0];
}

static bool near(double found, double wanted)
{
    return fabs(found - wanted) < 1e-6;
}

static void assert_order(struct world *w, enum top_sort sort, const char *filter, const char *wanted)
{
    struct top_concept **list;
    char found[512] = "";
    uint32_t n = top_model_order(&w->model, sort, filter, &list);
    for (uint32_t i = 0; i < n; i++)
        snprintf(found + strlen(found), sizeof found - strlen(found), "%s%s", i > 0 ? " " : "", list[i]->key);
    assert_string_equal(found, wanted);
}

/* ---- one concept ------------------------------------------------------------------------------------------------ */

static void the_score_is_the_highest_and_halves_in_ten_seconds(void **state)
{
    struct world *w = *state;
    detect(w, 1, 7, "Fear:2", 0.4f);
    detect(w, 1, 7, "Fear:2", 0.8f);
    detect(w, 1, 7, "Fear:2", 0.5f);
    send_page(w);
    top_model_close(&w->model, 2.0);
    struct top_concept *c = only(w);
    assert_true(near(c->score, 0.8f));
    assert_true(near(c->last, 0.5f));
    assert_true(near(c->rate, 1.5));
    assert_int_equal(c->detections, 3);
    top_model_close(&w->model, 10.0);
    assert_true(near(c->score, 0.4f));
    assert_true(near(c->rate, 0.0));
    assert_true(near(c->last, 0.5f));
    second(w, "Fear:2", 0.1f); /* less than what is left of the maximum */
    assert_true(near(c->score, 0.4f * exp2(-0.1)));
    second(w, "Fear:2", 0.9f);
    assert_true(near(c->score, 0.9f));
}

static void nothing_is_shown_of_an_open_interval(void **state)
{
    struct world *w = *state;
    detect(w, 1, 7, "Fear:2", 0.4f);
    send_page(w);
    assert_order(w, TOP_BY_SCORE, "", "");
    top_model_close(&w->model, 1.0);
    assert_order(w, TOP_BY_SCORE, "", "Fear:2");
}

static void the_history_has_the_highest_score_of_each_interval(void **state)
{
    struct world *w = *state;
    for (uint32_t i = 0; i < TOP_HISTORY + 10; i++)
        second(w, "Fear:2", i % 3 == 0 ? 0.0f : 0.001f * (float)(i + 1));
    struct top_concept *c = only(w);
    for (uint32_t back = 0; back < TOP_HISTORY; back++) {
        uint32_t i = TOP_HISTORY + 9 - back;
        assert_true(near(top_history(&w->model, c, back), i % 3 == 0 ? 0.0f : 0.001f * (float)(i + 1)));
    }
    assert_true(top_history(&w->model, c, TOP_HISTORY) == 0.0f);
}

static void a_history_before_the_first_interval_is_empty(void **state)
{
    struct world *w = *state;
    second(w, "Fear:2", 0.5f);
    assert_true(top_history(&w->model, only(w), 0) == 0.5f);
    assert_true(top_history(&w->model, only(w), 1) == 0.0f);
}

static void trends_compare_four_intervals_with_the_four_before(void **state)
{
    struct world *w = *state;
    second(w, "Fear:2", 0.3f);
    assert_int_equal(only(w)->trend, TOP_UNKNOWN);
    for (int i = 0; i < 7; i++)
        second(w, "Fear:2", 0.3f);
    assert_int_equal(only(w)->trend, TOP_STEADY);
    second(w, "Fear:2", 0.48f); /* means 0.345 and 0.3 */
    assert_int_equal(only(w)->trend, TOP_STEADY);
    second(w, "Fear:2", 0.48f);
    assert_int_equal(only(w)->trend, TOP_RISING);
    assert_true(near(only(w)->trend_step, 0.09f));
    for (int i = 0; i < 6; i++)
        second(w, "Fear:2", 0.48f);
    assert_int_equal(only(w)->trend, TOP_STEADY);
    second(w, "Fear:2", 0.0f); /* silence counts as 0 */
    assert_int_equal(only(w)->trend, TOP_FALLING);
}

static void a_young_trend_compares_halves(void **state)
{
    struct world *w = *state;
    second(w, "Fear:2", 0.2f);
    second(w, "Fear:2", 0.4f);
    assert_int_equal(only(w)->trend, TOP_RISING);
    second(w, "Fear:2", 0.2f); /* the last one against the one before it */
    assert_int_equal(only(w)->trend, TOP_FALLING);
}

static void silence_ends_in_being_forgotten_but_not_counted(void **state)
{
    struct world *w = *state;
    second(w, "Fear:2", 0.9f);
    for (uint32_t i = 0; i + 1 < TOP_HISTORY; i++)
        second(w, "Fear:2", 0.0f);
    assert_int_equal(w->model.n, 1);
    for (int i = 0; i < 10; i++)
        second(w, "Fear:2", 0.0f);
    assert_int_equal(w->model.n, 0);
    assert_int_equal(w->model.forgotten, 0);
}

/* ---- several ---------------------------------------------------------------------------------------------------- */

static void three_concepts(struct world *w)
{
    detect(w, 1, 1, "Anger:2", 0.5f);
    detect(w, 1, 2, "Blade:2", 0.9f);
    detect(w, 1, 3, "Calm:1", 0.7f);
    detect(w, 1, 1, "Anger:2", 0.5f);
    send_page(w);
    top_model_close(&w->model, 1.0);
    detect(w, 1, 1, "Anger:2", 0.1f);
    detect(w, 1, 1, "Anger:2", 0.1f);
    detect(w, 1, 2, "Blade:2", 0.9f);
    detect(w, 1, 3, "Calm:1", 0.99f);
    detect(w, 1, 3, "Calm:1", 0.8f);
    detect(w, 1, 3, "Calm:1", 0.8f);
    send_page(w);
    top_model_close(&w->model, 1.0);
}

static void the_list_is_ordered_as_asked(void **state)
{
    struct world *w = *state;
    three_concepts(w);
    assert_order(w, TOP_BY_SCORE, "", "Calm:1 Blade:2 Anger:2");
    assert_order(w, TOP_BY_RATE, "", "Calm:1 Anger:2 Blade:2");
    assert_order(w, TOP_BY_TREND, "", "Calm:1 Blade:2 Anger:2");
    assert_order(w, TOP_BY_NAME, "", "Anger:2 Blade:2 Calm:1");
}

static void filters_are_globs_or_parts_of_a_name(void **state)
{
    struct world *w = *state;
    three_concepts(w);
    assert_order(w, TOP_BY_NAME, "*:2", "Anger:2 Blade:2");
    assert_order(w, TOP_BY_NAME, "[AC]*", "Anger:2 Calm:1");
    assert_order(w, TOP_BY_NAME, "CAL", "Calm:1");
    assert_order(w, TOP_BY_NAME, "nobody", "");
}

static void watched_concepts_stay_on_top_detected_or_not(void **state)
{
    struct world *w = *state;
    assert_int_equal(top_model_watch(&w->model, "first", "Zeal:3"), 0);
    assert_order(w, TOP_BY_SCORE, "", "Zeal:3");
    three_concepts(w);
    struct top_concept **list;
    top_model_order(&w->model, TOP_BY_NAME, "Anger", &list);
    assert_string_equal(list[1]->key, "Anger:2");
    assert_int_equal(top_model_toggle(&w->model, list[1]), 0);
    assert_int_equal(top_model_watched(&w->model), 2);
    assert_order(w, TOP_BY_SCORE, "Calm*", "Anger:2 Zeal:3 Calm:1");
    for (int i = 0; i < 200; i++)
        top_model_close(&w->model, 1.0);
    assert_order(w, TOP_BY_SCORE, "", "Anger:2 Zeal:3");
}

static void the_watch_list_is_bounded(void **state)
{
    struct world *w = *state;
    char key[16];
    for (uint32_t i = 0; i < TOP_WATCHED; i++) {
        snprintf(key, sizeof key, "C%u:1", i);
        assert_int_equal(top_model_watch(&w->model, "first", key), 0);
    }
    assert_int_equal(top_model_watch(&w->model, "first", "More:1"), -ENOSPC);
    second(w, "Fear:2", 0.5f);
    struct top_concept **list;
    uint32_t n = top_model_order(&w->model, TOP_BY_SCORE, "", &list);
    assert_int_equal(top_model_toggle(&w->model, list[n - 1]), -ENOSPC);
    assert_false(list[n - 1]->watched);
}

/* ---- packs ------------------------------------------------------------------------------------------------------ */

static void a_swap_goes_on_with_the_same_series(void **state)
{
    struct world *w = *state;
    second(w, "Fear:2", 0.6f);
    only(w)->path = strdup("Mind:0");
    detect(w, 3, 99, "Fear:2", 0.7f);
    assert_int_equal(top_model_unknown_pack(&w->model, &page), 3);
    assert_int_equal(top_model_name_pack(&w->model, 3, lens_text_of("first")), 0);
    send_page(w);
    top_model_close(&w->model, 1.0);
    struct top_concept *c = only(w);
    assert_int_equal(c->generation, 3);
    assert_int_equal(c->id, 99);
    assert_int_equal(c->detections, 2);
    assert_null(c->path); /* the new version may have it elsewhere */
}

static void a_concept_of_another_pack_is_another(void **state)
{
    struct world *w = *state;
    detect(w, 1, 7, "Fear:2", 0.6f);
    detect(w, 2, 7, "Fear:2", 0.4f);
    send_page(w);
    top_model_close(&w->model, 1.0);
    struct top_concept **list;
    assert_int_equal(top_model_order(&w->model, TOP_BY_SCORE, "", &list), 2);
    assert_string_equal(list[0]->pack, "first");
    assert_string_equal(list[1]->pack, "second");
}

static void one_pack_alone_may_be_wanted(void **state)
{
    struct world *w = *state;
    top_model_free(&w->model);
    open_world(w, 100, "second");
    detect(w, 1, 7, "Fear:2", 0.6f);
    detect(w, 2, 7, "Joy:2", 0.4f);
    send_page(w);
    top_model_close(&w->model, 1.0);
    assert_order(w, TOP_BY_SCORE, "", "Joy:2");
    assert_int_equal(w->model.rows, 1);
}

static void detections_without_a_name_are_counted(void **state)
{
    struct world *w = *state;
    detect(w, 1, 7, "", 0.6f);
    send_page(w);
    detect(w, 1, 7, "Fear:2", 0.6f);
    page.n_concepts = 0; /* the page doesn't say what it is */
    send_page(w);
    top_model_close(&w->model, 1.0);
    assert_int_equal(w->model.unnamed, 2);
    assert_int_equal(w->model.n, 0);
}

static void after_a_restart_generations_are_named_anew(void **state)
{
    struct world *w = *state;
    second(w, "Fear:2", 0.6f);
    top_model_forget_packs(&w->model);
    detect(w, 1, 7, "Fear:2", 0.7f);
    assert_int_equal(top_model_unknown_pack(&w->model, &page), 1);
    assert_int_equal(top_model_name_pack(&w->model, 1, lens_text_of("first")), 0);
    send_page(w);
    top_model_close(&w->model, 1.0);
    assert_int_equal(only(w)->detections, 2);
}

/* ---- bounds ----------------------------------------------------------------------------------------------------- */

static void the_least_interesting_gives_way(void **state)
{
    struct world *w = *state;
    top_model_free(&w->model);
    open_world(w, 4, NULL);
    assert_int_equal(top_model_watch(&w->model, "first", "Silent:0"), 0);
    detect(w, 1, 1, "Much:1", 0.9f);
    detect(w, 1, 2, "Little:1", 0.1f);
    detect(w, 1, 3, "Some:1", 0.5f);
    send_page(w);
    top_model_close(&w->model, 1.0);
    detect(w, 1, 4, "New:1", 0.2f);
    send_page(w);
    top_model_close(&w->model, 1.0);
    assert_order(w, TOP_BY_NAME, "", "Silent:0 Much:1 New:1 Some:1");
    assert_int_equal(w->model.forgotten, 1);
}

static void thousands_of_concepts_stay_within_the_bound(void **state)
{
    struct world *w = *state;
    char keys[16][24];
    for (uint32_t i = 0; i < 3000; i += 16) {
        for (uint32_t k = 0; k < 16; k++) {
            snprintf(keys[k], sizeof keys[k], "Concept%u:3", (i + k) % 1500);
            detect(w, 1, (i + k) % 1500, keys[k], 0.2f + 0.0001f * (float)((i + k) % 1500));
        }
        send_page(w);
        if (i % 160 == 0)
            top_model_close(&w->model, 1.0);
    }
    top_model_close(&w->model, 1.0);
    assert_int_equal(w->model.n, 100);
    assert_int_equal(w->model.detections, 3008);
    assert_true(w->model.forgotten > 1000);
    for (uint32_t i = 0; i < w->model.n; i++) { /* each is found under its name, once */
        struct top_concept *c = w->model.concepts[i];
        assert_ptr_equal(find(&w->model, "first", c->key, strlen(c->key)), c);
    }
}

static void rows_and_their_latencies_are_of_the_interval(void **state)
{
    struct world *w = *state;
    for (int i = 0; i < 40; i++)
        detect(w, 1, 7, "Fear:2", 0.5f); /* 1000, 2000, .. 40000 ns */
    send_page(w);
    top_model_close(&w->model, 2.0);
    assert_true(near(w->model.rows_per_s, 20.0));
    uint64_t p50 = lensd_histogram_quantile(&w->model.total, 0.5);
    assert_true(p50 > 19000 && p50 < 21500);
    top_model_close(&w->model, 2.0);
    assert_true(near(w->model.rows_per_s, 0.0));
    assert_int_equal(w->model.total.count, 0);
}

static void pages_that_point_outside_themselves_do_no_harm(void **state)
{
    struct world *w = *state;
    detect(w, 1, 7, "Fear:2", 0.5f);
    page.rows[0].stored_detections = UINT32_MAX;
    send_page(w);
    detect(w, 1, 7, "Fear:2", 0.5f);
    page.rows[0].first_detection = UINT32_MAX;
    send_page(w);
    top_model_close(&w->model, 1.0);
    assert_int_equal(only(w)->detections, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_score_is_the_highest_and_halves_in_ten_seconds),
        TEST(nothing_is_shown_of_an_open_interval),
        TEST(the_history_has_the_highest_score_of_each_interval),
        TEST(a_history_before_the_first_interval_is_empty),
        TEST(trends_compare_four_intervals_with_the_four_before),
        TEST(a_young_trend_compares_halves),
        TEST(silence_ends_in_being_forgotten_but_not_counted),
        TEST(the_list_is_ordered_as_asked),
        TEST(filters_are_globs_or_parts_of_a_name),
        TEST(watched_concepts_stay_on_top_detected_or_not),
        TEST(the_watch_list_is_bounded),
        TEST(a_swap_goes_on_with_the_same_series),
        TEST(a_concept_of_another_pack_is_another),
        TEST(one_pack_alone_may_be_wanted),
        TEST(detections_without_a_name_are_counted),
        TEST(after_a_restart_generations_are_named_anew),
        TEST(the_least_interesting_gives_way),
        TEST(thousands_of_concepts_stay_within_the_bound),
        TEST(rows_and_their_latencies_are_of_the_interval),
        TEST(pages_that_point_outside_themselves_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
