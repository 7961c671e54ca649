/* See statistics.h. */
#include "daemon/statistics.h"

#include <string.h>

_Static_assert(LENS_BUCKETS == LENSD_HISTOGRAM_BUCKETS, "the wire has room for all buckets");
_Static_assert(sizeof(struct lens_row_timing) == LENS_STAGES * sizeof(uint64_t), "one histogram per stage");

void lensd_statistics_add(struct lensd_statistics *s, const struct lens_result_header *row)
{
    lensd_counter_add(&s->rows, 1);
    lensd_counter_add(&s->complete_rows, row->status == LENS_ROW_COMPLETE);
    lensd_counter_add(&s->invalid_rows, row->status == LENS_ROW_INVALID_INPUT);
    lensd_counter_add(&s->partial_rows, row->status == LENS_ROW_PARTIAL);
    lensd_counter_add(&s->capped_rows, (row->flags & LENS_ROW_CAPPED) != 0);
    lensd_counter_add(&s->degraded_rows, (row->flags & LENS_ROW_DEGRADED) != 0);
    lensd_counter_add(&s->stale_rows, (row->flags & LENS_ROW_STALE) != 0);
    if (row->reason > 0 && row->reason < LENSD_REASONS)
        lensd_counter_add(&s->reasons[row->reason], 1);
    lensd_counter_add(&s->lenses_scored, row->counts.scored);
    lensd_counter_add(&s->lenses_expanded, row->counts.expanded);
    lensd_counter_add(&s->lenses_loaded, row->counts.cold + row->counts.host_hits);
    lensd_counter_add(&s->slot_hits, row->counts.slot_hits);
    lensd_counter_add(&s->host_hits, row->counts.host_hits);
    lensd_counter_add(&s->cold, row->counts.cold);
    if (row->timing.total == 0) /* refused, never run: it has no times */
        return;
    uint64_t stages[LENS_STAGES];
    memcpy(stages, &row->timing, sizeof stages);
    for (uint32_t i = 0; i < LENS_STAGES; i++)
        lensd_histogram_record(&s->stages[i], stages[i]);
}

static void export_stage(const struct lensd_histogram *histogram, struct lens_stage_row *out)
{
    *out = (struct lens_stage_row){
        .count = lensd_counter_get(&histogram->count),
        .p50 = lensd_histogram_quantile(histogram, 0.5),
        .p90 = lensd_histogram_quantile(histogram, 0.9),
        .p99 = lensd_histogram_quantile(histogram, 0.99),
        .p999 = lensd_histogram_quantile(histogram, 0.999),
        .max = lensd_counter_get(&histogram->max),
        .mean = lensd_histogram_mean(histogram),
    };
}

void lensd_statistics_batch(struct lensd_statistics *statistics, uint32_t rows)
{
    lensd_counter_add(&statistics->batches, 1);
    lensd_counter_add(&statistics->batch_rows, rows);
    uint32_t size = rows > 1 ? 32u - (uint32_t)__builtin_clz(rows - 1) : 0;
    lensd_counter_add(&statistics->batch_sizes[size < LENSD_BATCH_SIZES ? size : LENSD_BATCH_SIZES - 1], 1);
}

void lensd_statistics_export(const struct lensd_statistics *s, struct lens_statistics *out)
{
    *out = (struct lens_statistics){
        .rows = lensd_counter_get(&s->rows),
        .dropped_rows = lensd_counter_get(&s->dropped_rows),
        .invalid_rows = lensd_counter_get(&s->invalid_rows),
        .partial_rows = lensd_counter_get(&s->partial_rows),
        .capped_rows = lensd_counter_get(&s->capped_rows),
        .degraded_rows = lensd_counter_get(&s->degraded_rows),
        .lenses_scored = lensd_counter_get(&s->lenses_scored),
        .lenses_expanded = lensd_counter_get(&s->lenses_expanded),
        .lenses_loaded = lensd_counter_get(&s->lenses_loaded),
        .slot_hits = lensd_counter_get(&s->slot_hits),
        .host_hits = lensd_counter_get(&s->host_hits),
        .cold = lensd_counter_get(&s->cold),
        .batches = lensd_counter_get(&s->batches),
        .batch_rows = lensd_counter_get(&s->batch_rows),
    };
    for (uint32_t i = 0; i < LENS_STAGES; i++)
        export_stage(&s->stages[i], &out->stages[i]);
    for (uint32_t i = 0; i < LENS_STAGES; i++)
        out->sums[i] = lensd_counter_get(&s->stages[i].sum);
}

uint32_t lensd_statistics_buckets(const struct lensd_statistics *statistics, struct lens_bucket *out)
{
    const struct lensd_histogram *total = &statistics->stages[LENS_STAGES - 1];
    uint32_t n = 0;
    for (uint32_t i = 0; i < LENSD_HISTOGRAM_BUCKETS; i++) {
        uint32_t count =
            (uint32_t)lensd_counter_get(&total->buckets[i]); /* wraps on the wire, whose readers take differences */
        if (count > 0)
            out[n++] = (struct lens_bucket){.index = i, .count = count};
    }
    return n;
}
