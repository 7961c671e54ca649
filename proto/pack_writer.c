/* Writing a lens pack, streaming (see pack_writer.h). W1, its signs and W2 go straight to their places in the file;
 * only the small tables wait in memory. Must never leave a half-written file under the final name. */
#include "proto/pack_writer.h"

#include "proto/pack_io.h"
#include "proto/pack_private.h"
#include "proto/pack_replace.h"
#include "proto/pack_utf8.h"
#include "proto/quantize.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define METADATA_KEYS   9
#define WRITEBACK_BYTES (UINT64_C(64) << 20) /* dirty pages allowed to gather before the disk is put to work */

struct lens_pack_writer {
    struct lens_pack pack; /* the tables so far; w2 is not resident */
    struct pack_layout layout;
    struct st_entry *metadata; /* ascending by key, which the checksum needs */
    size_t metadata_count;
    uint64_t data_start, w2_offset;
    uint64_t written_back; /* W1 bytes the kernel was asked to write */
    uint32_t next;         /* lens that add() expects */
    bool failed;
    char *path;
    struct pack_replacement file;
    char *header;         /* bytes from the start of the file to data_start */
    void *w1, *sign, *w2; /* one encoded lens */
    struct pack_stored_lens last;
};

void lens_pack_writer_abort(struct lens_pack_writer *writer)
{
    if (writer == NULL)
        return;
    pack_replacement_drop(&writer->file);
    for (size_t i = 0; i < writer->metadata_count; i++) {
        free(writer->metadata[i].key);
        free(writer->metadata[i].value);
    }
    free(writer->metadata);
    pack_tables_free(&writer->pack);
    pack_meta_free(&writer->pack.meta);
    free(writer->w1);
    free(writer->sign);
    free(writer->w2);
    free(writer->header);
    free(writer->path);
    free(writer);
}

/* ------------------------------------------------------------------------------------------------------- the plan */

static int shape_of_plan(const struct lens_pack_plan *plan, struct pack_shape *shape, struct lens_error *err)
{
    if (plan->lenses == 0 || plan->lenses > PACK_MAX_LENSES) {
        lens_error_set(err, -EINVAL, "a pack has 1 to %u lenses, not %u", PACK_MAX_LENSES, plan->lenses);
        return -EINVAL;
    }
    if (plan->child_offsets[plan->lenses] < 0 || plan->name_offsets[plan->lenses] < 0) {
        lens_error_set(err, -EINVAL, "child_offsets or name_offsets end below 0");
        return -EINVAL;
    }
    *shape = (struct pack_shape){
        .lenses = plan->lenses,
        .dim = plan->dim,
        .h1 = plan->h1,
        .h2 = plan->h2,
        .edges = (uint64_t)plan->child_offsets[plan->lenses],
        .name_bytes = (uint64_t)plan->name_offsets[plan->lenses],
        .w1_dtype = plan->w1_dtype,
        .w2_dtype = plan->w1_dtype == LENS_F32 ? LENS_F32 : LENS_BF16,
    };
    return pack_check_limits(shape, err);
}

static void copy_tables(struct lens_pack *pack, const struct lens_pack_plan *plan, const struct pack_shape *shape)
{
    const size_t n = plan->lenses;
    memcpy(pack->parent, plan->parent, n * sizeof *pack->parent);
    memcpy(pack->child_offsets, plan->child_offsets, (n + 1) * sizeof *pack->child_offsets);
    if (shape->edges > 0)
        memcpy(pack->child_ids, plan->child_ids, shape->edges * sizeof *pack->child_ids);
    memcpy(pack->layer, plan->layer, n);
    if (plan->role != NULL)
        memcpy(pack->role, plan->role, n);
    memcpy(pack->name_offsets, plan->name_offsets, (n + 1) * sizeof *pack->name_offsets);
    if (shape->name_bytes > 0)
        memcpy(pack->names, plan->names, shape->name_bytes);
    for (size_t i = 0; i < n * LENS_CALIBRATION_FIELDS; i++)
        pack->calibration[i] = plan->calibration != NULL ? plan->calibration[i] : lens_f32_from_bits(0x7fc00000u);
}

static int check_plan(const struct lens_pack *pack, const struct pack_shape *shape, struct lens_error *err)
{
    uint32_t *by_key = NULL;
    int rc = pack_check_tree(pack, shape->edges, err);
    if (rc == 0)
        rc = pack_check_names(pack, shape->name_bytes, err);
    if (rc == 0)
        rc = pack_check_calibration(pack, err);
    if (rc == 0)
        rc = pack_key_index(pack, &by_key, err);
    free(by_key);
    return rc;
}

