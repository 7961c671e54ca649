/* See tree_model.h. */
#include "tests/gpu/tree_model.h"

#include <math.h>
#include <stdlib.h>

#include "tests/bench/support/bench.h"

/* Breadth first: lens i takes the next `fanout` or fewer ids as children, until none are left. A tenth of the lenses
 * also get a second parent of their parent's generation: one of the parent's neighbours. */
static void grow(struct gpu_tree_model *tree, const struct gpu_tree_shape *shape, struct conformance_random *random)
{
    uint32_t n = shape->shape.lenses, next = shape->roots, edges = 0, shared = UINT32_MAX;
    tree->child_offsets = bench_alloc((n + 1) * sizeof *tree->child_offsets);
    tree->child_ids = bench_alloc(2 * (size_t)n * sizeof *tree->child_ids);
    tree->layer = bench_alloc(n);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t children = conformance_below(random, 4) == 0 ? 0 : 1 + conformance_below(random, shape->fanout);
        if (next <= i + 1 && next < n)
            children = children > 0 ? children : 1; /* the tree goes on */
        if (shared != UINT32_MAX && tree->layer[i] + 1 == tree->layer[shared])
            tree->child_ids[edges++] = (int32_t)shared;
        shared = UINT32_MAX;
        for (uint32_t k = 0; k < children && next < n; k++, next++) {
            tree->child_ids[edges++] = (int32_t)next;
            tree->layer[next] = (uint8_t)(tree->layer[i] + 1);
            if (conformance_below(random, 10) == 0)
                shared = next;
        }
        tree->child_offsets[i + 1] = (int32_t)edges;
    }
}

/* Fire rates, means and deviations of the kind that calibration files hold. */
static void calibrate(struct gpu_tree_model *tree, uint32_t lenses, struct conformance_random *random)
{
    tree->calibration = bench_alloc((size_t)lenses * LENS_CALIBRATION_FIELDS * sizeof(float));
    for (uint32_t i = 0; i < lenses; i++) {
        float *row = tree->calibration + (size_t)i * LENS_CALIBRATION_FIELDS;
        bool none = conformance_below(random, 5) == 0;
        for (uint32_t k = 0; k < LENS_CALIBRATION_FIELDS; k++)
            row[k] = none ? NAN : (float)(0.05 + conformance_below(random, 900) / 1000.0);
    }
}

static void shift_logits(struct conformance_model *model, double spread, double bias)
{
    size_t at_w3 = (size_t)(model->model.w3 - model->tables), at_b3 = (size_t)(model->model.b3 - model->tables);
    for (size_t i = at_w3; i < at_b3; i++)
        model->tables[i] *= (float)spread;
    for (size_t i = 0; i < model->shape.lenses; i++)
        model->tables[at_b3 + i] = model->tables[at_b3 + i] * (float)spread + (float)bias;
}

struct gpu_tree_model *gpu_tree_model_new(const struct gpu_tree_shape *shape, struct conformance_random *random)
{
    struct gpu_tree_model *tree = bench_alloc(sizeof *tree);
    tree->base = conformance_model_new(&shape->shape, random);
    shift_logits(tree->base, shape->spread, shape->bias);
    grow(tree, shape, random);
    calibrate(tree, shape->shape.lenses, random);
    tree->base->model.child_offsets = tree->child_offsets;
    tree->base->model.child_ids = tree->child_ids;
    tree->base->model.layer = tree->layer;
    tree->base->model.calibration = tree->calibration;
    return tree;
}

void gpu_tree_model_free(struct gpu_tree_model *tree)
{
    conformance_model_free(tree->base);
    free(tree->child_offsets);
    free(tree->child_ids);
    free(tree->layer);
    free(tree->calibration);
    free(tree);
}
