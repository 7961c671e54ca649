/* The kernels cu_write and cu_score on the emulated card, driven by states built here by the words of device.h: what
 * lies in a slot, logits against plain sums in float64, and that a row's bits depend on nothing but itself. */
#include "kernels/cuda/layout.h"
#include "kernels/cuda/write.h"
#include "proto/quantize.h"
#include "tests/gpu/emulator/emulator.h"
#include "tests/unit/support/conformance_model.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) ((uint32_t)(sizeof(array) / sizeof(array)[0]))
#define U            0x1p-24

void cu_score(struct cu_state *state);
void cu_write(struct cu_write_args args);

static struct conformance_random dice;

static const struct {
    const char *name;
    enum lens_dtype dtype;
    enum lens_compute compute;
} products[] = {[CU_PRODUCT_F32] = {"f32", LENS_F32, LENS_COMPUTE_EXACT},
                [CU_PRODUCT_BF16_EXACT] = {"bf16 exact", LENS_BF16, LENS_COMPUTE_EXACT},
                [CU_PRODUCT_BF16] = {"bf16", LENS_BF16, LENS_COMPUTE_BF16},
                [CU_PRODUCT_I8_EXACT] = {"int8 exact", LENS_I8, LENS_COMPUTE_EXACT},
                [CU_PRODUCT_I8] = {"int8", LENS_I8, LENS_COMPUTE_INT8},
                [CU_PRODUCT_FP8_EXACT] = {"fp8 exact", LENS_FP8, LENS_COMPUTE_EXACT}};

/* ---- a card with a model in its slots -----------------------------------------------------------------------------
 */

struct rig {
    struct conformance_model *model;
    enum lens_dtype dtype;
    struct cu_state *s; /* device memory, which is the host's too */
    double *x;          /* [max_rows][dim]: what x on the card stands for */
    void *owned[64];
    uint32_t n_owned;
};

static void *device(struct rig *rig, size_t bytes)
{
    void *memory = NULL;
    assert_int_equal(cudaMalloc(&memory, bytes), cudaSuccess);
    assert_true(rig->n_owned < COUNT(rig->owned));
    return rig->owned[rig->n_owned++] = memory;
}

static void *device_copy(struct rig *rig, const void *from, size_t bytes)
{
    return memcpy(device(rig, bytes), from, bytes);
}

static void put_tables(struct rig *rig)
{
    const struct lens_model *m = &rig->model->model;
    struct cu_slab_info *info = &rig->s->info;
    size_t n = m->lenses, element = lens_dtype_bytes(m->w2_dtype);
    uint8_t **chunks = device(rig, info->n_chunks * sizeof *chunks);
    assert_true(info->n_chunks > 1);
    for (uint32_t i = 0; i < info->n_chunks; i++)
        chunks[i] = device(rig, cu_chunk_bytes(info, i));
    info->chunks = chunks;
    info->b1 = device_copy(rig, m->b1, n * m->h1 * 4);
    info->b2 = device_copy(rig, m->b2, n * m->h2 * 4);
    info->w3 = device_copy(rig, m->w3, n * m->h2 * 4);
    info->b3 = device_copy(rig, m->b3, n * 4);
    char *w2t = device(rig, n * m->h1 * m->h2 * element);
    for (size_t i = 0; i < n; i++)
        for (size_t h = 0; h < m->h1; h++)
            for (size_t o = 0; o < m->h2; o++)
                memcpy(w2t + ((i * m->h1 + h) * m->h2 + o) * element,
                       (const char *)m->w2 + ((i * m->h2 + o) * m->h1 + h) * element, element);
    info->w2t = w2t;
}

static void make_state(struct rig *rig)
{
    struct cu_state *s = rig->s;
    const struct cu_slab_info *info = &s->info;
    size_t rows = info->max_rows, lenses = info->lenses, x_bytes = rows * info->columns * info->k_padded * 4;
    s->marks_stride = (info->lenses + 15) / 16 * 16;
    s->marks = device(rig, rows * s->marks_stride);
    s->logits = device(rig, rows * lenses * 4);
    s->x = memset(device(rig, x_bytes), 0, x_bytes);
    s->x_scale = device(rig, rows * 4);
    s->items[0] = device(rig, lenses * sizeof(struct cu_item));
    s->items[1] = device(rig, lenses * sizeof(struct cu_item));
    s->count = memset(device(rig, lenses * 4), 0, lenses * 4);
    s->tiles_done = memset(device(rig, lenses * 4), 0, lenses * 4);
    s->item_rows = device(rig, lenses * rows * 2);
    s->hidden = device(rig, (size_t)info->max_pairs * info->h1_padded * 4);
    rig->x = calloc(rows * info->dim, sizeof *rig->x);
    assert_non_null(rig->x);
}

