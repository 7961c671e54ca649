/* The generic driver of `run`: DESIGN 4's cascade over the primitives `stage` and `score`.
 *
 * One state per slab, allocated at slab creation for max_batch_rows rows of N lenses (17 bytes each, touched as used);
 * a run allocates nothing. Threads: as the slab. */
#ifndef LENS_CASCADE_H
#define LENS_CASCADE_H

#include "kernels/backend.h"
#include "kernels/calibration.h"

/* Called by a backend's slab_create after `model` and `config` are set and the maps are there. -ENOMEM or 0. */
int lens_cascade_create(struct lens_slab *slab, struct lens_error *err);
void lens_cascade_destroy(struct lens_slab *slab); /* slab->cascade may be NULL */

/* lens_backend_ops.run for backends with primitives. */
int lens_cascade_run(struct lens_slab *slab, struct lens_batch *batch, struct lens_error *err);

/* After an error outside lens_cascade_run: no job is in flight any more. */
void lens_cascade_forget(struct lens_slab *slab);

#endif
