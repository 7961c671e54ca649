/* The figures of an interval, out of two looks at a daemon's counters. lensctl is a program without a library, so the
 * code under test is compiled in here. */
#include "client/lensctl/figures.c" /* NOLINT(bugprone-suspicious-include) */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdlib.h>

#define SECOND UINT64_C(1000000000)

struct looks {
    struct ctl_sample before, after;
    struct ctl_figures figures;
};

static int set_up(void **state)
{
    struct looks *looks = calloc(1, sizeof *looks);
    assert_non_null(looks);
    looks->before.start_time_ns = looks->after.start_time_ns = 7;
    looks->before.at_ns = 10 * SECOND;
    looks->after.at_ns = 12 * SECOND; /* two seconds later */
    looks->after.uptime_ns = 100 * SECOND;
    *state = looks;
    return 0;
}

static int tear_down(void **state)
{
    free(*state);
    return 0;
}

static void compare(struct looks *looks)
{
    ctl_figures_between(&looks->before, &looks->after, &looks->figures);
}

static bool about(double found, double wanted)
{
    return fabs(found - wanted) <= 0.01 * wanted;
}

static void rates_are_differences_over_the_time_between(void **state)
{
    struct looks *looks = *state;
    looks->before.rows.rows = 1000;
    looks->after.rows.rows = 1500;
    looks->before.rows.dropped_rows = 3;
    looks->after.rows.dropped_rows = 7;
    looks->after.rows.invalid_rows = 1;
    looks->before.loads = 10;
    looks->after.loads = 30;
    looks->after.load_bytes = 4000000;
    looks->after.evictions = 5;
    compare(looks);
    assert_true(looks->figures.seconds == 2.0);
    assert_true(looks->figures.rows_per_s == 250.0);
    assert_true(looks->figures.dropped_per_s == 2.0);
    assert_true(looks->figures.invalid_per_s == 0.5);
    assert_true(looks->figures.loads_per_s == 10.0);
    assert_true(looks->figures.load_bytes_per_s == 2e6);
    assert_true(looks->figures.evictions_per_s == 2.5);
}

static void means_are_of_the_interval_alone(void **state)
{
    struct looks *looks = *state;
    looks->before.rows = (struct lens_statistics){.rows = 10, .lenses_scored = 10000, .batches = 10, .batch_rows = 10};
    looks->after.rows = (struct lens_statistics){.rows = 30, .lenses_scored = 11000, .batches = 15, .batch_rows = 30};
    looks->before.rows.slot_hits = 100;
    looks->after.rows.slot_hits = 190;
    looks->after.rows.host_hits = 7;
    looks->after.rows.cold = 3;
    looks->before.rows.sums[0] = 1000000;
    looks->after.rows.sums[0] = 1600000;
    looks->before.rows.stages[0].count = 10;
    looks->after.rows.stages[0].count = 30;
    compare(looks);
    assert_true(looks->figures.scored_per_row == 50.0);
    assert_true(looks->figures.batch_rows == 4.0);
    assert_true(looks->figures.hit_rate == 0.9);
    assert_true(looks->figures.queue_ns == 30000.0);
}

static void nothing_to_divide_by_is_not_zero(void **state)
{
    struct looks *looks = *state;
    compare(looks);
    assert_true(looks->figures.rows_per_s == 0.0);
    assert_true(isnan(looks->figures.p50_ns) && isnan(looks->figures.p99_ns));
    assert_true(isnan(looks->figures.batch_rows) && isnan(looks->figures.queue_ns));
    assert_true(isnan(looks->figures.scored_per_row) && isnan(looks->figures.hit_rate));
}

static void percentiles_are_of_the_rows_between(void **state)
{
    struct looks *looks = *state;
    for (uint64_t i = 0; i < 100000; i++) /* long ago all was slow */
        lensd_histogram_record(&looks->before.total, 5000000);
    looks->after.total = looks->before.total;
    for (uint64_t i = 1; i <= 100; i++)
        lensd_histogram_record(&looks->after.total, i * 1000);
    compare(looks);
    assert_true(about(looks->figures.p50_ns, 50000.0));
    assert_true(about(looks->figures.p99_ns, 99000.0));
}

static void buckets_may_wrap_between_two_looks(void **state)
{
    struct looks *looks = *state;
    lensd_histogram_record(&looks->after.total, 40);
    looks->before.total.buckets[40] = UINT32_MAX - 1; /* and three more */
    compare(looks);
    assert_true(looks->figures.p50_ns == 40.0);
}

static void counters_that_went_with_a_pack_are_not_negative(void **state)
{
    struct looks *looks = *state;
    looks->before.loads = 1000;
    looks->after.loads = 4;
    looks->before.evictions = 9;
    compare(looks);
    assert_true(looks->figures.loads_per_s == 0.0);
    assert_true(looks->figures.evictions_per_s == 0.0);
}

static void a_restarted_daemon_is_compared_with_its_start(void **state)
{
    struct looks *looks = *state;
    looks->before.rows.rows = 5000;
    lensd_histogram_record(&looks->before.total, 1000000);
    looks->after.start_time_ns = 8;
    looks->after.uptime_ns = SECOND / 2;
    looks->after.rows.rows = 100;
    lensd_histogram_record(&looks->after.total, 2000);
    compare(looks);
    assert_true(ctl_sample_restarted(&looks->before, &looks->after));
    assert_true(looks->figures.seconds == 0.5);
    assert_true(looks->figures.rows_per_s == 200.0);
    assert_true(about(looks->figures.p99_ns, 2000.0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(rates_are_differences_over_the_time_between, set_up, tear_down),
        cmocka_unit_test_setup_teardown(means_are_of_the_interval_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nothing_to_divide_by_is_not_zero, set_up, tear_down),
        cmocka_unit_test_setup_teardown(percentiles_are_of_the_rows_between, set_up, tear_down),
        cmocka_unit_test_setup_teardown(buckets_may_wrap_between_two_looks, set_up, tear_down),
        cmocka_unit_test_setup_teardown(counters_that_went_with_a_pack_are_not_negative, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_restarted_daemon_is_compared_with_its_start, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