static struct rig *rig_new(const struct conformance_shape *shape, uint32_t product, uint32_t max_rows)
{
    struct rig *rig = calloc(1, sizeof *rig);
    struct lens_error err = {0};
    assert_non_null(rig);
    rig->model = conformance_model_new(shape, &dice);
    rig->dtype = products[product].dtype;
    const struct lens_slab_config config = {.slots = shape->lenses + 2,
                                            .dtype = rig->dtype,
                                            .compute = products[product].compute,
                                            .max_batch_rows = max_rows,
                                            .loaders = 1};
    rig->s = device(rig, sizeof *rig->s);
    if (cu_slab_info_init(&rig->model->model, &config, &rig->s->info, &err) != 0)
        fail_msg("%s", err.text);
    assert_int_equal(rig->s->info.product, product);
    put_tables(rig);
    make_state(rig);
    return rig;
}

static void rig_free(struct rig *rig)
{
    for (uint32_t i = 0; i < rig->n_owned; i++)
        assert_int_equal(cudaFree(rig->owned[i]), cudaSuccess);
    conformance_model_free(rig->model);
    free(rig->x);
    free(rig);
}

static uint32_t slot_of(const struct rig *rig, uint32_t lens)
{
    return (lens * 7 + 1) % rig->s->info.slots; /* all different: the numbers of slots here are no multiples of 7 */
}

static const uint8_t *slot_at(const struct rig *rig, uint32_t lens)
{
    const struct cu_slab_info *info = &rig->s->info;
    uint32_t slot = slot_of(rig, lens), in_chunk = 1u << info->chunk_shift;
    return info->chunks[slot / in_chunk] + slot % in_chunk * info->slot_stride;
}

static void launch(const void *kernel, uint32_t blocks, void *argument)
{
    void *arguments[] = {argument};
    const dim3 grid = {blocks, 1, 1}, block = {LENS_CU_THREADS, 1, 1};
    assert_int_equal(cudaLaunchKernel(kernel, grid, block, arguments, 0, NULL), cudaSuccess);
}

static void write_lenses(struct rig *rig)
{
    struct cu_write_args args = {.info = rig->s->info, .n = rig->s->info.lenses, .stored = rig->model->shape.stored};
    assert_true(args.n <= LENS_CU_WRITE_LENSES);
    assert_true(args.info.slots % 7 != 0);
    for (uint32_t i = 0; i < args.n; i++) {
        const struct lens_slot_write w = conformance_write(rig->model, slot_of(rig, i), i);
        args.lenses[i] = (struct cu_write_lens){w.slot, w.w1, w.sign, w.scale, w.log_min, w.log_max};
    }
    launch((const void *)cu_write, cu_write_blocks(&args), &args);
}

/* ---- slots ----------------------------------------------------------------------------------------------------------
 */

/* Where (output, d) is in a slot, in bytes: device.h's words. */
static uint64_t place_of(const struct cu_slab_info *info, uint32_t element, uint32_t o, uint32_t d)
{
    uint32_t ks = 64 / element, step = d / ks, t = d % ks / (ks / 4), g = o % 16 % 8;
    uint64_t at = ((uint64_t)(o / 16) * info->steps + step) * 1024 + (o % 16 >= 8 ? 512 : 0);
    return at + (uint64_t)(g * 4 + t) * 16 + d % (ks / 4) * element;
}

static float slot_scale(const struct rig *rig, uint32_t lens, uint32_t o)
{
    const struct cu_slab_info *info = &rig->s->info;
    float scale = 1;
    if (rig->dtype == LENS_I8 || rig->dtype == LENS_FP8)
        memcpy(&scale, slot_at(rig, lens) + info->scale_offset + o * 4, 4);
    return scale;
}

