/* Number formats that rows and lens weights come in, and the exact conversions between them.
 *
 * All functions are pure and safe on any thread. Conversions to f32 are exact; to bf16 they round half to even and
 * keep NaN a NaN. */
#ifndef LENS_DTYPE_H
#define LENS_DTYPE_H

#include <stdint.h>
#include <string.h>

/* Before functions that processors and cards share. */
#ifdef __CUDACC__
#define LENS_BOTH_SIDES __host__ __device__
#else
#define LENS_BOTH_SIDES
#endif

/* Values are part of the wire format (proto/lens.fbs, DType): never renumber. */
enum lens_dtype {
    LENS_F32 = 0,
    LENS_F16 = 1,
    LENS_BF16 = 2,
    LENS_I8 = 3,   /* codes with one f32 scale per row of W1 */
    LENS_LOG8 = 4, /* U8 codes of ln|w| with packed signs, SEEDS Q1 */
    LENS_FP8 = 5, /* e4m3 codes with one f32 scale per row of W1: only in slots of cards that have it, never in packs */
    LENS_DTYPES
};

/* "f32", "f16", "bf16", "int8", "log8", "fp8"; "?" outside the enum. */
const char *lens_dtype_name(enum lens_dtype dtype);

/* The inverse of lens_dtype_name; -EINVAL for any other text. */
int lens_dtype_parse(const char *text, enum lens_dtype *out);

/* Bytes of one element (log8: the code without its sign bit); 0 outside the enum. */
static inline uint32_t lens_dtype_bytes(enum lens_dtype dtype)
{
    static const uint32_t bytes[LENS_DTYPES] = {4, 2, 2, 1, 1, 1};
    return (unsigned)dtype < LENS_DTYPES ? bytes[dtype] : 0;
}

LENS_BOTH_SIDES static inline float lens_f32_from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

LENS_BOTH_SIDES static inline uint32_t lens_f32_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

LENS_BOTH_SIDES static inline float lens_f32_from_bf16(uint16_t half)
{
    return lens_f32_from_bits((uint32_t)half << 16);
}

LENS_BOTH_SIDES static inline uint16_t lens_bf16_from_f32(float value)
{
    uint32_t bits = lens_f32_bits(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)((bits >> 16) | 0x40u);
    return (uint16_t)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

/* IEEE binary16, subnormals included. */
LENS_BOTH_SIDES static inline float lens_f32_from_f16(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
    uint32_t exponent = (half >> 10) & 0x1fu;
    uint32_t mantissa = half & 0x3ffu;
    if (exponent == 0x1f)
        return lens_f32_from_bits(sign | 0x7f800000u | (mantissa << 13));
    if (exponent != 0)
        return lens_f32_from_bits(sign | ((exponent + 112) << 23) | (mantissa << 13));
    float magnitude = (float)mantissa * 0x1p-24f;
    return sign ? -magnitude : magnitude;
}

#endif
