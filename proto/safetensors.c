/* See safetensors.h. Everything here treats the file as hostile; it must not allocate by sizes the file claims before
 * they are held against the file's real size. */
#include "proto/safetensors.h"

#include "proto/pack_io.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    uint32_t bytes;
} dtypes[ST_DTYPES] = {
    [ST_F32] = {"F32", 4}, [ST_BF16] = {"BF16", 2}, [ST_I8] = {"I8", 1},
    [ST_U8] = {"U8", 1},   [ST_I32] = {"I32", 4},   [ST_I64] = {"I64", 8},
};

const char *st_dtype_name(enum st_dtype dtype)
{
    return (unsigned)dtype < ST_DTYPES ? dtypes[dtype].name : "?";
}

uint32_t st_dtype_bytes(enum st_dtype dtype)
{
    return (unsigned)dtype < ST_DTYPES ? dtypes[dtype].bytes : 0;
}

int st_tensor_bytes(enum st_dtype dtype, uint32_t dims, const uint64_t *shape, uint64_t *bytes)
{
    uint64_t total = st_dtype_bytes(dtype);
    for (uint32_t i = 0; i < dims; i++)
        if (__builtin_mul_overflow(total, shape[i], &total))
            return -EOVERFLOW;
    if (total > INT64_MAX)
        return -EOVERFLOW;
    *bytes = total;
    return 0;
}

void st_header_free(struct st_header *header)
{
    for (size_t i = 0; i < header->metadata_count; i++) {
        free(header->metadata[i].key);
        free(header->metadata[i].value);
    }
    free(header->metadata);
    free(header->tensors);
    memset(header, 0, sizeof *header);
}

const char *st_header_get(const struct st_header *header, const char *key)
{
    for (size_t i = 0; i < header->metadata_count; i++)
        if (strcmp(header->metadata[i].key, key) == 0)
            return header->metadata[i].value;
    return NULL;
}

/* ------------------------------------------------------------------------------------------------------- reading */

static int compare_entries(const void *a, const void *b)
{
    return strcmp(((const struct st_entry *)a)->key, ((const struct st_entry *)b)->key);
}

static int take_metadata(json_t *object, struct st_header *out, struct lens_error *err)
{
    if (object == NULL)
        return 0;
    if (!json_is_object(object))
        return lens_error_set(err, -EBADMSG, "__metadata__ in the header is not an object of strings");
    out->metadata = calloc(json_object_size(object) + 1, sizeof *out->metadata);
    if (out->metadata == NULL)
        return lens_error_set(err, -ENOMEM, "no memory for the header's metadata");
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value)
    {
        if (!json_is_string(value))
            return lens_error_set(err, -EBADMSG, "metadata \"%.60s\" is not a string", key);
        struct st_entry *entry = &out->metadata[out->metadata_count++];
        entry->key = strdup(key);
        entry->value = strdup(json_string_value(value));
        if (entry->key == NULL || entry->value == NULL)
            return lens_error_set(err, -ENOMEM, "no memory for the header's metadata");
    }
    qsort(out->metadata, out->metadata_count, sizeof *out->metadata, compare_entries);
    return 0;
}

static int take_dtype(const json_t *value, enum st_dtype *dtype)
{
    const char *text = json_string_value(value);
    for (int i = 0; text != NULL && i < ST_DTYPES; i++) {
        if (strcmp(text, dtypes[i].name) == 0) {
            *dtype = (enum st_dtype)i;
            return 0;
        }
    }
    return -EBADMSG;
}

/* An array of `count` integers that are not negative. */
static int take_integers(const json_t *array, size_t count, uint64_t *out)
{
    for (size_t i = 0; i < count; i++) {
        const json_t *value = json_array_get(array, i);
        if (!json_is_integer(value) || json_integer_value(value) < 0)
            return -EBADMSG;
        out[i] = (uint64_t)json_integer_value(value);
    }
    return 0;
}

static int take_tensor(const char *name, const json_t *value, uint64_t data_bytes, struct st_tensor *out,
                       struct lens_error *err)
{
    const json_t *shape = json_object_get(value, "shape");
    const json_t *offsets = json_object_get(value, "data_offsets");
    uint64_t range[2];
    uint64_t bytes;

