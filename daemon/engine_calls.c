/* What the loop thread asks of the engine: attach, detach, swap and the like. Each runs on the engine thread between
 * two runs of the backend, while the loop thread waits: at once, or when the rows of the session or pack that it
 * changes have been answered. Rows of others don't wait for it. See engine.h. */
#include "daemon/batch.h"
#include "daemon/cache/predict.h"
#include "daemon/engine_private.h"
#include "daemon/pins.h"
#include "daemon/tracing.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

void engine_kick(struct lensd_engine *engine)
{
    uint64_t one = 1;
    ssize_t n = write(engine->kick, &one, sizeof one);
    (void)n; /* a full counter is a kick that is already due */
}

/* Has `call` run; its `run`, `arg`, `err` and what it changes are set. */
static int make_call(struct lensd_engine *engine, struct call *call)
{
    pthread_mutex_lock(&engine->lock);
    engine->call = call;
    atomic_store_explicit(&engine->has_call, true, memory_order_release);
    engine_kick(engine);
    while (!call->done)
        pthread_cond_wait(&engine->called, &engine->lock);
    pthread_mutex_unlock(&engine->lock);
    return call->result;
}

static int call_engine(struct lensd_engine *engine, int (*run)(struct lensd_engine *, void *, struct lens_error *),
                       void *arg, struct lens_error *err)
{
    return make_call(engine, &(struct call){.run = run, .arg = arg, .err = err});
}

bool engine_in_flight(const struct lensd_engine *engine)
{
    for (uint32_t i = 0; i < engine->n_packs; i++)
        if (lensd_batch_in_flight(engine->packs[i]->batch))
            return true;
    return false;
}

/* Nothing new of what the call changes starts until it ran (hold) or, from then on, may again. */
static void hold(struct lensd_engine *engine, const struct call *call, bool held)
{
    if (call->session != NULL)
        __atomic_store_n(&call->session->held, held, __ATOMIC_RELAXED);
    engine->held = held ? call->pack : NULL;
}

static bool may_run(const struct call *call)
{
    return (call->session == NULL || call->session->in_flight == 0) &&
           (call->pack == NULL || !lensd_batch_in_flight(call->pack->batch));
}

void engine_answer_call(struct lensd_engine *engine)
{
    if (!atomic_load_explicit(&engine->has_call, memory_order_acquire))
        return;
    pthread_mutex_lock(&engine->lock);
    struct call *call = engine->call;
    bool run = may_run(call);
    hold(engine, call, !run);
    if (run) {
        engine->call = NULL;
        atomic_store_explicit(&engine->has_call, false, memory_order_relaxed);
        call->result = call->run(engine, call->arg, call->err);
        call->done = true;
        pthread_cond_broadcast(&engine->called);
    }
    pthread_mutex_unlock(&engine->lock);
}

/* The engine serves the pack from now on; loads that come in end its sleep, too. Packs leave in drop_unused_packs. */
static int serve_pack(struct lensd_engine *engine, struct lensd_served_pack *served, struct lens_error *err)
{
    for (uint32_t i = 0; i < engine->n_packs; i++)
        if (engine->packs[i] == served)
            return 0;
    if (engine->n_packs == engine->max_packs)
        return lens_error_set(err, -ENOSPC, "%u packs are in use, the most this engine serves", engine->n_packs);
    struct epoll_event event = {.events = EPOLLIN | EPOLLET}; /* a ring that comes late wakes once, not for ever */
    if (epoll_ctl(engine->epoll, EPOLL_CTL_ADD, lensd_pool_fd(served->pool), &event) != 0)
        return lens_error_set(err, -errno, "watching a pack's loads: %s", strerror(errno));
    engine->packs[engine->n_packs++] = served;
    return 0;
}

static bool has_sessions(const struct lensd_engine *engine, const struct lensd_served_pack *served)
{
    for (uint32_t i = 0; i < engine->n_sessions; i++)
        if (engine->sessions[i]->binding.served == served)
            return true;
    return false;
}

static void drop_pack(struct lensd_engine *engine, uint32_t i)
{
    (void)epoll_ctl(engine->epoll, EPOLL_CTL_DEL, lensd_pool_fd(engine->packs[i]->pool), NULL);
    engine->packs[i] = engine->packs[--engine->n_packs];
}