/* ------------------------------------------------------------------------------------------------------- metadata */

static char *now_rfc3339(void)
{
    char text[32];
    struct tm utc;
    time_t now = time(NULL);
    if (gmtime_r(&now, &utc) == NULL || strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc) == 0)
        return NULL;
    return strdup(text);
}

static int copy_meta(struct lens_pack_meta *out, const struct lens_pack_meta *meta, struct lens_error *err)
{
    const struct {
        char **out;
        const char *text;
    } strings[] = {{&out->model_id, meta->model_id},
                   {&out->tap_layer, meta->tap_layer},
                   {&out->tap_point, meta->tap_point},
                   {&out->source, meta->source},
                   {&out->created, meta->created}};
    out->normalize = meta->normalize;
    for (size_t i = 0; i < sizeof strings / sizeof strings[0]; i++) {
        const char *text = strings[i].text != NULL ? strings[i].text : "";
        if (!pack_utf8_is_name(text, strlen(text)))
            return lens_error_set(err, -EINVAL, "a metadata string is not UTF-8, or holds control characters");
        *strings[i].out = strings[i].out == &out->created && strings[i].text == NULL ? now_rfc3339() : strdup(text);
        if (*strings[i].out == NULL)
            return lens_error_set(err, -ENOMEM, "no memory for the metadata");
    }
    return 0;
}

static int compare_keys(const void *a, const void *b)
{
    return strcmp(((const struct st_entry *)a)->key, ((const struct st_entry *)b)->key);
}

static int add_entry(struct lens_pack_writer *writer, const char *key, const char *value, struct lens_error *err)
{
    struct st_entry *entry = &writer->metadata[writer->metadata_count++];
    *entry = (struct st_entry){strdup(key), strdup(value != NULL ? value : "")};
    if (entry->key == NULL || entry->value == NULL)
        return lens_error_set(err, -ENOMEM, "no memory for the metadata");
    return 0;
}

static int list_metadata(struct lens_pack_writer *writer, const struct lens_pack_plan *plan, struct lens_error *err)
{
    const struct lens_pack_meta *meta = &writer->pack.meta;
    char hidden_dim[16];
    snprintf(hidden_dim, sizeof hidden_dim, "%u", writer->pack.dim);
    const struct {
        const char *key, *value;
    } own[METADATA_KEYS] = {
        {"created", meta->created},
        {"format", PACK_FORMAT},
        {"hidden_dim", hidden_dim},
        {"model_id", meta->model_id},
        {"normalize", meta->normalize == LENS_NORMALIZE_LAYERNORM ? PACK_LAYERNORM : PACK_NO_NORM},
        {"source", meta->source},
        {"tap_layer", meta->tap_layer},
        {"tap_point", meta->tap_point},
        {"version", PACK_VERSION},
    };
    int rc = 0;
    writer->metadata = calloc(METADATA_KEYS + plan->extra_count, sizeof *writer->metadata);
    if (writer->metadata == NULL)
        return lens_error_set(err, -ENOMEM, "no memory for the metadata");
    for (size_t i = 0; rc == 0 && i < METADATA_KEYS; i++)
        rc = add_entry(writer, own[i].key, own[i].value, err);
    for (size_t i = 0; rc == 0 && i < plan->extra_count; i++)
        rc = add_entry(writer, plan->extra[i].key, plan->extra[i].value, err);
    if (rc != 0)
        return rc;
    qsort(writer->metadata, writer->metadata_count, sizeof *writer->metadata, compare_keys);
    for (size_t i = 1; i < writer->metadata_count; i++)
        if (compare_keys(&writer->metadata[i - 1], &writer->metadata[i]) == 0)
            return lens_error_set(err, -EINVAL, "metadata \"%.60s\" is given twice", writer->metadata[i].key);
    return 0;
}

/* --------------------------------------------------------------------------------------------------------- create */

