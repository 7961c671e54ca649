/* A .pt file: its zip, the state dict in its pickle, and its tensors as f32; see pt_file.h. */
#include "proto/import/pt_file.h"

#include "proto/import/pt_pickle.h"
#include "proto/import/pt_zip.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "tensors are little-endian and read as they are");

struct lens_pt_file {
    struct pt_zip *zip;
    struct pt_state state;
    uint64_t *entries; /* zip index of each storage of the state */
    char *path;
    unsigned char *scratch; /* stored numbers on their way to f32 */
    uint64_t scratch_bytes;
};

void lens_pt_close(struct lens_pt_file *file)
{
    if (file == NULL)
        return;
    pt_zip_close(file->zip);
    pt_state_free(&file->state);
    free(file->entries);
    free(file->scratch);
    free(file->path);
    free(file);
}

/* ----------------------------------------------------------------------------------------------------------- open */

/* A small entry, whole; terminated. */
static int read_entry(struct lens_pt_file *file, uint64_t index, uint64_t bytes, char **out, struct lens_error *err)
{
    *out = calloc(1, bytes + 1);
    if (*out == NULL)
        return lens_error_set(err, -ENOMEM, "no memory for an entry of %" PRIu64 " bytes", bytes);
    int rc = pt_zip_read(file->zip, index, 0, bytes, *out, err);
    if (rc != 0) {
        free(*out);
        *out = NULL;
    }
    return rc;
}

static int check_byteorder(struct lens_pt_file *file, struct lens_error *err)
{
    uint64_t index;
    uint64_t bytes;
    char *order;
    if (pt_zip_find(file->zip, "byteorder", &index, &bytes) != 0)
        return 0; /* before PyTorch 2.1 there was none: little */
    if (bytes > 16)
        return lens_error_set(err, -EBADMSG, "its byteorder entry has %" PRIu64 " bytes", bytes);
    int rc = read_entry(file, index, bytes, &order, err);
    if (rc != 0)
        return rc;
    if (strcmp(order, "little") != 0)
        rc = lens_error_set(err, -EBADMSG,
                            "it was saved on a big-endian machine (byteorder is not \"little\"): load it with "
                            "torch.load and save it again on a little-endian one");
    free(order);
    return rc;
}

static int read_state(struct lens_pt_file *file, struct lens_error *err)
{
    uint64_t index;
    uint64_t bytes;
    char *pickle;
    if (pt_zip_find(file->zip, "data.pkl", &index, &bytes) != 0)
        return lens_error_set(err, -EBADMSG, "its data.pkl can't be found");
    if (bytes > PT_MAX_PICKLE)
        return lens_error_set(err, -EBADMSG, "its data.pkl has %" PRIu64 " bytes, more than a state dict needs", bytes);
    int rc = read_entry(file, index, bytes, &pickle, err);
    if (rc == 0)
        rc = pt_pickle_read((const unsigned char *)pickle, bytes, &file->state, err);
    free(pickle);
    return rc;
}

static int find_storage(struct lens_pt_file *file, size_t i, struct lens_error *err)
{
    const struct pt_storage *storage = &file->state.storages[i];
    char name[PT_MAX_NAME + 8];
    uint64_t bytes;
    uint64_t needed;
    snprintf(name, sizeof name, "data/%s", storage->key);
    if (pt_zip_find(file->zip, name, &file->entries[i], &bytes) != 0)
        return lens_error_set(err, -EBADMSG, "its entry %.60s is missing, which its pickle refers to", name);
    if (!storage->supported)
        return 0;
    if (__builtin_mul_overflow(storage->elements, (uint64_t)lens_dtype_bytes(storage->dtype), &needed) ||
        needed != bytes)
        return lens_error_set(err, -EBADMSG,
                              "its entry %.60s has %" PRIu64 " bytes, but its pickle says %" PRIu64 " elements of %s",
                              name, bytes, storage->elements, storage->dtype_name);
    return 0;
}

static int load(struct lens_pt_file *file, struct lens_error *err)
{
    int rc = pt_zip_open(file->path, &file->zip, err);
    if (rc == 0)
        rc = check_byteorder(file, err);
    if (rc == 0)
        rc = read_state(file, err);
    if (rc != 0)
        return rc;
    file->entries = calloc(file->state.storage_count + 1, sizeof *file->entries);
    if (file->entries == NULL)
        return lens_error_set(err, -ENOMEM, "no memory for %zu storages", file->state.storage_count);
    for (size_t i = 0; rc == 0 && i < file->state.storage_count; i++)
        rc = find_storage(file, i, err);
    return rc;
}

int lens_pt_open(const char *path, struct lens_pt_file **out, struct lens_error *err)
{
    *out = NULL;
    struct lens_pt_file *file = calloc(1, sizeof *file);
    if (file == NULL)
        return lens_error_set(err, -ENOMEM, "no memory to open %s", path);
    file->path = strdup(path);
    int rc = file->path != NULL ? load(file, err) : lens_error_set(err, -ENOMEM, "no memory to open it");
    if (rc != 0) {
        lens_error_prefix(err, "%s", path);
        lens_pt_close(file);
        return rc;
    }
    *out = file;
    return 0;
}

size_t lens_pt_count(const struct lens_pt_file *file)
{
    return file->state.tensor_count;
}

