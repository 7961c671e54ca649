/* See service.h. The life of the daemon: open, serve, drain, close. What it answers is in control*.c. */
#include "daemon/service.h"

#include "daemon/connection.h"
#include "daemon/control.h"
#include "daemon/device_watch.h"
#include "daemon/pack_job.h"
#include "daemon/pack_progress.h"
#include "daemon/reload.h"
#include "daemon/service_setup.h"
#include "daemon/sys.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define ACCEPTS_PER_TURN 16
#define CLOSING_TICK_MS  1000
#define FAILURE_SHOWN_NS UINT64_C(60000000000)

/* ---- small questions -------------------------------------------------------------------------------------------- */

struct lensd_served_pack *lensd_service_find_pack(const struct lensd_service *service, struct lens_text name)
{
    for (uint32_t i = 0; i < service->n_packs; i++) {
        const char *loaded = service->packs[i]->name;
        if (name.length == 0 || (strlen(loaded) == name.length && memcmp(loaded, name.data, name.length) == 0))
            return service->packs[i];
    }
    return NULL;
}

void lensd_service_pool_config(const struct lensd_service *service, struct lensd_pool_config *out)
{
    static const enum lens_dtype dtypes[] = {LENS_F32, LENS_F32, LENS_BF16, LENS_I8, LENS_LOG8, LENS_FP8};
    const struct lensd_settings *settings = service->settings;
    *out = (struct lensd_pool_config){
        .slots = settings->pool.slots,
        .device_memory = settings->pool.device_memory,
        .base_layers = settings->cascade.base_layers,
        .pins = lensd_list_length(service->settings->content.pin),
        .dtype_set = settings->pool.dtype != 0,
        .dtype = dtypes[settings->pool.dtype],
        .compute = (enum lens_compute)settings->pool.compute,
        .max_batch_rows = settings->engine.max_batch_rows,
        .policy = (enum lensd_cache_kind)settings->cache.policy,
        .host_memory = settings->cache.host_memory,
        .prefetch = settings->cache.prefetch,
        .verify_loads = settings->cache.verify_loads,
        .preload = settings->pool.preload,
        .load_threads = settings->cache.load_threads,
        .log = &service->log,
    };
    (void)lensd_cache_quotas_parse(settings->cache.quotas, &out->quotas, NULL); /* lensd_settings_check did */
    lensd_ladder_fit_config(service, out);
}

const char *lensd_service_directories(const struct lensd_service *service)
{
    const char *configured = service->settings->packs.directories;
    return configured[0] != '\0' ? configured : service->pack_directories;
}

static enum lensd_log_level log_level(const struct lensd_settings *settings)
{
    return lensd_log_levels[settings->log.level];
}

/* ---- events ----------------------------------------------------------------------------------------------------- */

static void on_accept(uv_poll_t *poll, int status, int events);

static void watch_listener(struct lensd_service *service)
{
    service->accept_paused = false;
    uv_poll_start(&service->accepting, UV_READABLE, on_accept);
}

static void on_accept(uv_poll_t *poll, int status, int events)
{
    struct lensd_service *service = poll->data;
    (void)status;
    (void)events;
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        int fd = lensd_listener_accept(&service->listener);
        if (fd == -EAGAIN)
            return;
        if (fd < 0) {
            /* Not a loop that spins: whoever waits is looked at again by the next tick. */
            lensd_log_client(&service->log, LENSD_LOG_WARNING, LENSD_LOG_PLAIN, &(struct lensd_log_fields){.code = fd},
                             "can't accept a client: %s%s", strerror(-fd),
                             fd == -EMFILE ? " (turned it away; raise the limit of open files)" : "");
            uv_poll_stop(&service->accepting);
            service->accept_paused = true;
            return;
        }
        lensd_connection_open(service, fd);
    }
}

static void on_stop_signal(uv_signal_t *handle, int number)
{
    lensd_service_stop(handle->data, number == SIGTERM ? "SIGTERM" : "SIGINT");
}

/* The daemon in a line, for `systemctl status`. */
static void status_line(const struct lensd_service *service, char *out, size_t size)
{
    char loading[LENSD_PROGRESS_TEXT], degraded[160]; /* what is more is for `lensctl status` */
    lensd_pack_job_text(service, loading, sizeof loading);
    lensd_ladder_text(service, degraded, sizeof degraded);
    snprintf(out, size, "Serving %u pack%s to %u session%s%s%s%s%s%s%s", service->n_packs,
             service->n_packs == 1 ? "" : "s", service->sessions.n, service->sessions.n == 1 ? "" : "s",
             loading[0] != '\0' ? "; opening " : "", loading, degraded[0] != '\0' ? "; degraded: " : "", degraded,
             service->reload.why.code != 0 ? "; the last reload failed: " : "",
             service->reload.why.code != 0 ? service->reload.why.text : "");
}

