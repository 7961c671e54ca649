/* What begin, expand and finish share: rows and their marks, looking for lenses, the plan, and work that a whole block
 * does together. Device code; one block of LENS_CU_THREADS threads works on one row at a time, and every function here
 * that says "block" must be called by all threads of it. */
#ifndef LENS_CUDA_CASCADE_CUH
#define LENS_CUDA_CASCADE_CUH

#include "kernels/cuda/device.h"
#include "kernels/cuda/port.cuh"
#include "proto/options.h"
#include "proto/pack.h"

/* ---- the command ------------------------------------------------------------------------------------------------ */

static __device__ const uint32_t *cu_words(const struct cu_state *s, uint32_t offset)
{
    return (const uint32_t *)s->command + offset;
}

static __device__ const struct cu_live *cu_lives(const struct cu_state *s)
{
    return (const struct cu_live *)cu_words(s, s->command->live);
}

static __device__ const struct cu_job *cu_jobs(const struct cu_state *s)
{
    return (const struct cu_job *)cu_words(s, s->command->jobs);
}

/* One row at work: what every step wants to know of it. */
struct cu_work {
    struct cu_state *s;
    const struct cu_job *job;
    struct cu_row *row;
    uint32_t live, at; /* its live index, its place in the row tables */
    uint8_t *marks;
    uint32_t *list;
    float *logits;
    uint32_t *claim, *order;
};

static __device__ struct cu_work cu_work_of(struct cu_state *s, uint32_t live)
{
    const struct cu_live *l = &cu_lives(s)[live];
    struct cu_work w;
    size_t lenses = s->info.lenses;
    w.s = s;
    w.job = &cu_jobs(s)[l->job];
    w.live = live;
    w.at = l->row;
    w.row = &s->rows[l->row];
    w.marks = s->marks + (size_t)l->row * s->marks_stride;
    w.list = s->list + l->row * lenses;
    w.logits = s->logits + l->row * lenses;
    w.claim = s->claim + l->row * lenses;
    w.order = s->order + l->row * lenses;
    return w;
}

static __device__ bool cu_bit(const uint32_t *bitmap, uint32_t lens)
{
    return (bitmap[lens / 32] >> (lens % 32) & 1u) != 0;
}

/* False for a lens that is, for this job, as if the pack didn't have it. */
static __device__ bool cu_allows(const struct cu_work *w, uint32_t lens)
{
    return w->job->allowed == 0 || cu_bit(cu_words(w->s, w->job->allowed), lens);
}

static __device__ bool cu_has_children(const struct cu_work *w, uint32_t lens)
{
    const struct cu_slab_info *info = &w->s->info;
    int32_t end = info->child_offsets[lens + 1];
    for (int32_t e = info->child_offsets[lens]; e < end; e++)
        if (cu_allows(w, (uint32_t)info->child_ids[e]))
            return true;
    return false;
}

/* ---- a block together ------------------------------------------------------------------------------------------- */

/* Sum of `value` over the threads before this one; *total: over all. Block. */
static __device__ uint32_t cu_block_scan(uint32_t value, uint32_t *total)
{
    __shared__ uint32_t sums[LENS_CU_WARPS];
    uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32, sum = value;
    for (uint32_t step = 1; step < 32; step *= 2) {
        uint32_t other = __shfl_up_sync(0xffffffffu, sum, step);
        sum += lane >= step ? other : 0;
    }
    if (lane == 31)
        sums[warp] = sum;
    __syncthreads();
    uint32_t before = 0, all = 0;
    for (uint32_t i = 0; i < LENS_CU_WARPS; i++) {
        before += i < warp ? sums[i] : 0;
        all += sums[i];
    }
    __syncthreads();
    *total = all;
    return before + sum - value;
}

/* Where this thread's thing goes behind the *n that are there, in the threads' order, if it has one; *n counts all of
 * the block's then. Block. */
static __device__ uint32_t cu_block_place(bool has, uint32_t *n)
{
    uint32_t total, place = *n + cu_block_scan(has ? 1u : 0u, &total);
    *n += total;
    return place;
}

/* The block's own scratch for keys: one of three arrays of [lenses]. */
static __device__ uint64_t *cu_keys(const struct cu_state *s, uint32_t which)
{
    return s->keys + ((size_t)blockIdx.x * 3 + which) * s->info.lenses;
}

static __device__ uint32_t cu_block_sum(uint32_t value)
{
    uint32_t total;
    (void)cu_block_scan(value, &total);
    return total;
}

/* Numbers that are ordered as the floats are, both zeros as one; NaN last of all. */
static __device__ uint32_t cu_ordered(float value)
{
    uint32_t bits = __float_as_uint(value + 0.0f);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return 0;
    return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}

static __device__ float cu_from_ordered(uint32_t bits)
{
    return __uint_as_float((bits & 0x80000000u) != 0 ? bits & 0x7fffffffu : ~bits);
}

