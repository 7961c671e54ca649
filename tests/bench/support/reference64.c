/* The float64 reference; see reference64.h. */
#include "tests/bench/support/reference64.h"

#include "tests/bench/support/bench.h"

#include <math.h>
#include <stdlib.h>

void bench_normalize64(const float *row, uint32_t dim, double *out)
{
    double mean = 0, variance = 0;
    for (uint32_t i = 0; i < dim; i++)
        mean += row[i];
    mean /= dim;
    for (uint32_t i = 0; i < dim; i++)
        variance += (row[i] - mean) * (row[i] - mean);
    for (uint32_t i = 0; i < dim; i++)
        out[i] = (row[i] - mean) / sqrt(variance / dim + 1e-5);
}

static double relu_dot(const float *w, const double *x, uint32_t n, double bias)
{
    double part[4] = {0};
    uint32_t i = 0;
    for (; i + 4 <= n; i += 4) {
        for (uint32_t k = 0; k < 4; k++)
            part[k] += w[i + k] * x[i + k];
    }
    for (; i < n; i++)
        bias += w[i] * x[i];
    double sum = bias + part[0] + part[1] + (part[2] + part[3]);
    return sum > 0 ? sum : 0;
}

double bench_logit64(const struct lens_weights *weights, struct bench_shape shape, const double *x)
{
    double *hidden = bench_alloc(shape.h1 * sizeof *hidden), logit = weights->b3;
    for (uint32_t j = 0; j < shape.h1; j++)
        hidden[j] = relu_dot(weights->w1 + (size_t)j * shape.dim, x, shape.dim, weights->b1[j]);
    for (uint32_t j = 0; j < shape.h2; j++)
        logit += weights->w3[j] * relu_dot(weights->w2 + (size_t)j * shape.h1, hidden, shape.h1, weights->b2[j]);
    free(hidden);
    return logit;
}

struct cascade {
    const struct bench_tree *tree;
    struct bench_lens *lens;
    const double *x;
    double *logits; /* NaN = not scored */
    bool *expanded;
    uint32_t scored;
};

static void score(struct cascade *c, uint32_t id)
{
    bench_lens_make(c->lens, c->tree->streams[id]);
    struct lens_weights weights = bench_lens_view(c->lens);
    c->logits[id] = bench_logit64(&weights, c->lens->shape, c->x);
    c->scored++;
}

/* One step: every scored lens over the threshold that has children and isn't expanded. False when there was none. */
static bool expand(struct cascade *c)
{
    const struct bench_tree *tree = c->tree;
    bool any = false;
    bool *family = bench_alloc(tree->n * sizeof *family);
    for (uint32_t i = 0; i < tree->n; i++)
        family[i] = !isnan(c->logits[i]) && !c->expanded[i] && tree->child_offsets[i] < tree->child_offsets[i + 1] &&
                    1 / (1 + exp(-c->logits[i])) > 0.3;
    for (uint32_t i = 0; i < tree->n; i++) {
        if (!family[i])
            continue;
        c->expanded[i] = any = true;
        for (int32_t k = tree->child_offsets[i]; k < tree->child_offsets[i + 1]; k++) {
            if (isnan(c->logits[tree->child_ids[k]]))
                score(c, (uint32_t)tree->child_ids[k]);
        }
    }
    free(family);
    return any;
}

static uint32_t best_ten(const struct cascade *c, uint32_t top[10])
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->tree->n; i++) {
        if (isnan(c->logits[i]) || c->expanded[i])
            continue;
        uint32_t at = n < 10 ? n++ : 10;
        while (at > 0 && c->logits[top[at - 1]] < c->logits[i]) {
            if (at < 10)
                top[at] = top[at - 1];
            at--;
        }
        if (at < 10)
            top[at] = i;
    }
    return n;
}

uint32_t bench_cascade64(const struct bench_tree *tree, struct bench_lens *lens, const float *row, uint32_t top[10],
                         uint32_t *scored)
{
    double *x = bench_alloc(lens->shape.dim * sizeof *x);
    struct cascade c = {tree, lens, x, bench_alloc(tree->n * sizeof(double)), bench_alloc(tree->n), 0};
    bench_normalize64(row, lens->shape.dim, x);
    for (uint32_t i = 0; i < tree->n; i++)
        c.logits[i] = NAN;
    for (uint32_t i = 0; i < tree->n; i++) {
        if (tree->layer[i] <= 1)
            score(&c, i);
    }
    for (int depth = 0; depth < 5 && expand(&c); depth++)
        ;
    uint32_t n = best_ten(&c, top);
    *scored = c.scored;
    free(c.logits);
    free(c.expanded);
    free(x);
    return n;
}