    if (strlen(name) > ST_MAX_NAME)
        return lens_error_set(err, -EBADMSG, "a tensor's name is too long: \"%.40s..\"", name);
    snprintf(out->name, sizeof out->name, "%s", name);
    if (take_dtype(json_object_get(value, "dtype"), &out->dtype) != 0)
        return lens_error_set(err, -EBADMSG, "tensor %s: dtype is not one of F32 BF16 I8 U8 I32 I64", name);
    if (!json_is_array(shape) || json_array_size(shape) > ST_MAX_DIMS)
        return lens_error_set(err, -EBADMSG, "tensor %s: its shape is not a list of at most %d sizes", name,
                              ST_MAX_DIMS);
    out->dims = (uint32_t)json_array_size(shape);
    if (take_integers(shape, out->dims, out->shape) != 0)
        return lens_error_set(err, -EBADMSG, "tensor %s: its shape holds something that is no size", name);
    if (!json_is_array(offsets) || json_array_size(offsets) != 2 || take_integers(offsets, 2, range) != 0)
        return lens_error_set(err, -EBADMSG, "tensor %s: data_offsets are not [begin, end]", name);
    out->begin = range[0];
    out->end = range[1];
    if (out->begin > out->end || out->end > data_bytes)
        return lens_error_set(err, -EBADMSG,
                              "tensor %s: bytes %" PRIu64 "..%" PRIu64 " lie outside the file's %" PRIu64
                              " data bytes (was it cut off?)",
                              name, out->begin, out->end, data_bytes);
    if (st_tensor_bytes(out->dtype, out->dims, out->shape, &bytes) != 0 || bytes != out->end - out->begin)
        return lens_error_set(err, -EBADMSG,
                              "tensor %s: dtype and shape don't give the %" PRIu64 " bytes of its data_offsets", name,
                              out->end - out->begin);
    return 0;
}

static int compare_tensors(const void *a, const void *b)
{
    const struct st_tensor *x = a;
    const struct st_tensor *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end;
}

static int check_tiling(const struct st_header *header, struct lens_error *err)
{
    uint64_t at = 0;
    for (size_t i = 0; i < header->count; i++) {
        const struct st_tensor *tensor = &header->tensors[i];
        if (tensor->begin != at)
            return lens_error_set(err, -EBADMSG,
                                  "tensor %s starts at byte %" PRIu64 ", the one before ends at %" PRIu64
                                  ": ranges must follow each other without holes or overlaps",
                                  tensor->name, tensor->begin, at);
        at = tensor->end;
    }
    if (at != header->data_bytes)
        return lens_error_set(err, -EBADMSG, "tensors end at byte %" PRIu64 " of %" PRIu64 " data bytes", at,
                              header->data_bytes);
    return 0;
}

static int take_tensors(json_t *root, struct st_header *out, struct lens_error *err)
{
    out->tensors = calloc(json_object_size(root) + 1, sizeof *out->tensors);
    if (out->tensors == NULL)
        return lens_error_set(err, -ENOMEM, "no memory for the header's tensors");
    const char *name;
    json_t *value;
    json_object_foreach(root, name, value)
    {
        if (strcmp(name, "__metadata__") == 0)
            continue;
        int rc = take_tensor(name, value, out->data_bytes, &out->tensors[out->count], err);
        if (rc != 0)
            return rc;
        out->count++;
    }
    qsort(out->tensors, out->count, sizeof *out->tensors, compare_tensors);
    return check_tiling(out, err);
}

static int take_header(const char *text, size_t length, struct st_header *out, struct lens_error *err)
{
    json_error_t where;
    json_t *root = json_loadb(text, length, JSON_REJECT_DUPLICATES, &where);
    if (root == NULL)
        return lens_error_set(err, -EBADMSG, "the header is not JSON: %.100s at byte %d", where.text, where.position);
    int rc = -EBADMSG;
    if (!json_is_object(root))
        lens_error_set(err, rc, "the header is not a JSON object");
    else if ((rc = take_metadata(json_object_get(root, "__metadata__"), out, err)) == 0)
        rc = take_tensors(root, out, err);
    json_decref(root);
    return rc;
}

