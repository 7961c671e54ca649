/* See conformance.h: accuracy, conversions, and what a slab refuses. */
#include "tests/unit/support/conformance.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define COUNT(array) ((uint32_t)(sizeof(array) / sizeof(array)[0]))

const struct conformance_pair conformance_cpu_pairs[CONFORMANCE_MAX_PAIRS] = {
    {LENS_F32, LENS_COMPUTE_EXACT},  {LENS_BF16, LENS_COMPUTE_EXACT}, {LENS_I8, LENS_COMPUTE_EXACT},
    {LENS_LOG8, LENS_COMPUTE_EXACT}, {LENS_BF16, LENS_COMPUTE_BF16},  {LENS_I8, LENS_COMPUTE_INT8},
};

const struct conformance_pair conformance_cuda_pairs[CONFORMANCE_MAX_PAIRS] = {
    {LENS_F32, LENS_COMPUTE_EXACT}, {LENS_BF16, LENS_COMPUTE_EXACT}, {LENS_I8, LENS_COMPUTE_EXACT},
    {LENS_FP8, LENS_COMPUTE_EXACT}, {LENS_BF16, LENS_COMPUTE_BF16},  {LENS_I8, LENS_COMPUTE_INT8},
};

/* The largest error and the largest share of its bound that a pair has shown. */
struct worst {
    double error, share;
};

static void compare(const struct conformance_target *target, const struct conformance_shape *shape,
                    const struct conformance_pair *pair, struct conformance_answer want, float got, struct worst *worst)
{
    double error = fabs(got - want.logit);
    if (!(error <= want.bound))
        fail_msg("%s, %s slab of %s weights, compute %s, %u -> %u -> %u: logit %.9g, expected %.9g +- %.3g",
                 target->name, lens_dtype_name(pair->dtype), lens_dtype_name(shape->stored),
                 lens_compute_name(pair->compute), shape->dim, shape->h1, shape->h2, (double)got, want.logit,
                 want.bound);
    worst->error = error > worst->error ? error : worst->error;
    worst->share = error > worst->share * want.bound ? error / want.bound : worst->share;
}

/* Holds logits[n][lenses] against the reference. */
static void check_logits(const struct conformance_target *target, const struct conformance_model *model,
                         const struct conformance_pair *pair, const struct conformance_call *call, const float *logits,
                         struct worst *worst)
{
    const struct conformance_shape *s = &model->shape;
    double *x = calloc(s->dim, sizeof *x), *off = calloc(s->dim, sizeof *off);
    size_t row_bytes = (size_t)s->dim * lens_dtype_bytes(call->dtype);
    assert_true(x != NULL && off != NULL);
    for (uint32_t lens = 0; lens < s->lenses; lens++) {
        double *weights = conformance_slab_weights(model, lens, pair->dtype);
        for (uint32_t r = 0; r < call->n; r++) {
            conformance_x(s, pair->compute, (const char *)call->rows + row_bytes * r, call->dtype, x, off);
            compare(target, s, pair, conformance_reference(model, lens, pair->dtype, weights, x, off),
                    logits[(size_t)r * s->lenses + lens], worst);
        }
        free(weights);
    }
    free(x);
    free(off);
}

/* One model, one slab, one batch of n rows in jobs of up to job_rows. */
static void check_shape(const struct conformance_target *target, const struct conformance_shape *shape,
                        const struct conformance_pair *pair, enum lens_dtype row_dtype, uint32_t n,
                        struct conformance_random *random, struct worst *worst)
{
    struct conformance_model *model = conformance_model_new(shape, random);
    struct lens_slab_config config = {
        .slots = shape->lenses, .dtype = pair->dtype, .compute = pair->compute, .max_batch_rows = n, .loaders = 1};
    struct conformance_rig rig;
    float *logits = calloc((size_t)n * shape->lenses, sizeof *logits);
    uint8_t *status = calloc(n, 1);
    void *rows = conformance_rows(shape, row_dtype, n, random);
    assert_true(logits != NULL && status != NULL);
    conformance_rig_open(&rig, target, 2, model, &config);
    conformance_load(&rig, NULL, NULL, shape->lenses);
    struct conformance_call call = {.rows = rows, .dtype = row_dtype, .n = n, .job_rows = n};
    conformance_run(&rig, &call, logits, status);
    check_logits(target, model, pair, &call, logits, worst);
    conformance_rig_close(&rig);
    conformance_model_free(model);
    free(rows);
    free(logits);
    free(status);
}

static void print_worst(const struct conformance_target *target, const struct conformance_pair *pair,
                        const struct worst *worst)
{
    printf("%-10s %-5s %-6s largest |logit error| %.3g, at most %.2f of its bound\n", target->name,
           lens_dtype_name(pair->dtype), lens_compute_name(pair->compute), worst->error, worst->share);
}

