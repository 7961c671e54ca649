/* See telemetry.h. What the snapshot is filled with is metrics_collect.c's. */
#include "daemon/telemetry.h"

#include "daemon/exposition.h"
#include "daemon/pack_progress.h"
#include "daemon/service.h"
#include "daemon/sys.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define HTTP_OK          200
#define HTTP_UNAVAILABLE 503

/* ---- asking the loop (the server's thread) ---------------------------------------------------------------------- */

/* What came of it. */
enum answer {
    ANSWER_FRESH,   /* the snapshot is the server's, and new enough */
    ANSWER_OPENING, /* there is no loop; page.line says what the daemon does */
    ANSWER_DRAINING,
    ANSWER_LATE /* the loop didn't answer */
};

/* False when the time is over, or nobody is going to answer. */
static bool wait_for_loop(struct lensd_handover *handover, uint64_t deadline_ns)
{
    const struct timespec deadline = {.tv_sec = (time_t)(deadline_ns / 1000000000),
                                      .tv_nsec = (long)(deadline_ns % 1000000000)};
    while (handover->wanted && handover->phase == LENSD_PHASE_SERVING && !handover->closing)
        if (pthread_cond_timedwait(&handover->done, &handover->lock, &deadline) == ETIMEDOUT)
            break;
    return !handover->wanted;
}

/* Under the lock: what there is to say without a loop. */
static enum answer tell_phase(const struct lensd_handover *handover, struct lensd_page *page)
{
    if (handover->phase == LENSD_PHASE_DRAINING) {
        snprintf(page->line, sizeof page->line, "draining: rows already submitted are answered, then lensd stops\n");
        return ANSWER_DRAINING;
    }
    char text[LENSD_PROGRESS_TEXT] = "starting";
    if (handover->opening != NULL)
        lensd_pack_progress_text(handover->opening, text, sizeof text);
    snprintf(page->line, sizeof page->line, "%s%s\n", handover->opening != NULL ? "opening pack " : "", text);
    return ANSWER_OPENING;
}

/* Unless one is under way that nobody waited long enough for. */
static void request_snapshot(struct lensd_telemetry *telemetry, uint64_t now)
{
    struct lensd_handover *handover = &telemetry->handover;
    if (handover->wanted)
        return;
    handover->wanted = true;
    handover->wanted_ns = now;
    uv_async_send(&telemetry->asked); /* the handle is open as long as the phase is SERVING */
}

/* Whoever asks a loop that is known to be late doesn't wait long: else requests would queue up a second each. */
static uint64_t wait_until(const struct lensd_handover *handover, uint64_t now)
{
    uint64_t patience = handover->wanted_ns + LENSD_TELEMETRY_WAIT_NS, least = now + LENSD_TELEMETRY_FRESH_NS;
    return patience > least ? patience : least;
}

static enum answer ask(struct lensd_telemetry *telemetry)
{
    struct lensd_handover *handover = &telemetry->handover;
    struct lensd_page *page = &telemetry->page;
    enum answer answer = ANSWER_FRESH;
    uint64_t now = lensd_now_ns();
    pthread_mutex_lock(&handover->lock);
    bool fresh = page->taken_ns != 0 && now - page->taken_ns < LENSD_TELEMETRY_FRESH_NS;
    if (handover->phase == LENSD_PHASE_SERVING && !fresh) {
        page->taken_ns = 0;
        request_snapshot(telemetry, now);
        if (wait_for_loop(handover, wait_until(handover, now)))
            page->taken_ns = handover->filled_ns;
        else
            answer = ANSWER_LATE;
    }
    if (handover->phase != LENSD_PHASE_SERVING)
        answer = tell_phase(handover, page);
    pthread_mutex_unlock(&handover->lock);
    if (answer == ANSWER_LATE)
        snprintf(page->line, sizeof page->line,
                 "lensd's main thread has not answered for a second: it hangs, or the machine is out of breath\n");
    return answer;
}

