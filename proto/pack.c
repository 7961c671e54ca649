/* Opening a lens pack: the header, the resident tables, and every structural check (see pack.h).
 * The file may be anything at all; nothing from it is used before it was checked. Weights are never mapped: a file
 * that shrinks must cost an error, not a SIGBUS. */
#include "proto/pack.h"

#include "proto/pack_io.h"
#include "proto/pack_private.h"
#include "proto/pack_tables.h"
#include "proto/pack_utf8.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ------------------------------------------------------------------------------------------------------- metadata */

static int take_string(const struct st_header *header, const char *key, char **out, struct lens_error *err)
{
    const char *value = st_header_get(header, key);
    if (value == NULL)
        value = "";
    if (!pack_utf8_is_name(value, strlen(value)))
        return lens_error_set(err, -EBADMSG, "metadata \"%s\" holds control characters", key);
    *out = strdup(value);
    return *out != NULL ? 0 : lens_error_set(err, -ENOMEM, "no memory for the metadata");
}

static int expect_string(const struct st_header *header, const char *key, const char *expected, struct lens_error *err)
{
    const char *found = st_header_get(header, key);
    if (found != NULL && strcmp(found, expected) == 0)
        return 0;
    return lens_error_set(err, -EBADMSG, "metadata \"%s\" should be \"%s\" and is %s%.40s%s", key, expected,
                          found ? "\"" : "", found ? found : "absent", found ? "\"" : "");
}

static int take_normalize(const struct st_header *header, enum lens_normalize *out, struct lens_error *err)
{
    const char *text = st_header_get(header, "normalize");
    if (text != NULL && strcmp(text, PACK_LAYERNORM) == 0)
        *out = LENS_NORMALIZE_LAYERNORM;
    else if (text != NULL && strcmp(text, PACK_NO_NORM) == 0)
        *out = LENS_NORMALIZE_NONE;
    else
        return lens_error_set(err, -EBADMSG, "metadata \"normalize\" is \"%.40s\"; this lensd knows \"%s\" and \"%s\"",
                              text != NULL ? text : "", PACK_LAYERNORM, PACK_NO_NORM);
    return 0;
}

static int take_meta(struct lens_pack *pack, const struct st_header *header, struct lens_error *err)
{
    struct lens_pack_meta *meta = &pack->meta;
    const struct {
        const char *key;
        char **out;
    } strings[] = {{"model_id", &meta->model_id},
                   {"tap_layer", &meta->tap_layer},
                   {"tap_point", &meta->tap_point},
                   {"source", &meta->source},
                   {"created", &meta->created}};
    int rc = expect_string(header, "format", PACK_FORMAT, err);
    if (rc == 0)
        rc = expect_string(header, "version", PACK_VERSION, err);
    if (rc == 0)
        rc = take_normalize(header, &meta->normalize, err);
    for (size_t i = 0; rc == 0 && i < sizeof strings / sizeof strings[0]; i++)
        rc = take_string(header, strings[i].key, strings[i].out, err);
    return rc;
}

static int check_hidden_dim(const struct lens_pack *pack, const struct st_header *header, struct lens_error *err)
{
    char expected[16];
    snprintf(expected, sizeof expected, "%u", pack->dim);
    return expect_string(header, "hidden_dim", expected, err);
}

/* --------------------------------------------------------------------------------------------------------- shapes */

static const struct st_tensor *find_tensor(const struct st_header *header, const char *name)
{
    for (size_t i = 0; i < header->count; i++)
        if (strcmp(header->tensors[i].name, name) == 0)
            return &header->tensors[i];
    return NULL;
}

/* A tensor whose sizes decide those of others. */
static int leading_tensor(const struct st_header *header, const char *name, uint32_t dims, const struct st_tensor **out,
                          struct lens_error *err)
{
    *out = find_tensor(header, name);
    if (*out == NULL)
        lens_error_set(err, -EBADMSG, "tensor %s is missing", name);
    else if ((*out)->dims != dims)
        lens_error_set(err, -EBADMSG, "tensor %s has %u dimensions and should have %u", name, (*out)->dims, dims);
    else
        return 0;
    return -EBADMSG;
}

static int w1_dtype_of(enum st_dtype stored, enum lens_dtype *out)
{
    switch (stored) {
    case ST_F32:
        *out = LENS_F32;
        return 0;
    case ST_BF16:
        *out = LENS_BF16;
        return 0;
    case ST_I8:
        *out = LENS_I8;
        return 0;
    case ST_U8:
        *out = LENS_LOG8;
        return 0;
    default:
        return -EBADMSG;
    }
}

