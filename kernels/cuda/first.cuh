/* The first layer of 16 outputs (a tile) for up to 32 columns of x at a time (a chunk). Included by score.cu alone.
 *
 * The eight warps of a block share the steps of dim among them: warp w takes steps w, w + 8, w + 16 ... in ascending
 * order, and adds to sums of its own. These eight are then added in ascending w, and a row's terms last to first: the
 * one reduction order of a (lens, row). No column, number of columns or neighbour is in it.
 *
 * Weights come in the slot's order (device.h), 16 bytes a lane and load, with up to P::ring steps of every warp under
 * way: the ring. Whoever uses a place of the ring refills it at once, at the end of a chunk with what this block does
 * next, so that memory is busy while the sums meet.
 *
 * The operands of a matrix product may have their k in any order if both have the same: words 0 and 1 of a lane's 16
 * bytes make one product with the same words of x, words 2 and 3 the next. */
#ifndef LENS_CUDA_FIRST_CUH
#define LENS_CUDA_FIRST_CUH

#include "kernels/cuda/device.h"
#include "kernels/cuda/port.cuh"

#define CU_STEP_BYTES 1024u
#define CU_STRIDE     (CU_STEP_BYTES * LENS_CU_WARPS)        /* from one step of a warp to its next */
#define CU_COLUMNS    8u                                     /* of a matrix product (an n-tile) */
#define CU_MAX_NT     4u                                     /* n-tiles of a chunk at most */
#define CU_PARTIALS   (LENS_CU_WARPS * CU_MAX_NT * 4u * 32u) /* partial sums of a chunk at most */

/* A tile's weights for some rows of its item. */
struct cu_chunk {
    const uint8_t *weights; /* this lane's first 16 bytes of the tile, in its warp's first step */
    const uint8_t *next;    /* those of what the block does next; NULL at the end */
    const uint16_t *row;    /* [rows] */
    uint32_t rows;
};

/* A lane's weights of one step: 16 bytes of output g and 16 of output g + 8. */
struct cu_pieces {
    struct cu_b128 g, g8;
};

static __device__ __forceinline__ uint32_t cu_lane(void)
{
    return threadIdx.x % 32;
}
static __device__ __forceinline__ uint32_t cu_warp(void)
{
    return threadIdx.x / 32;
}

/* How many of a tile's steps are this warp's. */
static __device__ __forceinline__ uint32_t cu_warp_steps(const struct cu_state *s)
{
    return (s->info.steps + LENS_CU_WARPS - 1 - cu_warp()) / LENS_CU_WARPS;
}

/* Starts the loads of one step, if there is one: its lane's first 16 bytes are at `at`. */
static __device__ __forceinline__ void cu_refill(struct cu_pieces &place, const uint8_t *at, bool there)
{
    if (there) {
        place.g = cu_load_streaming(at);
        place.g8 = cu_load_streaming(at + CU_STEP_BYTES / 2);
    }
}

/* What a turn of the ring puts into its places: the next steps of the chunk, or the first ones of what comes next. */
struct cu_refills {
    const uint8_t *from;
    uint32_t n;
};

static __device__ __forceinline__ struct cu_refills cu_refills_of(const struct cu_chunk &chunk, uint32_t done,
                                                                  uint32_t steps)
{
    if (done < steps)
        return {chunk.weights + (uint64_t)done * CU_STRIDE, steps - done};
    return {chunk.next, chunk.next != NULL ? steps : 0};
}

/* A column's values: 16-byte pieces from x on. Zeros for a column that nobody uses (LENS_CU_ABSENT). */
static __device__ __forceinline__ struct cu_b128 cu_x_piece(const uint8_t *x, uint32_t column)
{
    struct cu_b128 piece = {0, 0, 0, 0};
    if (column != LENS_CU_ABSENT)
        piece = cu_load_cached(x + (uint64_t)column * 16);
    return piece;
}

/* ---- one step of each kind of product on the matrix units -----------------------------------------------------------
 * `x` is where x has the step's values for column 0, `column` how far from there this lane's are in each n-tile. */

static __device__ __forceinline__ void cu_multiply(float (&acc)[4], const struct cu_b128 &g, const struct cu_b128 &g8,
                                                   const struct cu_b128 &x)
{
    const uint32_t a[4] = {g.x, g8.x, g.y, g8.y}, a2[4] = {g.z, g8.z, g.w, g8.w};
    const uint32_t b[2] = {x.x, x.y}, b2[2] = {x.z, x.w};
    cu_mma_bf16(acc, a, b);
    cu_mma_bf16(acc, a2, b2);
}

