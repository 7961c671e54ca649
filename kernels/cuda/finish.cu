/* The last kernel of a run: what finished jobs report (DESIGN 4.5) and retain (4.6, calibration by SEEDS H11), and what
 * the rest waits for. See device.h. A block works on one row; the block of a job's first row also does the job. */
#include "kernels/calibration.h"
#include "kernels/cuda/cascade.cuh"

/* ---- scores ----------------------------------------------------------------------------------------------------- */

static __device__ double calibrated_score(const struct cu_work *w, uint32_t lens, double logit)
{
    const float *calibration = w->s->info.calibration + (size_t)lens * LENS_CALIBRATION_FIELDS;
    double raw = lens_sigmoid(logit);
    if (calibration[0] == calibration[0])
        return lens_calibrate(calibration, raw);
    return w->job->uncalibrated == LENS_UNCALIBRATED_HALF ? 0.5 : raw;
}

/* What rows are ordered by: the logit for raw scores (it doesn't saturate), else the calibrated score. */
static __device__ double rank_value(const struct cu_work *w, uint32_t lens)
{
    double logit = (double)w->logits[lens];
    return w->job->rank == LENS_RANK_RAW ? logit : calibrated_score(w, lens, logit);
}

/* The bits of a calibrated score's key that are its lens's. */
static __device__ uint64_t id_bits(const struct cu_work *w)
{
    return (UINT64_C(1) << (32 - __clz((int)w->s->info.lenses))) - 1;
}

/* A key that sorts as (rank value desc, id asc) does. Calibrated scores lie close together where logits saturate: they
 * keep their f64 but for the bits that an id takes. */
static __device__ uint64_t rank_key(const struct cu_work *w, uint32_t lens)
{
    double value = rank_value(w, lens);
    if (w->job->rank == LENS_RANK_RAW)
        return cu_key((float)value, lens);
    uint64_t ids = id_bits(w);
    return ((uint64_t)__double_as_longlong(value) & ~ids) | (ids - lens);
}

static __device__ uint32_t ranked_lens(const struct cu_work *w, uint64_t key)
{
    uint64_t ids = id_bits(w);
    return w->job->rank == LENS_RANK_RAW ? cu_key_id(key) : (uint32_t)(ids - (key & ids));
}

static __device__ bool is_candidate(const struct cu_work *w, uint32_t lens)
{
    const struct cu_job *job = w->job;
    uint32_t mark = w->marks[lens];
    if ((mark & CU_MARK_SCORED) == 0 || (job->reported != 0 && !cu_bit(cu_words(w->s, job->reported), lens)))
        return false;
    if (job->report == LENS_REPORT_FRONTIER)
        return (mark & CU_MARK_EXPANDED) == 0;
    if (job->report == LENS_REPORT_LEAVES)
        return !cu_has_children(w, lens);
    return true;
}

/* True when a child of `lens` is a candidate with a score of at least suppress_at. */
static __device__ bool suppressed(const struct cu_work *w, uint32_t lens)
{
    const struct cu_slab_info *info = &w->s->info;
    for (int32_t e = info->child_offsets[lens]; e < info->child_offsets[lens + 1]; e++) {
        uint32_t child = (uint32_t)info->child_ids[e];
        if (is_candidate(w, child) && rank_value(w, child) >= w->job->suppress_at)
            return true;
    }
    return false;
}

/* ---- one row ---------------------------------------------------------------------------------------------------- */

/* Detections of a finished row; returns how many. Block. */
static __device__ uint32_t report(const struct cu_work *w)
{
    uint64_t *keys = cu_keys(w->s, 0), *top = cu_keys(w->s, 2);
    uint32_t n = w->row->n, found = 0;
    for (uint32_t first = 0; first < n; first += LENS_CU_THREADS) {
        uint32_t i = first + threadIdx.x, lens = i < n ? w->list[i] : 0;
        bool in = i < n && is_candidate(w, lens) && !(w->job->suppress_parents != 0 && suppressed(w, lens));
        uint32_t place = cu_block_place(in, &found);
        if (in)
            keys[place] = rank_key(w, lens);
    }
    __syncthreads();
    uint32_t chosen = cu_block_topk(keys, found, w->job->top_k, cu_keys(w->s, 1), top);
    struct lens_detection *out = w->s->results.detections + (size_t)w->live * LENS_MAX_TOP_K;
    for (uint32_t i = threadIdx.x; i < chosen; i += LENS_CU_THREADS) {
        uint32_t lens = ranked_lens(w, top[i]);
        double raw = lens_sigmoid((double)w->logits[lens]);
        out[i].id = lens;
        out[i].score = (float)(w->job->rank == LENS_RANK_RAW ? raw : rank_value(w, lens));
        out[i].raw = (float)raw;
        out[i].logit = w->logits[lens];
    }
    return chosen;
}

/* What the row asked for, and what came of it. Block. */
static __device__ void copy_views(const struct cu_work *w)
{
    size_t at = (size_t)w->live * w->s->info.lenses;
    for (uint32_t i = threadIdx.x; i < w->row->n; i += LENS_CU_THREADS) {
        w->s->results.list[at + i] = w->list[i];
        w->s->results.logits[at + i] = w->logits[w->list[i]];
    }
}

/* ---- one job ---------------------------------------------------------------------------------------------------- */

/* Whether all rows of the job are finished, how many wait, and how many do or did when they turned out invalid. Block.
 */
