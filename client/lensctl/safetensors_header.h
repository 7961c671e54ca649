/* The header of a safetensors file: which tensors it holds and where. For looking into files that anyone may have
 * written: every number is checked against the file's size before it is used. (Packs that are to be served go through
 * proto/pack.h, which checks far more.)
 *
 * Threads: one thread per header. */
#ifndef LENSCTL_SAFETENSORS_HEADER_H
#define LENSCTL_SAFETENSORS_HEADER_H

#include "proto/lens_error.h"

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#define SAFETENSORS_MAX_DIMS 8

struct safetensors_tensor {
    const char *name;  /* owned by the header */
    const char *dtype; /* as written: "F32", "BF16", ..; owned by the header */
    uint32_t n_dims;
    uint64_t shape[SAFETENSORS_MAX_DIMS];
    uint64_t offset, bytes; /* in the file */
};

struct safetensors_header {
    json_t *json;
    json_t *metadata;                   /* object of strings, borrowed from json; NULL when absent */
    struct safetensors_tensor *tensors; /* by offset */
    size_t count;
    uint64_t data_start;
};

/* Reads the header of the file `fd` of `file_bytes` bytes. 0, -EBADMSG (not a safetensors file, or a broken one),
 * -EIO, -ENOMEM; on error nothing is left to free. `fd` is lent for the call. */
int safetensors_header_read(int fd, uint64_t file_bytes, struct safetensors_header *out, struct lens_error *err);
void safetensors_header_free(struct safetensors_header *header);

/* Bytes of one element, 0 for a dtype that isn't known. */
uint32_t safetensors_dtype_bytes(const char *dtype);

#endif
