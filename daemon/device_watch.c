/* See device_watch.h. */
#include "daemon/device_watch.h"

#include "daemon/sys.h"

#include <stdio.h>
#include <string.h>

#define LOOK_NS  UINT64_C(10000000000)
#define SHORT_OF (LENSD_DEVICE_RESERVE / 2)            /* bytes free, below which the device's memory is short */
#define ROOMY    (4 * LENSD_DEVICE_RESERVE)            /* bytes free, beyond which slots may be taken again, */
#define ROOMY_NS (UINT64_C(60) * UINT64_C(1000000000)) /* after that long */

#define MIB(bytes) ((unsigned long long)(bytes) >> 20)

static uint64_t slab_bytes(const struct lensd_served_pack *served)
{
    return lensd_pool_slots(served->pool) * lensd_pool_slot_bytes(served->pool);
}

/* ---- short ------------------------------------------------------------------------------------------------------ */

/* Of the packs whose bit in `tried` isn't set the one with the most bytes in slots; NULL = none is left. */
static struct lensd_served_pack *largest(const struct lensd_service *service, uint64_t *tried)
{
    uint32_t best = LENSD_PACKS_MAX;
    for (uint32_t i = 0; i < service->n_packs; i++)
        if ((*tried >> i & 1) == 0 && !lensd_served_pack_is_lost(service->packs[i]) &&
            (best == LENSD_PACKS_MAX || slab_bytes(service->packs[i]) > slab_bytes(service->packs[best])))
            best = i;
    if (best == LENSD_PACKS_MAX)
        return NULL;
    *tried |= UINT64_C(1) << best;
    return service->packs[best];
}
_Static_assert(LENSD_PACKS_MAX <= 64, "packs are marked in 64 bits");

/* Has the pack's pool give slots back, and says how many; false when it can't. */
static bool give_back(struct lensd_service *service, struct lensd_served_pack *served)
{
    struct lens_error err;
    bool given;
    uint32_t had = lensd_pool_slots(served->pool);
    if (lensd_engine_give_back(service->engine, served, &given, &err) != 0 || !given)
        return false;
    uint32_t has = lensd_pool_slots(served->pool);
    if (has < had)
        lensd_log_event(
            &service->log, LENSD_LOG_WARNING, LENSD_LOG_MEMORY_SHORT,
            &(struct lensd_log_fields){.pack = served->name, .generation = served->generation},
            "pack %s: %u of its %u slots are given back, %llu MiB: %llu MiB of the device's memory are free",
            served->name, had - has, had, MIB((had - has) * lensd_pool_slot_bytes(served->pool)),
            MIB(service->device_memory.free_bytes));
    return true;
}

static void answer_shortage(struct lensd_service *service)
{
    struct lensd_device_memory *memory = &service->device_memory;
    struct lensd_served_pack *served;
    uint64_t tried = 0;
    while ((served = largest(service, &tried)) != NULL)
        if (give_back(service, served)) {
            memory->gave_all = false;
            return;
        }
    if (!memory->gave_all)
        lensd_log_event(
            &service->log, LENSD_LOG_WARNING, LENSD_LOG_MEMORY_SHORT, NULL,
            "%llu MiB of the device's memory are free, and no pack has a slot that it can give back: a smaller "
            "engine.max_batch_rows, or fewer packs, would free some",
            MIB(memory->free_bytes));
    memory->gave_all = true;
}

/* ---- free again ------------------------------------------------------------------------------------------------- */

static void say_taken(const struct lensd_service *service, const struct lensd_served_pack *served, uint32_t had)
{
    uint32_t has = lensd_pool_slots(served->pool);
    lensd_log_event(&service->log, LENSD_LOG_INFO, LENSD_LOG_MEMORY_EASED,
                    &(struct lensd_log_fields){.pack = served->name, .generation = served->generation},
                    "pack %s: %u slots of %u again, %u more: %llu MiB were free", served->name, has,
                    lensd_pool_slots_made(served->pool), has - had, MIB(service->device_memory.free_bytes));
}

