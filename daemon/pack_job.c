/* See pack_job.h. */
#include "daemon/pack_job.h"

#include "daemon/control.h"
#include "daemon/pack_path.h"
#include "daemon/pack_progress.h"
#include "daemon/pins.h"
#include "daemon/sys.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

/* One load, swap or close. Between start and done the worker owns everything but `service` and `connection`. */
struct lensd_pack_job {
    uv_work_t work;
    struct lensd_service *service;
    uint64_t connection; /* id; it may be gone when we are done */
    char asked[PATH_MAX], name[64];
    char *directories; /* copied: a reload may change the settings meanwhile */
    const struct lensd_served_pack *replace;
    struct lensd_pool_config config;
    struct lens_backend *backend;
    uint32_t generation;
    bool verify;
    bool moved; /* it was tried on a device that turned out lost */
    bool waits; /* to replace a pack that is just moving to another backend */
    struct lensd_pack_progress progress;
    struct lensd_served_pack *served; /* the result; for a close what to close */
    enum lens_fault fault;
    struct lens_error err;
    int result;
};

static void free_job(struct lensd_pack_job *job)
{
    if (job != NULL)
        lensd_free(job->directories);
    lensd_free(job);
}

/* ---- on the worker ---------------------------------------------------------------------------------------------- */

static void work_open(uv_work_t *work)
{
    struct lensd_pack_job *job = work->data;
    char path[PATH_MAX];
    job->fault = LENS_FAULT_PATH_NOT_ALLOWED;
    job->result = lensd_pack_path_resolve(job->directories, job->asked, path, &job->err);
    if (job->result != 0) {
        job->fault = job->result == -EACCES ? LENS_FAULT_PATH_NOT_ALLOWED : LENS_FAULT_BAD_PACK;
        return;
    }
    job->result = lensd_served_pack_open(path, job->name, job->backend, &job->config, job->generation, job->verify,
                                         lensd_pack_progress_report, &job->progress, &job->served, &job->err);
    job->fault = job->result == -ENOSPC || job->result == -ENOMEM ? LENS_FAULT_NO_SPACE : LENS_FAULT_BAD_PACK;
}

static void work_close(uv_work_t *work)
{
    struct lensd_pack_job *job = work->data;
    lensd_served_pack_close(job->served);
}

/* ---- on the loop ------------------------------------------------------------------------------------------------ */

static bool name_is_taken(const struct lensd_service *service, const char *name)
{
    return lensd_service_find_pack(service, lens_text_of(name)) != NULL;
}

/* A loaded pack joins the others. */
static int join(struct lensd_service *service, struct lensd_pack_job *job)
{
    if (name_is_taken(service, job->served->name)) {
        job->fault = LENS_FAULT_IN_USE;
        return lens_error_set(&job->err, -EEXIST,
                              "a pack named %s is loaded: swap or unload it, or load under another "
                              "name",
                              job->served->name);
    }
    if (service->n_packs == LENSD_PACKS_MAX) {
        job->fault = LENS_FAULT_NO_SPACE;
        return lens_error_set(&job->err, -ENOSPC, "%u packs are loaded, which is all there may be", LENSD_PACKS_MAX);
    }
    service->packs[service->n_packs++] = job->served;
    return 0;
}

static uint32_t sessions_of(const struct lensd_service *service, const struct lensd_served_pack *served,
                            struct lensd_session **out)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < service->sessions.n; i++) {
        if (service->sessions.items[i].session->binding.served == served)
            out[n++] = service->sessions.items[i].session;
    }
    return n;
}

/* Rows that are locked for a device that the sessions left needn't be any more. */
static void unlock_rows(struct lensd_session *const *sessions, uint32_t n, const struct lensd_served_pack *served)
{
    for (uint32_t i = 0; i < n; i++)
        if (sessions[i]->locked.backend != lensd_pool_backend(served->pool))
            lensd_session_unlock_rows(sessions[i]);
}

/* What of its lists and pins a session finds no more in the pack that it was moved to. */
static void log_notes(const struct lensd_service *service, struct lensd_session *const *sessions, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        const struct lensd_binding *binding = &sessions[i]->binding;
        if (binding->note[0] != '\0')
            lensd_log_event(&service->log, LENSD_LOG_WARNING, LENSD_LOG_SESSION_CHANGED,
                            &(struct lensd_log_fields){.pack = binding->served->name,
                                                       .generation = binding->served->generation,
                                                       .session = sessions[i]->id,
                                                       .client = sessions[i]->label,
                                                       .pid = sessions[i]->pid,
                                                       .uid = sessions[i]->uid},
                            "session %u of \"%s\" on pack %s: %s", sessions[i]->id, sessions[i]->label,
                            binding->served->name, binding->note);
    }
}