static double slot_weight(const struct rig *rig, uint32_t lens, uint32_t o, uint32_t d)
{
    const struct cu_slab_info *info = &rig->s->info;
    uint32_t element = lens_dtype_bytes(rig->dtype);
    uint32_t bits = 0;
    memcpy(&bits, slot_at(rig, lens) + place_of(info, element, o, d), element);
    switch (rig->dtype) {
    case LENS_F32:
        return (double)lens_f32_from_bits(bits);
    case LENS_BF16:
        return (double)lens_f32_from_bf16((uint16_t)bits);
    case LENS_I8:
        return (double)(int8_t)bits * (double)slot_scale(rig, lens, o);
    default:
        return (double)lens_f32_of_fp8((uint8_t)bits) * (double)slot_scale(rig, lens, o);
    }
}

/* Row o of a lens as stored, in f32. */
static void stored_row(const struct lens_slot_write *w, uint32_t o, uint32_t dim, float *out)
{
    size_t at = (size_t)o * dim;
    for (uint32_t d = 0; d < dim; d++)
        out[d] = w->stored == LENS_F32    ? ((const float *)w->w1)[at + d]
                 : w->stored == LENS_BF16 ? lens_f32_from_bf16(((const uint16_t *)w->w1)[at + d])
                 : w->stored == LENS_I8   ? (float)((const int8_t *)w->w1)[at + d] * w->scale[o]
                                          : 0;
    if (w->stored == LENS_LOG8)
        lens_log8_decode((const uint8_t *)w->w1 + at, w->sign + (size_t)o * ((dim + 7) / 8), dim, w->log_min[o],
                         w->log_max[o], out);
}

/* The same row as the slab's dtype should have it. */
static void slab_row(const struct lens_slot_write *w, enum lens_dtype dtype, uint32_t o, uint32_t dim, uint8_t *out,
                     float *scale)
{
    size_t bytes = (size_t)dim * lens_dtype_bytes(dtype);
    float *row = malloc(dim * sizeof *row);
    assert_non_null(row);
    stored_row(w, o, dim, row);
    *scale = 1;
    if (w->stored == dtype) {
        memcpy(out, (const char *)w->w1 + bytes * o, bytes);
        *scale = w->scale != NULL ? w->scale[o] : 1;
    } else if (dtype == LENS_F32) {
        memcpy(out, row, bytes);
    } else if (dtype == LENS_BF16) {
        for (uint32_t d = 0; d < dim; d++)
            ((uint16_t *)(void *)out)[d] = lens_bf16_from_f32(row[d]);
    } else if (dtype == LENS_I8) {
        lens_int8_encode(row, dim, (int8_t *)out, scale);
    } else {
        lens_fp8_encode(row, dim, out, scale);
    }
    free(row);
}

static void check_slot(const struct rig *rig, uint32_t lens)
{
    const struct cu_slab_info *info = &rig->s->info;
    const struct lens_slot_write w = conformance_write(rig->model, slot_of(rig, lens), lens);
    uint32_t element = lens_dtype_bytes(rig->dtype);
    const uint8_t *slot = slot_at(rig, lens);
    uint8_t *want = malloc((size_t)info->k_padded * element);
    assert_non_null(want);
    for (uint32_t o = 0; o < info->h1_padded; o++) {
        float scale = 0;
        memset(want, 0, (size_t)info->k_padded * element);
        if (o < info->h1)
            slab_row(&w, rig->dtype, o, info->dim, want, &scale);
        for (uint32_t d = 0; d < info->k_padded; d++)
            if (memcmp(slot + place_of(info, element, o, d), want + (size_t)d * element, element) != 0)
                fail_msg("%s into %s, %u -> %u: weight %u of output %u isn't what it should be",
                         lens_dtype_name(w.stored), lens_dtype_name(rig->dtype), info->dim, info->h1, d, o);
        if (rig->dtype == LENS_I8 || rig->dtype == LENS_FP8)
            assert_int_equal(lens_f32_bits(slot_scale(rig, lens, o)), lens_f32_bits(scale));
    }
    free(want);
}

static const uint32_t slab_products[] = {CU_PRODUCT_F32, CU_PRODUCT_BF16, CU_PRODUCT_I8, CU_PRODUCT_FP8_EXACT};

