/* Fills the snapshot that metrics are made of, on the loop's thread, and keeps what must not be forgotten: totals of
 * pools that went, the engine's heartbeat, routing. See telemetry.h. */
#include "daemon/batch.h"
#include "daemon/events.h"
#include "daemon/service.h"
#include "daemon/sys.h"
#include "daemon/telemetry.h"

#include <stdio.h>
#include <string.h>

#define HEARTBEAT_NS UINT64_C(30000000000) /* without a watchdog: as systemd's unit has it */

/* ---- what is kept ----------------------------------------------------------------------------------------------- */

void lensd_telemetry_pool_gone(struct lensd_telemetry *telemetry, const struct lensd_pool *pool)
{
    lensd_pool_counters_add(&telemetry->gone, pool);
    telemetry->gone.evictions = telemetry->gone.loads; /* whatever was loaded into them has left its slot */
    telemetry->gone_failures += lensd_pool_failed(pool);
}

/* The pack's concepts of the watch list, as it is now; those it lacks are told of once. */
static void heed_watch(const struct lensd_service *service, struct lensd_served_pack *served)
{
    struct lensd_detections *detections = served->detections;
    if (lensd_detections_watch(detections, served->pack, &service->telemetry.watch) && detections->missing[0] != '\0')
        lensd_log_event(&service->log, LENSD_LOG_WARNING, LENSD_LOG_CONFIG_ODD,
                        &(struct lensd_log_fields){.pack = served->name, .generation = served->generation},
                        "pack %s has no concept %s (telemetry.watch)", served->name, detections->missing);
}

void lensd_telemetry_pack_replaced(struct lensd_service *service, struct lensd_served_pack *served,
                                   struct lensd_served_pack *old)
{
    (void)lensd_detections_watch(old->detections, old->pack, &service->telemetry.watch);
    heed_watch(service, served);
    lensd_detections_carry(served->detections, old->detections);
}

void lensd_telemetry_reloaded(struct lensd_service *service, bool ok)
{
    struct lensd_telemetry *telemetry = &service->telemetry;
    telemetry->reload_ok = ok;
    if (!ok)
        return;
    telemetry->reload_time_s = (double)lensd_realtime_ns() / 1e9;
    lensd_watch_parse(service->settings->telemetry.watch, &telemetry->watch);
}

static void note_heartbeat(struct lensd_service *service, uint64_t now_ns)
{
    struct lensd_telemetry *telemetry = &service->telemetry;
    uint64_t beat = lensd_engine_heartbeat(service->engine);
    if (beat == telemetry->beat && telemetry->beat_ns != 0)
        return;
    telemetry->beat = beat;
    telemetry->beat_ns = now_ns;
}

void lensd_telemetry_look(struct lensd_service *service)
{
    uint64_t now = lensd_now_ns();
    note_heartbeat(service, now);
    for (uint32_t i = 0; i < service->n_packs; i++) {
        struct lensd_served_pack *served = service->packs[i];
        lensd_detections_look(served->detections, now);
        heed_watch(service, served);
    }
}

/* ---- what is told ----------------------------------------------------------------------------------------------- */

/* Sets `ready` and, where it isn't, why. */
static void tell_readiness(const struct lensd_service *service, struct lensd_metrics *out)
{
    struct lens_error why = {0};
    out->ready = false;
    snprintf(out->unready, sizeof out->unready, "no pack is loaded: `lensctl load PACK`\n");
    for (uint32_t i = 0; i < service->n_packs && !out->ready; i++) {
        out->ready = lensd_ladder_admits(service, service->packs[i], &why) == 0;
        snprintf(out->unready, sizeof out->unready, "%s\n", why.text);
    }
    if (service->stopping) {
        out->ready = false;
        snprintf(out->unready, sizeof out->unready, "stopping\n");
    }
}

static void tell_health(struct lensd_service *service, struct lensd_metrics *out)
{
    uint64_t now = lensd_now_ns(), watchdog_ns = service->supervisor.watchdog_us * 1000;
    uint64_t measure = watchdog_ns > 0 ? watchdog_ns : HEARTBEAT_NS;
    note_heartbeat(service, now);
    uint64_t silent = now - service->telemetry.beat_ns;
    out->sick[0] = '\0';
    if (silent > measure)
        snprintf(out->sick, sizeof out->sick,
                 "the engine has made no step for %.0f s (more than the watchdog's %.0f): rows aren't answered\n",
                 (double)silent / 1e9, (double)measure / 1e9);
}

static void take_statistics(const struct lensd_statistics *s, struct lensd_metrics *out)
{
    const struct {
        uint64_t *to;
        const uint64_t *from;
    } counters[] = {
        {&out->rows, &s->rows},
        {&out->complete_rows, &s->complete_rows},
        {&out->invalid_rows, &s->invalid_rows},
        {&out->partial_rows, &s->partial_rows},
        {&out->capped_rows, &s->capped_rows},
        {&out->degraded_rows, &s->degraded_rows},
        {&out->stale_rows, &s->stale_rows},
        {&out->dropped_rows, &s->dropped_rows},
        {&out->abandoned_rows, &s->abandoned_rows},
        {&out->lenses_scored, &s->lenses_scored},
        {&out->lenses_expanded, &s->lenses_expanded},
        {&out->slot_hits, &s->slot_hits},
        {&out->host_hits, &s->host_hits},
        {&out->cold, &s->cold},
        {&out->batch_rows, &s->batch_rows},
        {&out->engine_busy_ns, &s->busy_ns},
    };
    for (size_t i = 0; i < sizeof counters / sizeof counters[0]; i++)
        *counters[i].to = lensd_counter_get(counters[i].from);
    for (uint32_t i = 0; i < LENSD_REASONS; i++)
        out->reasons[i] = lensd_counter_get(&s->reasons[i]);
    for (uint32_t i = 0; i < LENSD_BATCH_SIZES; i++)
        out->batch_sizes[i] = lensd_counter_get(&s->batch_sizes[i]);
    for (uint32_t i = 0; i < LENS_STAGES; i++) {
        lensd_histogram_cumulate(&s->stages[i], lensd_stage_bounds, LENSD_STAGE_BOUNDS, out->stage_counts[i]);
        out->stage_sums_ns[i] = lensd_counter_get(&s->stages[i].sum);
    }
}

