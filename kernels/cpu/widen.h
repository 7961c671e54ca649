/* Many rows against bf16 or int8 weights in exact mode: each block is widened to f32 once and multiplied as f32.
 * Included after tiles.h by files that define KIND_F32 and `weight(kind, w, k)`. */
#ifndef LENS_CPU_WIDEN_H
#define LENS_CPU_WIDEN_H

#include "kernels/cpu/tiles.h"

/* Steps of one block: 16 KiB of a full AVX-512 panel, so that this block and the prefetched one share the
 * first-level cache. */
#define BLOCK_STEPS 64u
#define WIDEN_STEPS 32u

/* From this many rows on widening once costs less than widening in every tile of rows. */
#define WIDEN_BF16_ROWS 10u
#define WIDEN_I8_ROWS   4u

/* Unit-major vectors of `units` units -> step-major f32 vectors in scratch. */
INLINE void widen_block(enum kind kind, const char *w, uint32_t vectors, uint32_t units, float *scratch)
{
    uint32_t depth = kind == KIND_BF16 ? 2 : 4;
    for (uint32_t u = 0; u < units; u++)
        for (uint32_t v = 0; v < vectors; v++, w += sizeof(vec))
            for (uint32_t k = 0; k < depth; k++)
                vec_store(scratch + (((size_t)u * depth + k) * vectors + v) * LANES, weight(kind, w, k));
}

INLINE void product_widened(enum kind kind, const struct cpu_product *p)
{
    uint32_t panel = PANEL_VECTORS * LANES, depth = kind == KIND_BF16 ? 2 : 4;
    const char *weights = p->weights;
    for (uint32_t output = 0; output < p->padded; output += panel) {
        uint32_t width = p->padded - output < panel ? p->padded - output : panel;
        uint32_t block_units = WIDEN_STEPS / depth;
        for (uint32_t unit = 0; unit < p->units; unit += block_units) {
            uint32_t units = p->units - unit < block_units ? p->units - unit : block_units;
            size_t bytes = (size_t)width * 4 * units;
            widen_block(kind, weights, width / LANES, units, p->scratch);
            weights += bytes;
            block_run(KIND_F32, p,
                      &(struct block){.weights = (const char *)p->scratch,
                                      .vectors = width / LANES,
                                      .unit = unit,
                                      .steps = units * depth,
                                      .output = output,
                                      .x_offset = (size_t)unit * depth * 4,
                                      .next = weights,
                                      .next_bytes = bytes});
        }
    }
}

#endif
