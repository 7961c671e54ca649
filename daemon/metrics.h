/* The daemon's metrics: a snapshot of everything they are made of, and the text that is made of it.
 *
 * Rendering is a pure function of two structs: what the loop knows (lensd_metrics) and what the process is told by the
 * kernel and its allocator (lensd_process_metrics). Names, units and labels are an interface: dashboards and alerts are
 * written against them (config/). Threads: the caller's. */
#ifndef LENSD_METRICS_H
#define LENSD_METRICS_H

#include "daemon/arguments.h"
#include "daemon/detections.h"
#include "daemon/ladder.h"
#include "daemon/pool.h"
#include "daemon/rules.h"
#include "daemon/statistics.h"

#include <stdio.h>

#define LENSD_STAGE_BOUNDS 25u /* 10 us .. 100 ms, six to a power of ten: quantiles are made of them */

/* One served pack. Texts are cut to what fits: they are labels. */
struct lensd_metrics_pack {
    char name[64], model[128], dtype[8], slot_dtype[8], policy[16];
    uint32_t generation, sessions, lenses, slots, resident, host_places, host_resident;
    struct lensd_routing routing;
    int32_t watched[LENSD_WATCH_MAX]; /* as the pack knows them: -1 = it doesn't */
    uint64_t detections[LENSD_WATCH_MAX];
};

/* What the loop knows. Totals are since the daemon started and never fall. */
struct lensd_metrics {
    char backend[32], variant[32], device[96];
    bool ready;                   /* a pack takes new sessions */
    char unready[544], sick[160]; /* a line why it isn't, and why the engine is taken for stuck, "" = it isn't */
    uint64_t rows, complete_rows, invalid_rows, partial_rows, capped_rows, degraded_rows, stale_rows;
    uint64_t dropped_rows, abandoned_rows;
    uint64_t reasons[LENSD_REASONS];
    uint64_t lenses_scored, lenses_expanded, slot_hits, host_hits, cold;
    uint64_t batch_rows, batch_sizes[LENSD_BATCH_SIZES];
    uint64_t stage_counts[LENS_STAGES][LENSD_STAGE_BOUNDS + 1], stage_sums_ns[LENS_STAGES];
    uint64_t engine_busy_ns, engine_failures;
    uint64_t events, events_held; /* rows put into the ring of events, and still there */
    struct lensd_pool_counters pool;
    uint64_t prefetch_in_time, load_failures;
    uint64_t queue_depth, session_memory, session_memory_max;
    uint32_t sessions, sessions_max, connections, connections_max;
    uint64_t slab_bytes, host_bytes;
    uint64_t device_free_bytes; /* on a card; 0 = not known */
    bool steps[LENSD_STEPS];    /* of the ladder, in force */
    bool reload_ok;
    double reload_time_s; /* since the epoch: of the last reload that succeeded, or the start */
    uint64_t collect_ns,
        render_ns; /* what this snapshot took of the loop's time, and the text before this of the server's */
    uint32_t n_packs;
    struct lensd_metrics_pack packs[LENSD_PACKS_MAX];
    struct lensd_watch watch;
    struct lensd_rule_totals alerts;
};

/* What any program on this machine has. Members that couldn't be read are negative, and left out. */
struct lensd_process_metrics {
    double start_time_s, cpu_s, resident_bytes, virtual_bytes, open_fds, max_fds;
    double heap_allocated, heap_active, heap_metadata, heap_resident, heap_mapped, heap_retained;
};

/* Bounds of the stages' histograms, nanoseconds. */
extern const uint64_t lensd_stage_bounds[LENSD_STAGE_BOUNDS];

/* `metrics` NULL: the loop isn't there yet, or no more; then the text has what the process knows alone. */
void lensd_metrics_render(const struct lensd_metrics *metrics, const struct lensd_process_metrics *process, FILE *out);

#endif
