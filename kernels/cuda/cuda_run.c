/* One run: the command is written, the graph is launched and fetches it, and the engine's thread waits for the results,
 * spinning as long as a run of common size takes. Nothing here allocates. */
#include "kernels/cuda/cuda.h"

#include <errno.h>
#include <time.h>

#define SPIN_NS    2000000u /* then the thread sleeps */
#define SPIN_TURNS 512u     /* between looks at the clock and at the stream, which tells of errors */
#define FROM_HOST  0x80000000u

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- over there -------------------------------------------------------------------------------------------------- */

static void write_slots(struct cuda_slab *slab)
{
    for (uint32_t lens = 0; lens < slab->info.lenses; lens++) {
        int32_t slot = slab->base.slot_of[lens];
        uint32_t host = slab->base.source[lens] == LENS_FROM_HOST ? FROM_HOST : 0;
        slab->host.slot_of[lens] = slot >= 0 ? (uint32_t)slot | host : LENS_CU_ABSENT;
    }
}

/* What the kernel `fetch` needs to know. */
static void tell(struct cuda_slab *slab, uint64_t command_bytes)
{
    struct cu_command *command = slab->host.command;
    command->words = (uint32_t)(command_bytes / 4);
    command->slots_changed = slab->sent_changes != slab->base.map_changes;
    if (command->slots_changed)
        write_slots(slab);
    slab->sent_changes = slab->base.map_changes; /* a run that fails resets the state, and this */
}

static cudaError_t launch(struct cuda_slab *slab)
{
    cudaError_t status = cudaSuccess;
    if (slab->host.command->n_lost > 0) {
        void *state = slab->memory + slab->at.state;
        void *arguments[] = {&state};
        status = cudaLaunchKernel((const void *)cu_lost, (dim3){slab->grids.rows, 1, 1}, (dim3){LENS_CU_THREADS, 1, 1},
                                  arguments, 0, slab->stream);
    }
    return status == cudaSuccess ? cudaGraphLaunch(slab->exec, slab->stream) : status;
}

/* ---- waiting ----------------------------------------------------------------------------------------------------- */

static bool is_done(const struct cuda_slab *slab)
{
    return __atomic_load_n(&slab->host.head->done_run, __ATOMIC_ACQUIRE) == slab->run;
}

/* cudaSuccess: the results are there, or the stream has ended without them. cudaErrorNotReady: it takes longer. */
static cudaError_t spin(const struct cuda_slab *slab)
{
    uint64_t until = now_ns() + SPIN_NS;
    do {
        for (uint32_t turn = 0; turn < SPIN_TURNS; turn++) {
            if (is_done(slab))
                return cudaSuccess;
            __builtin_ia32_pause();
        }
        cudaError_t status = cudaStreamQuery(slab->stream);
        if (status != cudaErrorNotReady)
            return status;
    } while (now_ns() < until);
    return cudaErrorNotReady;
}

static cudaError_t wait_for_results(struct cuda_slab *slab)
{
    cudaError_t status = spin(slab);
    if (status != cudaErrorNotReady)
        return status;
    status = cudaEventRecord(slab->done, slab->stream);
    return status == cudaSuccess ? cudaEventSynchronize(slab->done) : status;
}

/* ---- the run ----------------------------------------------------------------------------------------------------- */

static int run_once(struct cuda_slab *slab, struct lens_batch *batch, struct lens_error *err)
{
    struct cuda_backend *cuda = cuda_backend_of(&slab->base);
    uint64_t began = now_ns(), bytes = 0;
    int rc = cuda_enter(cuda, err);
    if (rc == 0 && slab->dirty)
        rc = cuda_reset_state(slab, err);
    if (rc == 0)
        rc = cuda_command_write(slab, batch, &bytes, err);
    if (rc != 0)
        return rc;
    if (slab->host.command->n_live == 0)
        return LENS_RUN_DONE;
    tell(slab, bytes);
    cudaError_t status = launch(slab);
    if (status != cudaSuccess)
        return cuda_fail(cuda, status, "starting a run", err);
    status = wait_for_results(slab);
    if (status != cudaSuccess)
        return cuda_fail(cuda, status, "a run", err);
    if (!is_done(slab))
        return lens_error_set(err, -EIO, "the card ended a run without saying that it is done");
    return cuda_answer(slab, batch, now_ns() - began) > 0 ? LENS_RUN_MISSES : LENS_RUN_DONE;
}

int cuda_run(struct lens_slab *base, struct lens_batch *batch, struct lens_error *err)
{
    struct cuda_slab *slab = (struct cuda_slab *)base;
    batch->n_used = batch->n_misses = batch->n_left = 0;
    int rc = run_once(slab, batch, err);
    if (rc < 0) {
        cuda_forget_jobs(slab);
        slab->dirty = true;
        if (rc != -ENODEV)
            cuda_reset_state(slab, NULL); /* when that fails the next run tries again, and says so */
    }
    return rc;
}
