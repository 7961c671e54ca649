/* See metrics.h. One function for each subject; what is one number for the whole daemon stands in tables. */
#include "daemon/metrics.h"

#include "daemon/exposition.h"

#include <math.h>
#include <stddef.h>

const uint64_t lensd_stage_bounds[LENSD_STAGE_BOUNDS] = {
    10000,    15000,    20000,    30000,    50000,    70000,   /* 10 us .. */
    100000,   150000,   200000,   300000,   500000,   700000,  /* 100 us .. */
    1000000,  1500000,  2000000,  3000000,  5000000,  7000000, /* 1 ms .. */
    10000000, 15000000, 20000000, 30000000, 50000000, 70000000, 100000000};

/* One number of the snapshot, without labels. */
struct plain {
    const char *name, *type, *help;
    size_t offset;
    bool wide; /* uint64_t, not uint32_t */
};
#define WIDE(field)   .offset = offsetof(struct lensd_metrics, field), .wide = true
#define NARROW(field) .offset = offsetof(struct lensd_metrics, field)

static const struct plain plains[] = {
    {"lensd_rows_total", "counter", "Rows answered, whatever became of them.", WIDE(rows)},
    {"lensd_lenses_scored_total", "counter", "Lenses scored, for all rows together.", WIDE(lenses_scored)},
    {"lensd_lenses_expanded_total", "counter", "Lenses whose children were scored.", WIDE(lenses_expanded)},
    {"lensd_loads_waited_total", "counter", "Lenses loaded that rows waited for.", WIDE(pool.loads_waited)},
    {"lensd_loads_behind_total", "counter", "Lenses loaded after the row that wanted them was answered without.",
     WIDE(pool.loads_behind)},
    {"lensd_load_bytes_total", "counter", "Bytes of weights read from file or host memory into slots.",
     WIDE(pool.load_bytes)},
    {"lensd_load_failures_total", "counter", "Lenses that could not be loaded.", WIDE(load_failures)},
    {"lensd_evictions_total", "counter", "Lenses that left their slot: for another, or with their pack.",
     WIDE(pool.evictions)},
    {"lensd_prefetch_issued_total", "counter", "Loads begun ahead of any row's wish.", WIDE(pool.prefetch_issued)},
    {"lensd_engine_failures_total", "counter", "Runs and loads of the engine that failed.", WIDE(engine_failures)},
    {"lensd_events_total", "counter", "Rows put into the memory that tail, top and timeline read (telemetry.events).",
     WIDE(events)},
    {"lensd_events_held", "gauge", "Rows that are there now.", WIDE(events_held)},
    {"lensd_queue_depth", "gauge", "Submissions that clients have sent and that aren't answered yet.",
     WIDE(queue_depth)},
    {"lensd_sessions", "gauge", "Sessions attached.", NARROW(sessions)},
    {"lensd_sessions_limit", "gauge", "Sessions that may be attached at once (ipc.max_sessions).",
     NARROW(sessions_max)},
    {"lensd_connections", "gauge", "Connections to the control socket.", NARROW(connections)},
    {"lensd_connections_limit", "gauge", "Connections there may be at once (ipc.max_connections).",
     NARROW(connections_max)},
    {"lensd_session_memory_bytes", "gauge", "Memory that sessions have: shared, and what their sequences retain.",
     WIDE(session_memory)},
    {"lensd_session_memory_limit_bytes", "gauge", "Memory that sessions may have together (ipc.total_memory).",
     WIDE(session_memory_max)},
    {"lensd_host_memory_bytes", "gauge", "Host memory that holds lenses as stored (cache.host_memory).",
     WIDE(host_bytes)},
};

static void render_plains(const struct lensd_metrics *m, FILE *out)
{
    for (size_t i = 0; i < sizeof plains / sizeof plains[0]; i++) {
        const struct plain *plain = &plains[i];
        const char *at = (const char *)m + plain->offset;
        lensd_exposition_family(out, plain->name, plain->type, plain->help);
        lensd_exposition_count(out, plain->name, NULL, 0, plain->wide ? *(const uint64_t *)at : *(const uint32_t *)at);
    }
}

