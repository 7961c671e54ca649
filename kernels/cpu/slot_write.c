/* Writing lenses into slots: stored W1 -> the slab's dtype -> the kernel's layout, and W2 beside it.
 *
 * Equal stored and slab dtypes move the very bits, straight from where they were read to. */
#include "kernels/cpu/cpu.h"
#include "proto/quantize.h"

#include <emmintrin.h>
#include <errno.h>

/* Units packed at a time: 256 bytes of each row. */
#define PACK_UNITS 64u

void cpu_decode_row(const struct lens_slot_write *w, uint32_t h, uint32_t dim, float *out)
{
    size_t at = (size_t)h * dim;
    switch (w->stored) {
    case LENS_F32:
        memcpy(out, (const float *)w->w1 + at, (size_t)dim * 4);
        break;
    case LENS_BF16:
        for (uint32_t d = 0; d < dim; d++)
            out[d] = lens_f32_from_bf16(((const uint16_t *)w->w1)[at + d]);
        break;
    case LENS_I8:
        for (uint32_t d = 0; d < dim; d++)
            out[d] = (float)((const int8_t *)w->w1)[at + d] * w->scale[h];
        break;
    default: /* LENS_LOG8: cpu_slot_write lets nothing else through */
        lens_log8_decode((const uint8_t *)w->w1 + at, w->sign + (size_t)h * ((dim + 7) / 8), dim, w->log_min[h],
                         w->log_max[h], out);
        break;
    }
}

/* Row h in the slab's dtype into `out`; `scale` is set for int8. */
static void convert_row(const struct lens_slot_write *w, uint32_t h, uint32_t dim, enum lens_dtype dtype, float *row,
                        void *out, float *scale)
{
    size_t bytes = (size_t)dim * lens_dtype_bytes(dtype);
    if (w->stored == dtype) {
        memcpy(out, (const char *)w->w1 + bytes * h, bytes);
        *scale = w->scale != NULL ? w->scale[h] : 1.0f;
        return;
    }
    cpu_decode_row(w, h, dim, dtype == LENS_F32 ? out : row);
    *scale = 1.0f;
    if (dtype == LENS_BF16) {
        for (uint32_t d = 0; d < dim; d++)
            ((uint16_t *)out)[d] = lens_bf16_from_f32(row[d]);
    } else if (dtype == LENS_I8) {
        lens_int8_encode(row, dim, out, scale);
    }
}

/* Sum of n codes (a multiple of 4): 16 at a time as bytes + 128, whose sums the processor takes in one step. */
static int32_t sum_of_codes(const void *codes, uint32_t n)
{
    const int8_t *code = codes;
    __m128i sums = _mm_setzero_si128();
    uint32_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __m128i biased = _mm_xor_si128(_mm_loadu_si128((const __m128i *)(code + i)), _mm_set1_epi8(-128));
        sums = _mm_add_epi64(sums, _mm_sad_epu8(biased, _mm_setzero_si128()));
    }
    int64_t halves[2];
    _mm_storeu_si128((__m128i *)halves, sums);
    int32_t sum = (int32_t)(halves[0] + halves[1] - 128 * (int64_t)i);
    for (; i < n; i++)
        sum += code[i];
    return sum;
}

/* A few units of all rows at a time: the slot is written as one ascending stream, and what is read and written at once
 * stays in the first-level cache. */
void cpu_pack_panel(const struct cpu_slab *slab, const struct cpu_kernel *kernel, uint32_t group,
                    const void *const *rows, uint32_t width, uint32_t units, uint8_t *out)
{
    size_t stride = (size_t)width * 4;
    for (uint32_t first = 0; first < units; first += PACK_UNITS) {
        uint32_t n = units - first < PACK_UNITS ? units - first : PACK_UNITS;
        for (uint32_t o = 0; o < width; o += kernel->lanes)
            slab->variant->pack(rows + o, first, n, group, out + first * stride + (size_t)o * 4, stride);
    }
}

uint32_t cpu_panel_width(const struct cpu_kernel *kernel, const struct cpu_matrix *matrix, uint32_t first)
{
    return matrix->padded - first < kernel->panel ? matrix->padded - first : kernel->panel;
}

/* Row h of W1 in the slab's dtype: where it was stored when it can be used there, else converted into `room`. */
static const void *w1_row(const struct cpu_slab *slab, const struct lens_slot_write *w, uint32_t h, uint8_t *room,
                          float *row, float *scale)
{
    enum lens_dtype dtype = slab->first->dtype;
    size_t bytes = (size_t)slab->w1.dim * lens_dtype_bytes(dtype);
    if (w->stored == dtype && bytes % 4 == 0) {
        *scale = w->scale != NULL ? w->scale[h] : 1.0f;
        return (const char *)w->w1 + bytes * h;
    }
    memset(room + ((size_t)slab->w1.units - 1) * 4, 0, 4);
    convert_row(w, h, slab->w1.dim, dtype, row, room, scale);
    return room;
}

