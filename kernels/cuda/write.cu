/* Stored W1 into slots: see write.h for what goes in, device.h for the order of a slot.
 *
 * A block does one tile of one lens: first the scales of its 16 rows where the slab has codes of its own (each warp two
 * rows), then every thread the pieces of 16 bytes that it comes by, reading their elements from one row. */
#include "kernels/cuda/port.cuh"
#include "kernels/cuda/slot.cuh"
#include "kernels/cuda/write.h"
#include "proto/dtype.h"

#define CU_PIECE_BYTES 16u
#define CU_E4M3_MAX    448.0f

struct cu_write_shared {
    float scale[LENS_CU_TILE];
    float table[LENS_CU_TILE][256]; /* LOG8: magnitudes of the codes of each row */
};

/* A tile of one lens on its way. */
struct cu_writing {
    const struct cu_slab_info *info;
    const struct cu_write_lens *lens;
    const struct cu_write_shared *shared;
    uint32_t first;       /* row of the tile */
    enum lens_dtype slab; /* what the slot holds */
};

static __device__ __forceinline__ enum lens_dtype cu_slab_dtype(uint32_t product)
{
    switch (product) {
    case CU_PRODUCT_F32:
        return LENS_F32;
    case CU_PRODUCT_BF16_EXACT:
    case CU_PRODUCT_BF16:
        return LENS_BF16;
    case CU_PRODUCT_I8_EXACT:
    case CU_PRODUCT_I8:
        return LENS_I8;
    default:
        return LENS_FP8;
    }
}

/* ---- one weight ----------------------------------------------------------------------------------------------------
 */

/* As stored, in f32. `row` counts from the tile's first, `o` is the lens's row. */
template <int STORED>
static __device__ __forceinline__ float cu_stored(const struct cu_writing &w, uint32_t row, uint32_t o, uint32_t d)
{
    const uint64_t at = (uint64_t)o * w.info->dim + d;
    if (STORED == LENS_F32)
        return ((const float *)w.lens->w1)[at];
    if (STORED == LENS_BF16)
        return __uint_as_float((uint32_t)((const uint16_t *)w.lens->w1)[at] << 16);
    if (STORED == LENS_I8)
        return (float)((const int8_t *)w.lens->w1)[at] * w.lens->scale[o];
    const float magnitude = w.shared->table[row][((const uint8_t *)w.lens->w1)[at]];
    const uint32_t signs = w.lens->sign[(uint64_t)o * ((w.info->dim + 7) / 8) + d / 8];
    return (signs >> (d % 8) & 1) != 0 ? -magnitude : magnitude;
}

/* As lens_int8_encode: half to even by a sum that leaves no room for a fraction, then within +-127 (NaN: 127). */
static __device__ __forceinline__ uint32_t cu_int8_bits(float quotient)
{
    float code = (quotient + 12582912.0f) - 12582912.0f;
    code = code < 127 ? code : 127;
    code = code > -127 ? code : -127;
    return (uint32_t)(int32_t)code & 0xffu;
}

/* As lens_fp8_of_f32. */
static __device__ __forceinline__ uint32_t cu_e4m3_bits(float v)
{
    const uint32_t bits = __float_as_uint(v), sign = bits >> 24 & 0x80u, magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u)
        return sign | 0x7fu;
    if (magnitude >= 0x43e00000u) /* 448 */
        return sign | 0x7eu;
    if (magnitude < 0x3c800000u) /* 2^-6: below, steps of 2^-9 */
        return sign | (uint32_t)(int32_t)((__uint_as_float(magnitude) * 512.0f + 12582912.0f) - 12582912.0f);
    return sign | (((magnitude + 0x7ffffu + (magnitude >> 20 & 1u)) >> 20) - (120u << 3));
}

/* In the slab's dtype, the low bits of a word. */
template <int STORED>
static __device__ __forceinline__ uint32_t cu_element(const struct cu_writing &w, uint32_t row, uint32_t d)
{
    const uint32_t o = w.first + row;
    if (o >= w.info->h1 || d >= w.info->dim)
        return 0;
    if (STORED == w.slab && STORED == LENS_BF16)
        return ((const uint16_t *)w.lens->w1)[(uint64_t)o * w.info->dim + d];
    if (STORED == w.slab && STORED == LENS_I8)
        return ((const uint8_t *)w.lens->w1)[(uint64_t)o * w.info->dim + d];
    const float value = cu_stored<STORED>(w, row, o, d);
    if (w.slab == LENS_F32)
        return __float_as_uint(value);
    if (w.slab == LENS_BF16)
        return lens_bf16_from_f32(value);
    const float scale = w.shared->scale[row], divisor = scale > 0 ? scale : 1;
    return w.slab == LENS_I8 ? cu_int8_bits(value / divisor) : cu_e4m3_bits(value / divisor);
}

/* ---- scales and tables ---------------------------------------------------------------------------------------------
 */

