/* Encoding one row of W1 and decoding it again: the arithmetic of the dtypes of packs (DESIGN 3, SEEDS Q1) and slots.
 * Pure functions, any thread. All results are the same on every machine (no fused or reordered arithmetic matters:
 * each element is independent but for the row's maximum). */
#ifndef LENS_QUANTIZE_H
#define LENS_QUANTIZE_H

#include <stdint.h>

/* int8: scale = max|w|/127, codes = w/scale rounded half to even; a zero row has scale 0 and codes 0. */
void lens_int8_encode(const float *w, uint32_t n, int8_t *codes, float *scale);

/* fp8: e4m3 (4 bits of exponent with bias 7, 3 of mantissa, no infinities, 0x7f and 0xff are NaN, largest 448). Half to
 * even; beyond 448 the code is that of 448; NaN stays NaN. Decoding is exact. */
uint8_t lens_fp8_of_f32(float v);
float lens_f32_of_fp8(uint8_t code);

/* A row: scale = max|w|/448, codes = w/scale; a zero row has scale 0 and codes 0. A row with NaN has a NaN scale, one
 * with Inf an infinite one: its sums aren't finite then, whatever the codes say. */
void lens_fp8_encode(const float *w, uint32_t n, uint8_t *codes, float *scale);
void lens_fp8_decode(const uint8_t *codes, uint32_t n, float scale, float *w);

/* log8: sign has ceil(n/8) bytes, bit k of byte j = sign of weight 8j+k. A row without weights >= 1e-8: range 0,0. */
void lens_log8_encode(const float *w, uint32_t n, uint8_t *codes, uint8_t *sign, float *log_min, float *log_max);
void lens_log8_decode(const uint8_t *codes, const uint8_t *sign, uint32_t n, float log_min, float log_max, float *w);

#endif
