/* The engine: one thread that takes submissions of all sessions, runs them as batches, and writes results.
 *
 * It spins for `spin_us` after the last work, then sleeps on the sessions' doorbells. From descriptor to result it
 * allocates nothing, logs nothing and makes no system call while the clients spin too.
 *
 * Threads: start and stop on the loop thread. attach, detach, swap and end_sequence are called on the loop thread,
 * run on the engine thread and return when done: at once, or, where they change a session (detach, end_sequence) or a
 * pack (swap), when its rows in flight have been answered; rows of others go on. statistics and heartbeat may be read
 * from any thread. */
#ifndef LENSD_ENGINE_H
#define LENSD_ENGINE_H

#include "daemon/session.h"

struct lensd_engine;

struct lensd_engine_config {
    uint32_t spin_us; /* lensd_engine_set_spin changes it */
    uint32_t max_sessions;
    bool degrade; /* engine.degrade: lensd_engine_set_degrade changes it */
    /* Called on the engine thread, once for a session, when its ring was found forged; must only signal (uv_async). */
    void (*on_broken)(void *arg);
    /* Likewise, after a batch failed: lensd_engine_failure says why. May be NULL. */
    void (*on_failure)(void *arg);
    /* Likewise, when a step of degradation was entered or left here: a pack's device was lost
     * (lensd_served_pack_is_lost), a breaker opened or closed (lensd_batch_open_breaker). May be NULL. */
    void (*on_change)(void *arg);
    void *arg;
};

int lensd_engine_start(const struct lensd_engine_config *config, struct lensd_engine **out, struct lens_error *err);

/* Finishes what clients have submitted so far (at most drain_ms), joins the thread, frees. Detach sessions first to
 * drop their work, or leave them attached to drain them. */
void lensd_engine_stop(struct lensd_engine *engine, uint32_t drain_ms);

/* Pins the session's base and pins, then serves it. -ENOSPC: pins don't fit; -EMFILE: max_sessions reached. */
int lensd_engine_attach(struct lensd_engine *engine, struct lensd_session *session, struct lens_error *err);
/* After it returns the engine never touches the session again. */
void lensd_engine_detach(struct lensd_engine *engine, struct lensd_session *session);

/* Moves every session of `old` to its new binding (same order as `sessions`, made by lensd_binding_create) between
 * two batches: all or none. On success bindings[i] holds what the session had before, for the caller to destroy. */
int lensd_engine_swap(struct lensd_engine *engine, struct lensd_session **sessions, struct lensd_binding *bindings,
                      uint32_t n, struct lens_error *err);

/* What is pinned at run time in `served` becomes *pins (NULL = nothing), and of its n sessions, which must be all it
 * has, lists[i] (lensd_binding_pin_list); its rows in flight are answered first, sequences keep what they retained. All
 * or none: -ENOSPC when the slots don't hold them. On success *pins and the lists hold what there was before. */
int lensd_engine_repin(struct lensd_engine *engine, struct lensd_served_pack *served, struct lensd_pins **pins,
                       struct lensd_session *const *sessions, struct lensd_pin_list *lists, uint32_t n,
                       struct lens_error *err);

/* `served` goes on with `pool`, of the same pack and on another backend, between two batches: sessions keep what they
 * have, retained sets too. Its rows in flight are answered first. Nothing of `served` is lost any more. *old is what
 * it had. -ENOSPC: the pins of its sessions don't fit `pool`; then nothing changed. */
int lensd_engine_exchange(struct lensd_engine *engine, struct lensd_served_pack *served, struct lensd_pool *pool,
                          struct lensd_pool **old, struct lens_error *err);
/* The pack's device is lost: from now on its rows are answered as failed at once, those that wait too. */
void lensd_engine_lose(struct lensd_engine *engine, struct lensd_served_pack *served);

/* Whether breakers may open; false closes them. */
void lensd_engine_set_degrade(struct lensd_engine *engine, bool degrade);
/* How long it looks for more work before it sleeps, from its next idle turn on. */
void lensd_engine_set_spin(struct lensd_engine *engine, uint32_t spin_us);
/* Foresight of a pack that is served (cache.prefetch), between two runs. -ENOMEM: as it was. */
int lensd_engine_set_prefetch(struct lensd_engine *engine, struct lensd_served_pack *served, bool prefetch,
                              struct lens_error *err);

/* Has the pack's empty slots filled while rows go on (lensd_pool_fill); *lenses says how many that will be. */
int lensd_engine_fill(struct lensd_engine *engine, struct lensd_served_pack *served, uint32_t *lenses,
                      struct lens_error *err);
/* lensd_pool_give_back and lensd_pool_take_again between two runs; `given` says what give_back answered. */
int lensd_engine_give_back(struct lensd_engine *engine, struct lensd_served_pack *served, bool *given,
                           struct lens_error *err);
int lensd_engine_take_again(struct lensd_engine *engine, struct lensd_served_pack *served, uint64_t bytes,
                            struct lens_error *err);
/* After it returns the engine never touches the pack again; it has no sessions any more. */
void lensd_engine_forget_pack(struct lensd_engine *engine, struct lensd_served_pack *served);

void lensd_engine_end_sequence(struct lensd_engine *engine, struct lensd_session *session, uint64_t sequence);

/* What the session's rules last read in the sequence, into out[session->rules->n]. -ENOENT: no row of it was judged. */
int lensd_engine_rule_readings(struct lensd_engine *engine, struct lensd_session *session, uint64_t sequence,
                               struct lensd_rule_reading *out);

/* How many runs and loads have failed so far, and the sentence of the last one (any thread; takes a short lock). */
uint64_t lensd_engine_failure(struct lensd_engine *engine, struct lens_error *last);

/* How a device was found lost last, code 0 = none was (any thread). */
void lensd_engine_loss(struct lensd_engine *engine, struct lens_error *why);

const struct lensd_statistics *lensd_engine_statistics(const struct lensd_engine *engine);
/* Grows while the engine is alive (once a turn, and once a second when idle): for the watchdog. */
uint64_t lensd_engine_heartbeat(const struct lensd_engine *engine);

#endif
