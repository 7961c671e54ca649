/* What a lens said last: the logits that rows scored, whatever they reported. */
#include "daemon/readings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>

#define LENSES 4u

static void note(struct lensd_readings *readings, uint32_t lens, float logit, uint64_t now_ns)
{
    float logits[LENSES] = {NAN, NAN, NAN, NAN};
    logits[lens] = logit;
    const struct lens_row_out row = {.wanted = (uint32_t[]){lens}, .n_wanted = 1, .logits = logits};
    lensd_readings_note(readings, &row, now_ns);
}

static struct lens_reading_row get(const struct lensd_readings *readings, uint32_t lens, uint64_t now_ns)
{
    struct lens_reading_row row = {.id = 77};
    lensd_readings_get(readings, lens, now_ns, &row);
    assert_int_equal(row.id, 77);
    return row;
}

static void a_lens_that_was_never_scored_says_nothing(void **state)
{
    (void)state;
    struct lensd_readings *readings;
    assert_int_equal(lensd_readings_create(LENSES, &readings), 0);
    note(readings, 1, 0.5f, 1000);
    struct lens_reading_row row = get(readings, 0, 2000);
    assert_true(isnan(row.last_logit) && isnan(row.peak_logit));
    assert_int_equal(row.rows + row.hits + row.age_ns, 0);
    lensd_readings_destroy(readings);
}

static void the_last_logit_counts_and_the_highest_is_kept_for_a_while(void **state)
{
    (void)state;
    const uint64_t window = LENSD_READING_WINDOW_NS, start = 10 * window;
    struct lensd_readings *readings;
    assert_int_equal(lensd_readings_create(LENSES, &readings), 0);
    note(readings, 2, 3.0f, start);
    note(readings, 2, -1.0f, start + 1);
    struct lens_reading_row row = get(readings, 2, start + 5);
    assert_true(row.last_logit == -1.0f && row.peak_logit == 3.0f);
    assert_int_equal(row.rows, 2);
    assert_int_equal(row.hits, 1);
    assert_int_equal(row.age_ns, 4);
    assert_true(get(readings, 2, start + window).peak_logit == 3.0f); /* the window before counts */
    note(readings, 2, 0.25f, start + window);
    assert_true(get(readings, 2, start + window).peak_logit == 3.0f);
    assert_true(get(readings, 2, start + 2 * window).peak_logit == 0.25f);
    row = get(readings, 2, start + 3 * window);
    assert_true(isnan(row.peak_logit) && row.last_logit == 0.25f);
    note(readings, 2, -2.0f, start + 9 * window); /* nothing of long ago comes back */
    assert_true(get(readings, 2, start + 9 * window).peak_logit == -2.0f);
    lensd_readings_destroy(readings);
}

static void what_a_row_went_without_is_no_reading(void **state)
{
    (void)state;
    struct lensd_readings *readings;
    const float logits[LENSES] = {1, NAN, 2, 3};
    const struct lens_row_out row = {.wanted = (const uint32_t[]){0, 1, 2}, .n_wanted = 3, .logits = logits};
    const struct lens_row_out failed = {.wanted = NULL, .n_wanted = 3, .logits = NULL};
    assert_int_equal(lensd_readings_create(LENSES, &readings), 0);
    lensd_readings_note(readings, &row, 5);
    lensd_readings_note(readings, &failed, 6);
    assert_int_equal(get(readings, 0, 7).rows, 1);
    assert_int_equal(get(readings, 1, 7).rows, 0); /* left out */
    assert_int_equal(get(readings, 2, 7).rows, 1);
    assert_int_equal(get(readings, 3, 7).rows, 0); /* of another row: not wanted */
    lensd_readings_destroy(readings);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lens_that_was_never_scored_says_nothing),
        cmocka_unit_test(the_last_logit_counts_and_the_highest_is_kept_for_a_while),
        cmocka_unit_test(what_a_row_went_without_is_no_reading),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
