/* The daemon as one struct: loop, listener, connections, packs, sessions, engine, backend. Nothing global.
 *
 * open -> run -> close, all on the main thread, which is the loop's. Control handlers (control.h) get the service
 * handed through; every field is the loop thread's. */
#ifndef LENSD_SERVICE_H
#define LENSD_SERVICE_H

#include "daemon/alerts.h"
#include "daemon/arguments.h"
#include "daemon/attachments.h"
#include "daemon/engine.h"
#include "daemon/ladder.h"
#include "daemon/listener.h"
#include "daemon/log.h"
#include "daemon/reload.h"
#include "daemon/served_pack.h"
#include "daemon/settings.h"
#include "daemon/supervisor.h"
#include "daemon/telemetry.h"
#include "proto/codec.h"

#include <uv.h>

#define LENSD_DIRECTORIES_MAX 8192u /* bytes of the list of directories of packs served from the start */
#define LENSD_KEYS_MAX        24576u

struct lensd_connection;
struct lensd_pack_job;

/* What is being recorded, all NULL and 0 when nothing is. */
struct lensd_recording {
    struct lensd_tracing *tracing;
    struct lensd_served_pack *served;
    uint64_t recorder; /* the connection's id */
};

/* What was last seen of the device's memory. */
struct lensd_device_memory {
    uint64_t looked_ns, free_bytes;
    uint64_t usual_bytes; /* free when the last pack was loaded, */
    uint32_t generation;  /* which was this one */
    uint64_t roomy_ns;    /* since when much of it is free, or a step of slots was taken again; 0 = it isn't */
    bool is_short;
    bool gave_all; /* short, and the log says that no pack has anything to give */
};

/* The preload under way; `served` is NULL when there is none. */
struct lensd_filling {
    struct lensd_served_pack *served;
    uint64_t connection;                        /* the asker's id; it may be gone */
    uint32_t target;                            /* lenses in slots then */
    uint64_t evictions_before, failures_before; /* the pool's counts */
    uint32_t seen;                              /* most lenses in slots so far, */
    uint64_t seen_ns;                           /* and since when */
};

struct lensd_service {
    const struct lensd_arguments *arguments; /* lent: what a reload reads again */
    struct lensd_settings *settings;         /* lent; a reload changes the live ones */
    struct lensd_reload reload;
    struct lensd_log_output log_output;
    struct lensd_log log;
    struct lensd_supervisor supervisor;
    struct lensd_listener listener;

    struct lens_backend *backend;
    struct lens_device device;
    char reason[640]; /* why this backend */

    struct lensd_served_pack *packs[LENSD_PACKS_MAX]; /* in order of loading; [0] is the default */
    uint32_t n_packs;
    uint32_t last_generation;
    char pack_directories[LENSD_DIRECTORIES_MAX]; /* of the --pack files */
    struct lensd_pack_job *job;                   /* the load or swap under way, or NULL */
    uint32_t closing_packs;                       /* on a worker */
    struct lensd_ladder ladder;
    struct lensd_telemetry telemetry;

    struct lensd_alerts alerts;
    struct lensd_events *events;       /* the rows answered lately; NULL when telemetry.events is 0 */
    struct lensd_engine *engine;       /* NULL before start and after drain */
    uint64_t failures_told, failed_ns; /* failed batches the log knows of, and when it last told */
    char failure[600];                 /* what `lensctl status` says of them, "" = nothing */
    struct lensd_device_memory device_memory;
    bool copying_told; /* that some session's rows can't be read by the device itself */
    struct lensd_recording recording;
    struct lensd_filling filling;
    struct lensd_attachments sessions;
    uint32_t last_session;

    struct lensd_connection *connections; /* a list */
    uint32_t n_connections;
    uint64_t last_connection;

    uv_loop_t loop;
    uv_poll_t accepting;
    uv_signal_t terminate, interrupt, hangup;
    uv_async_t broken; /* the engine found a forged ring */
    uv_timer_t tick;
    uv_timer_t filling_look; /* runs while packs are being filled */
    bool accept_paused;      /* no descriptors left: the tick tries again */
    bool stopping;
    uint64_t started_ns, start_time_ns; /* CLOCK_MONOTONIC, CLOCK_REALTIME */

    /* One request at a time: what is being decoded, what is being built. */
    struct lens_msg request, answer;
    char keys[LENSD_KEYS_MAX]; /* texts of the answer that exist nowhere else */
    uint32_t keys_used;
    _Alignas(16) unsigned char packet_in[LENS_REQUEST_MAX];
    _Alignas(16) unsigned char packet_out[LENS_ANSWER_MAX];
};

/* Takes the socket, opens the backend and the packs, starts the engine. On error nothing is left. */
int lensd_service_open(struct lensd_service *service, const struct lensd_arguments *arguments,
                       struct lensd_settings *settings, struct lens_error *err);

/* Serves until a signal or an operator ends it; drains, says goodbye, returns the exit code. */
int lensd_service_run(struct lensd_service *service);

/* After run, or instead of it. */
void lensd_service_close(struct lensd_service *service);

/* Begins the end: as SIGTERM does. May be called in a handler. */
void lensd_service_stop(struct lensd_service *service, const char *why);

/* The pack of that name; "" is the first. NULL when there is none. */
struct lensd_served_pack *lensd_service_find_pack(const struct lensd_service *service, struct lens_text name);

/* How new pools are made. */
void lensd_service_pool_config(const struct lensd_service *service, struct lensd_pool_config *out);

/* Directories packs may be loaded from. */
const char *lensd_service_directories(const struct lensd_service *service);

#endif