static void drop_unused_packs(struct lensd_engine *engine)
{
    for (uint32_t i = engine->n_packs; i > 0; i--)
        if (!has_sessions(engine, engine->packs[i - 1]) && !lensd_pool_busy(engine->packs[i - 1]->pool))
            drop_pack(engine, i - 1);
}

static int pin_binding(const struct lensd_binding *binding, struct lensd_pool *pool, struct lens_error *err)
{
    int r = lensd_pool_pin(pool, binding->base, binding->n_base, err);
    if (r != 0)
        return r;
    r = lensd_pool_pin(pool, binding->pinned, binding->n_pinned, err);
    if (r != 0)
        lensd_pool_unpin(pool, binding->base, binding->n_base);
    return r;
}

static void unpin_binding(const struct lensd_binding *binding)
{
    lensd_pool_unpin(binding->served->pool, binding->base, binding->n_base);
    lensd_pool_unpin(binding->served->pool, binding->pinned, binding->n_pinned);
}

static int attach_here(struct lensd_engine *engine, void *arg, struct lens_error *err)
{
    struct lensd_session *session = arg;
    if (engine->n_sessions == engine->config.max_sessions)
        return lens_error_set(err, -EMFILE,
                              "%u sessions are attached already, the most this daemon serves: detach "
                              "one or raise ipc.max_sessions",
                              engine->n_sessions);
    int r = serve_pack(engine, session->binding.served, err);
    if (r != 0)
        return r;
    r = pin_binding(&session->binding, session->binding.served->pool, err);
    if (r != 0)
        return r;
    struct epoll_event event = {.events = EPOLLIN | EPOLLET};
    if (epoll_ctl(engine->epoll, EPOLL_CTL_ADD, session->doorbell, &event) != 0) {
        r = -errno;
        unpin_binding(&session->binding);
        return lens_error_set(err, r, "watching a session's doorbell: %s", strerror(-r));
    }
    engine->sessions[engine->n_sessions++] = session;
    return 0;
}

int lensd_engine_attach(struct lensd_engine *engine, struct lensd_session *session, struct lens_error *err)
{
    return call_engine(engine, attach_here, session, err);
}

/* What the session sent and will hear nothing of, also what wasn't looked at yet. */
static void count_abandoned(struct lensd_engine *engine, struct lensd_session *session)
{
    uint32_t slots = session->ring.layout.submit_slots;
    (void)lensd_batch_intake(session);
    for (uint64_t i = session->pending_tail; i < session->pending_head; i++)
        if (session->pending_state[i % slots] != LENSD_PENDING_DONE)
            lensd_counter_add(&engine->statistics->abandoned_rows, session->pending[i % slots].rows);
}

static int detach_here(struct lensd_engine *engine, void *arg, struct lens_error *err)
{
    (void)err;
    struct lensd_session *session = arg;
    for (uint32_t i = 0; i < engine->n_sessions; i++) {
        if (engine->sessions[i] != session)
            continue;
        engine->sessions[i] = engine->sessions[--engine->n_sessions];
        (void)epoll_ctl(engine->epoll, EPOLL_CTL_DEL, session->doorbell, NULL);
        unpin_binding(&session->binding);
        count_abandoned(engine, session);
        break;
    }
    drop_unused_packs(engine);
    return 0;
}

void lensd_engine_detach(struct lensd_engine *engine, struct lensd_session *session)
{
    (void)make_call(engine, &(struct call){.session = session, .run = detach_here, .arg = session});
}

struct swap {
    struct lensd_session **sessions;
    struct lensd_binding *bindings;
    uint32_t n;
};

static void rebind(struct lensd_session *session, struct lensd_binding *binding)
{
    unpin_binding(&session->binding);
    struct lensd_binding old = session->binding;
    session->binding = *binding;
    old.storage = lensd_sequences_rebase(&session->sequences, binding->storage, binding->retained_capacity);
    session->binding.storage = NULL;
    *binding = old;
}