/* A key that sorts as (value desc, id asc) does when larger keys come first. Never 0. */
static __device__ uint64_t cu_key(float value, uint32_t id)
{
    return (uint64_t)cu_ordered(value) << 32 | (uint32_t)~id;
}

static __device__ uint32_t cu_key_id(uint64_t key)
{
    return ~(uint32_t)key;
}

/* Finds the digit (8 bits at `shift`) of the k-th largest among keys[0..n) whose bits above it equal `prefix`'s; *k
 * becomes its rank among those with that digit too. Block. */
static __device__ uint32_t cu_kth_digit(const uint64_t *keys, uint32_t n, uint64_t prefix, uint32_t shift, uint32_t *k)
{
    __shared__ uint32_t histogram[256];
    __shared__ uint32_t found, rank;
    uint64_t above = shift + 8 < 64 ? ~UINT64_C(0) << (shift + 8) : 0;
    histogram[threadIdx.x] = 0;
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < n; i += LENS_CU_THREADS)
        if ((keys[i] & above) == (prefix & above))
            atomicAdd(&histogram[keys[i] >> shift & 255], 1u);
    __syncthreads();
    uint32_t digit = 255 - threadIdx.x, total; /* thread 0: the largest digit */
    uint32_t mine = histogram[digit];
    uint32_t before = cu_block_scan(mine, &total);
    if (before < *k && *k <= before + mine) {
        found = digit;
        rank = *k - before;
    }
    __syncthreads();
    uint32_t result = found;
    *k = rank;
    __syncthreads();
    return result;
}

#define CU_RANKED 1024u /* keys that are ranked against each other at once */

/* Puts the k largest of n <= CU_RANKED different keys into `out`, largest first. Block. */
static __device__ void cu_rank_few(const uint64_t *keys, uint32_t n, uint32_t k, uint64_t *out)
{
    __shared__ uint64_t few[CU_RANKED];
    for (uint32_t i = threadIdx.x; i < n; i += LENS_CU_THREADS)
        few[i] = keys[i];
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < n; i += LENS_CU_THREADS) {
        uint64_t key = few[i];
        uint32_t place = 0;
        for (uint32_t j = 0; j < n; j++)
            place += few[j] > key;
        if (place < k)
            out[place] = key;
    }
    __syncthreads();
}

/* Sorts n different keys into `out`, whatever n, by ranking all against all. Block. */
static __device__ void cu_rank_many(const uint64_t *keys, uint32_t n, uint64_t *out)
{
    for (uint32_t i = threadIdx.x; i < n; i += LENS_CU_THREADS) {
        uint64_t key = keys[i];
        uint32_t place = 0;
        for (uint32_t j = 0; j < n; j++)
            place += keys[j] > key;
        out[place] = key;
    }
    __syncthreads();
}

/* Gathers the k < n largest of n different keys in `chosen`, in any order. Block. */
static __device__ void cu_gather_largest(const uint64_t *keys, uint32_t n, uint32_t k, uint64_t *chosen)
{
    __shared__ uint32_t taken;
    uint64_t bar = 0;
    uint32_t rank = k;
    for (int32_t shift = 56; shift >= 0; shift -= 8)
        bar |= (uint64_t)cu_kth_digit(keys, n, bar, (uint32_t)shift, &rank) << shift;
    if (threadIdx.x == 0)
        taken = 0;
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < n; i += LENS_CU_THREADS)
        if (keys[i] >= bar)
            chosen[atomicAdd(&taken, 1u)] = keys[i];
    __syncthreads();
}

/* Puts the k largest of n different keys into `out`, largest first; `chosen` is scratch. All three are different memory
 * of the block's own, [n] each. Returns how many there are (k or n). Block. */
static __device__ uint32_t cu_block_topk(const uint64_t *keys, uint32_t n, uint32_t k, uint64_t *chosen, uint64_t *out)
{
    k = k < n ? k : n;
    if (k == 0)
        return 0;
    const uint64_t *from = keys;
    if (n > CU_RANKED && k < n) {
        cu_gather_largest(keys, n, k, chosen);
        from = chosen;
        n = k;
    }
    if (n <= CU_RANKED)
        cu_rank_few(from, n, k, out);
    else
        cu_rank_many(from, n, out);
    return k;
}

/* ---- looking ---------------------------------------------------------------------------------------------------- */

/* Looks at one thing a row wants: makes it (part of) an item when it can be scored now; else the row waits for it or
 * goes without. Returns CU_LOOK_*. */
enum cu_look { CU_LOOK_ITEM, CU_LOOK_WAITS, CU_LOOK_MISSING };

