/* The step after a pass of scoring: counts what was scored and chooses which children are scored next: both expansion
 * modes of DESIGN 4.4 and the bound on a row's work. See device.h. A block works on one row. */
#include "kernels/cuda/cascade.cuh"

/* ---- what the pass brought -------------------------------------------------------------------------------------- */

/* Counts newly scored lenses; false when one's logit is not a number: then the row is invalid. Block. */
static __device__ bool count_scored(const struct cu_work *w)
{
    uint32_t scored = 0, waited = 0, from_host = 0, nan = 0, n = w->row->n;
    for (uint32_t i = w->row->fresh + threadIdx.x; i < n; i += LENS_CU_THREADS) {
        uint32_t lens = w->list[i], mark = w->marks[lens];
        if ((mark & (CU_MARK_SCORED | CU_MARK_COUNTED)) != CU_MARK_SCORED)
            continue;
        w->marks[lens] = (uint8_t)(mark | CU_MARK_COUNTED);
        scored++;
        if ((mark & CU_MARK_WAITED) != 0) {
            waited++;
            from_host += w->s->slot_of[lens] >> 31;
        }
        nan += w->logits[lens] != w->logits[lens];
    }
    scored = cu_block_sum(scored);
    waited = cu_block_sum(waited);
    from_host = cu_block_sum(from_host);
    nan = cu_block_sum(nan);
    if (threadIdx.x == 0) {
        w->row->scored += scored;
        w->row->slot_hits += scored - waited;
        w->row->host_hits += from_host;
        w->row->cold += waited - from_host;
        if (nan > 0) {
            w->row->state = CU_ROW_FINISHED;
            w->row->status = LENS_ROW_INVALID_INPUT;
            w->row->reason = LENS_REASON_NOT_FINITE;
        }
    }
    __syncthreads();
    return nan == 0;
}

/* ---- parents ---------------------------------------------------------------------------------------------------- */

static __device__ uint32_t child_count(const struct cu_slab_info *info, uint32_t lens)
{
    return (uint32_t)(info->child_offsets[lens + 1] - info->child_offsets[lens]);
}

/* The room that max_scored leaves the row. */
static __device__ uint32_t room_of(const struct cu_work *w)
{
    return w->job->max_scored - (w->row->n - w->row->active);
}

/* Children that n parents have at most. Block. */
static __device__ uint32_t most_children(const struct cu_work *w, uint32_t n)
{
    uint32_t work = 0;
    for (uint32_t i = threadIdx.x; i < n; i += LENS_CU_THREADS)
        work += child_count(&w->s->info, w->order[i]);
    return cu_block_sum(work);
}

/* Brings n parents into the order (logit desc, id asc). Block. */
static __device__ void sort_parents(const struct cu_work *w, uint32_t n)
{
    uint64_t *keys = cu_keys(w->s, 0), *sorted = cu_keys(w->s, 2);
    for (uint32_t i = threadIdx.x; i < n; i += LENS_CU_THREADS)
        keys[i] = cu_key(w->logits[w->order[i]], w->order[i]);
    __syncthreads();
    (void)cu_block_topk(keys, n, n, cu_keys(w->s, 1), sorted);
    for (uint32_t i = threadIdx.x; i < n; i += LENS_CU_THREADS)
        w->order[i] = cu_key_id(sorted[i]);
    __syncthreads();
}

/* F: of the lenses that came in with the last step, those over the threshold that have children, in the list's order,
 * or sorted where the bound may cut. They are left in `order`. Block. */
static __device__ uint32_t parents_over_threshold(const struct cu_work *w)
{
    uint32_t n = w->row->n, found = 0;
    for (uint32_t first = w->row->fresh; first < n; first += LENS_CU_THREADS) {
        uint32_t i = first + threadIdx.x, lens = i < n ? w->list[i] : 0;
        bool parent = i < n && (w->marks[lens] & CU_MARK_SCORED) != 0 && (double)w->logits[lens] > w->job->load_logit &&
                      cu_has_children(w, lens);
        uint32_t place = cu_block_place(parent, &found);
        if (parent)
            w->order[place] = lens;
    }
    __syncthreads();
    if (most_children(w, found) > room_of(w))
        sort_parents(w, found);
    return found;
}

