/* Memory that the daemon shares with one client: of the daemon's making, of a fixed size, sealed before anyone else
 * sees it.
 *
 * Threads: any. */
#ifndef LENSD_SEALED_MEMORY_H
#define LENSD_SEALED_MEMORY_H

#include "proto/lens_error.h"

#include <stdint.h>

/* A memfd (closed on exec) of `bytes`, allocated in full, sealed against shrink, grow and further seals, and mapped:
 * zero, every page touched. The caller closes *fd and unmaps *base. On error neither is left; the sentence speaks of
 * `what`, as in "a session's memory". */
int lensd_sealed_memory(const char *name, const char *what, uint64_t bytes, int *fd, void **base,
                        struct lens_error *err);

/* Frees the pages, before unmapping. The client may keep them alive (by its descriptor, its mapping, or a packet it
 * never reads) when no quota counts them any more; what it writes from here on is charged to itself. */
void lensd_sealed_memory_discard(int fd, uint64_t bytes);

#endif
