/* Counters that one thread writes and any thread reads, without locks: a reader sees a whole value, a moment old. */
#ifndef LENSD_COUNTER_H
#define LENSD_COUNTER_H

#include <stdint.h>

/* The writer's. */
static inline void lensd_counter_add(uint64_t *counter, uint64_t by)
{
    __atomic_store_n(counter, __atomic_load_n(counter, __ATOMIC_RELAXED) + by, __ATOMIC_RELAXED);
}

static inline uint64_t lensd_counter_get(const uint64_t *counter)
{
    return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

#endif