/* A family whose samples differ by one label; the rows end with a NULL value. */
struct labelled {
    const char *value;
    uint64_t count;
};

static void render_labelled(FILE *out, const char *name, const char *help, const char *label,
                            const struct labelled *rows)
{
    lensd_exposition_family(out, name, "counter", help);
    for (; rows->value != NULL; rows++)
        lensd_exposition_count(out, name, (const struct lensd_label[]){{label, rows->value}}, 1, rows->count);
}

static void render_rows(const struct lensd_metrics *m, FILE *out)
{
    const struct labelled by_status[] = {
        {"complete", m->complete_rows}, {"partial", m->partial_rows}, {"invalid_input", m->invalid_rows}, {NULL, 0}};
    const struct labelled by_flag[] = {
        {"capped", m->capped_rows}, {"degraded", m->degraded_rows}, {"stale", m->stale_rows}, {NULL, 0}};
    const struct labelled unscored[] = {{"not_finite", m->reasons[LENS_REASON_NOT_FINITE]},
                                        {"bad_descriptor", m->reasons[LENS_REASON_BAD_DESCRIPTOR]},
                                        {"too_many_sequences", m->reasons[LENS_REASON_TOO_MANY_SEQUENCES]},
                                        {"engine_failure", m->reasons[LENS_REASON_ENGINE_FAILURE]},
                                        {NULL, 0}};
    const struct labelled dropped[] = {{"ring_full", m->dropped_rows}, {"session_ended", m->abandoned_rows}, {NULL, 0}};
    render_labelled(out, "lensd_rows_by_status_total", "Rows answered, by status.", "status", by_status);
    render_labelled(out, "lensd_flagged_rows_total", "Rows answered with a flag (a row may have several).", "flag",
                    by_flag);
    render_labelled(out, "lensd_unscored_rows_total", "Rows answered without a score, by the reason.", "reason",
                    unscored);
    render_labelled(out, "lensd_dropped_rows_total",
                    "Rows whose answer nobody got: the client's result ring was full, or its session ended first.",
                    "reason", dropped);
}

static void render_latency(const struct lensd_metrics *m, FILE *out)
{
    static const char *const stages[LENS_STAGES] = {"queue",  "copy_in", "base",     "load",
                                                    "expand", "select",  "copy_out", "total"};
    static const char name[] = "lensd_row_duration_seconds", batch[] = "lensd_batch_rows";
    double bounds[LENSD_STAGE_BOUNDS], sizes[LENSD_BATCH_SIZES];
    lensd_exposition_family(out, name, "histogram",
                            "How long rows took, by stage; total = from submission to answer. Counted from finer "
                            "buckets: what lies less than 1.6% below a bound may count in the next.");
    for (uint32_t i = 0; i < LENSD_STAGE_BOUNDS; i++)
        bounds[i] = (double)lensd_stage_bounds[i] / 1e9;
    for (uint32_t s = 0; s < LENS_STAGES; s++)
        lensd_exposition_histogram(out, name, &(struct lensd_label){"stage", stages[s]}, bounds, m->stage_counts[s],
                                   LENSD_STAGE_BOUNDS, (double)m->stage_sums_ns[s] / 1e9);
    lensd_exposition_family(out, batch, "histogram", "Rows that were answered together.");
    uint64_t counts[LENSD_BATCH_SIZES + 1], below = 0;
    for (uint32_t i = 0; i < LENSD_BATCH_SIZES; i++) {
        sizes[i] = (double)(1u << i);
        counts[i] = below += m->batch_sizes[i];
    }
    counts[LENSD_BATCH_SIZES] = below;
    lensd_exposition_histogram(out, batch, NULL, sizes, counts, LENSD_BATCH_SIZES, (double)m->batch_rows);
    lensd_exposition_family(out, "lensd_engine_busy_seconds_total", "counter",
                            "Time that the engine spent on running batches: its rate is how busy it is, 0 to 1.");
    lensd_exposition_value(out, "lensd_engine_busy_seconds_total", NULL, 0, (double)m->engine_busy_ns / 1e9);
}

