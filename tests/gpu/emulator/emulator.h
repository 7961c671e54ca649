/* The emulated card: its parts, and what tests may ask of it. It runs the kernels of kernels/cuda on the processor.
 *
 * A block's threads are fibers on the calling thread; blocks of a launch run one after the other. Who runs next is
 * drawn at random, so that a missing barrier shows; LENSD_EMULATOR_SEED repeats a run. A fiber is only interrupted in
 * barriers, warp collectives and (now and then) atomics. What would hang a card, such as threads of a warp in
 * different collectives, ends the process with a sentence.
 *
 * One card's work runs at a time, under one lock, in the order of the calls; a call returns when its work is done. */
#ifndef LENSD_EMULATOR_H
#define LENSD_EMULATOR_H

#include "cuda_runtime_api.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- for tests -------------------------------------------------------------------------------------------------- */

#define EMULATOR_EXPORT __attribute__((visibility("default")))
#define EMULATOR_POISON 0xCD /* every byte of device memory and of a block's shared memory before it is written */

/* Reads the settings again (LENSD_EMULATOR_*: README.md), counts calls from 0 again and mends a lost card. Memory,
 * streams and graphs stay. Not while other threads call. */
EMULATOR_EXPORT void emulator_reset(void);
EMULATOR_EXPORT uint64_t emulator_seed(void);
EMULATOR_EXPORT uint64_t emulator_bytes_allocated(void); /* of device memory */
/* Device and page-locked allocations, registrations, streams, events, graphs: 0 when all were given back. */
EMULATOR_EXPORT uint64_t emulator_things_alive(void);
EMULATOR_EXPORT uint64_t emulator_calls(const char *name); /* since the last reset */

/* ---- kernels ---------------------------------------------------------------------------------------------------- */

struct emulator_kernel {
    const void *function;
    const char *name;
    void (*invoke)(const void *argument);
    size_t argument_size; /* kernels take one argument */
    struct emulator_kernel *next;
};
void emulator_register(struct emulator_kernel *kernel);
const struct emulator_kernel *emulator_find(const void *function);

/* Runs all blocks of a launch. Under the lock. */
void emulator_launch(const struct emulator_kernel *kernel, dim3 grid, dim3 block, const void *argument);

/* ---- what a running thread sees --------------------------------------------------------------------------------- */

struct uint3 {
    unsigned int x, y, z;
};
extern struct uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;

enum emulator_wait {
    EMULATOR_RUNS,
    EMULATOR_SYNCTHREADS,
    EMULATOR_SYNCTHREADS_OR,
    EMULATOR_SYNCTHREADS_COUNT,
    EMULATOR_SYNCWARP,
    EMULATOR_SHUFFLE,
    EMULATOR_BALLOT,
    EMULATOR_MMA_BF16,
    EMULATOR_MMA_S8,
    EMULATOR_RETURNED
};

/* How many threads of the block had a predicate that isn't 0. */
unsigned emulator_barrier(enum emulator_wait kind, int predicate);
/* The values of all 32 lanes: valid until the lane's next collective. */
const uint64_t *emulator_exchange(enum emulator_wait kind, unsigned mask, uint64_t value);
unsigned emulator_lane(void);
/* m16n8k16 bf16 -> f32 and m16n8k32 s8 -> s32, fragments as PTX lays them out. */
void emulator_mma(enum emulator_wait kind, uint32_t acc[4], const uint32_t a[4], const uint32_t b[2]);
void emulator_perhaps_switch(void); /* lets another thread of the block run, now and then */

/* Ends the process: the sentence, where the thread is, and the seed. */
void emulator_abort(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* ---- between the emulator's files ------------------------------------------------------------------------------- */

/* mma.c: what a warp's 32 lanes brought, to what they take away. */
struct emulator_fragments {
    uint32_t acc[4], a[4], b[2];
};
void emulator_mma_bf16(struct emulator_fragments lanes[32]);
void emulator_mma_s8(struct emulator_fragments lanes[32]);

uint32_t emulator_fma_bf16(uint32_t a, uint32_t b, uint32_t c); /* bf16 bits, rounded once, half to even */

uint64_t emulator_random(void);
void emulator_random_seed(uint64_t seed);

/* runtime.c. Every call starts with enter (which takes the lock, counts, and gives the error that a fault, a missing
 * card or a lost one asks for) and ends with leave (which keeps the error for cudaGetLastError). Below: under the lock.
 */
cudaError_t emulator_enter(const char *call);
cudaError_t emulator_leave(cudaError_t error);
int emulator_device(void); /* of the calling thread */
uint64_t emulator_memory_total(void);
uint64_t emulator_memory_taken(void);              /* by other processes, of each card */
bool emulator_has_code(void);                      /* kernels run on this kind of card */
bool emulator_stream_is_here(cudaStream_t stream); /* exists, on the calling thread's device */
void emulator_alive(int change);                   /* of things that must be given back */

struct emulator_condition { /* of a graph's while node */
    unsigned value, at_launch;
    bool assigned; /* at_launch is */
};

#ifdef __cplusplus
}
#endif
#endif