static int lay_out(struct lens_pack_writer *writer, const struct pack_shape *shape, struct lens_error *err)
{
    struct st_tensor tensors[PACK_MAX_TABLES];
    size_t header_bytes;
    if (pack_layout_make(shape, &writer->layout) != 0) {
        lens_error_set(err, -EINVAL, "no pack stores w1 as %s, or its sizes overflow",
                       lens_dtype_name(shape->w1_dtype));
        return -EINVAL;
    }
    for (uint32_t i = 0; i < writer->layout.count; i++) {
        struct pack_table *table = &writer->layout.tables[i];
        tensors[i] = table->tensor;
        if (strcmp(table->tensor.name, "w2") == 0)
            table->field = PACK_NOT_RESIDENT;
    }
    if (st_header_format(tensors, writer->layout.count, writer->metadata, writer->metadata_count, PACK_DATA_ALIGN,
                         &writer->header, &header_bytes) != 0)
        return lens_error_set(err, -ENOMEM, "no memory for the header, or metadata that is not UTF-8");
    writer->data_start = header_bytes;
    writer->w2_offset = writer->data_start + pack_layout_find(&writer->layout, "w2")->tensor.begin;
    writer->pack.w1_offset = writer->data_start;
    if (shape->w1_dtype == LENS_LOG8)
        writer->pack.w1_sign_offset = writer->data_start + pack_layout_find(&writer->layout, "w1_sign")->tensor.begin;
    writer->pack.file_bytes = writer->data_start + writer->layout.data_bytes;
    return 0;
}

static int allocate(struct lens_pack_writer *writer, struct lens_error *err)
{
    const struct lens_pack *pack = &writer->pack;
    writer->w1 = malloc(pack->w1_lens_bytes);
    writer->sign = malloc(pack->w1_sign_bytes + 1);
    writer->w2 = malloc((size_t)pack->h2 * pack->h1 * sizeof(float));
    if (writer->w1 == NULL || writer->sign == NULL || writer->w2 == NULL ||
        pack_tables_alloc(&writer->pack, &writer->layout) != 0) {
        lens_error_set(err, -ENOMEM, "no memory for the tables of %u lenses", pack->lenses);
        return -ENOMEM;
    }
    return 0;
}

static int prepare(struct lens_pack_writer *writer, const char *path, const struct lens_pack_plan *plan,
                   struct lens_error *err)
{
    struct pack_shape shape;
    int rc = shape_of_plan(plan, &shape, err);
    if (rc != 0)
        return rc;
    pack_set_shape(&writer->pack, &shape);
    rc = copy_meta(&writer->pack.meta, &plan->meta, err);
    if (rc == 0)
        rc = list_metadata(writer, plan, err);
    if (rc == 0)
        rc = lay_out(writer, &shape, err);
    if (rc == 0)
        rc = allocate(writer, err);
    if (rc != 0)
        return rc;
    copy_tables(&writer->pack, plan, &shape);
    rc = check_plan(&writer->pack, &shape, err);
    return rc != 0 ? rc : pack_replacement_begin(&writer->file, path, writer->pack.file_bytes, err);
}

int lens_pack_writer_create(const char *path, const struct lens_pack_plan *plan, struct lens_pack_writer **out,
                            struct lens_error *err)
{
    *out = NULL;
    struct lens_pack_writer *writer = calloc(1, sizeof *writer);
    if (writer == NULL)
        return lens_error_set(err, -ENOMEM, "no memory to write %s", path);
    writer->file = PACK_REPLACEMENT_NONE;
    writer->path = strdup(path);
    int rc = writer->path != NULL ? prepare(writer, path, plan, err)
                                  : lens_error_set(err, -ENOMEM, "no memory for its name");
    if (rc != 0) {
        lens_error_prefix(err, "pack %s", path);
        lens_pack_writer_abort(writer);
        return rc;
    }
    *out = writer;
    return 0;
}

/* ------------------------------------------------------------------------------------------------------- one lens */

/* Names the lens, the tensor and the place of a number that no pack may hold. */
static int bad_number(const struct lens_pack_writer *writer, const char *tensor, size_t place, size_t columns,
                      float value, struct lens_error *err)
{
    char key[PACK_MAX_NAME + 5];
    lens_pack_key(&writer->pack, writer->next, key, sizeof key);
    if (value - value == 0)
        return lens_error_set(err, -EDOM, "lens %s: %s[%zu,%zu] = %g is too large for %s", key, tensor, place / columns,
                              place % columns, (double)value, lens_dtype_name(LENS_BF16));
    return lens_error_set(err, -EDOM, "lens %s: %s[%zu,%zu] is %f; every weight must be finite", key, tensor,
                          place / columns, place % columns, (double)value);
}

