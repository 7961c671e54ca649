/* What follows the first layer: scale, bias and ReLU, the second and third layer, the logit. Included by score.cu
 * alone. One block does all rows of an item, 8 at a time.
 *
 * The order of additions: of layer 2, warp w adds hidden outputs w, w + 8, ... in ascending order, then the eight
 * warps' sums are added in ascending w; of layer 3, lane l adds outputs l, l + 32, ... in ascending order, then the
 * lanes' sums are folded in halves. Nothing else than a row's own values is in it.
 *
 * A value that isn't finite becomes NaN on its way through ReLU, so that weights that aren't finite, or overflow, show
 * as a NaN logit and not as one that looks fine. */
#ifndef LENS_CUDA_TAIL_CUH
#define LENS_CUDA_TAIL_CUH

#include "kernels/cuda/device.h"
#include "kernels/cuda/port.cuh"
#include "kernels/cuda/slot.cuh"

#define CU_TAIL_ROWS    8u   /* one for each warp in layer 3 */
#define CU_TAIL_HIDDEN  256u /* hidden outputs in shared memory at a time; a multiple of the warps */
#define CU_TAIL_OUTPUTS 64u  /* of layer 2 at a time: two a lane */
#define CU_TAIL_BATCH   4u   /* hidden outputs whose weights a warp reads before it uses the first */

struct cu_tail_shared {
    float hidden[CU_TAIL_HIDDEN][CU_TAIL_ROWS + 4]; /* 4 unused: fewer bank conflicts, and 16-byte reads */
    float sums[LENS_CU_WARPS][CU_TAIL_ROWS][CU_TAIL_OUTPUTS];
};

static __device__ __forceinline__ float cu_relu(float v)
{
    if (!(fabsf(v) <= 0x1.fffffep127f))
        return __uint_as_float(0x7fc00000u);
    return v > 0 ? v : 0;
}

/* Hidden outputs [from, from + CU_TAIL_HIDDEN) of `rows` rows of the item into shared memory; `first` is the first. */
static __device__ void cu_tail_hidden(const struct cu_state *s, const struct cu_item *item, uint32_t first,
                                      uint32_t rows, uint32_t from, struct cu_tail_shared &shared)
{
    const struct cu_slab_info *info = &s->info;
    const bool integer = info->product == CU_PRODUCT_I8;
    const bool scaled = integer || info->product == CU_PRODUCT_I8_EXACT || info->product == CU_PRODUCT_FP8_EXACT;
    const float *scale = (const float *)(cu_slot(info, item->slot) + info->scale_offset);
    const uint32_t *sums = (const uint32_t *)s->hidden + (uint64_t)(item->pairs + first) * info->h1_padded;
    const uint16_t *ids = s->item_rows + (uint64_t)item->lens * info->max_rows + first;
    const uint32_t n = min(CU_TAIL_HIDDEN, info->h1 - from);
    for (uint32_t i = threadIdx.x; i < n; i += LENS_CU_THREADS) {
        const float bias = info->b1[(uint64_t)item->lens * info->h1 + from + i];
        const float factor = scaled ? scale[from + i] : 1.0f;
        for (uint32_t r = 0; r < CU_TAIL_ROWS; r++) {
            float v = 0;
            if (r < rows) {
                const uint32_t bits = cu_load_volatile(sums + (uint64_t)r * info->h1_padded + from + i);
                v = integer ? fmaf((float)(int32_t)bits, s->x_scale[ids[r]] * factor, bias)
                            : fmaf(__uint_as_float(bits), factor, bias);
            }
            shared.hidden[i][r] = cu_relu(v);
        }
    }
}

template <bool BF16> static __device__ __forceinline__ float cu_w2(const void *w2t, uint64_t at)
{
    return BF16 ? __uint_as_float((uint32_t)((const uint16_t *)w2t)[at] << 16) : ((const float *)w2t)[at];
}

/* acc[row][j] += hidden[row][h] * w2[output + 32 j][h] for this warp's n hidden outputs in shared memory; `at` is where
 * w2t has the first of them, for this lane's first output. */