void conformance_accuracy(const struct conformance_target *target, uint64_t seed, bool large)
{
    static const uint32_t dims[] = {1, 7, 40, 64, 100, 384, 2560}, h1s[] = {1, 16, 24, 32, 128, 130},
                          h2s[] = {1, 12, 64};
    static const uint32_t counts[] = {1, 2, 3, 4, 5, 8, 17};
    static const enum lens_dtype row_dtypes[] = {LENS_F32, LENS_F16, LENS_BF16};
    struct conformance_random random = {seed};
    struct worst worst[CONFORMANCE_MAX_PAIRS] = {{0}};
    uint32_t turn = 0, n_pairs = conformance_n_pairs(target);
    for (uint32_t i = 0; i < COUNT(dims) * COUNT(h1s) * COUNT(h2s) * n_pairs; i++) {
        uint32_t pair = i % n_pairs, at = i / n_pairs;
        struct conformance_shape shape = {
            .lenses = 3,
            .dim = dims[at / COUNT(h2s) / COUNT(h1s)],
            .h1 = h1s[at / COUNT(h2s) % COUNT(h1s)],
            .h2 = h2s[at % COUNT(h2s)],
            .normalize = conformance_below(&random, 2) ? LENS_NORMALIZE_LAYERNORM : LENS_NORMALIZE_NONE,
            .stored = conformance_stored(conformance_pair(target, pair)->dtype),
            .w2_dtype = conformance_below(&random, 2) ? LENS_BF16 : LENS_F32,
        };
        if (shape.dim == 2560 && !large && (shape.h1 != 128 || shape.h2 != 64))
            continue;
        if (target->slow && shape.h1 == 128 && shape.h2 != 64)
            continue;
        check_shape(target, &shape, conformance_pair(target, pair), row_dtypes[conformance_below(&random, 3)],
                    shape.dim == 100 && !(target->slow && shape.h1 > 32) ? 64 : counts[turn++ % COUNT(counts)], &random,
                    &worst[pair]);
    }
    for (uint32_t pair = 0; pair < n_pairs; pair++)
        print_worst(target, conformance_pair(target, pair), &worst[pair]);
}

void conformance_conversions(const struct conformance_target *target, uint64_t seed)
{
    static const enum lens_dtype stored[] = {LENS_F32, LENS_BF16, LENS_I8, LENS_LOG8};
    static const uint32_t dims[] = {1, 45, 384};
    struct conformance_random random = {seed};
    struct worst worst = {0};
    uint32_t n_pairs = conformance_n_pairs(target);
    for (uint32_t i = 0; i < COUNT(stored) * COUNT(dims) * n_pairs; i++) {
        struct conformance_shape shape = {
            .lenses = 4,
            .dim = dims[i / n_pairs % COUNT(dims)],
            .h1 = 33,
            .h2 = 5,
            .normalize = LENS_NORMALIZE_NONE,
            .stored = stored[i / n_pairs / COUNT(dims)],
            .w2_dtype = LENS_F32,
        };
        check_shape(target, &shape, conformance_pair(target, i % n_pairs), LENS_F32, 3, &random, &worst);
    }
}

static void expect_refusal(const struct conformance_target *target, const struct lens_model *model,
                           const struct lens_slab_config *config)
{
    struct lens_backend *backend = NULL;
    struct lens_slab *slab = NULL;
    struct lens_error err = {0};
    assert_int_equal(target->open(target->arg, 1, &backend, &err), 0);
    int rc = backend->ops->slab_create(backend, model, config, &slab, &err);
    if (rc >= 0)
        fail_msg("%s took a %s slab with compute %s", target->name, lens_dtype_name(config->dtype),
                 lens_compute_name(config->compute));
    assert_null(slab);
    assert_int_equal(err.code, rc);
    assert_true(strlen(err.text) > 10);
    backend->ops->close(backend);
}

static bool is_pair(const struct conformance_target *target, enum lens_dtype dtype, enum lens_compute compute)
{
    for (uint32_t i = 0; i < conformance_n_pairs(target); i++)
        if (conformance_pair(target, i)->dtype == dtype && conformance_pair(target, i)->compute == compute)
            return true;
    return false;
}

void conformance_refusals(const struct conformance_target *target, uint64_t seed)
{
    struct conformance_random random = {seed};
    struct conformance_shape shape = {.lenses = 2, .dim = 8, .h1 = 4, .h2 = 2};
    struct conformance_model *model = conformance_model_new(&shape, &random);
    for (unsigned dtype = 0; dtype < LENS_DTYPES; dtype++) {
        for (unsigned compute = 0; compute <= LENS_COMPUTE_INT8; compute++) {
            struct lens_slab_config config = {.slots = 2,
                                              .dtype = (enum lens_dtype)dtype,
                                              .compute = (enum lens_compute)compute,
                                              .max_batch_rows = 1,
                                              .loaders = 1};
            if (!is_pair(target, config.dtype, config.compute))
                expect_refusal(target, &model->model, &config);
        }
    }
    expect_refusal(target, &model->model, &(struct lens_slab_config){.slots = 0, .max_batch_rows = 1, .loaders = 1});
    expect_refusal(target, &model->model, &(struct lens_slab_config){.slots = 1, .max_batch_rows = 0, .loaders = 1});
    expect_refusal(target, &model->model, &(struct lens_slab_config){.slots = 1, .max_batch_rows = 1, .loaders = 0});
    conformance_model_free(model);
}
