/* The host side of the CUDA backend, shared by its C files. Private to kernels/cuda.
 *
 * cuda_backend.c opens a card and hands out memory of the host; cuda_slab.c makes slabs and the graph that a run is;
 * cuda_chunks.c takes memory for slots and gives it back;
 * cuda_command.c says what a run is to do, cuda_run.c has it done, cuda_answer.c reads what came of it; cuda_slots.c
 * writes lenses into slots.
 *
 * Threads: as backend.h says. Every function that calls CUDA does so after cuda_enter on the same thread. A card that
 * failed for good is `lost`: every later call answers -ENODEV at once, and freeing goes on as far as it can. */
#ifndef LENS_CUDA_CUDA_H
#define LENS_CUDA_CUDA_H

#include "kernels/cuda/layout.h"
#include "kernels/cuda/write.h"

#include <cuda_runtime_api.h>
#include <stdatomic.h>

struct cuda_backend {
    struct lens_backend base;
    int device;
    atomic_int lost; /* the cudaError_t that ended the card, or 0 */
    struct cu_card card;
    char name[96];
    int major, minor;
    uint64_t memory_bytes; /* free when it was opened */
};

/* One loader thread's own: a stream beside the one that scores, and room for stored lenses on the card. */
struct cuda_loader {
    cudaStream_t stream;
    cudaEvent_t done;
    uint8_t *staging;          /* its part of the slab's */
    struct cu_write_args args; /* of the launch that is being made ready */
};

/* A job in flight, as the host knows it; its index is cu_job.id, and lens_job.own.rows that plus one. */
struct cuda_flight {
    struct lens_job *job; /* NULL: this place is free */
    uint32_t first_row;   /* + 1: head of next_row's chain, in order */
    uint32_t live;        /* its rows' first live index in this run */
    bool fresh;           /* came in with this run */
    uint64_t steps;       /* lenses scored and steps taken by its rows when last seen */
};

/* Memory of the host that the device sees, as cu_host_layout lays it out. */
struct cuda_host {
    uint8_t *memory; /* cudaHostAlloc */
    struct cu_command *command;
    uint32_t *slot_of;
    uint8_t *staged;
    struct cu_result_head *head;
    const struct cu_job_out *jobs;
    const struct cu_row_result *rows;
    const struct lens_detection *detections;
    const uint32_t *expanded, *list, *retained, *used;
    uint32_t *missing, *left_out;
    const float *logits;
};

struct cuda_slab {
    struct lens_slab base;
    struct cu_slab_info info;
    struct cu_device_layout at;
    struct cu_host_layout host_at;
    struct cu_grids grids;
    uint8_t **chunks;          /* [info.n_chunks] on the device: the slots; NULL = given back */
    uint8_t *memory, *staging; /* on the device: the loaders' staging; everything else in memory */
    struct cuda_host host;
    const uint8_t *host_view; /* the same memory as the device sees it */
    struct cu_state state;    /* as it is on the device before the first run */
    cudaStream_t stream;      /* of runs: above the loaders' */
    cudaEvent_t done;
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    struct cuda_loader *loaders; /* [config.loaders] */
    uint32_t staged_lenses;      /* f32 lenses that one loader's staging holds */
    /* jobs in flight */
    uint64_t run;
    struct cuda_flight *flights; /* [max_rows], by job id */
    uint32_t *free_ids, n_free_ids;
    uint32_t *next_row; /* [max_rows] row + 1 of the same job, 0 = none */
    uint32_t *free_rows, n_free_rows;
    float *dense;   /* [max_rows][lenses] views of logits, by live index */
    uint64_t *seen; /* [lenses] scratch: the list that had the lens last; counts in `lists` */
    uint64_t lists;
    uint64_t sent_changes; /* of slab->map_changes, when slot_of went over last; UINT64_MAX = never */
    bool dirty;            /* the device's state must be reset before the next run */
};

static inline struct cuda_backend *cuda_backend_of(const struct lens_slab *slab)
{
    return (struct cuda_backend *)slab->backend;
}

/* ---- cuda_backend.c -----------------------------------------------------------------------------------------------
 */

/* Makes the card the calling thread's. -ENODEV at once when it is lost. */
int cuda_enter(struct cuda_backend *cuda, struct lens_error *err);

/* The one place that says what a CUDA error means: -ENOMEM, -ENODEV (the card is lost from now on) or -EIO, with a
 * sentence that begins with `doing`. */
int cuda_fail(struct cuda_backend *cuda, cudaError_t status, const char *doing, struct lens_error *err);

/* 0, or what cuda_fail says of an error. */
static inline int cuda_check(struct cuda_backend *cuda, cudaError_t status, const char *doing, struct lens_error *err)
{
    return status == cudaSuccess ? 0 : cuda_fail(cuda, status, doing, err);
}

/* ---- members of lens_backend_ops -----------------------------------------------------------------------------------
 */

int cuda_slab_size(struct lens_backend *backend, const struct lens_model *model, const struct lens_slab_config *config,
                   struct lens_slab_size *out, struct lens_error *err);
int cuda_slab_create(struct lens_backend *backend, const struct lens_model *model,
                     const struct lens_slab_config *config, struct lens_slab **out, struct lens_error *err);
void cuda_slab_destroy(struct lens_slab *slab);
int cuda_slab_resize(struct lens_slab *slab, uint32_t slots, struct lens_error *err);
uint64_t cuda_slot_bytes(const struct lens_slab *slab);
int cuda_slot_write(struct lens_slab *slab, uint32_t loader, const struct lens_slot_write *writes, uint32_t n,
                    lens_slot_done_fn done, void *arg, struct lens_error *err);
int cuda_run(struct lens_slab *slab, struct lens_batch *batch, struct lens_error *err);

/* ---- between the files --------------------------------------------------------------------------------------------
 */

/* Device memory; -ENOMEM says what the whole slab wants (cuda_slab.c). */
int cuda_take_device(struct cuda_slab *slab, uint64_t bytes, uint8_t **out, struct lens_error *err);

/* Takes all chunks of a fresh slab; makes the table of them on the device; gives all back (cuda_chunks.c). */
int cuda_take_chunks(struct cuda_slab *slab, struct lens_error *err);
int cuda_send_chunks(struct cuda_slab *slab, struct lens_error *err);
void cuda_free_chunks(struct cuda_slab *slab);

/* Puts the device's state where it is before the first run, and waits for it (cuda_slab.c). */
int cuda_reset_state(struct cuda_slab *slab, struct lens_error *err);

/* No job is in flight any more, as far as the host knows (cuda_command.c). */
void cuda_forget_jobs(struct cuda_slab *slab);

/* Takes new jobs in and writes the command of this run; *bytes: how long it is. -EINVAL for jobs that don't fit
 * (cuda_command.c). */
int cuda_command_write(struct cuda_slab *slab, struct lens_batch *batch, uint64_t *bytes, struct lens_error *err);

/* Fills the batch and its jobs from what the device wrote, and lets go of the answered ones. `host_ns` is how long the
 * run took as seen from here. Returns how many jobs are still in flight (cuda_answer.c). */
uint32_t cuda_answer(struct cuda_slab *slab, struct lens_batch *batch, uint64_t host_ns);

/* ---- the kernels, as the host names them --------------------------------------------------------------------------
 */

void cu_fetch(struct cu_state *state);
void cu_begin(struct cu_state *state);
void cu_score(struct cu_state *state);
void cu_expand(struct cu_state *state);
void cu_finish(struct cu_state *state);
void cu_lost(struct cu_state *state);
void cu_write(struct cu_write_args args);

#endif