static void render_resident(const struct lensd_metrics *m, FILE *out)
{
    static const char name[] = "lensd_lenses_resident";
    uint64_t slots = 0, host = 0;
    for (uint32_t i = 0; i < m->n_packs; i++) {
        slots += m->packs[i].resident;
        host += m->packs[i].host_resident;
    }
    lensd_exposition_family(out, name, "gauge", "Lenses in memory, of all packs.");
    lensd_exposition_count(out, name, (const struct lensd_label[]){{"tier", "slot"}}, 1, slots);
    lensd_exposition_count(out, name, (const struct lensd_label[]){{"tier", "host"}}, 1, host);
}

static void render_cache(const struct lensd_metrics *m, FILE *out)
{
    static const char requests[] = "lensd_cache_requests_total";
    lensd_exposition_family(out, requests, "counter",
                            "Lenses that rows wanted: found in a slot or not; of those, found in host memory or not.");
    lensd_exposition_count(out, requests, (const struct lensd_label[]){{"tier", "slot"}, {"outcome", "hit"}}, 2,
                           m->slot_hits);
    lensd_exposition_count(out, requests, (const struct lensd_label[]){{"tier", "slot"}, {"outcome", "miss"}}, 2,
                           m->host_hits + m->cold);
    lensd_exposition_count(out, requests, (const struct lensd_label[]){{"tier", "host"}, {"outcome", "hit"}}, 2,
                           m->host_hits);
    lensd_exposition_count(out, requests, (const struct lensd_label[]){{"tier", "host"}, {"outcome", "miss"}}, 2,
                           m->cold);
    const struct labelled loads[] = {{"host", m->pool.host_hits}, {"file", m->pool.cold}, {NULL, 0}};
    const struct labelled ahead[] = {
        {"used", m->prefetch_in_time}, {"late", m->pool.prefetch_late}, {"wasted", m->pool.prefetch_wasted}, {NULL, 0}};
    render_labelled(out, "lensd_loads_total", "Lenses loaded into slots, by where they came from.", "source", loads);
    render_labelled(out, "lensd_prefetch_total",
                    "Lenses loaded ahead: used in time, wanted while still on their way, or evicted unused.", "outcome",
                    ahead);
    render_resident(m, out);
}

static void render_cost(const struct lensd_metrics *m, FILE *out)
{
    static const char collect[] = "lensd_metrics_collect_duration_seconds";
    static const char render[] = "lensd_metrics_render_duration_seconds";
    lensd_exposition_family(out, collect, "gauge", "Time of the main thread that collecting these figures took.");
    lensd_exposition_value(out, collect, NULL, 0, (double)m->collect_ns / 1e9);
    lensd_exposition_family(out, render, "gauge", "Time that writing the text before this one took.");
    lensd_exposition_value(out, render, NULL, 0, (double)m->render_ns / 1e9);
}

static void render_service(const struct lensd_metrics *m, FILE *out)
{
    static const char used[] = "lensd_device_memory_bytes", available[] = "lensd_device_memory_free_bytes";
    lensd_exposition_family(out, "lensd_ready", "gauge", "1 while a pack takes new sessions (/readyz).");
    lensd_exposition_count(out, "lensd_ready", NULL, 0, m->ready);
    lensd_exposition_family(out, "lensd_degraded", "gauge", "1 while this step of degradation is in force.");
    for (uint32_t i = 0; i < LENSD_STEPS; i++)
        lensd_exposition_count(out, "lensd_degraded", (const struct lensd_label[]){{"reason", lensd_step_names[i]}}, 1,
                               m->steps[i]);
    lensd_exposition_family(out, used, "gauge", "Memory of the device that slots take.");
    lensd_exposition_count(out, used, (const struct lensd_label[]){{"device", m->device}}, 1, m->slab_bytes);
    if (m->device_free_bytes > 0) {
        lensd_exposition_family(out, available, "gauge", "Memory of the card that is free for everyone.");
        lensd_exposition_count(out, available, (const struct lensd_label[]){{"device", m->device}}, 1,
                               m->device_free_bytes);
    }
    lensd_exposition_family(out, "lensd_config_last_reload_successful", "gauge",
                            "1 unless the last reload of the configuration was refused.");
    lensd_exposition_count(out, "lensd_config_last_reload_successful", NULL, 0, m->reload_ok);
    lensd_exposition_family(out, "lensd_config_last_reload_success_timestamp_seconds", "gauge",
                            "When the configuration in force was read, since the epoch.");
    lensd_exposition_value(out, "lensd_config_last_reload_success_timestamp_seconds", NULL, 0, m->reload_time_s);
}

