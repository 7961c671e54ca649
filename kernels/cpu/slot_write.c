/* Writing lenses into slots: stored W1 -> the slab's dtype -> the kernel's layout, and W2 beside it.
 *
 * W1 is converted and packed `lanes` rows at a time, so that what is being turned around stays in the caches. Equal
 * stored and slab dtypes move the very bits. */
#include "kernels/cpu/cpu.h"
#include "proto/quantize.h"

#include <errno.h>

struct write_job {
    struct cpu_slab *slab;
    const struct lens_slot_write *writes;
};

/* One row of stored W1 as f32. */
static void decode_row(const struct lens_slot_write *w, uint32_t h, uint32_t dim, float *out)
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
    decode_row(w, h, dim, dtype == LENS_F32 ? out : row);
    *scale = 1.0f;
    if (dtype == LENS_BF16) {
        for (uint32_t d = 0; d < dim; d++)
            ((uint16_t *)out)[d] = lens_bf16_from_f32(row[d]);
    } else if (dtype == LENS_I8) {
        lens_int8_encode(row, dim, out, scale);
    }
}

static int32_t sum_of_codes(const void *codes, uint32_t dim)
{
    int32_t sum = 0;
    for (uint32_t d = 0; d < dim; d++)
        sum += ((const int8_t *)codes)[d];
    return sum;
}

/* Reorders the bytes of int8 vectors from [lanes][4] to the kernel's [4/group][lanes][group], in place. */
static void regroup(const struct cpu_kernel *kernel, uint8_t *vectors, uint32_t count, size_t stride)
{
    uint32_t lanes = kernel->lanes, group = kernel->group;
    uint8_t order[CPU_MAX_LANES * 4], old[CPU_MAX_LANES * 4];
    for (uint32_t i = 0; i < lanes * 4; i++) {
        uint32_t part = i / (lanes * group), lane = i / group % lanes;
        order[i] = (uint8_t)(lane * 4 + part * group + i % group);
    }
    for (uint32_t v = 0; v < count; v++) {
        uint8_t *vector = vectors + v * stride;
        memcpy(old, vector, (size_t)lanes * 4);
        for (uint32_t i = 0; i < lanes * 4; i++)
            vector[i] = old[order[i]];
    }
}

/* Puts `lanes` rows (outputs first .. first+lanes) where the layout wants them. */
static void place_group(const struct cpu_slab *slab, const struct cpu_kernel *kernel, const struct cpu_matrix *matrix,
                        uint32_t first, const uint32_t *const *rows, uint8_t *packed)
{
    uint32_t panel = first / kernel->panel, within = first % kernel->panel;
    uint32_t left = matrix->padded - panel * kernel->panel;
    uint32_t width = left < kernel->panel ? left : kernel->panel;
    uint8_t *at = packed + ((size_t)panel * kernel->panel * matrix->units + within) * 4;
    slab->variant->transpose(rows, matrix->units, kernel->lanes, (uint32_t *)at, width);
    if (kernel->dtype == LENS_I8 && kernel->group != 4 && kernel->lanes > 1)
        regroup(kernel, at, matrix->units, (size_t)width * 4);
}

static void write_w1(const struct cpu_slab *slab, const struct lens_slot_write *w, struct cpu_scratch *scratch)
{
    const struct cpu_kernel *kernel = slab->first;
    uint8_t *slot = cpu_slot(slab, w->slot);
    float *scales = (float *)(slot + slab->layout.scale);
    int32_t *bias = (int32_t *)(slot + slab->layout.bias);
    const uint32_t *rows[CPU_MAX_LANES];
    for (uint32_t first = 0; first < slab->w1.padded; first += kernel->lanes) {
        for (uint32_t l = 0; l < kernel->lanes; l++) {
            uint32_t *row = scratch->group + (size_t)l * slab->group_units;
            uint32_t h = first + l;
            float scale = 0.0f;
            row[slab->w1.units - 1] = 0;
            rows[l] = row;
            if (h < slab->w1.outputs)
                convert_row(w, h, slab->w1.dim, kernel->dtype, scratch->row, row, &scale);
            else
                memset(row, 0, (size_t)slab->w1.units * 4);
            if (kernel->dtype == LENS_I8) {
                scales[h] = scale;
                bias[h] = kernel->x_form == CPU_X_U8 ? 128 * sum_of_codes(row, slab->w1.units * 4) : 0;
            }
        }
        place_group(slab, kernel, &slab->w1, first, rows, slot);
    }
}