static __device__ __forceinline__ void cu_multiply(int32_t (&acc)[4], const struct cu_b128 &g, const struct cu_b128 &g8,
                                                   const struct cu_b128 &x)
{
    const uint32_t a[4] = {g.x, g8.x, g.y, g8.y}, a2[4] = {g.z, g8.z, g.w, g8.w};
    const uint32_t b[2] = {x.x, x.y}, b2[2] = {x.z, x.w};
    cu_mma_s8(acc, a, b);
    cu_mma_s8(acc, a2, b2);
}

/* Weights and x of one kind: bf16 with f32 sums, int8 with i32 sums. */
template <class SUM, uint32_t ELEMENT> struct cu_first_plain {
    typedef SUM sum;
    static const uint32_t x_bytes = 64; /* of a column in a step */
    static const uint32_t x_element = ELEMENT;
    static const uint32_t max_nt = CU_MAX_NT;
    static const uint32_t ring = 5; /* dim 2560 makes 10 steps a warp in bf16, 5 in int8 */

    template <int NT>
    static __device__ __forceinline__ void step(SUM (&acc)[NT][4], const struct cu_pieces &w, const uint8_t *x,
                                                const uint32_t (&column)[NT])
    {
#pragma unroll
        for (int n = 0; n < NT; n++)
            cu_multiply(acc[n], w.g, w.g8, cu_x_piece(x, column[n]));
    }
};
typedef cu_first_plain<float, 2> cu_first_bf16;
typedef cu_first_plain<int32_t, 1> cu_first_i8;

/* Two int8 codes, at bits 0 and 16, as bf16, exactly: (128 + the low seven bits) - (128, or 256 when negative). */
static __device__ __forceinline__ uint32_t cu_bf16_of_i8(uint32_t codes)
{
    return cu_fma_bf16x2((codes & 0x007f007fu) | 0x43004300u, 0x3f803f80u, (codes & 0x00800080u) | 0xc300c300u);
}

/* Likewise e4m3: exponent and mantissa at their places in bf16, which is off by 2^120 then. A NaN becomes 480: a row
 * that has one has a NaN scale (write.cu). */
static __device__ __forceinline__ uint32_t cu_bf16_of_e4m3(uint32_t codes)
{
    return cu_fma_bf16x2((codes & 0x007f007fu) << 4 | (codes & 0x00800080u) << 8, 0x7b807b80u, 0x80008000u);
}

/* Codes of one byte, widened to bf16 in registers: an output's 16 bytes are 16 dims, and 32 bytes of x. */
template <bool E4M3> struct cu_first_codes {
    typedef float sum;
    static const uint32_t x_bytes = 128;
    static const uint32_t x_element = 2;
    static const uint32_t max_nt = CU_MAX_NT;
    static const uint32_t ring = 5;

    static __device__ __forceinline__ uint32_t widen(uint32_t pair)
    {
        return E4M3 ? cu_bf16_of_e4m3(pair) : cu_bf16_of_i8(pair);
    }
    /* Eight codes in two words. */
    static __device__ __forceinline__ struct cu_b128 wide(uint32_t a, uint32_t b)
    {
        return {widen((a & 0xffu) | (a & 0xff00u) << 8), widen((a >> 16 & 0xffu) | (a >> 8 & 0xff0000u)),
                widen((b & 0xffu) | (b & 0xff00u) << 8), widen((b >> 16 & 0xffu) | (b >> 8 & 0xff0000u))};
    }

    template <int NT>
    static __device__ __forceinline__ void step(float (&acc)[NT][4], const struct cu_pieces &w, const uint8_t *x,
                                                const uint32_t (&column)[NT])
    {
        const struct cu_b128 g = wide(w.g.x, w.g.y), g8 = wide(w.g8.x, w.g8.y);
#pragma unroll
        for (int n = 0; n < NT; n++)
            cu_multiply(acc[n], g, g8, cu_x_piece(x, column[n]));
        const struct cu_b128 more = wide(w.g.z, w.g.w), more8 = wide(w.g8.z, w.g8.w);
#pragma unroll
        for (int n = 0; n < NT; n++)
            cu_multiply(acc[n], more, more8, cu_x_piece(x + 16, column[n]));
    }
};

