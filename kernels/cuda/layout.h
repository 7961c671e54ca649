/* Sizes, offsets and launch parameters of a slab on a card: plain arithmetic, no CUDA, tested on any machine. */
#ifndef LENS_CUDA_LAYOUT_H
#define LENS_CUDA_LAYOUT_H

#include "kernels/backend.h"
#include "kernels/cuda/device.h"

/* What the arithmetic needs to know of a card. */
struct cu_card {
    uint32_t multiprocessors;
    uint32_t blocks_per_multiprocessor; /* of score, as the runtime's occupancy says; at least 1 */
};

/* Grids of the four kernels of a run, in blocks of LENS_CU_THREADS. */
struct cu_grids {
    uint32_t fetch;
    uint32_t rows; /* begin, expand, finish, lost */
    uint32_t score;
};

/* One allocation holds many arrays: where each lies, in bytes from its start, all on 256-byte boundaries. */
struct cu_device_layout {
    uint64_t state, command, slot_of, rows, marks, list, logits, claim, order, keys, wide, x, x_scale;
    uint64_t items[2], count, item_rows, tiles_done, hidden, used_in, missing, left_out;
    uint64_t chunks;
    uint64_t b1, w2t, b2, w3, b3, child_offsets, child_ids, layer, calibration;
    uint64_t bytes; /* of the whole, without the slab of slots */
};
struct cu_host_layout { /* pinned memory that the device sees */
    uint64_t command, slot_of, staged, head, jobs, row_results, detections, expanded, list, logits, retained, used,
        missing, left_out;
    uint64_t command_bytes; /* capacity of the command with its payload */
    uint64_t bytes;
};

/* Fills everything of `out` but the pointers. -EINVAL or -ENOTSUP with a sentence for what a slab can't be: dtype and
 * compute pairs beside enum cu_product, sizes of 0 or beyond 32-bit arithmetic, more than 65,535 rows. */
int cu_slab_info_init(const struct lens_model *model, const struct lens_slab_config *config, struct cu_slab_info *out,
                      struct lens_error *err);

void cu_device_layout_init(const struct cu_slab_info *info, uint64_t n_edges, struct cu_device_layout *out);
void cu_host_layout_init(const struct cu_slab_info *info, struct cu_host_layout *out);
void cu_grids_init(const struct cu_slab_info *info, const struct cu_card *card, struct cu_grids *out);

/* Bytes of the slots of a chunk. */
uint64_t cu_chunk_bytes(const struct cu_slab_info *info, uint32_t chunk);

/* Bytes of W1 of one lens as stored (w1, signs, scales or ranges): what one loader's device staging holds per lens. */
uint64_t cu_stored_bytes(const struct lens_model *model, enum lens_dtype stored);

/* The same for whatever dtype needs most, with room to put each array on a 16-byte boundary. */
uint64_t cu_staged_bytes(const struct lens_model *model);

#endif
