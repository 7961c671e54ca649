/* Parts of opening the service that stand on their own: the backend and the packs served from the start. */
#ifndef LENSD_SERVICE_SETUP_H
#define LENSD_SERVICE_SETUP_H

#include "daemon/service.h"

/* Opens the backend the arguments ask for, wraps it when there is a fault script, fills device and reason and logs
 * one line. */
int lensd_service_open_backend(struct lensd_service *service, struct lens_error *err);

/* Opens the CPU backend as the settings want it. Reads settings that never change while the daemon runs: any thread. */
int lensd_service_open_cpu(const struct lensd_service *service, struct lens_backend **out, struct lens_error *err);

/* Opens every --pack file, or those of packs.serve when there is none, and notes their directories. On error those
 * already open are in service->packs. */
int lensd_service_open_packs(struct lensd_service *service, struct lens_error *err);

#endif
