/* The slots of a slab: chunks of the card's memory, taken when the slab is made, given back and taken again between
 * runs. The host keeps where they are; the kernels read a table of them. */
#include "kernels/cuda/cuda.h"

#include <errno.h>
#include <stdlib.h>

/* Chunks that some of `slots` lie in. */
static uint32_t chunks_of(const struct cuda_slab *slab, uint32_t slots)
{
    return (uint32_t)(((uint64_t)slots + slab->base.slot_unit - 1) >> slab->info.chunk_shift);
}

/* Gives back the chunks from `first` to before `end`. */
static cudaError_t drop(struct cuda_slab *slab, uint32_t first, uint32_t end)
{
    cudaError_t worst = cudaSuccess;
    for (uint32_t i = first; i < end; i++) {
        cudaError_t status = slab->chunks[i] != NULL ? cudaFree(slab->chunks[i]) : cudaSuccess;
        worst = status != cudaSuccess ? status : worst;
        slab->chunks[i] = NULL;
    }
    return worst;
}

/* Takes the chunks from `first` to before `end`, or none. */
static int take(struct cuda_slab *slab, uint32_t first, uint32_t end, struct lens_error *err)
{
    for (uint32_t i = first; i < end; i++) {
        int rc = cuda_take_device(slab, cu_chunk_bytes(&slab->info, i), &slab->chunks[i], err);
        if (rc != 0) {
            slab->chunks[i] = NULL;
            drop(slab, first, i);
            return rc;
        }
    }
    return 0;
}

int cuda_take_chunks(struct cuda_slab *slab, struct lens_error *err)
{
    slab->chunks = calloc(slab->info.n_chunks, sizeof *slab->chunks);
    if (slab->chunks == NULL)
        return lens_error_set(err, -ENOMEM, "no memory for a table of %u chunks", slab->info.n_chunks);
    return take(slab, 0, slab->info.n_chunks, err);
}

void cuda_free_chunks(struct cuda_slab *slab)
{
    if (slab->chunks != NULL)
        drop(slab, 0, slab->info.n_chunks);
    free(slab->chunks);
}

/* The first `n` chunks are in the table, the others are not. Loaders may read it meanwhile: what they read of it
 * doesn't change. */
static int send(struct cuda_slab *slab, uint32_t n, struct lens_error *err)
{
    uint8_t *table = slab->memory + slab->at.chunks;
    size_t bytes = n * sizeof *slab->chunks, rest = (slab->info.n_chunks - n) * sizeof *slab->chunks;
    cudaError_t status = cudaMemcpyAsync(table, slab->chunks, bytes, cudaMemcpyHostToDevice, slab->stream);
    if (status == cudaSuccess && rest > 0)
        status = cudaMemsetAsync(table + bytes, 0, rest, slab->stream);
    if (status == cudaSuccess)
        status = cudaStreamSynchronize(slab->stream);
    return cuda_check(cuda_backend_of(&slab->base), status, "telling the card where slots are", err);
}

int cuda_send_chunks(struct cuda_slab *slab, struct lens_error *err)
{
    return send(slab, slab->info.n_chunks, err);
}

/* As many as have a chunk. */
static void count_slots(struct cuda_slab *slab, uint32_t chunks)
{
    uint64_t there = (uint64_t)chunks << slab->info.chunk_shift;
    uint32_t slots = there < slab->info.slots ? (uint32_t)there : slab->info.slots;
    __atomic_store_n(&slab->base.config.slots, slots, __ATOMIC_RELAXED);
}

static int shrink(struct cuda_slab *slab, uint32_t had, uint32_t keep, struct lens_error *err)
{
    int rc = send(slab, keep, err);
    if (rc != 0)
        return rc;
    count_slots(slab, keep);
    return cuda_check(cuda_backend_of(&slab->base), drop(slab, keep, had), "giving memory of the card back", err);
}

static int grow(struct cuda_slab *slab, uint32_t had, uint32_t wanted, struct lens_error *err)
{
    int rc = take(slab, had, wanted, err);
    if (rc != 0)
        return rc;
    rc = send(slab, wanted, err);
    if (rc != 0)
        drop(slab, had, wanted);
    else
        count_slots(slab, wanted);
    return rc;
}

int cuda_slab_resize(struct lens_slab *base, uint32_t slots, struct lens_error *err)
{
    struct cuda_slab *slab = (struct cuda_slab *)base;
    if (slots == 0 || slots > slab->info.slots)
        return lens_error_set(err, -EINVAL, "a slab that was made with %u slots can't have %u", slab->info.slots,
                              slots);
    int rc = cuda_enter(cuda_backend_of(base), err);
    if (rc != 0)
        return rc;
    uint32_t had = chunks_of(slab, base->config.slots), wanted = chunks_of(slab, slots);
    if (wanted < had)
        rc = shrink(slab, had, wanted, err);
    else if (wanted > had)
        rc = grow(slab, had, wanted, err);
    return rc;
}
