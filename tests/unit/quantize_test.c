/* Encodings of W1 rows: rounding, ranges, signs, and the errors they cost. */
#include "proto/dtype.h"
#include "proto/quantize.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define N 2560

static float gaussian(unsigned *seed)
{
    double sum = 0;
    for (int i = 0; i < 12; i++)
        sum += (double)rand_r(seed) / RAND_MAX;
    return (float)((sum - 6) * 0.05);
}

static unsigned new_seed(void)
{
    unsigned seed = (unsigned)time(NULL);
    print_message("seed %u\n", seed);
    return seed;
}

static void int8_rounds_half_to_even(void **state)
{
    (void)state;
    const float w[] = {127, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -2.5f, 126.5f, -127};
    const int8_t expected[] = {127, 0, 2, 2, 0, -2, -2, 126, -127};
    int8_t codes[9];
    float scale = NAN;
    memset(codes, 0x55, sizeof codes);
    lens_int8_encode(w, 9, codes, &scale);
    assert_true(scale == 1.0f);
    assert_memory_equal(codes, expected, sizeof codes);
}

static void int8_stays_within_half_a_step(void **state)
{
    (void)state;
    unsigned seed = new_seed();
    float w[N];
    int8_t codes[N];
    float scale;
    float largest = 0;
    for (int i = 0; i < N; i++) {
        w[i] = gaussian(&seed);
        largest = fmaxf(largest, fabsf(w[i]));
    }
    memset(codes, 0x55, sizeof codes);
    lens_int8_encode(w, N, codes, &scale);
    assert_true(scale == largest / 127.0f);
    for (int i = 0; i < N; i++) {
        /* w / scale is rounded to f32 before it is rounded to a code: by 2^-24 of itself at most. */
        double steps = 0.5 + fabs((double)w[i] / (double)scale) * ldexp(1, -24);
        assert_true(fabs((double)w[i] - (double)codes[i] * (double)scale) <= steps * (double)scale);
        assert_int_equal(codes[i], (int)nearbyintf(w[i] / scale)); /* half to even, the default rounding */
    }
}

static void int8_of_a_zero_row_has_scale_0(void **state)
{
    (void)state;
    const float w[5] = {0, -0.0f, 0, 0, 0};
    int8_t codes[5];
    float scale = NAN;
    memset(codes, 0x55, sizeof codes);
    lens_int8_encode(w, 5, codes, &scale);
    assert_true(scale == 0.0f);
    for (int i = 0; i < 5; i++)
        assert_int_equal(codes[i], 0);
}

static void int8_survives_the_smallest_and_the_largest_floats(void **state)
{
    (void)state;
    const float tiny[] = {0x1p-149f, -0x1p-149f, 200 * 0x1p-149f, -200 * 0x1p-149f};
    const float huge[] = {FLT_MAX, -FLT_MAX, 1};
    int8_t codes[4];
    float scale;
    lens_int8_encode(tiny, 4, codes, &scale);
    assert_true(isfinite(scale));
    assert_true(codes[2] > 0 && codes[3] == -codes[2]);
    lens_int8_encode(huge, 3, codes, &scale);
    assert_true(isfinite(scale));
    assert_int_equal(codes[0], 127);
    assert_int_equal(codes[1], -127);
    assert_int_equal(codes[2], 0);
}

/* The value that e4m3's definition gives a code below 0x7f. */
static double e4m3(unsigned code)
{
    int exponent = (int)(code >> 3), mantissa = (int)(code & 7);
    return exponent == 0 ? ldexp(mantissa, -9) : ldexp(8 + mantissa, exponent - 10);
}

static void fp8_codes_decode_to_what_e4m3_says_and_encode_again(void **state)
{
    (void)state;
    assert_true(e4m3(0x7e) == 448);
    for (unsigned code = 0; code < 0x7f; code++) {
        assert_true((double)lens_f32_of_fp8((uint8_t)code) == e4m3(code));
        assert_true((double)lens_f32_of_fp8((uint8_t)(code | 0x80)) == -e4m3(code));
        assert_int_equal(lens_fp8_of_f32((float)e4m3(code)), code);
        assert_int_equal(lens_fp8_of_f32(-(float)e4m3(code)), code | 0x80);
    }
    assert_true(isnan(lens_f32_of_fp8(0x7f)) && isnan(lens_f32_of_fp8(0xff)));
}

