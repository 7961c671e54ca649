/* Stored W1 into slots, on the device: what the host gives the kernel cu_write (write.cu).
 *
 * Everything a lens was stored with lies in device memory (or memory of the host that the device sees), each table on a
 * boundary of its elements; 16 bytes are best. The slots hold nothing that a run may use until the kernel is through.
 *
 * Equal stored and slab dtypes move the very bits. Others go through f32: bf16 half to even, int8 and fp8 exactly as
 * lens_int8_encode and lens_fp8_encode have it, codes and scales. log8 is decoded as lens_log8_decode does, with the
 * card's exp of f64: a weight may differ from the processor's by one unit in the last place of f32.
 *
 * A row with a weight that isn't finite gets a scale that isn't finite (int8, fp8) or keeps the weight (f32, bf16): its
 * lens's logits are NaN. Padding (dim, h1) is zero. */
#ifndef LENS_CUDA_WRITE_H
#define LENS_CUDA_WRITE_H

#include "kernels/cuda/device.h"
#include "proto/dtype.h"

#define LENS_CU_WRITE_LENSES 64u /* in one launch at most: the arguments of a kernel have 4 KiB of room */

/* One lens on its way; as struct lens_slot_write. */
struct cu_write_lens {
    uint64_t slot;
    const void *w1;                 /* [h1][dim] codes or values */
    const uint8_t *sign;            /* LOG8: [h1][(dim + 7) / 8] */
    const float *scale;             /* I8: [h1] */
    const float *log_min, *log_max; /* LOG8: [h1] */
};

/* Passed by value. The grid has cu_write_blocks of LENS_CU_THREADS threads. */
struct cu_write_args {
    struct cu_slab_info info;
    uint32_t n;      /* lenses, at most LENS_CU_WRITE_LENSES */
    uint32_t stored; /* enum lens_dtype of all of them: F32, BF16, I8 or LOG8 */
    struct cu_write_lens lenses[LENS_CU_WRITE_LENSES];
};

static inline uint32_t cu_write_blocks(const struct cu_write_args *args)
{
    return args->n * args->info.tiles;
}

#ifdef __cplusplus
static_assert(sizeof(struct cu_write_args) <= 4096, "arguments of a kernel have 4 KiB of room");
#else
_Static_assert(sizeof(struct cu_write_args) <= 4096, "arguments of a kernel have 4 KiB of room");
#endif

#endif