/* Of the top_k scored lenses not expanded yet, those that have children, best first. Block. */
static __device__ uint32_t parents_of_topk(const struct cu_work *w)
{
    uint64_t *keys = cu_keys(w->s, 0), *top = cu_keys(w->s, 2);
    uint32_t n = w->row->n, candidates = 0;
    for (uint32_t first = 0; first < n; first += LENS_CU_THREADS) {
        uint32_t i = first + threadIdx.x, lens = i < n ? w->list[i] : 0;
        bool open = i < n && (w->marks[lens] & (CU_MARK_SCORED | CU_MARK_EXPANDED)) == CU_MARK_SCORED;
        uint32_t place = cu_block_place(open, &candidates);
        if (open)
            keys[place] = cu_key(w->logits[lens], lens);
    }
    __syncthreads();
    uint32_t chosen = cu_block_topk(keys, candidates, w->job->top_k, cu_keys(w->s, 1), top), kept = 0;
    for (uint32_t first = 0; first < chosen; first += LENS_CU_THREADS) {
        uint32_t i = first + threadIdx.x, lens = i < chosen ? cu_key_id(top[i]) : 0;
        bool parent = i < chosen && cu_has_children(w, lens);
        uint32_t place = cu_block_place(parent, &kept);
        if (parent)
            w->order[place] = lens;
    }
    __syncthreads();
    return kept;
}

/* ---- families --------------------------------------------------------------------------------------------------- */

/* True for a child that the row may ask for and hasn't yet. */
static __device__ bool is_new(const struct cu_work *w, uint32_t child)
{
    return w->marks[child] == 0 && cu_allows(w, child);
}

/* Marks n parents of `order` expanded and notes their ids for the answer. Block. */
static __device__ void note_expanded(const struct cu_work *w, uint32_t n)
{
    uint32_t *out = w->s->results.expanded + (size_t)w->at * w->s->info.lenses, before = w->row->n_expanded;
    for (uint32_t i = threadIdx.x; i < n; i += LENS_CU_THREADS) {
        w->marks[w->order[i]] |= CU_MARK_EXPANDED;
        if (before + i < w->job->expanded_capacity)
            out[before + i] = w->order[i];
    }
    __syncthreads();
    if (threadIdx.x == 0)
        w->row->n_expanded = before + n;
    __syncthreads();
}

