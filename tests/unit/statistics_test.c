/* What sessions and the engine count: as the wire says it, sums and buckets that two answers can be subtracted of. */
#include "daemon/statistics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdlib.h>

static int set_up(void **state)
{
    *state = calloc(1, sizeof(struct lensd_statistics));
    assert_non_null(*state);
    return 0;
}

static int tear_down(void **state)
{
    free(*state);
    return 0;
}

static void answer_row(struct lensd_statistics *s, uint64_t queue, uint64_t total)
{
    struct lens_result_header row = {.timing = {.queue = queue, .total = total}, .counts = {.scored = 10}};
    lensd_statistics_add(s, &row);
}

static void sums_are_of_all_rows_and_exact(void **state)
{
    struct lensd_statistics *s = *state;
    static struct lens_statistics out;
    answer_row(s, 7, 1001);
    answer_row(s, 8, 1002);
    answer_row(s, 9, 1003);
    lensd_statistics_export(s, &out);
    assert_int_equal(out.sums[0], 24);
    assert_int_equal(out.sums[LENS_STAGES - 1], 3006);
    assert_int_equal(out.stages[0].mean, 8);
}

static void buckets_are_those_that_hold_something_in_order(void **state)
{
    struct lensd_statistics *s = *state;
    static struct lens_bucket buckets[LENS_BUCKETS];
    assert_int_equal(lensd_statistics_buckets(s, buckets), 0);
    for (uint64_t i = 0; i < 500; i++)
        answer_row(s, 0, 1 + i * i * i * 1000);
    uint32_t n = lensd_statistics_buckets(s, buckets);
    uint64_t rows = 0;
    for (uint32_t i = 0; i < n; i++) {
        rows += buckets[i].count;
        assert_true(buckets[i].count > 0);
        assert_true(i == 0 || buckets[i].index > buckets[i - 1].index);
    }
    assert_int_equal(rows, 500);
}

static void a_histogram_of_the_buckets_has_the_same_quantiles(void **state)
{
    struct lensd_statistics *s = *state;
    static struct lens_bucket buckets[LENS_BUCKETS];
    static struct lensd_histogram copy;
    for (uint64_t i = 0; i < 1000; i++)
        answer_row(s, 0, 100 + i * 997);
    uint32_t n = lensd_statistics_buckets(s, buckets);
    for (uint32_t i = 0; i < n; i++)
        copy.buckets[buckets[i].index] = buckets[i].count;
    copy.max = s->stages[LENS_STAGES - 1].max;
    static const double quantiles[] = {0.5, 0.9, 0.99, 0.999, 1.0};
    for (size_t i = 0; i < sizeof quantiles / sizeof quantiles[0]; i++)
        assert_int_equal(lensd_histogram_quantile(&copy, quantiles[i]),
                         lensd_histogram_quantile(&s->stages[LENS_STAGES - 1], quantiles[i]));
}

/* As lens.fbs tells others how to read them. */
static void buckets_are_numbered_as_the_schema_says(void **state)
{
    struct lensd_statistics *s = *state;
    static struct lens_bucket buckets[LENS_BUCKETS];
    static const struct {
        uint64_t ns;
        uint32_t index;
    } known[] = {{1, 1},
                 {63, 63},
                 {64, 64},
                 {127, 127},
                 {128, 128},
                 {130, 129},
                 {1u << 20, 15 * 64},
                 {UINT64_C(1) << 41, 36 * 64},
                 {UINT64_MAX / 2, 36 * 64 + 63}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        answer_row(s, 0, known[i].ns);
    uint32_t n = lensd_statistics_buckets(s, buckets);
    assert_int_equal(n, sizeof known / sizeof known[0]);
    for (uint32_t i = 0; i < n; i++)
        assert_int_equal(buckets[i].index, known[i].index);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(sums_are_of_all_rows_and_exact, set_up, tear_down),
        cmocka_unit_test_setup_teardown(buckets_are_those_that_hold_something_in_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_histogram_of_the_buckets_has_the_same_quantiles, set_up, tear_down),
        cmocka_unit_test_setup_teardown(buckets_are_numbered_as_the_schema_says, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