static __device__ bool all_finished(const struct cu_work *w, uint32_t *waiting, uint32_t *waited)
{
    uint32_t busy = 0, blocked = 0, held = 0;
    for (uint32_t j = threadIdx.x; j < w->job->n_rows; j += LENS_CU_THREADS) {
        const struct cu_row *row = &w->s->rows[cu_lives(w->s)[w->job->first_live + j].row];
        busy += row->state != CU_ROW_FINISHED;
        blocked += row->state != CU_ROW_FINISHED && row->waiting > 0;
        held += row->waiting > 0;
    }
    *waiting = cu_block_sum(blocked);
    *waited = cu_block_sum(held);
    return cu_block_sum(busy) == 0;
}

/* Best logits of every lens beyond the base over the job's valid rows, as ordered numbers in `claim`; 0 where there is
 * none. False without a valid row. Block. */
static __device__ bool best_over_rows(const struct cu_work *w)
{
    const struct cu_state *s = w->s;
    bool valid = false;
    for (uint32_t i = threadIdx.x; i < s->info.lenses; i += LENS_CU_THREADS)
        w->claim[i] = 0;
    __syncthreads();
    for (uint32_t j = 0; j < w->job->n_rows; j++) {
        struct cu_work row = cu_work_of(w->s, w->job->first_live + j);
        if (row.row->status == LENS_ROW_INVALID_INPUT)
            continue;
        valid = true;
        for (uint32_t i = threadIdx.x; i < row.row->n; i += LENS_CU_THREADS) {
            uint32_t lens = row.list[i], layer = s->info.layer[lens];
            bool base = layer < 64 && (w->job->base_layers >> layer & 1) != 0;
            if (!base && (row.marks[lens] & CU_MARK_SCORED) != 0)
                atomicMax(&w->claim[lens], cu_ordered(row.logits[lens]));
        }
    }
    __syncthreads();
    return valid;
}

/* The retained set, best first; returns how many. Block. */
static __device__ uint32_t retain(const struct cu_work *w)
{
    uint64_t *keys = cu_keys(w->s, 0), *top = cu_keys(w->s, 2);
    uint32_t *out = w->s->results.retained + (size_t)w->job->id * w->s->info.lenses;
    uint32_t lenses = w->s->info.lenses, found = 0;
    for (uint32_t first = 0; first < lenses; first += LENS_CU_THREADS) {
        uint32_t lens = first + threadIdx.x, best = lens < lenses ? w->claim[lens] : 0;
        bool in = best != 0 && (double)cu_from_ordered(best) >= w->job->unload_logit;
        uint32_t place = cu_block_place(in, &found);
        if (in)
            keys[place] = (uint64_t)best << 32 | (uint32_t)~lens;
    }
    __syncthreads();
    uint32_t chosen = cu_block_topk(keys, found, w->job->keep_top_k, cu_keys(w->s, 1), top);
    for (uint32_t i = threadIdx.x; i < chosen; i += LENS_CU_THREADS)
        out[i] = cu_key_id(top[i]);
    return chosen;
}

/* The job's own part of the results. Block. */
static __device__ void finish_job(const struct cu_work *w, uint32_t job, bool finished, uint32_t waiting,
                                  uint32_t waited)
{
    bool failed = w->job->failed != 0, changed = false;
    uint32_t retained = 0;
    if (finished && !failed) {
        changed = best_over_rows(w);
        if (changed)
            retained = retain(w);
    }
    if (threadIdx.x == 0) {
        struct cu_job_out *out = &w->s->results.jobs[job];
        out->result = failed ? CU_JOB_FAILED : finished ? CU_JOB_DONE : CU_JOB_WAITS;
        out->waited = waited > 0;
        out->blocked = waiting;
        out->n_retained = retained;
        out->retained_changed = changed;
    }
    __syncthreads();
}

/* ---- the kernel ------------------------------------------------------------------------------------------------- */

static __device__ void finish_row(struct cu_state *s, uint32_t live)
{
    struct cu_work w = cu_work_of(s, live);
    const struct cu_live *l = &cu_lives(s)[live];
    uint32_t waiting, waited, detections = 0;
    bool finished = all_finished(&w, &waiting, &waited);
    if (finished && w.job->failed == 0 && w.row->status != LENS_ROW_INVALID_INPUT) {
        detections = report(&w);
        copy_views(&w);
    }
    if (threadIdx.x == 0) {
        s->results.rows[live].row = *w.row;
        s->results.rows[live].n_detections = detections;
    }
    __syncthreads();
    if (l->index == 0)
        finish_job(&w, l->job, finished, waiting, waited);
}

/* The end of the run. The last block. */
static __device__ void close_run(struct cu_state *s)
{
    for (uint32_t i = threadIdx.x; i < s->info.words; i += LENS_CU_THREADS) {
        s->results.missing[i] = s->missing[i];
        s->results.left_out[i] = s->left_out[i] & ~s->missing[i];
        s->missing[i] = 0;
        s->left_out[i] = 0;
    }
    struct cu_result_head *head = s->results.head;
    if (threadIdx.x == 0) {
        s->times[CU_TIME_FINISHED] = cu_global_timer();
        for (uint32_t i = 0; i < CU_TIMES; i++)
            head->times[i] = s->times[i];
        head->n_used = s->n_used;
        head->passes = s->passes;
        s->n_used = 0;
    }
    __threadfence_system();
    __syncthreads();
    if (threadIdx.x == 0)
        cu_store_release_system(&head->done_run, s->command->run);
}

extern "C" __global__ void __launch_bounds__(LENS_CU_THREADS) cu_finish(struct cu_state *s)
{
    uint32_t n = s->command->n_live;
    if (blockIdx.x >= n)
        return;
    for (uint32_t i = blockIdx.x; i < n; i += gridDim.x)
        finish_row(s, i);
    __threadfence_system(); /* answers first, then the word that they are there */
    if (cu_arrive(s, cu_row_blocks(s)))
        close_run(s);
}
