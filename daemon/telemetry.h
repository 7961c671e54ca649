/* The service seen over HTTP: /metrics, /healthz, /readyz (http.listen).
 *
 * What there is to tell belongs to the loop's thread. The server's thread asks it for a snapshot (metrics.h), waits at
 * most LENSD_TELEMETRY_WAIT_NS, and makes text of it on its own time; a snapshot of the last LENSD_TELEMETRY_FRESH_NS
 * is good enough, so that nobody can keep the loop busy by asking. While there is no loop, packs being opened or the
 * daemon draining, the phase is told alone.
 *
 * Threads: the loop's, unless said otherwise. */
#ifndef LENSD_TELEMETRY_H
#define LENSD_TELEMETRY_H

#include "daemon/http.h"
#include "daemon/http_address.h"
#include "daemon/metrics.h"
#include "daemon/process_metrics.h"
#include "daemon/settings.h"

#include <pthread.h>
#include <uv.h>

#define LENSD_TELEMETRY_WAIT_NS  UINT64_C(1000000000)
#define LENSD_TELEMETRY_FRESH_NS UINT64_C(50000000)
#define LENSD_TELEMETRY_TEXT     (LENSD_HTTP_WHERE + sizeof(struct lens_error))

struct lensd_service;
struct lensd_pack_progress;

enum lensd_phase { LENSD_PHASE_OPENING, LENSD_PHASE_SERVING, LENSD_PHASE_DRAINING };

/* What the server's thread and the loop's share. */
struct lensd_handover {
    pthread_mutex_t lock;
    pthread_cond_t done;
    enum lensd_phase phase;
    bool closing;                              /* the server is being stopped: don't wait */
    bool wanted;                               /* a snapshot is; the loop clears it, however late */
    uint64_t wanted_ns, filled_ns;             /* when that was asked for, and when it was filled last */
    const struct lensd_pack_progress *opening; /* the pack being opened at start, or NULL */
    struct lensd_metrics *snapshot;            /* the loop's while wanted, else the server's */
};

/* The server's thread's: the page of the last snapshot. */
struct lensd_page {
    uint64_t taken_ns, rendered_ns; /* the snapshot, and the one `text` was made of; 0 = none */
    uint64_t spent_ns;              /* on making the last text */
    char *text;
    size_t length;
    char line[512]; /* for the short pages */
};

struct lensd_telemetry {
    struct lensd_http *http; /* NULL: nothing is served */
    struct lensd_http_address address;
    char where[LENSD_TELEMETRY_TEXT]; /* what to ask; "off", or why there is nothing */
    struct lensd_handover handover;
    struct lensd_page page;
    struct lensd_process_reader process; /* the server's thread's */
    double start_time_s;
    uv_async_t asked;

    /* The loop's. */
    struct lensd_pool_counters gone; /* of pools that went: totals never fall */
    uint64_t gone_failures, prefetch_in_time;
    uint64_t beat, beat_ns; /* the engine's last heartbeat, and when it was seen first */
    bool reload_ok;
    double reload_time_s;
    struct lensd_watch watch;
};

/* A new address, taken but not used yet. */
struct lensd_telemetry_change {
    bool same; /* nothing is to change */
    int fd;    /* -1: off */
    struct lensd_http_address address;
    char where[LENSD_TELEMETRY_TEXT];
};

/* Begins to serve, in the phase OPENING. When the address is the built-in default and can't be had, it warns and goes
 * on without; a configured one is an error. */
int lensd_telemetry_open(struct lensd_service *service, struct lens_error *err);
/* Ends serving: after it returns nobody asks. Before the loop's handles are closed. Any number of times after open. */
void lensd_telemetry_close(struct lensd_telemetry *telemetry);

/* Part of the loop's handles; 0 or a uv error. */
int lensd_telemetry_init(struct lensd_service *service);

/* The pack that is being opened at the start, before there is a loop; NULL = none any more. */
void lensd_telemetry_opening(struct lensd_telemetry *telemetry, const struct lensd_pack_progress *progress);
void lensd_telemetry_enter(struct lensd_telemetry *telemetry, enum lensd_phase phase);

/* A reload: takes the new address first, so that one that can't be had keeps the old configuration; then either commit
 * (after the settings were taken over) or discard. */
int lensd_telemetry_prepare(struct lensd_service *service, const struct lensd_settings *next,
                            struct lensd_telemetry_change *out, struct lens_error *err);
void lensd_telemetry_commit(struct lensd_service *service, struct lensd_telemetry_change *change);
void lensd_telemetry_discard(struct lensd_telemetry_change *change);
/* How the reload ended. */
void lensd_telemetry_reloaded(struct lensd_service *service, bool ok);

/* Every tick: the engine's heartbeat, and routing. */
void lensd_telemetry_look(struct lensd_service *service);

/* A pool leaves, and no engine runs it any more: what it counted is kept. */
void lensd_telemetry_pool_gone(struct lensd_telemetry *telemetry, const struct lensd_pool *pool);
/* `served` takes the place of `old`, whose rows are all answered: what it detected is kept. */
void lensd_telemetry_pack_replaced(struct lensd_service *service, struct lensd_served_pack *served,
                                   struct lensd_served_pack *old);

/* Fills the snapshot (metrics_collect.c). */
void lensd_metrics_collect(struct lensd_service *service, struct lensd_metrics *out);

#endif
