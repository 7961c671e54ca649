/* Random models for the conformance suite, and what their answers must be: a float64 reference written straight from
 * DESIGN 4 and SEEDS, sharing no code with the kernels.
 *
 * Threads: a model is built, used and freed by one thread. Allocation failure ends the test program. */
#ifndef CONFORMANCE_MODEL_H
#define CONFORMANCE_MODEL_H

#include "kernels/backend.h"

/* ---- random numbers --------------------------------------------------------------------------------------------- */

struct conformance_random {
    uint64_t state;
};

/* The seed of this run, printed once: LENS_TEST_SEED from the environment, or the clock. */
uint64_t conformance_seed(void);

uint64_t conformance_bits(struct conformance_random *random);
uint32_t conformance_below(struct conformance_random *random, uint32_t n); /* 0..n-1 */
double conformance_normal(struct conformance_random *random);              /* mean 0, deviation 1 */
void conformance_shuffle(struct conformance_random *random, uint32_t *list, uint32_t n);

/* ---- a model ---------------------------------------------------------------------------------------------------- */

struct conformance_shape {
    uint32_t lenses, dim, h1, h2;
    enum lens_normalize normalize;
    enum lens_dtype stored; /* of W1 */
    enum lens_dtype w2_dtype;
};

struct conformance_model {
    struct conformance_shape shape;
    struct lens_model model; /* tables owned by this struct; no hierarchy */
    void *w1;                /* [lenses][h1][dim] of `stored` */
    uint8_t *sign;           /* LOG8: [lenses][h1][ceil(dim/8)] */
    float *scale;            /* I8: [lenses][h1] */
    float *log_min, *log_max;
    float *tables;
    int32_t *offsets;
    uint8_t *layers;
};

struct conformance_model *conformance_model_new(const struct conformance_shape *shape,
                                                struct conformance_random *random);
void conformance_model_free(struct conformance_model *model);

/* The write that brings `lens` into `slot`; points into the model. */
struct lens_slot_write conformance_write(const struct conformance_model *model, uint32_t slot, uint32_t lens);

/* Weights of one lens as a slab of `dtype` holds them: [h1][dim], in float64, for the caller to free. */
double *conformance_slab_weights(const struct conformance_model *model, uint32_t lens, enum lens_dtype dtype);

/* ---- rows and answers ------------------------------------------------------------------------------------------- */

/* n random rows of `dtype` with an offset and a few large values, for the caller to free. */
void *conformance_rows(const struct conformance_shape *shape, enum lens_dtype dtype, uint32_t n,
                       struct conformance_random *random);

/* x^ of one row in float64, and how far from it each element may be after the compute mode's rounding. Without
 * LayerNorm the rounding is known exactly and part of x, and `off` is 0. */
void conformance_x(const struct conformance_shape *shape, enum lens_compute compute, const void *row,
                   enum lens_dtype dtype, double *x, double *off);

struct conformance_answer {
    double logit;
    double bound; /* of |logit error|: the one kernels/README.md states */
};

/* `weights` are what a slab of `dtype` stands for. */
struct conformance_answer conformance_reference(const struct conformance_model *model, uint32_t lens,
                                                enum lens_dtype dtype, const double *weights, const double *x,
                                                const double *off);

#endif
