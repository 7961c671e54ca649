/* Scores the items of the window: a lens on all rows that want it. A fixed grid reads what there is to do from the
 * state: work units are (item, tile of 16 outputs), taken in a static stride, so that a few lenses keep as many
 * multiprocessors busy as they have tiles. See first.cuh for the first layer; the block that finishes an item's last
 * tile does the rest of its network (tail.cuh).
 *
 * Not measured on a card yet. Counted for an H200 (4.8 TB/s over 132 multiprocessors of about 1.7 GHz: 21 bytes a clock
 * and multiprocessor): two blocks hold up to 80 KiB of loads in flight. The assembler gives all places of a ring one
 * scoreboard, so a warp waits once a turn, for all of them: at a latency of 1 us that is still twice the card's rate.
 * A step of 1 KiB takes a warp two loads of weights, one of x for each n-tile (two for codes) and two products for each
 * n-tile (four); codes cost two instructions a weight to widen. F32 takes one load of x for each row: beyond 8 rows
 * those loads, not memory, should set the pace. Rows beyond a chunk (10 of three terms, 32 of one, 16 of f32) read the
 * tile again, from the second-level cache. */
#include "kernels/cuda/first.cuh"
#include "kernels/cuda/slot.cuh"
#include "kernels/cuda/tail.cuh"

union cu_score_shared {
    uint32_t partials[2][CU_PARTIALS]; /* by turns: a chunk's are written while slower warps read the last one's */
    struct cu_tail_shared tail;
};

static __device__ __forceinline__ const struct cu_item *cu_unit_item(const struct cu_state *s, uint32_t unit)
{
    return &s->items[s->pass][s->window_begin + unit / s->info.tiles];
}

/* This lane's first 16 bytes of a unit's weights; NULL beyond the last unit. */
static __device__ __forceinline__ const uint8_t *cu_unit_weights(const struct cu_state *s, uint32_t unit,
                                                                 uint32_t n_units)
{
    const struct cu_slab_info *info = &s->info;
    if (unit >= n_units)
        return NULL;
    const uint64_t tile = (uint64_t)(unit % info->tiles) * info->steps * CU_STEP_BYTES;
    return cu_slot(info, cu_unit_item(s, unit)->slot) + tile + cu_warp() * CU_STEP_BYTES + cu_lane() * 16;
}

/* The first layer of a unit, in chunks of as many whole rows as have room. `next`: what the block does then. `turn`
 * counts the block's chunks. */
template <class P>
static __device__ __forceinline__ void cu_score_tile(struct cu_state *s, uint32_t unit, uint32_t n_units, uint32_t next,
                                                     struct cu_pieces (&ring)[P::ring], union cu_score_shared &shared,
                                                     uint32_t &turn)
{
    const struct cu_item *item = cu_unit_item(s, unit);
    const uint32_t terms = s->info.columns, n = item->n, room = P::max_nt * CU_COLUMNS / terms;
    const uint16_t *rows = s->item_rows + (uint64_t)item->lens * s->info.max_rows;
    uint32_t *sums = (uint32_t *)s->hidden + (uint64_t)item->pairs * s->info.h1_padded;
    sums += unit % s->info.tiles * LENS_CU_TILE;
    struct cu_chunk chunk;
    chunk.weights = cu_unit_weights(s, unit, n_units);
    for (uint32_t first = 0; first < n; first += room, turn++) {
        chunk.rows = min(room, n - first);
        chunk.row = rows + first;
        chunk.next = first + room < n ? chunk.weights : cu_unit_weights(s, next, n_units);
        uint32_t *partials = shared.partials[turn % 2], *at = sums + (uint64_t)first * s->info.h1_padded;
        if (chunk.rows * terms <= CU_COLUMNS)
            cu_first_layer<P, 1>(s, chunk, ring, partials, at);
        else if (P::max_nt == 2 || chunk.rows * terms <= 2 * CU_COLUMNS)
            cu_first_layer<P, 2>(s, chunk, ring, partials, at);
        else
            cu_first_layer<P, P::max_nt>(s, chunk, ring, partials, at);
    }
}

/* Counts a tile as done. The block that was last does the rest of the item. */
static __device__ __forceinline__ void cu_score_finish(struct cu_state *s, uint32_t unit, union cu_score_shared &shared)
{
    __shared__ uint32_t last;
    const struct cu_item *item = cu_unit_item(s, unit);
    uint32_t *done = &s->tiles_done[s->window_begin + unit / s->info.tiles];
    __syncthreads();
    if (threadIdx.x == 0) {
        __threadfence(); /* the whole block's sums, before the count says so */
        last = atomicAdd(done, 1u) + 1 == s->info.tiles;
        __threadfence(); /* the others' sums, after the count said so */
    }
    __syncthreads();
    if (last == 0)
        return;
    if (s->info.w2_bf16)
        cu_tail<true>(s, item, shared.tail);
    else
        cu_tail<false>(s, item, shared.tail);
    if (threadIdx.x == 0) {
        *done = 0;
        s->count[item->lens] = 0;
    }
    __syncthreads(); /* shared memory is free again */
}

/* A function of its own for each product: the registers of one don't have to do for all. */
template <class P> static __device__ __noinline__ void cu_score_units(struct cu_state *s, union cu_score_shared &shared)
{
    const uint32_t n_units = (s->window_end - s->window_begin) * s->info.tiles;
    struct cu_pieces ring[P::ring];
    const uint8_t *weights = cu_unit_weights(s, blockIdx.x, n_units);
#pragma unroll
    for (uint32_t i = 0; i < P::ring; i++) {
        ring[i].g = ring[i].g8 = {0, 0, 0, 0};
        cu_refill(ring[i], weights + i * CU_STRIDE, weights != NULL && i < cu_warp_steps(s));
    }
    uint32_t turn = 0;
    for (uint32_t unit = blockIdx.x; unit < n_units; unit += gridDim.x) {
        cu_score_tile<P>(s, unit, n_units, unit + gridDim.x, ring, shared, turn);
        cu_score_finish(s, unit, shared);
    }
}

/* Any grid. Items have at least one row. Resets count of the lenses and tiles_done of the items that it scored. */
extern "C" __global__ __launch_bounds__(LENS_CU_THREADS, 2) void cu_score(struct cu_state *s)
{
    __shared__ union cu_score_shared shared;
    switch (s->info.product) {
    case CU_PRODUCT_F32:
        cu_score_units<cu_first_f32>(s, shared);
        break;
    case CU_PRODUCT_BF16_EXACT:
    case CU_PRODUCT_BF16:
        cu_score_units<cu_first_bf16>(s, shared);
        break;
    case CU_PRODUCT_I8_EXACT:
        cu_score_units<cu_first_codes<false>>(s, shared);
        break;
    case CU_PRODUCT_I8:
        cu_score_units<cu_first_i8>(s, shared);
        break;
    default: /* CU_PRODUCT_FP8_EXACT */
        cu_score_units<cu_first_codes<true>>(s, shared);
        break;
    }
}