static int shape_of(const struct st_header *header, struct pack_shape *shape, struct lens_error *err)
{
    const struct st_tensor *w1;
    const struct st_tensor *w2;
    const struct st_tensor *child_ids;
    const struct st_tensor *names;
    int rc = leading_tensor(header, "w1", 3, &w1, err);
    if (rc == 0)
        rc = leading_tensor(header, "w2", 3, &w2, err);
    if (rc == 0)
        rc = leading_tensor(header, "child_ids", 1, &child_ids, err);
    if (rc == 0)
        rc = leading_tensor(header, "names", 1, &names, err);
    if (rc != 0)
        return rc;
    if (w1_dtype_of(w1->dtype, &shape->w1_dtype) != 0)
        return lens_error_set(err, -EBADMSG, "w1 is %s; it must be F32, BF16, I8 or U8", st_dtype_name(w1->dtype));
    if (w2->dtype != ST_F32 && w2->dtype != ST_BF16)
        return lens_error_set(err, -EBADMSG, "w2 is %s; it must be F32 or BF16", st_dtype_name(w2->dtype));
    shape->w2_dtype = w2->dtype == ST_F32 ? LENS_F32 : LENS_BF16;
    shape->lenses = w1->shape[0];
    shape->h1 = w1->shape[1];
    shape->dim = w1->shape[2];
    shape->h2 = w2->shape[1];
    shape->edges = child_ids->shape[0];
    shape->name_bytes = names->shape[0];
    return pack_check_limits(shape, err);
}

static int check_tensor(const struct st_tensor *found, const struct st_tensor *expected, struct lens_error *err)
{
    if (found == NULL)
        return lens_error_set(err, -EBADMSG, "tensor %s is missing", expected->name);
    if (found->dtype != expected->dtype)
        return lens_error_set(err, -EBADMSG, "tensor %s is %s and should be %s", expected->name,
                              st_dtype_name(found->dtype), st_dtype_name(expected->dtype));
    bool same = found->dims == expected->dims;
    for (uint32_t i = 0; same && i < expected->dims; i++)
        same = found->shape[i] == expected->shape[i];
    if (!same)
        return lens_error_set(err, -EBADMSG, "the shape of tensor %s doesn't fit those of w1 and w2", expected->name);
    return 0;
}

static int compare_begin(const void *a, const void *b)
{
    const struct st_tensor *x = &((const struct pack_table *)a)->tensor;
    const struct st_tensor *y = &((const struct pack_table *)b)->tensor;
    return (x->begin > y->begin) - (x->begin < y->begin);
}

/* Every table there, of the right dtype and shape, and none besides. The layout then has the file's places and order.
 */
static int match_layout(const struct st_header *header, struct pack_layout *layout, struct lens_error *err)
{
    for (uint32_t i = 0; i < layout->count; i++) {
        struct st_tensor *expected = &layout->tables[i].tensor;
        const struct st_tensor *found = find_tensor(header, expected->name);
        int rc = check_tensor(found, expected, err);
        if (rc != 0)
            return rc;
        expected->begin = found->begin;
        expected->end = found->end;
    }
    for (size_t i = 0; i < header->count; i++)
        if (pack_layout_find(layout, header->tensors[i].name) == NULL)
            return lens_error_set(err, -EBADMSG, "tensor %s does not belong in a lens pack with this w1",
                                  header->tensors[i].name);
    qsort(layout->tables, layout->count, sizeof layout->tables[0], compare_begin);
    return 0;
}

void pack_set_shape(struct lens_pack *pack, const struct pack_shape *shape)
{
    pack->lenses = (uint32_t)shape->lenses;
    pack->dim = (uint32_t)shape->dim;
    pack->h1 = (uint32_t)shape->h1;
    pack->h2 = (uint32_t)shape->h2;
    pack->w1_dtype = shape->w1_dtype;
    pack->w2_dtype = shape->w2_dtype;
    pack->w1_lens_bytes = shape->h1 * shape->dim * lens_dtype_bytes(shape->w1_dtype);
    pack->w1_sign_bytes = shape->w1_dtype == LENS_LOG8 ? shape->h1 * ((shape->dim + 7) / 8) : 0;
}

/* ---------------------------------------------------------------------------------------------------------- open */

static int read_tables(struct lens_pack *pack, const struct pack_layout *layout, uint64_t data_start,
                       struct lens_error *err)
{
    if (pack_tables_alloc(pack, layout) != 0)
        return lens_error_set(err, -ENOMEM, "no memory for the tables of %u lenses", pack->lenses);
    for (uint32_t i = 0; i < layout->count; i++) {
        const struct st_tensor *tensor = &layout->tables[i].tensor;
        void *data = pack_table_data(pack, &layout->tables[i]);
        int rc =
            data == NULL ? 0 : pack_pread(pack->fd, data, tensor->end - tensor->begin, data_start + tensor->begin, err);
        if (rc != 0) {
            lens_error_prefix(err, "tensor %s", tensor->name);
            return rc;
        }
    }
    return 0;
}

