/* The pickle inside a .pt file, read without executing it: values are only ever numbers, strings, containers and
 * descriptions of tensors. Private to proto/import. Threads: pure on the caller's data. */
#ifndef LENS_IMPORT_PT_PICKLE_H
#define LENS_IMPORT_PT_PICKLE_H

#include "proto/import/pt_file.h"

#include <stdbool.h>

#define PT_MAX_PICKLE  (UINT64_C(16) << 20) /* a bank of 1,000 lenses needs less than 1 MiB */
#define PT_MAX_TENSORS 65536u
#define PT_MAX_NAME    512u

/* One reference to a storage: an entry "data/{key}" of the zip, seen as numbers of one type. */
struct pt_storage {
    enum lens_dtype dtype;
    bool supported;         /* dtype is one of ours */
    const char *dtype_name; /* literal: "FloatStorage", .. */
    char *key;
    uint64_t elements;
};

/* What a state dict says. tensors[].name is owned; tensors[].storage indexes `storages`. */
struct pt_state {
    struct pt_storage *storages;
    size_t storage_count;
    struct lens_pt_tensor *tensors; /* in the dict's order */
    size_t tensor_count;
};

/* -EBADMSG with a sentence that names what was refused. On error *out is empty. Free with pt_state_free. */
int pt_pickle_read(const unsigned char *bytes, size_t length, struct pt_state *out, struct lens_error *err);
void pt_state_free(struct pt_state *state);

#endif