static void every_stored_weight_lies_where_the_slot_s_order_says(void **state)
{
    (void)state;
    static const enum lens_dtype stored[] = {LENS_F32, LENS_BF16, LENS_I8, LENS_LOG8};
    static const struct conformance_shape shapes[] = {{.lenses = 3, .dim = 200, .h1 = 37, .h2 = 3},
                                                      {.lenses = 2, .dim = 64, .h1 = 16, .h2 = 2},
                                                      {.lenses = 1, .dim = 1, .h1 = 1, .h2 = 1},
                                                      {.lenses = 2, .dim = 77, .h1 = 5, .h2 = 1},
                                                      {.lenses = 2, .dim = 323, .h1 = 20, .h2 = 1}};
    for (uint32_t p = 0; p < COUNT(slab_products); p++) {
        for (uint32_t i = 0; i < COUNT(shapes) * COUNT(stored); i++) {
            struct conformance_shape shape = shapes[i / COUNT(stored)];
            shape.stored = stored[i % COUNT(stored)];
            shape.w2_dtype = LENS_F32;
            struct rig *rig = rig_new(&shape, slab_products[p], 1);
            write_lenses(rig);
            for (uint32_t lens = 0; lens < shape.lenses; lens++)
                check_slot(rig, lens);
            rig_free(rig);
        }
    }
}

static void odd_values_are_converted_as_on_the_processor(void **state)
{
    (void)state;
    const struct conformance_shape shape = {.lenses = 1, .dim = 9, .h1 = 6, .h2 = 1, .stored = LENS_F32};
    const float odd[6][9] = {
        {0, -0.0f, 0, 0, 0, 0, 0, 0, 0},          {1, NAN, 3, -4, 5, 6, 7, 8, 9},
        {1, 2, -INFINITY, 4, 5, 6, 7, 8, 9},      {0x1p-149f, -0x1p-149f, 200 * 0x1p-149f, 3e-40f, 0, 0, 0, 0, 0},
        {3.4e38f, -3.4e38f, 1, 2, 3, 4, 5, 6, 7}, {127, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -2.5f, 126.5f, -127}};
    for (uint32_t p = 0; p < COUNT(slab_products); p++) {
        struct rig *rig = rig_new(&shape, slab_products[p], 1);
        memcpy(rig->model->w1, odd, sizeof odd);
        write_lenses(rig);
        check_slot(rig, 0);
        rig_free(rig);
    }
}

/* ---- rows and items -------------------------------------------------------------------------------------------------
 */

static void put_exact(struct rig *rig, uint32_t row, uint32_t d, float v)
{
    const struct cu_slab_info *info = &rig->s->info;
    uint16_t *x = rig->s->x;
    float left = v;
    for (uint32_t term = 0; term < info->columns; term++) {
        uint16_t half = lens_bf16_from_f32(left);
        x[((size_t)row * info->columns + term) * info->k_padded + d] = half;
        rig->x[(size_t)row * info->dim + d] += (double)lens_f32_from_bf16(half);
        left -= lens_f32_from_bf16(half);
    }
}

/* A row as begin leaves it, of values like x^ with a few large ones. */
static void put_row(struct rig *rig, uint32_t row)
{
    const struct cu_slab_info *info = &rig->s->info;
    float *v = calloc(info->dim, sizeof *v), scale = 1;
    int8_t *codes = calloc(info->dim, 1);
    assert_true(v != NULL && codes != NULL);
    for (uint32_t d = 0; d < info->dim; d++)
        v[d] = (float)(conformance_normal(&dice) * (conformance_below(&dice, 50) == 0 ? 20 : 1));
    if (info->product == CU_PRODUCT_I8)
        lens_int8_encode(v, info->dim, codes, &scale);
    rig->s->x_scale[row] = scale;
    for (uint32_t d = 0; d < info->dim; d++) {
        double *x = &rig->x[(size_t)row * info->dim + d];
        *x = 0;
        if (info->product == CU_PRODUCT_F32) {
            ((float *)rig->s->x)[(size_t)row * info->k_padded + d] = v[d];
            *x = (double)v[d];
        } else if (info->product == CU_PRODUCT_I8) {
            ((int8_t *)rig->s->x)[(size_t)row * info->k_padded + d] = codes[d];
            *x = (double)codes[d] * (double)scale;
        } else {
            put_exact(rig, row, d, v[d]);
        }
    }
    free(v);
    free(codes);
}

static void put_rows(struct rig *rig)
{
    for (uint32_t row = 0; row < rig->s->info.max_rows; row++)
        put_row(rig, row);
}

