/* The ladder of degradation (DESIGN 10): what the daemon does when it can't serve in full, and says of it.
 *
 *   full service
 *   fewer slots, smaller batches   a card without the memory: when a pool is made (pool.h)
 *   base lenses only               a pack's rows take more than twice their usual time (breaker.h), engine.degrade = on
 *   the CPU backend                the device of the backend is lost, or was never there (service_setup.h)
 *   no new sessions                the CPU can't take over either
 *
 * A lost device: a run, or a write into slots, answered -ENODEV. From then on all rows of its packs are answered at
 * once, PARTIAL, DEGRADED and ENGINE_FAILURE. A CPU backend is opened; for one pack after the other a worker makes a
 * pool on it, with as many slots, and the pack goes on with that. It is the same pack: its generation, its sessions and
 * what their sequences retain stay. Slots are filled behind the rows. What can't be moved is tried again every
 * LENSD_LADDER_RETRY_NS; until then its sessions stay attached, and new ones are refused. The lost backend is closed
 * when its last pool is gone. A card that comes back is found by the next start of the daemon, not before: what CUDA
 * has lost stays lost for its process.
 *
 * Each step is logged once when it is entered and once when it is left. Threads: the loop's. */
#ifndef LENSD_LADDER_H
#define LENSD_LADDER_H

#include "daemon/served_pack.h"

#include <uv.h>

#define LENSD_LADDER_RETRY_NS UINT64_C(10000000000)
#define LENSD_LADDER_TEXT     8192u /* bytes of lensd_ladder_text; what is more is cut */

/* What may be in force, several at once. */
enum lensd_step {
    LENSD_STEP_FEWER_SLOTS,    /* a pool got fewer slots, or rows in a batch, than wanted for want of memory */
    LENSD_STEP_SLOTS_GIVEN,    /* slots were given back because others need the card's memory */
    LENSD_STEP_BASE_ONLY,      /* a breaker is open */
    LENSD_STEP_CARD_LOST,      /* rows of some pack are answered without results until the CPU takes over */
    LENSD_STEP_ON_CPU,         /* because the card was lost */
    LENSD_STEP_NO_SESSIONS,    /* the CPU can't take over: new sessions are refused */
    LENSD_STEP_BATCHES_FAILED, /* within the last minute */
    LENSD_STEPS
};
extern const char *const lensd_step_names[LENSD_STEPS]; /* "fewer_slots", .. */

struct lensd_service;
struct lensd_takeover;

struct lensd_ladder {
    struct lens_backend *lost;  /* not closed yet, or NULL */
    bool on_cpu;                /* since a device was lost */
    struct lens_error why;      /* how it was lost */
    struct lens_error refused;  /* why the CPU couldn't take over when that was tried last; code 0 = it could */
    uint64_t next_try_ns;       /* 0 = at once */
    uint32_t next_pack;         /* of service->packs: those before were tried in this round */
    struct lensd_takeover *job; /* the worker's, or NULL */
    uint32_t destroying;        /* pools of the lost device on their way out */
    bool closing;               /* a worker closes the lost backend */
    uv_async_t changed;         /* from the engine's thread */
};

/* Part of the loop's handles; 0 or a uv error. */
int lensd_ladder_init(struct lensd_service *service);

/* For the engine's on_change; `arg` is the service. Any thread. */
void lensd_ladder_signal(void *arg);

/* Enters and leaves steps. Every tick, and when something changed. */
void lensd_ladder_look(struct lensd_service *service);

/* At the start, before there is an engine: packs can't be opened because the device is lost (`err` says how). Closes
 * them and goes over to the CPU; the packs are the caller's to open again. */
int lensd_ladder_start_on_cpu(struct lensd_service *service, struct lens_error *err);

/* A pack that was asked for could not be opened on `backend`, -ENODEV: enters the step. True when another backend is
 * in use now, which can be asked instead. */
bool lensd_ladder_lost(struct lensd_service *service, struct lens_backend *backend, const struct lens_error *why);

/* 0 when the pack takes new sessions, else -EAGAIN with a sentence. */
int lensd_ladder_admits(const struct lensd_service *service, const struct lensd_served_pack *served,
                        struct lens_error *err);
/* What the settings say of pools, for the backend in use: the CPU that took over may lack the card's dtype. */
void lensd_ladder_fit_config(const struct lensd_service *service, struct lensd_pool_config *config);
/* A worker makes a pool of this pack: it can't be unloaded now. */
bool lensd_ladder_moves(const struct lensd_service *service, const struct lensd_served_pack *served);

/* Every step that is in force, "" = full service. */
void lensd_ladder_text(const struct lensd_service *service, char *out, size_t size);

/* The same as flags. */
void lensd_ladder_steps(const struct lensd_service *service, bool steps[LENSD_STEPS]);

/* Closes what is left of a lost backend, after the packs were closed. */
void lensd_ladder_close(struct lensd_service *service);

#endif
