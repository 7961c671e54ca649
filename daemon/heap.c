/* See heap.h. */
#include "daemon/heap.h"

#include <stddef.h>

#ifdef LENSD_SANITIZED
uint64_t lensd_heap_bytes(void)
{
    return 0;
}
#else
#include <jemalloc/jemalloc.h>

uint64_t lensd_heap_bytes(void)
{
    uint64_t epoch = 1;
    size_t allocated = 0, size = sizeof allocated;
    /* jemalloc's figures are snapshots: writing the epoch takes a new one. */
    mallctl("epoch", NULL, NULL, &epoch, sizeof epoch);
    if (mallctl("stats.allocated", &allocated, &size, NULL, 0) != 0)
        return 0;
    return allocated;
}
#endif