/* ---- pages (the server's thread) -------------------------------------------------------------------------------- */

static void reply_line(struct lensd_http_reply *reply, unsigned status, const char *line)
{
    *reply = (struct lensd_http_reply){
        .status = status, .type = "text/plain; charset=utf-8", .text = line, .length = strlen(line)};
}

/* False when there is no memory. */
static bool render(struct lensd_telemetry *telemetry, const struct lensd_metrics *metrics)
{
    struct lensd_process_metrics process;
    struct lensd_page *page = &telemetry->page;
    lensd_process_reader_read(&telemetry->process, &process);
    process.start_time_s = telemetry->start_time_s;
    free(page->text);
    page->text = NULL;
    page->rendered_ns = 0;
    FILE *out = open_memstream(&page->text, &page->length);
    if (out == NULL)
        return false;
    lensd_metrics_render(metrics, &process, out);
    bool whole = ferror(out) == 0;
    return fclose(out) == 0 && whole && page->text != NULL;
}

static void answer_metrics(struct lensd_telemetry *telemetry, struct lensd_http_reply *reply)
{
    struct lensd_page *page = &telemetry->page;
    enum answer answer = ask(telemetry);
    if (answer == ANSWER_LATE) {
        reply_line(reply, HTTP_UNAVAILABLE, page->line);
        return;
    }
    bool fresh = answer == ANSWER_FRESH;
    if (!fresh || page->rendered_ns != page->taken_ns) {
        uint64_t begin = lensd_now_ns();
        if (fresh)
            telemetry->handover.snapshot->render_ns = page->spent_ns;
        if (!render(telemetry, fresh ? telemetry->handover.snapshot : NULL)) {
            reply_line(reply, HTTP_UNAVAILABLE, "no memory to write the metrics\n");
            return;
        }
        page->rendered_ns = fresh ? page->taken_ns : 0;
        page->spent_ns = lensd_now_ns() - begin;
    }
    *reply = (struct lensd_http_reply){
        .status = HTTP_OK, .type = LENSD_EXPOSITION_TYPE, .text = page->text, .length = page->length};
}

/* Being opened or drained is no illness: whoever restarts sick daemons must let it go on. */
static void answer_health(struct lensd_telemetry *telemetry, struct lensd_http_reply *reply)
{
    enum answer answer = ask(telemetry);
    const struct lensd_metrics *metrics = telemetry->handover.snapshot;
    if (answer == ANSWER_FRESH)
        reply_line(reply, metrics->sick[0] != '\0' ? HTTP_UNAVAILABLE : HTTP_OK,
                   metrics->sick[0] != '\0' ? metrics->sick : "ok\n");
    else
        reply_line(reply, answer == ANSWER_LATE ? HTTP_UNAVAILABLE : HTTP_OK, telemetry->page.line);
}

static void answer_ready(struct lensd_telemetry *telemetry, struct lensd_http_reply *reply)
{
    enum answer answer = ask(telemetry);
    const struct lensd_metrics *metrics = telemetry->handover.snapshot;
    if (answer == ANSWER_FRESH)
        reply_line(reply, metrics->ready ? HTTP_OK : HTTP_UNAVAILABLE, metrics->ready ? "ready\n" : metrics->unready);
    else
        reply_line(reply, HTTP_UNAVAILABLE, telemetry->page.line);
}

static void answer_page(void *arg, enum lensd_http_page page, struct lensd_http_reply *reply)
{
    struct lensd_telemetry *telemetry = arg;
    switch (page) {
    case LENSD_HTTP_METRICS:
        answer_metrics(telemetry, reply);
        return;
    case LENSD_HTTP_HEALTHZ:
        answer_health(telemetry, reply);
        return;
    case LENSD_HTTP_READYZ:
        answer_ready(telemetry, reply);
        return;
    case LENSD_HTTP_INDEX:
        break;
    }
    reply_line(reply, HTTP_OK,
               "lensd " LENSD_VERSION "\n\n"
               "/metrics   figures in Prometheus's text format\n"
               "/healthz   200 while the daemon is alive, else 503 with the reason\n"
               "/readyz    200 while a pack takes new sessions, else 503 with the reason\n");
}