/* ---- packs ------------------------------------------------------------------------------------------------------ */

static void render_pack_counts(const struct lensd_metrics *m, FILE *out)
{
    static const struct {
        const char *name, *help;
        size_t offset;
    } gauges[] = {
        {"lensd_pack_generation", "Counts loads and swaps of all packs: changes when this one is swapped.",
         offsetof(struct lensd_metrics_pack, generation)},
        {"lensd_pack_sessions", "Sessions that use the pack.", offsetof(struct lensd_metrics_pack, sessions)},
        {"lensd_pack_lenses", "Lenses of the pack.", offsetof(struct lensd_metrics_pack, lenses)},
        {"lensd_pack_slots", "Places for lenses that are ready to run.", offsetof(struct lensd_metrics_pack, slots)},
        {"lensd_pack_lenses_resident", "Lenses in slots.", offsetof(struct lensd_metrics_pack, resident)},
    };
    for (size_t g = 0; g < sizeof gauges / sizeof gauges[0]; g++) {
        lensd_exposition_family(out, gauges[g].name, "gauge", gauges[g].help);
        for (uint32_t i = 0; i < m->n_packs; i++)
            lensd_exposition_count(out, gauges[g].name, (const struct lensd_label[]){{"pack", m->packs[i].name}}, 1,
                                   *(const uint32_t *)((const char *)&m->packs[i] + gauges[g].offset));
    }
}

static void render_pack_info(const struct lensd_metrics *m, FILE *out)
{
    lensd_exposition_family(out, "lensd_pack_info", "gauge", "What is served; always 1.");
    for (uint32_t i = 0; i < m->n_packs; i++) {
        const struct lensd_metrics_pack *pack = &m->packs[i];
        lensd_exposition_count(out, "lensd_pack_info",
                               (const struct lensd_label[]){{"pack", pack->name},
                                                            {"model", pack->model},
                                                            {"dtype", pack->dtype},
                                                            {"slot_dtype", pack->slot_dtype},
                                                            {"policy", pack->policy}},
                               5, 1);
    }
}

static void render_routing(const struct lensd_metrics *m, FILE *out)
{
    static const struct {
        const char *name, *help;
    } gauges[] = {
        {"lensd_routing_rows",
         "Rows of the last minute or so that the next two gauges are of, older ones weighing less."},
        {"lensd_routing_entropy", "Entropy, in bits, of which concept is a row's best detection; NaN without rows."},
        {"lensd_routing_top_share", "Share of rows whose best detection is the most frequent one; NaN without rows."},
    };
    for (uint32_t g = 0; g < 3; g++) {
        lensd_exposition_family(out, gauges[g].name, "gauge", gauges[g].help);
        for (uint32_t i = 0; i < m->n_packs; i++) {
            const struct lensd_routing *r = &m->packs[i].routing;
            double values[] = {r->rows, r->entropy_bits, r->top_share};
            lensd_exposition_value(out, gauges[g].name, (const struct lensd_label[]){{"pack", m->packs[i].name}}, 1,
                                   g > 0 && r->rows <= 0 ? (double)NAN : values[g]);
        }
    }
}

