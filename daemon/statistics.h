/* What a session, or the whole engine, has done since it began. Written by the engine thread alone, read by any
 * thread at any time without locks (each field is exact, together they may be a batch apart). */
#ifndef LENSD_STATISTICS_H
#define LENSD_STATISTICS_H

#include "daemon/histogram.h"
#include "proto/codec.h"

struct lensd_statistics {
    uint64_t rows, dropped_rows, invalid_rows, partial_rows, capped_rows, degraded_rows;
    uint64_t lenses_scored, lenses_expanded, lenses_loaded, slot_hits, host_hits, cold;
    uint64_t batches, batch_rows; /* batch_rows / batches = rows of a mean batch (sessions: their share) */
    struct lensd_histogram stages[LENS_STAGES]; /* in the order of struct lens_row_timing */
};

/* Counts one answered row. */
void lensd_statistics_add(struct lensd_statistics *statistics, const struct lens_result_header *row);

/* Counts one batch: rows that were answered together. */
void lensd_statistics_batch(struct lensd_statistics *statistics, uint32_t rows);

/* As the wire says it. */
void lensd_statistics_export(const struct lensd_statistics *statistics, struct lens_statistics *out);

/* The buckets of the stage total that aren't empty, into out[LENS_BUCKETS], indices ascending; how many. */
uint32_t lensd_statistics_buckets(const struct lensd_statistics *statistics, struct lens_bucket *out);

#endif