int st_header_read(int fd, uint64_t file_bytes, uint64_t max_header, struct st_header *out, struct lens_error *err)
{
    unsigned char prefix[8];
    uint64_t length = 0;

    memset(out, 0, sizeof *out);
    if (file_bytes < sizeof prefix)
        return lens_error_set(err, -EBADMSG, "no safetensors file: only %" PRIu64 " bytes", file_bytes);
    int rc = pack_pread(fd, prefix, sizeof prefix, 0, err);
    if (rc != 0)
        return rc;
    for (int i = 7; i >= 0; i--)
        length = length << 8 | prefix[i];
    if (length > file_bytes - sizeof prefix)
        return lens_error_set(err, -EBADMSG,
                              "no safetensors file, or cut off: its header should have %" PRIu64
                              " bytes, the file has %" PRIu64,
                              length, file_bytes);
    if (length > max_header)
        return lens_error_set(err, -EBADMSG, "its header has %" PRIu64 " bytes, more than the %" PRIu64 " allowed",
                              length, max_header);
    char *text = malloc(length + 1);
    if (text == NULL)
        return lens_error_set(err, -ENOMEM, "no memory for a header of %" PRIu64 " bytes", length);
    out->data_start = sizeof prefix + length;
    out->data_bytes = file_bytes - out->data_start;
    rc = pack_pread(fd, text, length, sizeof prefix, err);
    if (rc == 0)
        rc = take_header(text, length, out, err);
    free(text);
    if (rc != 0)
        st_header_free(out);
    return rc;
}

/* ------------------------------------------------------------------------------------------------------- writing */

static json_t *tensor_json(const struct st_tensor *tensor)
{
    json_t *shape = json_array();
    for (uint32_t i = 0; shape != NULL && i < tensor->dims; i++)
        json_array_append_new(shape, json_integer((json_int_t)tensor->shape[i]));
    return json_pack("{s:s, s:o, s:[I,I]}", "dtype", st_dtype_name(tensor->dtype), "shape", shape, "data_offsets",
                     (json_int_t)tensor->begin, (json_int_t)tensor->end);
}

static json_t *header_json(const struct st_tensor *tensors, size_t count, const struct st_entry *metadata,
                           size_t metadata_count)
{
    json_t *root = json_object();
    json_t *strings = json_object();
    int failed = root == NULL || strings == NULL;
    for (size_t i = 0; !failed && i < metadata_count; i++)
        failed = json_object_set_new(strings, metadata[i].key, json_string(metadata[i].value));
    if (!failed)
        failed = json_object_set(root, "__metadata__", strings);
    for (size_t i = 0; !failed && i < count; i++)
        failed = json_object_set_new(root, tensors[i].name, tensor_json(&tensors[i]));
    json_decref(strings);
    if (failed) {
        json_decref(root);
        return NULL;
    }
    return root;
}

static char *padded(const char *text, uint64_t align, size_t *length)
{
    size_t used = strlen(text);
    size_t whole = (size_t)((8 + used + align - 1) / align * align);
    char *bytes = malloc(whole + 1);
    if (bytes == NULL)
        return NULL;
    for (int i = 0; i < 8; i++)
        bytes[i] = (char)((uint64_t)(whole - 8) >> (8 * i));
    snprintf(bytes + 8, whole - 8 + 1, "%-*s", (int)(whole - 8), text);
    *length = whole;
    return bytes;
}

int st_header_format(const struct st_tensor *tensors, size_t count, const struct st_entry *metadata,
                     size_t metadata_count, uint64_t align, char **bytes, size_t *length)
{
    json_t *root = header_json(tensors, count, metadata, metadata_count);
    if (root == NULL)
        return -ENOMEM; /* or a string that isn't UTF-8, which callers rule out */
    char *text = json_dumps(root, JSON_COMPACT);
    json_decref(root);
    if (text == NULL)
        return -ENOMEM;
    *bytes = padded(text, align, length);
    free(text);
    return *bytes != NULL ? 0 : -ENOMEM;
}
