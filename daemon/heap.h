/* What the daemon's heap holds, as its allocator counts it. */
#ifndef LENSD_HEAP_H
#define LENSD_HEAP_H

#include <stdint.h>

/* Bytes allocated now (jemalloc's stats.allocated); 0 in sanitizer builds, which go without jemalloc. */
uint64_t lensd_heap_bytes(void);

#endif
