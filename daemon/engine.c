/* See engine.h. The engine's thread: its rounds, and how it sleeps. What the loop thread asks of it is
 * engine_calls.c's. */
#include "daemon/batch.h"
#include "daemon/engine_private.h"
#include "daemon/sys.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define IDLE_MS      1000 /* the heartbeat's period while nothing happens */
#define CLOCK_TURNS  16   /* idle turns between two looks at the clock */
#define FILLED_PACKS 64   /* packs without sessions whose slots are being filled, at most */

uint64_t lensd_engine_failure(struct lensd_engine *engine, struct lens_error *last)
{
    pthread_mutex_lock(&engine->lock);
    uint64_t failures = engine->failures;
    *last = engine->failure;
    pthread_mutex_unlock(&engine->lock);
    return failures;
}

void lensd_engine_loss(struct lensd_engine *engine, struct lens_error *why)
{
    pthread_mutex_lock(&engine->lock);
    *why = engine->loss;
    pthread_mutex_unlock(&engine->lock);
}

const struct lensd_statistics *lensd_engine_statistics(const struct lensd_engine *engine)
{
    return engine->statistics;
}

uint64_t lensd_engine_heartbeat(const struct lensd_engine *engine)
{
    return atomic_load_explicit(&engine->heartbeat, memory_order_relaxed);
}

/* ---- the engine's thread ---------------------------------------------------------------------------------------- */

static void intake_all(struct lensd_engine *engine)
{
    for (uint32_t i = 0; i < engine->n_sessions; i++) {
        struct lensd_session *session = engine->sessions[i];
        if (atomic_load_explicit(&session->broken, memory_order_relaxed))
            continue;
        if (lensd_batch_intake(session))
            continue;
        atomic_store_explicit(&session->broken, true, memory_order_release);
        engine->config.on_broken(engine->config.arg);
    }
}

static void record_failure(struct lensd_engine *engine, const struct lens_error *failure)
{
    pthread_mutex_lock(&engine->lock);
    engine->failures++;
    engine->failure = *failure;
    pthread_mutex_unlock(&engine->lock);
    if (engine->config.on_failure != NULL)
        engine->config.on_failure(engine->config.arg);
}

static void tell_of_change(const struct lensd_engine *engine)
{
    if (engine->config.on_change != NULL)
        engine->config.on_change(engine->config.arg);
}

/* A failed run or load; the one that finds the device lost is the last that is tried there, and told of. */
static void note_failure(struct lensd_engine *engine, struct lensd_served_pack *pack, const struct lens_error *failure)
{
    if (lensd_served_pack_is_lost(pack))
        return;
    record_failure(engine, failure);
    if (failure->code != -ENODEV)
        return;
    pthread_mutex_lock(&engine->lock);
    engine->loss = *failure;
    pthread_mutex_unlock(&engine->lock);
    lensd_served_pack_set_lost(pack, true);
    tell_of_change(engine);
}

/* This thread has other things to do, or mustn't start on a read: the loaders' threads do what waits. */
static void delegate_loading(struct lensd_engine *engine)
{
    for (uint32_t i = 0; i < engine->n_packs; i++)
        lensd_pool_delegate(engine->packs[i]->pool);
}

/* Loads that failed are told of, whoever wanted them. */
static void tell_of_lost_lenses(struct lensd_engine *engine, struct lensd_served_pack *pack)
{
    if (lensd_pool_failed(pack->pool) == pack->batch->failures_told)
        return;
    struct lens_error why;
    pack->batch->failures_told = lensd_pool_failures(pack->pool, &why);
    note_failure(engine, pack, &why);
}

/* `begin_ns`: when this began, by a clock that was looked at anyway where rows are new. */
static void execute(struct lensd_engine *engine, struct lensd_served_pack *pack, uint64_t begin_ns)
{
    bool turned;
    delegate_loading(engine);
    if (lensd_batch_execute(pack, engine->statistics, &turned) != 0)
        note_failure(engine, pack, &pack->batch->failure);
    lensd_counter_add(&engine->statistics->busy_ns, lensd_now_ns() - begin_ns);
    if (turned)
        tell_of_change(engine);
    tell_of_lost_lenses(engine, pack);
}

/* Goes on with what is in flight where lenses came in or a deadline passed; true when there was such. */
static bool run_due(struct lensd_engine *engine)
{
    bool any = false;
    for (uint32_t i = 0; i < engine->n_packs; i++) {
        struct lensd_served_pack *pack = engine->packs[i];
        if (!lensd_batch_in_flight(pack->batch) || !lensd_batch_due(pack))
            continue;
        execute(engine, pack, lensd_now_ns());
        any = true;
    }
    return any;
}

/* The setting may have changed; where no rows come, a breaker stays as it is. */
static void heed_degrade(struct lensd_engine *engine, struct lensd_served_pack *pack)
{
    if (lensd_batch_allow_degrade(pack->batch, atomic_load_explicit(&engine->degrade, memory_order_relaxed)))
        tell_of_change(engine);
}

