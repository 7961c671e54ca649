/* Requests of operators that change which packs are served: load, swap, unload. */
#include "daemon/control.h"
#include "daemon/pack_job.h"

#include <string.h>

static void start(struct lensd_service *service, struct lensd_connection *c, const struct lensd_served_pack *replace,
                  struct lens_text path, struct lens_text name)
{
    struct lens_error err = {0};
    int r = lensd_pack_job_start(service, c, replace, path, name, &err);
    if (r != 0)
        lensd_connection_fault(c, lensd_control_fault_of(r), "%s", err.text);
}

void lensd_control_load(struct lensd_service *service, struct lensd_connection *c, const struct lens_msg *request)
{
    const struct lens_load *load = &request->u.load;
    if (load->name.length > 0 && lensd_service_find_pack(service, load->name) != NULL) {
        lensd_connection_fault(c, LENS_FAULT_IN_USE, "a pack named %.*s is loaded: swap or unload it",
                               (int)load->name.length, load->name.data);
        return;
    }
    start(service, c, NULL, load->pack, load->name);
}

void lensd_control_swap(struct lensd_service *service, struct lensd_connection *c, const struct lens_msg *request)
{
    const struct lensd_served_pack *old = lensd_control_pack(service, c, request->u.load.name);
    if (old != NULL)
        start(service, c, old, request->u.load.pack, lens_text_of(old->name));
}

static void remove_pack(struct lensd_service *service, const struct lensd_served_pack *served)
{
    uint32_t at = 0;
    while (service->packs[at] != served)
        at++;
    service->n_packs--;
    for (uint32_t i = at; i < service->n_packs; i++)
        service->packs[i] = service->packs[i + 1];
    service->packs[service->n_packs] = NULL;
}

void lensd_control_unload(struct lensd_service *service, struct lensd_connection *c, const struct lens_msg *request)
{
    struct lensd_served_pack *served = lensd_control_pack(service, c, request->u.load.pack);
    if (served == NULL)
        return;
    if (served->sessions > 0) {
        lensd_connection_fault(c, LENS_FAULT_IN_USE, "%u sessions use pack %s: end them first, or swap the pack",
                               served->sessions, served->name);
        return;
    }
    if (service->recording.served == served) {
        lensd_connection_fault(c, LENS_FAULT_IN_USE,
                               "a trace of pack %s is being recorded: end it first, or swap the pack", served->name);
        return;
    }
    if (lensd_ladder_moves(service, served)) {
        lensd_connection_fault(c, LENS_FAULT_IN_USE, "pack %s is just moving to the CPU: try again in a moment",
                               served->name);
        return;
    }
    lensd_control_preload_ends(service, served, LENS_FAULT_NO_SUCH_PACK, LENSD_PRELOAD_GONE);
    remove_pack(service, served);
    lensd_log_event(&service->log, LENSD_LOG_INFO, LENSD_LOG_PACK_UNLOADED,
                    &(struct lensd_log_fields){.pack = served->name, .generation = served->generation},
                    "pack %s unloaded", served->name);
    lensd_control_done(service, c, served->generation, "pack %s is unloaded", served->name);
    lensd_pack_job_close(service, served);
}