static int swap_here(struct lensd_engine *engine, void *arg, struct lens_error *err)
{
    struct swap *swap = arg;
    uint32_t pinned = 0;
    int r = 0;
    for (; pinned < swap->n; pinned++) {
        r = serve_pack(engine, swap->bindings[pinned].served, err);
        if (r == 0)
            r = pin_binding(&swap->bindings[pinned], swap->bindings[pinned].served->pool, err);
        if (r != 0)
            break;
    }
    if (r != 0) {
        while (pinned > 0)
            unpin_binding(&swap->bindings[--pinned]);
        return r;
    }
    for (uint32_t i = 0; i < swap->n; i++)
        rebind(swap->sessions[i], &swap->bindings[i]);
    drop_unused_packs(engine);
    return 0;
}

int lensd_engine_swap(struct lensd_engine *engine, struct lensd_session **sessions, struct lensd_binding *bindings,
                      uint32_t n, struct lens_error *err)
{
    struct swap swap = {sessions, bindings, n};
    struct call call = {.pack = n > 0 ? sessions[0]->binding.served : NULL, .run = swap_here, .arg = &swap, .err = err};
    return make_call(engine, &call);
}

struct repin {
    struct lensd_served_pack *served;
    struct lensd_pins **pins;
    struct lensd_session *const *sessions;
    struct lensd_pin_list *lists;
    uint32_t n;
};

static int pin_pack(const struct lensd_pins *pins, struct lensd_pool *pool, struct lens_error *err)
{
    return pins != NULL ? lensd_pool_pin(pool, pins->lenses, pins->n, err) : 0;
}

static void unpin_pack(const struct lensd_pins *pins, struct lensd_pool *pool)
{
    if (pins != NULL)
        lensd_pool_unpin(pool, pins->lenses, pins->n);
}

static void take_list(struct lensd_session *session, struct lensd_pin_list *list, struct lensd_pool *pool)
{
    struct lensd_binding *binding = &session->binding;
    const struct lensd_pin_list old = {binding->pinned, binding->n_pinned};
    lensd_pool_unpin(pool, old.lenses, old.n);
    binding->pinned = list->lenses;
    binding->n_pinned = list->n;
    *list = old;
}

/* The pack pins what it is to have by itself, so that it stays pinned while no session is there. */
static int repin_here(struct lensd_engine *engine, void *arg, struct lens_error *err)
{
    (void)engine;
    struct repin *repin = arg;
    struct lensd_pool *pool = repin->served->pool;
    struct lensd_pins *old = repin->served->pins;
    uint32_t pinned = 0;
    int r = pin_pack(*repin->pins, pool, err);
    if (r != 0)
        return r;
    while (r == 0 && pinned < repin->n) {
        r = lensd_pool_pin(pool, repin->lists[pinned].lenses, repin->lists[pinned].n, err);
        pinned += r == 0;
    }
    if (r != 0) {
        for (uint32_t i = 0; i < pinned; i++)
            lensd_pool_unpin(pool, repin->lists[i].lenses, repin->lists[i].n);
        unpin_pack(*repin->pins, pool);
        return r;
    }
    for (uint32_t i = 0; i < repin->n; i++)
        take_list(repin->sessions[i], &repin->lists[i], pool);
    unpin_pack(old, pool);
    repin->served->pins = *repin->pins;
    *repin->pins = old;
    return 0;
}

int lensd_engine_repin(struct lensd_engine *engine, struct lensd_served_pack *served, struct lensd_pins **pins,
                       struct lensd_session *const *sessions, struct lensd_pin_list *lists, uint32_t n,
                       struct lens_error *err)
{
    struct repin repin = {served, pins, sessions, lists, n};
    struct call call = {.pack = served, .run = repin_here, .arg = &repin, .err = err};
    return make_call(engine, &call);
}

struct exchange {
    struct lensd_served_pack *served;
    struct lensd_pool *pool, *old;
};

/* Pins in the new pool what the pack and its sessions pin. */
static int pin_sessions(struct lensd_engine *engine, const struct exchange *exchange, struct lens_error *err)
{
    int r = pin_pack(exchange->served->pins, exchange->pool, err);
    for (uint32_t i = 0; r == 0 && i < engine->n_sessions; i++) {
        const struct lensd_binding *binding = &engine->sessions[i]->binding;
        r = binding->served == exchange->served ? pin_binding(binding, exchange->pool, err) : 0;
    }
    return r; /* a pool that took only some of them is not going to be used */
}