/* One pack's next step, as far as it leaves room enough not to be given back at once. */
static void take_again(struct lensd_service *service)
{
    struct lens_error err;
    uint32_t lenses;
    for (uint32_t i = 0; i < service->n_packs; i++) {
        struct lensd_served_pack *served = service->packs[i];
        uint32_t had = lensd_pool_slots(served->pool);
        if (had == lensd_pool_slots_made(served->pool) || lensd_served_pack_is_lost(served))
            continue;
        uint64_t bytes = service->device_memory.free_bytes - ROOMY;
        if (lensd_engine_take_again(service->engine, served, bytes, &err) != 0 || lensd_pool_slots(served->pool) == had)
            continue; /* somebody was faster, or a step is too large: another time */
        say_taken(service, served, had);
        if (service->settings->pool.preload)
            (void)lensd_engine_fill(service->engine, served, &lenses, &err); /* else rows bring in what they want */
        return;
    }
}

static void heed_room(struct lensd_service *service, uint64_t now)
{
    struct lensd_device_memory *memory = &service->device_memory;
    if (memory->free_bytes < ROOMY) {
        memory->roomy_ns = 0;
    } else if (memory->roomy_ns == 0) {
        memory->roomy_ns = now;
    } else if (now - memory->roomy_ns >= ROOMY_NS) {
        memory->roomy_ns = now;
        take_again(service);
    }
}

/* ---- looking ---------------------------------------------------------------------------------------------------- */

/* Memory that was short when the packs were made, as somebody chose, isn't short for others: then half of what was left
 * is the mark. */
static uint64_t short_of(struct lensd_service *service)
{
    struct lensd_device_memory *memory = &service->device_memory;
    uint32_t newest = 0;
    for (uint32_t i = 0; i < service->n_packs; i++)
        newest = service->packs[i]->generation > newest ? service->packs[i]->generation : newest;
    if (memory->generation != newest) {
        memory->generation = newest;
        memory->usual_bytes = memory->free_bytes;
    }
    return memory->usual_bytes / 2 < SHORT_OF ? memory->usual_bytes / 2 : SHORT_OF;
}

static void note_change(struct lensd_service *service, bool is_short)
{
    struct lensd_device_memory *memory = &service->device_memory;
    if (memory->is_short && !is_short)
        lensd_log_event(&service->log, LENSD_LOG_INFO, LENSD_LOG_MEMORY_EASED, NULL,
                        "%llu MiB of the device's memory are free again", MIB(memory->free_bytes));
    memory->is_short = is_short;
    memory->gave_all = memory->gave_all && is_short;
}

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
    memory->free_bytes = bytes;
    note_change(service, bytes < short_of(service) && service->n_packs > 0);
    if (memory->is_short)
        answer_shortage(service);
    heed_room(service, now);
}

void lensd_device_text(const struct lensd_service *service, char *out, size_t size)
{
    size_t used = 0;
    out[0] = '\0';
    for (uint32_t i = 0; i < service->n_packs && used < size; i++) {
        const struct lensd_pool *pool = service->packs[i]->pool;
        const char *note = lensd_pool_note(pool);
        uint32_t has = lensd_pool_slots(pool), made = lensd_pool_slots_made(pool);
        if (note[0] != '\0')
            used += (size_t)snprintf(out + used, size - used, "%s%s: %s", used > 0 ? "; " : "", service->packs[i]->name,
                                     note);
        if (has < made && used < size)
            used += (size_t)snprintf(out + used, size - used, "%s%s: %u of its %u slots were given back",
                                     used > 0 ? "; " : "", service->packs[i]->name, made - has, made);
    }
    if (service->device_memory.is_short && used < size)
        snprintf(out + used, size - used, "%s%llu MiB of the device's memory are free", used > 0 ? "; " : "",
                 MIB(service->device_memory.free_bytes));
}
