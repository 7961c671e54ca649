/* Log-linear histograms of durations: 64 buckets per power of two, so a quantile is off by at most 1%. Counts have 64
 * bits: a day's worth of rows in one bucket doesn't wrap.
 *
 * One thread records (no locks, no allocation); any thread may read meanwhile and sees some recent state. */
#ifndef LENSD_HISTOGRAM_H
#define LENSD_HISTOGRAM_H

#include <stdint.h>

#define LENSD_HISTOGRAM_SUB     64u
#define LENSD_HISTOGRAM_OCTAVES 36u /* up to 2^41 ns = 36 minutes; longer counts as that */
#define LENSD_HISTOGRAM_BUCKETS (LENSD_HISTOGRAM_SUB * (LENSD_HISTOGRAM_OCTAVES + 1))

struct lensd_histogram {
    uint64_t buckets[LENSD_HISTOGRAM_BUCKETS];
    uint64_t count, sum, max; /* of the values themselves, not of bucket edges */
};

void lensd_histogram_record(struct lensd_histogram *histogram, uint64_t value);

/* The value below which `quantile` (0..1) of the records lie: the middle of its bucket, at most max. 0 when empty. */
uint64_t lensd_histogram_quantile(const struct lensd_histogram *histogram, double quantile);

uint64_t lensd_histogram_mean(const struct lensd_histogram *histogram);

/* For each of n ascending bounds how many records are at most that bound, and in out[n] how many there are. A bound
 * within a bucket leaves the whole bucket out: no record above the bound is counted, and of those at most it none but
 * records within 1/64 (1.6%) below it can be missing. Below 64 nothing is. Never falls from call to call. */
void lensd_histogram_cumulate(const struct lensd_histogram *histogram, const uint64_t *bounds, uint32_t n,
                              uint64_t *out);

#endif