/* Bindings to the new pack for all sessions, and the engine's exchange: all or none. */
static int rebind(struct lensd_service *service, struct lensd_session **sessions, struct lensd_binding *bindings,
                  uint32_t n, struct lensd_served_pack *served, struct lens_error *err)
{
    uint32_t made = 0;
    int r = 0;
    while (r == 0 && made < n) {
        r = lensd_binding_create(sessions[made], served, &bindings[made], err);
        made += r == 0;
    }
    if (r == 0 && n > 0)
        r = lensd_engine_swap(service->engine, sessions, bindings, n, err);
    /* After a swap these are the old bindings, after a failure the new ones nobody took. */
    for (uint32_t i = 0; i < made; i++)
        lensd_binding_destroy(&bindings[i]);
    return r;
}

/* What is pinned at run time stays pinned, by key; what the new pack lacks is left out. */
static int move_pins(struct lensd_service *service, const struct lensd_served_pack *old,
                     struct lensd_served_pack *served, struct lens_error *err)
{
    struct lensd_pins *pins = NULL;
    uint32_t lost = 0;
    int r = lensd_pins_carry(old->pins, old->pack, served->pack, &pins, &lost, err);
    if (r == 0 && pins != NULL)
        r = lensd_engine_repin(service->engine, served, &pins, NULL, NULL, 0, err);
    if (r != 0)
        lensd_pins_free(pins);
    else if (lost > 0)
        lensd_log(&service->log, LENSD_LOG_WARNING, "pack %s: %u branches that were pinned aren't in it", served->name,
                  lost);
    return r;
}

static int move_sessions(struct lensd_service *service, const struct lensd_served_pack *old,
                         struct lensd_served_pack *served, struct lens_error *err)
{
    uint32_t capacity = service->sessions.n + 1; /* never none */
    struct lensd_session **sessions = lensd_calloc(capacity, sizeof(struct lensd_session *));
    struct lensd_binding *bindings = lensd_calloc(capacity, sizeof *bindings);
    int r = -ENOMEM;
    if (sessions == NULL || bindings == NULL) {
        lens_error_set(err, r, "no memory to move the sessions");
    } else {
        uint32_t n = sessions_of(service, old, sessions);
        r = rebind(service, sessions, bindings, n, served, err);
        if (r == 0) {
            unlock_rows(sessions, n, served);
            log_notes(service, sessions, n);
        }
        served->sessions = r == 0 ? n : 0;
    }
    lensd_free(bindings);
    lensd_free(sessions);
    return r;
}

/* The new pack takes the old one's place and sessions. */
static int replace(struct lensd_service *service, struct lensd_pack_job *job)
{
    uint32_t at = 0;
    while (at < service->n_packs && service->packs[at] != job->replace)
        at++;
    if (at == service->n_packs) {
        job->fault = LENS_FAULT_NO_SUCH_PACK;
        return lens_error_set(&job->err, -ENOENT, "pack %s was unloaded meanwhile", job->name);
    }
    struct lensd_served_pack *old = service->packs[at];
    int r = move_pins(service, old, job->served, &job->err);
    if (r == 0)
        r = move_sessions(service, old, job->served, &job->err);
    if (r != 0) {
        job->fault = r == -ENOSPC || r == -ENOMEM ? LENS_FAULT_NO_SPACE : LENS_FAULT_BAD_PACK;
        return lens_error_prefix(&job->err, "pack %s keeps its place", old->name);
    }
    lensd_control_trace_ends(service, old);
    lensd_control_preload_ends(service, old, LENS_FAULT_NO_SUCH_PACK, LENSD_PRELOAD_GONE);
    service->packs[at] = job->served;
    lensd_telemetry_pack_replaced(service, job->served, old);
    lensd_pack_job_close(service, old);
    return 0;
}

static void answer(struct lensd_service *service, const struct lensd_pack_job *job)
{
    struct lensd_connection *c = lensd_connection_find(service, job->connection);
    if (c == NULL)
        return;
    if (job->result != 0)
        lensd_connection_fault(c, job->fault, "%s", job->err.text);
    else
        lensd_control_done(service, c, job->generation, "pack %s is served, generation %u", job->served->name,
                           job->generation);
    lensd_connection_resume(c);
}

static void tell(const struct lensd_service *service, const struct lensd_pack_job *job)
{
    bool swap = job->replace != NULL;
    if (job->result != 0) {
        const struct lensd_log_fields fields = {.pack = job->asked, .code = job->result};
        lensd_log_event(&service->log, LENSD_LOG_WARNING, LENSD_LOG_PACK_REFUSED, &fields, "pack %s not %s: %s",
                        job->asked, swap ? "swapped in" : "loaded", job->err.text);
        return;
    }
    const struct lensd_log_fields fields = {.pack = job->served->name, .generation = job->generation};
    lensd_log_event(&service->log, LENSD_LOG_INFO, swap ? LENSD_LOG_PACK_SWAPPED : LENSD_LOG_PACK_LOADED, &fields,
                    "pack %s: %s, %u lenses, generation %u", job->served->name, swap ? "swapped" : "loaded",
                    job->served->pack->lenses, job->generation);
}

static void finish(struct lensd_pack_job *job)
{
    struct lensd_service *service = job->service;
    service->job = NULL;
    if (job->result == 0)
        job->result = job->replace != NULL ? replace(service, job) : join(service, job);
    tell(service, job);
    answer(service, job);
    if (job->result == 0) {
        lensd_reload_tune(service, job->served);
        lensd_control_check_content(service, job->served);
    }
    if (job->result != 0 && job->served != NULL)
        lensd_pack_job_close(service, job->served);
    free_job(job);
}