static void leave_in_file(struct pack_layout *layout, const char *name)
{
    for (uint32_t i = 0; i < layout->count; i++)
        if (strcmp(layout->tables[i].tensor.name, name) == 0)
            layout->tables[i].field = PACK_NOT_RESIDENT;
}

enum w2_place { W2_RESIDENT, W2_IN_FILE };

static int load(struct lens_pack *pack, struct pack_private *private, enum w2_place w2, struct lens_error *err)
{
    struct st_header *header = &private->header;
    struct pack_layout *layout = &private->layout;
    struct pack_shape shape = {0};

    int rc = st_header_read(pack->fd, pack->file_bytes, PACK_MAX_HEADER, header, err);
    if (rc == 0)
        rc = take_meta(pack, header, err);
    if (rc == 0)
        rc = shape_of(header, &shape, err);
    if (rc == 0 && pack_layout_make(&shape, layout) != 0)
        rc = lens_error_set(err, -EBADMSG, "the pack's sizes overflow");
    if (rc == 0)
        rc = match_layout(header, layout, err);
    if (rc != 0)
        return rc;
    if (w2 == W2_IN_FILE)
        leave_in_file(layout, "w2");
    pack_set_shape(pack, &shape);
    pack->w1_offset = header->data_start + pack_layout_find(layout, "w1")->tensor.begin;
    if (pack->w1_dtype == LENS_LOG8)
        pack->w1_sign_offset = header->data_start + pack_layout_find(layout, "w1_sign")->tensor.begin;
    rc = check_hidden_dim(pack, header, err);
    if (rc == 0)
        rc = read_tables(pack, layout, header->data_start, err);
    if (rc == 0)
        rc = pack_check_tree(pack, shape.edges, err);
    if (rc == 0)
        rc = pack_check_names(pack, shape.name_bytes, err);
    if (rc == 0)
        rc = pack_check_numbers(pack, err);
    return rc != 0 ? rc : pack_key_index(pack, &private->by_key, err);
}

/* O_NONBLOCK: a FIFO of that name must not hang us. */
static int open_regular(const char *path, int *fd, uint64_t *bytes, struct lens_error *err)
{
    struct stat info;
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (*fd < 0)
        return lens_error_set(err, -errno, "can't open it: %s", strerror(errno));
    if (fstat(*fd, &info) != 0)
        return lens_error_set(err, -errno, "can't stat it: %s", strerror(errno));
    if (!S_ISREG(info.st_mode))
        return lens_error_set(err, -EINVAL, "it is not a regular file");
    *bytes = (uint64_t)info.st_size;
    return 0;
}

static struct lens_pack *new_pack(const char *path)
{
    struct lens_pack *pack = calloc(1, sizeof *pack);
    if (pack == NULL)
        return NULL;
    pack->fd = -1;
    pack->private_state = calloc(1, sizeof(struct pack_private));
    pack->path = strdup(path);
    if (pack->private_state == NULL || pack->path == NULL) {
        lens_pack_close(pack);
        return NULL;
    }
    return pack;
}

static int open_pack(const char *path, enum w2_place w2, struct lens_pack **out, struct lens_error *err)
{
    *out = NULL;
    struct lens_pack *pack = new_pack(path);
    if (pack == NULL)
        return lens_error_set(err, -ENOMEM, "no memory to open %s", path);
    int rc = open_regular(path, &pack->fd, &pack->file_bytes, err);
    if (rc == 0)
        rc = load(pack, pack->private_state, w2, err);
    if (rc != 0) {
        lens_error_prefix(err, "pack %s", path);
        lens_pack_close(pack);
        return rc;
    }
    *out = pack;
    return 0;
}

int lens_pack_open(const char *path, struct lens_pack **out, struct lens_error *err)
{
    return open_pack(path, W2_RESIDENT, out, err);
}

int pack_open_without_w2(const char *path, struct lens_pack **out, struct lens_error *err)
{
    return open_pack(path, W2_IN_FILE, out, err);
}

void lens_pack_close(struct lens_pack *pack)
{
    if (pack == NULL)
        return;
    struct pack_private *private = pack->private_state;
    if (private != NULL) {
        st_header_free(&private->header);
        free(private->by_key);
        free(private);
    }
    pack_tables_free(pack);
    pack_meta_free(&pack->meta);
    if (pack->fd >= 0)
        close(pack->fd);
    free(pack->path);
    free(pack);
}
