/* Memory of the host that a device reads by itself: page-locked where the backend has a device of its own, any memory
 * where it has none.
 *
 * Two kinds: memory that the daemon takes for a backend (stored lenses on their way into slots), and rows that are
 * there already (a session's), locked while the session is attached. */
#ifndef LENSD_LOCKED_MEMORY_H
#define LENSD_LOCKED_MEMORY_H

#include "kernels/backend.h"

#include <stddef.h>

/* On a 4096-byte boundary; NULL when there is none. Any thread. */
void *lensd_locked_alloc(struct lens_backend *backend, size_t bytes);
void lensd_locked_free(struct lens_backend *backend, void *memory); /* of the same backend; NULL is fine */

/* Rows in memory that a client writes. All zero = not locked: they are copied to the device. */
struct lensd_locked_rows {
    struct lens_backend *backend; /* that it is locked for, or NULL */
    unsigned char *memory;
    size_t bytes;
    unsigned char *device_view; /* where the device sees `memory` */
};

/* Locks `memory` for the backend's device, milliseconds for each 10 MiB. 0, also where the backend has no need of it;
 * a negative errno with a sentence where it can't be locked: `rows` then stays all zero, which works as well and costs
 * a copy of each row. Loop thread, like the next. */
int lensd_locked_rows_begin(struct lensd_locked_rows *rows, struct lens_backend *backend, void *memory, size_t bytes,
                            struct lens_error *err);
/* When no run reads them any more, before the memory goes and before the backend does. All zero is fine. */
void lensd_locked_rows_end(struct lensd_locked_rows *rows);

/* Where the device sees `at`, which lies in rows that are locked. Any thread. */
static inline const void *lensd_locked_rows_view(const struct lensd_locked_rows *rows, const void *at)
{
    return rows->device_view + ((const unsigned char *)at - rows->memory);
}

#endif