static void on_hangup(uv_signal_t *handle, int number)
{
    struct lensd_service *service = handle->data;
    char line[LENSD_SUPERVISOR_LINE];
    (void)number;
    lensd_supervisor_reloading();
    lensd_reload(service);
    status_line(service, line, sizeof line);
    lensd_supervisor_ready(&service->supervisor, line);
}

/* A reload that is asked for while packs are opened waits until somebody takes it: at first nobody does, and the signal
 * would end the daemon. */
static void hold_hangups(int how)
{
    sigset_t hangup;
    sigemptyset(&hangup);
    sigaddset(&hangup, SIGHUP);
    pthread_sigmask(how, &hangup, NULL);
}

/* The connection whose session the engine found broken, or NULL. */
static struct lensd_connection *broken_owner(const struct lensd_service *service, uint32_t *session)
{
    for (uint32_t i = 0; i < service->sessions.n; i++) {
        const struct lensd_attachment *item = &service->sessions.items[i];
        if (!atomic_load_explicit(&item->session->broken, memory_order_acquire))
            continue;
        *session = item->session->id;
        for (struct lensd_connection *c = service->connections; c != NULL; c = c->next) {
            if (c == item->owner)
                return c;
        }
    }
    return NULL;
}

static void on_broken(uv_async_t *handle)
{
    struct lensd_service *service = handle->data;
    struct lensd_connection *c;
    uint32_t session;
    while ((c = broken_owner(service, &session)) != NULL) {
        struct lensd_log_fields fields = lensd_connection_fields(c);
        fields.session = session;
        lensd_log_client(&service->log, LENSD_LOG_WARNING, LENSD_LOG_CLIENT_DROPPED, &fields,
                         "session %u of \"%s\" (pid %u, uid %u) forged its ring: dropped", session, c->name,
                         c->peer.pid, c->peer.uid);
        lensd_connection_goodbye(c, session, "the session's shared memory held impossible indices");
        lensd_connection_close(c);
    }
}

/* The engine's thread. */
static void signal_broken(void *arg)
{
    struct lensd_service *service = arg;
    uv_async_send(&service->broken);
}

/* Once a tick at most, however many batches fail. */
static void report_failures(struct lensd_service *service)
{
    struct lens_error last = {0};
    uint64_t failures = lensd_engine_failure(service->engine, &last);
    if (failures > service->failures_told)
        lensd_log_event(&service->log, LENSD_LOG_ERROR, LENSD_LOG_BATCHES_FAILED,
                        &(struct lensd_log_fields){.code = last.code},
                        "%llu batches failed, their rows were answered so: %s",
                        (unsigned long long)(failures - service->failures_told), last.text);
    if (failures > service->failures_told) {
        service->failed_ns = lensd_now_ns();
        snprintf(service->failure, sizeof service->failure, "batches failed within the last minute: %s", last.text);
    } else if (lensd_now_ns() - service->failed_ns > FAILURE_SHOWN_NS) {
        service->failure[0] = '\0';
    }
    service->failures_told = failures;
}

static void on_tick(uv_timer_t *timer)
{
    struct lensd_service *service = timer->data;
    char status[LENSD_SUPERVISOR_LINE];
    lensd_supervisor_feed(&service->supervisor, lensd_engine_heartbeat(service->engine));
    status_line(service, status, sizeof status);
    lensd_supervisor_status(&service->supervisor, status);
    lensd_connections_sweep(service, lensd_now_ns());
    report_failures(service);
    lensd_ladder_look(service);
    lensd_device_watch(service);
    lensd_alerts_look(service);
    lensd_telemetry_look(service);
    if (service->accept_paused)
        watch_listener(service);
}

void lensd_service_stop(struct lensd_service *service, const char *why)
{
    if (service->stopping)
        return;
    service->stopping = true;
    lensd_log_event(&service->log, LENSD_LOG_INFO, LENSD_LOG_STOPPING, NULL, "stopping: %s", why);
    uv_stop(&service->loop);
}

/* ---- opening ---------------------------------------------------------------------------------------------------- */

static int start_engine(struct lensd_service *service, struct lens_error *err)
{
    const struct lensd_settings *settings = service->settings;
    const struct lensd_engine_config config = {
        .spin_us = settings->engine.spin_us,
        .max_sessions = LENSD_SESSIONS_MAX, /* ipc.max_sessions may change: whoever attaches is held to it */
        .degrade = settings->engine.degrade,
        .on_broken = signal_broken,
        .on_change = lensd_ladder_signal,
        .arg = service,
    };
    return lensd_engine_start(&config, &service->engine, err);
}

