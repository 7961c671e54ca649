/* The submissions of one pack that are in flight: choosing them fairly, running them, publishing results.
 *
 * A submission is a job from when it is picked until it is answered; one that waits for lenses stays while others come
 * and go. All memory is taken at creation. Threads: create and destroy on any one; else the engine's. Private to
 * daemon/. */
#ifndef LENSD_BATCH_H
#define LENSD_BATCH_H

#include "daemon/breaker.h"
#include "daemon/session.h"

/* One submission in flight. */
struct lensd_flight {
    struct lens_job job;
    struct lensd_session *session;
    struct lensd_sequence *sequence;
    uint64_t pending;     /* its place in the session's pending queue */
    uint64_t deadline_ns; /* 0 = none */
    uint64_t picked_ns;   /* when it stopped queueing */
    uint64_t loads;       /* of the pool by then */
    uint32_t first_row;   /* of its n_rows consecutive ones in lensd_batch.rows */
    bool prewarm;
    enum lensd_breaker_verdict verdict;
    struct lens_cascade_options base_only; /* what job.options points at for LENSD_BREAKER_BASE_ONLY */
};

struct lensd_batch {
    uint32_t max_rows;
    struct lensd_flight *flights; /* [max_rows] */
    uint32_t *free, n_free;       /* unused ones */
    struct lens_batch run;        /* run.jobs are &flights[..].job, oldest first */
    struct lens_row_out *rows;    /* [max_rows] */
    bool *row_used;               /* [max_rows] */
    uint32_t n_rows;              /* used */
    bool degrade;                 /* engine.degrade: the breaker may open */
    struct lensd_breaker breaker;
    uint64_t assembled_ns;             /* when new submissions were picked last */
    uint64_t offered_in;               /* the engine's turn that last looked for submissions for it */
    uint64_t failures_told;            /* failed loads that the engine has told of */
    uint32_t next_start;               /* the session whose turn is first in the next batch */
    struct lens_detection *detections; /* [max_rows, LENS_MAX_TOP_K] */
    uint32_t *expanded;                /* [max_rows, LENSD_EXPANDED_MAX], touched as needed */
    struct lens_error failure;         /* of the last run, or load, that failed */
};

/* For a pack of so many lenses. -ENOMEM. */
int lensd_batch_create(uint32_t max_rows, uint32_t lenses, struct lensd_batch **out);
void lensd_batch_destroy(struct lensd_batch *batch); /* NULL is fine */

/* Copies new descriptors of a session into its pending queue. False when its ring is forged. */
bool lensd_batch_intake(struct lensd_session *session);

/* Picks new submissions of `pack`'s sessions: one of each session in turn, oldest first, starting with sessions[start].
 * Refused submissions are answered at once. True when any was picked. */
bool lensd_batch_assemble(struct lensd_served_pack *pack, struct lensd_session **sessions, uint32_t n, uint32_t start,
                          struct lensd_statistics *statistics);

/* A run would get somewhere: lenses came in, or a job must do without. */
bool lensd_batch_due(const struct lensd_served_pack *pack);
/* The next moment at which a job must do without lenses that are still missing (CLOCK_MONOTONIC ns); 0 = none. */
uint64_t lensd_batch_next_deadline(const struct lensd_batch *batch);

/* Any thread: NULL when the pack's breaker is closed. */
static inline const struct lensd_breaker *lensd_batch_open_breaker(const struct lensd_batch *batch)
{
    return atomic_load_explicit(&batch->breaker.open, memory_order_acquire) ? &batch->breaker : NULL;
}

/* engine.degrade as it is now. True when that closed the pack's breaker. */
bool lensd_batch_allow_degrade(struct lensd_batch *batch, bool degrade);

/* Runs what is in flight as far as it goes and publishes what got done. 0, or a negative errno (`failure`) after
 * answering as failed what could not be run: all of it, at once, when the pack's device is lost. *turned: the breaker
 * opened or closed. */
int lensd_batch_execute(struct lensd_served_pack *pack, struct lensd_statistics *statistics, bool *turned);

static inline bool lensd_batch_in_flight(const struct lensd_batch *batch)
{
    return batch->run.n_jobs > 0;
}

#endif
