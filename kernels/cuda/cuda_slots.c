/* Lenses on their way into slots: as stored over to the card, on the loader's own stream, and decoded there. Runs go on
 * meanwhile on a stream above it. */
#include "kernels/cuda/cuda.h"

#include <errno.h>
#include <string.h>

/* ---- what may be written ----------------------------------------------------------------------------------------- */

/* On any loader's thread, while the engine's may change other chunks. */
static bool is_there(const struct lens_slab *base, uint32_t slot)
{
    const struct cuda_slab *slab = (const struct cuda_slab *)base;
    return slot < slab->info.slots && slab->chunks[slot >> slab->info.chunk_shift] != NULL;
}

static int check_writes(const struct lens_slab *slab, uint32_t loader, const struct lens_slot_write *writes, uint32_t n,
                        struct lens_error *err)
{
    if (loader >= slab->config.loaders)
        return lens_error_set(err, -EINVAL, "no loader %u: the slab was made for %u", loader, slab->config.loaders);
    for (uint32_t i = 0; i < n; i++) {
        int rc = lens_slot_write_check(slab, &writes[i], is_there(slab, writes[i].slot), err);
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* ---- over to the card -------------------------------------------------------------------------------------------- */

/* One of a lens's stored arrays. */
enum array { W1, SIGN, SCALE, LOG_MIN, LOG_MAX, ARRAYS };

static const void *array_of(const struct lens_slot_write *w, enum array array)
{
    const void *arrays[ARRAYS] = {w->w1, w->sign, w->scale, w->log_min, w->log_max};
    return arrays[array];
}

static size_t array_bytes(const struct lens_model *model, enum lens_dtype stored, enum array array)
{
    size_t h1 = model->h1, table = h1 * sizeof(float);
    switch (array) {
    case W1:
        return h1 * model->dim * lens_dtype_bytes(stored);
    case SIGN:
        return stored == LENS_LOG8 ? h1 * ((model->dim + 7u) / 8u) : 0;
    case SCALE:
        return stored == LENS_I8 ? table : 0;
    default:
        return stored == LENS_LOG8 ? table : 0;
    }
}

/* How many of n lenses lie one behind the other in the host's memory. */
static uint32_t in_one_piece(const struct lens_slot_write *writes, uint32_t n, enum array array, size_t bytes)
{
    const uint8_t *from = array_of(&writes[0], array);
    uint32_t k = 1;
    while (k < n && array_of(&writes[k], array) == from + bytes * k)
        k++;
    return k;
}

/* Copies one array of n lenses to `to`, `stride` apart, in as few pieces as can be. CUDA refuses a piece that begins in
 * one locked allocation and ends in the next; those go lens by lens. */
static cudaError_t copy_array(const struct cuda_loader *loader, const struct lens_slot_write *writes, uint32_t n,
                              enum array array, size_t bytes, size_t stride, uint8_t *to)
{
    cudaError_t status = cudaSuccess;
    for (uint32_t first = 0, k; first < n && status == cudaSuccess; first += k) {
        k = stride == bytes ? in_one_piece(writes + first, n - first, array, bytes) : 1;
        const void *from = array_of(&writes[first], array);
        status = cudaMemcpyAsync(to + stride * first, from, bytes * k, cudaMemcpyHostToDevice, loader->stream);
        if (status != cudaErrorInvalidValue || k == 1)
            continue;
        cudaGetLastError();
        k = 1;
        status = cudaMemcpyAsync(to + stride * first, from, bytes, cudaMemcpyHostToDevice, loader->stream);
    }
    return status;
}

static void point(struct cu_write_lens *lens, enum array array, const uint8_t *at)
{
    switch (array) {
    case W1:
        lens->w1 = at;
        break;
    case SIGN:
        lens->sign = at;
        break;
    case SCALE:
        lens->scale = (const float *)at;
        break;
    case LOG_MIN:
        lens->log_min = (const float *)at;
        break;
    default:
        lens->log_max = (const float *)at;
        break;
    }
}

/* Stages all arrays of n lenses, and says in the arguments where they are. */
static cudaError_t stage(const struct cuda_slab *slab, struct cuda_loader *loader, const struct lens_slot_write *writes,
                         uint32_t n)
{
    struct cu_write_args *args = &loader->args;
    uint8_t *to = loader->staging;
    cudaError_t status = cudaSuccess;
    memset(args->lenses, 0, n * sizeof *args->lenses);
    for (unsigned array = 0; array < ARRAYS && status == cudaSuccess; array++) {
        size_t bytes = array_bytes(&slab->base.model, writes->stored, array), stride = (bytes + 15) / 16 * 16;
        if (bytes == 0)
            continue;
        status = copy_array(loader, writes, n, array, bytes, stride, to);
        for (uint32_t i = 0; i < n; i++)
            point(&args->lenses[i], array, to + stride * i);
        to += stride * n;
    }
    return status;
}

/* ---- into slots -------------------------------------------------------------------------------------------------- */

/* One launch's worth: the first of n writes, as many as are stored alike and fit the staging. */
static uint32_t turn_of(const struct cuda_slab *slab, const struct lens_slot_write *writes, uint32_t n)
{
    uint32_t most = slab->staged_lenses < LENS_CU_WRITE_LENSES ? slab->staged_lenses : LENS_CU_WRITE_LENSES;
    uint32_t k = 1;
    while (k < n && k < most && writes[k].stored == writes[0].stored)
        k++;
    return k;
}

static cudaError_t write_turn(const struct cuda_slab *slab, struct cuda_loader *loader,
                              const struct lens_slot_write *writes, uint32_t n)
{
    struct cu_write_args *args = &loader->args;
    cudaError_t status = stage(slab, loader, writes, n);
    if (status != cudaSuccess)
        return status;
    args->info = slab->info;
    args->n = n;
    args->stored = writes->stored;
    for (uint32_t i = 0; i < n; i++)
        args->lenses[i].slot = writes[i].slot;
    void *arguments[] = {args};
    return cudaLaunchKernel((const void *)cu_write, (dim3){cu_write_blocks(args), 1, 1}, (dim3){LENS_CU_THREADS, 1, 1},
                            arguments, 0, loader->stream);
}

/* The loader sleeps until its slots are written. */
static cudaError_t finish(struct cuda_loader *loader)
{
    cudaError_t status = cudaEventRecord(loader->done, loader->stream);
    return status == cudaSuccess ? cudaEventSynchronize(loader->done) : status;
}

int cuda_slot_write(struct lens_slab *base, uint32_t loader, const struct lens_slot_write *writes, uint32_t n,
                    lens_slot_done_fn done, void *arg, struct lens_error *err)
{
    struct cuda_slab *slab = (struct cuda_slab *)base;
    struct cuda_backend *cuda = cuda_backend_of(base);
    int rc = check_writes(base, loader, writes, n, err);
    if (rc == 0)
        rc = cuda_enter(cuda, err);
    if (rc != 0)
        return rc;
    cudaError_t status = cudaSuccess;
    for (uint32_t first = 0, k; first < n && status == cudaSuccess; first += k) {
        k = turn_of(slab, writes + first, n - first);
        status = write_turn(slab, &slab->loaders[loader], writes + first, k);
    }
    /* Also after an error: the caller's memory is lent only until this returns. */
    cudaError_t end = finish(&slab->loaders[loader]);
    status = status == cudaSuccess ? end : status;
    if (status != cudaSuccess)
        return cuda_fail(cuda, status, "writing lenses into slots", err);
    if (done != NULL)
        done(arg, 0);
    return 0;
}