/* ---- answering (the loop's thread) ------------------------------------------------------------------------------ */

static void on_asked(uv_async_t *handle)
{
    struct lensd_service *service = handle->data;
    struct lensd_handover *handover = &service->telemetry.handover;
    pthread_mutex_lock(&handover->lock);
    if (handover->wanted && handover->phase == LENSD_PHASE_SERVING) {
        uint64_t begin = lensd_now_ns();
        lensd_metrics_collect(service, handover->snapshot);
        handover->snapshot->collect_ns = lensd_now_ns() - begin;
        handover->wanted = false;
        handover->filled_ns = lensd_now_ns();
        pthread_cond_signal(&handover->done);
    }
    pthread_mutex_unlock(&handover->lock);
}

int lensd_telemetry_init(struct lensd_service *service)
{
    service->telemetry.asked.data = service;
    return uv_async_init(&service->loop, &service->telemetry.asked, on_asked);
}

void lensd_telemetry_opening(struct lensd_telemetry *telemetry, const struct lensd_pack_progress *progress)
{
    pthread_mutex_lock(&telemetry->handover.lock);
    telemetry->handover.opening = progress;
    pthread_mutex_unlock(&telemetry->handover.lock);
}

void lensd_telemetry_enter(struct lensd_telemetry *telemetry, enum lensd_phase phase)
{
    pthread_mutex_lock(&telemetry->handover.lock);
    telemetry->handover.phase = phase;
    pthread_cond_broadcast(&telemetry->handover.done);
    pthread_mutex_unlock(&telemetry->handover.lock);
}

/* ---- serving ---------------------------------------------------------------------------------------------------- */

static bool is_default(const struct lensd_settings *settings)
{
    static const char key[] = "http.listen";
    return settings->origin[lensd_setting_find(key, sizeof key - 1)] == LENSD_ORIGIN_DEFAULT;
}

/* Takes the address that the settings want. */
static int take_address(struct lensd_service *service, const struct lensd_settings *settings,
                        struct lensd_telemetry_change *out, struct lens_error *err)
{
    *out = (struct lensd_telemetry_change){.fd = -1, .where = "off"};
    int r = lensd_http_address_parse(settings->http.listen, &out->address, err);
    if (r != 0)
        return lens_error_prefix(err, "http.listen");
    if (out->address.off)
        return 0;
    struct lens_error why = {0};
    r = lensd_http_address_listen(&out->address, &out->fd, out->where, &why);
    if (r == 0)
        return 0;
    if (!is_default(settings)) {
        lens_error_set(err, r, "http.listen: %s", why.text);
        return r;
    }
    lensd_log_event(&service->log, LENSD_LOG_WARNING, LENSD_LOG_METRICS_FAILED, &(struct lensd_log_fields){.code = r},
                    "no metrics are served: %s", why.text);
    snprintf(out->where, sizeof out->where, "not served: %s", why.text);
    return 0;
}

/* Nothing is served when it returns. */
static void stop_serving(struct lensd_telemetry *telemetry)
{
    struct lensd_handover *handover = &telemetry->handover;
    if (telemetry->http == NULL)
        return;
    pthread_mutex_lock(&handover->lock);
    handover->closing = true;
    pthread_cond_broadcast(&handover->done);
    pthread_mutex_unlock(&handover->lock);
    lensd_http_stop(telemetry->http);
    handover->closing = false;
    telemetry->http = NULL;
    lensd_http_address_remove(&telemetry->address);
}

