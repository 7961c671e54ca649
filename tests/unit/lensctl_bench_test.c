/* The rows that lensctl bench sends, and its floor. lensctl is a program without a library, so the code under test is
 * compiled in here. */
#include "client/lensctl/bench_floor.c"        /* NOLINT(bugprone-suspicious-include) */
#include "client/lensctl/bench_rows.c"         /* NOLINT(bugprone-suspicious-include) */
#include "client/lensctl/hidden_states.c"      /* NOLINT(bugprone-suspicious-include) */
#include "client/lensctl/read_exactly.c"       /* NOLINT(bugprone-suspicious-include) */
#include "client/lensctl/safetensors_header.c" /* NOLINT(bugprone-suspicious-include) */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

int ctl_fail(int code, const char *format, ...)
{
    (void)format;
    return code;
}

static void random_rows_are_normally_distributed_and_the_same_each_time(void **state)
{
    struct bench_rows a, b;
    double sum = 0, squares = 0;
    (void)state;
    assert_int_equal(bench_rows_open(NULL, 100, &a), CTL_OK);
    assert_int_equal(bench_rows_open(NULL, 100, &b), CTL_OK);
    size_t n = (size_t)a.count * a.dim;
    assert_memory_equal(a.data, b.data, n * sizeof(float));
    for (size_t i = 0; i < n; i++) {
        double x = (double)((const float *)a.data)[i];
        sum += x;
        squares += x * x;
    }
    assert_true(fabs(sum / (double)n) < 0.03);
    assert_true(fabs(squares / (double)n - 1) < 0.05);
    assert_memory_not_equal(a.data, a.data + a.dim * sizeof(float), a.dim * sizeof(float));
    bench_rows_close(&a);
    bench_rows_close(&b);
}

static void rows_begin_again_after_the_last(void **state)
{
    struct bench_rows rows;
    (void)state;
    assert_int_equal(bench_rows_open(NULL, 8, &rows), CTL_OK);
    float *taken = calloc((size_t)rows.count + 2, 8 * sizeof *taken);
    assert_non_null(taken);
    bench_rows_take(&rows, 1, taken);
    bench_rows_take(&rows, rows.count + 1, taken + 8);
    assert_memory_equal(taken, rows.data, rows.count * 8 * sizeof *taken);
    assert_memory_equal(taken + (size_t)rows.count * 8, rows.data, 2 * 8 * sizeof *taken);
    free(taken);
    bench_rows_close(&rows);
}

static void a_file_that_is_not_of_the_packs_size_is_refused(void **state)
{
    struct bench_rows rows;
    (void)state;
    assert_int_equal(bench_rows_open("tests/fixtures/hatcat-small/tokens.npy", 40, &rows), CTL_OK);
    assert_true(rows.count > 1);
    bench_rows_close(&rows);
    assert_int_equal(bench_rows_open("tests/fixtures/hatcat-small/tokens.npy", 41, &rows), CTL_FAILED);
    assert_null(rows.data);
    assert_int_equal(bench_rows_open("no such file", 40, &rows), CTL_FAILED);
}

static void the_floor_grows_with_the_bytes_and_is_unknown_where_it_means_nothing(void **state)
{
    (void)state;
    double small = bench_floor_ns(64 << 10, 1), large = bench_floor_ns(64 << 20, 1);
    assert_true(small > 0);
    assert_true(large > 50 * small); /* a thousand times as much */
    assert_true(bench_floor_ns(1 << 20, 2) > 0);
    assert_true(bench_floor_ns(0, 1) == 0);
    assert_true(bench_floor_ns(1 << 20, 0) == 0);
    assert_true(bench_floor_ns(1 << 20, 1000) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_rows_are_normally_distributed_and_the_same_each_time),
        cmocka_unit_test(rows_begin_again_after_the_last),
        cmocka_unit_test(a_file_that_is_not_of_the_packs_size_is_refused),
        cmocka_unit_test(the_floor_grows_with_the_bytes_and_is_unknown_where_it_means_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