static __device__ enum cu_look cu_look_for(const struct cu_work *w, uint32_t lens, uint32_t pass)
{
    struct cu_state *s = w->s;
    uint32_t slot = s->slot_of[lens];
    if (slot != LENS_CU_ABSENT) {
        uint32_t place = atomicAdd(&s->count[lens], 1u);
        s->item_rows[(size_t)lens * s->info.max_rows + place] = (uint16_t)w->at;
        if (place == 0) {
            struct cu_item *item = &s->items[pass][atomicAdd(&s->n_items[pass], 1u)];
            item->lens = lens;
            item->slot = slot & 0x7fffffffu;
        }
        return CU_LOOK_ITEM;
    }
    if (w->job->give_up != 0) {
        w->marks[lens] = CU_MARK_MISSING;
        w->logits[lens] = __uint_as_float(0x7fc00000u);
        atomicOr(&s->left_out[lens / 32], 1u << (lens % 32));
        return CU_LOOK_MISSING;
    }
    w->marks[lens] |= CU_MARK_WAITED;
    atomicOr(&s->missing[lens / 32], 1u << (lens % 32));
    return CU_LOOK_WAITS;
}

/* Looks at all that the row wants from `fresh` on. Items go to `pass`. Block. */
static __device__ void cu_look(const struct cu_work *w, uint32_t pass)
{
    uint32_t waits = 0, gone = 0, n = w->row->n;
    for (uint32_t i = w->row->fresh + threadIdx.x; i < n; i += LENS_CU_THREADS) {
        uint32_t lens = w->list[i];
        if ((w->marks[lens] & (CU_MARK_SCORED | CU_MARK_MISSING)) != 0)
            continue;
        enum cu_look found = cu_look_for(w, lens, pass);
        waits += found == CU_LOOK_WAITS;
        gone += found == CU_LOOK_MISSING;
    }
    waits = cu_block_sum(waits);
    gone = cu_block_sum(gone);
    if (threadIdx.x == 0) {
        w->row->waiting = waits;
        w->row->missing += gone;
        if (gone > 0)
            w->row->status = LENS_ROW_PARTIAL;
    }
    __syncthreads();
}

/* ---- the plan --------------------------------------------------------------------------------------------------- */

/* True for all threads of the last of `blocks` blocks to come here, when all the others are through with what they
 * wrote before. Block. */
static __device__ bool cu_arrive(struct cu_state *s, uint32_t blocks)
{
    __shared__ bool last;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        __threadfence(); /* what the block wrote, as its threads have met */
        last = atomicAdd(&s->arrived, 1u) + 1 == blocks;
        if (last)
            s->arrived = 0;
    }
    __syncthreads();
    bool result = last;
    __syncthreads();
    if (result)
        __threadfence();
    return result;
}

/* Blocks that have a row at all: the others leave at once and don't arrive. */
static __device__ uint32_t cu_row_blocks(const struct cu_state *s)
{
    uint32_t n = s->command->n_live;
    return n < gridDim.x ? n : gridDim.x;
}

/* Notes the lenses of the window that this run scores for the first time. */
static __device__ void cu_note_use(struct cu_state *s, const struct cu_item *item)
{
    uint64_t run = s->command->run;
    if (s->used_in[item->lens] == run)
        return;
    s->used_in[item->lens] = run;
    s->results.used[atomicAdd(&s->n_used, 1u)] = item->lens;
}

/* Gives the items from window_begin on their places in `hidden`, as many as fit: the window. Block. */
static __device__ void cu_place_window(struct cu_state *s)
{
    __shared__ uint32_t end;
    uint32_t begin = s->window_begin, n = s->n_items[s->pass];
    struct cu_item *items = s->items[s->pass];
    if (threadIdx.x == 0)
        end = n;
    __syncthreads();
    uint32_t pairs = 0, total;
    for (uint32_t first = begin; first < n && pairs < s->info.max_pairs; first += LENS_CU_THREADS) {
        uint32_t i = first + threadIdx.x;
        uint32_t mine = i < n ? s->count[items[i].lens] : 0;
        uint32_t at = pairs + cu_block_scan(mine, &total);
        bool fits = i < n && at + mine <= s->info.max_pairs;
        if (fits) {
            items[i].pairs = at;
            items[i].n = mine;
            cu_note_use(s, &items[i]);
        } else if (i < n) {
            atomicMin(&end, i);
        }
        pairs += total;
    }
    __syncthreads();
    if (threadIdx.x == 0)
        s->window_end = end < n ? end : n;
    __syncthreads();
}

/* What score does next, and whether there is anything. After the rows of a step were looked for (`looked`), or only
 * the next window of the items that are there. The last block. */
static __device__ void cu_plan(struct cu_state *s, bool looked)
{
    if (threadIdx.x == 0) {
        if (looked) {
            s->n_items[s->pass] = 0;
            s->pass ^= 1u;
            s->window_begin = 0;
        } else {
            s->window_begin = s->window_end;
        }
    }
    __syncthreads();
    cu_place_window(s);
    if (threadIdx.x == 0) {
        bool more = s->window_end > s->window_begin || s->active > 0;
        s->active = 0;
        s->passes += more;
        cu_set_condition(s->condition, more ? 1u : 0u);
    }
}

#endif
