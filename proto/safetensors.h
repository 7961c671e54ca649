/* The safetensors container: a length, a JSON header, and tensors back to back.
 *
 * Knows nothing of lens packs. Reading checks all that the format promises (shapes and dtypes agree with the offsets,
 * offsets tile the data up to the end of the file) and reads no tensor data. Private to proto/.
 * Threads: pure functions on the caller's data; safe on any thread. */
#ifndef LENS_SAFETENSORS_H
#define LENS_SAFETENSORS_H

#include "proto/lens_error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ST_MAX_DIMS 3
#define ST_MAX_NAME 63

enum st_dtype { ST_F32, ST_BF16, ST_I8, ST_U8, ST_I32, ST_I64, ST_DTYPES };

const char *st_dtype_name(enum st_dtype dtype); /* "F32", .. as in the file */
uint32_t st_dtype_bytes(enum st_dtype dtype);

struct st_tensor {
    char name[ST_MAX_NAME + 1];
    enum st_dtype dtype;
    uint32_t dims;
    uint64_t shape[ST_MAX_DIMS];
    uint64_t begin, end; /* bytes from the start of the data */
};

struct st_entry { /* one string of __metadata__; may not contain NUL */
    char *key, *value;
};

struct st_header {
    struct st_tensor *tensors; /* ascending by begin */
    size_t count;
    struct st_entry *metadata; /* ascending by key, as bytes */
    size_t metadata_count;
    uint64_t data_start; /* offset in the file */
    uint64_t data_bytes;
};

/* Elements times element size; -EOVERFLOW when that doesn't fit 63 bits. */
int st_tensor_bytes(enum st_dtype dtype, uint32_t dims, const uint64_t *shape, uint64_t *bytes);

/* Reads and checks the header of `fd`. Headers over `max_header` bytes are refused. -EBADMSG with a sentence when the
 * file isn't sound. On error *out is empty. Free with st_header_free. */
int st_header_read(int fd, uint64_t file_bytes, uint64_t max_header, struct st_header *out, struct lens_error *err);
void st_header_free(struct st_header *header);

/* Value of a metadata key, NULL when absent. */
const char *st_header_get(const struct st_header *header, const char *key);

/* Builds the bytes from the start of a file to its data, padded with spaces so that the data starts at a multiple of
 * `align`. tensors[].begin/end are taken as they are. *bytes is the caller's to free. */
int st_header_format(const struct st_tensor *tensors, size_t count, const struct st_entry *metadata,
                     size_t metadata_count, uint64_t align, char **bytes, size_t *length);

#endif
