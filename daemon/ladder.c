/* See ladder.h. */
#include "daemon/ladder.h"

#include "daemon/batch.h"
#include "daemon/control.h"
#include "daemon/fault_script.h"
#include "daemon/pack_job.h"
#include "daemon/service_setup.h"
#include "daemon/sys.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Making a pool for a pack on the CPU; the worker's between start and `moved`, but for `service`. */
struct lensd_takeover {
    uv_work_t work;
    struct lensd_service *service;
    struct lensd_served_pack *served;
    struct lens_backend *backend;
    struct lensd_pool_config config;
    struct lensd_pool *pool; /* the result */
    struct lens_error err;
    int result;
};

/* Something of a lost device that a worker gets rid of. */
struct disposal {
    uv_work_t work;
    struct lensd_service *service;
    struct lensd_pool *pool;      /* either */
    struct lens_backend *backend; /* or */
};

static bool is_on(const struct lensd_served_pack *served, const struct lens_backend *backend)
{
    return lensd_pool_backend(served->pool) == backend;
}

/* ---- what is left of a lost device ------------------------------------------------------------------------------ */

static void work_dispose(uv_work_t *work)
{
    const struct disposal *disposal = work->data;
    if (disposal->pool != NULL)
        lensd_pool_destroy(disposal->pool);
    if (disposal->backend != NULL)
        disposal->backend->ops->close(disposal->backend);
}

static void note_disposed(struct lensd_service *service, bool backend)
{
    struct lensd_ladder *ladder = &service->ladder;
    if (backend) {
        ladder->lost = NULL;
        ladder->closing = false;
        lensd_log(&service->log, LENSD_LOG_INFO, "what was left of the lost card is closed");
    } else {
        ladder->destroying--;
    }
    lensd_ladder_look(service);
}

static void disposed(uv_work_t *work, int status)
{
    struct disposal *disposal = work->data;
    struct lensd_service *service = disposal->service;
    bool backend = disposal->backend != NULL;
    if (status != 0)
        work_dispose(work);
    lensd_free(disposal);
    note_disposed(service, backend);
}

/* On a worker: a card that doesn't answer may take its time. Here, when no worker can be asked. */
static void dispose(struct lensd_service *service, struct lensd_pool *pool, struct lens_backend *backend)
{
    struct disposal *disposal = lensd_calloc(1, sizeof *disposal);
    struct disposal here = {.service = service, .pool = pool, .backend = backend};
    if (disposal != NULL) {
        *disposal = here;
        disposal->work.data = disposal;
        if (uv_queue_work(&service->loop, &disposal->work, work_dispose, disposed) == 0)
            return;
    }
    lensd_free(disposal);
    here.work.data = &here;
    work_dispose(&here.work);
    note_disposed(service, backend != NULL);
}

/* The lost backend goes when no pool is on it any more. */
static void close_lost(struct lensd_service *service)
{
    struct lensd_ladder *ladder = &service->ladder;
    if (ladder->closing || ladder->destroying > 0 || lensd_pack_job_may_use(service, ladder->lost))
        return;
    ladder->closing = true;
    dispose(service, NULL, ladder->lost);
}

/* ---- from the lost device to the CPU ---------------------------------------------------------------------------- */

static uint32_t packs_on(const struct lensd_service *service, const struct lens_backend *backend)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < service->n_packs; i++)
        n += is_on(service->packs[i], backend);
    return n;
}

/* The CPU backend becomes the daemon's. */
static int open_cpu(struct lensd_service *service, struct lens_error *err)
{
    const char *script = service->arguments->fault_script;
    struct lens_backend *cpu = NULL;
    int r = lensd_service_open_cpu(service, &cpu, err);
    if (r == 0 && script != NULL)
        r = lensd_fault_script_wrap(script, true, &cpu, err);
    if (r != 0) {
        if (cpu != NULL)
            cpu->ops->close(cpu);
        return r;
    }
    service->backend = cpu;
    service->ladder.on_cpu = true;
    cpu->ops->describe(cpu, &service->device);
    snprintf(service->reason, sizeof service->reason, "the card was lost: %.200s", service->ladder.why.text);
    lensd_log_event(&service->log, LENSD_LOG_INFO, LENSD_LOG_BACKEND, NULL, "backend %s (%s, %u threads) on %s: %s",
                    service->device.backend, service->device.variant, service->device.threads, service->device.name,
                    service->reason);
    return 0;
}