static void write_w2(const struct cpu_slab *slab, const struct lens_slot_write *w, struct cpu_scratch *scratch)
{
    const struct cpu_kernel *kernel = slab->second;
    const struct cpu_matrix *matrix = &slab->w2;
    size_t bytes = (size_t)matrix->dim * lens_dtype_bytes(kernel->dtype);
    const char *source = (const char *)slab->base.model.w2 + bytes * matrix->outputs * w->lens;
    uint8_t *packed = cpu_slot(slab, w->slot) + slab->layout.w2;
    const uint32_t *rows[CPU_MAX_LANES];
    for (uint32_t first = 0; first < matrix->padded; first += kernel->lanes) {
        for (uint32_t l = 0; l < kernel->lanes; l++) {
            uint32_t *row = scratch->group + (size_t)l * slab->group_units;
            memset(row, 0, (size_t)matrix->units * 4);
            if (first + l < matrix->outputs)
                memcpy(row, source + bytes * (first + l), bytes);
            rows[l] = row;
        }
        place_group(slab, kernel, matrix, first, rows, packed);
    }
}

static void write_one(void *arg, uint32_t index, uint32_t worker)
{
    const struct write_job *job = arg;
    struct cpu_scratch *scratch = &job->slab->scratch[worker];
    write_w1(job->slab, &job->writes[index], scratch);
    write_w2(job->slab, &job->writes[index], scratch);
}

static int check_write(const struct lens_slab *slab, const struct lens_slot_write *w, struct lens_error *err)
{
    if (w->slot >= slab->config.slots || w->lens >= slab->model.lenses)
        return lens_error_set(err, -EINVAL, "no slot %u for lens %u: the slab has %u slots, the model %u lenses",
                              w->slot, w->lens, slab->config.slots, slab->model.lenses);
    if (w->stored != LENS_F32 && w->stored != LENS_BF16 && w->stored != LENS_I8 && w->stored != LENS_LOG8)
        return lens_error_set(err, -EINVAL, "lens %u is stored as %s, expected f32, bf16, int8 or log8", w->lens,
                              lens_dtype_name(w->stored));
    bool tables = w->stored == LENS_I8     ? w->scale != NULL
                  : w->stored == LENS_LOG8 ? w->sign != NULL && w->log_min != NULL && w->log_max != NULL
                                           : true;
    if (w->w1 == NULL || !tables)
        return lens_error_set(err, -EINVAL, "lens %u comes without the tables that %s needs", w->lens,
                              lens_dtype_name(w->stored));
    return 0;
}

/* Takes slot and lens out of the maps: neither is resident until it is mapped again. */
static void unmap(struct lens_slab *slab, uint32_t slot, uint32_t lens)
{
    if (slab->lens_in[slot] >= 0)
        slab->slot_of[slab->lens_in[slot]] = -1;
    slab->lens_in[slot] = -1;
    if (slab->slot_of[lens] >= 0)
        slab->lens_in[slab->slot_of[lens]] = -1;
    slab->slot_of[lens] = -1;
}

/* Maps all writes; -EINVAL when two of them share a slot or a lens, which would run over each other. */
static int map_all(struct lens_slab *slab, const struct lens_slot_write *writes, uint32_t n, struct lens_error *err)
{
    for (uint32_t i = 0; i < n; i++) {
        const struct lens_slot_write *w = &writes[i];
        if (slab->lens_in[w->slot] >= 0 || slab->slot_of[w->lens] >= 0)
            return lens_error_set(err, -EINVAL, "slot %u or lens %u is written twice in one call", w->slot, w->lens);
        slab->lens_in[w->slot] = (int32_t)w->lens;
        slab->slot_of[w->lens] = (int32_t)w->slot;
    }
    return 0;
}

int cpu_slot_write(struct lens_slab *base, const struct lens_slot_write *writes, uint32_t n, lens_slot_done_fn done,
                   void *arg, struct lens_error *err)
{
    struct cpu_slab *slab = (struct cpu_slab *)base;
    for (uint32_t i = 0; i < n; i++) {
        int rc = check_write(base, &writes[i], err);
        if (rc != 0)
            return rc;
    }
    for (uint32_t i = 0; i < n; i++)
        unmap(base, writes[i].slot, writes[i].lens);
    int rc = map_all(base, writes, n, err);
    if (rc != 0) {
        for (uint32_t i = 0; i < n; i++)
            unmap(base, writes[i].slot, writes[i].lens);
        return rc;
    }
    cpu_team_run(cpu_backend_of(base)->team, write_one, &(struct write_job){slab, writes}, n);
    if (done != NULL)
        done(arg, 0);
    return 0;
}
