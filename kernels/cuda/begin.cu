/* Takes new rows in and looks for what all live rows want. See device.h.
 *
 * A hidden state is read once, from memory that may change underneath, into shared memory (or its row of `wide` when it
 * is longer); all that follows works on that copy. */
#include "kernels/cuda/cascade.cuh"

#include "proto/dtype.h"

#define EPSILON    1e-5
#define SHARED_DIM 8192u /* hidden states up to this size are worked on in shared memory */
#define LOADS      4u    /* of 16 bytes that a thread has in flight: the way to the host is long */

/* ---- one hidden state ------------------------------------------------------------------------------------------- */

/* One value, for rows that don't lie on 16 bytes. */
static __device__ float widen_one(const void *source, uint32_t dtype, uint32_t d)
{
    if (dtype == LENS_F32)
        return ((const volatile float *)source)[d];
    uint16_t half = ((const volatile uint16_t *)source)[d];
    return dtype == LENS_BF16 ? lens_f32_from_bf16(half) : lens_f32_from_f16(half);
}

static __device__ void widen_word(uint32_t word, uint32_t dtype, float *out)
{
    if (dtype == LENS_F32) {
        out[0] = __uint_as_float(word);
    } else {
        out[0] = dtype == LENS_BF16 ? lens_f32_from_bf16((uint16_t)word) : lens_f32_from_f16((uint16_t)word);
        out[1] = dtype == LENS_BF16 ? lens_f32_from_bf16(word >> 16) : lens_f32_from_f16(word >> 16);
    }
}

/* Reads a row whole, in pieces of 16 bytes as far as it lies on them. Block. */
static __device__ void read_row(const void *source, uint32_t dtype, uint32_t dim, float *copy)
{
    uint32_t per_word = dtype == LENS_F32 ? 1 : 2, pieces = 0;
    if (((uintptr_t)source & 15) == 0)
        pieces = dim / (4 * per_word);
    for (uint32_t first = threadIdx.x; first < pieces; first += LOADS * LENS_CU_THREADS) {
        struct cu_b128 v[LOADS];
#pragma unroll
        for (uint32_t u = 0; u < LOADS; u++) {
            uint32_t piece = first + u * LENS_CU_THREADS;
            if (piece < pieces)
                v[u] = cu_load_host((const uint8_t *)source + 16 * (size_t)piece);
        }
#pragma unroll
        for (uint32_t u = 0; u < LOADS; u++) {
            float *out = copy + (size_t)(first + u * LENS_CU_THREADS) * 4 * per_word;
            if (first + u * LENS_CU_THREADS < pieces) {
                widen_word(v[u].x, dtype, out);
                widen_word(v[u].y, dtype, out + per_word);
                widen_word(v[u].z, dtype, out + 2 * per_word);
                widen_word(v[u].w, dtype, out + 3 * per_word);
            }
        }
    }
    for (uint32_t d = pieces * 4 * per_word + threadIdx.x; d < dim; d += LENS_CU_THREADS)
        copy[d] = widen_one(source, dtype, d);
    __syncthreads();
}

/* Sum of `value` over the block in one fixed order: lanes by halving, then warps ascending. Block. */
static __device__ double block_sum(double value)
{
    __shared__ double sums[LENS_CU_WARPS];
    for (uint32_t step = 16; step > 0; step /= 2)
        value += __shfl_xor_sync(0xffffffffu, value, step);
    if (threadIdx.x % 32 == 0)
        sums[threadIdx.x / 32] = value;
    __syncthreads();
    double sum = 0;
    for (uint32_t i = 0; i < LENS_CU_WARPS; i++)
        sum += sums[i];
    __syncthreads();
    return sum;
}

static __device__ uint32_t block_max(uint32_t value)
{
    __shared__ uint32_t most;
    if (threadIdx.x == 0)
        most = 0;
    __syncthreads();
    atomicMax(&most, value);
    __syncthreads();
    uint32_t result = most;
    __syncthreads();
    return result;
}

/* Mean and factor of a LayerNorm: two passes in f64. Block. */
static __device__ void moments(const float *x, uint32_t dim, double *mean, double *factor)
{
    double sum = 0, squares = 0;
    for (uint32_t d = threadIdx.x; d < dim; d += LENS_CU_THREADS)
        sum += (double)x[d];
    *mean = block_sum(sum) / dim;
    for (uint32_t d = threadIdx.x; d < dim; d += LENS_CU_THREADS) {
        double off = (double)x[d] - *mean;
        squares += off * off;
    }
    *factor = 1.0 / sqrt(block_sum(squares) / dim + EPSILON);
}

/* x^[d] in the form the slab's product takes. */
static __device__ void store_x(const struct cu_state *s, uint32_t row, uint32_t d, float value, float scale)
{
    const struct cu_slab_info *info = &s->info;
    size_t at = (size_t)row * info->columns * info->k_padded + d;
    switch (info->product) {
    case CU_PRODUCT_F32:
        ((float *)s->x)[at] = value;
        break;
    case CU_PRODUCT_I8: {
        float code = fminf(fmaxf(value / scale, -127.0f), 127.0f);
        ((int8_t *)s->x)[at] = (int8_t)__float2int_rn(code);
        break;
    }
    default:
        for (uint32_t c = 0; c < info->columns; c++) {
            uint16_t term = lens_bf16_from_f32(value);
            ((uint16_t *)s->x)[at + (size_t)c * info->k_padded] = term;
            value -= lens_f32_from_bf16(term); /* exact */
        }
    }
}

/* Copies, checks, normalises and stores a row; false when it holds NaN or Inf. `copy` has room for dim floats. Block.
 */
