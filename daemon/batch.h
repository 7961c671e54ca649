/* One batch of the engine: choosing submissions fairly, running them, publishing results.
 *
 * All memory is taken at creation. Threads: the engine's. Private to daemon/. */
#ifndef LENSD_BATCH_H
#define LENSD_BATCH_H

#include "daemon/session.h"

/* Which submission a job of the batch is. */
struct lensd_batch_entry {
    struct lensd_session *session;
    struct lensd_sequence *sequence;
    uint64_t pending; /* its place in the session's pending queue */
};

struct lensd_batch {
    uint32_t max_rows;
    struct lens_batch run;
    struct lens_job *jobs;             /* [max_rows] */
    struct lensd_batch_entry *entries; /* [max_rows] */
    uint64_t *deadlines;               /* [max_rows] */
    struct lens_row_out *rows;         /* [max_rows] */
    uint32_t n_rows;
    uint32_t next_start;               /* the session whose turn is first in the next batch */
    uint64_t picked_ns;                /* when its submissions stopped queueing */
    struct lens_detection *detections; /* [max_rows, LENS_MAX_TOP_K] */
    uint32_t *expanded;                /* [max_rows, LENSD_EXPANDED_MAX], touched as needed */
    uint32_t *misses;                  /* grows with the largest pack, between batches */
    uint32_t misses_size;
    uint64_t load_ns;
    uint32_t loaded;
    struct lens_error failure;           /* of the last batch that failed */
    struct lensd_statistics *statistics; /* of the whole engine; lent */
};

int lensd_batch_init(struct lensd_batch *batch, uint32_t max_rows, struct lensd_statistics *statistics);
void lensd_batch_free(struct lensd_batch *batch);

/* Makes room for packs of so many lenses. Called when a session attaches or swaps, never in between. -ENOMEM. */
int lensd_batch_reserve(struct lensd_batch *batch, uint32_t lenses);

/* Copies new descriptors of a session into its pending queue. False when its ring is forged. */
bool lensd_batch_intake(struct lensd_session *session);

/* Fills the batch with submissions of `pack`'s sessions: one of each session in turn, oldest first, starting with
 * sessions[start]. Refused submissions are answered at once. True when there is something to run. */
bool lensd_batch_assemble(struct lensd_batch *batch, struct lensd_session **sessions, uint32_t n, uint32_t start,
                          const struct lensd_served_pack *pack);

/* Runs it and publishes every row. 0, or a negative errno after answering every row as failed. */
int lensd_batch_execute(struct lensd_batch *batch, struct lensd_served_pack *pack);

#endif
