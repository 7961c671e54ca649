/* The configuration read again while the daemon serves (SIGHUP): all that can change does, what can't is named and
 * waits for a restart, and a configuration with an error changes nothing.
 *
 * Threads: the loop's. */
#ifndef LENSD_RELOAD_H
#define LENSD_RELOAD_H

#include "daemon/settings.h"

#include <stddef.h>

struct lensd_service;
struct lensd_served_pack;

#define LENSD_RELOAD_TEXT 768u

/* How the last reload failed, if it did. */
struct lensd_reload {
    struct lens_error why; /* code 0 = it didn't */
    uint64_t failed_ns;
};

/* Reads file, environment and flags again. */
void lensd_reload(struct lensd_service *service);

/* Logs what is odd in the configuration in force: at a start, too. */
void lensd_reload_warn(struct lensd_service *service);

/* What `lensctl status` says of the last reload: "" when it was taken, or there was none. */
void lensd_reload_text(const struct lensd_service *service, char *out, size_t size);

/* Gives a pack that begins to be served the settings that may have changed while it was opened. */
void lensd_reload_tune(struct lensd_service *service, struct lensd_served_pack *served);

#endif