/* A warp's way through a family: calls for 32 children at a time, of which those that don't exist are `end`. */
#define CU_FOR_FAMILY(info, parent, e)                                                                                 \
    for (int32_t e = (info)->child_offsets[parent] + (int32_t)(threadIdx.x % 32),                                      \
                 e##_end = (info)->child_offsets[(parent) + 1], e##_first = (info)->child_offsets[parent];             \
         e##_first < e##_end; e += 32, e##_first += 32)

/* Each new child goes to the first parent that has it: `claim` says which. Block; a warp takes a parent. */
static __device__ void claim_children(const struct cu_work *w, uint32_t n)
{
    const struct cu_slab_info *info = &w->s->info;
    for (uint32_t round = 0; round < 2; round++) {
        for (uint32_t p = threadIdx.x / 32; p < n; p += LENS_CU_WARPS) {
            CU_FOR_FAMILY(info, w->order[p], e)
            {
                uint32_t child = e < e_end ? (uint32_t)info->child_ids[e] : 0;
                if (e >= e_end || !is_new(w, child))
                    continue;
                if (round == 0)
                    w->claim[child] = LENS_CU_ABSENT;
                else
                    atomicMin(&w->claim[child], p);
            }
        }
        __syncthreads();
    }
}

/* Calls for the children that parent p won: returns how many, and writes them to the list from `place` on unless it is
 * LENS_CU_ABSENT. One warp. */
static __device__ uint32_t won_children(const struct cu_work *w, uint32_t p, uint32_t place)
{
    const struct cu_slab_info *info = &w->s->info;
    uint32_t won = 0;
    CU_FOR_FAMILY(info, w->order[p], e)
    {
        uint32_t child = e < e_end ? (uint32_t)info->child_ids[e] : 0;
        bool mine = e < e_end && is_new(w, child) && w->claim[child] == p;
        uint32_t lanes = __ballot_sync(0xffffffffu, mine);
        uint32_t before = __popc(lanes & ((1u << threadIdx.x % 32) - 1));
        if (mine && place != LENS_CU_ABSENT) {
            w->list[place + won + before] = child;
            w->marks[child] = CU_MARK_WANTED;
        }
        won += __popc(lanes);
    }
    return won;
}

/* Wants all new children of n parents, in order. Block. */
static __device__ void take_all(const struct cu_work *w, uint32_t n)
{
    uint32_t *places = (uint32_t *)cu_keys(w->s, 0), total;
    claim_children(w, n);
    for (uint32_t p = threadIdx.x / 32; p < n; p += LENS_CU_WARPS) {
        uint32_t won = won_children(w, p, LENS_CU_ABSENT);
        if (threadIdx.x % 32 == 0)
            places[p] = won;
    }
    __syncthreads();
    uint32_t end = w->row->n;
    for (uint32_t first = 0; first < n; first += LENS_CU_THREADS) {
        uint32_t p = first + threadIdx.x, won = p < n ? places[p] : 0;
        uint32_t place = end + cu_block_scan(won, &total);
        if (p < n)
            places[p] = place;
        end += total;
    }
    __syncthreads();
    for (uint32_t p = threadIdx.x / 32; p < n; p += LENS_CU_WARPS)
        (void)won_children(w, p, places[p]);
    __syncthreads();
    if (threadIdx.x == 0)
        w->row->n = end;
    __syncthreads();
}

/* Takes whole families in order, up to the first that doesn't fit; returns how many. The first warp does it, family by
 * family: what one takes the next one doesn't count. Block. */
static __device__ uint32_t take_while_they_fit(const struct cu_work *w, uint32_t n)
{
    __shared__ uint32_t taken, end;
    if (threadIdx.x < 32) {
        const struct cu_slab_info *info = &w->s->info;
        uint32_t room = room_of(w), list_end = w->row->n, p = 0;
        for (; p < n; p++) {
            uint32_t fresh = 0;
            CU_FOR_FAMILY(info, w->order[p], e)
            {
                bool mine = e < e_end && is_new(w, (uint32_t)info->child_ids[e]);
                fresh += __popc(__ballot_sync(0xffffffffu, mine));
                if (mine)
                    w->claim[info->child_ids[e]] = p;
            }
            if (fresh > room)
                break;
            __syncwarp();
            (void)won_children(w, p, list_end);
            __syncwarp();
            list_end += fresh;
            room -= fresh;
        }
        if (threadIdx.x == 0) {
            taken = p;
            end = list_end;
        }
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        w->row->n = end;
        if (taken < n)
            w->row->flags |= LENS_ROW_CAPPED;
    }
    uint32_t result = taken;
    __syncthreads();
    return result;
}

/* One expansion step; false when that was the last. Block. */
static __device__ bool expand_row(const struct cu_work *w)
{
    bool topk = w->job->expand == LENS_EXPAND_TOPK;
    uint32_t depth = w->row->depth, before = w->row->n;
    __syncthreads();
    if (threadIdx.x == 0)
        w->row->depth = depth + 1;
    if (depth >= w->job->max_depth)
        return false;
    uint32_t parents = topk ? parents_of_topk(w) : parents_over_threshold(w), taken = parents;
    if (threadIdx.x == 0)
        w->row->fresh = before;
    __syncthreads();
    if (most_children(w, parents) > room_of(w))
        taken = take_while_they_fit(w, parents);
    else
        take_all(w, parents);
    note_expanded(w, taken);
    /* In topk mode a step whose families were all scored before still counts; the next one looks further down. */
    return topk ? taken > 0 : w->row->n > before;
}

static __device__ void step_row(const struct cu_work *w, uint32_t pass)
{
    if (w->row->state != CU_ROW_SCORING)
        return;
    if (!count_scored(w) || w->row->waiting > 0)
        return;
    bool goes_on = expand_row(w);
    if (goes_on)
        cu_look(w, pass);
    if (threadIdx.x == 0) {
        if (goes_on)
            atomicAdd(&w->s->active, 1u);
        else
            w->row->state = CU_ROW_FINISHED;
    }
    __syncthreads();
}

extern "C" __global__ void __launch_bounds__(LENS_CU_THREADS) cu_expand(struct cu_state *s)
{
    uint32_t n = s->command->n_live;
    if (blockIdx.x >= n)
        return;
    uint32_t pass = s->pass ^ 1u;
    bool complete = s->window_end == s->n_items[s->pass]; /* else this was a wave: the next one first */
    for (uint32_t i = blockIdx.x; complete && i < n; i += gridDim.x) {
        struct cu_work w = cu_work_of(s, i);
        step_row(&w, pass);
    }
    if (cu_arrive(s, cu_row_blocks(s))) {
        if (threadIdx.x == 0) {
            s->times[CU_TIME_EXPANDED] = cu_global_timer();
            if (complete && s->times[CU_TIME_BASE] == s->times[CU_TIME_TAKEN_IN])
                s->times[CU_TIME_BASE] = s->times[CU_TIME_EXPANDED];
        }
        __syncthreads();
        cu_plan(s, complete);
    }
}
