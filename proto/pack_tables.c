/* See pack_tables.h. */
#include "proto/pack_tables.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void add(struct pack_layout *out, const char *name, enum st_dtype dtype, size_t field,
                enum pack_checksum_of sums, uint32_t dims, const uint64_t *shape)
{
    struct pack_table *table = &out->tables[out->count++];
    memset(table, 0, sizeof *table);
    snprintf(table->tensor.name, sizeof table->tensor.name, "%s", name);
    table->tensor.dtype = dtype;
    table->tensor.dims = dims;
    memcpy(table->tensor.shape, shape, dims * sizeof *shape);
    table->field = field;
    table->sums = sums;
}

static void add_w1(struct pack_layout *out, const struct pack_shape *s)
{
    static const enum st_dtype stored[LENS_DTYPES] = {
        [LENS_F32] = ST_F32, [LENS_BF16] = ST_BF16, [LENS_I8] = ST_I8, [LENS_LOG8] = ST_U8};
    add(out, "w1", stored[s->w1_dtype], PACK_NOT_RESIDENT, PACK_SUM_LENS, 3, (uint64_t[]){s->lenses, s->h1, s->dim});
}

static void add_scales(struct pack_layout *out, const struct pack_shape *s)
{
    const uint64_t rows[] = {s->lenses, s->h1};
    if (s->w1_dtype == LENS_I8)
        add(out, "w1_scale", ST_F32, offsetof(struct lens_pack, w1_scale), PACK_SUM_LENS, 2, rows);
    if (s->w1_dtype == LENS_LOG8) {
        add(out, "w1_log_min", ST_F32, offsetof(struct lens_pack, w1_log_min), PACK_SUM_LENS, 2, rows);
        add(out, "w1_log_max", ST_F32, offsetof(struct lens_pack, w1_log_max), PACK_SUM_LENS, 2, rows);
    }
}

static void add_w2(struct pack_layout *out, const struct pack_shape *s, enum lens_dtype when)
{
    if (s->w2_dtype == when)
        add(out, "w2", when == LENS_F32 ? ST_F32 : ST_BF16, offsetof(struct lens_pack, w2), PACK_SUM_LENS, 3,
            (uint64_t[]){s->lenses, s->h2, s->h1});
}

/* Four-byte tables that the last checksum covers. */
static void add_small(struct pack_layout *out, const struct pack_shape *s)
{
    const uint64_t n[] = {s->lenses};
    const uint64_t n1[] = {s->lenses + 1};
    const uint64_t h1[] = {s->lenses, s->h1};
    const uint64_t h2[] = {s->lenses, s->h2};
    const uint64_t fields[] = {s->lenses, LENS_CALIBRATION_FIELDS};
    add(out, "b1", ST_F32, offsetof(struct lens_pack, b1), PACK_SUM_TABLES, 2, h1);
    add_w2(out, s, LENS_F32);
    add(out, "b2", ST_F32, offsetof(struct lens_pack, b2), PACK_SUM_TABLES, 2, h2);
    add(out, "w3", ST_F32, offsetof(struct lens_pack, w3), PACK_SUM_TABLES, 2, h2);
    add(out, "b3", ST_F32, offsetof(struct lens_pack, b3), PACK_SUM_TABLES, 1, n);
    add(out, "calibration", ST_F32, offsetof(struct lens_pack, calibration), PACK_SUM_TABLES, 2, fields);
    add(out, "parent", ST_I32, offsetof(struct lens_pack, parent), PACK_SUM_TABLES, 1, n);
    add(out, "child_offsets", ST_I32, offsetof(struct lens_pack, child_offsets), PACK_SUM_TABLES, 1, n1);
    add(out, "child_ids", ST_I32, offsetof(struct lens_pack, child_ids), PACK_SUM_TABLES, 1, &s->edges);
    add(out, "name_offsets", ST_I32, offsetof(struct lens_pack, name_offsets), PACK_SUM_TABLES, 1, n1);
}