/* Until the next round; said when it is news. */
static void refuse(struct lensd_service *service, const char *what, const struct lens_error *why)
{
    struct lensd_ladder *ladder = &service->ladder;
    struct lens_error before = ladder->refused;
    lens_error_set(&ladder->refused, why->code != 0 ? why->code : -EIO, "%s: %.400s", what, why->text);
    if (before.code == 0 || strcmp(before.text, ladder->refused.text) != 0)
        lensd_log_event(&service->log, LENSD_LOG_ERROR, LENSD_LOG_TAKEOVER_FAILED,
                        &(struct lensd_log_fields){.code = why->code},
                        "the CPU can't take over from the lost card, which is tried again every %u s; new sessions are "
                        "refused: %s",
                        (unsigned)(LENSD_LADDER_RETRY_NS / 1000000000u), ladder->refused.text);
}

static void wait_for_next_round(struct lensd_ladder *ladder)
{
    ladder->next_pack = 0;
    ladder->next_try_ns = lensd_now_ns() + LENSD_LADDER_RETRY_NS;
}

static void lose(struct lensd_service *service, const struct lens_error *why)
{
    struct lensd_ladder *ladder = &service->ladder;
    ladder->lost = service->backend;
    ladder->why = *why;
    ladder->refused = (struct lens_error){0};
    ladder->next_try_ns = 0;
    ladder->next_pack = 0;
    for (uint32_t i = 0; service->engine != NULL && i < service->n_packs; i++)
        if (is_on(service->packs[i], ladder->lost))
            lensd_engine_lose(service->engine, service->packs[i]);
    lensd_log_event(
        &service->log, LENSD_LOG_ERROR, LENSD_LOG_DEVICE_LOST, &(struct lensd_log_fields){.code = why->code},
        "the card was lost: %s. The packs go over to the CPU; until then rows are answered without results, "
        "flagged",
        why->text);
}

static void work_move(uv_work_t *work)
{
    struct lensd_takeover *job = work->data;
    job->result = lensd_pool_create(job->backend, job->served->pack, &job->config, &job->pool, &job->err);
}

/* The pack goes on with the new pool; what depended on the old one ends. */
static int take_over(struct lensd_service *service, struct lensd_takeover *job)
{
    struct lensd_served_pack *served = job->served;
    struct lensd_pool *old = NULL;
    uint32_t lenses;
    int r = lensd_engine_exchange(service->engine, served, job->pool, &old, &job->err);
    if (r != 0)
        return r;
    job->pool = NULL;
    lensd_control_preload_ends(service, served, LENS_FAULT_IN_USE, LENSD_PRELOAD_LOST);
    for (uint32_t i = 0; i < service->sessions.n; i++)
        if (service->sessions.items[i].session->binding.served == served)
            lensd_session_unlock_rows(service->sessions.items[i].session);
    lensd_telemetry_pool_gone(&service->telemetry, old);
    service->ladder.destroying++;
    dispose(service, old, NULL);
    lensd_log_event(&service->log, LENSD_LOG_INFO, LENSD_LOG_DEVICE_REPLACED,
                    &(struct lensd_log_fields){.pack = served->name, .generation = served->generation},
                    "pack %s goes on on the CPU, %u slots", served->name, lensd_pool_slots(served->pool));
    lensd_reload_tune(service, served);
    if (service->settings->pool.preload)
        (void)lensd_engine_fill(service->engine, served, &lenses, &job->err); /* else rows bring in what they want */
    return 0;
}

