/* See reload.h. */
#include "daemon/reload.h"

#include "daemon/config_warnings.h"
#include "daemon/control.h"
#include "daemon/peer.h"
#include "daemon/service.h"
#include "daemon/sys.h"

#include <errno.h>
#include <stdio.h>

extern char **environ;

#define CHANGES_TEXT 800u /* of the line that tells of them */

void lensd_reload_tune(struct lensd_service *service, struct lensd_served_pack *served)
{
    struct lens_error err = {0};
    lensd_pool_set_verify_loads(served->pool, service->settings->cache.verify_loads);
    if (service->engine != NULL &&
        lensd_engine_set_prefetch(service->engine, served, service->settings->cache.prefetch, &err) != 0)
        lensd_log_event(&service->log, LENSD_LOG_WARNING, LENSD_LOG_CONFIG_ODD,
                        &(struct lensd_log_fields){.pack = served->name, .generation = served->generation},
                        "pack %s: cache.prefetch stays as it was: %s", served->name, err.text);
}

/* What has copies of settings gets the new ones. */
static void apply(struct lensd_service *service)
{
    const struct lensd_settings *settings = service->settings;
    service->log.level = lensd_log_levels[settings->log.level];
    lensd_engine_set_degrade(service->engine, settings->engine.degrade);
    lensd_engine_set_spin(service->engine, settings->engine.spin_us);
    lensd_listener_set_wide(&service->listener, lensd_peer_lists_are_wide(settings));
    lensd_connections_judge(service);
    for (uint32_t i = 0; i < service->n_packs; i++)
        lensd_reload_tune(service, service->packs[i]);
}

static void tell_warning(void *arg, const char *sentence)
{
    const struct lensd_service *service = arg;
    lensd_log_event(&service->log, LENSD_LOG_WARNING, LENSD_LOG_CONFIG_ODD, NULL, "%s", sentence);
}

void lensd_reload_warn(struct lensd_service *service)
{
    lensd_config_warnings(service->arguments, service->settings, false, tell_warning, service);
}

/* The list was checked; what may still fail is memory: the rules before stay then, and the log says so. */
static void take_rules(struct lensd_service *service)
{
    struct lens_error err = {0};
    if (lensd_alerts_configure(service, &err) != 0)
        lensd_log_event(&service->log, LENSD_LOG_ERROR, LENSD_LOG_CONFIG_ODD,
                        &(struct lensd_log_fields){.code = err.code}, "the rules before stay in force: %s", err.text);
}

static void take(struct lensd_service *service, struct lensd_settings *next, struct lensd_telemetry_change *http)
{
    char changes[CHANGES_TEXT];
    uint32_t waiting =
        lensd_settings_take_live(service->settings, next, service->last_generation, changes, sizeof changes);
    service->reload.why = (struct lens_error){0};
    apply(service);
    lensd_telemetry_commit(service, http);
    take_rules(service);
    lensd_log_event(&service->log, waiting > 0 ? LENSD_LOG_WARNING : LENSD_LOG_INFO, LENSD_LOG_RELOADED, NULL,
                    "configuration reloaded: %s", changes[0] != '\0' ? changes : "nothing changed");
    lensd_reload_warn(service);
    for (uint32_t i = 0; i < service->n_packs; i++)
        lensd_control_check_content(service, service->packs[i]);
}

static void refuse(struct lensd_service *service, const struct lens_error *why)
{
    service->reload.why = *why;
    service->reload.failed_ns = lensd_now_ns();
    lensd_log_event(&service->log, LENSD_LOG_ERROR, LENSD_LOG_RELOAD_FAILED,
                    &(struct lensd_log_fields){.code = why->code}, "configuration not reloaded, the old one stays: %s",
                    why->text);
}

void lensd_reload(struct lensd_service *service)
{
    struct lensd_settings *next = lensd_calloc(1, sizeof *next);
    struct lens_error err = {0};
    struct lensd_telemetry_change http;
    int r = next == NULL ? lens_error_set(&err, -ENOMEM, "no memory")
                         : lensd_arguments_settings(service->arguments, environ, next, &err);
    bool read = r == 0;
    if (read)
        r = lensd_telemetry_prepare(service, next, &http, &err);
    if (r == 0)
        take(service, next, &http);
    else
        refuse(service, &err);
    if (read)
        lensd_settings_free(next);
    lensd_free(next);
    lensd_telemetry_reloaded(service, r == 0);
}

void lensd_reload_text(const struct lensd_service *service, char *out, size_t size)
{
    const struct lensd_reload *reload = &service->reload;
    out[0] = '\0';
    if (reload->why.code != 0)
        snprintf(out, size, "the reload %llu s ago failed, the configuration before it is in force: %s",
                 (unsigned long long)((lensd_now_ns() - reload->failed_ns) / 1000000000u), reload->why.text);
}