/* Picks new submissions for the pack of the first session, in turn, that has any. True when some were, or are left. */
static bool run_new(struct lensd_engine *engine)
{
    engine->turns++;
    for (uint32_t i = 0; i < engine->n_sessions; i++) {
        uint32_t first = (engine->next_session + i) % engine->n_sessions;
        struct lensd_session *session = engine->sessions[first];
        struct lensd_served_pack *pack = session->binding.served;
        if (session->pending_head == session->pending_tail || pack->batch->offered_in == engine->turns ||
            pack == engine->held)
            continue;
        pack->batch->offered_in = engine->turns;
        heed_degrade(engine, pack);
        bool any = lensd_batch_assemble(pack, engine->sessions, engine->n_sessions, first, engine->statistics);
        if (any || session->refused_rows > 0)
            engine->next_session = pack->batch->next_start;
        if (any)
            execute(engine, pack, pack->batch->assembled_ns);
        if (any || session->refused_rows > 0)
            return true;
    }
    return false;
}

/* Packs that nothing is in flight for go on loading what rows went without; true when some of it came in. */
static bool tend_pools(struct lensd_engine *engine)
{
    bool any = false;
    for (uint32_t i = 0; i < engine->n_packs; i++) {
        struct lensd_served_pack *pack = engine->packs[i];
        bool ready = lensd_pool_ready(pack->pool);
        if (lensd_served_pack_is_lost(pack) || lensd_batch_in_flight(pack->batch) ||
            (!ready && !lensd_pool_busy(pack->pool)))
            continue;
        lensd_pool_idle(pack->pool);
        tell_of_lost_lenses(engine, pack);
        any = any || ready;
    }
    return any;
}

/* With nothing to score: reads one of the lenses that somebody waits for, unless a deadline might pass meanwhile, or
 * the loop thread waits. */
static bool help_loading(struct lensd_engine *engine)
{
    bool pressed = atomic_load_explicit(&engine->has_call, memory_order_relaxed);
    for (uint32_t i = 0; i < engine->n_packs; i++)
        pressed = pressed || lensd_batch_next_deadline(engine->packs[i]->batch) != 0;
    if (pressed) {
        delegate_loading(engine);
        return false;
    }
    for (uint32_t i = 0; i < engine->n_packs; i++)
        if (!lensd_served_pack_is_lost(engine->packs[i]) && lensd_pool_help(engine->packs[i]->pool))
            return true;
    return false;
}

/* One round: calls, new descriptors, what can go on, new submissions. True when there was work. */
static bool turn(struct lensd_engine *engine)
{
    uint64_t beat = atomic_load_explicit(&engine->heartbeat, memory_order_relaxed);
    atomic_store_explicit(&engine->heartbeat, beat + 1, memory_order_relaxed);
    engine_answer_call(engine);
    intake_all(engine);
    bool worked = run_due(engine);
    worked = run_new(engine) || worked;
    worked = tend_pools(engine) || worked;
    return worked || help_loading(engine);
}

static bool anything_waits(const struct lensd_engine *engine)
{
    if (atomic_load(&engine->has_call) || atomic_load(&engine->stopping))
        return true;
    for (uint32_t i = 0; i < engine->n_sessions; i++) {
        const struct lensd_session *session = engine->sessions[i];
        if (!atomic_load_explicit(&session->broken, memory_order_relaxed) && lens_ring_server_pending(&session->ring))
            return true;
    }
    return false;
}

static void announce(struct lensd_engine *engine, bool sleeping)
{
    for (uint32_t i = 0; i < engine->n_sessions; i++)
        lens_ring_server_set_sleeping(&engine->sessions[i]->ring, sleeping);
}

/* Asks the pools to ring when a load comes in; false when one has already. */
static bool arm_pools(struct lensd_engine *engine)
{
    bool quiet = true;
    for (uint32_t i = 0; i < engine->n_packs; i++)
        if (!lensd_served_pack_is_lost(engine->packs[i])) /* nobody takes what comes in there */
            quiet = lensd_pool_arm(engine->packs[i]->pool) && quiet;
    return quiet;
}

static void disarm_pools(struct lensd_engine *engine)
{
    for (uint32_t i = 0; i < engine->n_packs; i++)
        lensd_pool_disarm(engine->packs[i]->pool);
}

/* Milliseconds until a job must do without lenses, or the heartbeat is due. */
static int sleep_ms(const struct lensd_engine *engine)
{
    uint64_t first = 0;
    for (uint32_t i = 0; i < engine->n_packs; i++) {
        uint64_t deadline = lensd_batch_next_deadline(engine->packs[i]->batch);
        if (deadline != 0 && (first == 0 || deadline < first))
            first = deadline;
    }
    if (first == 0)
        return IDLE_MS;
    uint64_t now = lensd_now_ns();
    uint64_t ms = first > now ? (first - now) / 1000000 : 0;
    return ms < IDLE_MS ? (int)ms : IDLE_MS;
}

