/* See compare_cpu.h.
 *
 * Two backends round differently, so a row may be answered otherwise where two logits, or a logit and a threshold, are
 * closer than their errors. Such rows are found by the CPU's own logits and by how far apart the two backends are on
 * this very row, and left out of the comparison; they are counted. */
#include "tests/gpu/compare_cpu.h"

#include "kernels/cascade.h"
#include "tests/bench/support/bench.h"

#include <math.h>
#include <stdlib.h>

#include <cmocka.h>

static int open_cpu(void *arg, uint32_t threads, struct lens_backend **out, struct lens_error *err)
{
    (void)arg;
    return lens_cpu_open(&(struct lens_cpu_options){.threads = threads, .variant = "auto"}, out, err);
}

const struct conformance_target gpu_cpu_target = {.name = "cpu", .open = open_cpu};

/* ---- gaps ------------------------------------------------------------------------------------------------------- */

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double smallest_gap(double *values, uint32_t n)
{
    double gap = INFINITY;
    qsort(values, n, sizeof *values, ascending);
    for (uint32_t i = 1; i < n; i++)
        if (values[i] != values[i - 1]) /* equal on both sides alike: constants */
            gap = fmin(gap, values[i] - values[i - 1]);
    return gap;
}

static double logit_of(double raw)
{
    return raw <= 0 ? -INFINITY : raw >= 1 ? INFINITY : log(raw / (1 - raw));
}

/* A calibrated score moves at most 8 times as fast as the logit, with the calibrations of tree_model.c. */
static double calibrated_gap(const struct gpu_tree_model *tree, const struct lens_cascade_options *o,
                             const struct lens_row_out *row, double *values)
{
    double gap = INFINITY;
    for (uint32_t i = 0; i < row->n_wanted; i++) {
        uint32_t lens = row->wanted[i];
        const float *calibration = tree->calibration + (size_t)lens * LENS_CALIBRATION_FIELDS;
        double raw = 1 / (1 + exp(-(double)row->logits[lens]));
        bool known = calibration[0] == calibration[0], half = !known && o->uncalibrated == LENS_UNCALIBRATED_HALF;
        values[i] = known ? lens_calibrate(calibration, raw) : half ? 0.5 : raw;
        if (!half) /* a constant is on the same side of the bar everywhere */
            gap = fmin(gap, fabs(values[i] - (double)o->suppress_at));
    }
    return fmin(gap, smallest_gap(values, row->n_wanted)) / 8;
}

/* How close this row came to another answer, in logits. */
static double row_gap(const struct gpu_tree_model *tree, const struct lens_cascade_options *o,
                      const struct lens_row_out *row, double *values)
{
    double gap = INFINITY;
    double bars[] = {logit_of((double)o->load_threshold), logit_of((double)o->unload_threshold),
                     logit_of((double)o->suppress_at)};
    for (uint32_t i = 0; i < row->n_wanted; i++) {
        values[i] = (double)row->logits[row->wanted[i]];
        for (uint32_t k = 0; k < 3; k++)
            gap = fmin(gap, fabs(values[i] - bars[k]));
    }
    gap = fmin(gap, smallest_gap(values, row->n_wanted));
    if (o->rank == LENS_RANK_CALIBRATED)
        gap = fmin(gap, calibrated_gap(tree, o, row, values));
    return gap;
}

/* ---- rows ------------------------------------------------------------------------------------------------------- */

struct row {
    const struct lens_row_out *cpu, *ours;
    uint32_t job, index;
};

/* Largest difference between the logits that both have. */
static double difference(const struct row *row, uint8_t *asked, uint32_t lenses, double tolerance)
{
    double most = 0;
    memset(asked, 0, lenses);
    for (uint32_t i = 0; i < row->ours->n_wanted; i++)
        asked[row->ours->wanted[i]] = 1;
    for (uint32_t i = 0; i < row->cpu->n_wanted; i++) {
        uint32_t lens = row->cpu->wanted[i];
        if (!asked[lens])
            continue;
        double off = fabs((double)row->cpu->logits[lens] - (double)row->ours->logits[lens]);
        if (!(off <= tolerance))
            fail_msg("job %u row %u: lens %u has the logit %.9g, the CPU's is %.9g", row->job, row->index, lens,
                     (double)row->ours->logits[lens], (double)row->cpu->logits[lens]);
        most = fmax(most, off);
    }
    return most;
}

