/* The checks of a backend on a real card, beyond the conformance suite that every backend passes everywhere.
 *
 * Each check is a function that returns when the backend did right and ends the process with a message when it didn't.
 * Random data comes from the seed; outputs are poisoned. One thread but where a check says otherwise. */
#ifndef GPU_CHECKS_H
#define GPU_CHECKS_H

#include "tests/unit/support/conformance.h"

struct gpu_context {
    const struct conformance_target *target;
    uint64_t seed;
    bool reduced; /* small shapes: for the emulator and for compute-sanitizer */
};

struct gpu_check {
    const char *name;
    void (*run)(const struct gpu_context *context);
};

/* check_shapes.c */
void gpu_check_shapes(const struct gpu_context *context);      /* sizes that fit no tile, to D = 16384, 1..512 rows */
void gpu_check_many_slots(const struct gpu_context *context);  /* 8,000 slots, rows spread over them */
void gpu_check_large_slab(const struct gpu_context *context);  /* a slab beyond 4 GiB: no offset wraps */
void gpu_check_bad_weights(const struct gpu_context *context); /* NaN and Inf in one lens hurt no other */
/* check_cascade.c */
void gpu_check_detections(const struct gpu_context *context);     /* those of the CPU backend where gaps allow */
void gpu_check_large_tree(const struct gpu_context *context);     /* the same on a tree of the real one's size */
void gpu_check_job_invariance(const struct gpu_context *context); /* answers alone = in a batch, bit for bit */
void gpu_check_misses(const struct gpu_context *context);         /* few slots: the same bits, in several runs */
void gpu_check_given_up(const struct gpu_context *context);       /* give_up and lost lenses */
/* check_memory.c */
void gpu_check_loads_while_scoring(const struct gpu_context *context); /* three loader threads beside run */
void gpu_check_registered_rows(const struct gpu_context *context);     /* rows read in place: the same bits */
void gpu_check_nothing_leaks(const struct gpu_context *context);       /* device memory comes back */

#endif