static void moved(uv_work_t *work, int status)
{
    struct lensd_takeover *job = work->data;
    struct lensd_service *service = job->service;
    service->ladder.job = NULL;
    if (status != 0)
        job->result = lens_error_set(&job->err, -ECANCELED, "it was cancelled");
    if (job->result == 0 && service->engine != NULL)
        job->result = take_over(service, job);
    if (job->result != 0)
        refuse(service, job->served->name, &job->err);
    lensd_pool_destroy(job->pool);
    lensd_free(job);
    lensd_pack_job_go_on(service);
    lensd_ladder_look(service);
}

void lensd_ladder_fit_config(const struct lensd_service *service, struct lensd_pool_config *config)
{
    if (!service->ladder.on_cpu || !config->dtype_set || (service->device.slab_dtypes & 1u << config->dtype) != 0)
        return;
    lensd_log(&service->log, LENSD_LOG_WARNING, "the CPU has no slots of %s (pool.dtype): lenses stay as stored",
              lens_dtype_name(config->dtype));
    config->dtype_set = false;
    config->compute = LENS_COMPUTE_EXACT;
}

/* As the pool on the card was asked for, with as many slots as there were: what is pinned fits, and no more memory is
 * taken than the card gave. Settings that changed since are for packs loaded since: this one stays the same. */
static void config_for_cpu(const struct lensd_service *service, const struct lensd_served_pack *served,
                           struct lensd_pool_config *out)
{
    *out = served->config;
    lensd_ladder_fit_config(service, out);
    out->slots = lensd_pool_slots(served->pool);
    out->device_memory = 0;
    out->preload = false; /* rows wait for the pool: it is filled behind them */
}

/* Has the pack moved; false when no worker can be asked. */
static bool start_move(struct lensd_service *service, struct lensd_served_pack *served)
{
    struct lensd_takeover *job = lensd_calloc(1, sizeof *job);
    struct lens_error err = {0};
    int r = -ENOMEM;
    if (job != NULL) {
        job->work.data = job;
        job->service = service;
        job->served = served;
        job->backend = service->backend;
        config_for_cpu(service, served, &job->config);
        r = uv_queue_work(&service->loop, &job->work, work_move, moved);
    }
    if (r == 0) {
        service->ladder.job = job;
        return true;
    }
    lensd_free(job);
    lens_error_set(&err, r, "no memory for a worker");
    refuse(service, served->name, &err);
    return false;
}

/* Starts on the next pack of the round; false when the round is over. */
static bool move_next(struct lensd_service *service)
{
    struct lensd_ladder *ladder = &service->ladder;
    while (ladder->next_pack < service->n_packs) {
        struct lensd_served_pack *served = service->packs[ladder->next_pack++];
        if (is_on(served, ladder->lost) && start_move(service, served))
            return true;
    }
    return false;
}

static void move_on(struct lensd_service *service)
{
    struct lensd_ladder *ladder = &service->ladder;
    struct lens_error err = {0};
    if (ladder->job != NULL || lensd_now_ns() < ladder->next_try_ns)
        return;
    if (service->backend == ladder->lost && open_cpu(service, &err) != 0) {
        refuse(service, "the backend", &err);
        wait_for_next_round(ladder);
        return;
    }
    if (move_next(service))
        return;
    if (packs_on(service, ladder->lost) > 0) {
        wait_for_next_round(ladder);
        return;
    }
    ladder->next_try_ns = 0;
    if (ladder->refused.code != 0)
        lensd_log(&service->log, LENSD_LOG_INFO, "all packs are on the CPU now; new sessions are taken again");
    ladder->refused = (struct lens_error){0};
    close_lost(service);
}

/* ---- breakers --------------------------------------------------------------------------------------------------- */

static double ms_of(const _Atomic uint64_t *ns)
{
    return (double)atomic_load_explicit(ns, memory_order_relaxed) / 1e6;
}

/* NULL also where engine.degrade forbids it by now, and no rows came to hear of that. */
static const struct lensd_breaker *open_breaker(const struct lensd_service *service,
                                                const struct lensd_served_pack *served)
{
    return service->settings->engine.degrade ? lensd_batch_open_breaker(served->batch) : NULL;
}