/* Adds an item for `n` rows to the pass. */
static void want(struct rig *rig, uint32_t lens, const uint16_t *rows, uint32_t n)
{
    struct cu_state *s = rig->s;
    struct cu_item *item = &s->items[s->pass][s->n_items[s->pass]++];
    *item = (struct cu_item){.lens = lens, .slot = slot_of(rig, lens), .n = n};
    memcpy(s->item_rows + (size_t)lens * s->info.max_rows, rows, n * sizeof *rows);
    s->count[lens] = n;
    for (uint32_t k = 0; k < n; k++)
        s->marks[(size_t)rows[k] * s->marks_stride + lens] =
            (uint8_t)(CU_MARK_WANTED | (rows[k] % 2 != 0 ? CU_MARK_WAITED : 0));
}

static void new_pass(struct rig *rig)
{
    struct cu_state *s = rig->s;
    s->pass = conformance_below(&dice, 2);
    s->n_items[s->pass] = 0;
    memset(s->marks, 0, (size_t)s->info.max_rows * s->marks_stride);
    memset(s->logits, EMULATOR_POISON, (size_t)s->info.max_rows * s->info.lenses * 4);
    memset(s->hidden, EMULATOR_POISON, (size_t)s->info.max_pairs * s->info.h1_padded * 4);
}

/* Scores items [begin, end) of the pass. */
static void score(struct rig *rig, uint32_t begin, uint32_t end, uint32_t blocks)
{
    struct cu_state *s = rig->s;
    uint32_t pairs = 0;
    s->window_begin = begin;
    s->window_end = end;
    for (uint32_t i = begin; i < end; i++) {
        s->items[s->pass][i].pairs = pairs;
        pairs += s->items[s->pass][i].n;
    }
    assert_true(pairs <= s->info.max_pairs);
    launch((const void *)cu_score, blocks, &s);
    for (uint32_t i = begin; i < end; i++)
        assert_int_equal(s->count[s->items[s->pass][i].lens], 0);
    for (uint32_t i = 0; i < s->info.lenses; i++)
        assert_int_equal(s->tiles_done[i], 0);
}

static float logit_of(const struct rig *rig, uint32_t row, uint32_t lens)
{
    return rig->s->logits[(size_t)row * rig->s->info.lenses + lens];
}

/* n different rows in random order. */
static void some_rows(const struct rig *rig, uint16_t *rows, uint32_t n)
{
    uint32_t all[128], max_rows = rig->s->info.max_rows;
    assert_true(max_rows <= COUNT(all) && n <= max_rows);
    for (uint32_t i = 0; i < max_rows; i++)
        all[i] = i;
    conformance_shuffle(&dice, all, max_rows);
    for (uint32_t i = 0; i < n; i++)
        rows[i] = (uint16_t)all[i];
}

/* ---- what logits must be --------------------------------------------------------------------------------------------
 */

static double first_layer(const struct rig *rig, uint32_t lens, uint32_t row, uint32_t h, double *error)
{
    const struct cu_slab_info *info = &rig->s->info;
    double bias = (double)info->b1[(size_t)lens * info->h1 + h], sum = bias, size = fabs(bias);
    for (uint32_t d = 0; d < info->dim; d++) {
        double product = slot_weight(rig, lens, h, d) * rig->x[(size_t)row * info->dim + d];
        sum += product;
        size += fabs(product);
    }
    *error = (4 * sqrt(info->dim) + 8) * U * size;
    return sum > 0 ? sum : 0;
}

/* The logit in float64 and how far off it may be (kernels/README.md; x is exactly what is on the card). */
static double reference(const struct rig *rig, uint32_t lens, uint32_t row, double *bound)
{
    const struct cu_slab_info *info = &rig->s->info;
    const struct lens_model *m = &rig->model->model;
    double *hidden = malloc(info->h1 * sizeof *hidden), *off = malloc(info->h1 * sizeof *off);
    assert_true(hidden != NULL && off != NULL);
    for (uint32_t h = 0; h < info->h1; h++)
        hidden[h] = first_layer(rig, lens, row, h, &off[h]);
    double logit = (double)m->b3[lens], size = fabs(logit), error = 0;
    for (uint32_t o = 0; o < info->h2; o++) {
        size_t at = (size_t)lens * info->h2 + o;
        double sum = (double)m->b2[at], terms = fabs(sum), carried = 0, w3 = (double)m->w3[at];
        for (uint32_t h = 0; h < info->h1; h++) {
            size_t i = at * info->h1 + h;
            double w = m->w2_dtype == LENS_F32 ? (double)((const float *)m->w2)[i]
                                               : (double)lens_f32_from_bf16(((const uint16_t *)m->w2)[i]);
            sum += w * hidden[h];
            terms += fabs(w * hidden[h]);
            carried += fabs(w) * off[h];
        }
        sum = sum > 0 ? sum : 0;
        logit += w3 * sum;
        size += fabs(w3 * sum);
        error += fabs(w3) * (carried + (4 * sqrt(info->h1) + 8) * U * terms);
    }
    *bound = error + (4 * sqrt(info->h2) + 8) * U * size;
    free(hidden);
    free(off);
    return logit;
}

