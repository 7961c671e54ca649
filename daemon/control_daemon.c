/* Requests about the daemon as a whole: hello, status, config, shutdown. */
#include "daemon/control.h"
#include "daemon/device_watch.h"
#include "daemon/heap.h"
#include "daemon/pack_job.h"
#include "daemon/pack_progress.h"
#include "daemon/sys.h"

#include <assert.h>
#include <string.h>
#include <unistd.h>

void lensd_control_hello(struct lensd_service *service, struct lensd_connection *c, const struct lens_msg *request)
{
    const struct lens_hello *hello = &request->u.hello;
    if (hello->protocol_version != LENS_PROTOCOL_VERSION) {
        lensd_connection_fault(c, LENS_FAULT_BAD_VERSION,
                               "lensd %s speaks protocol version %u, the client %u: use a client of the same release",
                               LENSD_VERSION, LENS_PROTOCOL_VERSION, hello->protocol_version);
        c->doomed = true;
        return;
    }
    struct lens_text name = hello->client_name;
    name.length = name.length < sizeof c->name ? name.length : (uint32_t)sizeof c->name - 1;
    lensd_control_copy(name, c->name, sizeof c->name);
    c->greeted = true;
    struct lens_msg *answer = lensd_control_answer(service, LENS_MSG_HELLO_OK);
    answer->u.hello_ok = (struct lens_hello_ok){
        .protocol_version = LENS_PROTOCOL_VERSION,
        .daemon_version = lens_text_of(LENSD_VERSION),
        .role = (uint8_t)c->peer.role,
        .daemon_pid = (uint64_t)getpid(),
        .start_time_ns = service->start_time_ns,
    };
    lensd_connection_send(c, answer, NULL, 0);
}

static void take_counters(const struct lensd_pool_counters *counters, struct lens_status *out)
{
    out->loads = counters->loads;
    out->load_bytes = counters->load_bytes;
    out->evictions = counters->evictions;
    out->host_hits = counters->host_hits;
    out->cold = counters->cold;
    out->loads_behind = counters->loads_behind;
    out->loads_waited = counters->loads_waited;
    out->prefetch_issued = counters->prefetch_issued;
    out->prefetch_used = counters->prefetch_used;
    out->prefetch_wasted = counters->prefetch_wasted;
    out->prefetch_late = counters->prefetch_late;
}

static void fill_packs(const struct lensd_service *service, struct lens_status *out)
{
    struct lensd_pool_counters counters = service->telemetry.gone; /* of pools that went: totals never fall */
    out->packs = service->n_packs;
    for (uint32_t i = 0; i < service->n_packs; i++) {
        const struct lens_pack *pack = service->packs[i]->pack;
        const struct lensd_pool *pool = service->packs[i]->pool;
        out->slots += lensd_pool_slots(pool);
        out->resident += lensd_pool_resident(pool);
        out->slab_bytes += lensd_pool_slots(pool) * lensd_pool_slot_bytes(pool);
        uint32_t held = lensd_pool_host_held(pool);
        out->host_resident += held;
        out->host_bytes += held * (pack->w1_lens_bytes + pack->w1_sign_bytes);
        lensd_pool_counters_add(&counters, pool);
    }
    take_counters(&counters, out);
    if (service->n_packs > 0)
        out->policy = lens_text_of(lensd_cache_policy_names[lensd_pool_policy(service->packs[0]->pool)]);
}

static void add_statistics(const struct lensd_statistics *statistics, struct lens_status *out)
{
    struct lens_statistics s;
    lensd_statistics_export(statistics, &s);
    out->rows += s.rows;
    out->dropped_rows += s.dropped_rows;
    out->invalid_rows += s.invalid_rows;
    out->degraded_rows += s.degraded_rows;
    out->lenses_scored += s.lenses_scored;
    out->slot_hits += s.slot_hits;
    out->slot_misses += s.host_hits + s.cold;
    const struct lens_stage_row *total = &s.stages[LENS_STAGES - 1];
    out->p50_ns = total->p50 > out->p50_ns ? total->p50 : out->p50_ns;
    out->p99_ns = total->p99 > out->p99_ns ? total->p99 : out->p99_ns;
}