static void tell_breakers(struct lensd_service *service)
{
    for (uint32_t i = 0; i < service->n_packs; i++) {
        struct lensd_served_pack *served = service->packs[i];
        const struct lensd_breaker *open = open_breaker(service, served);
        const struct lensd_log_fields fields = {.pack = served->name, .generation = served->generation};
        if (open != NULL && !served->breaker_told)
            lensd_log_event(
                &service->log, LENSD_LOG_WARNING, LENSD_LOG_DEGRADED, &fields,
                "pack %s: rows take %.1f ms instead of %.1f: base, pinned and kept lenses only until that is over "
                "(engine.degrade)",
                served->name, ms_of(&open->slow_ns), ms_of(&open->usual_ns));
        if (open == NULL && served->breaker_told)
            lensd_log_event(&service->log, LENSD_LOG_INFO, LENSD_LOG_RECOVERED, &fields,
                            "pack %s: rows are scored in full again", served->name);
        served->breaker_told = open != NULL;
    }
}

/* ---- the ladder ------------------------------------------------------------------------------------------------- */

static void find_lost(struct lensd_service *service)
{
    struct lens_error why;
    if (service->ladder.lost != NULL)
        return;
    for (uint32_t i = 0; i < service->n_packs; i++) {
        if (!lensd_served_pack_is_lost(service->packs[i]) || !is_on(service->packs[i], service->backend))
            continue;
        lensd_engine_loss(service->engine, &why); /* the engine says why before it says that */
        lose(service, &why);
        return;
    }
}

/* Packs that came to the lost device late, by a load that was under way. */
static void lose_late_packs(struct lensd_service *service)
{
    struct lensd_ladder *ladder = &service->ladder;
    for (uint32_t i = 0; i < service->n_packs; i++) {
        if (!is_on(service->packs[i], ladder->lost) || lensd_served_pack_is_lost(service->packs[i]))
            continue;
        lensd_engine_lose(service->engine, service->packs[i]);
        ladder->next_pack = 0;
        ladder->next_try_ns = 0;
    }
}

void lensd_ladder_look(struct lensd_service *service)
{
    if (service->engine == NULL)
        return;
    find_lost(service);
    if (service->ladder.lost != NULL && !service->ladder.closing) {
        lose_late_packs(service);
        move_on(service);
    }
    tell_breakers(service);
}

static void on_changed(uv_async_t *handle)
{
    lensd_ladder_look(handle->data);
}

int lensd_ladder_init(struct lensd_service *service)
{
    service->ladder.changed.data = service;
    return uv_async_init(&service->loop, &service->ladder.changed, on_changed);
}

void lensd_ladder_signal(void *arg)
{
    struct lensd_service *service = arg;
    uv_async_send(&service->ladder.changed);
}

int lensd_ladder_start_on_cpu(struct lensd_service *service, struct lens_error *err)
{
    service->ladder.why = *err;
    lensd_log_event(&service->log, LENSD_LOG_ERROR, LENSD_LOG_DEVICE_LOST,
                    &(struct lensd_log_fields){.code = err->code}, "the card was lost: %s", err->text);
    while (service->n_packs > 0)
        lensd_served_pack_close(service->packs[--service->n_packs]);
    service->last_generation = 0;
    service->backend->ops->close(service->backend);
    service->backend = NULL;
    return open_cpu(service, err);
}

bool lensd_ladder_lost(struct lensd_service *service, struct lens_backend *backend, const struct lens_error *why)
{
    if (service->engine == NULL)
        return false;
    if (backend == service->backend && service->ladder.lost == NULL)
        lose(service, why);
    lensd_ladder_look(service);
    return service->backend != backend;
}

int lensd_ladder_admits(const struct lensd_service *service, const struct lensd_served_pack *served,
                        struct lens_error *err)
{
    if (service->ladder.refused.code == 0 || !lensd_served_pack_is_lost(served))
        return 0;
    return lens_error_set(
        err, -EAGAIN,
        "pack %s takes no new sessions: the card was lost and the CPU can't take over (%.300s), which "
        "is tried again every %u s",
        served->name, service->ladder.refused.text, (unsigned)(LENSD_LADDER_RETRY_NS / 1000000000u));
}