static void check_row(const struct rig *rig, uint32_t lens, uint32_t row)
{
    const struct cu_slab_info *info = &rig->s->info;
    double bound, wanted = reference(rig, lens, row, &bound), got = (double)logit_of(rig, row, lens);
    if (!(fabs(got - wanted) <= bound))
        fail_msg("%s, %u -> %u -> %u, lens %u row %u: logit %.9g, expected %.9g +- %.3g", products[info->product].name,
                 info->dim, info->h1, info->h2, lens, row, got, wanted, bound);
    assert_int_equal(rig->s->marks[(size_t)row * rig->s->marks_stride + lens],
                     CU_MARK_SCORED | (row % 2 != 0 ? CU_MARK_WAITED : 0));
}

static const struct conformance_shape shapes[] = {
    {.lenses = 1, .dim = 1, .h1 = 1, .h2 = 1, .w2_dtype = LENS_F32},
    {.lenses = 2, .dim = 64, .h1 = 16, .h2 = 8, .w2_dtype = LENS_BF16},
    {.lenses = 4, .dim = 333, .h1 = 45, .h2 = 70, .w2_dtype = LENS_F32},
    {.lenses = 3, .dim = 1500, .h1 = 20, .h2 = 130, .w2_dtype = LENS_BF16},
    {.lenses = 2, .dim = 70, .h1 = 300, .h2 = 5, .w2_dtype = LENS_F32},
};

static void every_product_is_within_its_bound_for_all_shapes_and_rows(void **state)
{
    (void)state;
    static const uint16_t counts[] = {1, 2, 3, 5, 8, 9, 10, 11, 16, 17, 33, 70};
    for (uint32_t i = 0; i < COUNT(products) * COUNT(shapes); i++) {
        struct conformance_shape shape = shapes[i / COUNT(products)];
        shape.stored = LENS_F32;
        struct rig *rig = rig_new(&shape, i % COUNT(products), 70);
        uint16_t rows[70];
        write_lenses(rig);
        put_rows(rig);
        new_pass(rig);
        for (uint32_t lens = 0; lens < shape.lenses; lens++) {
            uint32_t n = counts[conformance_below(&dice, COUNT(counts))];
            some_rows(rig, rows, n);
            want(rig, lens, rows, n);
        }
        score(rig, 0, shape.lenses, 1 + conformance_below(&dice, 9));
        for (uint32_t lens = 0; lens < shape.lenses; lens++)
            for (uint32_t k = 0; k < rig->s->items[rig->s->pass][lens].n; k++)
                check_row(rig, lens, rig->s->item_rows[(size_t)lens * 70 + k]);
        rig_free(rig);
    }
}

/* ---- the central invariant
 * -------------------------------------------------------------------------------------------- */

static void a_row_s_bits_are_the_same_in_any_company(void **state)
{
    (void)state;
    for (uint32_t product = 0; product < COUNT(products); product++) {
        const struct conformance_shape shape = {
            .lenses = 2, .dim = 700, .h1 = 33, .h2 = 66, .stored = LENS_F32, .w2_dtype = LENS_F32};
        struct rig *rig = rig_new(&shape, product, 40);
        uint16_t rows[40];
        float alone[40];
        write_lenses(rig);
        put_rows(rig);
        for (uint16_t row = 0; row < 40; row++) {
            new_pass(rig);
            want(rig, 0, &row, 1);
            score(rig, 0, 1, 3);
            alone[row] = logit_of(rig, row, 0);
        }
        for (uint32_t n = 2; n <= 40; n += 1 + n / 4) {
            new_pass(rig);
            some_rows(rig, rows, n);
            want(rig, 0, rows, n);
            want(rig, 1, rows, n / 2);
            score(rig, 0, 2, 1 + conformance_below(&dice, 7));
            for (uint32_t k = 0; k < n; k++)
                if (lens_f32_bits(logit_of(rig, rows[k], 0)) != lens_f32_bits(alone[rows[k]]))
                    fail_msg("%s: row %u is %.9g alone and %.9g as number %u of %u", products[product].name, rows[k],
                             (double)alone[rows[k]], (double)logit_of(rig, rows[k], 0), k, n);
        }
        rig_free(rig);
    }
}