static void add_bytes(struct pack_layout *out, const struct pack_shape *s)
{
    const uint64_t n[] = {s->lenses};
    if (s->w1_dtype == LENS_LOG8)
        add(out, "w1_sign", ST_U8, PACK_NOT_RESIDENT, PACK_SUM_LENS, 3,
            (uint64_t[]){s->lenses, s->h1, (s->dim + 7) / 8});
    add(out, "layer", ST_U8, offsetof(struct lens_pack, layer), PACK_SUM_TABLES, 1, n);
    add(out, "role", ST_U8, offsetof(struct lens_pack, role), PACK_SUM_TABLES, 1, n);
    add(out, "names", ST_U8, offsetof(struct lens_pack, names), PACK_SUM_TABLES, 1, &s->name_bytes);
}

static int place(struct pack_layout *out)
{
    uint64_t at = 0;
    for (uint32_t i = 0; i < out->count; i++) {
        struct st_tensor *tensor = &out->tables[i].tensor;
        uint64_t bytes;
        if (st_tensor_bytes(tensor->dtype, tensor->dims, tensor->shape, &bytes) != 0 || bytes > INT64_MAX - at)
            return -EOVERFLOW;
        tensor->begin = at;
        tensor->end = at += bytes;
    }
    out->data_bytes = at;
    return 0;
}

int pack_layout_make(const struct pack_shape *shape, struct pack_layout *out)
{
    bool w1_ok = shape->w1_dtype == LENS_F32 || shape->w1_dtype == LENS_BF16 || shape->w1_dtype == LENS_I8 ||
                 shape->w1_dtype == LENS_LOG8;
    out->count = 0;
    if (!w1_ok || (shape->w2_dtype != LENS_F32 && shape->w2_dtype != LENS_BF16))
        return -EINVAL;
    add_w1(out, shape);
    add(out, "checksum", ST_I64, offsetof(struct lens_pack, checksum), PACK_SUM_NONE, 1,
        (uint64_t[]){shape->lenses + 1});
    add_scales(out, shape);
    add_small(out, shape);
    add_w2(out, shape, LENS_BF16);
    add_bytes(out, shape);
    return place(out);
}

const struct pack_table *pack_layout_find(const struct pack_layout *layout, const char *name)
{
    for (uint32_t i = 0; i < layout->count; i++)
        if (strcmp(layout->tables[i].tensor.name, name) == 0)
            return &layout->tables[i];
    return NULL;
}

void *pack_table_data(const struct lens_pack *pack, const struct pack_table *table)
{
    void *data = NULL;
    if (table->field != PACK_NOT_RESIDENT)
        memcpy(&data, (const char *)pack + table->field, sizeof data);
    return data;
}

int pack_tables_alloc(struct lens_pack *pack, const struct pack_layout *layout)
{
    for (uint32_t i = 0; i < layout->count; i++) {
        const struct pack_table *table = &layout->tables[i];
        if (table->field == PACK_NOT_RESIDENT)
            continue;
        void *data = calloc(1, table->tensor.end - table->tensor.begin + 1);
        if (data == NULL)
            return -ENOMEM;
        memcpy((char *)pack + table->field, &data, sizeof data);
    }
    return 0;
}

void pack_tables_free(struct lens_pack *pack)
{
    void *tables[] = {pack->b1,          pack->w2,         pack->b2,         pack->w3,           pack->b3,
                      pack->w1_scale,    pack->w1_log_min, pack->w1_log_max, pack->parent,       pack->child_offsets,
                      pack->child_ids,   pack->layer,      pack->role,       pack->name_offsets, pack->names,
                      pack->calibration, pack->checksum};
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++)
        free(tables[i]);
}

void pack_meta_free(struct lens_pack_meta *meta)
{
    free(meta->model_id);
    free(meta->tap_layer);
    free(meta->tap_point);
    free(meta->source);
    free(meta->created);
}
