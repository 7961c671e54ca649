/* What the daemon's heap holds, as its allocator counts it. Threads: any. */
#ifndef LENSD_HEAP_H
#define LENSD_HEAP_H

#include <stdbool.h>
#include <stdint.h>

/* jemalloc's stats of the same names, bytes. */
struct lensd_heap {
    uint64_t allocated, active, metadata, resident, mapped, retained;
};

/* False in sanitizer builds, which go without jemalloc. */
bool lensd_heap_read(struct lensd_heap *out);

/* Bytes allocated now; 0 in sanitizer builds. */
uint64_t lensd_heap_bytes(void);

#endif