static void fp8_rounds_half_to_even_between_all_codes(void **state)
{
    (void)state;
    for (unsigned code = 0; code < 0x7e; code++) {
        float middle = (float)((e4m3(code) + e4m3(code + 1)) / 2);
        assert_int_equal(lens_fp8_of_f32(middle), code % 2 == 0 ? code : code + 1);
        assert_int_equal(lens_fp8_of_f32(nextafterf(middle, 0)), code);
        assert_int_equal(lens_fp8_of_f32(nextafterf(middle, 1000)), code + 1);
        assert_int_equal(lens_fp8_of_f32(-nextafterf(middle, 1000)), (code + 1) | 0x80);
    }
}

static void fp8_saturates_and_keeps_nan(void **state)
{
    (void)state;
    assert_int_equal(lens_fp8_of_f32(nextafterf(448, 1000)), 0x7e);
    assert_int_equal(lens_fp8_of_f32(-1e30f), 0xfe);
    assert_int_equal(lens_fp8_of_f32(INFINITY), 0x7e);
    assert_int_equal(lens_fp8_of_f32(0x1p-149f), 0);
    assert_int_equal(lens_fp8_of_f32(NAN) & 0x7f, 0x7f);
}

static void fp8_rows_are_scaled_to_448(void **state)
{
    (void)state;
    unsigned seed = new_seed();
    float w[N], back[N], scale = NAN, largest = 0;
    uint8_t codes[N];
    for (int i = 0; i < N; i++) {
        w[i] = gaussian(&seed);
        largest = fmaxf(largest, fabsf(w[i]));
    }
    memset(codes, 0x7f, sizeof codes);
    memset(back, 0x7f, sizeof back);
    lens_fp8_encode(w, N, codes, &scale);
    lens_fp8_decode(codes, N, scale, back);
    assert_true(scale == largest / 448.0f);
    for (int i = 0; i < N; i++) /* half a step of three bits, or of the smallest codes; and the division's rounding */
        assert_true(fabs((double)back[i] - (double)w[i]) <=
                    fmax(fabs((double)w[i]) * 0x1.00001p-4, (double)scale * 0x1.00001p-10));
}

static void fp8_rows_that_are_zero_or_not_finite_show_in_their_scale(void **state)
{
    (void)state;
    const float zero[2] = {0, -0.0f}, nan[2] = {1, NAN}, inf[2] = {-INFINITY, 1};
    uint8_t codes[2] = {0x7f, 0x7f};
    float scale = NAN;
    lens_fp8_encode(zero, 2, codes, &scale);
    assert_true(scale == 0 && codes[0] == 0 && (codes[1] & 0x7f) == 0);
    lens_fp8_encode(nan, 2, codes, &scale);
    assert_true(isnan(scale) && (codes[1] & 0x7f) == 0x7f);
    lens_fp8_encode(inf, 2, codes, &scale);
    assert_true(isinf(scale));
}

static void log8_costs_about_one_percent_on_average(void **state)
{
    (void)state;
    unsigned seed = new_seed();
    float w[N];
    float back[N];
    uint8_t codes[N];
    uint8_t sign[N / 8];
    float log_min;
    float log_max;
    double sum = 0;
    for (int i = 0; i < N; i++)
        w[i] = gaussian(&seed);
    memset(back, 0x7f, sizeof back);
    lens_log8_encode(w, N, codes, sign, &log_min, &log_max);
    lens_log8_decode(codes, sign, N, log_min, log_max, back);
    for (int i = 0; i < N; i++) {
        if (fabsf(w[i]) < 1e-8f)
            continue;
        double error = fabs((double)back[i] - (double)w[i]) / fabs((double)w[i]);
        assert_true(error <= 0.51 * ((double)log_max - (double)log_min) / 254.0);
        sum += error;
    }
    print_message("mean relative error %.4f\n", sum / N);
    assert_true(sum / N < 0.015);
}

static void log8_packs_signs_and_keeps_zero_zero(void **state)
{
    (void)state;
    const float w[11] = {1, -1, 0, -0.0f, 2, -2, 1e-9f, -1e-9f, -4, 4, -0.5f};
    uint8_t codes[12];
    uint8_t sign[3];
    float back[12];
    float log_min;
    float log_max;
    memset(codes, 0xaa, sizeof codes);
    memset(sign, 0xaa, sizeof sign);
    for (int i = 0; i < 12; i++)
        back[i] = 77;
    lens_log8_encode(w, 11, codes, sign, &log_min, &log_max);
    assert_int_equal(sign[0] & ~(1 << 7), 1 << 1 | 1 << 5); /* bit 7: -1e-9 has code 0, its sign means nothing */
    assert_int_equal(sign[1], 1 << 0 | 1 << 2);
    assert_int_equal(sign[2], 0xaa);
    assert_int_equal(codes[11], 0xaa);
    assert_int_equal(codes[8], 1);    /* the largest */
    assert_int_equal(codes[10], 255); /* the smallest */
    assert_int_equal(codes[2], 0);
    assert_int_equal(codes[6], 0);
    lens_log8_decode(codes, sign, 11, log_min, log_max, back);
    assert_true(back[11] == 77.0f);
    assert_true(back[2] == 0 && back[3] == 0 && back[6] == 0 && back[7] == 0);
    assert_true(!signbit(back[7]));
    for (int i = 0; i < 11; i++)
        if (codes[i] != 0)
            assert_true(fabsf(back[i] - w[i]) <= 0.005f * fabsf(w[i]));
}

