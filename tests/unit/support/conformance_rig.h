/* A backend, a slab and a random model, ready to be asked: the tools of the conformance suite.
 *
 * Only what every backend has is used (slab_create, slot_write, run), so that backends with a cascade of their own
 * pass the same suite. All functions end the running cmocka test when something fails. */
#ifndef CONFORMANCE_RIG_H
#define CONFORMANCE_RIG_H

#include "tests/unit/support/conformance_model.h"

/* A dtype and compute mode that a slab may have. */
struct conformance_pair {
    enum lens_dtype dtype;
    enum lens_compute compute;
};

/* The backend under test. */
struct conformance_target {
    const char *name;
    int (*open)(void *arg, uint32_t threads, struct lens_backend **out, struct lens_error *err);
    void *arg;
    const struct conformance_pair *pairs; /* that it has; it refuses all others. NULL: the processor's */
    uint32_t n_pairs;                     /* at most CONFORMANCE_MAX_PAIRS */
    bool slow;                            /* an emulated card: smaller shapes, fewer batches of each kind */
};

struct conformance_rig {
    struct lens_backend *backend;
    struct lens_slab *slab;
    const struct conformance_model *model;
};

void conformance_rig_open(struct conformance_rig *rig, const struct conformance_target *target, uint32_t threads,
                          const struct conformance_model *model, const struct lens_slab_config *config);
void conformance_rig_close(struct conformance_rig *rig);

/* Writes lenses[i] into slots[i] and waits until they are there. NULL = 0, 1, 2 ... */
void conformance_load(struct conformance_rig *rig, const uint32_t *slots, const uint32_t *lenses, uint32_t n);

/* One batch: rows order[0..n) of `rows` (NULL = in their order), job_rows to a job, all lenses scored. */
struct conformance_call {
    const void *rows;
    enum lens_dtype dtype;
    const uint32_t *order;
    uint32_t n, job_rows;
    const uint32_t *lenses; /* to score; NULL = all */
    uint32_t n_lenses;
};

/* Runs to the end; logits[n][lenses of the model] (NaN where nothing was scored) and status[n] are filled. */
void conformance_run(struct conformance_rig *rig, const struct conformance_call *call, float *logits, uint8_t *status);

#endif
