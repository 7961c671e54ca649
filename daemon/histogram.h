/* Log-linear histograms of durations: 64 buckets per power of two, so a quantile is off by at most 1%.
 *
 * One thread records (no locks, no allocation); any thread may read meanwhile and sees some recent state. */
#ifndef LENSD_HISTOGRAM_H
#define LENSD_HISTOGRAM_H

#include <stdint.h>

#define LENSD_HISTOGRAM_SUB     64u
#define LENSD_HISTOGRAM_OCTAVES 36u /* up to 2^41 ns = 36 minutes; longer counts as that */
#define LENSD_HISTOGRAM_BUCKETS (LENSD_HISTOGRAM_SUB * (LENSD_HISTOGRAM_OCTAVES + 1))

struct lensd_histogram {
    uint32_t buckets[LENSD_HISTOGRAM_BUCKETS];
    uint64_t count, sum, max; /* of the values themselves, not of bucket edges */
};

void lensd_histogram_record(struct lensd_histogram *histogram, uint64_t value);

/* The value below which `quantile` (0..1) of the records lie: the middle of its bucket, at most max. 0 when empty. */
uint64_t lensd_histogram_quantile(const struct lensd_histogram *histogram, double quantile);

uint64_t lensd_histogram_mean(const struct lensd_histogram *histogram);

#endif
