/* The matrix units and small conversions of the emulated card. Products of bf16 are exact in f32; sums are rounded to
 * f32 after each addition, k ascending. A card adds in an order of its own. */
#include "emulator.h"

#include <math.h>
#include <string.h>

static float float_of_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

static uint32_t bits_of_float(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

/* Where word `i` of lane's accumulators lies in the 16x8 result. */
static unsigned acc_row(unsigned lane, unsigned i)
{
    return lane / 4 + 8 * (i / 2);
}
static unsigned acc_column(unsigned lane, unsigned i)
{
    return lane % 4 * 2 + i % 2;
}

void emulator_mma_bf16(struct emulator_fragments lanes[32])
{
    float a[16][16], b[16][8], c[16][8];
    for (unsigned lane = 0; lane < 32; lane++) {
        struct emulator_fragments *f = &lanes[lane];
        unsigned g = lane / 4, k = lane % 4 * 2;
        for (unsigned i = 0; i < 4; i++) {
            a[g + 8 * (i % 2)][k + 8 * (i / 2)] = float_of_bits(f->a[i] << 16);
            a[g + 8 * (i % 2)][k + 8 * (i / 2) + 1] = float_of_bits(f->a[i] & 0xffff0000u);
            c[acc_row(lane, i)][acc_column(lane, i)] = float_of_bits(f->acc[i]);
        }
        for (unsigned i = 0; i < 2; i++) {
            b[k + 8 * i][g] = float_of_bits(f->b[i] << 16);
            b[k + 8 * i + 1][g] = float_of_bits(f->b[i] & 0xffff0000u);
        }
    }
    for (unsigned m = 0; m < 16; m++)
        for (unsigned k = 0; k < 16; k++)
            for (unsigned n = 0; n < 8; n++)
                c[m][n] += a[m][k] * b[k][n];
    for (unsigned lane = 0; lane < 32; lane++)
        for (unsigned i = 0; i < 4; i++)
            lanes[lane].acc[i] = bits_of_float(c[acc_row(lane, i)][acc_column(lane, i)]);
}

static int32_t byte_of(uint32_t word, unsigned i)
{
    return (int8_t)(word >> (8 * i));
}

void emulator_mma_s8(struct emulator_fragments lanes[32])
{
    int32_t a[16][32], b[32][8];
    uint32_t c[16][8]; /* wraps, as the card's does */
    for (unsigned lane = 0; lane < 32; lane++) {
        struct emulator_fragments *f = &lanes[lane];
        unsigned g = lane / 4, k = lane % 4 * 4;
        for (unsigned i = 0; i < 4; i++) {
            for (unsigned j = 0; j < 4; j++)
                a[g + 8 * (i % 2)][k + 16 * (i / 2) + j] = byte_of(f->a[i], j);
            c[acc_row(lane, i)][acc_column(lane, i)] = f->acc[i];
        }
        for (unsigned i = 0; i < 2; i++)
            for (unsigned j = 0; j < 4; j++)
                b[k + 16 * i + j][g] = byte_of(f->b[i], j);
    }
    for (unsigned m = 0; m < 16; m++)
        for (unsigned k = 0; k < 32; k++)
            for (unsigned n = 0; n < 8; n++)
                c[m][n] += (uint32_t)(a[m][k] * b[k][n]);
    for (unsigned lane = 0; lane < 32; lane++)
        for (unsigned i = 0; i < 4; i++)
            lanes[lane].acc[i] = c[acc_row(lane, i)][acc_column(lane, i)];
}

static uint64_t bits_of_double(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

/* x + y rounded to odd, so that rounding once more to fewer bits is as if done once. */
static double add_to_odd(double x, double y)
{
    double sum = x + y, back = sum - x;
    double rest = (x - (sum - back)) + (y - back);
    uint64_t bits = bits_of_double(sum);
    if (isfinite(sum) && rest != 0 && bits % 2 == 0) {
        bits += (rest > 0) == (sum > 0) ? 1 : -1;
        memcpy(&sum, &bits, sizeof(sum));
    }
    return sum;
}

/* To bf16, half to even, by the spacing of bf16 around it. */
static uint32_t bf16_of_double(double value)
{
    if (isnan(value))
        return 0x7fff;
    int exponent;
    frexp(value, &exponent);
    double unit = ldexp(1, exponent - 8 < -133 ? -133 : exponent - 8);
    double rounded = isinf(value) ? value : rint(value / unit) * unit;
    return bits_of_float((float)rounded) >> 16; /* exact, or overflows to infinity */
}

uint32_t emulator_fma_bf16(uint32_t a, uint32_t b, uint32_t c)
{
    double product = (double)float_of_bits(a << 16) * (double)float_of_bits(b << 16);
    return bf16_of_double(add_to_odd(product, (double)float_of_bits(c << 16)));
}
