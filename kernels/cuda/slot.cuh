/* Where a slot lies: see struct cu_slab_info. */
#ifndef LENS_CUDA_SLOT_CUH
#define LENS_CUDA_SLOT_CUH

#include "kernels/cuda/device.h"
#include "kernels/cuda/port.cuh"

/* One load of a table that every block reads. */
static __device__ __forceinline__ uint8_t *cu_slot(const struct cu_slab_info *info, uint64_t slot)
{
    const uint64_t inside = slot & (((uint64_t)1 << info->chunk_shift) - 1);
    return info->chunks[slot >> info->chunk_shift] + inside * info->slot_stride;
}

#endif
