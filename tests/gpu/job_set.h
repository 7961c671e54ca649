/* Sets of random jobs over a tree model, run to the end on any slab, and their answers compared.
 *
 * One thread. Every function ends the process with a message when something fails. */
#ifndef GPU_JOB_SET_H
#define GPU_JOB_SET_H

#include "tests/gpu/tree_model.h"
#include "tests/unit/support/conformance_rig.h"

#define GPU_JOB_ROWS 5u /* rows of a job at most */

/* One job with all it points at. */
struct gpu_job {
    struct lens_job job;
    struct lens_cascade_options options;
    struct lens_row_out out[GPU_JOB_ROWS];
    void *rows;
    uint32_t *base, *pinned, *kept, *retained;
    uint64_t *allowed, *reported;
    uint32_t *expanded;
    struct lens_detection *detections;
};

struct gpu_job_set {
    const struct gpu_tree_model *tree;
    struct gpu_job *jobs;
    uint32_t n;
    struct lens_job **pointers;
    uint32_t *misses, *used;
    uint32_t runs, loads; /* of the last gpu_job_set_run */
};

/* Jobs of random options, row counts, dtypes, bases, pins, kept lenses and bitmaps. */
struct gpu_job_set *gpu_job_set_new(const struct gpu_tree_model *tree, uint32_t n, struct conformance_random *random);
/* The same jobs and hidden states with answers of their own. */
struct gpu_job_set *gpu_job_set_copy(const struct gpu_job_set *set);
void gpu_job_set_free(struct gpu_job_set *set);

uint32_t gpu_job_set_rows(const struct gpu_job_set *set);

/* Poisons the answers and runs jobs [first, first + n) in one batch until all are done, loading what is missing into
 * slots in turn. */
void gpu_job_set_run(struct gpu_job_set *set, struct conformance_rig *rig, uint32_t first, uint32_t n);

/* Makes jobs NEW again with poisoned answers: for callers that run batches themselves. */
void gpu_job_set_reset(struct gpu_job_set *set, uint32_t first, uint32_t n);

/* Loads lenses that no slot holds into slots that none of them has, from `*turn` on. */
void gpu_load_misses(struct conformance_rig *rig, const uint32_t *misses, uint32_t n, uint32_t *turn);

/* The answers must be the same, bit for bit (what was resident when is left out of the counts). */
void gpu_expect_same_answers(const struct gpu_job_set *a, const struct gpu_job_set *b, const char *how);

#endif