/* Magnitudes are compared as integers, whose order is theirs, with NaN above all. */
template <int STORED> static __device__ __forceinline__ float cu_row_scale(const struct cu_writing &w, uint32_t row)
{
    const uint32_t o = w.first + row;
    if (o >= w.info->h1)
        return 0;
    if (STORED == w.slab)
        return w.lens->scale[o];
    uint32_t largest = 0;
    for (uint32_t d = threadIdx.x % 32; d < w.info->dim; d += 32)
        largest = max(largest, __float_as_uint(cu_stored<STORED>(w, row, o, d)) & 0x7fffffffu);
    for (int half = 16; half > 0; half /= 2)
        largest = max(largest, __shfl_xor_sync(0xffffffffu, largest, half));
    return __uint_as_float(largest) / (w.slab == LENS_I8 ? 127.0f : CU_E4M3_MAX);
}

template <int STORED>
static __device__ __forceinline__ void cu_write_scales(const struct cu_writing &w, struct cu_write_shared &shared)
{
    float *scales = (float *)(cu_slot(w.info, w.lens->slot) + w.info->scale_offset) + w.first;
    for (uint32_t row = threadIdx.x / 32; row < LENS_CU_TILE; row += LENS_CU_WARPS) {
        const float scale = cu_row_scale<STORED>(w, row);
        if (threadIdx.x % 32 == 0) {
            shared.scale[row] = scale;
            scales[row] = scale;
        }
    }
}

/* As lens_log8_decode, but for the sign. */
static __device__ __forceinline__ void cu_log8_tables(const struct cu_writing &w, struct cu_write_shared &shared)
{
    for (uint32_t e = threadIdx.x; e < LENS_CU_TILE * 256; e += LENS_CU_THREADS) {
        const uint32_t row = e / 256, code = e % 256, o = w.first + row;
        float value = 0;
        if (code != 0 && o < w.info->h1) {
            const double least = w.lens->log_min[o], span = (double)w.lens->log_max[o] - least;
            const double exact = exp(least + (255 - (int)code) / 254.0 * span), most = 0x1.fffffep127;
            value = (float)(exact < most ? exact : most);
        }
        shared.table[row][code] = value;
    }
}

/* ---- a tile --------------------------------------------------------------------------------------------------------
 */

/* The piece of 16 bytes whose first element is dim d of a row. */
template <int STORED>
static __device__ __forceinline__ struct cu_b128 cu_piece(const struct cu_writing &w, uint32_t row, uint32_t d,
                                                          uint32_t element)
{
    const uint32_t per_word = 4 / element;
    uint32_t words[4];
#pragma unroll
    for (uint32_t i = 0; i < 4; i++) {
        words[i] = 0;
        for (uint32_t k = 0; k < per_word; k++)
            words[i] |= cu_element<STORED>(w, row, d + i * per_word + k) << (8 * element * k);
    }
    return {words[0], words[1], words[2], words[3]};
}

template <int STORED>
static __device__ __forceinline__ void cu_write_tile(const struct cu_writing &w, struct cu_write_shared &shared)
{
    const struct cu_slab_info *info = w.info;
    const uint32_t element = w.slab == LENS_F32 ? 4 : w.slab == LENS_BF16 ? 2 : 1;
    const uint32_t per_piece = CU_PIECE_BYTES / element;
    if (STORED == LENS_LOG8)
        cu_log8_tables(w, shared);
    __syncthreads();
    if (element == 1)
        cu_write_scales<STORED>(w, shared);
    __syncthreads();
    struct cu_b128 *out = (struct cu_b128 *)cu_slot(info, w.lens->slot);
    out += (uint64_t)w.first * info->k_padded * element / CU_PIECE_BYTES;
    for (uint32_t p = threadIdx.x; p < info->steps * 64; p += LENS_CU_THREADS) {
        const uint32_t lane = p % 32, row = lane / 4 + p / 32 % 2 * 8, piece = p / 64 * 4 + lane % 4;
        out[p] = cu_piece<STORED>(w, row, piece * per_piece, element);
    }
}

/* Writes args.n lenses. The grid is cu_write_blocks. */
extern "C" __global__ __launch_bounds__(LENS_CU_THREADS) void cu_write(const struct cu_write_args args)
{
    __shared__ struct cu_write_shared shared;
    struct cu_writing w;
    w.info = &args.info;
    w.lens = &args.lenses[blockIdx.x / args.info.tiles];
    w.shared = &shared;
    w.first = blockIdx.x % args.info.tiles * LENS_CU_TILE;
    w.slab = cu_slab_dtype(args.info.product);
    switch (args.stored) {
    case LENS_F32:
        cu_write_tile<LENS_F32>(w, shared);
        break;
    case LENS_BF16:
        cu_write_tile<LENS_BF16>(w, shared);
        break;
    case LENS_I8:
        cu_write_tile<LENS_I8>(w, shared);
        break;
    default: /* LENS_LOG8 */
        cu_write_tile<LENS_LOG8>(w, shared);
        break;
    }
}