static int check_finite(const struct lens_pack_writer *writer, const struct lens_weights *weights,
                        struct lens_error *err)
{
    const struct lens_pack *pack = &writer->pack;
    const struct {
        const char *name;
        const float *values;
        size_t rows, columns;
    } tensors[] = {{"w1", weights->w1, pack->h1, pack->dim}, {"b1", weights->b1, 1, pack->h1},
                   {"w2", weights->w2, pack->h2, pack->h1},  {"b2", weights->b2, 1, pack->h2},
                   {"w3", weights->w3, 1, pack->h2},         {"b3", &weights->b3, 1, 1}};
    for (size_t i = 0; i < sizeof tensors / sizeof tensors[0]; i++) {
        size_t count = tensors[i].rows * tensors[i].columns;
        size_t bad = pack_first_not_finite(tensors[i].values, count);
        if (bad != count)
            return bad_number(writer, tensors[i].name, bad, tensors[i].columns, tensors[i].values[bad], err);
    }
    return 0;
}

/* Rounds to bf16; a finite number that rounds to infinity is refused. */
static int encode_bf16(const struct lens_pack_writer *writer, const char *tensor, const float *values, size_t rows,
                       size_t columns, uint16_t *out, struct lens_error *err)
{
    const size_t count = rows * columns;
    for (size_t i = 0; i < count; i++)
        out[i] = lens_bf16_from_f32(values[i]);
    size_t bad = pack_first_not_finite_bf16(out, count);
    return bad == count ? 0 : bad_number(writer, tensor, bad, columns, values[bad], err);
}

static void encode_rows(struct lens_pack_writer *writer, const float *w1)
{
    struct lens_pack *pack = &writer->pack;
    const size_t sign_row = (pack->dim + 7) / 8;
    for (uint32_t row = 0; row < pack->h1; row++) {
        const float *w = w1 + (size_t)row * pack->dim;
        const size_t table_row = (size_t)writer->next * pack->h1 + row;
        const size_t at = (size_t)row * pack->dim;
        if (pack->w1_dtype == LENS_I8)
            lens_int8_encode(w, pack->dim, (int8_t *)writer->w1 + at, pack->w1_scale + table_row);
        else
            lens_log8_encode(w, pack->dim, (uint8_t *)writer->w1 + at, (uint8_t *)writer->sign + row * sign_row,
                             pack->w1_log_min + table_row, pack->w1_log_max + table_row);
    }
}

/* *stored is what goes to the file: the caller's own floats, or this writer's buffer. */
static int encode_w1(struct lens_pack_writer *writer, const float *w1, const void **stored, struct lens_error *err)
{
    const struct lens_pack *pack = &writer->pack;
    *stored = writer->w1;
    switch (pack->w1_dtype) {
    case LENS_F32:
        *stored = w1;
        return 0;
    case LENS_BF16:
        return encode_bf16(writer, "w1", w1, pack->h1, pack->dim, writer->w1, err);
    default:
        encode_rows(writer, w1);
        return 0;
    }
}

static int encode_w2(struct lens_pack_writer *writer, const float *w2, const void **stored, struct lens_error *err)
{
    const struct lens_pack *pack = &writer->pack;
    if (pack->w2_dtype == LENS_F32) {
        *stored = w2;
        return 0;
    }
    *stored = writer->w2;
    return encode_bf16(writer, "w2", w2, pack->h2, pack->h1, writer->w2, err);
}

static void keep_small(struct lens_pack_writer *writer, const struct lens_weights *weights)
{
    struct lens_pack *pack = &writer->pack;
    const size_t h1 = pack->h1;
    const size_t h2 = pack->h2;
    memcpy(pack->b1 + writer->next * h1, weights->b1, h1 * sizeof(float));
    memcpy(pack->b2 + writer->next * h2, weights->b2, h2 * sizeof(float));
    memcpy(pack->w3 + writer->next * h2, weights->w3, h2 * sizeof(float));
    pack->b3[writer->next] = weights->b3;
}

static int write_lens(struct lens_pack_writer *writer, const void *w1, const void *w2, struct lens_error *err)
{
    const struct lens_pack *pack = &writer->pack;
    const uint64_t lens = writer->next;
    const size_t w2_bytes = (size_t)pack->h2 * pack->h1 * lens_dtype_bytes(pack->w2_dtype);
    int rc = pack_pwrite(writer->file.fd, w1, pack->w1_lens_bytes, pack->w1_offset + lens * pack->w1_lens_bytes, err);
    if (rc == 0)
        rc = pack_pwrite(writer->file.fd, w2, w2_bytes, writer->w2_offset + lens * w2_bytes, err);
    if (rc == 0 && pack->w1_sign_bytes > 0)
        rc = pack_pwrite(writer->file.fd, writer->sign, pack->w1_sign_bytes,
                         pack->w1_sign_offset + lens * pack->w1_sign_bytes, err);
    return rc;
}