/* Whatever was initialised when this fails is closed with the loop. */
static int init_handles(struct lensd_service *service)
{
    uv_loop_t *loop = &service->loop;
    service->accepting.data = service->terminate.data = service->interrupt.data = service->hangup.data =
        service->broken.data = service->tick.data = service;
    uv_timer_init(loop, &service->tick); /* close_loop counts on it */
    uv_timer_init(loop, &service->filling_look);
    int r = uv_poll_init(loop, &service->accepting, service->listener.fd);
    if (r != 0)
        return r;
    r = uv_signal_init(loop, &service->terminate);
    if (r == 0)
        r = uv_signal_init(loop, &service->interrupt);
    if (r == 0)
        r = uv_signal_init(loop, &service->hangup);
    if (r == 0)
        r = uv_async_init(loop, &service->broken, on_broken);
    if (r == 0)
        r = lensd_telemetry_init(service);
    return r == 0 ? lensd_ladder_init(service) : r;
}

static void start_handles(struct lensd_service *service)
{
    uint64_t interval = lensd_supervisor_interval_ms(&service->supervisor);
    uv_signal_start(&service->terminate, on_stop_signal, SIGTERM);
    uv_signal_start(&service->interrupt, on_stop_signal, SIGINT);
    uv_signal_start(&service->hangup, on_hangup, SIGHUP);
    hold_hangups(SIG_UNBLOCK);
    uv_timer_start(&service->tick, on_tick, interval, interval);
    watch_listener(service);
}

static void note_times(struct lensd_service *service)
{
    service->start_time_ns = lensd_realtime_ns();
    service->started_ns = lensd_now_ns();
}

static void close_packs(struct lensd_service *service)
{
    while (service->n_packs > 0)
        lensd_served_pack_close(service->packs[--service->n_packs]);
}

static void close_backend(struct lensd_service *service)
{
    if (service->backend != NULL)
        service->backend->ops->close(service->backend);
    service->backend = NULL;
}

static void close_handle(uv_handle_t *handle, void *except)
{
    if (handle != except && !uv_is_closing(handle))
        uv_close(handle, NULL);
}

static void on_closing_tick(uv_timer_t *timer)
{
    struct lensd_service *service = timer->data;
    lensd_supervisor_extend(&service->supervisor, "Waiting for a pack that is being opened or closed");
}

static void close_loop(struct lensd_service *service)
{
    uv_walk(&service->loop, close_handle, &service->tick);
    signal(SIGHUP, SIG_IGN); /* nobody takes it any more, and it would kill us while a worker is waited for */
    uv_timer_start(&service->tick, on_closing_tick, CLOSING_TICK_MS, CLOSING_TICK_MS);
    uv_unref((uv_handle_t *)&service->tick);
    uv_run(&service->loop, UV_RUN_DEFAULT);
    uv_close((uv_handle_t *)&service->tick, NULL);
    uv_run(&service->loop, UV_RUN_DEFAULT);
    uv_loop_close(&service->loop);
}

/* A device that is lost while its slots are filled is no reason not to start, unless it was asked for by name. */
static int open_packs(struct lensd_service *service, struct lens_error *err)
{
    int r = lensd_service_open_packs(service, err);
    if (r != -ENODEV || service->arguments->backend == LENSD_BACKEND_CUDA)
        return r;
    r = lensd_ladder_start_on_cpu(service, err);
    return r == 0 ? lensd_service_open_packs(service, err) : r;
}

static int make_events(struct lensd_service *service, struct lens_error *err)
{
    uint32_t rows = service->settings->telemetry.events;
    int r = rows > 0 ? lensd_events_create(rows, &service->events) : 0;
    return r == 0 ? 0 : lens_error_set(err, r, "no memory to remember %u rows: lower telemetry.events", rows);
}

static void watch_begins(struct lensd_service *service)
{
    struct lensd_supervisor *supervisor = &service->supervisor;
    hold_hangups(SIG_BLOCK);
    lensd_supervisor_init(supervisor);
    if (supervisor->watchdog_us > 0 && supervisor->watchdog_us < LENSD_WATCHDOG_LEAST_US)
        lensd_log(&service->log, LENSD_LOG_WARNING,
                  "the watchdog's time is %llu ms, in which an idle engine doesn't show itself for certain: expected "
                  "WatchdogSec=%llu or more",
                  (unsigned long long)supervisor->watchdog_us / 1000,
                  (unsigned long long)LENSD_WATCHDOG_LEAST_US / 1000000);
}