const struct lens_pt_tensor *lens_pt_tensor_at(const struct lens_pt_file *file, size_t index)
{
    return &file->state.tensors[index];
}

const struct lens_pt_tensor *lens_pt_find(const struct lens_pt_file *file, const char *name)
{
    for (size_t i = 0; i < file->state.tensor_count; i++)
        if (strcmp(file->state.tensors[i].name, name) == 0)
            return &file->state.tensors[i];
    return NULL;
}

/* ----------------------------------------------------------------------------------------------------------- read */

static uint64_t element_count(const struct lens_pt_tensor *tensor)
{
    uint64_t count = 1;
    for (uint32_t i = 0; i < tensor->dims; i++)
        count *= tensor->shape[i];
    return count;
}

/* Elements from the first to the last that the tensor uses; `count` is not 0. */
static uint64_t span_of(const struct lens_pt_tensor *tensor)
{
    uint64_t last = 0;
    for (uint32_t i = 0; i < tensor->dims; i++)
        last += (tensor->shape[i] - 1) * tensor->stride[i];
    return last + 1;
}

static bool is_contiguous(const struct lens_pt_tensor *tensor)
{
    uint64_t expected = 1;
    for (uint32_t i = tensor->dims; i > 0; i--) {
        if (tensor->shape[i - 1] != 1 && tensor->stride[i - 1] != expected)
            return false;
        expected *= tensor->shape[i - 1];
    }
    return true;
}

static int reserve_scratch(struct lens_pt_file *file, uint64_t bytes, struct lens_error *err)
{
    if (bytes <= file->scratch_bytes)
        return 0;
    free(file->scratch);
    file->scratch = malloc(bytes);
    file->scratch_bytes = file->scratch != NULL ? bytes : 0;
    return file->scratch != NULL ? 0
                                 : lens_error_set(err, -ENOMEM, "no memory for a tensor of %" PRIu64 " bytes", bytes);
}

static float half_value(enum lens_dtype dtype, const unsigned char *bytes)
{
    uint16_t half;
    memcpy(&half, bytes, sizeof half);
    return dtype == LENS_BF16 ? lens_f32_from_bf16(half) : lens_f32_from_f16(half);
}

static float value_at(enum lens_dtype dtype, const unsigned char *stored, uint64_t index)
{
    float value;
    if (dtype != LENS_F32)
        return half_value(dtype, stored + index * 2);
    memcpy(&value, stored + index * 4, sizeof value);
    return value;
}

static void convert_run(enum lens_dtype dtype, const unsigned char *stored, uint64_t count, float *out)
{
    if (dtype == LENS_BF16) { /* the common case, in a loop that vectorises */
        for (uint64_t i = 0; i < count; i++) {
            uint16_t half;
            memcpy(&half, stored + i * 2, sizeof half);
            out[i] = lens_f32_from_bf16(half);
        }
        return;
    }
    for (uint64_t i = 0; i < count; i++)
        out[i] = value_at(dtype, stored, i);
}

/* Row-major walk over any strides: the last index runs fastest. */
static void gather(const struct lens_pt_tensor *tensor, const unsigned char *stored, uint64_t count, float *out)
{
    uint64_t index[LENS_PT_MAX_DIMS] = {0};
    uint64_t at = 0;
    for (uint64_t i = 0; i < count; i++) {
        out[i] = value_at(tensor->dtype, stored, at);
        for (uint32_t d = tensor->dims; d > 0; d--) {
            at += tensor->stride[d - 1];
            if (++index[d - 1] < tensor->shape[d - 1])
                break;
            at -= tensor->stride[d - 1] * tensor->shape[d - 1];
            index[d - 1] = 0;
        }
    }
}

static int read_tensor(struct lens_pt_file *file, const struct lens_pt_tensor *tensor, float *out,
                       struct lens_error *err)
{
    const uint64_t size = lens_dtype_bytes(tensor->dtype);
    const uint64_t count = element_count(tensor);
    const uint64_t index = file->entries[tensor->storage];
    if (tensor->unsupported_dtype)
        return lens_error_set(err, -EBADMSG,
                              "tensor %s is stored as %s; lenses are float32, float16 or bfloat16: convert it with "
                              ".float() and save it again",
                              tensor->name, tensor->dtype_name);
    if (count == 0)
        return 0;
    const bool contiguous = is_contiguous(tensor);
    const uint64_t bytes = (contiguous ? count : span_of(tensor)) * size;
    if (contiguous && tensor->dtype == LENS_F32)
        return pt_zip_read(file->zip, index, tensor->storage_offset * size, bytes, out, err);
    int rc = reserve_scratch(file, bytes, err);
    if (rc == 0)
        rc = pt_zip_read(file->zip, index, tensor->storage_offset * size, bytes, file->scratch, err);
    if (rc == 0 && contiguous)
        convert_run(tensor->dtype, file->scratch, count, out);
    else if (rc == 0)
        gather(tensor, file->scratch, count, out);
    return rc;
}

int lens_pt_read_f32(struct lens_pt_file *file, const struct lens_pt_tensor *tensor, float *out, struct lens_error *err)
{
    int rc = read_tensor(file, tensor, out, err);
    if (rc != 0)
        lens_error_prefix(err, "%s", file->path);
    return rc;
}
