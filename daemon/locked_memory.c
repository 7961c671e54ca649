/* See locked_memory.h. */
#include "daemon/locked_memory.h"

#include "daemon/sys.h"

void *lensd_locked_alloc(struct lens_backend *backend, size_t bytes)
{
    return backend->ops->host_alloc != NULL ? backend->ops->host_alloc(backend, bytes) : lensd_aligned(4096, bytes);
}

void lensd_locked_free(struct lens_backend *backend, void *memory)
{
    if (memory == NULL)
        return;
    if (backend->ops->host_alloc != NULL)
        backend->ops->host_free(backend, memory);
    else
        lensd_free(memory);
}

int lensd_locked_rows_begin(struct lensd_locked_rows *rows, struct lens_backend *backend, void *memory, size_t bytes,
                            struct lens_error *err)
{
    *rows = (struct lensd_locked_rows){0};
    if (backend->ops->host_register == NULL)
        return 0;
    void *view = NULL;
    int r = backend->ops->host_register(backend, memory, bytes, &view, err);
    if (r != 0)
        return r;
    *rows = (struct lensd_locked_rows){.backend = backend, .memory = memory, .bytes = bytes, .device_view = view};
    return 0;
}

void lensd_locked_rows_end(struct lensd_locked_rows *rows)
{
    if (rows->backend != NULL)
        rows->backend->ops->host_unregister(rows->backend, rows->memory);
    *rows = (struct lensd_locked_rows){0};
}