template <bool BF16>
static __device__ __forceinline__ void cu_tail_multiply(const struct cu_slab_info *info, uint64_t at, uint32_t output,
                                                        uint32_t n, const struct cu_tail_shared &shared,
                                                        float (&acc)[CU_TAIL_ROWS][2])
{
    const uint32_t h2 = info->h2;
    for (uint32_t h = threadIdx.x / 32; h < n; h += CU_TAIL_BATCH * LENS_CU_WARPS) {
        float w[CU_TAIL_BATCH][2];
#pragma unroll
        for (uint32_t u = 0; u < CU_TAIL_BATCH; u++) {
            const uint32_t k = h + u * LENS_CU_WARPS;
#pragma unroll
            for (uint32_t j = 0; j < 2; j++)
                w[u][j] = k < n && output + 32 * j < h2 ? cu_w2<BF16>(info->w2t, at + (uint64_t)k * h2 + 32 * j) : 0;
        }
#pragma unroll
        for (uint32_t u = 0; u < CU_TAIL_BATCH; u++) {
            const uint32_t k = h + u * LENS_CU_WARPS;
            if (k < n) {
#pragma unroll
                for (uint32_t r = 0; r < CU_TAIL_ROWS; r++) {
                    acc[r][0] = fmaf(shared.hidden[k][r], w[u][0], acc[r][0]);
                    acc[r][1] = fmaf(shared.hidden[k][r], w[u][1], acc[r][1]);
                }
            }
        }
    }
}

/* Sums of layer 2 for outputs [o, o + CU_TAIL_OUTPUTS) of some rows: each warp's part in shared.sums. */
template <bool BF16>
static __device__ __forceinline__ void cu_tail_second(const struct cu_state *s, const struct cu_item *item,
                                                      uint32_t first, uint32_t rows, uint32_t o,
                                                      struct cu_tail_shared &shared)
{
    const struct cu_slab_info *info = &s->info;
    const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    float acc[CU_TAIL_ROWS][2];
#pragma unroll
    for (uint32_t r = 0; r < CU_TAIL_ROWS; r++)
        acc[r][0] = acc[r][1] = 0;
    for (uint32_t from = 0; from < info->h1; from += CU_TAIL_HIDDEN) {
        const uint64_t at = ((uint64_t)item->lens * info->h1 + from) * info->h2 + o + lane;
        __syncthreads(); /* nobody reads what was there */
        cu_tail_hidden(s, item, first, rows, from, shared);
        __syncthreads();
        cu_tail_multiply<BF16>(info, at, o + lane, min(CU_TAIL_HIDDEN, info->h1 - from), shared, acc);
    }
#pragma unroll
    for (uint32_t r = 0; r < CU_TAIL_ROWS; r++) {
        shared.sums[warp][r][lane] = acc[r][0];
        shared.sums[warp][r][lane + 32] = acc[r][1];
    }
    __syncthreads();
}

/* This lane's part of layer 3, of its warp's row. */
static __device__ __forceinline__ float cu_tail_third(const struct cu_slab_info *info, uint32_t lens, uint32_t o,
                                                      const struct cu_tail_shared &shared, float sum)
{
    const uint32_t row = threadIdx.x / 32;
    for (uint32_t i = threadIdx.x % 32; i < CU_TAIL_OUTPUTS && o + i < info->h2; i += 32) {
        const uint64_t at = (uint64_t)lens * info->h2 + o + i;
        float v = 0;
#pragma unroll
        for (uint32_t w = 0; w < LENS_CU_WARPS; w++)
            v += shared.sums[w][row][i];
        sum = fmaf(info->w3[at], cu_relu(v + info->b2[at]), sum);
    }
    return sum;
}

static __device__ __forceinline__ void cu_tail_answer(struct cu_state *s, uint32_t lens, uint32_t row, float logit)
{
    uint8_t *mark = &s->marks[(uint64_t)row * s->marks_stride + lens];
    s->logits[(uint64_t)row * s->info.lenses + lens] = logit;
    *mark = (uint8_t)(CU_MARK_SCORED | (*mark & CU_MARK_WAITED));
}

/* All rows of an item whose first-layer sums are complete. All threads of the block. */
template <bool BF16>
static __device__ void cu_tail(struct cu_state *s, const struct cu_item *item, struct cu_tail_shared &shared)
{
    const struct cu_slab_info *info = &s->info;
    const uint32_t warp = threadIdx.x / 32;
    for (uint32_t first = 0; first < item->n; first += CU_TAIL_ROWS) {
        const uint32_t rows = min(CU_TAIL_ROWS, item->n - first);
        float sum = 0;
        for (uint32_t o = 0; o < info->h2; o += CU_TAIL_OUTPUTS) {
            cu_tail_second<BF16>(s, item, first, rows, o, shared);
            sum = cu_tail_third(info, item->lens, o, shared, sum);
        }
        for (int half = 16; half > 0; half /= 2)
            sum += __shfl_xor_sync(0xffffffffu, sum, half);
        if (warp < rows && threadIdx.x % 32 == 0)
            cu_tail_answer(s, item->lens, s->item_rows[(uint64_t)item->lens * info->max_rows + first + warp],
                           sum + info->b3[item->lens]);
    }
}

#endif