static void opened(uv_work_t *work, int status);

/* The device was lost meanwhile: once more, on the backend in use now. False when there is none. */
static bool try_elsewhere(struct lensd_pack_job *job)
{
    struct lensd_service *service = job->service;
    if (job->result != -ENODEV || job->moved || !lensd_ladder_lost(service, job->backend, &job->err))
        return false;
    job->moved = true;
    job->backend = service->backend;
    lensd_service_pool_config(service, &job->config);
    return uv_queue_work(&service->loop, &job->work, work_open, opened) == 0;
}

static void opened(uv_work_t *work, int status)
{
    struct lensd_pack_job *job = work->data;
    if (status != 0)
        job->result = lens_error_set(&job->err, -ECANCELED, "the load was cancelled");
    if (try_elsewhere(job))
        return;
    job->waits = job->result == 0 && job->replace != NULL && lensd_ladder_moves(job->service, job->replace);
    if (!job->waits)
        finish(job);
}

void lensd_pack_job_go_on(struct lensd_service *service)
{
    if (service->job != NULL && service->job->waits)
        finish(service->job);
}

bool lensd_pack_job_may_use(const struct lensd_service *service, const struct lens_backend *backend)
{
    return service->closing_packs > 0 || (service->job != NULL && service->job->backend == backend);
}

static void closed(uv_work_t *work, int status)
{
    struct lensd_pack_job *job = work->data;
    struct lensd_service *service = job->service;
    if (status != 0)
        work_close(work);
    free_job(job);
    service->closing_packs--;
    lensd_ladder_look(service);
}

static int fill_job(struct lensd_pack_job *job, struct lens_text path, struct lens_text name, struct lens_error *err)
{
    const char *directories = lensd_service_directories(job->service);
    size_t size = strlen(directories) + 1;
    if (!lensd_control_copy(path, job->asked, sizeof job->asked) || path.length == 0)
        return lens_error_set(err, -EINVAL, "expected the path of a pack, of %d bytes at most", PATH_MAX - 1);
    if (!lensd_control_copy(name, job->name, sizeof job->name))
        return lens_error_set(err, -EINVAL, "a pack's name may have %zu bytes, found %u", sizeof job->name - 1,
                              name.length);
    job->directories = lensd_calloc(1, size);
    if (job->directories == NULL)
        return lens_error_set(err, -ENOMEM, "no memory to load a pack");
    memcpy(job->directories, directories, size);
    return 0;
}

int lensd_pack_job_start(struct lensd_service *service, struct lensd_connection *connection,
                         const struct lensd_served_pack *replace_pack, struct lens_text path, struct lens_text name,
                         struct lens_error *err)
{
    if (service->job != NULL)
        return lens_error_set(err, -EBUSY, "another load or swap is under way: try again when it is done");
    struct lensd_pack_job *job = lensd_calloc(1, sizeof *job);
    if (job == NULL)
        return lens_error_set(err, -ENOMEM, "no memory to load a pack");
    job->work.data = job;
    job->service = service;
    job->connection = connection->id;
    job->replace = replace_pack;
    job->backend = service->backend;
    job->generation = service->last_generation + 1;
    job->verify = service->settings->packs.verify;
    lensd_service_pool_config(service, &job->config);
    int r = fill_job(job, path, name, err);
    if (r == 0) {
        lensd_pack_progress_begin(&job->progress, &service->log, job->name[0] != '\0' ? job->name : job->asked);
        r = uv_queue_work(&service->loop, &job->work, work_open, opened);
        if (r != 0)
            lens_error_set(err, r, "can't start a worker: %s", uv_strerror(r));
    }
    if (r != 0) {
        free_job(job);
        return r;
    }
    lensd_log(&service->log, LENSD_LOG_INFO, "pack %s: opening%s%s", job->asked,
              replace_pack != NULL ? ", to replace " : "", replace_pack != NULL ? replace_pack->name : "");
    service->last_generation++;
    service->job = job;
    connection->busy = true;
    return 0;
}

void lensd_pack_job_text(const struct lensd_service *service, char *out, size_t size)
{
    out[0] = '\0';
    if (service->job != NULL)
        lensd_pack_progress_text(&service->job->progress, out, size);
}

void lensd_pack_job_close(struct lensd_service *service, struct lensd_served_pack *served)
{
    struct lensd_pack_job *job = lensd_calloc(1, sizeof *job);
    if (service->engine != NULL)
        lensd_engine_forget_pack(service->engine, served);
    lensd_telemetry_pool_gone(&service->telemetry, served->pool);
    if (job != NULL) {
        job->work.data = job;
        job->service = service;
        job->served = served;
        if (uv_queue_work(&service->loop, &job->work, work_close, closed) == 0) {
            service->closing_packs++;
            return;
        }
    }
    lensd_served_pack_close(served);
    free_job(job);
}
