/* See quantize.h. */
#include "proto/quantize.h"

#include "proto/dtype.h"

#include <float.h>
#include <math.h>

#define FP8_LARGEST   448.0f
#define LOG8_SMALLEST 1e-8f
#define LOG8_MIDDLE   128 /* the code of every weight of a row whose smallest and largest are the same */

/* Half to even, for |x| < 2^22: adding 1.5*2^23 leaves no room for a fraction. */
static inline float round_half_even(float x)
{
    const float shift = 12582912.0f;
    return (x + shift) - shift;
}

/* Compared as integers, whose order is that of the magnitudes: compilers turn this into vector code. */
static float largest_magnitude(const float *w, uint32_t n)
{
    uint32_t largest = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t magnitude = lens_f32_bits(w[i]) & 0x7fffffffu;
        largest = magnitude > largest ? magnitude : largest;
    }
    return lens_f32_from_bits(largest);
}

void lens_int8_encode(const float *w, uint32_t n, int8_t *codes, float *scale)
{
    const float step = largest_magnitude(w, n) / 127.0f;
    const float divisor = step > 0 ? step : 1; /* then all weights are 0, or too small for any code but 0 */
    for (uint32_t i = 0; i < n; i++) {
        float code = round_half_even(w[i] / divisor);
        /* With a subnormal step the quotient may pass 127. */
        code = code < 127 ? code : 127;
        code = code > -127 ? code : -127;
        codes[i] = (int8_t)(int32_t)code;
    }
    *scale = step;
}

uint8_t lens_fp8_of_f32(float v)
{
    const uint32_t bits = lens_f32_bits(v), sign = bits >> 24 & 0x80u, magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u)
        return (uint8_t)(sign | 0x7fu);
    if (magnitude >= lens_f32_bits(FP8_LARGEST))
        return (uint8_t)(sign | 0x7eu);
    if (magnitude < lens_f32_bits(0x1p-6f)) /* subnormal codes: steps of 2^-9; 8 of them are the smallest normal */
        return (uint8_t)(sign | (uint32_t)(int32_t)round_half_even(lens_f32_from_bits(magnitude) * 0x1p9f));
    /* Three bits of mantissa are left; a carry goes on into the exponent. Biases are 127 and 7. */
    uint32_t rounded = (magnitude + 0x7ffffu + (magnitude >> 20 & 1u)) >> 20;
    return (uint8_t)(sign | (rounded - (120u << 3)));
}

float lens_f32_of_fp8(uint8_t code)
{
    const uint32_t exponent = code >> 3 & 0xfu, mantissa = code & 7u;
    float magnitude;
    if ((code & 0x7fu) == 0x7fu)
        magnitude = lens_f32_from_bits(0x7fc00000u);
    else if (exponent == 0)
        magnitude = (float)mantissa * 0x1p-9f;
    else
        magnitude = lens_f32_from_bits((exponent + 120u) << 23 | mantissa << 20);
    return code & 0x80u ? -magnitude : magnitude;
}

void lens_fp8_encode(const float *w, uint32_t n, uint8_t *codes, float *scale)
{
    const float step = largest_magnitude(w, n) / FP8_LARGEST;
    const float divisor = step > 0 ? step : 1; /* as in lens_int8_encode */
    for (uint32_t i = 0; i < n; i++)
        codes[i] = lens_fp8_of_f32(w[i] / divisor);
    *scale = step;
}

void lens_fp8_decode(const uint8_t *codes, uint32_t n, float scale, float *w)
{
    for (uint32_t i = 0; i < n; i++)
        w[i] = lens_f32_of_fp8(codes[i]) * scale;
}

static void log_range(const float *w, uint32_t n, float *log_min, float *log_max)
{
    float smallest = FLT_MAX;
    float largest = 0;
    for (uint32_t i = 0; i < n; i++) {
        float magnitude = fabsf(w[i]);
        if (magnitude < LOG8_SMALLEST)
            continue;
        smallest = magnitude < smallest ? magnitude : smallest;
        largest = magnitude > largest ? magnitude : largest;
    }
    *log_min = largest > 0 ? (float)log((double)smallest) : 0;
    *log_max = largest > 0 ? (float)log((double)largest) : 0;
}

static uint8_t log_code(float magnitude, double log_min, double span)
{
    if (magnitude < LOG8_SMALLEST)
        return 0;
    if (span <= 0)
        return LOG8_MIDDLE;
    const double shift = 6755399441055744.0; /* rounds as above, in f64 */
    double code = (255.0 - 254.0 * (log((double)magnitude) - log_min) / span + shift) - shift;
    return (uint8_t)(code > 1 ? (code < 255 ? code : 255) : 1); /* 1 for NaN too */
}

void lens_log8_encode(const float *w, uint32_t n, uint8_t *codes, uint8_t *sign, float *log_min, float *log_max)
{
    log_range(w, n, log_min, log_max);
    double span = (double)*log_max - (double)*log_min;
    for (uint32_t i = 0; i < (n + 7) / 8; i++)
        sign[i] = 0;
    for (uint32_t i = 0; i < n; i++) {
        codes[i] = log_code(fabsf(w[i]), *log_min, span);
        if (w[i] < 0)
            sign[i / 8] |= (uint8_t)(1u << (i % 8));
    }
}

void lens_log8_decode(const uint8_t *codes, const uint8_t *sign, uint32_t n, float log_min, float log_max, float *w)
{
    float value[512]; /* negative from 256 on: signs are as good as random, and a branch on them would cost the most */
    double span = (double)log_max - (double)log_min;
    value[0] = 0;
    value[256] = 0;
    for (int code = 1; code < 256; code++) {
        double exact = exp((double)log_min + (255 - code) / 254.0 * span);
        value[code] = exact < (double)FLT_MAX ? (float)exact : FLT_MAX;
        value[256 + code] = -value[code];
    }
    for (uint32_t i = 0; i < n; i++)
        w[i] = value[codes[i] | (unsigned)(sign[i / 8] >> (i % 8) & 1) << 8];
}