static bool is_served(const struct lensd_engine *engine, const struct lensd_served_pack *served)
{
    for (uint32_t i = 0; i < engine->n_packs; i++)
        if (engine->packs[i] == served)
            return true;
    return false;
}

/* Lets the engine hear of loads of the new pool instead of the old one's. */
static int watch_instead(struct lensd_engine *engine, const struct exchange *exchange, struct lens_error *err)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLET};
    if (!is_served(engine, exchange->served))
        return 0;
    if (epoll_ctl(engine->epoll, EPOLL_CTL_ADD, lensd_pool_fd(exchange->pool), &event) != 0)
        return lens_error_set(err, -errno, "watching a pack's loads: %s", strerror(errno));
    (void)epoll_ctl(engine->epoll, EPOLL_CTL_DEL, lensd_pool_fd(exchange->served->pool), NULL);
    return 0;
}

static int exchange_here(struct lensd_engine *engine, void *arg, struct lens_error *err)
{
    struct exchange *exchange = arg;
    struct lensd_served_pack *served = exchange->served;
    int r = pin_sessions(engine, exchange, err);
    if (r == 0)
        r = watch_instead(engine, exchange, err);
    if (r != 0)
        return r;
    exchange->old = served->pool;
    served->pool = exchange->pool;
    served->batch->failures_told = 0;
    (void)lensd_breaker_reset(&served->batch->breaker); /* what is usual there is not usual here */
    for (uint32_t i = 0; i < engine->n_sessions; i++)
        if (engine->sessions[i]->binding.served == served)
            engine->sessions[i]->binding.rows_locked = false; /* for the old pool's device */
    lensd_served_pack_set_lost(served, false);
    return 0;
}

int lensd_engine_exchange(struct lensd_engine *engine, struct lensd_served_pack *served, struct lensd_pool *pool,
                          struct lensd_pool **old, struct lens_error *err)
{
    struct exchange exchange = {served, pool, NULL};
    struct call call = {.pack = served, .run = exchange_here, .arg = &exchange, .err = err};
    int r = make_call(engine, &call);
    *old = exchange.old;
    return r;
}

void lensd_engine_lose(struct lensd_engine *engine, struct lensd_served_pack *served)
{
    lensd_served_pack_set_lost(served, true);
    engine_kick(engine);
}

void lensd_engine_set_degrade(struct lensd_engine *engine, bool degrade)
{
    atomic_store_explicit(&engine->degrade, degrade, memory_order_relaxed);
}

void lensd_engine_set_spin(struct lensd_engine *engine, uint32_t spin_us)
{
    atomic_store_explicit(&engine->spin_ns, (uint64_t)spin_us * 1000, memory_order_relaxed);
}

struct foresight {
    struct lensd_served_pack *served;
    struct lensd_predictor *predictor; /* the new one, then the old one */
};

static int foresee_here(struct lensd_engine *engine, void *arg, struct lens_error *err)
{
    (void)engine;
    (void)err;
    struct foresight *foresight = arg;
    foresight->predictor = lensd_pool_exchange_predictor(foresight->served->pool, foresight->predictor);
    return 0;
}

int lensd_engine_set_prefetch(struct lensd_engine *engine, struct lensd_served_pack *served, bool prefetch,
                              struct lens_error *err)
{
    struct foresight foresight = {served, NULL};
    if (lensd_pool_foresees(served->pool) == prefetch)
        return 0;
    int r = prefetch ? lensd_pool_make_predictor(served->pool, &foresight.predictor, err) : 0;
    if (r == 0)
        r = call_engine(engine, foresee_here, &foresight, err);
    lensd_predictor_destroy(foresight.predictor);
    return r;
}

struct filling {
    struct lensd_served_pack *served;
    uint32_t lenses;
};

static int fill_here(struct lensd_engine *engine, void *arg, struct lens_error *err)
{
    struct filling *filling = arg;
    int r = serve_pack(engine, filling->served, err);
    if (r == 0)
        filling->lenses = lensd_pool_fill(filling->served->pool);
    return r;
}