static void render_watch(const struct lensd_metrics *m, FILE *out)
{
    static const char name[] = "lensd_concept_detections_total";
    lensd_exposition_family(out, name, "counter",
                            "Rows that reported a concept of telemetry.watch with a raw score of at least 0.5.");
    for (uint32_t i = 0; i < m->n_packs; i++)
        for (uint32_t w = 0; w < m->watch.n; w++)
            if (m->packs[i].watched[w] >= 0)
                lensd_exposition_count(
                    out, name, (const struct lensd_label[]){{"pack", m->packs[i].name}, {"concept", m->watch.names[w]}},
                    2, m->packs[i].detections[w]);
}

static void render_alerts(const struct lensd_metrics *m, FILE *out)
{
    static const char name[] = "lensd_alerts_total";
    lensd_exposition_family(out, name, "counter", "How often rows raised a rule on content (alerts.rules).");
    for (uint32_t i = 0; i < m->alerts.n; i++) {
        const struct lensd_label labels[] = {
            {"rule", m->alerts.items[i].name},
            {"action", m->alerts.items[i].action == LENS_VERDICT_STOP ? "stop" : "flag"},
        };
        lensd_exposition_count(out, name, labels, 2, m->alerts.items[i].raised);
    }
}

/* ---- the process ------------------------------------------------------------------------------------------------ */

static void render_process(const struct lensd_process_metrics *p, FILE *out)
{
    const struct {
        const char *name, *type, *help;
        double value;
    } rows[] = {
        {"process_cpu_seconds_total", "counter", "User and system time.", p->cpu_s},
        {"process_resident_memory_bytes", "gauge", "Resident memory.", p->resident_bytes},
        {"process_virtual_memory_bytes", "gauge", "Virtual memory.", p->virtual_bytes},
        {"process_open_fds", "gauge", "Open descriptors.", p->open_fds},
        {"process_max_fds", "gauge", "Descriptors there may be.", p->max_fds},
        {"process_start_time_seconds", "gauge", "When the daemon started, since the epoch.", p->start_time_s},
        {"lensd_heap_bytes", "gauge", "Bytes the daemon has allocated (jemalloc).", p->heap_allocated},
        {"lensd_heap_active_bytes", "gauge", "Bytes in pages that hold an allocation.", p->heap_active},
        {"lensd_heap_metadata_bytes", "gauge", "Bytes the allocator needs for itself.", p->heap_metadata},
        {"lensd_heap_resident_bytes", "gauge", "Bytes of the allocator's pages in memory.", p->heap_resident},
        {"lensd_heap_mapped_bytes", "gauge", "Bytes the allocator has mapped.", p->heap_mapped},
        {"lensd_heap_retained_bytes", "gauge", "Bytes of address space it keeps without memory.", p->heap_retained},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].value < 0)
            continue;
        lensd_exposition_family(out, rows[i].name, rows[i].type, rows[i].help);
        lensd_exposition_value(out, rows[i].name, NULL, 0, rows[i].value);
    }
}

void lensd_metrics_render(const struct lensd_metrics *m, const struct lensd_process_metrics *process, FILE *out)
{
    lensd_exposition_family(out, "lensd_build_info", "gauge", "Version, and what scores; always 1.");
    lensd_exposition_count(out, "lensd_build_info",
                           (const struct lensd_label[]){{"version", LENSD_VERSION},
                                                        {"backend", m != NULL ? m->backend : ""},
                                                        {"variant", m != NULL ? m->variant : ""}},
                           3, 1);
    render_process(process, out);
    if (m == NULL) {
        lensd_exposition_family(out, "lensd_ready", "gauge", "1 while a pack takes new sessions (/readyz).");
        lensd_exposition_count(out, "lensd_ready", NULL, 0, 0);
        return;
    }
    render_service(m, out);
    render_plains(m, out);
    render_rows(m, out);
    render_latency(m, out);
    render_cache(m, out);
    render_pack_info(m, out);
    render_pack_counts(m, out);
    render_routing(m, out);
    render_watch(m, out);
    render_alerts(m, out);
    render_cost(m, out);
}
