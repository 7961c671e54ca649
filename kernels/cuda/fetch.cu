/* The first kernel of a run: brings the command over, and the slots of lenses when they changed. See device.h.
 *
 * A kernel rather than a copy of the stream: copies queue behind those of the loaders, whatever the priority of their
 * streams, and a run would wait for megabytes of weights. */
#include "kernels/cuda/cascade.cuh"

#define LOADS 4u /* of 16 bytes that a thread has in flight: the way to the host is long */

/* Copies `words` 32-bit words, rounded up to whole pieces of 16 bytes (both sides have room). All blocks. */
static __device__ void bring(uint32_t *to, const uint32_t *from, uint32_t words)
{
    uint32_t pieces = (words + 3) / 4, stride = gridDim.x * LENS_CU_THREADS;
    for (uint32_t first = blockIdx.x * LENS_CU_THREADS + threadIdx.x; first < pieces; first += LOADS * stride) {
        struct cu_b128 v[LOADS] = {};
#pragma unroll
        for (uint32_t u = 0; u < LOADS; u++)
            if (first + u * stride < pieces)
                v[u] = cu_load_host(from + 4 * (size_t)(first + u * stride));
#pragma unroll
        for (uint32_t u = 0; u < LOADS; u++)
            if (first + u * stride < pieces)
                ((struct cu_b128 *)to)[first + u * stride] = v[u];
    }
}

extern "C" __global__ void __launch_bounds__(LENS_CU_THREADS) cu_fetch(struct cu_state *s)
{
    const volatile struct cu_command *told = s->told;
    uint32_t words = told->words, slots_changed = told->slots_changed;
    if (blockIdx.x == 0 && threadIdx.x == 0)
        s->times[CU_TIME_BEGIN] = cu_global_timer();
    bring((uint32_t *)s->command, (const uint32_t *)s->told, words);
    if (slots_changed != 0)
        bring(s->slot_of, s->told_slots, s->info.lenses);
}

/* Launched alone before a run when lenses could not be brought in: fails the jobs of rows that wait for one, in the
 * command as the host wrote it, which the run then fetches. */
extern "C" __global__ void __launch_bounds__(LENS_CU_THREADS) cu_lost(struct cu_state *s)
{
    const uint32_t *words = (const uint32_t *)s->told, *lost = words + s->told->lost;
    const struct cu_live *lives = (const struct cu_live *)(words + s->told->live);
    struct cu_job *jobs = (struct cu_job *)(words + s->told->jobs);
    uint32_t n = s->told->n_live, n_lost = s->told->n_lost;
    for (uint32_t i = blockIdx.x; i < n; i += gridDim.x) {
        const struct cu_live *live = &lives[i];
        const struct cu_row *row = &s->rows[live->row];
        const uint8_t *marks = s->marks + (size_t)live->row * s->marks_stride;
        const uint32_t *list = s->list + (size_t)live->row * s->info.lenses;
        if ((live->flags & CU_LIVE_NEW) != 0 || row->state != CU_ROW_SCORING || row->waiting == 0)
            continue;
        for (uint32_t k = row->fresh + threadIdx.x; k < row->n; k += LENS_CU_THREADS) {
            if ((marks[list[k]] & (CU_MARK_SCORED | CU_MARK_MISSING)) != 0)
                continue;
            for (uint32_t j = 0; j < n_lost; j++)
                if (lost[j] == list[k])
                    jobs[live->job].failed = 1;
        }
    }
}
