/* The rows answered lately: a ring in the daemon's memory that the engine writes and `lensctl tail`, `top` and
 * `timeline` are answered from (control_events.c).
 *
 * Bounded and lossy: a new row takes the place of the oldest, whoever has or hasn't read it. Rows are numbered from 1
 * over the daemon's life, so that a reader knows what it missed. The engine never waits, and never looks at readers.
 *
 * Threads: create and destroy on any one; add on the engine's alone; the rest on any, at any time. */
#ifndef LENSD_EVENTS_H
#define LENSD_EVENTS_H

#include "proto/wire.h"

#include <stdbool.h>

#define LENSD_EVENT_STORED 16u /* detections of a row that are remembered: its first, which are the best */

struct lensd_events;

struct lensd_event {
    struct lens_event_row row; /* time_ns is CLOCK_MONOTONIC; first_detection is 0 */
    uint32_t uid;              /* of the session's client */
    uint32_t reserved;
    struct lens_detection detections[LENSD_EVENT_STORED];
};

/* Room for `rows` of them (1 or more), taken at once. -ENOMEM. */
int lensd_events_create(uint32_t rows, struct lensd_events **out);
void lensd_events_destroy(struct lensd_events *events); /* NULL is fine */

/* Remembers one answered row; `header` is what its client gets, detections[header->detections] too
 * (NULL when there are none). */
void lensd_events_add(struct lensd_events *events, uint32_t session, uint32_t uid,
                      const struct lens_result_header *header, const struct lens_detection *detections,
                      uint64_t now_ns);

/* Numbers first..end-1 are remembered, or were a moment ago. */
void lensd_events_range(const struct lensd_events *events, uint64_t *first, uint64_t *end);

/* Copies the row of that number out. False when another has taken its place, or it isn't there yet. */
bool lensd_events_read(const struct lensd_events *events, uint64_t number, struct lensd_event *out);

#endif
