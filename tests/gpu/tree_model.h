/* Random models with a hierarchy, for checks of the whole cascade.
 *
 * Built, used and freed by one thread. */
#ifndef GPU_TREE_MODEL_H
#define GPU_TREE_MODEL_H

#include "tests/unit/support/conformance_model.h"

struct gpu_tree_shape {
    struct conformance_shape shape;
    uint32_t roots, fanout; /* lenses without a parent; children of a lens, at most */
    double spread;          /* of the logits, against those of a conformance model */
    double bias;            /* added to every logit: how few fire */
};

/* A conformance model (`base`) with a tree in pack order over its lenses, some lenses with a second parent, layers,
 * and calibration (a fifth of the lenses without). */
struct gpu_tree_model {
    struct conformance_model *base;
    int32_t *child_offsets, *child_ids;
    uint8_t *layer;
    float *calibration;
};

struct gpu_tree_model *gpu_tree_model_new(const struct gpu_tree_shape *shape, struct conformance_random *random);
void gpu_tree_model_free(struct gpu_tree_model *tree);

#endif