static int by_id(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void expect_same_set(const uint32_t *a, const uint32_t *b, uint32_t n, const struct row *row, const char *what)
{
    uint32_t *x = bench_alloc(n * sizeof *x), *y = bench_alloc(n * sizeof *y);
    memcpy(x, a, n * sizeof *x);
    memcpy(y, b, n * sizeof *y);
    qsort(x, n, sizeof *x, by_id);
    qsort(y, n, sizeof *y, by_id);
    for (uint32_t i = 0; i < n; i++)
        if (x[i] != y[i])
            fail_msg("job %u row %u: %s differ from the CPU's (lens %u for %u)", row->job, row->index, what, y[i],
                     x[i]);
    free(x);
    free(y);
}

static void expect_same_detections(const struct row *row, double tolerance)
{
    for (uint32_t i = 0; i < row->cpu->n_detections; i++) {
        const struct lens_detection *c = &row->cpu->detections[i], *o = &row->ours->detections[i];
        if (c->id != o->id || !(fabs((double)c->score - (double)o->score) <= tolerance) ||
            !(fabs((double)c->raw - (double)o->raw) <= tolerance))
            fail_msg("job %u row %u: detection %u is lens %u (score %.9g, raw %.9g), the CPU's is %u (%.9g, %.9g)",
                     row->job, row->index, i, o->id, (double)o->score, (double)o->raw, c->id, (double)c->score,
                     (double)c->raw);
    }
}

static void expect_same_row(const struct row *row, double tolerance)
{
    const struct lens_row_out *c = row->cpu, *o = row->ours;
    if (c->status != o->status || c->flags != o->flags || c->n_wanted != o->n_wanted || c->n_always != o->n_always ||
        c->n_active != o->n_active || c->n_expanded != o->n_expanded || c->n_detections != o->n_detections ||
        c->counts.scored != o->counts.scored || c->counts.slot_hits != o->counts.slot_hits)
        fail_msg("job %u row %u: status %u flags %u, %u wanted (%u always, %u active), %u expanded, %u detections, %u "
                 "scored, %u hits; the CPU has %u %u, %u (%u, %u), %u, %u, %u, %u",
                 row->job, row->index, o->status, o->flags, o->n_wanted, o->n_always, o->n_active, o->n_expanded,
                 o->n_detections, o->counts.scored, o->counts.slot_hits, c->status, c->flags, c->n_wanted, c->n_always,
                 c->n_active, c->n_expanded, c->n_detections, c->counts.scored, c->counts.slot_hits);
    expect_same_set(c->wanted, o->wanted, c->n_wanted, row, "the lenses asked for");
    expect_same_set(c->expanded, o->expanded, c->n_expanded, row, "the lenses expanded");
    expect_same_detections(row, tolerance);
}

/* ---- jobs ------------------------------------------------------------------------------------------------------- */

/* The same lenses, best first. */
static void expect_same_retained(const struct lens_job *cpu, const struct lens_job *ours, uint32_t index)
{
    if (cpu->retained_changed != ours->retained_changed || cpu->n_retained != ours->n_retained)
        fail_msg("job %u: %u lenses retained (changed: %d), the CPU's are %u (%d)", index, ours->n_retained,
                 ours->retained_changed, cpu->n_retained, cpu->retained_changed);
    for (uint32_t i = 0; i < cpu->n_retained; i++)
        if (cpu->retained[i] != ours->retained[i])
            fail_msg("job %u: retained lens %u is %u, the CPU's is %u", index, i, ours->retained[i], cpu->retained[i]);
}

/* The gap between the best logits of a job's rows, by which the retained set is ordered, is at least the smallest gap
 * of all its rows' logits together. */
static double job_gap(const struct lens_job *job, uint32_t lenses)
{
    double *values = bench_alloc((size_t)job->n_rows * lenses * sizeof *values);
    uint32_t n = 0;
    for (uint32_t r = 0; r < job->n_rows; r++)
        for (uint32_t i = 0; i < job->out[r].n_wanted; i++)
            values[n++] = (double)job->out[r].logits[job->out[r].wanted[i]];
    double gap = smallest_gap(values, n);
    free(values);
    return gap;
}

void gpu_compare_with_cpu(const struct gpu_job_set *cpu, const struct gpu_job_set *ours, struct gpu_comparison *seen)
{
    uint32_t lenses = cpu->tree->base->shape.lenses;
    double *values = bench_alloc(lenses * sizeof *values);
    uint8_t *asked = bench_alloc(lenses);
    for (uint32_t j = 0; j < cpu->n; j++) {
        const struct lens_job *c = &cpu->jobs[j].job, *o = &ours->jobs[j].job;
        double most = 0, gap = INFINITY;
        for (uint32_t r = 0; r < c->n_rows; r++) {
            struct row row = {&c->out[r], &o->out[r], j, r};
            double off = difference(&row, asked, lenses, seen->tolerance);
            double own = row_gap(cpu->tree, c->options, row.cpu, values);
            most = fmax(most, off);
            gap = fmin(gap, own);
            seen->rows++;
            seen->scored += row.cpu->n_wanted;
            if (own <= 4 * off + 1e-7)
                continue;
            expect_same_row(&row, seen->tolerance);
            seen->compared++;
        }
        seen->largest = fmax(seen->largest, most);
        if (fmin(gap, job_gap(c, lenses)) > 4 * most + 1e-7)
            expect_same_retained(c, o, j);
    }
    free(values);
    free(asked);
}
