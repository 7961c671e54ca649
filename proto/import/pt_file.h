/* Reading a PyTorch .pt state dict without executing pickle (MECHANISMS.md, ".pt files").
 *
 * A small interpreter knows just the opcodes that state dicts use and the globals that rebuild tensors; any other
 * global or opcode is refused with its name. Entries must be stored, not deflated. Threads: one per file. */
#ifndef LENS_PT_FILE_H
#define LENS_PT_FILE_H

#include "proto/dtype.h"
#include "proto/lens_error.h"

#include <stddef.h>

#define LENS_PT_MAX_DIMS 4

struct lens_pt_tensor {
    const char *name;      /* key in the state dict; for a bank "Concept/key" */
    enum lens_dtype dtype; /* F32, F16 or BF16; others are refused when read */
    uint32_t dims;
    uint64_t shape[LENS_PT_MAX_DIMS];
    uint64_t stride[LENS_PT_MAX_DIMS]; /* elements */
    uint64_t storage_offset;           /* elements */
    uint32_t storage;                  /* index of the storage, private */
    int unsupported_dtype;             /* 1 = dtype isn't one of ours; the name is in dtype_name */
    const char *dtype_name;            /* "FloatStorage", "LongStorage", .. */
};

struct lens_pt_file;

/* Parses the pickle and the zip's directory; no tensor data is read. -EBADMSG with a sentence otherwise. */
int lens_pt_open(const char *path, struct lens_pt_file **out, struct lens_error *err);
void lens_pt_close(struct lens_pt_file *file);

size_t lens_pt_count(const struct lens_pt_file *file);
const struct lens_pt_tensor *lens_pt_tensor_at(const struct lens_pt_file *file, size_t index);
const struct lens_pt_tensor *lens_pt_find(const struct lens_pt_file *file, const char *name); /* NULL if absent */

/* Reads a tensor as contiguous row-major f32: product(shape) floats into `out`. */
int lens_pt_read_f32(struct lens_pt_file *file, const struct lens_pt_tensor *tensor, float *out,
                     struct lens_error *err);

#endif