/* Sleeps until a doorbell, a kick, a load, a deadline, or the heartbeat's period. Doorbells are edge triggered and
 * never read: a client can't block or delay anybody by what it does to its own. */
static void sleep_until_work(struct lensd_engine *engine)
{
    struct epoll_event events[16];
    int timeout = sleep_ms(engine);
    announce(engine, true);
    if (arm_pools(engine) && !anything_waits(engine))
        (void)epoll_wait(engine->epoll, events, 16, timeout);
    disarm_pools(engine);
    announce(engine, false);
    uint64_t kicks;
    ssize_t n = read(engine->kick, &kicks, sizeof kicks);
    (void)n;
}

static bool drained(struct lensd_engine *engine, bool worked)
{
    if (!atomic_load(&engine->stopping))
        return false;
    bool done = !worked && !engine_in_flight(engine);
    return done || lensd_now_ns() >= atomic_load(&engine->stop_at_ns);
}

/* How long nothing has happened. Reading the clock costs as much as a turn, so it is read now and then. */
struct idling {
    uint64_t turns, since_ns;
};

static bool spun_long_enough(const struct lensd_engine *engine, struct idling *idle)
{
    uint64_t spin_ns = atomic_load_explicit(&engine->spin_ns, memory_order_relaxed);
    if (idle->turns++ == 0)
        idle->since_ns = lensd_now_ns();
    return spin_ns == 0 || (idle->turns % CLOCK_TURNS == 0 && lensd_now_ns() - idle->since_ns >= spin_ns);
}

static void *engine_main(void *arg)
{
    struct lensd_engine *engine = arg;
    struct idling idle = {0};
    for (;;) {
        bool worked = turn(engine);
        if (drained(engine, worked))
            break;
        if (worked) {
            idle.turns = 0;
        } else if (spun_long_enough(engine, &idle)) {
            sleep_until_work(engine);
            idle.turns = 0;
        } else {
            __builtin_ia32_pause();
        }
    }
    return NULL;
}

/* ---- start and stop --------------------------------------------------------------------------------------------- */

static int open_descriptors(struct lensd_engine *engine)
{
    engine->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (engine->epoll < 0)
        return -errno;
    engine->kick = lensd_eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (engine->kick < 0)
        return engine->kick;
    struct epoll_event event = {.events = EPOLLIN};
    return epoll_ctl(engine->epoll, EPOLL_CTL_ADD, engine->kick, &event) != 0 ? -errno : 0;
}

static void free_engine(struct lensd_engine *engine)
{
    if (engine->epoll >= 0)
        close(engine->epoll);
    if (engine->kick >= 0)
        close(engine->kick);
    pthread_cond_destroy(&engine->called);
    pthread_mutex_destroy(&engine->lock);
    lensd_free(engine->sessions);
    lensd_free(engine->packs);
    lensd_free(engine->statistics);
    lensd_free(engine);
}

int lensd_engine_start(const struct lensd_engine_config *config, struct lensd_engine **out, struct lens_error *err)
{
    *out = NULL;
    struct lensd_engine *engine = lensd_calloc(1, sizeof *engine);
    if (engine == NULL)
        return lens_error_set(err, -ENOMEM, "no memory for the engine");
    engine->config = *config;
    atomic_store(&engine->degrade, config->degrade);
    lensd_engine_set_spin(engine, config->spin_us);
    engine->epoll = engine->kick = -1;
    pthread_mutex_init(&engine->lock, NULL);
    pthread_cond_init(&engine->called, NULL);
    engine->sessions = lensd_calloc(config->max_sessions, sizeof *engine->sessions);
    engine->max_packs = 2 * config->max_sessions + FILLED_PACKS;
    engine->packs = lensd_calloc(engine->max_packs, sizeof *engine->packs);
    engine->statistics = lensd_calloc(1, sizeof *engine->statistics);
    int r = engine->sessions != NULL && engine->packs != NULL && engine->statistics != NULL ? 0 : -ENOMEM;
    if (r == 0)
        r = open_descriptors(engine);
    if (r == 0)
        r = lensd_thread_start(&engine->thread, "lensd-engine", engine_main, engine);
    if (r != 0) {
        free_engine(engine);
        return lens_error_set(err, r, "starting the engine: %s", strerror(-r));
    }
    *out = engine;
    return 0;
}

void lensd_engine_stop(struct lensd_engine *engine, uint32_t drain_ms)
{
    atomic_store(&engine->stop_at_ns, lensd_now_ns() + (uint64_t)drain_ms * 1000000);
    atomic_store(&engine->stopping, true);
    engine_kick(engine);
    pthread_join(engine->thread, NULL);
    free_engine(engine);
}