static void a_window_scores_its_items_and_leaves_the_others(void **state)
{
    (void)state;
    const struct conformance_shape shape = {
        .lenses = 9, .dim = 96, .h1 = 40, .h2 = 8, .stored = LENS_F32, .w2_dtype = LENS_F32};
    struct rig *rig = rig_new(&shape, CU_PRODUCT_BF16_EXACT, 12);
    uint16_t rows[12];
    uint8_t poison[4];
    memset(poison, EMULATOR_POISON, sizeof poison);
    write_lenses(rig);
    put_rows(rig);
    new_pass(rig);
    for (uint32_t lens = 0; lens < shape.lenses; lens++) {
        some_rows(rig, rows, 1 + lens);
        want(rig, shape.lenses - 1 - lens, rows, 1 + lens);
    }
    static const uint32_t windows[][2] = {{2, 5}, {5, 5}, {0, 2}, {5, 9}};
    for (uint32_t w = 0; w < COUNT(windows); w++) {
        score(rig, windows[w][0], windows[w][1], 5);
        for (uint32_t i = windows[w][0]; i < windows[w][1]; i++) {
            const struct cu_item *item = &rig->s->items[rig->s->pass][i];
            for (uint32_t k = 0; k < item->n; k++)
                check_row(rig, item->lens, rig->s->item_rows[(size_t)item->lens * 12 + k]);
        }
        if (w == 0)
            for (uint32_t row = 0; row < 12; row++)
                assert_memory_equal(&rig->s->logits[row * shape.lenses + shape.lenses - 1], poison, 4);
    }
    uint32_t answered = 0;
    for (uint32_t i = 0; i < 12 * shape.lenses; i++)
        answered += memcmp(&rig->s->logits[i], poison, 4) != 0;
    assert_int_equal(answered, 45); /* 1 + 2 .. + 9: nobody else's logit was touched */
    rig_free(rig);
}

static void weights_that_are_not_finite_make_their_lens_nan_and_no_other(void **state)
{
    (void)state;
    static const float odd[] = {NAN, INFINITY, -INFINITY};
    const struct conformance_shape shape = {
        .lenses = 2, .dim = 100, .h1 = 20, .h2 = 8, .stored = LENS_F32, .w2_dtype = LENS_F32};
    for (uint32_t i = 0; i < COUNT(products) * COUNT(odd); i++) {
        struct rig *rig = rig_new(&shape, i % COUNT(products), 4);
        const uint16_t rows[4] = {3, 1, 0, 2};
        ((float *)rig->model->w1)[conformance_below(&dice, 20 * 100)] = odd[i / COUNT(products)];
        write_lenses(rig);
        put_rows(rig);
        new_pass(rig);
        want(rig, 0, rows, 4);
        want(rig, 1, rows, 4);
        score(rig, 0, 2, 4);
        for (uint32_t row = 0; row < 4; row++) {
            assert_true(isnan(logit_of(rig, row, 0)));
            check_row(rig, 1, row);
        }
        rig_free(rig);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_stored_weight_lies_where_the_slot_s_order_says),
        cmocka_unit_test(odd_values_are_converted_as_on_the_processor),
        cmocka_unit_test(every_product_is_within_its_bound_for_all_shapes_and_rows),
        cmocka_unit_test(a_row_s_bits_are_the_same_in_any_company),
        cmocka_unit_test(a_window_scores_its_items_and_leaves_the_others),
        cmocka_unit_test(weights_that_are_not_finite_make_their_lens_nan_and_no_other),
    };
    dice.state = conformance_seed();
    print_message("emulator seed %llu\n", (unsigned long long)emulator_seed());
    return cmocka_run_group_tests(tests, NULL, NULL);
}
