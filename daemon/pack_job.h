/* Loading and swapping packs while everything goes on: the file is opened, verified and read on a worker thread, and
 * only a pack that is whole takes its place, between two batches.
 *
 * Threads: the loop's. */
#ifndef LENSD_PACK_JOB_H
#define LENSD_PACK_JOB_H

#include "daemon/service.h"

/* Starts a load (`replace` NULL) or a swap of `replace` for the connection's request; the connection is busy until it
 * is answered. -EBUSY while another is under way, -ENOMEM, -ENAMETOOLONG. */
int lensd_pack_job_start(struct lensd_service *service, struct lensd_connection *connection,
                         const struct lensd_served_pack *replace, struct lens_text path, struct lens_text name,
                         struct lens_error *err);

/* What the load or swap under way has come to, "" when there is none. */
void lensd_pack_job_text(const struct lensd_service *service, char *out, size_t size);

/* A worker opens a pack on this backend, or closes one that may be on it. */
bool lensd_pack_job_may_use(const struct lensd_service *service, const struct lens_backend *backend);

/* A swap that waited for the pack it replaces (lensd_ladder_moves) goes on. */
void lensd_pack_job_go_on(struct lensd_service *service);

/* Closes a pack on a worker; it must have left the service's table. Closes at once when the worker can't be asked. */
void lensd_pack_job_close(struct lensd_service *service, struct lensd_served_pack *served);

#endif