/* ---- the sums of one warp over its steps --------------------------------------------------------------------------
 * In all kinds lane (g, t) gets columns 2t and 2t + 1 of output g, then those of output g + 8, of every n-tile. */

/* Where the values of a column start in x, in 16-byte pieces; LENS_CU_ABSENT beyond the columns of the chunk. */
static __device__ __forceinline__ uint32_t cu_column(const struct cu_state *s, const struct cu_chunk &chunk,
                                                     uint32_t column, uint32_t element)
{
    const uint32_t terms = s->info.columns;
    if (column >= chunk.rows * terms)
        return LENS_CU_ABSENT;
    return (chunk.row[column / terms] * terms + column % terms) * (s->info.k_padded * element / 16);
}

template <class P, int NT>
static __device__ __forceinline__ void cu_warp_sums(P, const struct cu_state *s, const struct cu_chunk &chunk,
                                                    struct cu_pieces (&ring)[P::ring], typename P::sum (&acc)[NT][4])
{
    const uint32_t g = cu_lane() / 4, t = cu_lane() % 4, steps = cu_warp_steps(s);
    const uint8_t *x = (const uint8_t *)s->x + cu_warp() * P::x_bytes + t * (P::x_bytes / 4);
    uint32_t column[NT];
#pragma unroll
    for (int n = 0; n < NT; n++) {
        column[n] = cu_column(s, chunk, (uint32_t)n * CU_COLUMNS + g, P::x_element);
#pragma unroll
        for (int i = 0; i < 4; i++)
            acc[n][i] = 0;
    }
    for (uint32_t base = 0; base < steps; base += P::ring) {
        const struct cu_refills refills = cu_refills_of(chunk, base + P::ring, steps);
#pragma unroll
        for (uint32_t i = 0; i < P::ring; i++) {
            if (base + i < steps)
                P::step(acc, ring[i], x + i * LENS_CU_WARPS * P::x_bytes, column);
            cu_refill(ring[i], refills.from + i * CU_STRIDE, i < refills.n);
        }
        x += P::ring * LENS_CU_WARPS * P::x_bytes;
    }
}

/* F32: a lane sums its own four dims of each step, for all columns; then the four lanes of an output add theirs,
 * (0 + 1) + (2 + 3). */
struct cu_first_f32 {
    typedef float sum;
    static const uint32_t max_nt = 2; /* sums of more columns don't fit a lane's registers, nor does a longer ring */
    static const uint32_t ring = 4;
};

static __device__ __forceinline__ void cu_multiply(float &acc, const struct cu_b128 &w, const struct cu_b128 &x)
{
    acc = fmaf(__uint_as_float(w.x), __uint_as_float(x.x), acc);
    acc = fmaf(__uint_as_float(w.y), __uint_as_float(x.y), acc);
    acc = fmaf(__uint_as_float(w.z), __uint_as_float(x.z), acc);
    acc = fmaf(__uint_as_float(w.w), __uint_as_float(x.w), acc);
}

static __device__ __forceinline__ float cu_fold(float v)
{
    v += __shfl_xor_sync(0xffffffffu, v, 1);
    return v + __shfl_xor_sync(0xffffffffu, v, 2);
}

template <uint32_t N>
static __device__ __forceinline__ void cu_f32_step(float (&sums)[N][2], const struct cu_pieces &w, const uint8_t *x,
                                                   const uint32_t (&row)[N], uint32_t stride, uint32_t rows)
{
#pragma unroll
    for (uint32_t c = 0; c < N; c++) {
        if (c < rows) {
            const struct cu_b128 piece = cu_load_cached(x + (uint64_t)row[c] * stride * 16);
            cu_multiply(sums[c][0], w.g, piece);
            cu_multiply(sums[c][1], w.g8, piece);
        }
    }
}