bool lensd_ladder_moves(const struct lensd_service *service, const struct lensd_served_pack *served)
{
    return service->ladder.job != NULL && service->ladder.job->served == served;
}

/* ---- what is said of it ----------------------------------------------------------------------------------------- */

/* Adds a step to the text, cut where it is full. */
static void __attribute__((format(printf, 3, 4))) add(char *out, size_t size, const char *format, ...)
{
    size_t used = strlen(out);
    va_list arguments;
    if (used > 0)
        snprintf(out + used, size - used, "; ");
    used = strlen(out);
    va_start(arguments, format);
    vsnprintf(out + used, size - used, format, arguments);
    va_end(arguments);
}

static void add_loss(const struct lensd_service *service, char *out, size_t size)
{
    const struct lensd_ladder *ladder = &service->ladder;
    uint32_t waiting = ladder->lost != NULL ? packs_on(service, ladder->lost) : 0;
    if (waiting > 0)
        add(out, size,
            "the card was lost: rows of %u of %u packs are answered without results until the CPU takes over", waiting,
            service->n_packs);
    if (waiting > 0 && ladder->refused.code != 0)
        add(out, size, "it can't now, and new sessions are refused: %s", ladder->refused.text);
    if (waiting == 0 && ladder->on_cpu)
        add(out, size, "the CPU scores, because the card was lost; restart lensd to use it again");
}

void lensd_ladder_text(const struct lensd_service *service, char *out, size_t size)
{
    out[0] = '\0';
    add_loss(service, out, size);
    for (uint32_t i = 0; i < service->n_packs; i++) {
        const struct lensd_served_pack *served = service->packs[i];
        const struct lensd_breaker *open = open_breaker(service, served);
        if (open != NULL)
            add(out, size, "pack %s: base, pinned and kept lenses only, because rows took %.1f ms instead of %.1f",
                served->name, ms_of(&open->slow_ns), ms_of(&open->usual_ns));
        uint32_t has = lensd_pool_slots(served->pool), made = lensd_pool_slots_made(served->pool);
        if (lensd_pool_shortage(served->pool)[0] != '\0')
            add(out, size, "pack %s: %s", served->name, lensd_pool_shortage(served->pool));
        if (has < made)
            add(out, size, "pack %s: %u of its %u slots were given back", served->name, made - has, made);
    }
    if (service->failure[0] != '\0')
        add(out, size, "%s", service->failure);
}

const char *const lensd_step_names[LENSD_STEPS] = {"fewer_slots", "slots_given_back", "base_only",     "card_lost",
                                                   "on_cpu",      "no_new_sessions",  "batches_failed"};

void lensd_ladder_steps(const struct lensd_service *service, bool steps[LENSD_STEPS])
{
    const struct lensd_ladder *ladder = &service->ladder;
    memset(steps, 0, LENSD_STEPS * sizeof *steps);
    steps[LENSD_STEP_CARD_LOST] = ladder->lost != NULL && packs_on(service, ladder->lost) > 0;
    steps[LENSD_STEP_NO_SESSIONS] = steps[LENSD_STEP_CARD_LOST] && ladder->refused.code != 0;
    steps[LENSD_STEP_ON_CPU] = !steps[LENSD_STEP_CARD_LOST] && ladder->on_cpu;
    steps[LENSD_STEP_BATCHES_FAILED] = service->failure[0] != '\0';
    for (uint32_t i = 0; i < service->n_packs; i++) {
        const struct lensd_served_pack *served = service->packs[i];
        steps[LENSD_STEP_BASE_ONLY] |= open_breaker(service, served) != NULL;
        steps[LENSD_STEP_FEWER_SLOTS] |= lensd_pool_shortage(served->pool)[0] != '\0';
        steps[LENSD_STEP_SLOTS_GIVEN] |= lensd_pool_slots(served->pool) < lensd_pool_slots_made(served->pool);
    }
}

void lensd_ladder_close(struct lensd_service *service)
{
    struct lens_backend *lost = service->ladder.lost;
    if (lost != NULL && lost != service->backend)
        lost->ops->close(lost);
    service->ladder.lost = NULL;
}