/* The change becomes what is served. */
static int start_serving(struct lensd_service *service, struct lensd_telemetry_change *change, struct lens_error *err)
{
    struct lensd_telemetry *telemetry = &service->telemetry;
    int fd = change->fd;
    change->fd = -1;
    telemetry->address = change->address;
    memcpy(telemetry->where, change->where, sizeof telemetry->where);
    if (fd < 0)
        return 0;
    int r = lensd_http_start(fd, answer_page, telemetry, &telemetry->http, err);
    if (r != 0) {
        lensd_http_address_remove(&telemetry->address);
        snprintf(telemetry->where, sizeof telemetry->where, "not served: %s", err->text);
        return r;
    }
    lensd_log(&service->log, LENSD_LOG_INFO, "metrics on %s", telemetry->where);
    return 0;
}

static void make_handover(struct lensd_handover *handover)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&handover->lock, NULL);
    pthread_cond_init(&handover->done, &attributes);
    pthread_condattr_destroy(&attributes);
}

int lensd_telemetry_open(struct lensd_service *service, struct lens_error *err)
{
    struct lensd_telemetry *telemetry = &service->telemetry;
    struct lensd_telemetry_change change;
    *telemetry = (struct lensd_telemetry){.address = {.off = true}, .process = {NULL, -1}};
    telemetry->start_time_s = (double)service->start_time_ns / 1e9;
    lensd_telemetry_reloaded(service, true);
    int r = take_address(service, service->settings, &change, err);
    if (r != 0)
        return r;
    make_handover(&telemetry->handover);
    telemetry->handover.snapshot = lensd_calloc(1, sizeof *telemetry->handover.snapshot);
    if (telemetry->handover.snapshot == NULL) {
        lensd_telemetry_discard(&change);
        r = lens_error_set(err, -ENOMEM, "no memory for metrics");
    } else {
        lensd_process_reader_open(&telemetry->process);
        r = start_serving(service, &change, err);
    }
    if (r != 0)
        lensd_telemetry_close(telemetry);
    return r;
}

void lensd_telemetry_close(struct lensd_telemetry *telemetry)
{
    stop_serving(telemetry);
    if (telemetry->handover.snapshot != NULL)
        lensd_process_reader_close(&telemetry->process);
    lensd_free(telemetry->handover.snapshot);
    telemetry->handover.snapshot = NULL;
    free(telemetry->page.text);
    telemetry->page = (struct lensd_page){0};
}

/* ---- reloads ---------------------------------------------------------------------------------------------------- */

int lensd_telemetry_prepare(struct lensd_service *service, const struct lensd_settings *next,
                            struct lensd_telemetry_change *out, struct lens_error *err)
{
    const struct lensd_telemetry *telemetry = &service->telemetry;
    struct lensd_http_address wanted;
    int r = lensd_http_address_parse(next->http.listen, &wanted, err);
    if (r != 0)
        return lens_error_prefix(err, "http.listen");
    bool served = telemetry->http != NULL || telemetry->address.off;
    if (served && lensd_http_address_same(&wanted, &telemetry->address)) {
        *out = (struct lensd_telemetry_change){.same = true, .fd = -1};
        return 0;
    }
    r = take_address(service, next, out, err);
    out->same =
        r == 0 && out->fd < 0 && !out->address.off && telemetry->http != NULL; /* better the old one than none */
    return r;
}

void lensd_telemetry_commit(struct lensd_service *service, struct lensd_telemetry_change *change)
{
    struct lens_error err = {0};
    if (change->same)
        return;
    stop_serving(&service->telemetry);
    if (start_serving(service, change, &err) != 0)
        lensd_log_event(&service->log, LENSD_LOG_ERROR, LENSD_LOG_METRICS_FAILED,
                        &(struct lensd_log_fields){.code = err.code}, "no metrics are served: %s", err.text);
    else if (service->telemetry.address.off)
        lensd_log(&service->log, LENSD_LOG_INFO, "no metrics are served any more (http.listen = off)");
}

void lensd_telemetry_discard(struct lensd_telemetry_change *change)
{
    if (change->fd < 0)
        return;
    close(change->fd);
    lensd_http_address_remove(&change->address);
    change->fd = -1;
}