/* Operators see everything together; a client its own sessions (of several, the slowest p50 and p99). */
static void fill_work(const struct lensd_service *service, const struct lensd_connection *scope,
                      struct lens_status *out)
{
    for (uint32_t i = 0; i < service->sessions.n; i++) {
        const struct lensd_attachment *item = &service->sessions.items[i];
        if (scope != NULL && item->owner != scope)
            continue;
        out->sessions++;
        out->queued += lens_ring_server_depth(&item->session->ring);
        if (scope != NULL)
            add_statistics(item->session->statistics, out);
    }
    if (scope == NULL)
        add_statistics(lensd_engine_statistics(service->engine), out);
}

/* What exists nowhere else stands one behind the other in the space for keys. */
static void fill_texts(struct lensd_service *service, struct lens_status *out)
{
    char *loading = service->keys, *memory = loading + LENSD_PROGRESS_TEXT, *degraded = memory + LENSD_DEVICE_TEXT,
         *config = degraded + LENSD_LADDER_TEXT;
    static_assert(LENSD_PROGRESS_TEXT + LENSD_DEVICE_TEXT + LENSD_LADDER_TEXT + LENSD_RELOAD_TEXT <= LENSD_KEYS_MAX,
                  "four texts");
    lensd_pack_job_text(service, loading, LENSD_PROGRESS_TEXT);
    if (loading[0] == '\0')
        lensd_control_preload_text(service, loading, LENSD_PROGRESS_TEXT);
    lensd_device_text(service, memory, LENSD_DEVICE_TEXT);
    lensd_ladder_text(service, degraded, LENSD_LADDER_TEXT);
    lensd_reload_text(service, config, LENSD_RELOAD_TEXT);
    out->config = lens_text_of(config);
    out->loading = lens_text_of(loading);
    out->memory = lens_text_of(memory);
    out->degraded = lens_text_of(degraded);
}

void lensd_control_status(struct lensd_service *service, struct lensd_connection *c, const struct lens_msg *request)
{
    (void)request;
    struct lens_msg *answer = lensd_control_answer(service, LENS_MSG_STATUS_IS);
    struct lens_status *out = &answer->u.status_is;
    out->version = lens_text_of(LENSD_VERSION);
    out->backend = lens_text_of(service->device.backend);
    out->device = lens_text_of(service->device.name);
    out->variant = lens_text_of(service->device.variant);
    out->reason = lens_text_of(service->reason);
    out->pid = (uint64_t)getpid();
    out->uptime_ns = lensd_now_ns() - service->started_ns;
    out->start_time_ns = service->start_time_ns;
    out->threads = service->device.threads;
    out->heap_bytes = lensd_heap_bytes();
    out->metrics = lens_text_of(service->telemetry.where);
    fill_texts(service, out);
    fill_packs(service, out);
    fill_work(service, lensd_control_scope(c), out);
    lensd_connection_send(c, answer, NULL, 0);
}

/* Loaded packs of at most that generation. */
static uint32_t count_older(const struct lensd_service *service, uint32_t generation)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < service->n_packs; i++)
        n += service->packs[i]->generation <= generation;
    return n;
}

void lensd_control_config(struct lensd_service *service, struct lensd_connection *c, const struct lens_msg *request)
{
    struct lens_msg *answer = lensd_control_answer(service, LENS_MSG_SETTING_PAGE);
    struct lens_setting_page *page = &answer->u.setting_page;
    static_assert(LENSD_SETTING_SPACE <= LENSD_KEYS_MAX, "the page's own texts");
    lensd_settings_page(service->settings, request->u.page.first, service->keys, page);
    for (uint32_t i = 0; i < page->count; i++)
        page->rows[i].older_packs = count_older(service, page->rows[i].older_packs);
    lensd_connection_send(c, answer, NULL, 0);
}

void lensd_control_shutdown(struct lensd_service *service, struct lensd_connection *c, const struct lens_msg *request)
{
    (void)request;
    lensd_control_done(service, c, 0, "lensd drains and stops");
    lensd_service_stop(service, "an operator asked for it");
}
