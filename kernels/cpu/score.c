/* Scoring: items (one lens on some rows) shared out to the team, each through both layers and the last dot product.
 * When there are fewer items than threads, an item's rows are shared out too: rows don't depend on each other.
 *
 * Subnormal numbers are flushed to zero while scoring: a client's row of tiny values must not make its neighbours
 * wait for the processor's slow path. The loss is below 1e-37 a term. */
#include "kernels/cpu/cpu.h"

#include <errno.h>
#include <xmmintrin.h>

#define FLUSH_AND_ZERO 0x8040u /* MXCSR: flush results, treat inputs as zero */

/* Rows of a part of an item at least: fewer are limited by reading the weights, which every part does anew. */
#define PART_ROWS 8u

struct score_job {
    struct cpu_slab *slab;
    const struct lens_score_item *items;
    const uint32_t *rows;
    float *logits;
    uint32_t parts; /* of each item */
};

/* Layer 1 sums of n rows: scratch->acc. */
static void first_layer(const struct cpu_slab *slab, const uint8_t *slot, const uint32_t *rows, uint32_t n,
                        struct cpu_scratch *scratch)
{
    const void *x[CPU_ROW_CHUNK];
    for (uint32_t r = 0; r < n; r++)
        x[r] = slab->x + slab->x_stride * rows[r];
    slab->first->product(&(struct cpu_product){.weights = slot,
                                               .x = x,
                                               .acc = scratch->acc,
                                               .scratch = scratch->widen,
                                               .n = n,
                                               .units = slab->w1.units,
                                               .padded = slab->w1.padded,
                                               .signs = slot + slab->layout.signs,
                                               .steps = (const void *)(slot + slab->layout.steps)});
}

static void hidden_layer(const struct cpu_slab *slab, const uint8_t *slot, uint32_t lens, const uint32_t *rows,
                         uint32_t n, struct cpu_scratch *scratch)
{
    bool int8 = slab->first->dtype == LENS_I8, coded = int8 || slab->first->dtype == LENS_LOG8;
    struct cpu_hidden hidden = {
        .scale = coded ? (const void *)(slot + slab->layout.scale) : NULL,
        .bias = int8 ? (const void *)(slot + slab->layout.bias) : NULL,
        .b1 = slab->base.model.b1 + (size_t)lens * slab->w1.outputs,
        .outputs = slab->w1.outputs,
    };
    for (uint32_t r = 0; r < n; r++) {
        hidden.acc = (const float *)scratch->acc + (size_t)r * slab->w1.padded;
        hidden.x_scale = slab->x_scale[rows[r]];
        slab->variant->hidden(&hidden, slab->first->integer, scratch->hidden + (size_t)r * slab->hidden_stride);
    }
}

static void second_layer(const struct cpu_slab *slab, const uint8_t *slot, uint32_t n, struct cpu_scratch *scratch)
{
    const void *x[CPU_ROW_CHUNK];
    for (uint32_t r = 0; r < n; r++)
        x[r] = scratch->hidden + (size_t)r * slab->hidden_stride;
    slab->second->product(&(struct cpu_product){.weights = slot + slab->layout.w2,
                                                .x = x,
                                                .acc = scratch->acc,
                                                .scratch = scratch->widen,
                                                .n = n,
                                                .units = slab->w2.units,
                                                .padded = slab->w2.padded});
}

static void score_rows(const struct cpu_slab *slab, const struct lens_score_item *item, const uint32_t *rows,
                       uint32_t n, float *logits, struct cpu_scratch *scratch)
{
    const struct lens_model *model = &slab->base.model;
    const uint8_t *slot = cpu_slot(slab, item->slot);
    first_layer(slab, slot, rows, n, scratch);
    hidden_layer(slab, slot, item->lens, rows, n, scratch);
    second_layer(slab, slot, n, scratch);
    const float *b2 = model->b2 + (size_t)item->lens * model->h2;
    const float *w3 = model->w3 + (size_t)item->lens * model->h2;
    for (uint32_t r = 0; r < n; r++)
        logits[r] = slab->variant->logit((const float *)scratch->acc + (size_t)r * slab->w2.padded, b2, w3,
                                         model->b3[item->lens], model->h2);
}

/* Rows of each part; the last ones of a short item may stay empty. */
static uint32_t rows_of_part(uint32_t n, uint32_t parts)
{
    uint32_t share = (n + parts - 1) / parts;
    return parts > 1 && share < PART_ROWS ? PART_ROWS : share;
}

static void score_part(void *arg, uint32_t index, uint32_t worker)
{
    const struct score_job *job = arg;
    const struct lens_score_item *item = &job->items[index / job->parts];
    uint32_t share = rows_of_part(item->n, job->parts), begin = share * (index % job->parts);
    uint32_t end = begin + share < item->n ? begin + share : item->n;
    unsigned control = _mm_getcsr();
    _mm_setcsr(control | FLUSH_AND_ZERO);
    for (uint32_t done = begin; done < end; done += CPU_ROW_CHUNK) {
        uint32_t n = end - done < CPU_ROW_CHUNK ? end - done : CPU_ROW_CHUNK;
        uint32_t at = item->first + done;
        score_rows(job->slab, item, job->rows + at, n, job->logits + at, &job->slab->scratch[worker]);
    }
    _mm_setcsr(control);
}

int cpu_score(struct lens_slab *base, const struct lens_score_item *items, uint32_t n_items, const uint32_t *rows,
              float *logits, struct lens_error *err)
{
    for (uint32_t i = 0; i < n_items; i++) {
        const struct lens_score_item *item = &items[i];
        if (item->slot >= base->config.slots || base->lens_in[item->slot] != (int32_t)item->lens)
            return lens_error_set(err, -EINVAL, "slot %u doesn't hold lens %u", item->slot, item->lens);
    }
    uint32_t threads = cpu_backend_of(base)->threads;
    uint32_t parts = n_items > 0 && n_items < threads ? (threads + n_items - 1) / n_items : 1;
    struct score_job job = {(struct cpu_slab *)base, items, rows, logits, parts};
    cpu_team_run(cpu_backend_of(base)->team, score_part, &job, n_items * parts);
    return 0;
}