static void write_w1(const struct cpu_slab *slab, const struct lens_slot_write *w, struct cpu_write_scratch *scratch)
{
    const struct cpu_kernel *kernel = slab->first;
    uint8_t *slot = cpu_slot(slab, w->slot);
    float *scales = (void *)(slot + slab->layout.scale);
    int32_t *bias = (void *)(slot + slab->layout.bias);
    const void *rows[CPU_MAX_PANEL];
    for (uint32_t first = 0; first < slab->w1.padded; first += kernel->panel) {
        uint32_t width = cpu_panel_width(kernel, &slab->w1, first);
        for (uint32_t i = 0; i < width; i++) {
            uint32_t h = first + i;
            float scale = 0.0f;
            rows[i] = h < slab->w1.outputs
                          ? w1_row(slab, w, h, scratch->rows + slab->row_stride * i, scratch->row, &scale)
                          : scratch->zeros;
            if (kernel->dtype == LENS_I8) {
                scales[h] = scale;
                bias[h] = kernel->x_form == CPU_X_U8 ? 128 * sum_of_codes(rows[i], slab->w1.units * 4) : 0;
            }
        }
        cpu_pack_panel(slab, kernel, kernel->dtype == LENS_I8 ? kernel->group : 4, rows, width, slab->w1.units,
                       slot + (size_t)first * slab->w1.units * 4);
    }
}

static void write_w2(const struct cpu_slab *slab, const struct lens_slot_write *w, struct cpu_write_scratch *scratch)
{
    const struct cpu_kernel *kernel = slab->second;
    const struct cpu_matrix *matrix = &slab->w2;
    size_t bytes = (size_t)matrix->dim * lens_dtype_bytes(kernel->dtype);
    const char *source = (const char *)slab->base.model.w2 + bytes * matrix->outputs * w->lens;
    uint8_t *packed = cpu_slot(slab, w->slot) + slab->layout.w2;
    const void *rows[CPU_MAX_PANEL];
    for (uint32_t first = 0; first < matrix->padded; first += kernel->panel) {
        uint32_t width = cpu_panel_width(kernel, matrix, first);
        for (uint32_t i = 0; i < width; i++) {
            uint8_t *room = scratch->rows + slab->row_stride * i;
            uint32_t o = first + i;
            rows[i] = o < matrix->outputs ? source + bytes * o : (const char *)scratch->zeros;
            if (o < matrix->outputs && bytes % 4 != 0) {
                memset(room + ((size_t)matrix->units - 1) * 4, 0, 4);
                rows[i] = memcpy(room, source + bytes * o, bytes);
            }
        }
        cpu_pack_panel(slab, kernel, 4, rows, width, matrix->units, packed + (size_t)first * matrix->units * 4);
    }
}

static int check_write(const struct lens_slab *slab, const struct lens_slot_write *w, struct lens_error *err)
{
    uint32_t slots = __atomic_load_n(&slab->config.slots, __ATOMIC_RELAXED); /* others may come and go meanwhile */
    int rc = lens_slot_write_check(slab, w, w->slot < slots, err);
    if (rc != 0)
        return rc;
    bool ranges = w->stored == LENS_LOG8 && slab->config.dtype == LENS_LOG8;
    return ranges ? cpu_log8_check(w, slab->model.h1, err) : 0;
}

int cpu_slot_write(struct lens_slab *base, uint32_t loader, const struct lens_slot_write *writes, uint32_t n,
                   lens_slot_done_fn done, void *arg, struct lens_error *err)
{
    struct cpu_slab *slab = (struct cpu_slab *)base;
    if (loader >= base->config.loaders)
        return lens_error_set(err, -EINVAL, "no loader %u: the slab was made for %u", loader, base->config.loaders);
    for (uint32_t i = 0; i < n; i++) {
        int rc = check_write(base, &writes[i], err);
        if (rc != 0)
            return rc;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (slab->first->dtype == LENS_LOG8)
            cpu_write_log8(slab, &writes[i], &slab->write_scratch[loader]);
        else
            write_w1(slab, &writes[i], &slab->write_scratch[loader]);
        write_w2(slab, &writes[i], &slab->write_scratch[loader]);
    }
    _mm_sfence(); /* cpu_variant.pack */
    if (done != NULL)
        done(arg, 0);
    return 0;
}

uint64_t cpu_slot_bytes(const struct lens_slab *slab)
{
    return ((const struct cpu_slab *)slab)->layout.stride;
}
