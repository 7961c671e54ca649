/* See heap.h. */
#include "daemon/heap.h"

#include <stddef.h>

#ifdef LENSD_SANITIZED
bool lensd_heap_read(struct lensd_heap *out)
{
    *out = (struct lensd_heap){0};
    return false;
}
#else
#include <jemalloc/jemalloc.h>

static uint64_t figure(const char *name)
{
    size_t value = 0, size = sizeof value;
    return mallctl(name, &value, &size, NULL, 0) == 0 ? value : 0;
}

bool lensd_heap_read(struct lensd_heap *out)
{
    uint64_t epoch = 1;
    /* jemalloc's figures are snapshots: writing the epoch takes a new one. */
    mallctl("epoch", NULL, NULL, &epoch, sizeof epoch);
    *out = (struct lensd_heap){
        .allocated = figure("stats.allocated"),
        .active = figure("stats.active"),
        .metadata = figure("stats.metadata"),
        .resident = figure("stats.resident"),
        .mapped = figure("stats.mapped"),
        .retained = figure("stats.retained"),
    };
    return out->allocated > 0;
}
#endif

uint64_t lensd_heap_bytes(void)
{
    struct lensd_heap heap;
    return lensd_heap_read(&heap) ? heap.allocated : 0;
}
