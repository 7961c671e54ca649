/* What follows the first-layer sums of one row: scale, bias and ReLU, and the last layer. Included by each variant's
 * file so that the compiler vectorises it for that variant; written so that the order of additions is part of the
 * code (16 partial sums by index, then folded), never the compiler's choice.
 *
 * ReLU is `0 > v ? 0 : v`: a NaN (weights that aren't finite) stays a NaN instead of turning into a quiet zero. */
#ifndef LENS_CPU_TAIL_H
#define LENS_CPU_TAIL_H

#include "kernels/cpu/kernel.h"

#define TAIL_SUMS 16u

static inline float tail_relu(float v)
{
    return 0.0f > v ? 0.0f : v;
}

static inline void tail_hidden(const struct cpu_hidden *hidden, bool integer, float *out)
{
    const float *b1 = hidden->b1, *scale = hidden->scale;
    if (integer) {
        const int32_t *acc = hidden->acc, *bias = hidden->bias;
        /* unsigned: dpbusd's sums and the bias may both wrap, their difference does not */
        for (uint32_t i = 0; i < hidden->outputs; i++) {
            int32_t sum = (int32_t)((uint32_t)acc[i] - (uint32_t)bias[i]);
            out[i] = tail_relu((float)sum * (hidden->x_scale * scale[i]) + b1[i]);
        }
    } else if (scale != NULL) {
        const float *acc = hidden->acc;
        for (uint32_t i = 0; i < hidden->outputs; i++)
            out[i] = tail_relu(acc[i] * scale[i] + b1[i]);
    } else {
        const float *acc = hidden->acc;
        for (uint32_t i = 0; i < hidden->outputs; i++)
            out[i] = tail_relu(acc[i] + b1[i]);
    }
}

static inline float tail_logit(const float *acc, const float *b2, const float *w3, float b3, uint32_t h2)
{
    float sums[TAIL_SUMS] = {0};
    uint32_t whole = h2 / TAIL_SUMS * TAIL_SUMS;
    for (uint32_t i = 0; i < whole; i += TAIL_SUMS)
        for (uint32_t k = 0; k < TAIL_SUMS; k++)
            sums[k] += w3[i + k] * tail_relu(acc[i + k] + b2[i + k]);
    for (uint32_t i = whole; i < h2; i++)
        sums[i - whole] += w3[i] * tail_relu(acc[i] + b2[i]);
    for (uint32_t half = TAIL_SUMS / 2; half > 0; half /= 2)
        for (uint32_t k = 0; k < half; k++)
            sums[k] += sums[k + half];
    return sums[0] + b3;
}

#endif