int lensd_engine_fill(struct lensd_engine *engine, struct lensd_served_pack *served, uint32_t *lenses,
                      struct lens_error *err)
{
    struct filling filling = {served, 0};
    int r = call_engine(engine, fill_here, &filling, err);
    *lenses = filling.lenses;
    return r;
}

struct resizing {
    struct lensd_served_pack *served;
    uint64_t bytes;
    bool given;
};

static int give_back_here(struct lensd_engine *engine, void *arg, struct lens_error *err)
{
    struct resizing *resizing = arg;
    int r = serve_pack(engine, resizing->served, err);
    if (r == 0)
        resizing->given = lensd_pool_give_back(resizing->served->pool);
    return r;
}

int lensd_engine_give_back(struct lensd_engine *engine, struct lensd_served_pack *served, bool *given,
                           struct lens_error *err)
{
    struct resizing resizing = {.served = served};
    int r = call_engine(engine, give_back_here, &resizing, err);
    *given = resizing.given;
    return r;
}

static int take_again_here(struct lensd_engine *engine, void *arg, struct lens_error *err)
{
    (void)engine;
    const struct resizing *resizing = arg;
    return lensd_pool_take_again(resizing->served->pool, resizing->bytes, err);
}

int lensd_engine_take_again(struct lensd_engine *engine, struct lensd_served_pack *served, uint64_t bytes,
                            struct lens_error *err)
{
    struct resizing resizing = {.served = served, .bytes = bytes};
    return call_engine(engine, take_again_here, &resizing, err);
}

static int forget_here(struct lensd_engine *engine, void *arg, struct lens_error *err)
{
    (void)err;
    for (uint32_t i = 0; i < engine->n_packs; i++)
        if (engine->packs[i] == arg) {
            drop_pack(engine, i);
            break;
        }
    return 0;
}

void lensd_engine_forget_pack(struct lensd_engine *engine, struct lensd_served_pack *served)
{
    (void)call_engine(engine, forget_here, served, NULL);
}

struct tracing {
    struct lensd_served_pack *served;
    struct lensd_tracing *tracing;
};

static int trace_here(struct lensd_engine *engine, void *arg, struct lens_error *err)
{
    (void)engine;
    (void)err;
    struct tracing *trace = arg;
    trace->served->tracing = trace->tracing;
    return 0;
}

void lensd_engine_trace(struct lensd_engine *engine, struct lensd_served_pack *served, struct lensd_tracing *tracing)
{
    struct tracing trace = {served, tracing};
    (void)call_engine(engine, trace_here, &trace, NULL);
}

struct ending {
    struct lensd_session *session;
    uint64_t sequence;
};

static int end_here(struct lensd_engine *engine, void *arg, struct lens_error *err)
{
    (void)engine;
    (void)err;
    struct ending *ending = arg;
    lensd_sequences_end(&ending->session->sequences, ending->sequence);
    return 0;
}

struct judged {
    struct lensd_session *session;
    uint64_t sequence;
    struct lensd_rule_reading *out;
};

static int read_rules_here(struct lensd_engine *engine, void *arg, struct lens_error *err)
{
    (void)engine;
    (void)err;
    const struct judged *judged = arg;
    struct lensd_session *session = judged->session;
    const struct lensd_sequence *sequence = lensd_sequences_find(&session->sequences, judged->sequence);
    if (sequence == NULL || !sequence->judged)
        return -ENOENT;
    for (uint32_t i = 0; i < session->rules->n; i++)
        lensd_rules_reading(session->rules, lensd_session_rule_state(session, sequence), i, &judged->out[i]);
    return 0;
}

int lensd_engine_rule_readings(struct lensd_engine *engine, struct lensd_session *session, uint64_t sequence,
                               struct lensd_rule_reading *out)
{
    struct judged judged = {session, sequence, out};
    return call_engine(engine, read_rules_here, &judged, NULL);
}

void lensd_engine_end_sequence(struct lensd_engine *engine, struct lensd_session *session, uint64_t sequence)
{
    struct ending ending = {session, sequence};
    (void)make_call(engine, &(struct call){.session = session, .run = end_here, .arg = &ending});
}
