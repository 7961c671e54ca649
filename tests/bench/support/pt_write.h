/* Writes a PyTorch .pt state dict the way torch 1.13 does: a zip of stored entries aligned to 64 bytes, sizes after
 * the data and in the central directory, a ZIP64 end record; the pickle is protocol 2. Threads: any. */
#ifndef LENS_BENCH_PT_WRITE_H
#define LENS_BENCH_PT_WRITE_H

#include "proto/dtype.h"

#include <stdbool.h>
#include <stdint.h>

#define BENCH_PT_MAX_TENSORS 16

struct bench_pt_tensor {
    const char *name; /* "0.weight" */
    const float *values;
    uint32_t dims, shape[2];
};

/* Values are rounded half to even to `dtype` (F32, F16 or BF16). `archive` is the zip's top folder (torch: the file's
 * stem). Negative errno. */
int bench_pt_write(const char *path, const char *archive, const struct bench_pt_tensor *tensors, uint32_t n,
                   enum lens_dtype dtype);

uint16_t bench_f16_from_f32(float value);

#endif