static void take_pack(const struct lensd_service *service, struct lensd_served_pack *served,
                      struct lensd_metrics_pack *out)
{
    const struct lens_pack *pack = served->pack;
    const struct lensd_pool *pool = served->pool;
    struct lensd_detections *detections = served->detections;
    heed_watch(service, served);
    *out = (struct lensd_metrics_pack){
        .generation = served->generation,
        .sessions = served->sessions,
        .lenses = pack->lenses,
        .slots = lensd_pool_slots(pool),
        .resident = lensd_pool_resident(pool),
        .host_places = lensd_pool_host_places(pool),
        .host_resident = lensd_pool_host_held(pool),
        .routing = detections->routing,
    };
    snprintf(out->name, sizeof out->name, "%s", served->name);
    snprintf(out->model, sizeof out->model, "%s", pack->meta.model_id);
    snprintf(out->dtype, sizeof out->dtype, "%s", lens_dtype_name(pack->w1_dtype));
    snprintf(out->slot_dtype, sizeof out->slot_dtype, "%s", lens_dtype_name(lensd_pool_slab(pool)->config.dtype));
    snprintf(out->policy, sizeof out->policy, "%s", lensd_cache_policy_names[lensd_pool_policy(pool)]);
    memcpy(out->watched, detections->watched, sizeof out->watched);
    for (uint32_t i = 0; i < service->telemetry.watch.n; i++)
        out->detections[i] = lensd_detections_total(detections, i);
}

static void take_packs(struct lensd_service *service, struct lensd_metrics *out)
{
    struct lensd_telemetry *telemetry = &service->telemetry;
    out->pool = telemetry->gone;
    out->load_failures = telemetry->gone_failures;
    out->slab_bytes = out->host_bytes = 0;
    out->n_packs = service->n_packs;
    for (uint32_t i = 0; i < service->n_packs; i++) {
        const struct lens_pack *pack = service->packs[i]->pack;
        const struct lensd_pool *pool = service->packs[i]->pool;
        take_pack(service, service->packs[i], &out->packs[i]);
        lensd_pool_counters_add(&out->pool, pool);
        out->load_failures += lensd_pool_failed(pool);
        out->slab_bytes += lensd_pool_slots(pool) * lensd_pool_slot_bytes(pool);
        out->host_bytes += lensd_pool_host_held(pool) * (pack->w1_lens_bytes + pack->w1_sign_bytes);
    }
    /* Counters that are read one after the other: their difference may fall by a lens, what is told may not. */
    uint64_t in_time = out->pool.prefetch_used - out->pool.prefetch_late;
    if (out->pool.prefetch_used > out->pool.prefetch_late && in_time > telemetry->prefetch_in_time)
        telemetry->prefetch_in_time = in_time;
    out->prefetch_in_time = telemetry->prefetch_in_time;
}

static void take_sessions(const struct lensd_service *service, struct lensd_metrics *out)
{
    const struct lensd_settings *settings = service->settings;
    out->queue_depth = 0;
    for (uint32_t i = 0; i < service->sessions.n; i++)
        out->queue_depth += lens_ring_server_depth(&service->sessions.items[i].session->ring);
    out->sessions = service->sessions.n;
    out->sessions_max = settings->ipc.max_sessions;
    out->session_memory = service->sessions.memory_bytes;
    out->session_memory_max = settings->ipc.total_memory;
    out->connections = service->n_connections;
    out->connections_max = settings->ipc.max_connections;
}

static void take_events(const struct lensd_service *service, struct lensd_metrics *out)
{
    uint64_t first = 1, end = 1;
    if (service->events != NULL)
        lensd_events_range(service->events, &first, &end);
    out->events = end - 1;
    out->events_held = end - first;
}

/* The engine counts meanwhile. */
static void take_alerts(const struct lensd_rule_totals *totals, struct lensd_rule_totals *out)
{
    out->n = totals->n;
    for (uint32_t i = 0; i < totals->n; i++) {
        memcpy(out->items[i].name, totals->items[i].name, sizeof out->items[i].name);
        out->items[i].action = totals->items[i].action;
        out->items[i].raised = lensd_counter_get(&totals->items[i].raised);
    }
}

void lensd_metrics_collect(struct lensd_service *service, struct lensd_metrics *out)
{
    struct lens_error last;
    memcpy(out->backend, service->device.backend, sizeof out->backend);
    memcpy(out->variant, service->device.variant, sizeof out->variant);
    memcpy(out->device, service->device.name, sizeof out->device);
    tell_readiness(service, out);
    tell_health(service, out);
    take_statistics(lensd_engine_statistics(service->engine), out);
    out->engine_failures = lensd_engine_failure(service->engine, &last);
    take_packs(service, out);
    take_sessions(service, out);
    out->device_free_bytes = service->device_memory.looked_ns != 0 ? service->device_memory.free_bytes : 0;
    take_events(service, out);
    lensd_ladder_steps(service, out->steps);
    out->reload_ok = service->telemetry.reload_ok;
    out->reload_time_s = service->telemetry.reload_time_s;
    out->watch = service->telemetry.watch;
    take_alerts(&service->alerts.totals, &out->alerts);
}
