/* The request to fill a pack's slots: the engine loads behind its rows, and the answer goes out when all is there. */
#include "daemon/control.h"
#include "daemon/pack_progress.h"
#include "daemon/sys.h"

#include <stdio.h>

#define LOOK_MS  20u
#define STUCK_NS UINT64_C(60000000000) /* rows leave no room for it */

/* The asker's connection, if it still lives, goes on with its next request after the answer. */
static struct lensd_connection *end(struct lensd_service *service)
{
    struct lensd_connection *c = lensd_connection_find(service, service->filling.connection);
    uv_timer_stop(&service->filling_look);
    service->filling.served = NULL;
    return c;
}

static void end_well(struct lensd_service *service)
{
    const struct lensd_served_pack *served = service->filling.served;
    uint32_t resident = lensd_pool_resident(served->pool), slots = lensd_pool_slots(served->pool);
    uint32_t held = lensd_pool_host_held(served->pool);
    struct lensd_connection *c = end(service);
    lensd_log(&service->log, LENSD_LOG_INFO, "pack %s: preloaded, %u of %u slots hold a lens", served->name, resident,
              slots);
    if (c == NULL)
        return;
    lensd_control_done(service, c, served->generation,
                       "pack %s: %u of %u lenses are in its %u slots, %u in host memory", served->name, resident,
                       served->pack->lenses, slots, held);
    lensd_connection_resume(c);
}

static void end_badly(struct lensd_service *service, enum lens_fault fault, const char *why)
{
    const struct lensd_served_pack *served = service->filling.served;
    struct lensd_connection *c = end(service);
    lensd_log(&service->log, LENSD_LOG_WARNING, "pack %s: not preloaded: %s", served->name, why);
    if (c == NULL)
        return;
    lensd_connection_fault(c, fault, "pack %s: %u of its lenses are in slots; %s", served->name,
                           lensd_pool_resident(served->pool), why);
    lensd_connection_resume(c);
}

static void look(uv_timer_t *timer)
{
    struct lensd_service *service = timer->data;
    struct lensd_filling *filling = &service->filling;
    const struct lensd_pool *pool = filling->served->pool;
    uint32_t resident = lensd_pool_resident(pool);
    struct lensd_pool_counters counters;
    struct lens_error last = {0};
    uint64_t now = lensd_now_ns();
    if (resident > filling->seen) {
        filling->seen = resident;
        filling->seen_ns = now;
    }
    /* A slot that was taken over meanwhile, for a lens that is still on its way, was filled, too. */
    lensd_pool_get_counters(pool, &counters);
    if (resident + counters.evictions - filling->evictions_before >= filling->target)
        end_well(service);
    else if (lensd_served_pack_is_lost(filling->served))
        end_badly(service, LENS_FAULT_IN_USE, LENSD_PRELOAD_LOST);
    else if (lensd_pool_failures(pool, &last) > filling->failures_before)
        end_badly(service, LENS_FAULT_BAD_PACK, last.text);
    else if (now - filling->seen_ns > STUCK_NS)
        end_badly(service, LENS_FAULT_IN_USE,
                  "rows have left no room for more in the last minute: ask again when "
                  "there are fewer");
}

/* Notes where the pool stands and has the engine fill it. */
static int begin(struct lensd_service *service, struct lensd_served_pack *served, uint64_t connection,
                 struct lens_error *err)
{
    const struct lensd_pool *pool = served->pool;
    uint32_t slots = lensd_pool_slots(pool), lenses = 0;
    struct lensd_pool_counters counters;
    struct lens_error last;
    lensd_pool_get_counters(pool, &counters);
    service->filling = (struct lensd_filling){
        .served = served,
        .connection = connection,
        .target = served->pack->lenses < slots ? served->pack->lenses : slots,
        .evictions_before = counters.evictions,
        .failures_before = lensd_pool_failures(pool, &last),
        .seen = lensd_pool_resident(pool),
        .seen_ns = lensd_now_ns(),
    };
    int r = lensd_engine_fill(service->engine, served, &lenses, err);
    if (r != 0) {
        service->filling.served = NULL;
        return r;
    }
    lensd_log(&service->log, LENSD_LOG_INFO, "pack %s: preloading %u lenses", served->name, lenses);
    service->filling_look.data = service;
    uv_timer_start(&service->filling_look, look, 0, LOOK_MS);
    return 0;
}

void lensd_control_preload(struct lensd_service *service, struct lensd_connection *c, const struct lens_msg *request)
{
    struct lensd_served_pack *served = lensd_control_pack(service, c, request->u.pack_ref.pack);
    struct lens_error err = {0};
    if (served == NULL)
        return;
    if (service->filling.served != NULL) {
        lensd_connection_fault(c, LENS_FAULT_IN_USE, "pack %s is being preloaded: ask again when that is done",
                               service->filling.served->name);
        return;
    }
    if (lensd_served_pack_is_lost(served)) {
        lensd_connection_fault(c, LENS_FAULT_IN_USE, "pack %s: %s", served->name, LENSD_PRELOAD_LOST);
        return;
    }
    int r = begin(service, served, c->id, &err);
    if (r != 0)
        lensd_connection_fault(c, lensd_control_fault_of(r), "%s", err.text);
    c->busy = r == 0;
}

void lensd_control_preload_ends(struct lensd_service *service, const struct lensd_served_pack *served,
                                enum lens_fault fault, const char *why)
{
    if (service->filling.served == served)
        end_badly(service, fault, why);
}

void lensd_control_preload_text(const struct lensd_service *service, char *out, size_t size)
{
    const struct lensd_served_pack *served = service->filling.served;
    out[0] = '\0';
    if (served != NULL)
        snprintf(out, size, "%s: %u of %u lenses loaded", served->name, lensd_pool_resident(served->pool),
                 service->filling.target);
}
