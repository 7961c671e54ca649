/* Histograms: quantiles within 1% of the truth, whatever the scale. */
#include "daemon/histogram.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void an_empty_histogram_says_zero(void **state)
{
    (void)state;
    struct lensd_histogram *h = calloc(1, sizeof *h);
    assert_int_equal(lensd_histogram_quantile(h, 0.5), 0);
    assert_int_equal(lensd_histogram_mean(h), 0);
    free(h);
}

static void quantiles_are_within_one_percent_of_sorted_values(void **state)
{
    (void)state;
    enum { N = 20000 };
    static uint64_t values[N];
    unsigned seed = (unsigned)time(NULL);
    print_message("# seed %u\n", seed);
    for (int scale = 0; scale < 4; scale++) {
        struct lensd_histogram *h = calloc(1, sizeof *h);
        for (int i = 0; i < N; i++) {
            double u = (double)rand_r(&seed) / RAND_MAX;
            values[i] = (uint64_t)exp(u * (6 + 6 * scale)); /* log-uniform up to e^24 */
            lensd_histogram_record(h, values[i]);
        }
        qsort(values, N, sizeof values[0], by_value);
        static const double quantiles[] = {0.01, 0.25, 0.5, 0.9, 0.99, 0.999};
        for (size_t q = 0; q < 6; q++) {
            double truth = (double)values[(size_t)ceil(quantiles[q] * N) - 1];
            double found = (double)lensd_histogram_quantile(h, quantiles[q]);
            if (fabs(found - truth) > 0.01 * truth + 0.5)
                fail_msg("scale %d quantile %g: %g, truth %g", scale, quantiles[q], found, truth);
        }
        assert_int_equal(h->max, values[N - 1]);
        assert_int_equal(h->count, N);
        free(h);
    }
}

static void values_beyond_the_range_count_in_the_last_bucket(void **state)
{
    (void)state;
    struct lensd_histogram *h = calloc(1, sizeof *h);
    lensd_histogram_record(h, UINT64_MAX);
    lensd_histogram_record(h, UINT64_C(1) << 50);
    assert_int_equal(h->count, 2);
    assert_true(lensd_histogram_quantile(h, 0.5) >= UINT64_C(1) << 41);
    free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_histogram_says_zero),
        cmocka_unit_test(quantiles_are_within_one_percent_of_sorted_values),
        cmocka_unit_test(values_beyond_the_range_count_in_the_last_bucket),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
