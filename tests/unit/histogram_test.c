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

/* Never more than there are, and of those nothing but what lies within 1/64 below the bound missing. */
static void counts_at_a_bound_are_those_at_most_it_but_for_a_sixtyfourth(void **state)
{
    (void)state;
    enum { N = 20000, BOUNDS = 9 };
    static const uint64_t bounds[BOUNDS] = {0, 1, 63, 64, 1000, 10000, 15000, 1000000, 100000000};
    static uint64_t values[N];
    uint64_t counts[BOUNDS + 1];
    unsigned seed = (unsigned)time(NULL);
    print_message("# seed %u\n", seed);
    struct lensd_histogram *h = calloc(1, sizeof *h);
    for (int i = 0; i < N; i++) {
        double u = (double)rand_r(&seed) / RAND_MAX;
        values[i] = i < 2 * BOUNDS ? bounds[i / 2] + (uint64_t)(i % 2) : (uint64_t)exp(u * 20);
        lensd_histogram_record(h, values[i]);
    }
    lensd_histogram_cumulate(h, bounds, BOUNDS, counts);
    for (int b = 0; b < BOUNDS; b++) {
        uint64_t most = 0, least = 0;
        for (int i = 0; i < N; i++) {
            most += values[i] <= bounds[b];
            least += values[i] <= bounds[b] - bounds[b] / 64;
        }
        if (counts[b] > most || counts[b] < (bounds[b] < 64 ? most : least))
            fail_msg("at %llu: %llu, expected %llu to %llu", (unsigned long long)bounds[b],
                     (unsigned long long)counts[b], (unsigned long long)least, (unsigned long long)most);
    }
    assert_int_equal(counts[BOUNDS], N);
    free(h);
}

static void edges_of_buckets_are_exact_bounds(void **state)
{
    (void)state;
    static const uint64_t bounds[] = {127, 8191, 16383, 1048575};
    struct lensd_histogram *h = calloc(1, sizeof *h);
    uint64_t counts[5];
    for (int i = 0; i < 4; i++) {
        lensd_histogram_record(h, bounds[i]);
        lensd_histogram_record(h, bounds[i] + 1);
    }
    lensd_histogram_cumulate(h, bounds, 4, counts);
    for (int i = 0; i < 4; i++)
        assert_int_equal(counts[i], 2 * i + 1);
    assert_int_equal(counts[4], 8);
    free(h);
}

static void what_is_beyond_the_range_is_below_no_bound(void **state)
{
    (void)state;
    static const uint64_t bounds[] = {UINT64_C(1) << 41, UINT64_MAX - 1};
    struct lensd_histogram *h = calloc(1, sizeof *h);
    uint64_t counts[3];
    lensd_histogram_record(h, UINT64_C(1) << 50);
    lensd_histogram_record(h, 5);
    lensd_histogram_cumulate(h, bounds, 2, counts);
    assert_int_equal(counts[0], 1);
    assert_int_equal(counts[1], 1);
    assert_int_equal(counts[2], 2);
    free(h);
}

static void a_bucket_counts_on_beyond_32_bits(void **state)
{
    (void)state;
    static const uint64_t bounds[] = {1000};
    struct lensd_histogram *h = calloc(1, sizeof *h);
    uint64_t counts[2];
    h->buckets[7] = UINT32_MAX;
    lensd_histogram_record(h, 7);
    lensd_histogram_cumulate(h, bounds, 1, counts);
    assert_true(counts[0] == UINT64_C(1) << 32);
    free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_histogram_says_zero),
        cmocka_unit_test(quantiles_are_within_one_percent_of_sorted_values),
        cmocka_unit_test(values_beyond_the_range_count_in_the_last_bucket),
        cmocka_unit_test(counts_at_a_bound_are_those_at_most_it_but_for_a_sixtyfourth),
        cmocka_unit_test(edges_of_buckets_are_exact_bounds),
        cmocka_unit_test(what_is_beyond_the_range_is_below_no_bound),
        cmocka_unit_test(a_bucket_counts_on_beyond_32_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