template <int NT>
static __device__ __forceinline__ void cu_warp_sums(cu_first_f32, const struct cu_state *s,
                                                    const struct cu_chunk &chunk,
                                                    struct cu_pieces (&ring)[cu_first_f32::ring], float (&acc)[NT][4])
{
    const uint32_t N = NT * CU_COLUMNS, t = cu_lane() % 4, steps = cu_warp_steps(s);
    const uint8_t *x = (const uint8_t *)s->x + cu_warp() * 64 + t * 16;
    float sums[N][2];
    uint32_t row[N];
#pragma unroll
    for (uint32_t c = 0; c < N; c++) {
        row[c] = c < chunk.rows ? chunk.row[c] : 0;
        sums[c][0] = sums[c][1] = 0;
    }
    for (uint32_t base = 0; base < steps; base += cu_first_f32::ring) {
        const struct cu_refills refills = cu_refills_of(chunk, base + cu_first_f32::ring, steps);
#pragma unroll
        for (uint32_t i = 0; i < cu_first_f32::ring; i++) {
            if (base + i < steps)
                cu_f32_step<N>(sums, ring[i], x + i * LENS_CU_WARPS * 64, row, s->info.k_padded / 4, chunk.rows);
            cu_refill(ring[i], refills.from + i * CU_STRIDE, i < refills.n);
        }
        x += cu_first_f32::ring * LENS_CU_WARPS * 64;
    }
#pragma unroll
    for (uint32_t c = 0; c < N; c++) {
        const float low = cu_fold(sums[c][0]), high = cu_fold(sums[c][1]);
        if (c % CU_COLUMNS / 2 == t) {
            acc[c / CU_COLUMNS][c % 2] = low;
            acc[c / CU_COLUMNS][c % 2 + 2] = high;
        }
    }
}

/* ---- the sums of a block ------------------------------------------------------------------------------------------
 */

static __device__ __forceinline__ uint32_t cu_bits(float v)
{
    return __float_as_uint(v);
}
static __device__ __forceinline__ uint32_t cu_bits(int32_t v)
{
    return (uint32_t)v;
}
static __device__ __forceinline__ float cu_add(float sum, uint32_t bits)
{
    return sum + __uint_as_float(bits);
}
static __device__ __forceinline__ int32_t cu_add(int32_t sum, uint32_t bits)
{
    return sum + (int32_t)bits;
}

/* Where lane `lane` keeps sum `i` of an n-tile: in an order that keeps readers of one column off each other's banks. */
static __device__ __forceinline__ uint32_t cu_partial(uint32_t n_tile, uint32_t i, uint32_t lane)
{
    return (n_tile * 4 + i) * 32 + (lane ^ i);
}

/* The partial sums of a column's output, from all warps. */
template <class P, int NT>
static __device__ __forceinline__ typename P::sum cu_column_sum(const uint32_t *partials, uint32_t column,
                                                                uint32_t output)
{
    const uint32_t i = column % 2 + output / 8 * 2, lane = output % 8 * 4 + column % CU_COLUMNS / 2;
    const uint32_t *at = partials + cu_partial(column / CU_COLUMNS, i, lane);
    typename P::sum sum = 0;
#pragma unroll
    for (uint32_t w = 0; w < LENS_CU_WARPS; w++)
        sum = cu_add(sum, at[w * (NT * 4 * 32)]);
    return sum;
}

/* All of a chunk: sums[row * stride + output] of its rows and the tile's outputs (bits of f32 or i32). All threads of
 * the block; `partials` must not be in use by the chunk before the last one. */
template <class P, int NT>
static __device__ __forceinline__ void cu_first_layer(const struct cu_state *s, const struct cu_chunk &chunk,
                                                      struct cu_pieces (&ring)[P::ring], uint32_t *partials,
                                                      uint32_t *sums)
{
    const uint32_t terms = s->info.columns, stride = s->info.h1_padded;
    typename P::sum acc[NT][4];
    cu_warp_sums(P(), s, chunk, ring, acc);
#pragma unroll
    for (uint32_t n = 0; n < NT; n++)
#pragma unroll
        for (uint32_t i = 0; i < 4; i++)
            partials[cu_warp() * (NT * 4 * 32) + cu_partial(n, i, cu_lane())] = cu_bits(acc[n][i]);
    __syncthreads();
    for (uint32_t e = threadIdx.x; e < chunk.rows * LENS_CU_TILE; e += LENS_CU_THREADS) {
        const uint32_t row = e / LENS_CU_TILE, output = e % LENS_CU_TILE;
        typename P::sum sum = 0;
        for (uint32_t term = terms; term-- > 0;)
            sum += cu_column_sum<P, NT>(partials, row * terms + term, output);
        sums[(uint64_t)row * stride + output] = cu_bits(sum);
    }
}

#endif