static void log8_of_equal_weights_is_code_128_and_exact(void **state)
{
    (void)state;
    const float w[4] = {0.3f, -0.3f, 0.3f, 0};
    uint8_t codes[4];
    uint8_t sign[1];
    float back[4];
    float log_min;
    float log_max;
    lens_log8_encode(w, 4, codes, sign, &log_min, &log_max);
    assert_int_equal(codes[0], 128);
    assert_int_equal(codes[1], 128);
    assert_int_equal(codes[3], 0);
    assert_true(log_min == log_max);
    lens_log8_decode(codes, sign, 4, log_min, log_max, back);
    assert_true(fabsf(back[0] - 0.3f) < 1e-6f && fabsf(back[1] + 0.3f) < 1e-6f && back[3] == 0);
}

static void log8_of_a_row_without_weights_has_range_0(void **state)
{
    (void)state;
    const float w[3] = {0, 1e-9f, -0.9e-8f};
    uint8_t codes[3] = {9, 9, 9};
    uint8_t sign[1] = {0xff};
    float back[3] = {5, 5, 5};
    float log_min = NAN;
    float log_max = NAN;
    lens_log8_encode(w, 3, codes, sign, &log_min, &log_max);
    assert_true(log_min == 0 && log_max == 0);
    lens_log8_decode(codes, sign, 3, log_min, log_max, back);
    for (int i = 0; i < 3; i++)
        assert_true(codes[i] == 0 && back[i] == 0);
}

static void log8_decodes_the_largest_float_to_a_finite_one(void **state)
{
    (void)state;
    const float w[2] = {FLT_MAX, 1e-8f};
    uint8_t codes[2];
    uint8_t sign[1];
    float back[2];
    float log_min;
    float log_max;
    lens_log8_encode(w, 2, codes, sign, &log_min, &log_max);
    lens_log8_decode(codes, sign, 2, log_min, log_max, back);
    assert_true(isfinite(back[0]) && back[0] > 0.999f * FLT_MAX);
    assert_true(fabsf(back[1] - 1e-8f) < 1e-12f);
}

static void bf16_rounds_half_to_even_and_keeps_nan(void **state)
{
    (void)state;
    assert_int_equal(lens_bf16_from_f32(lens_f32_from_bits(0x3f808000)), 0x3f80); /* tie, even below */
    assert_int_equal(lens_bf16_from_f32(lens_f32_from_bits(0x3f818000)), 0x3f82); /* tie, even above */
    assert_int_equal(lens_bf16_from_f32(lens_f32_from_bits(0x3f808001)), 0x3f81);
    assert_int_equal(lens_bf16_from_f32(lens_f32_from_bits(0x3f807fff)), 0x3f80);
    assert_int_equal(lens_bf16_from_f32(FLT_MAX), 0x7f80);
    assert_true(isnan(lens_f32_from_bf16(lens_bf16_from_f32(lens_f32_from_bits(0x7f800001)))));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(int8_rounds_half_to_even),
        cmocka_unit_test(int8_stays_within_half_a_step),
        cmocka_unit_test(int8_of_a_zero_row_has_scale_0),
        cmocka_unit_test(int8_survives_the_smallest_and_the_largest_floats),
        cmocka_unit_test(fp8_codes_decode_to_what_e4m3_says_and_encode_again),
        cmocka_unit_test(fp8_rounds_half_to_even_between_all_codes),
        cmocka_unit_test(fp8_saturates_and_keeps_nan),
        cmocka_unit_test(fp8_rows_are_scaled_to_448),
        cmocka_unit_test(fp8_rows_that_are_zero_or_not_finite_show_in_their_scale),
        cmocka_unit_test(log8_costs_about_one_percent_on_average),
        cmocka_unit_test(log8_packs_signs_and_keeps_zero_zero),
        cmocka_unit_test(log8_of_equal_weights_is_code_128_and_exact),
        cmocka_unit_test(log8_of_a_row_without_weights_has_range_0),
        cmocka_unit_test(log8_decodes_the_largest_float_to_a_finite_one),
        cmocka_unit_test(bf16_rounds_half_to_even_and_keeps_nan),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
