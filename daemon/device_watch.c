/* See device_watch.h. */
#include "daemon/device_watch.h"

#include "daemon/sys.h"

#include <stdio.h>
#include <string.h>

#define LOOK_NS  UINT64_C(10000000000)
#define SHORT_OF (UINT64_C(256) << 20) /* bytes free, below which the device's memory is short */

void lensd_device_watch(struct lensd_service *service)
{
    const struct lens_backend_ops *ops = service->backend->ops;
    struct lensd_device_memory *memory = &service->device_memory;
    uint64_t now = lensd_now_ns(), bytes = 0;
    if (ops->memory_free == NULL)
        memory->is_short = false; /* of a card that was lost since, if it was */
    if (ops->memory_free == NULL || now - memory->looked_ns < LOOK_NS)
        return;
    memory->looked_ns = now;
    if (ops->memory_free(service->backend, &bytes) != 0)
        return; /* a device that is lost says so when it is run */
    bool is_short = bytes < SHORT_OF && service->n_packs > 0;
    memory->free_bytes = bytes;
    if (is_short == memory->is_short)
        return;
    memory->is_short = is_short;
    if (is_short)
        lensd_log(
            &service->log, LENSD_LOG_WARNING,
            "%llu MiB of the device's memory are free, which others may need: a pack keeps its slots as long as it "
            "is served; swap it with a smaller pool.slots or pool.device_memory to give some back",
            (unsigned long long)bytes >> 20);
    else
        lensd_log(&service->log, LENSD_LOG_INFO, "%llu MiB of the device's memory are free again",
                  (unsigned long long)bytes >> 20);
}

void lensd_device_text(const struct lensd_service *service, char *out, size_t size)
{
    size_t used = 0;
    out[0] = '\0';
    for (uint32_t i = 0; i < service->n_packs && used < size; i++) {
        const char *note = lensd_pool_note(service->packs[i]->pool);
        if (note[0] != '\0')
            used += (size_t)snprintf(out + used, size - used, "%s%s: %s", used > 0 ? "; " : "", service->packs[i]->name,
                                     note);
    }
    if (service->device_memory.is_short && used < size)
        snprintf(out + used, size - used, "%s%llu MiB of the device's memory are free", used > 0 ? "; " : "",
                 (unsigned long long)service->device_memory.free_bytes >> 20);
}
