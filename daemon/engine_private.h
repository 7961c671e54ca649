/* Inside the engine: engine.c (its thread, starting, stopping), engine_calls.c (what the loop thread asks of it). */
#ifndef LENSD_ENGINE_PRIVATE_H
#define LENSD_ENGINE_PRIVATE_H

#include "daemon/engine.h"

#include <pthread.h>
#include <stdatomic.h>

/* Work of the loop thread (one at a time: only that thread makes calls), run between two runs of the backend. */
struct call {
    /* What it changes: it runs when nothing of that is in flight; nothing new of that starts meanwhile, all else goes
     * on. Neither: it runs at once. */
    struct lensd_session *session;
    struct lensd_served_pack *pack;
    int (*run)(struct lensd_engine *engine, void *arg, struct lens_error *err);
    void *arg;
    struct lens_error *err;
    int result;
    bool done;
};

struct lensd_engine {
    struct lensd_engine_config config;
    pthread_t thread;
    int epoll, kick; /* kick: an eventfd the loop thread writes after leaving a call or a stop */
    pthread_mutex_t lock;
    pthread_cond_t called;
    struct call *call;         /* under lock */
    struct lens_error failure; /* under lock */
    struct lens_error loss;    /* under lock: how a device was found lost last */
    uint64_t failures;         /* under lock */
    atomic_bool has_call;
    atomic_bool stopping;
    atomic_bool degrade;
    _Atomic uint64_t spin_ns;
    _Atomic uint64_t stop_at_ns;
    _Atomic uint64_t heartbeat;
    struct lensd_session **sessions; /* the engine thread's */
    uint32_t n_sessions, next_session;
    uint64_t turns;                       /* looks for new submissions */
    const struct lensd_served_pack *held; /* a call waits to change it: its sessions start nothing new */
    struct lensd_served_pack **packs; /* those of the sessions, and others whose pools still load what was asked for */
    uint32_t n_packs, max_packs;
    struct lensd_statistics *statistics;
};

/* Ends the engine's sleep. Any thread. */
void engine_kick(struct lensd_engine *engine);
/* Some row of some pack is being worked on, or waits for lenses. Engine thread, like the next. */
bool engine_in_flight(const struct lensd_engine *engine);
/* Runs the call that waits, if any, as soon as nothing that it changes is in flight. */
void engine_answer_call(struct lensd_engine *engine);

#endif