int lensd_service_open(struct lensd_service *service, const struct lensd_arguments *arguments,
                       struct lensd_settings *settings, struct lens_error *err)
{
    memset(service, 0, sizeof *service);
    service->arguments = arguments;
    service->settings = settings;
    lensd_log_init(&service->log, &service->log_output, log_level(settings));
    watch_begins(service);
    note_times(service);
    lensd_reload_warn(service);
    int r = lensd_listener_open(&service->listener, settings->ipc.socket, lensd_peer_lists_are_wide(settings), err);
    if (r != 0)
        goto close_log;
    r = lensd_telemetry_open(service, err); /* early: an address that can't be had is told before packs are opened */
    if (r != 0)
        goto close_listener;
    r = lensd_attachments_init(&service->sessions, LENSD_SESSIONS_MAX);
    if (r != 0) {
        lens_error_set(err, r, "no memory for %u sessions", LENSD_SESSIONS_MAX);
        goto close_telemetry;
    }
    r = make_events(service, err);
    if (r == 0)
        r = lensd_alerts_configure(service, err);
    if (r == 0)
        r = lensd_service_open_backend(service, err);
    if (r == 0)
        r = open_packs(service, err);
    if (r != 0)
        goto close_packs;
    r = uv_loop_init(&service->loop);
    if (r != 0) {
        lens_error_set(err, r, "can't make an event loop: %s", uv_strerror(r));
        goto close_packs;
    }
    r = init_handles(service);
    if (r != 0) {
        lens_error_set(err, r, "can't watch the socket: %s", uv_strerror(r));
        goto close_loop;
    }
    r = start_engine(service, err);
    if (r != 0)
        goto close_loop;
    start_handles(service);
    return 0;

close_loop:
    close_loop(service);
close_packs:
    close_packs(service);
    close_backend(service);
    lensd_alerts_close(&service->alerts);
    lensd_events_destroy(service->events);
    lensd_attachments_free(&service->sessions);
close_telemetry:
    lensd_telemetry_close(&service->telemetry);
close_listener:
    lensd_listener_close(&service->listener);
close_log:
    lensd_log_close(&service->log);
    return r;
}

/* ---- serving and ending ----------------------------------------------------------------------------------------- */

static void say_ready(struct lensd_service *service)
{
    struct lensd_log always = service->log;
    always.level = LENSD_LOG_INFO; /* whoever started us waits for this line, whatever log.level says */
    lensd_log_event(&always, LENSD_LOG_INFO, LENSD_LOG_READY, NULL, "ready on %s, %u pack%s, backend %s (%s)",
                    service->listener.path, service->n_packs, service->n_packs == 1 ? "" : "s", service->device.backend,
                    service->device.variant);
    char line[LENSD_SUPERVISOR_LINE];
    status_line(service, line, sizeof line);
    lensd_supervisor_ready(&service->supervisor, line);
}

/* Rows already submitted are answered first; then everyone hears the end. */
static void drain(struct lensd_service *service)
{
    lensd_telemetry_enter(&service->telemetry, LENSD_PHASE_DRAINING);
    lensd_supervisor_stopping(&service->supervisor, service->settings->engine.drain_ms);
    uv_poll_stop(&service->accepting);
    lensd_engine_stop(service->engine, service->settings->engine.drain_ms);
    service->engine = NULL;
    while (service->connections != NULL) {
        struct lensd_connection *c = service->connections;
        lensd_connection_goodbye(c, 0, "lensd stops");
        lensd_connection_close(c);
    }
}

int lensd_service_run(struct lensd_service *service)
{
    lensd_telemetry_enter(&service->telemetry, LENSD_PHASE_SERVING);
    uv_run(&service->loop, UV_RUN_NOWAIT); /* what is watched is watched for certain before anybody hears of it */
    say_ready(service);
    if (!service->stopping)
        uv_run(&service->loop, UV_RUN_DEFAULT);
    drain(service);
    return 0;
}

void lensd_service_close(struct lensd_service *service)
{
    if (service->engine != NULL)
        drain(service);
    lensd_telemetry_close(&service->telemetry);
    close_loop(service); /* waits for a load under way, whose pack then joins the others */
    close_packs(service);
    lensd_ladder_close(service);
    close_backend(service);
    lensd_alerts_close(&service->alerts);
    lensd_events_destroy(service->events);
    lensd_attachments_free(&service->sessions);
    lensd_listener_close(&service->listener);
    lensd_log_event(&service->log, LENSD_LOG_INFO, LENSD_LOG_STOPPED, NULL, "stopped");
    lensd_log_close(&service->log);
}
