/* See histogram.h. */
#include "daemon/histogram.h"

#include "daemon/counter.h"

#include <stdbool.h>

/* Values below SUB have a bucket each; above, each power of two has SUB of them. */
static uint32_t bucket_of(uint64_t value)
{
    if (value < LENSD_HISTOGRAM_SUB)
        return (uint32_t)value;
    uint32_t top = 63u - (uint32_t)__builtin_clzll(value);
    uint32_t octave = top - 6u + 1u; /* SUB = 2^6 */
    if (octave > LENSD_HISTOGRAM_OCTAVES)
        return LENSD_HISTOGRAM_BUCKETS - 1;
    return octave * LENSD_HISTOGRAM_SUB + (uint32_t)((value >> (top - 6u)) & (LENSD_HISTOGRAM_SUB - 1));
}

/* The largest value that a bucket counts; what is beyond the last one's range is there, too. */
static uint64_t last_of(uint32_t bucket)
{
    if (bucket < LENSD_HISTOGRAM_SUB)
        return bucket;
    uint32_t shift = bucket / LENSD_HISTOGRAM_SUB - 1;
    return ((uint64_t)(LENSD_HISTOGRAM_SUB + bucket % LENSD_HISTOGRAM_SUB + 1) << shift) - 1;
}

static uint64_t middle_of(uint32_t bucket)
{
    if (bucket < LENSD_HISTOGRAM_SUB)
        return bucket;
    uint32_t shift = bucket / LENSD_HISTOGRAM_SUB - 1;
    uint64_t low = (uint64_t)(LENSD_HISTOGRAM_SUB + bucket % LENSD_HISTOGRAM_SUB) << shift;
    return low + (UINT64_C(1) << shift) / 2;
}

void lensd_histogram_record(struct lensd_histogram *histogram, uint64_t value)
{
    lensd_counter_add(&histogram->buckets[bucket_of(value)], 1);
    lensd_counter_add(&histogram->count, 1);
    lensd_counter_add(&histogram->sum, value);
    if (value > lensd_counter_get(&histogram->max))
        __atomic_store_n(&histogram->max, value, __ATOMIC_RELAXED);
}

uint64_t lensd_histogram_quantile(const struct lensd_histogram *histogram, double quantile)
{
    uint64_t count = 0, below = 0;
    for (uint32_t i = 0; i < LENSD_HISTOGRAM_BUCKETS; i++)
        count += lensd_counter_get(&histogram->buckets[i]);
    if (count == 0)
        return 0;
    uint64_t max = lensd_counter_get(&histogram->max);
    double wanted = quantile * (double)count;
    for (uint32_t i = 0; i < LENSD_HISTOGRAM_BUCKETS; i++) {
        below += lensd_counter_get(&histogram->buckets[i]);
        if ((double)below >= wanted && below > 0) {
            uint64_t middle = middle_of(i);
            return middle < max ? middle : max;
        }
    }
    return max;
}

uint64_t lensd_histogram_mean(const struct lensd_histogram *histogram)
{
    uint64_t count = lensd_counter_get(&histogram->count);
    return count == 0 ? 0 : lensd_counter_get(&histogram->sum) / count;
}

void lensd_histogram_cumulate(const struct lensd_histogram *histogram, const uint64_t *bounds, uint32_t n,
                              uint64_t *out)
{
    uint64_t below = 0;
    uint32_t at = 0;
    for (uint32_t i = 0; i < LENSD_HISTOGRAM_BUCKETS; i++) {
        bool beyond = i == LENSD_HISTOGRAM_BUCKETS - 1; /* may hold anything */
        while (at < n && (beyond || last_of(i) > bounds[at]))
            out[at++] = below;
        below += lensd_counter_get(&histogram->buckets[i]);
    }
    out[n] = below;
}
