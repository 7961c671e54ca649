/* Encoding one row of W1 and decoding it again: the arithmetic of the pack's dtypes (DESIGN 3, SEEDS Q1).
 * Pure functions, any thread. All results are the same on every machine (no fused or reordered arithmetic matters:
 * each element is independent but for the row's maximum). */
#ifndef LENS_QUANTIZE_H
#define LENS_QUANTIZE_H

#include <stdint.h>

/* int8: scale = max|w|/127, codes = w/scale rounded half to even; a zero row has scale 0 and codes 0. */
void lens_int8_encode(const float *w, uint32_t n, int8_t *codes, float *scale);

/* log8: sign has ceil(n/8) bytes, bit k of byte j = sign of weight 8j+k. A row without weights >= 1e-8: range 0,0. */
void lens_log8_encode(const float *w, uint32_t n, uint8_t *codes, uint8_t *sign, float *log_min, float *log_max);
void lens_log8_decode(const uint8_t *codes, const uint8_t *sign, uint32_t n, float log_min, float log_max, float *w);

#endif
