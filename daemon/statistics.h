/* What a session, or the whole engine, has done since it began. Written by the engine thread alone, read by any
 * thread at any time without locks (each field is exact, together they may be a batch apart). */
#ifndef LENSD_STATISTICS_H
#define LENSD_STATISTICS_H

#include "daemon/counter.h"
#include "daemon/histogram.h"
#include "proto/codec.h"

#define LENSD_BATCH_SIZES 13u /* 1 .. 4096 = engine.max_batch_rows at most */
#define LENSD_REASONS     (LENS_REASON_ENGINE_FAILURE + 1)

struct lensd_statistics {
    uint64_t rows, dropped_rows, invalid_rows, partial_rows, capped_rows, degraded_rows;
    uint64_t lenses_scored, lenses_expanded, lenses_loaded, slot_hits, host_hits, cold;
    uint64_t batches, batch_rows;            /* batch_rows / batches = rows of a mean batch (sessions: their share) */
    uint64_t batch_sizes[LENSD_BATCH_SIZES]; /* batches of at most 1, 2, 4, .. rows, and more than the one before */
    uint64_t complete_rows, stale_rows;
    uint64_t abandoned_rows;         /* taken from a session that ended before they were answered: not in `rows` */
    uint64_t reasons[LENSD_REASONS]; /* rows by enum lens_row_reason; [0] isn't counted */
    uint64_t busy_ns;                /* that the engine's thread spent on running batches; the engine's alone */
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
