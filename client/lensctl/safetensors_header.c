/* See safetensors_header.h. */
#include "client/lensctl/safetensors_header.h"

#include "client/lensctl/read_exactly.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define HEADER_MAX 100000000u /* the format's own limit */

uint32_t safetensors_dtype_bytes(const char *dtype)
{
    static const struct {
        const char *name;
        uint32_t bytes;
    } known[] = {{"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E4M3", 1}, {"F8_E5M2", 1},
                 {"I16", 2},  {"U16", 2}, {"F16", 2}, {"BF16", 2},    {"I32", 4},
                 {"U32", 4},  {"F32", 4}, {"I64", 8}, {"U64", 8},     {"F64", 8}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(known[i].name, dtype) == 0)
            return known[i].bytes;
    }
    return 0;
}

static int read_length(int fd, uint64_t file_bytes, uint64_t *length, struct lens_error *err)
{
    unsigned char bytes[8];
    if (file_bytes < sizeof bytes)
        return lens_error_set(err, -EBADMSG, "expected a safetensors file, found only %llu bytes",
                              (unsigned long long)file_bytes);
    int r = read_exactly(fd, bytes, sizeof bytes, 0);
    if (r != 0)
        return lens_error_set(err, r, "could not read the header's length: %s", strerror(-r));
    *length = 0;
    for (unsigned i = 0; i < sizeof bytes; i++)
        *length |= (uint64_t)bytes[i] << (8 * i);
    uint64_t room = file_bytes - sizeof bytes;
    if (*length < 2 || *length > HEADER_MAX || *length > room)
        return lens_error_set(err, -EBADMSG,
                              "expected a safetensors header of 2 to %llu bytes, found the length %llu: not a "
                              "safetensors file, or a truncated one",
                              (unsigned long long)(room < HEADER_MAX ? room : HEADER_MAX), (unsigned long long)*length);
    return 0;
}

static int read_json(int fd, uint64_t length, json_t **out, struct lens_error *err)
{
    char *text = malloc(length + 1);
    if (text == NULL)
        return lens_error_set(err, -ENOMEM, "no memory for a header of %llu bytes", (unsigned long long)length);
    int r = read_exactly(fd, text, length, 8);
    json_error_t why = {0};
    if (r == 0)
        *out = json_loadb(text, length, JSON_REJECT_DUPLICATES, &why);
    free(text);
    if (r != 0)
        return lens_error_set(err, r, "could not read the header: %s", strerror(-r));
    if (json_is_object(*out))
        return 0;
    r = lens_error_set(err, -EBADMSG, "the safetensors header is not a JSON object%s%s", *out == NULL ? ": " : "",
                       *out == NULL ? why.text : "");
    json_decref(*out);
    return r;
}

/* A JSON number that is a whole one from 0 on. */
static bool whole_number(const json_t *value, uint64_t *out)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return false;
    *out = (uint64_t)json_integer_value(value);
    return true;
}

static int read_shape(const json_t *shape, struct safetensors_tensor *tensor, uint64_t *elements,
                      struct lens_error *err)
{
    *elements = 1;
    if (!json_is_array(shape) || json_array_size(shape) > SAFETENSORS_MAX_DIMS)
        return lens_error_set(err, -EBADMSG, "tensor '%s': expected a shape of at most %d dimensions", tensor->name,
                              SAFETENSORS_MAX_DIMS);
    tensor->n_dims = (uint32_t)json_array_size(shape);
    for (uint32_t i = 0; i < tensor->n_dims; i++) {
        if (!whole_number(json_array_get(shape, i), &tensor->shape[i]) ||
            __builtin_mul_overflow(*elements, tensor->shape[i], elements))
            return lens_error_set(err, -EBADMSG, "tensor '%s': its shape is not one of whole numbers, or too large",
                                  tensor->name);
    }
    return 0;
}

