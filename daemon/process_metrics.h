/* What the kernel and the allocator say of this process, for metrics.
 *
 * The files of /proc are opened once: figures are there also when no descriptors are left. Threads: one at a time. */
#ifndef LENSD_PROCESS_METRICS_H
#define LENSD_PROCESS_METRICS_H

#include "daemon/metrics.h"

#include <dirent.h>

struct lensd_process_reader {
    DIR *descriptors; /* /proc/self/fd, or NULL */
    int statm;        /* /proc/self/statm, or -1 */
};

void lensd_process_reader_open(struct lensd_process_reader *reader); /* what can't be opened isn't told */
void lensd_process_reader_close(struct lensd_process_reader *reader);

/* All but the start time, which is the caller's. */
void lensd_process_reader_read(const struct lensd_process_reader *reader, struct lensd_process_metrics *out);

#endif
