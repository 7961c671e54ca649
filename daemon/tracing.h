/* A trace being recorded: the daemon's end of the ring that takes what rows ask of the cache to `lensctl trace record`
 * (proto/trace_ring.h). One at a time in a daemon, of one pack.
 *
 * Threads: create, begin, end and destroy on the loop thread; the rest on the engine thread between begin and end. */
#ifndef LENSD_TRACING_H
#define LENSD_TRACING_H

#include "daemon/served_pack.h"
#include "proto/trace_ring.h"

#define LENSD_TRACE_RING_WORDS (1u << 22) /* 16 MiB: a row of 600 lenses 7,000 times over */

struct lensd_engine;

struct lensd_tracing {
    struct lens_trace_producer producer;
    uint64_t rows; /* that went out */
    int memfd;     /* sent to the recorder */
    void *base;
    uint64_t bytes;
};

/* Makes the memory for rows of `pack`. -ENOTSUP: it has more lenses than a trace can name; -ENOMEM and others. */
int lensd_tracing_create(const struct lens_pack *pack, struct lensd_tracing **out, struct lens_error *err);
void lensd_tracing_destroy(struct lensd_tracing *tracing); /* after end; NULL is fine */

/* engine.c: between two batches, lets rows of `served` go to `tracing`, or (NULL) no longer. */
void lensd_engine_trace(struct lensd_engine *engine, struct lensd_served_pack *served, struct lensd_tracing *tracing);

/* Passes an answered row on, or counts it as left out: row->n lenses in the order they were asked for, and the logits
 * of those by lens id (NaN where one was left out). No system call, no waiting. */
void lensd_tracing_row(struct lensd_tracing *tracing, const struct lens_trace_row *row, const uint32_t *scored,
                       const float *logits);

/* How many went out, and how many were left out; after end. */
uint64_t lensd_tracing_rows(const struct lensd_tracing *tracing);
uint64_t lensd_tracing_dropped(const struct lensd_tracing *tracing);

#endif
