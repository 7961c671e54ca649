/* Writing log8 slots: codes and signs as stored, packed, and for each output what its codes mean. Weights stored
 * otherwise are encoded here; that takes a logarithm a weight and is slow. */
#include "kernels/cpu/cpu.h"
#include "proto/quantize.h"

#include <errno.h>
#include <math.h>

#define LN2 0.69314718055994531

/* The logarithm's step from one code to the next, in powers of two: codes count downwards from the largest weight. */
static double step_of(float log_min, float log_max)
{
    return -((double)log_max - (double)log_min) / (254 * LN2);
}

int cpu_log8_check(const struct lens_slot_write *w, uint32_t h1, struct lens_error *err)
{
    for (uint32_t h = 0; h < h1; h++) {
        if (!(fabs(step_of(w->log_min[h], w->log_max[h])) <= CPU_LOG8_MAX_STEP))
            return lens_error_set(err, -EINVAL,
                                  "lens %u: the logarithms of output %u go from %g to %g, wider than those of f32 "
                                  "weights; the pack is damaged, import it again",
                                  w->lens, h, (double)w->log_min[h], (double)w->log_max[h]);
    }
    return 0;
}

static bool all_finite(const float *values, uint32_t n)
{
    uint32_t bad = 0;
    for (uint32_t i = 0; i < n; i++)
        bad |= (lens_f32_bits(values[i]) & 0x7f800000u) == 0x7f800000u;
    return bad == 0;
}

/* Codes and then signs of row h, padded to whole units, into `room`. */
static void convert_row(const struct cpu_slab *slab, const struct lens_slot_write *w, uint32_t h, uint8_t *room,
                        float *row, float *step, float *middle)
{
    uint32_t dim = slab->w1.dim, units = slab->w1.units, sign_units = cpu_sign_units(units);
    uint32_t sign_bytes = (dim + 7) / 8;
    uint8_t *codes = room, *signs = room + (size_t)units * 4;
    float log_min = 0.0f, log_max = 0.0f;
    bool finite = true;
    memset(signs + ((size_t)sign_units - 1) * 4, 0, 4);
    if (w->stored == LENS_LOG8) {
        memcpy(codes, (const uint8_t *)w->w1 + (size_t)h * dim, dim);
        memcpy(signs, w->sign + (size_t)h * sign_bytes, sign_bytes);
        log_min = w->log_min[h];
        log_max = w->log_max[h];
    } else {
        cpu_decode_row(w, h, dim, row);
        finite = all_finite(row, dim);
        if (!finite) /* the middle will say so */
            memset(row, 0, (size_t)dim * sizeof *row);
        lens_log8_encode(row, dim, codes, signs, &log_min, &log_max);
    }
    memset(codes + dim, 0, (size_t)units * 4 - dim);
    for (uint32_t d = 0; d < units * 4; d++)
        codes[d] ^= 0x80;
    *step = (float)step_of(log_min, log_max);
    *middle = finite ? (float)exp(((double)log_min + (double)log_max) / 2) : NAN;
}

void cpu_write_log8(const struct cpu_slab *slab, const struct lens_slot_write *w, struct cpu_write_scratch *scratch)
{
    const struct cpu_kernel *kernel = slab->first;
    uint8_t *slot = cpu_slot(slab, w->slot);
    uint32_t units = slab->w1.units, sign_units = cpu_sign_units(units);
    float *steps = (void *)(slot + slab->layout.steps), *middles = (void *)(slot + slab->layout.scale);
    const void *codes[CPU_MAX_PANEL], *signs[CPU_MAX_PANEL];
    for (uint32_t first = 0; first < slab->w1.padded; first += kernel->panel) {
        uint32_t width = cpu_panel_width(kernel, &slab->w1, first);
        for (uint32_t i = 0; i < width; i++) {
            uint32_t h = first + i;
            uint8_t *room = scratch->rows + slab->row_stride * i;
            codes[i] = signs[i] = scratch->zeros;
            steps[h] = middles[h] = 0.0f;
            if (h < slab->w1.outputs) {
                convert_row(slab, w, h, room, scratch->row, &steps[h], &middles[h]);
                codes[i] = room;
                signs[i] = room + (size_t)units * 4;
            }
        }
        cpu_pack_panel(slab, kernel, kernel->group, codes, width, units, slot + (size_t)first * units * 4);
        cpu_pack_panel(slab, kernel, 4, signs, width, sign_units,
                       slot + slab->layout.signs + (size_t)first * sign_units * 4);
    }
}