static __device__ bool take_in(const struct cu_work *w, const void *source, float *copy)
{
    const struct cu_slab_info *info = &w->s->info;
    uint32_t dim = info->dim, bad = 0, most = 0;
    read_row(source, w->job->dtype, dim, copy);
    for (uint32_t d = threadIdx.x; d < dim; d += LENS_CU_THREADS)
        bad |= (__float_as_uint(copy[d]) & 0x7f800000u) == 0x7f800000u;
    if (__syncthreads_or((int)bad) != 0)
        return false;
    double mean = 0, factor = 1;
    if (info->normalize == LENS_NORMALIZE_LAYERNORM)
        moments(copy, dim, &mean, &factor);
    for (uint32_t d = threadIdx.x; d < dim; d += LENS_CU_THREADS) {
        if (info->normalize == LENS_NORMALIZE_LAYERNORM)
            copy[d] = (float)(((double)copy[d] - mean) * factor);
        uint32_t size = __float_as_uint(copy[d]) & 0x7fffffffu;
        most = size > most ? size : most;
    }
    float scale = 1.0f;
    if (info->product == CU_PRODUCT_I8) {
        float largest = __uint_as_float(block_max(most)) / 127.0f;
        scale = largest > 0.0f ? largest : 1.0f;
        if (threadIdx.x == 0)
            w->s->x_scale[w->at] = largest;
    }
    for (uint32_t d = threadIdx.x; d < info->k_padded; d += LENS_CU_THREADS)
        store_x(w->s, w->at, d, d < dim ? copy[d] : 0.0f, scale);
    __syncthreads();
    return true;
}

/* ---- one row ---------------------------------------------------------------------------------------------------- */

/* Adds the allowed ones of n ids that aren't there yet to the row's list, in order. An id twice in `ids` is taken where
 * it comes first. Block. */
static __device__ void want(const struct cu_work *w, const uint32_t *ids, uint32_t n)
{
    if (n == 0)
        return;
    for (uint32_t i = threadIdx.x; i < n; i += LENS_CU_THREADS)
        w->claim[ids[i]] = LENS_CU_ABSENT;
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < n; i += LENS_CU_THREADS)
        atomicMin(&w->claim[ids[i]], i);
    __syncthreads();
    uint32_t base = w->row->n;
    for (uint32_t first = 0; first < n; first += LENS_CU_THREADS) {
        uint32_t i = first + threadIdx.x;
        bool fresh = i < n && w->claim[ids[i]] == i && w->marks[ids[i]] == 0 && cu_allows(w, ids[i]);
        uint32_t place = cu_block_place(fresh, &base);
        if (fresh) {
            w->list[place] = ids[i];
            w->marks[ids[i]] = CU_MARK_WANTED;
        }
    }
    __syncthreads();
    if (threadIdx.x == 0)
        w->row->n = base;
    __syncthreads();
}

static __device__ void clear_row(const struct cu_work *w)
{
    for (uint32_t i = threadIdx.x; i < w->s->marks_stride / 4; i += LENS_CU_THREADS)
        ((uint32_t *)w->marks)[i] = 0;
    uint32_t *words = (uint32_t *)w->row;
    for (uint32_t i = threadIdx.x; i < sizeof *w->row / 4; i += LENS_CU_THREADS)
        words[i] = 0;
    __syncthreads();
}

static __device__ void begin_row(const struct cu_work *w, const void *source)
{
    __shared__ float shared[SHARED_DIM];
    const struct cu_job *job = w->job;
    const struct cu_slab_info *info = &w->s->info;
    clear_row(w);
    if (!take_in(w, source, info->dim <= SHARED_DIM ? shared : w->s->wide + (size_t)w->at * info->k_padded)) {
        if (threadIdx.x == 0) {
            w->row->state = CU_ROW_FINISHED;
            w->row->status = LENS_ROW_INVALID_INPUT;
            w->row->reason = LENS_REASON_NOT_FINITE;
        }
        __syncthreads();
        return;
    }
    want(w, cu_words(w->s, job->base), job->n_base);
    want(w, cu_words(w->s, job->pinned), job->n_pinned);
    if (threadIdx.x == 0)
        w->row->always = w->row->n;
    __syncthreads();
    want(w, cu_words(w->s, job->kept), job->n_kept);
    if (threadIdx.x == 0)
        w->row->active = w->row->n;
    __syncthreads();
}

/* ---- the kernel ------------------------------------------------------------------------------------------------- */

extern "C" __global__ void __launch_bounds__(LENS_CU_THREADS) cu_begin(struct cu_state *s)
{
    uint32_t n = s->command->n_live;
    if (blockIdx.x >= n)
        return;
    uint32_t pass = s->pass ^ 1u;
    for (uint32_t i = blockIdx.x; i < n; i += gridDim.x) {
        struct cu_work w = cu_work_of(s, i);
        const struct cu_live *live = &cu_lives(s)[i];
        if ((live->flags & CU_LIVE_NEW) != 0)
            begin_row(&w, live->source);
        bool scoring = w.row->state == CU_ROW_SCORING;
        __syncthreads(); /* everybody has read the state */
        if (scoring && w.job->failed != 0 && threadIdx.x == 0)
            w.row->state = CU_ROW_FINISHED;
        if (!scoring || w.job->failed != 0)
            continue;
        cu_look(&w, pass);
        if (threadIdx.x == 0)
            atomicAdd(&s->active, 1u); /* at least one step is due, even with nothing to score */
    }
    if (cu_arrive(s, cu_row_blocks(s))) {
        if (threadIdx.x == 0) {
            uint64_t now = cu_global_timer();
            s->times[CU_TIME_TAKEN_IN] = s->times[CU_TIME_BASE] = s->times[CU_TIME_EXPANDED] = now;
            s->passes = 0;
        }
        cu_plan(s, true);
    }
}
