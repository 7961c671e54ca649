/* The device's memory while the daemon serves: whether it gets short, and what that means for the packs.
 *
 * A slab keeps the size it was made with, so that nothing is given back here: it is said, once, and shown.
 * Threads: the loop's. */
#ifndef LENSD_DEVICE_WATCH_H
#define LENSD_DEVICE_WATCH_H

#include "daemon/service.h"

#define LENSD_DEVICE_TEXT 512u

/* Looks at the device's free memory, every ten seconds at most, and logs when it gets short and when it no longer is.
 * Devices without memory of their own are never short of it here. */
void lensd_device_watch(struct lensd_service *service);

/* What there is to say of the device's memory and the slots in it, "" = every pack has what it was to have. */
void lensd_device_text(const struct lensd_service *service, char *out, size_t size);

#endif
