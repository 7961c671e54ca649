/* See figures.h. */
#include "client/lensctl/figures.h"

#include <math.h>
#include <string.h>

static double since(uint64_t before, uint64_t after)
{
    return after > before ? (double)(after - before) : 0.0;
}

/* NAN when there was nothing. */
static double ratio(double part, double whole)
{
    return whole > 0.0 ? part / whole : (double)NAN;
}

bool ctl_sample_restarted(const struct ctl_sample *before, const struct ctl_sample *after)
{
    return before->start_time_ns != after->start_time_ns;
}

/* Buckets wrap at 2^32, as their differences do. */
static void subtract(const struct lensd_histogram *before, const struct lensd_histogram *after,
                     struct lensd_histogram *out)
{
    *out = *after;
    for (uint32_t i = 0; i < LENSD_HISTOGRAM_BUCKETS; i++)
        out->buckets[i] = after->buckets[i] - before->buckets[i];
}

static void set_latency(const struct ctl_sample *before, const struct ctl_sample *after, struct ctl_figures *out)
{
    struct lensd_histogram rows;
    subtract(&before->total, &after->total, &rows);
    double timed = 0.0;
    for (uint32_t i = 0; i < LENSD_HISTOGRAM_BUCKETS; i++)
        timed += (double)rows.buckets[i];
    bool any = timed > 0.0;
    out->p50_ns = any ? (double)lensd_histogram_quantile(&rows, 0.5) : (double)NAN;
    out->p99_ns = any ? (double)lensd_histogram_quantile(&rows, 0.99) : (double)NAN;
    const struct lens_statistics *a = &before->rows, *b = &after->rows;
    out->queue_ns = ratio(since(a->sums[0], b->sums[0]), since(a->stages[0].count, b->stages[0].count));
}

void ctl_figures_between(const struct ctl_sample *before, const struct ctl_sample *after, struct ctl_figures *out)
{
    static const struct ctl_sample start;
    bool restarted = ctl_sample_restarted(before, after);
    double seconds = since(before->at_ns, after->at_ns) / 1e9, up = (double)after->uptime_ns / 1e9;
    if (restarted) {
        before = &start;
        seconds = up < seconds ? up : seconds;
    }
    const struct lens_statistics *a = &before->rows, *b = &after->rows;
    double rows = since(a->rows, b->rows), hits = since(a->slot_hits, b->slot_hits);
    double misses = since(a->host_hits, b->host_hits) + since(a->cold, b->cold);
    *out = (struct ctl_figures){
        .seconds = seconds,
        .rows_per_s = ratio(rows, seconds),
        .dropped_per_s = ratio(since(a->dropped_rows, b->dropped_rows), seconds),
        .invalid_per_s = ratio(since(a->invalid_rows, b->invalid_rows), seconds),
        .loads_per_s = ratio(since(before->loads, after->loads), seconds),
        .load_bytes_per_s = ratio(since(before->load_bytes, after->load_bytes), seconds),
        .evictions_per_s = ratio(since(before->evictions, after->evictions), seconds),
        .batch_rows = ratio(since(a->batch_rows, b->batch_rows), since(a->batches, b->batches)),
        .scored_per_row = ratio(since(a->lenses_scored, b->lenses_scored), rows),
        .hit_rate = ratio(hits, hits + misses),
    };
    set_latency(before, after, out);
}