/* Only a hint: without it, dirty pages of the whole pack gather and the final fsync takes all the time. */
static void start_writeback(struct lens_pack_writer *writer)
{
    uint64_t done = (writer->next + 1) * writer->pack.w1_lens_bytes;
    if (done - writer->written_back < WRITEBACK_BYTES)
        return;
    sync_file_range(writer->file.fd, (off_t)(writer->pack.w1_offset + writer->written_back),
                    (off_t)(done - writer->written_back), SYNC_FILE_RANGE_WRITE);
    writer->written_back = done;
}

static void remember(struct lens_pack_writer *writer, const void *w1, const void *w2)
{
    const struct lens_pack *pack = &writer->pack;
    const size_t row = (size_t)writer->next * pack->h1;
    writer->last = (struct pack_stored_lens){
        .w1_dtype = pack->w1_dtype,
        .w2_dtype = pack->w2_dtype,
        .w1 = w1,
        .sign = writer->sign,
        .w2 = w2,
        .w1_scale = pack->w1_scale != NULL ? pack->w1_scale + row : NULL,
        .w1_log_min = pack->w1_log_min != NULL ? pack->w1_log_min + row : NULL,
        .w1_log_max = pack->w1_log_max != NULL ? pack->w1_log_max + row : NULL,
    };
}

struct pack_stored_lens pack_writer_last(const struct lens_pack_writer *writer)
{
    return writer->last;
}

static int add_lens(struct lens_pack_writer *writer, const struct lens_weights *weights, struct lens_error *err)
{
    const void *w1;
    const void *w2;
    if (writer->next == writer->pack.lenses)
        return lens_error_set(err, -ERANGE, "all %u lenses of the plan are already there", writer->pack.lenses);
    int rc = check_finite(writer, weights, err);
    if (rc == 0)
        rc = encode_w1(writer, weights->w1, &w1, err);
    if (rc == 0)
        rc = encode_w2(writer, weights->w2, &w2, err);
    if (rc == 0)
        rc = write_lens(writer, w1, w2, err);
    if (rc != 0)
        return rc;
    keep_small(writer, weights);
    writer->pack.checksum[writer->next] =
        (int64_t)pack_lens_checksum(&writer->pack, writer->next, w1, writer->sign, w2);
    start_writeback(writer);
    remember(writer, w1, w2);
    writer->next++;
    return 0;
}

int lens_pack_writer_add(struct lens_pack_writer *writer, const struct lens_weights *weights, struct lens_error *err)
{
    int rc = add_lens(writer, weights, err);
    if (rc != 0) {
        writer->failed = true;
        lens_error_prefix(err, "pack %s", writer->path);
    }
    return rc;
}

/* --------------------------------------------------------------------------------------------------------- finish */

static int write_tables(struct lens_pack_writer *writer, struct lens_error *err)
{
    struct lens_pack *pack = &writer->pack;
    pack->checksum[pack->lenses] =
        (int64_t)pack_tables_checksum(pack, &writer->layout, writer->metadata, writer->metadata_count);
    int rc = pack_pwrite(writer->file.fd, writer->header, writer->data_start, 0, err);
    for (uint32_t i = 0; rc == 0 && i < writer->layout.count; i++) {
        const struct pack_table *table = &writer->layout.tables[i];
        const void *data = pack_table_data(pack, table);
        if (data != NULL)
            rc = pack_pwrite(writer->file.fd, data, table->tensor.end - table->tensor.begin,
                             writer->data_start + table->tensor.begin, err);
    }
    return rc;
}

static int publish(struct lens_pack_writer *writer, struct lens_error *err)
{
    if (writer->failed || writer->next != writer->pack.lenses)
        return lens_error_set(err, -EINVAL, "only %u of %u lenses were written", writer->next, writer->pack.lenses);
    int rc = write_tables(writer, err);
    return rc != 0 ? rc : pack_replacement_commit(&writer->file, err);
}

int lens_pack_writer_finish(struct lens_pack_writer *writer, struct lens_error *err)
{
    int rc = publish(writer, err);
    if (rc != 0)
        lens_error_prefix(err, "pack %s", writer->path);
    lens_pack_writer_abort(writer); /* nothing to remove any more when it was published */
    return rc;
}