static int read_offsets(const json_t *offsets, uint64_t data_bytes, struct safetensors_tensor *tensor,
                        struct lens_error *err)
{
    uint64_t begin, end;
    if (json_array_size(offsets) != 2 || !whole_number(json_array_get(offsets, 0), &begin) ||
        !whole_number(json_array_get(offsets, 1), &end) || begin > end)
        return lens_error_set(err, -EBADMSG, "tensor '%s': expected data_offsets [begin, end]", tensor->name);
    if (end > data_bytes)
        return lens_error_set(err, -EBADMSG,
                              "tensor '%s' ends at byte %llu of the data, but the file holds %llu: it is truncated",
                              tensor->name, (unsigned long long)end, (unsigned long long)data_bytes);
    tensor->offset = begin;
    tensor->bytes = end - begin;
    return 0;
}

static int read_tensor(const char *name, const json_t *value, uint64_t data_bytes, struct safetensors_tensor *tensor,
                       struct lens_error *err)
{
    uint64_t elements = 0, bytes;
    tensor->name = name;
    tensor->dtype = json_string_value(json_object_get(value, "dtype"));
    if (tensor->dtype == NULL)
        return lens_error_set(err, -EBADMSG, "tensor '%s' has no dtype", name);
    int r = read_shape(json_object_get(value, "shape"), tensor, &elements, err);
    if (r == 0)
        r = read_offsets(json_object_get(value, "data_offsets"), data_bytes, tensor, err);
    if (r != 0)
        return r;
    uint32_t size = safetensors_dtype_bytes(tensor->dtype);
    if (size != 0 && (__builtin_mul_overflow(elements, (uint64_t)size, &bytes) || bytes != tensor->bytes))
        return lens_error_set(err, -EBADMSG, "tensor '%s': its shape and dtype %s don't make the %llu bytes it has",
                              name, tensor->dtype, (unsigned long long)tensor->bytes);
    return 0;
}

static int by_offset(const void *a, const void *b)
{
    const struct safetensors_tensor *x = a, *y = b;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    return strcmp(x->name, y->name);
}

static int read_metadata(struct safetensors_header *header, json_t *metadata, struct lens_error *err)
{
    const char *key;
    json_t *value;
    if (!json_is_object(metadata))
        return lens_error_set(err, -EBADMSG, "expected __metadata__ to be an object of strings");
    json_object_foreach(metadata, key, value)
    {
        if (!json_is_string(value))
            return lens_error_set(err, -EBADMSG, "metadata '%s' is not a string", key);
    }
    header->metadata = metadata;
    return 0;
}

static int read_entries(struct safetensors_header *header, uint64_t data_bytes, struct lens_error *err)
{
    const char *key;
    json_t *value;
    int r = 0;
    json_object_foreach(header->json, key, value)
    {
        if (strcmp(key, "__metadata__") == 0)
            r = read_metadata(header, value, err);
        else
            r = read_tensor(key, value, data_bytes, &header->tensors[header->count++], err);
        if (r != 0)
            return r;
    }
    for (size_t i = 0; i < header->count; i++)
        header->tensors[i].offset += header->data_start;
    qsort(header->tensors, header->count, sizeof *header->tensors, by_offset);
    return 0;
}

int safetensors_header_read(int fd, uint64_t file_bytes, struct safetensors_header *out, struct lens_error *err)
{
    uint64_t length = 0;
    *out = (struct safetensors_header){0};
    int r = read_length(fd, file_bytes, &length, err);
    if (r == 0)
        r = read_json(fd, length, &out->json, err);
    if (r != 0) {
        out->json = NULL;
        return r;
    }
    out->data_start = 8 + length;
    out->tensors = calloc(json_object_size(out->json) + 1, sizeof *out->tensors);
    r = out->tensors == NULL ? lens_error_set(err, -ENOMEM, "no memory for the list of tensors")
                             : read_entries(out, file_bytes - out->data_start, err);
    if (r != 0)
        safetensors_header_free(out);
    return r;
}

void safetensors_header_free(struct safetensors_header *header)
{
    json_decref(header->json);
    free(header->tensors);
    *header = (struct safetensors_header){0};
}
