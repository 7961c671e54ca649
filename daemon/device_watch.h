/* The device's memory while the daemon serves. When it gets short because others need it, the pack with the largest
 * slots gives a quarter of them back (lensd_pool_give_back), and again at each look while it is short. When much has
 * been free for a minute, slots are taken again, a step a minute. Rows in flight go on, and no answer changes: with
 * fewer slots rows wait for lenses more often. Row state and tables keep their size.
 *
 * Threads: the loop's. */
#ifndef LENSD_DEVICE_WATCH_H
#define LENSD_DEVICE_WATCH_H

#include "daemon/service.h"

#define LENSD_DEVICE_TEXT 512u

/* Looks at the device's free memory, every ten seconds at most, and does as above; each change is logged, and once that
 * nothing is left to give. Devices without memory of their own are never short of it here. */
void lensd_device_watch(struct lensd_service *service);

/* What there is to say of the device's memory and the slots in it, "" = every pack has what it was to have. */
void lensd_device_text(const struct lensd_service *service, char *out, size_t size);

#endif
